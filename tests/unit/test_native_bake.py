"""The C++ bake against the renderer in PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vera_mobile import errors, native
from vera_mobile.assets import checkpoint_folder
from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.renderer import Renderer
from vera_mobile.native.bake import NativeRenderer, RendererWeights


def of_0_5b() -> Renderer:
    torch.manual_seed(5)
    return Renderer(vera_0_5b().renderer)


def of_nano() -> Renderer:
    return load_checkpoint(checkpoint_folder("nano")).renderer


MAKERS: list[Callable[[], Renderer]] = [of_0_5b, of_nano]


@pytest.fixture(scope="module", params=MAKERS, ids=["0.5b", "nano"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    made: Renderer = request.param().eval().float()
    return made


def weights_of(renderer: Renderer) -> RendererWeights:
    return RendererWeights.from_state(renderer.state_dict(), residual=renderer.config.residual)


def latents_of(renderer: Renderer, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((3, renderer.config.latent_size)).astype(np.float32)


def listed(renderer: Renderer) -> list[torch.Tensor]:
    """The weights in the order of vera::bake."""
    groups = zip(renderer.layers, renderer.norms, renderer.latent_projections, strict=True)
    modules: list[Any] = [module for group in groups for module in group]
    return [tensor.detach() for m in (*modules, renderer.out) for tensor in (m.weight, m.bias)]


class Bake(torch.nn.Module):
    def __init__(self, renderer: Renderer, int8: bool) -> None:
        super().__init__()
        self.renderer, self.int8 = renderer, int8

    def forward(self, latents: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
        residual = self.renderer.config.residual
        weights = listed(self.renderer)
        return torch.ops.vera.bake(latents, strengths, weights, residual, self.int8, 9)


def lattice(axes: np.ndarray) -> np.ndarray:
    blue, green, red = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([red, green, blue], -1)


def in_torch(renderer: Renderer, rgb: np.ndarray, latents: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        points = torch.from_numpy(np.ascontiguousarray(rgb.reshape(1, -1, 3), np.float32))
        out = renderer(points, torch.from_numpy(latents)[None])
    return out.numpy().reshape(rgb.shape)


def even_axes(size: int) -> np.ndarray:
    return np.stack([np.linspace(0, 1, size)] * 3).astype(np.float32)


@pytest.mark.parametrize("size", [2, 17])
def test_lut_matches_torch(renderer: Renderer, size: int) -> None:
    latents = latents_of(renderer)
    lut = NativeRenderer(weights_of(renderer)).bake(latents, size)
    assert lut.shape == (size, size, size, 3)
    assert lut.dtype == np.float32
    expected = in_torch(renderer, lattice(even_axes(size)), latents)
    # Both sum in float32; measured 8.6e-7, and 2.9e-6 for weights three times as steep.
    np.testing.assert_allclose(lut, expected, rtol=0, atol=1e-5)


def test_strengths_and_axes_match_torch(renderer: Renderer) -> None:
    latents, strengths = latents_of(renderer), (1.5, 0.0, 0.4)
    axes = np.stack([np.linspace(0, 1, 5) ** p for p in (0.5, 1.0, 2.2)]).astype(np.float32)
    lut = NativeRenderer(weights_of(renderer)).bake(latents, 5, strengths=strengths, axes=axes)
    scaled = latents * np.array(strengths, np.float32)[:, None]
    expected = in_torch(renderer, lattice(axes), scaled)
    np.testing.assert_allclose(lut, expected, rtol=0, atol=1e-5)
    plain = in_torch(renderer, lattice(axes), latents)
    assert np.abs(plain - expected).max() > 1e-3


def test_int8_is_near_float32(renderer: Renderer) -> None:
    latents = latents_of(renderer)
    exact = NativeRenderer(weights_of(renderer)).bake(latents)
    coarse = NativeRenderer(weights_of(renderer), precision="int8").bake(latents)
    difference = ciede2000(rgb_to_lab(exact.astype(float)), rgb_to_lab(coarse.astype(float)))
    # Measured, mean: 0.11 to 0.17 for random weights, 0.004 for the trained nano.
    assert difference.mean() < 0.2
    assert difference.max() < 2.0
    assert difference.max() > 0.001, "the products were not in 8 bits"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_colours_are_those_of_the_lut(precision: Any) -> None:
    renderer = of_nano()
    native = NativeRenderer(weights_of(renderer), precision=precision)
    latents = latents_of(renderer)
    for size in (2, 17, 33, 65):
        points = lattice(even_axes(size)).reshape(-1, 3)
        lut = native.bake(latents, size, threads=1)
        colours = native.colours(points, latents, threads=2)
        np.testing.assert_array_equal(colours, lut.reshape(-1, 3))


def test_latents_that_are_not_finite_are_refused() -> None:
    native = NativeRenderer(weights_of(of_nano()))
    for bad in (np.nan, np.inf, -np.inf, 1e6):
        latents = np.zeros((3, native.latent_size), np.float32)
        latents[1, 7] = bad
        with pytest.raises(errors.InvalidArgument, match=r"Latents holds .* finite"):
            native.bake(latents)
        with pytest.raises(errors.InvalidArgument, match="Latents"):
            native.colours(np.zeros((4, 3)), latents)


def test_wrong_arguments_are_refused() -> None:
    native = NativeRenderer(weights_of(of_nano()))
    good = np.zeros((3, native.latent_size), np.float32)
    calls: list[Callable[[], object]] = [
        lambda: native.bake(good[:2]),
        lambda: native.bake(good, 1),
        lambda: native.bake(good, 130),
        lambda: native.bake(good, 3, axes=np.zeros((3, 4))),
        lambda: native.bake(good, strengths=(1.0, 1.6, 1.0)),
        lambda: native.bake(good, strengths=(1.0, 1.0)),
        lambda: native.bake(good, threads=65),
        lambda: native.colours(np.zeros((4, 4)), good),
        lambda: native.colours(np.array(3.0), good),
        lambda: native.colours(np.full((4, 3), np.nan), good),
    ]
    for call in calls:
        with pytest.raises(errors.InvalidArgument):
            call()


def test_wrong_weights_are_refused() -> None:
    renderer = of_nano()
    weights = weights_of(renderer)
    nan_layer = replace(weights.layers[1], bias=weights.layers[1].bias * np.float32(np.nan))
    short_layer = replace(weights.layers[1], bias=weights.layers[1].bias[:-1])
    for bad in (
        replace(weights, layers=()),
        replace(weights, layers=(weights.layers[0], nan_layer, weights.layers[2])),
        replace(weights, layers=(weights.layers[0], short_layer, weights.layers[2])),
        replace(weights, layers=weights.layers[1:]),
        replace(weights, layers=weights.layers[:2]),
        replace(weights, norm_epsilon=0.0),
    ):
        with pytest.raises(errors.InvalidArgument):
            NativeRenderer(bad)
    with pytest.raises(errors.InvalidArgument, match="not known"):
        NativeRenderer(weights, precision="int4")  # type: ignore[arg-type]
    state = {name: v for name, v in renderer.state_dict().items() if name != "norms.1.bias"}
    with pytest.raises(errors.InvalidArgument, match=r"norms\.1\.bias"):
        RendererWeights.from_state(state, residual=True)


def test_progress_and_cancel() -> None:
    native = NativeRenderer(weights_of(of_nano()))
    latents = np.zeros((3, native.latent_size), np.float32)
    seen: list[float] = []
    native.bake(latents, 17, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    cancel = threading.Event()

    def stop(done: float) -> None:
        seen.append(done)
        cancel.set()

    seen.clear()
    with pytest.raises(errors.Cancelled):
        native.bake(latents, 33, threads=1, cancel=cancel, on_progress=stop)
    assert len(seen) <= 2
    with pytest.raises(errors.Cancelled):
        native.bake(latents, cancel=cancel)

    def fail(_done: float) -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        native.bake(latents, 17, on_progress=fail)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_operator_in_torch_gives_the_same_bytes(precision: Any) -> None:
    native.load_torch_ops()
    renderer = of_nano().eval()
    inputs = (torch.from_numpy(latents_of(renderer)), torch.tensor([1.0, 0.5, 1.5]))
    own = NativeRenderer(weights_of(renderer), precision=precision)
    expected = own.bake(inputs[0].numpy(), 9, strengths=inputs[1].tolist())
    module = Bake(renderer, precision == "int8")
    np.testing.assert_array_equal(module(*inputs).numpy(), expected)


def test_operator_in_executorch_gives_the_same_bytes() -> None:
    native.load_torch_ops()
    from executorch.exir import to_edge
    from executorch.extension.pybindings import portable_lib

    module = Bake(of_nano().eval(), int8=True).eval()
    inputs = (torch.from_numpy(latents_of(module.renderer)), torch.tensor([1.0, 0.5, 1.5]))
    program = to_edge(torch.export.export(module, inputs)).to_executorch()
    loaded = portable_lib._load_for_executorch_from_buffer(program.buffer)
    np.testing.assert_array_equal(loaded.forward(inputs)[0].numpy(), module(*inputs).numpy())


def test_operator_passes_opcheck_and_refuses_bad_arguments() -> None:
    native.load_torch_ops()
    bake = torch.ops.vera.bake.default
    renderer = of_nano()
    latents, strengths = torch.from_numpy(latents_of(renderer)), torch.ones(3)
    weights = listed(renderer)
    torch.library.opcheck(bake, (latents, strengths, weights, True, False, 3))
    *most, last = weights
    for message, arguments, size in (
        ("latents are not finite", (latents * torch.nan, strengths, weights), 3),
        ("latents are", (latents[:2], strengths, weights), 3),
        ("strengths are", (latents, strengths[:2], weights), 3),
        ("do not fit", (latents, strengths, weights[1:]), 3),
        ("a weight is not finite", (latents, strengths, [*most, last * torch.nan]), 3),
        ("a weight is Double", (latents, strengths, [*most, last.double()]), 3),
        ("LUT size", (latents, strengths, weights), 1),
    ):
        with pytest.raises(ValueError, match=message):
            bake(*arguments, True, False, size)
