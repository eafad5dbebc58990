"""Targets, published measurements and the projections that are fitted to them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Vera

from vera_mobile.bench.counts import Count
from vera_mobile.bench.project import Fit, Range, fit, project
from vera_mobile.bench.targets import (
    Figure,
    Measured,
    Phone,
    benchmarks_folder,
    load_published,
    load_targets,
)
from vera_mobile.errors import FileError, InvalidArgument

FOLDER = benchmarks_folder()
TARGETS = load_targets(FOLDER / "targets.toml")
PUBLISHED = load_published(FOLDER / "published.toml")
BUS = Figure(100.0, "s", "high")
PHONE = Phone("p", "P", "C", ("cpu", "npu"), memory_gb_s=BUS, npu_tops=Figure(2.0, "s", "high"))


def published(name: str, share: float, rate: float, unit: str = "cpu") -> Measured:
    """Decoding 1 GB a token at `share` of 100 GB/s; reading `rate` G multiply-adds a second."""
    return Measured(
        name, "x", unit, "s", memory_gb_s=100.0, decode_tok_s=share * 100, weight_mb=1000.0,
        prefill_tok_s=rate, multiply_adds_g=1.0,
    )  # fmt: skip


# ---- the tables ----------------------------------------------------------------------------------


def test_the_phones_of_the_issue_are_there_with_sources() -> None:
    assert set(TARGETS.phones) == {
        "iphone-15-pro", "iphone-16-pro", "iphone-17-pro", "galaxy-s24", "galaxy-s25", "pixel-9",
        "pixel-10", "dimensity-9400", "iphone-13-pro",
    }  # fmt: skip
    for phone in TARGETS.phones.values():
        assert phone.memory_gb_s is not None, phone.key
        assert 20 < phone.memory_gb_s.value < 200, phone.key
    assert {aim.name: aim.at_most for aim in TARGETS.aims}["auto_look_ms"] == 2500


def test_published_measurements_are_plausible() -> None:
    shares = [m.bandwidth_share for m in PUBLISHED.measured if m.bandwidth_share is not None]
    assert len(shares) >= 5
    assert all(0.1 < share < 1 for share in shares)
    assert all(m.bandwidth_share or m.multiply_adds_s for m in PUBLISHED.measured)
    fast = next(m for m in PUBLISHED.measured if m.name.startswith("FastVLM"))
    # 106 tokens/s of 494 MB over 84.8 GB/s
    assert fast.bandwidth_share == pytest.approx(0.6175, abs=1e-4)
    assert fast.multiply_adds_s == pytest.approx(344e9 / 0.12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[phones", "cannot be read"),
        ("[phone.x]\na = 1", "unknown key 'phone'"),
        ('[phones.x]\nname = "X"', "phone 'x'"),
        ('[phones.x]\nname="X"\nchip="C"\nunits=["cpu"]\nspeed=1', "unknown: ['speed']"),
        ('[phones.x]\nname="X"\nchip="C"\nunits=["cpu"]\nram_gb={value=0,source="s",'
         'confidence="low"}', "leave out what is not known"),
        ('[phones.x]\nname="X"\nchip="C"\nunits=["cpu"]\nram_gb={value=8,source="",'
         'confidence="low"}', "needs a source"),
        ('[[aims]]\nname="a"\nwords="w"\nat_most=1\nphones=["y"]', "unknown phones ['y']"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(FileError) as caught:
        load_targets(tmp_path / "t.toml")
    assert "t.toml" in str(caught.value)
    assert said in str(caught.value)


def test_a_measurement_needs_a_source(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[[measured]]\nname="m"\nphone="p"\nunit="cpu"\nsource=""')
    with pytest.raises(FileError, match="needs a unit"):
        load_published(tmp_path / "p.toml")


def test_a_missing_figure_is_none_and_not_zero() -> None:
    bare = Measured("m", "p", "cpu", "s")
    assert (bare.bandwidth_share, bare.multiply_adds_s) == (None, None)
    assert replace(PHONE, npu_tops=None).peak_multiply_adds("npu") is None
    assert PHONE.peak_multiply_adds("npu") == 1e12  # an operation is half a multiply-add


# ---- the fit -------------------------------------------------------------------------------------


def test_leaving_one_out_predicts_it_by_the_others() -> None:
    found = Fit({"a": 1.0, "b": 2.0, "c": 4.0})
    assert found.middle == pytest.approx(2.0)
    assert (found.worst, found.best) == (1.0, 4.0)
    # a's time by the others is 1 / sqrt(8), its own 1 / 1
    assert found.errors["a"] == pytest.approx(1 / math.sqrt(8) - 1)
    assert found.errors["b"] == pytest.approx(0.0)
    assert found.typical_error == pytest.approx(8 ** (1 / 3) - 1)
    assert Fit({"a": 1.0}).errors == {}
    assert Fit({"a": 1.0}).typical_error is None


def test_factors_are_pooled_for_the_bus_and_kept_apart_for_units() -> None:
    found = fit(
        [published("a", 0.5, 100), published("b", 0.125, 400), published("c", 0.25, 9, "npu")]
    )
    assert found.bandwidth.middle == pytest.approx(0.25)
    assert found.rates["cpu"].middle == pytest.approx(200e9)
    assert set(found.rates) == {"cpu", "npu"}
    with pytest.raises(InvalidArgument, match="No published measurement"):
        fit([Measured("m", "p", "cpu", "s")])


# ---- projections ---------------------------------------------------------------------------------


def counts(**changes: Count) -> dict[str, Count]:
    light = Count(weight_bytes=1000)
    names = ("load", "vision", "prefill", "decode", "decode_per_token", "head", "bake")
    return dict.fromkeys(names, light) | changes


def all_three(projected: Range | None) -> tuple[float, float, float]:
    assert projected is not None
    return projected.middle_ms, projected.low_ms, projected.high_ms


def test_the_slower_of_memory_and_arithmetic_decides() -> None:
    efficiency = fit([published("a", 0.5, 100), published("b", 0.5, 100)])
    memory, compute = Count(weight_bytes=10**9), Count(multiply_adds=10**9)
    found = project(counts(decode=memory, vision=compute), PHONE, "cpu", efficiency)
    stages = {stage.stage: stage for stage in found.stages}
    assert all_three(stages["decode"].projected) == pytest.approx((20.0, 20.0, 20.0))
    assert (stages["decode"].bound_by, stages["vision"].bound_by) == ("memory", "compute")
    assert stages["decode"].roofline_ms == pytest.approx(10.0)
    assert all_three(stages["vision"].projected) == pytest.approx((10.0, 10.0, 10.0))
    assert stages["vision"].roofline_ms == 0.0  # a CPU's peak is not published
    npu = fit([published("a", 0.5, 100, "npu")])
    vision = project(counts(vision=compute), PHONE, "npu", npu).stages[1]
    assert vision.roofline_ms == pytest.approx(1.0)


def test_activations_stay_in_caches_and_the_cache_of_keys_does_not() -> None:
    efficiency = fit([published("a", 1.0, 1e9)])
    busy = Count(weight_bytes=10**6, state_bytes=10**6, activation_bytes=10**12)
    stage = project(counts(decode=busy), PHONE, "cpu", efficiency).stages[3]
    assert stage.least_bytes == 2 * 10**6
    assert stage.roofline_ms == pytest.approx(0.02)


def test_totals_are_sums_and_instant_needs_two_steps() -> None:
    efficiency = fit([published("a", 0.4, 1), published("b", 0.8, 1)])
    token, rest = Count(weight_bytes=10**8), Count(weight_bytes=10**9)
    given = counts(decode_per_token=token, decode=token * 122, vision=rest)
    found = project(given, PHONE, "cpu", efficiency)
    by_name = {stage.stage: stage.projected for stage in found.stages}
    assert found.auto is not None
    assert found.instant is not None
    saved = found.auto.middle_ms - found.instant.middle_ms
    one = by_name["decode_per_token"]
    assert one is not None
    assert saved == pytest.approx(120 * one.middle_ms)
    assert found.auto.low_ms < found.auto.middle_ms < found.auto.high_ms
    assert found.auto.high_ms == pytest.approx(2 * found.auto.low_ms)


def test_what_no_measurement_covers_is_not_projected() -> None:
    efficiency = fit([published("a", 0.5, 100)])
    found = project(counts(), PHONE, "npu", efficiency)
    assert (found.auto, found.instant) == (None, None)
    unknown = project(counts(), replace(PHONE, memory_gb_s=None), "cpu", efficiency)
    assert all(stage.projected is None for stage in unknown.stages)
    assert all(stage.roofline_ms is None for stage in unknown.stages)
    load = project(counts(), PHONE, "cpu", efficiency).stages[0]
    assert (load.stage, load.projected, load.roofline_ms) == ("load", None, None)
    with pytest.raises(InvalidArgument, match="has no unit 'gpu'"):
        project(counts(), PHONE, "gpu", efficiency)


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_calls_it_a_projection_and_shows_the_formula(
    vera: Vera, nano_bundle: Path
) -> None:
    flags = ("--bundle", nano_bundle, "--target", "galaxy-s25", "--unit", "npu", "--tokens", "120")
    done = vera("bench", "project", *flags)
    assert done.code == 0, done.err
    for said in (
        "Projection, not a measurement: Galaxy S25, npu, 120 tokens",
        "projected = max(bytes / (e x B), multiply-adds / R)",
        "B = 84.8 GB/s (high confidence); P = not published",
        "leave-one-out error: typically",
        "aim 2500 ms: held over the whole band",
        "R was measured on",
    ):
        assert said in done.out, said
    record = json.loads(vera("bench", "project", *flags, "--json").out)
    assert record["note"] == "a projection, not a measurement"
    assert record["auto"]["low_ms"] < record["auto"]["middle_ms"] < record["auto"]["high_ms"]
    assert record["stages"]["load"]["projected"] is None
    assert record["uncounted_operators"] == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--target", "nokia"), "'nokia' is unknown: use one of iphone-15-pro"),
        (("--target", "pixel-9", "--tokens", "-1"), "--tokens"),
        (("--target", "pixel-9", "--targets", "none.toml"), "none.toml"),
        (("--target", "pixel-9", "--bundle", "none"), "none"),
    ],
)
def test_bad_arguments(vera: Vera, nano_bundle: Path, changes: tuple[str, ...], said: str) -> None:
    done = vera("bench", "project", "--bundle", nano_bundle, *changes)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
