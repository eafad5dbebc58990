"""Counts of Core ML packages, against PyTorch's counter and arithmetic on the config."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from test_coreml import HALF, tiny
from torch.utils.flop_counter import FlopCounterMode

from vera_mobile.bench.counts import Case
from vera_mobile.bundle import Bundle
from vera_mobile.export.coreml import build
from vera_mobile.export.counting import count_function, count_package_bundle
from vera_mobile.export.mil.package import Package
from vera_mobile.export.recipes import Recipe
from vera_mobile.model.vlm import VeraModel


@pytest.fixture(scope="module")
def model() -> VeraModel:
    torch.manual_seed(0)
    return VeraModel(tiny()).eval()


@pytest.fixture(scope="module")
def folder(model: VeraModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packages")
    recipe = cast(Recipe, SimpleNamespace(**HALF))
    for part in ("vision", "embed", "decoder", "head", "bake"):
        build(part, model, recipe, None, place)
    return place


@torch.no_grad()
def test_vision_is_what_pytorch_counts(folder: Path, model: VeraModel) -> None:
    size = model.config.vision.image_size
    with FlopCounterMode(display=False) as counter:
        model.encode_image(torch.zeros(1, 3, size, size))
    package = Package.open(folder / "vision.mlpackage")
    count, unknown = count_function(package, package.function(), 1)
    assert unknown == {}
    # branches of convolutions are folded together in the export
    assert count.multiply_adds == pytest.approx(counter.get_total_flops() / 2, rel=0.03)
    assert (
        count.weight_bytes == (package.path / "Data").rglob("weight.bin").__next__().stat().st_size
    )


def test_the_decoder_is_counted_by_token(folder: Path, model: VeraModel) -> None:
    language = model.config.language
    hidden, inner = language.hidden_size, language.intermediate_size
    query, kv = language.heads * language.head_dim, language.kv_heads * language.head_dim
    layer = hidden * (query + 2 * kv) + query * hidden + 3 * hidden * inner
    attention = 2 * query * language.max_length  # over the whole cache
    head = language.vocab_size * hidden
    package = Package.open(folder / "decoder.mlpackage")
    for tokens in (1, 7):
        count, unknown = count_function(package, package.function(), tokens)
        expected = tokens * language.layers * (layer + attention) + head
        assert count.multiply_adds == expected, tokens
        assert unknown == {}
    assert count.state_bytes == 2 * language.layers * kv * language.max_length * 2


def test_a_bundle_has_every_stage(folder: Path, model: VeraModel) -> None:
    bundle = cast(Bundle, SimpleNamespace(root=folder))
    stages = count_package_bundle(bundle, Case(prompt_tokens=20, answer_tokens=5)).stages
    assert set(stages) == {"vision", "prefill", "decode", "decode_per_token", "head", "bake"}
    assert stages["decode"] == stages["decode_per_token"] * 7
    assert all(count.multiply_adds > 0 for count in stages.values())
    latents = torch.zeros(1, 3, model.config.renderer.latent_size)

    @torch.no_grad()
    def counted(points: int) -> int:
        with FlopCounterMode(display=False) as counter:
            model.renderer(torch.zeros(1, points, 3), latents)
        return counter.get_total_flops() // 2

    # two calls: 27 lines of 65 for the curves, 33^3 nodes
    assert stages["bake"].multiply_adds == counted(27 * 65) + counted(33**3)
