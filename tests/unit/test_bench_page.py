"""The report page of `vera bench report`: honest, self-contained, readable in both schemes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Vera
from pages import browse, lowest_contrast, screen, shot, wider_than_the_window
from test_bench_results import result

from vera_mobile.bench import figures
from vera_mobile.bench.counts import Count
from vera_mobile.bench.page import Findings, write_bench_page
from vera_mobile.bench.project import Range, fit, project
from vera_mobile.bench.results import history_path, save_result
from vera_mobile.bench.targets import benchmarks_folder, load_published, load_targets

TARGETS = load_targets(benchmarks_folder() / "targets.toml")
PUBLISHED = load_published(benchmarks_folder() / "published.toml")
EFFICIENCY = fit(PUBLISHED.measured)
COUNTS = {
    "vision": Count(140_000_000, 0, 0, 244 * 10**9),
    "prefill": Count(400_000_000, 0, 0, 116 * 10**9),
    "decode": Count(27 * 10**9),
    "decode_per_token": Count(220_000_000),
    "head": Count(9_000_000),
    "bake": Count(26_000_000, 0, 0, 7 * 10**9),
    "render_12mp": Count(400_000, 72_000_000),
}
HOSTILE = "<img src=x onerror=window.hacked=1>\"'&"


def phone_result(**changes: Any) -> dict[str, Any]:
    made = result(1900.0, 10.0, kind="phone", unit="npu", in_a_row_ms=[2000.0, 1900.0, 2100.0])
    made["device"] = {"id": "iphone-16-pro", "name": "iPhone 16 Pro"}
    made["bundle"] = {"name": "vera-0.5b", "recipe": "ios-int4", "size_bytes": 380_000_000}
    made["stages"]["plan"]["peak_mb"] = 655.0
    made["stages"]["load"] = {"cold_ms": 1700.0, "median_ms": 300.0}
    made["stages"]["bake"] = {"median_ms": 15.0}
    return made | changes


def findings(*results: dict[str, Any], peers: Path = Path("none"), **changes: Any) -> Findings:
    projections = [
        project(COUNTS, phone, unit, EFFICIENCY)
        for phone in TARGETS.phones.values()
        for unit in ("cpu", "npu")
    ]
    values: dict[str, Any] = {
        "targets": TARGETS,
        "published": PUBLISHED,
        "efficiency": EFFICIENCY,
        "projections": projections,
        "results": results,
        "bundle": {"name": "vera-0.5b", "recipe": "android-int4", "size_bytes": 390_000_000},
        "peers": peers,
    }
    return Findings(**(values | changes))


def write(path: Path, found: Findings, **changes: Any) -> str:
    write_bench_page(path, found, **({"command": "vera bench report"} | changes))
    return path.read_text("utf-8")


def words(page: str) -> str:
    body = page.split("</style>")[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ")


def test_a_projection_is_called_one_and_a_missing_figure_is_never_zero(tmp_path: Path) -> None:
    text = words(write(tmp_path / "b.html", findings()))
    assert "Nothing here was run on a phone yet" in text
    assert "A projection is an estimate" in text
    assert "projected = max(bytes / (e x B), multiply-adds / R)" in text
    assert not re.search(r"(?<![\d.,] )(?<![\d.,])0(\.0+)? ms", text)
    assert text.count("not measured") >= 14
    assert "for Galaxy S24 (Snapdragon), Galaxy S25, Pixel 9" in text  # no app limit is published
    assert "no result with two plans in a row" in text
    for source in {m.source for m in PUBLISHED.measured}:
        assert source.split(";")[0][:40] in text


def test_aims_are_held_or_missed_by_what_a_phone_gave(tmp_path: Path) -> None:
    text = words(write(tmp_path / "b.html", findings(result(), phone_result())))
    rows = text[text.index("Measured there") : text.index("Look in hand, by phone")]
    assert "2 500 ms not measured iPhone 16 Pro 1 915 ms: held CPU" in rows
    assert "cold start to ready 1 500 ms not measured iPhone 16 Pro 1 700 ms: missed" in rows
    assert "second photo of a session over the first 1.00 ×" in rows
    assert "iPhone 16 Pro 0.95 ×: held" in rows
    assert "iPhone 16 Pro 380 MB: held 390 MB: held [F]" in rows
    assert "Host: not measured for this bundle." in text
    assert "1 of the 2 results come from phones" in text
    assert "photo 3: 2 100 ms" in text
    assert "No temperature was told." in text
    assert "655 MB" in text


def test_seeded_weights_are_said_to_mean_nothing(tmp_path: Path) -> None:
    bundle = {"name": "vera-0.5b-seeded", "recipe": "android-int4", "size_bytes": 390_000_000}
    note = "Its weights are seeded, not trained"
    assert note in words(write(tmp_path / "b.html", findings(bundle=bundle)))
    assert note not in words(write(tmp_path / "c.html", findings()))


def test_another_models_result_holds_no_aim(tmp_path: Path) -> None:
    nano = phone_result(bundle={"name": "vera-nano", "recipe": "ios-int4", "size_bytes": 8_000_000})
    text = words(write(tmp_path / "b.html", findings(nano)))
    assert "1 of the 1 results come from phones" in text
    assert "1 915 ms" not in text[: text.index("Cold and hot")]


def test_hot_stands_against_cold_with_the_temperature(tmp_path: Path) -> None:
    heat = {"celsius": {"before": 31.2, "after": 40.0}, "state": {"before": "none", "after": None}}
    row = [900.0, 500.0, *[550.0] * 5, 600.0, 650.0, 700.0]
    text = words(write(tmp_path / "b.html", findings(phone_result(in_a_row_ms=row, thermal=heat))))
    assert "Hot against cold: +30 %; 31.2 °C before, 40.0 °C after" in text
    cooler = [900.0, 800.0, *[700.0] * 5, 600.0, 600.0, 600.0]
    host = figures.heat_words(result(in_a_row_ms=cooler, thermal={}))
    assert host == "Last three against the second: \u221225\u00a0%"
    quick = figures.heat_words(phone_result(in_a_row_ms=cooler, thermal={}))
    assert quick == "Hot against cold: \u221225\u00a0%"


def test_history_has_a_point_for_each_commit(tmp_path: Path) -> None:
    old = result(100.0, date="2026-05-01T00:00:00+00:00", commit="a" * 40)
    new = result(80.0, date="2026-06-01T00:00:00+00:00", commit="b" * 40)
    (curve,) = figures.curves([old, new], "vision")
    assert [p["words"] for p in curve["points"]] == ["100\u00a0ms", "80.0\u00a0ms"]
    assert curve["points"][0]["x"] == 0
    assert curve["points"][1]["x"] == 100
    assert curve["points"][0]["y"] < curve["points"][1]["y"]  # slower is higher up
    page = write(tmp_path / "b.html", findings(old, new))
    assert "aaaaaaaa, 2026-05-01: 100 ms" in words(page)
    assert page.count("<polyline") == 3  # vision, plan, and the photos in a row
    single = write(tmp_path / "c.html", findings(old))
    assert single.count("<polyline") == 1  # one point is no curve
    assert "aaaaaaaa, 2026-05-01: 100 ms" in words(single)


def test_phones_can_be_compared_by_the_length_of_their_bars() -> None:
    charts = figures.look_charts(TARGETS, PUBLISHED, findings().projections, [])
    lengths = {chart["name"]: chart["bars"][0]["at"] for chart in charts}
    by_name = {p.phone.name: p.auto for p in findings().projections if p.unit == "cpu"}
    for name, other in (("iPhone 16 Pro", "Galaxy S25"), ("iPhone 13 Pro, an older phone with 6 GB",
                                                          "iPhone 16 Pro")):  # fmt: skip
        one, two = by_name[name], by_name[other]
        assert one is not None
        assert two is not None
        assert lengths[name] / lengths[other] == pytest.approx(one.middle_ms / two.middle_ms, 0.01)


def test_bars_are_to_scale_and_carry_words() -> None:
    row = figures.bar("x", "projected npu", Range(50.0, 25.0, 100.0), 200.0, "50 ms")
    assert row["at"] == 25.0
    assert row["band"] == {"from": 12.5, "width": 37.5}
    (chart,) = (
        c for c in figures.look_charts(TARGETS, PUBLISHED, findings().projections, [])
        if c["name"] == "iPhone 16 Pro"
    )  # fmt: skip
    peer = chart["bars"][-1]
    assert peer["label"] == "public VeraRetouch app"
    assert peer["at"] == 100.0
    assert peer["words"] == "13.5\u00a0s, longer than this scale"
    assert all(bar["words"] for bar in chart["bars"])
    assert chart["aim"]["words"] == "2\u202f500\u00a0ms"


def test_peers_of_the_scripts_are_shown(tmp_path: Path) -> None:
    record = {"decode_ratio_vs_llama_cpp_q4_0": 1.28, "threads": 2, "raw": {"a": []}}
    (tmp_path / "llm.json").write_text(json.dumps(record))
    rows = [{"peer": "opencv", "case": "12mp-2t", "ratio": 3.5}, {"peer": "x", "missing": "y"}]
    (tmp_path / "kernels.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "broken.json").write_text("{")
    found = {one["name"]: one["rows"] for one in figures.peers(tmp_path)}
    assert found == {
        "kernels.json": [("opencv over ours, 12mp-2t", "3.50")],
        "llm.json": [("decode ratio vs llama cpp q4 0", "1.28"), ("threads", "2")],
    }


def test_page_is_self_contained_and_hostile_text_stays_text(tmp_path: Path) -> None:
    bad = result(commit=HOSTILE)
    bad["device"]["name"] = bad["bundle"]["name"] = HOSTILE
    when = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
    page = write(tmp_path / "b.html", findings(bad), command=HOSTILE, when=when)
    assert "<img" not in page
    assert not re.findall(r'(?:src|href)="', page)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="', page))
    assert page == write(tmp_path / "c.html", findings(bad), command=HOSTILE, when=when)


def test_the_command_writes_the_page(vera: Vera, tmp_path: Path) -> None:
    save_result(phone_result(), history_path(tmp_path / "results", phone_result()))
    out = tmp_path / "new" / "r.html"
    flags = ("--results", tmp_path / "results", "--peers", tmp_path, "--out", out)
    done = vera("bench", "report", *flags)
    assert done.code == 0, done.err
    assert f"Look at {out}" in done.out
    assert "held" in words(out.read_text("utf-8"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from browse()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_page_fits_and_can_be_read(tmp_path: Path, browser: Any, scheme: str, width: int) -> None:
    write(tmp_path / "b.html", findings(result(), phone_result()))
    screen(browser, width, 900, scheme=scheme)
    browser.get((tmp_path / "b.html").as_uri())
    assert wider_than_the_window(browser) == []
    # WCAG 2 asks for 4.5 of text of this size
    assert lowest_contrast(browser) >= 4.5
    assert browser.get_log("browser") == []
    assert (shot(browser)[5, 5].mean() < 60) == (scheme == "dark")


def test_kinds_of_bars_differ_in_grey_too(tmp_path: Path, browser: Any) -> None:
    """Plain, hatched, crossed and the darkest: told apart by what grey values they hold."""
    write(tmp_path / "b.html", findings(phone_result()))
    screen(browser, 1200, 900)
    browser.get((tmp_path / "b.html").as_uri())
    seen = {}
    for kind in ("mark", "mark npu", "mark peer", "mark measured"):
        box = browser.execute_script(
            f"const r = document.querySelector('.legend [class=\"{kind}\"]');"
            "r.scrollIntoView({block: 'center'}); return r.getBoundingClientRect().toJSON()"
        )
        rows = slice(int(box["top"]) + 3, int(box["bottom"]) - 3)
        columns = slice(int(box["left"]) + 3, int(box["right"]) - 3)
        part = shot(browser)[rows, columns].mean(axis=2)
        seen[kind] = (round(float(part.mean())), float(part.std()))
    assert seen["mark"][1] < 5  # plain
    assert seen["mark measured"][1] < 5
    assert seen["mark"][0] - seen["mark measured"][0] > 30
    assert seen["mark npu"][1] > 20  # a pattern
    assert seen["mark peer"][1] > 20
