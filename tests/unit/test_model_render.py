"""Retouch head, renderer and reference encoder: shapes, invariants, export."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import RendererConfig, vera_0_5b, vera_nano
from vera_mobile.model.head import RetouchHead
from vera_mobile.model.reference_encoder import ReferenceEncoder
from vera_mobile.model.renderer import Renderer

RESIDUAL = vera_nano().renderer
SIGMOID = RendererConfig(widths=(16, 24, 32), latent_size=8)


def _renderer(config: RendererConfig, *, out_std: float) -> Renderer:
    torch.manual_seed(0)
    renderer = Renderer(config).eval()
    nn.init.normal_(renderer.out.weight, std=out_std)
    return renderer


def _latents(config: RendererConfig, count: int = 1) -> Tensor:
    return torch.randn(count, 3, config.latent_size, generator=torch.Generator().manual_seed(3))


def test_untrained_residual_renderer_is_the_identity_for_any_look():
    torch.manual_seed(0)
    rgb = torch.rand(2, 100, 3)
    assert torch.equal(Renderer(RESIDUAL)(rgb, _latents(RESIDUAL, 2)), rgb)


@pytest.mark.parametrize("config", [RESIDUAL, SIGMOID], ids=["residual", "sigmoid"])
def test_output_stays_in_range_for_extreme_looks(config):
    renderer = _renderer(config, out_std=1.0)
    rgb = torch.rand(1, 500, 3)
    out = renderer(rgb, 100.0 * _latents(config))
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_unclamped_output_is_the_same_inside_and_free_outside():
    renderer = _renderer(RESIDUAL, out_std=0.1)
    rgb, latents = torch.rand(1, 500, 3), _latents(RESIDUAL)
    free = renderer(rgb, latents, clamp=False)
    assert free.min() < 0 or free.max() > 1
    assert torch.equal(free.clamp(0, 1), renderer(rgb, latents))


def test_each_colour_is_rendered_for_itself():
    renderer = _renderer(SIGMOID, out_std=1.0)
    rgb, latents = torch.rand(1, 64, 3), _latents(SIGMOID)
    order = torch.randperm(64)
    # the same sums in other blocks of a matrix product; 0 measured, 5e-7 between batch sizes
    torch.testing.assert_close(
        renderer(rgb[:, order], latents), renderer(rgb, latents)[:, order], rtol=0, atol=1e-6
    )


def test_each_look_goes_to_its_own_colours():
    renderer = _renderer(SIGMOID, out_std=1.0)
    rgb, latents = torch.rand(2, 10, 3), _latents(SIGMOID, 2)
    both = renderer(rgb, latents)
    for index in range(2):
        alone = renderer(rgb[index : index + 1], latents[index : index + 1])
        torch.testing.assert_close(both[index : index + 1], alone, rtol=0, atol=1e-6)
    assert (renderer(rgb, latents.flip(0)) - both).abs().max() > 1e-3


def test_every_group_of_latents_matters():
    renderer = _renderer(SIGMOID, out_std=1.0)
    rgb, latents = torch.rand(1, 50, 3), _latents(SIGMOID)
    full = renderer(rgb, latents)
    for group in range(3):
        off = latents.clone()
        off[:, group] = 0
        assert (renderer(rgb, off) - full).abs().max() > 1e-3, group


def test_public_form_equals_its_formula_in_float64():
    renderer = _renderer(SIGMOID, out_std=1.0).double()
    rgb, latents = torch.rand(1, 20, 3).double(), _latents(SIGMOID).double()
    weights = renderer.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x, steer = rgb[0] * 2 - 1, latents.reshape(-1).clamp(min=0)
    for index in range(3):
        x = linear(f"layers.{index}", x).clamp(min=0)
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        x = x * weights[f"norms.{index}.weight"] + weights[f"norms.{index}.bias"]
        x = x + linear(f"latent_projections.{index}", steer)
    expected = 1 / (1 + (-linear("out", x)).exp())
    # float64; 1e-15 measured
    torch.testing.assert_close(renderer(rgb, latents)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rgb", "latents"),
    [((10, 3), (1, 3, 8)), ((1, 10, 4), (1, 3, 8)), ((1, 10, 3), (1, 24)), ((2, 5, 3), (1, 3, 8))],
)
def test_other_shapes_are_refused(rgb, latents):
    with pytest.raises(InvalidArgument, match="not allowed: use"):
        Renderer(SIGMOID)(torch.zeros(rgb), torch.zeros(latents))


def test_no_colours_give_no_colours():
    assert Renderer(SIGMOID)(torch.zeros(1, 0, 3), _latents(SIGMOID)).shape == (1, 0, 3)


def test_renderer_export_with_dynamic_count_equals_eager():
    renderer = _renderer(RESIDUAL, out_std=0.1)
    latents = _latents(RESIDUAL)
    count = torch.export.Dim("count", min=1, max=65536)
    exported = torch.export.export(
        renderer, (torch.rand(1, 64, 3), latents), dynamic_shapes=({1: count}, None)
    ).module()
    for size in (1, 4096):
        rgb = torch.rand(1, size, 3)
        # the same operators; 0 measured
        torch.testing.assert_close(
            exported(rgb, latents), renderer(rgb, latents), rtol=0, atol=1e-6
        )


def test_head_gives_three_latents_that_know_of_all_states():
    torch.manual_seed(0)
    head = RetouchHead(32, 20)
    hidden = torch.randn(2, 3, 32)
    latents = head(hidden)
    assert latents.shape == (2, 3, 20)
    for group in range(3):
        changed = hidden.clone()
        changed[:, group] += 1
        assert ((head(changed) - latents).abs().amax(-1) > 1e-4).all(), group


def test_head_refuses_states_of_another_shape():
    with pytest.raises(InvalidArgument, match=r"use \(B, 3, 32\)"):
        RetouchHead(32, 20)(torch.zeros(1, 2, 32))


@pytest.fixture(scope="module")
def encoder() -> ReferenceEncoder:
    torch.manual_seed(0)
    return ReferenceEncoder(vera_nano().encoder, 256).eval()


def test_encoder_gives_three_latents_and_tells_before_from_after(encoder):
    before, after = torch.rand(2, 3, 128, 128), torch.rand(2, 3, 128, 128)
    latents = encoder(before, after)
    assert latents.shape == (2, 3, 256)
    assert torch.isfinite(latents).all()
    assert (encoder(after, before) - latents).abs().max() > 1e-4


def test_encoder_refuses_other_sizes(encoder):
    with pytest.raises(InvalidArgument, match=r"use \(B, 3, 128, 128\)"):
        encoder(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    with pytest.raises(InvalidArgument, match=r"use \(B, 3, 128, 128\)"):
        encoder(torch.zeros(1, 3, 128, 128), torch.zeros(2, 3, 128, 128))


def test_every_encoder_parameter_that_can_learn_gets_a_gradient():
    torch.manual_seed(0)
    encoder = ReferenceEncoder(replace(vera_nano().encoder, image_size=64), 8).train()
    encoder(torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64)).pow(2).mean().backward()
    without = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert without == set()


def test_public_shapes_on_meta():
    config = vera_0_5b()
    with torch.device("meta"):
        pair = torch.empty(1, 3, 512, 512)
        latents = ReferenceEncoder(config.encoder, 896)(pair, pair)
        rgb = Renderer(config.renderer)(torch.empty(1, 7, 3), latents)
        assert RetouchHead(896, 896)(torch.empty(1, 3, 896)).shape == (1, 3, 896)
    assert latents.shape == (1, 3, 896)
    assert rgb.shape == (1, 7, 3)
