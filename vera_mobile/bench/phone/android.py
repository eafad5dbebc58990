"""Android phones through adb: what it prints, and the benchmark of the demo app.

The forms are those of AOSP's `dumpsys meminfo`, `thermalservice` and `battery`, and of `getprop`.
"""

from __future__ import annotations

import re
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vera_mobile.bench.phone.case import APP, Case, Sample, completed, new_file, read_result
from vera_mobile.bench.phone.tool import Tool, ToolError
from vera_mobile.bench.results import slug
from vera_mobile.errors import InvalidArgument

FILES = f"/sdcard/Android/data/{APP}/files"
# PowerManager.THERMAL_STATUS_*
STATES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
COOL_CELSIUS = 36.0
POLL_S = 1.0
SKIN = 3  # android.os.Temperature.TYPE_SKIN


class AndroidPhone:
    """One phone that adb reaches."""

    def __init__(self, serial: str | None = None) -> None:
        """serial: as `adb devices` shows it; None: the only one. FileError without adb,
        InvalidArgument where the phone is not there, ToolError where it does not let us."""
        adb = Tool.find("adb", "install Android's platform-tools and put them on the PATH.")
        chosen = choose_device(parse_devices(adb.run("devices", "-l")), serial)
        self.adb = adb.with_first("-s", chosen)
        self.device = device_facts(parse_properties(self._shell("getprop")))

    def install(self, app: Path) -> None:
        """Installs an APK over the one that is there."""
        self.adb.run("install", "-r", str(app), timeout_s=600)

    def push(self, case: Case) -> None:
        """The bundle's folder, whole, in place of an older one of that name."""
        folder = f"{FILES}/bundles/{case.name}"
        self._shell("rm", "-rf", folder)
        self._shell("mkdir", "-p", f"{FILES}/bundles")
        self.adb.run("push", str(case.bundle.resolve()), folder, timeout_s=900)

    def run(self, case: Case, unit: str) -> dict[str, Any]:
        """Cools down, starts the app, watches it, and brings its file back."""
        self._shell("am", "force-stop", APP)
        self._cool_down(case.cool_down_s)
        name = new_file()
        samples = [self._sample(0.0)]
        said = self._shell(
            "am", "start", "-W", "-n", f"{APP}/.BenchActivity", "--es", "bundle", case.name,
            "--es", "out", name, "--es", "unit", unit, "--ei", "repeats", str(case.repeats),
            "--ei", "in_a_row", str(case.in_a_row),
        )  # fmt: skip
        if "Error" in said:  # am's exit status is 0 all the same
            raise ToolError(
                f"The app could not be started ({said.strip().splitlines()[-1]}): install the "
                "demo app, or give it with --app."
            )
        self._watch(case, name, samples)
        record = read_result(self._pull(name), f"The {unit} result of {self.device['name']}", unit)
        return record if "stages" not in record else completed(record, self.device, samples)

    def _watch(self, case: Case, name: str, samples: list[Sample]) -> None:
        start = time.monotonic()
        while True:
            time.sleep(POLL_S)
            passed = time.monotonic() - start
            there = self._shell("ls", FILES).split()
            samples.append(self._sample(passed))
            if name in there:
                return
            if not self._shell(f"pidof {APP} || true").strip():
                raise ToolError(
                    f"The app ended after {passed:.0f} s without a result: `adb logcat` tells why."
                )
            if passed > case.timeout_s:
                self._shell("am", "force-stop", APP)
                raise ToolError(f"No result after {case.timeout_s:.0f} s: the app was stopped.")

    def _cool_down(self, limit_s: float) -> None:
        """Until the skin is below `COOL_CELSIUS` and nothing is throttled, or the limit."""
        start = time.monotonic()
        while time.monotonic() - start < limit_s:
            now = self._sample(0.0)
            if now.state in (None, "none") and (now.celsius or 0.0) < COOL_CELSIUS:
                return
            time.sleep(min(5.0, limit_s))

    def _sample(self, seconds: float) -> Sample:
        thermal = parse_thermal(self._shell("dumpsys", "thermalservice"))
        celsius = thermal["celsius"]
        if celsius is None:
            celsius = parse_battery(self._shell("dumpsys", "battery"))
        memory = parse_memory(self._shell("dumpsys", "meminfo", APP))
        return Sample(seconds, memory, celsius, thermal["state"])

    def _pull(self, name: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="vera-phone-") as folder:
            target = Path(folder) / name
            self.adb.run("pull", f"{FILES}/{name}", str(target), timeout_s=300)
            self._shell("rm", "-f", f"{FILES}/{name}")
            return target.read_bytes()

    def _shell(self, *command: str) -> str:
        words = command[0] if len(command) == 1 else shlex.join(command)
        return self.adb.run("shell", words)


