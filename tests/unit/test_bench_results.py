"""Benchmark results, verdicts on them, and `vera bench run` and `compare`."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import Vera

from vera_mobile.bench import machine
from vera_mobile.bench.results import (
    check_result,
    history_path,
    load_history,
    load_result,
    save_result,
    slug,
    stage_figures,
)
from vera_mobile.bench.verdict import compare_results, compare_steady
from vera_mobile.commands import bench_run
from vera_mobile.errors import FileError, InvalidArgument


def result(median: float = 100.0, mad: float = 1.0, **changes: Any) -> dict[str, Any]:
    row = {"cold_ms": 200.0, "median_ms": median, "p95_ms": median + 3, "mad_ms": mad, "n": 9}
    plain: dict[str, Any] = {
        "format": "vera-bench",
        "schema": 1,
        "kind": "host",
        "date": "2026-05-04T03:02:00+00:00",
        "commit": "1234abcd" * 5,
        "device": {"id": "host-x", "name": "X", "os": "Linux", "cores": 2, "ram_bytes": None},
        "unit": "cpu",
        "bundle": {"name": "nano", "recipe": "android-int4", "size_bytes": 5_000_000},
        "files": {},
        "thermal": {},
        "prompt_tokens": 18,
        "tokens": 20,
        "stages": {"plan": dict(row), "vision": dict(row), "decode": dict(row)},
        "memory": {"peak_mb": 400.0},
        "in_a_row_ms": [120.0, 100.0],
    }
    return plain | changes


# ---- the form ------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = history_path(tmp_path, result())
    assert path == tmp_path / "host-x" / "2026-05-04-1234abcd-nano-android-int4-cpu.json"
    save_result(result(), path)
    assert load_result(path) == result()
    later = result(date="2026-06-01T00:00:00+00:00")
    save_result(later, history_path(tmp_path, later))
    assert [one["date"][:7] for one in load_history(tmp_path)] == ["2026-05", "2026-06"]
    assert load_history(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "x"}, "is no benchmark result"),
        ({"schema": 2}, "schema 2: this release reads 1"),
        ({"unit": "tpu"}, "'unit' is 'tpu'"),
        ({"device": {"id": "x"}}, "device 'name' is missing"),
        ({"stages": []}, "'stages' is []"),
        ({"stages": {"plan": {"median_ms": -1.0}}}, "plan.median_ms is -1.0"),
        ({"stages": {"plan": {"median_ms": float("nan")}}}, "plan.median_ms is nan"),
        ({"stages": {"plan": {"median_ms": True}}}, "plan.median_ms is True"),
        ({"stages": {"plan": {"speed": 1.0}}}, "known figures"),
    ],
)
def test_other_records_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FileError) as caught:
        check_result(result(**changes), "file x")
    assert "file x" in str(caught.value)
    assert said in str(caught.value)


def test_figures_not_taken_are_null_and_never_zero() -> None:
    assert set(stage_figures([]).values()) == {None}
    row = stage_figures([1.0, 2.0, 9.0], cold_ms=4.0)
    assert (row["median_ms"], row["mad_ms"], row["n"], row["cold_ms"]) == (2.0, 1.0, 3, 4.0)
    assert row["p95_ms"] == pytest.approx(8.3)
    assert row["bytes_moved"] is None


def test_names_become_folders() -> None:
    assert slug("AMD EPYC 9xx @ 2 GHz") == "amd-epyc-9xx-2-ghz"
    assert slug("///") == "unknown"


def test_the_peak_is_forgotten_and_seen_again() -> None:
    if not machine.forget_peak():
        pytest.skip("this system does not forget peaks")
    before = machine.peak_mb()
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    assert machine.peak_mb() > before + 50
    del block
    assert machine.forget_peak()
    assert machine.peak_mb() < before + 50


# ---- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "mad", "verdict"),
    [
        (104.9, 0.1, "same"),
        (95.1, 0.1, "same"),
        (110.0, 0.1, "regression"),
        (90.0, 0.1, "improvement"),
        (110.0, 12.0, "within noise"),
        (90.0, 12.0, "within noise"),
    ],
)
def test_a_change_must_exceed_5_percent_and_the_noise(
    after: float, mad: float, verdict: str
) -> None:
    found = compare_results(result(100.0, mad), result(after, mad))
    (plan,) = (change for change in found.changes if change.name == "plan")
    assert plan.verdict == verdict
    assert found.regressed == (verdict == "regression")


def test_noise_is_the_standard_error_of_two_medians() -> None:
    (plan,) = (c for c in compare_results(result(), result()).changes if c.name == "plan")
    # 1.2533 x 1.4826 x 1 ms / sqrt(9), twice
    assert plan.noise == pytest.approx(0.6194 * 2**0.5, rel=1e-3)
    still = compare_results(result(mad=0.0), result(mad=0.0)).changes[0]
    assert still.noise == pytest.approx(1.2533 * 3 / 1.645 / 3 * 2**0.5)


def test_memory_and_size_regress_without_noise() -> None:
    large = result(memory={"peak_mb": 430.0})
    large["bundle"] = large["bundle"] | {"size_bytes": 5_300_000}
    found = {c.name: c.verdict for c in compare_results(result(), large).changes}
    assert (found["peak memory"], found["bundle size"]) == ("regression", "regression")


def test_what_cannot_be_compared_is_said() -> None:
    other = result(tokens=21)
    other["stages"]["head"] = {"median_ms": 1.0}
    other["stages"]["vision"]["median_ms"] = None
    assert compare_results(result(), result()).skipped == {}
    with pytest.raises(InvalidArgument, match="no stage in common"):
        compare_results(result(), other)
    other["stages"]["vision"]["median_ms"] = 1.0
    found = compare_results(result(), other)
    assert set(found.skipped) == {"plan", "decode", "head"}
    elsewhere = deepcopy(result())
    elsewhere["device"]["id"] = "host-y"
    with pytest.raises(InvalidArgument, match="different devices"):
        compare_results(result(), elsewhere)


# ---- the commands --------------------------------------------------------------------------------


def test_compare_ends_with_1_for_a_regression(vera: Vera, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    save_result(result(), a)
    save_result(result(150.0), b)
    done = vera("bench", "compare", a, b)
    assert done.code == 1
    assert "REGRESSION: plan, vision, decode" in done.out
    assert vera("bench", "compare", b, a).code == 0
    report = json.loads(vera("bench", "compare", a, b, "--json").out)
    assert report["regressed"] is True
    assert report["changes"][0]["ratio"] == 1.5
    bad = vera("bench", "compare", a, tmp_path / "none.json")
    assert bad.code == 2
    assert "none.json" in bad.err


def counted(vision: float = 100e6, **changes: Any) -> dict[str, Any]:
    made = result(**changes)
    made["stages"]["vision"] |= {"bytes_moved": vision, "multiply_adds": 5e9}
    made["stages"]["decode"] |= {"bytes_moved": 300e6, "multiply_adds": 1e9}
    return made


def test_steady_figures_are_compared_across_devices() -> None:
    elsewhere = {"id": "host-y", "name": "Y"}
    slower = counted(median=900.0, device=elsewhere)
    assert not compare_steady(counted(), slower).regressed
    names = [c.name for c in compare_steady(counted(), slower).changes]
    assert names == ["bundle size", "vision bytes moved", "vision multiply adds",
                     "decode bytes moved", "decode multiply adds"]  # fmt: skip
    assert compare_steady(counted(), counted(vision=106e6)).regressed
    assert not compare_steady(counted(), counted(vision=104e6)).regressed
    assert not compare_steady(counted(vision=106e6), counted()).regressed
    longer = compare_steady(counted(), counted(tokens=90))
    assert longer.skipped["decode bytes moved"] == "the texts differ in length"
    assert longer.skipped["plan bytes moved"] == "the texts differ in length"
    assert (
        "the prompts"
        in compare_steady(counted(), counted(prompt_tokens=9)).skipped["decode multiply adds"]
    )
    larger = counted(bundle=counted()["bundle"] | {"size_bytes": 6_000_000})
    assert compare_steady(counted(), larger).regressed
    with pytest.raises(InvalidArgument, match="no counts"):
        compare_steady(result(), result())


def test_the_command_compares_steady_figures_of_any_device(vera: Vera, tmp_path: Path) -> None:
    before = counted(device={"id": "host-y", "name": "Y", "cores": 4})
    history = save_result(before, history_path(tmp_path, before)).parent.parent
    now = save_result(counted(vision=200e6, date="2026-07-01T00:00:00+00:00"), tmp_path / "b.json")
    assert vera("bench", "compare", history, now).code == 0
    done = vera("bench", "compare", "--steady", history, now)
    assert done.code == 1
    assert "REGRESSION: vision bytes moved" in done.out


def test_compare_takes_the_last_fitting_result_of_a_folder(vera: Vera, tmp_path: Path) -> None:
    history, now = tmp_path / "results", tmp_path / "now.json"
    save_result(result(120.0, date="2026-07-01T00:00:00+00:00"), now)
    done = vera("bench", "compare", history.parent, now)
    assert (done.code, "nothing to compare" in done.out) == (0, True)
    for month, median in (("05", 100.0), ("06", 120.0), ("08", 50.0)):
        one = result(median, date=f"2026-{month}-01T00:00:00+00:00")
        save_result(one, history_path(history, one))
    other = result(1.0, date="2026-06-15T00:00:00+00:00", unit="gpu")
    save_result(other, history_path(history, other))
    done = vera("bench", "compare", history, now)
    assert done.code == 0, done.out
    assert "against 1234abcd of 2026-06-01" in done.out


def test_run_measures_counts_and_writes(
    vera: Vera, nano_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vera_mobile.measure.RENDER_MEGAPIXELS", (1,))
    flags = ("--repeats", "3", "--tokens", "12", "--results", tmp_path, "--json")
    done = vera("bench", "run", "--bundle", nano_bundle, *flags)
    assert done.code == 0, done.err
    (file,) = tmp_path.glob("*/*.json")
    made = load_result(file)
    assert made == json.loads(done.out)
    assert made["tokens"] <= 12
    assert made["prompt_tokens"] == 18  # two task tokens and 16 of the picture
    assert len(made["in_a_row_ms"]) == 4
    stages = made["stages"]
    for name in ("load", "vision", "prefill", "decode", "head", "bake"):
        row = stages[name]
        assert row["cold_ms"] > 0, name
        assert row["bytes_moved"] > 0, name
        assert row["n"] == 3, name
    assert stages["prepare"]["bytes_moved"] is None
    parts = ("prepare", "vision", "prefill", "decode", "head")
    assert stages["plan"]["cold_ms"] == pytest.approx(
        sum(stages[name]["cold_ms"] for name in parts), abs=0.01
    )
    assert stages["load"]["multiply_adds"] == 0
    text = "\n".join(bench_run.lines(made))
    assert "host figures, not a phone's" in text
    prepare = next(line for line in text.splitlines() if line.startswith("prepare"))
    assert prepare.split()[-2:] == ["-", "-"]
