"""Costs of layers, the mixed recipe that follows from them, and how both are shown."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vera_mobile.assets import checkpoint_folder
from vera_mobile.cli import Console
from vera_mobile.errors import InvalidArgument
from vera_mobile.export.photos_parity import Case, case_of
from vera_mobile.export.quant_commands import add, page, run_sensitivity, trial_cases, write_report
from vera_mobile.export.sensitivity import CALIBRATED, INT4, INT8, STATIC, Bench, Trial
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.quant.sensitivity import Budget, Cost, mixed_recipe, report, table
from vera_mobile.quant.simulate import StaticConv, conv_ranges, replaced


def cost(layer: str, scheme: str, size: int, ciede: float, divergence: float = 0.0) -> Cost:
    return Cost("decoder", layer, scheme, 1000, size, 40.0, divergence, 1.0, 60.0, ciede)


TRIALS = [
    cost(layer, scheme, size, ciede, divergence)
    for layer, scheme, size, ciede, divergence in (
        ("a", "int4", 500, 0.4, 0.0001), ("a", "int8", 1000, 0.02, 0.0),
        ("b", "int4", 500, 0.1, 0.0), ("b", "int8", 1000, 0.01, 0.0),
        ("c", "int4", 500, 0.02, 0.0), ("c", "int8", 1000, 0.01, 0.0),
        ("d", "int4", 500, 0.0, 0.0005), ("d", "int8", 1000, 0.0, 0.0),
    )
]  # fmt: skip


def test_a_mixed_recipe_keeps_the_budget_and_spends_bytes_where_they_count() -> None:
    budget = Budget(ciede2000=0.2, text_divergence=0.0003)
    mixed = mixed_recipe(TRIALS, budget)
    assert mixed.schemes == {
        "decoder.a": "int8", "decoder.b": "int4", "decoder.c": "int4", "decoder.d": "int8"
    }  # fmt: skip
    assert mixed.size_bytes == 3000
    assert mixed.budget_share <= 1
    assert mixed.ciede2000 == pytest.approx((0.02**2 + 0.1**2 + 0.02**2) ** 0.5)


@pytest.mark.parametrize("limit", [0.03, 0.1, 0.2, 0.5])
def test_it_is_not_much_larger_than_the_best_of_all_recipes(limit: int) -> None:
    budget = Budget(ciede2000=limit, text_divergence=0.0003)
    options = [
        [c for c in TRIALS if c.layer == layer] + [cost(layer, "fp32", 4000, 0.0)]
        for layer in "abcd"
    ]
    best = min(
        sum(c.size_bytes for c in picks)
        for picks in itertools.product(*options)
        if sum(budget.share(c) for c in picks) <= 1
    )
    mixed = mixed_recipe(TRIALS, budget)
    assert mixed.budget_share <= 1
    assert best <= mixed.size_bytes <= 1.35 * best


def test_a_larger_budget_never_gives_a_larger_recipe() -> None:
    sizes = [mixed_recipe(TRIALS, Budget(x, 0.0003)).size_bytes for x in (0.01, 0.05, 0.2, 1.0)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_budget_that_nothing_holds_leaves_everything_in_float() -> None:
    mixed = mixed_recipe(TRIALS, Budget(1e-9, 1e-9))
    assert set(mixed.schemes.values()) <= {"fp32", "int8"}
    assert mixed.schemes["decoder.a"] == "fp32"
    assert mixed.budget_share <= 1


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="above 0"):
        Budget(ciede2000=0)
    with pytest.raises(InvalidArgument, match="run the trials first"):
        mixed_recipe([], Budget())


def values() -> dict[str, object]:
    budget = Budget()
    found = report(TRIALS, [(budget, mixed_recipe(TRIALS, budget))])
    return {"checkpoint": "<nano>", "photos": 4, **found}


def test_the_report_is_json_and_begins_with_the_dearest_layer() -> None:
    back = json.loads(json.dumps(values()))
    assert back["trials"][0]["layer"] == "a"
    assert back["trials"][0]["ciede2000"] == 0.4
    assert back["mixed"][0]["schemes"]["decoder.a"] == "int8"
    assert len(table(TRIALS).splitlines()) == len(TRIALS) + 1


def test_the_page_shows_every_trial_and_loads_nothing(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", values())
    text = (tmp_path / "report.html").read_text("utf-8")
    assert text == page(values())
    assert text.count("<rect ") == len(TRIALS)
    assert 'width="100.00"' in text
    assert 'width="25.00"' in text
    assert "&lt;nano&gt;" in text
    assert "<nano>" not in text
    assert "http" not in text.replace('http-equiv="', "")
    assert "src=" not in text
    write_report(tmp_path / "report.json", values())
    assert json.loads((tmp_path / "report.json").read_text())["photos"] == 4


def test_a_static_convolution_costs_what_8_bits_cost() -> None:
    torch.manual_seed(2)
    conv = nn.Conv2d(8, 16, 3, padding=1)
    x = torch.randn(2, 8, 9, 9)
    box = nn.Sequential(conv)
    ranges = conv_ranges(box, [(x,)])
    assert ranges["0"][0] == (float(x.min()), float(x.max()))
    with torch.no_grad():
        exact = conv(x)
        with replaced(box, {"0": StaticConv(conv, *ranges["0"])}):
            got = box(x)
        assert torch.equal(box(x), exact)
    sqnr = 10 * torch.log10(exact.square().sum() / (got - exact).square().sum())
    assert 35 < sqnr < 45  # 8 bits over a range of about 3.5 sigma each way: 38 dB measured
    narrow = StaticConv(conv, (-0.1, 0.1), ranges["0"][1])(x)
    assert (narrow - exact).abs().mean() > 5 * (got - exact).abs().mean()


def pictures() -> list[np.ndarray]:
    """Two small pictures with structure, (48, 64, 3) uint8."""
    y, x = np.mgrid[0:48, 0:64]
    planes = (3 * x + y, 200 - 2 * y, (x * y) // 16 + 30)
    first = np.stack([np.clip(plane, 0, 255) for plane in planes], -1).astype(np.uint8)
    return [first, np.ascontiguousarray(first[::-1, :, ::-1] // 2)]


def cases(first: int) -> list[Case]:
    return [case_of(f"made {i}", picture, first + i) for i, picture in enumerate(pictures())]


@pytest.fixture(scope="module")
def bench() -> Bench:
    folder = checkpoint_folder("nano")
    vocabulary = Vocabulary.load(folder / "tokenizer.json")
    return Bench(load_checkpoint(folder), vocabulary, cases(0), cases(4))


@pytest.fixture(scope="module")
def trials(bench: Bench) -> dict[tuple[str, str, str], Trial]:
    return {(t.part, t.layer, t.scheme): t for t in bench.trials()}


def test_every_layer_has_trials(bench: Bench, trials: dict[tuple[str, str, str], Trial]) -> None:
    linear = {
        (part, name)
        for part, module in bench.modules.items()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }
    assert {(part, layer) for part, layer, scheme in trials if scheme == INT8} == linear
    convs = sum(isinstance(layer, nn.Conv2d) for layer in bench.modules["vision"].modules())
    tried = sum(len(t.layers) for (_, _, scheme), t in trials.items() if scheme == STATIC)
    assert tried == convs
    assert {scheme for part, _, scheme in trials if part == "embed"} == {"int8w", "int4w_g32"}


def test_layers_as_they_are_cost_nothing(bench: Bench) -> None:
    same = {"decoder.layers.0.qkv": bench.modules["decoder"].get_submodule("layers.0.qkv")}
    found = bench.cost(Trial("decoder", "layers.0.qkv", "fp32", 1, 4, same))
    assert (found.latent_sqnr_db, found.psnr_db) == (None, None)
    assert (found.text_divergence, found.token_agreement, found.ciede2000) == (0.0, 1.0, 0.0)


def test_fewer_bits_cost_more_and_calibration_less(
    bench: Bench, trials: dict[tuple[str, str, str], Trial]
) -> None:
    found = {
        scheme: bench.cost(trials["decoder", "layers.0.qkv", scheme])
        for scheme in ("fp16", INT8, INT4, CALIBRATED)
    }
    noise = {scheme: -(cost.latent_sqnr_db or 300.0) for scheme, cost in found.items()}
    assert noise["fp16"] < noise[INT8] < noise[CALIBRATED] < noise[INT4]
    sizes = {scheme: cost.size_bytes for scheme, cost in found.items()}
    assert sizes[INT4] == sizes[CALIBRATED] < sizes[INT8] < sizes["fp16"]


@pytest.mark.parametrize(
    ("part", "layer", "scheme"),
    [("vision", "stages.4 pointwise", STATIC), ("embed", "table", "int4w_g32"),
     ("head", "second", INT4), ("bake", "renderer.layers.1", INT8)],
)  # fmt: skip
def test_every_part_shows_in_the_photo(
    bench: Bench, trials: dict[tuple[str, str, str], Trial], part: str, layer: str, scheme: str
) -> None:
    found = bench.cost(trials[part, layer, scheme])
    assert found.ciede2000 > 0
    assert found.psnr_db is not None
    assert (found.latent_sqnr_db is None) == (part == "bake")
    assert (found.text_divergence == 0) == (part in ("head", "bake"))
    # and the forms are whole again
    test_layers_as_they_are_cost_nothing(bench)


def test_sample_photos_stand_in_for_a_folder() -> None:
    measured, calibration = trial_cases(None, 4)
    assert len(measured) == len(calibration) == 4
    assert {case.kind for case in measured} == {"auto", "style", "param"}
    pairs = zip(measured, calibration, strict=True)
    assert all(a.kind != b.kind for a, b in pairs)


def test_the_command_says_what_it_needs() -> None:
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    args = parser.parse_args(["quant", "sensitivity", "--out", "report.txt"])
    assert args.run is run_sensitivity
    with pytest.raises(InvalidArgument, match=r"report\.txt"):
        args.run(args, Console())
    args = parser.parse_args(["quant", "sensitivity", "--limit", "2"])
    with pytest.raises(InvalidArgument, match="--limit is 2"):
        args.run(args, Console())
