"""Aims beside what was measured and what is expected, in words and as a Markdown table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Vera
from test_bench_page import EFFICIENCY, TARGETS, findings, phone_result
from test_bench_results import result

from vera_mobile.bench.aims import FORMULAS, Estimate, estimate_words, estimates, measured
from vera_mobile.bench.markdown import aims_table
from vera_mobile.bench.page import Findings, write_bench_page
from vera_mobile.bench.results import check_result, history_path, save_result
from vera_mobile.bench.targets import StandIn, load_targets
from vera_mobile.errors import FileError

AIMS = {aim.name: aim for aim in TARGETS.aims}
IPHONE, GALAXY = TARGETS.phones["iphone-16-pro"], TARGETS.phones["galaxy-s25"]
BUNDLE = {"name": "vera-0.5b", "recipe": "android-int4", "size_bytes": 390_000_000}


def host_result(**changes: Any) -> dict[str, Any]:
    made = result(1900.0, bundle=BUNDLE, memory={"peak_mb": 900.0, "before_load_mb": 350.0})
    made["stages"] |= {
        "plan": {"median_ms": 1900.0, "peak_mb": 700.0},
        "instant_look": {"median_ms": 950.0},
        "bake": {"median_ms": 20.0},
        "load": {"cold_ms": 800.0, "median_ms": 300.0},
        "render_12mp": {"median_ms": 27.0},
    }
    return made | changes


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def expected(name: str, found: Findings, phone: Any = IPHONE) -> list[Estimate]:
    return estimates(AIMS[name], phone, found.facts)


def test_a_look_is_in_hand_when_it_is_baked() -> None:
    assert measured(AIMS["auto_look_ms"], host_result()) == 1920.0
    assert measured(AIMS["instant_look_ms"], host_result()) == 970.0
    unbaked = host_result()
    del unbaked["stages"]["bake"]
    assert measured(AIMS["auto_look_ms"], unbaked) is None
    assert measured(AIMS["render_12mp_cpu_ms"], host_result()) == 27.0
    assert measured(AIMS["render_12mp_gpu_ms"], host_result()) is None  # it ran on the CPU
    assert measured(AIMS["cold_start_ms"], host_result()) == 800.0
    assert measured(AIMS["second_over_first"], host_result(in_a_row_ms=[200.0, 150.0])) == 0.75
    assert measured(AIMS["second_over_first"], host_result(in_a_row_ms=[200.0])) is None


def test_the_look_is_expected_as_projected_on_each_unit() -> None:
    found = findings(host_result())
    by_unit = {one.by: one for one in expected("auto_look_ms", found)}
    assert set(by_unit) == {"cpu", "npu"}
    (cpu,) = (p for p in found.projections if p.phone.key == IPHONE.key and p.unit == "cpu")
    assert cpu.auto is not None
    assert by_unit["cpu"].middle == cpu.auto.middle_ms
    assert (by_unit["cpu"].low, by_unit["cpu"].high) == (cpu.auto.low_ms, cpu.auto.high_ms)
    assert expected("auto_look_ms", findings(projections=[])) == []


def test_a_cold_start_reads_the_bundle_and_does_the_hosts_work() -> None:
    (one,) = expected("cold_start_ms", findings(host_result()))
    assert IPHONE.storage_gb_s is not None
    read = 390e6 / (IPHONE.storage_gb_s.value * 1e6)
    assert one.middle == one.high == pytest.approx(read + 300.0)
    assert one.low == pytest.approx(max(read, 300.0))
    assert expected("cold_start_ms", findings()) == []  # no host result
    bare = replace(IPHONE, storage_gb_s=None)
    assert expected("cold_start_ms", findings(host_result()), bare) == []


def test_memory_is_the_models_without_pythons() -> None:
    (one,) = expected("peak_app_memory_mb", findings(host_result()))
    assert one == Estimate("", "D", 350.0, 350.0, 350.0)
    assert expected("peak_app_memory_mb", findings(host_result(memory={"peak_mb": 9.0}))) == []
    assert plain(estimate_words(AIMS["peak_app_memory_mb"], one)) == "350 MB: held [D]"


def test_a_floor_never_holds_an_aim_and_a_stand_in_does() -> None:
    nothing = findings(targets=replace(TARGETS, stand_ins=()))
    (floor,) = expected("render_12mp_gpu_ms", nothing)
    assert GALAXY.memory_gb_s is not None
    assert floor.floor
    (galaxy,) = expected("render_12mp_gpu_ms", nothing, GALAXY)
    # 72 MB of pixels and the LUT over the share of the bus that others reached
    bus = GALAXY.memory_gb_s.value * EFFICIENCY.bandwidth.middle * 1e6
    assert galaxy.middle == pytest.approx((72e6 + 33**3 * 12) / bus)
    assert plain(estimate_words(AIMS["render_12mp_gpu_ms"], floor)).endswith(": not known [C]")
    own = StandIn("render_2mp_gpu_ms", "cpu", 7.0, "s")
    both = expected("render_2mp_gpu_ms", findings(targets=replace(TARGETS, stand_ins=(own,))))
    assert [(one.by, one.formula, one.floor) for one in both] == [
        ("cpu", "G", False), ("gpu", "C", True),
    ]  # fmt: skip
    assert both[0].middle == 7.0
    same = StandIn("render_12mp_cpu_ms", "cpu", 43.0, "s")
    (one,) = expected("render_12mp_cpu_ms", findings(targets=replace(TARGETS, stand_ins=(same,))))
    assert (one.formula, one.middle) == ("G", 43.0)
    slow = replace(floor, low=70.0)
    assert estimate_words(AIMS["render_12mp_gpu_ms"], slow).endswith(": missed [C]")


@pytest.mark.parametrize(
    ("middle", "low", "high", "said"),
    [
        (500.0, 400.0, 600.0, "held over the whole band"),
        (500.0, 400.0, 601.0, "held in the middle"),
        (601.0, 400.0, 700.0, "missed in the middle"),
        (700.0, 601.0, 800.0, "missed over the whole band"),
        (600.0, 600.0, 600.0, "held"),
        (601.0, 601.0, 601.0, "missed"),
    ],
)
def test_an_estimate_says_how_much_of_it_holds(
    middle: float, low: float, high: float, said: str
) -> None:
    one = Estimate("cpu", "A", middle, low, high)
    text = plain(estimate_words(AIMS["instant_look_ms"], one))
    assert text.startswith(f"CPU {middle:.0f} ms")
    assert text.endswith(f": {said} [A]")


# ---- the table -----------------------------------------------------------------------------------


def table(*results: dict[str, Any], **changes: Any) -> list[str]:
    found = findings(*results, **changes)
    return plain(aims_table(TARGETS, found.of_model, found.facts, date="2026-05-04")).splitlines()


def test_the_table_has_a_row_for_each_aim_and_dates() -> None:
    lines = table(host_result(), host_result(bundle=BUNDLE | {"name": "other"}))
    assert lines[0].startswith("`vera-0.5b`, android-int4; host: X, 2 cores, 2026-05-04, commit")
    assert "projected on 2026-05-04, not run on a device" in lines[0]
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(TARGETS.aims)
    assert rows[0].count("|") == 6
    assert {row.count("|") for row in rows} == {6}
    cells = [cell.strip() for cell in rows[2].split("|")]
    assert cells[1:4] == [AIMS["auto_look_ms"].words, "2 500 ms", "1 920 ms"]
    assert cells[4].startswith("CPU ")
    assert "<br>NPU " in cells[4]
    used = {key for key in FORMULAS if any(f"[{key}]" in row for row in rows)}
    assert {line[3] for line in lines if line.startswith("- [")} == used
    assert not [row for row in rows if " 0 ms" in row or "nan" in row]


def test_a_note_stands_beside_the_figures(tmp_path: Path, vera: Vera) -> None:
    noted = host_result(note="a build ran beside it")
    assert "Note: a build ran beside it." in table(noted)[0]
    assert "Note" not in table(host_result())[0]
    page = tmp_path / "b.html"
    write_bench_page(page, findings(noted), command="vera")
    assert "Note: a build ran beside it." in page.read_text("utf-8")
    later = noted | {"date": "2026-06-01T00:00:00+00:00", "note": "quiet."}
    for name, record in (("a.json", noted), ("b.json", later)):
        save_result(record, tmp_path / name)
    done = vera("bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "1234abcd of 2026-05-04: Note: a build ran beside it." in done.out
    assert "1234abcd of 2026-06-01: Note: quiet." in done.out
    with pytest.raises(FileError, match="'note' is 7"):
        check_result(host_result(note=7), "x")


def test_what_a_phone_measured_takes_the_place_of_what_was_expected() -> None:
    phone = phone_result()
    phone["stages"]["bake"] = {"median_ms": 15.0}
    lines = table(host_result(), phone)
    (row,) = (line for line in lines if AIMS["auto_look_ms"].words in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[4] == "**measured**, 2026-05-04: 1 915 ms"
    assert cells[5].startswith("CPU ")


def test_without_a_bundle_nothing_is_projected() -> None:
    lines = table(bundle=None, projections=[])
    assert lines[0] == "No bundle was given: nothing is projected."
    (row,) = (line for line in lines if AIMS["auto_look_ms"].words in line)
    assert row.count("not projected") == 2


def test_the_command_writes_the_table(vera: Vera, nano_bundle: Path, tmp_path: Path) -> None:
    mine = host_result(bundle={"name": "vera-nano", "recipe": "android-int4", "size_bytes": 1})
    save_result(mine, history_path(tmp_path / "results", mine))
    flags = ("--bundle", nano_bundle, "--results", tmp_path / "results", "--peers", tmp_path)
    done = vera("bench", "report", *flags, "--out", tmp_path / "r.html",
                "--markdown", tmp_path / "t.md")  # fmt: skip
    assert done.code == 0, done.err
    text = plain((tmp_path / "t.md").read_text("utf-8"))
    assert "| 1 920 ms | CPU " in text
    assert f"wrote {tmp_path / 't.md'}" in done.out


@pytest.mark.parametrize(
    "text",
    ['aim="x"\nunit="cpu"\nms=1\nsource="s"', 'aim="a"\nunit="cpu"\nms=1\n'
     'source=""', 'aim="a"\nunit="cpu"\nms=0\nsource="s"'],
)  # fmt: skip
def test_bad_stand_ins_are_named(tmp_path: Path, text: str) -> None:
    aim = '[[aims]]\nname="a"\nwords="w"\nat_most=1\nphones=[]\n'
    (tmp_path / "t.toml").write_text(f"{aim}[[stand_ins]]\n{text}")
    with pytest.raises(FileError, match="stand-in"):
        load_targets(tmp_path / "t.toml")