def parse_devices(text: str) -> dict[str, str]:
    """`adb devices -l`: state ("device", "unauthorized", "offline" ...) by serial."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0]: row[1] for row in rows if len(row) > 1 and not row[0].startswith("*")}


def choose_device(devices: Mapping[str, str], serial: str | None) -> str:
    """The serial that is meant. InvalidArgument that lists the phones."""
    known = ", ".join(f"{name} ({state})" for name, state in devices.items()) or "none"
    if serial is None and len(devices) != 1:
        raise InvalidArgument(f"adb sees {len(devices)} phones ({known}): choose with --device.")
    chosen = serial if serial is not None else next(iter(devices))
    if chosen not in devices:
        raise InvalidArgument(f"Phone {chosen} is not connected: adb sees {known}.")
    if devices[chosen] != "device":
        raise InvalidArgument(
            f"Phone {chosen} is {devices[chosen]}: unlock it, allow debugging and plug it in again."
        )
    return chosen


def parse_properties(text: str) -> dict[str, str]:
    """`getprop`: lines of [name]: [value]."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", text, re.MULTILINE))


def device_facts(properties: Mapping[str, str]) -> dict[str, Any]:
    """id, name, model and os of a result's device; cores and memory are the app's to tell."""
    maker = properties.get("ro.product.manufacturer", "")
    model = properties.get("ro.product.model", "unknown")
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
    release = properties.get("ro.build.version.release", "?")
    return {
        "id": slug(name), "name": name.strip(), "model": model,
        "os": f"Android {release} ({properties.get('ro.build.id', '?')})",
        "chip": properties.get("ro.soc.model"), "cores": None, "ram_bytes": None,
    }  # fmt: skip


def parse_memory(text: str) -> float | None:
    """`dumpsys meminfo APP`: total PSS in megabytes (10^6 bytes); None while the app is not there.

    "TOTAL PSS:" since Android 12, "TOTAL:" before, both in the summary and in kibibytes.
    """
    found = re.search(r"^\s*TOTAL(?: PSS)?:\s+([\d,]+)", text, re.MULTILINE)
    return round(int(found.group(1).replace(",", "")) * 1024 / 1e6, 1) if found else None


def parse_thermal(text: str) -> dict[str, Any]:
    """`dumpsys thermalservice`: state, and the hottest skin sensor in degrees (None: none told).

    The current readings count, not the cached ones; a value of 0 or NaN is a sensor that is off.
    """
    status = re.search(r"Thermal Status:\s*(\d+)", text)
    state = STATES[int(status.group(1))] if status and int(status.group(1)) < len(STATES) else None
    _, marker, current = text.partition("Current temperatures from HAL:")
    readings = (current if marker else text).partition("Current cooling devices")[0]
    rows = re.findall(r"mValue=([-\d.naN]+), mType=(-?\d+)", readings)
    skin = [float(value) for value, kind in rows if int(kind) == SKIN]
    lit = [value for value in skin if value > 0]
    return {"state": state, "celsius": round(max(lit), 1) if lit else None}


def parse_battery(text: str) -> float | None:
    """`dumpsys battery`: degrees; it tells tenths."""
    found = re.search(r"^\s*temperature:\s*(-?\d+)", text, re.MULTILINE)
    return int(found.group(1)) / 10 if found else None
