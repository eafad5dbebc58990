"""iPhones through `xcrun devicectl` (Xcode 15 and later): the benchmark of the demo app."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from vera_mobile.bench.phone.case import APP, Case, completed, new_file, read_result
from vera_mobile.bench.phone.tool import Tool, ToolError
from vera_mobile.bench.results import slug
from vera_mobile.errors import InvalidArgument

DOCUMENTS = "Documents"
_CONTAINER = ("--domain-type", "appDataContainer", "--domain-identifier", APP)


class IosPhone:
    """One iPhone that devicectl reaches."""

    def __init__(self, name: str | None = None) -> None:
        """name: its name, UDID or identifier; None: the only one. FileError without Xcode,
        InvalidArgument where the phone is not there or not paired."""
        xcrun = Tool.find("xcrun", "iPhones need a Mac with Xcode 15 or later.")
        self.devicectl = xcrun.with_first("devicectl")
        found = choose_phone(parse_phones(self._json("list", "devices")), name)
        self.identifier, self.device = found["identifier"], found["facts"]
        self._ran = False

    def install(self, app: Path) -> None:
        """Installs a built and signed .app."""
        self._device("install", "app", str(app), timeout_s=900)

    def push(self, case: Case) -> None:
        """The bundle's folder into the app's container."""
        target = f"{DOCUMENTS}/bundles/{case.name}"
        self._device("copy", "to", *_CONTAINER, "--source", str(case.bundle.resolve()),
                     "--destination", target, "--remove-existing-content", "true",
                     timeout_s=900)  # fmt: skip

    def run(self, case: Case, unit: str) -> dict[str, Any]:
        """Starts the app, which ends when its file is written, and brings the file back.

        No temperature can be read from outside: the wait before a second unit is the whole
        `cool_down_s`; thermal state and phys_footprint are the app's to tell.
        """
        if self._ran:
            time.sleep(case.cool_down_s)
        self._ran = True
        name = new_file()
        self._device(
            "process", "launch", "--console", "--terminate-existing", APP, "-bench", case.name,
            "-out", name, "-unit", unit, "-repeats", str(case.repeats),
            "-in_a_row", str(case.in_a_row),
            timeout_s=case.timeout_s,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="vera-phone-") as folder:
            target = Path(folder) / name
            self._device("copy", "from", *_CONTAINER, "--source", f"{DOCUMENTS}/{name}",
                         "--destination", str(target), timeout_s=300)  # fmt: skip
            if not target.is_file():
                raise ToolError(f"The app left no {name}: its crash log tells why.")
            raw = target.read_bytes()
        record = read_result(raw, f"The {unit} result of {self.device['name']}", unit)
        return record if "stages" not in record else completed(record, self.device, [])

    def _device(self, kind: str, verb: str, *rest: str, timeout_s: float) -> str:
        """`devicectl device KIND VERB --device ID ...`."""
        fixed = ("device", kind, verb, "--device", self.identifier)
        return self.devicectl.run(*fixed, *rest, timeout_s=timeout_s)

    def _json(self, *command: str) -> Any:
        """What devicectl writes for programs; what it prints is for people and changes."""
        with tempfile.TemporaryDirectory(prefix="vera-phone-") as folder:
            file = Path(folder) / "answer.json"
            self.devicectl.run(*command, "--json-output", str(file))
            try:
                return json.loads(file.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise ToolError(
                    f"devicectl gave no JSON ({error}): use Xcode 15 or later."
                ) from error


def parse_phones(answer: Any) -> list[dict[str, Any]]:
    """`devicectl list devices --json-output`: identifier, udid, state and facts of the iPhones."""
    rows = answer.get("result", {}).get("devices", []) if isinstance(answer, dict) else []
    phones = []
    for row in rows:
        hardware, about = row.get("hardwareProperties", {}), row.get("deviceProperties", {})
        if hardware.get("platform") != "iOS" or hardware.get("reality") == "virtual":
            continue
        name = hardware.get("marketingName") or hardware.get("productType") or "iPhone"
        phones.append(
            {
                "identifier": row.get("identifier"),
                "names": {row.get("identifier"), hardware.get("udid"), about.get("name")} - {None},
                "title": about.get("name") or name,
                "paired": row.get("connectionProperties", {}).get("pairingState") == "paired",
                "facts": {
                    "id": slug(name), "name": name, "model": hardware.get("productType"),
                    "os": f"iOS {about.get('osVersionNumber', '?')} "
                          f"({about.get('osBuildUpdate', '?')})",
                    "cores": None, "ram_bytes": None,
                },
            }
        )  # fmt: skip
    return phones


def choose_phone(phones: list[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """The phone that is meant. InvalidArgument that lists those that are there."""
    known = ", ".join(phone["title"] for phone in phones) or "none"
    meant = [phone for phone in phones if name is None or name in phone["names"]]
    if len(meant) != 1:
        asked = "" if name is None else f" named {name!r}"
        raise InvalidArgument(
            f"devicectl sees {len(meant)} iPhones{asked}; there are: {known}. Choose with --device."
        )
    if not meant[0]["paired"]:
        raise InvalidArgument(f"{meant[0]['title']} is not paired: unlock it and trust this Mac.")
    return meant[0]
