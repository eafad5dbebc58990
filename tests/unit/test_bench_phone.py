"""`vera bench phone` and `vera bench import`. Not run on a device: `adb` and `xcrun` are programs
of the tests that answer in the real ones' forms."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, Vera, files_in
from test_bench_results import result

from vera_mobile.bench import results as form
from vera_mobile.bench.phone import android
from vera_mobile.bench.phone.case import Sample, completed, read_result
from vera_mobile.bench.phone.ios import choose_phone, parse_phones
from vera_mobile.bench.results import check_result, load_result, slug
from vera_mobile.bench.targets import load_targets
from vera_mobile.bundle import MANIFEST_NAME, sha256_of
from vera_mobile.errors import FileError, InvalidArgument

PHONES = Path(__file__).parent / "phones"
SCHEMA = ROOT / "vera_mobile" / "bench" / "result.schema.json"
GOLDEN = {"name": "cup", "sha256": "ab" * 32, "max_difference": 0}
Scenario = Callable[..., Path]


def read(name: str) -> str:
    return (PHONES / name).read_text()


def phone_result(**changes: Any) -> dict[str, Any]:
    """As the apps write it."""
    device = {"id": "app", "name": "SM-S931B", "os": None, "cores": 8, "ram_bytes": 12 * 10**9}
    heat = {
        "state": {"before": "none", "after": "light"},
        "celsius": {"before": None, "after": None},
    }
    row = [900.0, *([800.0] * 9)]
    made = result(kind="phone", device=device, thermal=heat, in_a_row_ms=row, golden=[GOLDEN])
    return made | {"memory": {"before_load_mb": 90.0, "peak_mb": 300.0}} | changes


# ---- what the programs print ---------------------------------------------------------------------


def test_memory_is_read_in_both_forms() -> None:
    assert android.parse_memory(read("meminfo.txt")) == round(481_575 * 1024 / 1e6, 1)
    assert android.parse_memory(read("meminfo_android_11.txt")) == 320.0
    assert android.parse_memory(read("meminfo_gone.txt")) is None


def test_heat_is_the_skin_as_it_is_now() -> None:
    assert android.parse_thermal(read("thermalservice.txt")) == {"state": "none", "celsius": 31.2}
    hot = android.parse_thermal(read("thermalservice_hot.txt"))
    assert hot == {"state": "moderate", "celsius": 41.7}
    assert android.parse_thermal(read("thermalservice_bare.txt")) == {
        "state": "none",
        "celsius": None,
    }
    assert android.parse_thermal("nothing") == {"state": None, "celsius": None}
    assert android.parse_battery(read("battery.txt")) == 28.7
    assert android.parse_battery("") is None


def test_properties_name_the_phone() -> None:
    facts = android.device_facts(android.parse_properties(read("getprop.txt")))
    assert (facts["name"], facts["model"]) == ("samsung SM-S931B", "SM-S931B")
    assert facts["os"] == "Android 15 (AP3A.240905.015.A2)"
    pixel = android.device_facts(
        {"ro.product.manufacturer": "Google", "ro.product.model": "Pixel 9"}
    )
    targets = load_targets(ROOT / "benchmarks" / "targets.toml")
    apps = {"name": "samsung SM-S931U1"}
    found = [targets.phone_of(one) for one in (facts, pixel, apps, {"name": "?"})]
    keys = [one.key if one else None for one in found]
    assert keys == ["galaxy-s25", "pixel-9", "galaxy-s25", None]


@pytest.mark.parametrize(
    ("text", "serial", "words"),
    [
        ("devices_two.txt", None, r"sees 2 phones.*unauthorized.*--device"),
        ("devices_two.txt", "4A111FDAQ0", "is unauthorized: unlock it"),
        ("devices_two.txt", "other", "other is not connected"),
    ],
)
def test_phones_that_cannot_be_used_are_named(text: str, serial: str | None, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        android.choose_device(android.parse_devices(read(text)), serial)


def test_iphones_are_found_among_other_things() -> None:
    phones = parse_phones(json.loads(read("devicectl_devices.json")))
    (one,) = phones
    assert one["facts"]["name"] == "iPhone 16 Pro"
    for name in (None, "QA phone", "00008140-001A2B3C4D5E6F7A", one["identifier"]):
        assert choose_phone(phones, name) is one
    for wrong in ("A watch", "none"):
        with pytest.raises(InvalidArgument, match="QA phone"):
            choose_phone(phones, wrong)
    with pytest.raises(InvalidArgument, match="not paired"):
        choose_phone([one | {"paired": False}], None)
    with pytest.raises(InvalidArgument, match="sees 0 iPhones"):
        choose_phone(parse_phones({}), None)
    targets = load_targets(ROOT / "benchmarks" / "targets.toml")
    found = targets.phone_of(one["facts"])
    assert found is not None
    assert found.key == "iphone-16-pro"


# ---- the app's file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (json.dumps(phone_result(unit="gpu")).encode(), "of a phone's gpu: a phone's cpu"),
        (json.dumps(result()).encode(), "of a host's cpu"),
        (json.dumps(phone_result(in_a_row_ms=[-1])).encode(), "in_a_row_ms holds -1"),
        (json.dumps(phone_result(date="yesterday")).encode(), "use ISO 8601"),
        (json.dumps(phone_result(golden=[{"name": "x"}])).encode(), "golden case"),
        (json.dumps(phone_result(golden=7)).encode(), "golden case 7"),
        (bytes(2**24 + 1), "at most"),
    ],
)
def test_files_that_are_no_result_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read_result(raw, "The file", "cpu")


def test_the_cable_adds_what_the_app_cannot_know() -> None:
    samples = [
        Sample(0.0, None, 31.0, "none"), Sample(1.0, 480.0, 35.0, "none"),
        Sample(2.0, 470.0, 40.0, "light"),
    ]  # fmt: skip
    facts = {"id": "a", "name": "samsung", "model": "SM-S931B", "os": "Android 15", "cores": None}
    done = completed(phone_result(), facts, samples)
    assert done["device"] == {
        "id": "app", "name": "SM-S931B", "model": "SM-S931B", "os": "Android 15", "cores": 8,
        "ram_bytes": 12 * 10**9,
    }  # fmt: skip
    assert done["memory"] == {"before_load_mb": 90.0, "peak_mb": 480.0}
    assert done["thermal"] == {
        "celsius": {"before": 31.0, "after": 40.0}, "state": {"before": "none", "after": "light"},
    }  # fmt: skip
    assert [sample["memory_mb"] for sample in done["samples"]] == [None, 480.0, 470.0]
    assert check_result(done, "x") is done


def test_schema_file_and_checks_say_the_same() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    kinds, units = (tuple(schema["properties"][k]["enum"]) for k in ("kind", "unit"))
    assert (kinds, units) == (form.KINDS, form.UNITS)
    row = schema["properties"]["stages"]["additionalProperties"]["properties"]
    assert tuple(row) == form.STAGE_FIGURES
    assert {"format", "schema", "kind", *form._REQUIRED} == set(schema["required"])
    for good in (result(), phone_result(), phone_result(prompt_tokens=None)):
        assert validator.is_valid(good)
        check_result(good, "x")
    bad = [
        phone_result(unit="tpu"), phone_result(stages={"plan": {"speed": 1}}),
        phone_result(stages={"plan": {"n": -1}}), phone_result(in_a_row_ms=["1"]),
        phone_result(golden=[GOLDEN | {"max_difference": -1}]), phone_result(schema=2),
        phone_result(golden=[GOLDEN | {"sha256": "xyz"}]), phone_result(device={"id": "x"}),
    ]  # fmt: skip
    for record in bad:
        assert not validator.is_valid(record), record
        with pytest.raises(FileError):
            check_result(record, "x")


# ---- the whole line ------------------------------------------------------------------------------


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """Puts the fake programs on the PATH; returns the folder with their calls."""
    home, programs = tmp_path / "phone", tmp_path / "programs"
    for folder in (home, programs):
        folder.mkdir()
    fake = Path(__file__).parent / "fake_phone.py"
    for name in ("adb", "xcrun"):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{fake}" {name} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_PHONE", str(home))
    monkeypatch.setattr(android, "POLL_S", 0.01)
    (home / "result.json").write_text(json.dumps(phone_result()))

    def set_up(**values: Any) -> Path:
        (home / "scenario.json").write_text(json.dumps(values))
        return home

    set_up()
    return set_up


@pytest.fixture
def bench(vera: Vera, bundle_copy: Path) -> Vera:
    return lambda *flags: vera(
        "bench", "phone", "--bundle", bundle_copy, "--cool-down-s", 0, *flags
    )


def test_all_units_of_an_android_phone(bench: Vera, scenario: Scenario, tmp_path: Path) -> None:
    home = scenario(refuse=["npu"])
    out, history = tmp_path / "out", tmp_path / "results"
    done = bench("--android", "--out", out, "--results", history, "--app", __file__)
    assert done.code == 0, done.err
    assert {f.name for f in out.iterdir()} == {"cpu.json", "gpu.json"}
    for unit in ("cpu", "gpu"):
        record = load_result(out / f"{unit}.json")
        assert record["device"]["id"] == "galaxy-s25"
        assert record["device"]["os"].startswith("Android 15")
        assert record["memory"]["peak_mb"] == pytest.approx(493.1)
        assert record["thermal"]["celsius"] == {"before": 31.2, "after": 31.2}
        assert record["thermal"]["state"] == {"before": "none", "after": "none"}
        assert len(record["in_a_row_ms"]) == 10
        assert [sample["memory_mb"] for sample in record["samples"]] == [None, 493.1, 493.1]
    assert {f.parent.name for f in history.glob("*/*.json")} == {"galaxy-s25"}
    assert "npu: not run, no delegate for the npu" in done.out
    calls = (home / "calls.txt").read_text()
    assert "install -r" in calls
    assert calls.count("/sdcard/Android/data/ai.vera.demo/files/bundles/copy.bundle") == 2
    assert calls.count("am start -W -n ai.vera.demo/.BenchActivity --es bundle copy.bundle") == 3
    names = {word for word in calls.split() if word.startswith("bench-")}
    assert len(names) == 3, "every run has a file name of its own"


def test_all_units_of_an_iphone(bench: Vera, scenario: Scenario, tmp_path: Path) -> None:
    home = scenario(refuse=["gpu"])
    done = bench("--ios", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert set(told["results"]) == {"cpu", "npu"}
    assert told["refused"] == {"gpu": "no delegate for the gpu"}
    record = load_result(tmp_path / "out" / "npu.json")
    assert (record["device"]["id"], record["device"]["model"]) == ("iphone-16-pro", "iPhone17,1")
    assert record["memory"]["peak_mb"] == 300.0
    assert record["thermal"]["state"]["after"] == "light"
    calls = (home / "calls.txt").read_text()
    assert calls.count("process launch") == 3
    assert "Documents/bundles/copy.bundle" in calls


@pytest.mark.parametrize(
    ("system", "values", "words"),
    [
        ("--android", {"dies": True}, "ended after 0 s without a result: `adb logcat`"),
        ("--android", {"no_app": True}, "install the demo app"),
        ("--android", {"devices": "devices_two.txt"}, "sees 2 phones"),
        ("--android", {"refuse": ["cpu", "gpu", "npu"]}, "No unit of the phone could run"),
        ("--android", {"result": "{"}, "is no JSON"),
        ("--android", {"polls": 10**6}, "No result after 1 s"),
        ("--ios", {"no_app": True}, "failed to launch"),
        ("--ios", {"dies": True}, "could not be transferred"),
        ("--ios", {"result": "[]"}, "is no benchmark result"),
    ],
)
def test_failures_are_one_sentence(
    bench: Vera, scenario: Scenario, tmp_path: Path, system: str, values: Any, words: str
) -> None:
    scenario(**values)
    done = bench(system, "--units", "cpu", "--timeout-s", 1 if "polls" in values else 600,
                 "--out", tmp_path / "out")  # fmt: skip
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.splitlines()[-1].startswith("vera: ")
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_bundle_is_not_kept(
    bench: Vera, scenario: Scenario, bundle_copy: Path, tmp_path: Path
) -> None:
    home = scenario()
    mine = sha256_of(bundle_copy / MANIFEST_NAME)
    for sha256, code in ((mine, 0), ("ab" * 32, 2)):
        record = phone_result(bundle=phone_result()["bundle"] | {"sha256": sha256})
        (home / "result.json").write_text(json.dumps(record))
        out = tmp_path / f"out-{code}"
        done = bench("--android", "--units", "cpu", "--out", out)
        assert done.code == code, done.err
        assert out.exists() == (code == 0)
    assert "is of another bundle" in done.err


def test_a_hot_phone_is_waited_for_and_no_longer_than_said(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = scenario(thermal="thermalservice_hot.txt")
    phone = android.AndroidPhone()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            (home / "scenario.json").write_text("{}")

    monkeypatch.setattr(android, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    phone._cool_down(600)
    assert slept == [5.0, 5.0]
    slept.clear()
    phone._cool_down(0)
    assert slept == []


def test_without_the_programs_it_is_said_how_to_get_them(
    bench: Vera, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for system, words in (("--android", "platform-tools"), ("--ios", "Xcode 15")):
        done = bench(system)
        assert done.code == 2
        assert words in done.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--repeats", 2), "repeats is 2: use 3..1000"),
        (("--in-a-row", 1), "in a row is 1"),
        (("--timeout-s", 0), "time limit is 0"),
        (("--app", "no.apk"), "no.apk does not exist"),
    ],
)
def test_bad_options_are_refused(
    bench: Vera, scenario: Scenario, flags: tuple[Any, ...], words: str
) -> None:
    done = bench("--android", *flags)
    assert done.code == 2
    assert words in done.err


# ---- import --------------------------------------------------------------------------------------


@pytest.fixture
def brought(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        (tmp_path / "bench.json").write_text(json.dumps(phone_result(**changes)))
        return tmp_path / "bench.json"

    return write


def test_a_result_is_taken_in_under_its_phone(
    vera: Vera, brought: Callable[..., Path], tmp_path: Path, nano_bundle: Path
) -> None:
    sha256 = sha256_of(nano_bundle / MANIFEST_NAME)
    bundle = phone_result()["bundle"] | {"sha256": sha256}
    history = tmp_path / "results"
    command = ("bench", "import", brought(bundle=bundle), "--results", history)
    done = vera(*command, "--bundle", nano_bundle)
    assert done.code == 0, done.err
    (file,) = history.glob("*/*.json")
    assert file.parent.name == "galaxy-s25"
    assert load_result(file)["golden"] == [GOLDEN]
    assert "golden: 1 of 1 cases hold" in done.out
    again = vera(*command)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert vera(*command, "--overwrite").code == 0


def test_golden_cases_that_are_off_fail(
    vera: Vera, brought: Callable[..., Path], tmp_path: Path
) -> None:
    file = brought(golden=[GOLDEN, GOLDEN | {"name": "dog", "max_difference": 2}])
    done = vera("bench", "import", file, "--results", tmp_path / "results")
    assert done.code == 1
    assert "GOLDEN MISSED  dog: up to 2 codes off" in done.out
    assert len(list((tmp_path / "results").glob("*/*.json"))) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "host"}, "phones' results"),
        ({"bundle": {"name": "x", "sha256": "0" * 64}}, "of another bundle"),
        ({"stages": {"plan": {"n": "many"}}}, "plan.n is 'many'"),
    ],
)
def test_what_does_not_fit_is_refused(
    vera: Vera, brought: Callable[..., Path], tmp_path: Path, nano_bundle: Path,
    changes: dict[str, Any], words: str,
) -> None:  # fmt: skip
    before = files_in(tmp_path) | {}
    done = vera("bench", "import", brought(**changes), "--bundle", nano_bundle,
                "--results", tmp_path / "results")  # fmt: skip
    assert done.code == 2
    assert words in done.err
    assert files_in(tmp_path).keys() - before.keys() == {"bench.json"}


def test_a_device_cannot_lead_out_of_the_folder(
    vera: Vera, brought: Callable[..., Path], tmp_path: Path
) -> None:
    device = {"id": "../../evil", "name": "an unknown phone"}
    assert vera("bench", "import", brought(device=device), "--results", tmp_path / "r").code == 0
    assert [f.parent.name for f in (tmp_path / "r").rglob("*.json")] == [slug("../../evil")]
