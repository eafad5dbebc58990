"""bake.safetensors: the network of a bundle for the C++ bake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from vera_mobile import errors
from vera_mobile.assets import checkpoint_folder
from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.look import Look
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.renderer import Renderer
from vera_mobile.native.bake import LayerWeights, NativeRenderer, RendererWeights
from vera_mobile.native.renderer_file import read_renderer, write_renderer


def nano() -> RendererWeights:
    renderer = load_checkpoint(checkpoint_folder("nano"), only=["renderer"]).renderer
    return RendererWeights.from_state(renderer.state_dict(), residual=renderer.config.residual)


def small(seed: int = 1) -> RendererWeights:
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    layer = LayerWeights(some(5, 3), some(5), some(5), some(5), some(5, 12), some(5))
    return RendererWeights((layer,), some(3, 5), some(3), residual=False, norm_epsilon=1e-4)


def latents_of(renderer: NativeRenderer) -> np.ndarray:
    rng = np.random.default_rng(2)
    return rng.standard_normal((3, renderer.latent_size)).astype(np.float32)


@pytest.mark.parametrize("make", [small, nano])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_bakes_the_bytes_of_what_was_written(
    make: Any, precision: Any, tmp_path: Path
) -> None:
    weights = make()
    path = tmp_path / "bake.safetensors"
    write_renderer(path, weights, precision=precision)
    read, ours = NativeRenderer.from_file(path), NativeRenderer(weights, precision=precision)
    assert read.precision == precision
    np.testing.assert_array_equal(read.bake(latents_of(ours), 9), ours.bake(latents_of(ours), 9))
    again, _ = read_renderer(path)
    assert (again.residual, again.norm_epsilon) == (weights.residual, weights.norm_epsilon)


def test_the_caller_may_choose_another_precision(tmp_path: Path) -> None:
    path = tmp_path / "bake.safetensors"
    write_renderer(path, small(), precision="int8")
    assert NativeRenderer.from_file(path, precision="float32").precision == "float32"
    with pytest.raises(errors.InvalidArgument, match="not known"):
        NativeRenderer.from_file(path, precision="int4")  # type: ignore[arg-type]


def test_float16_halves_the_file_and_keeps_the_look(tmp_path: Path) -> None:
    wide, narrow = tmp_path / "wide.safetensors", tmp_path / "narrow.safetensors"
    torch.manual_seed(5)
    weights = RendererWeights.from_state(
        Renderer(vera_0_5b().renderer).state_dict(), residual=False
    )
    write_renderer(wide, weights)
    write_renderer(narrow, weights, storage="float16")
    assert narrow.stat().st_size < 0.52 * wide.stat().st_size
    exact, coarse = (NativeRenderer.from_file(path) for path in (wide, narrow))
    latents = latents_of(exact)
    labs = [rgb_to_lab(r.bake(latents, 17).astype(np.float64)) for r in (exact, coarse)]
    # Measured: mean 0.0076, largest 0.029; rounding to 8 bits alone costs 0.07 and more.
    assert ciede2000(*labs).mean() < 0.02
    assert ciede2000(*labs).max() > 0


def test_its_colours_bake_a_look(tmp_path: Path) -> None:
    """What Retoucher needs of `Planner.bake`."""
    path = tmp_path / "bake.safetensors"
    write_renderer(path, nano())
    renderer = NativeRenderer.from_file(path)
    look = Look(latents_of(renderer), evaluate=renderer.colours)
    baked = look.bake(17)
    nodes = [np.interp(np.linspace(0, 1, 17), c, np.linspace(0, 1, c.size)) for c in baked.curves]
    lut = renderer.bake(look.latents, 17, axes=np.stack(nodes))
    np.testing.assert_allclose(baked.lut, lut, rtol=0, atol=1e-6)


def spoil_nothing(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    """The test of the test: such a file is read."""


def spoil_format(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    facts["format"] = "other"


def spoil_version(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    facts["version"] = "2"


def spoil_output(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    facts["output"] = "tanh"


def spoil_precision(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    facts["precision"] = "int4"


def spoil_epsilon(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    facts["norm_epsilon"] = "tiny"


def spoil_name(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    del state["norms.0.bias"]


def spoil_shape(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    state["out.weight"] = state["out.weight"][:2].copy()


def spoil_value(state: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    state["layers.0.bias"][1] = np.nan


def rewritten(path: Path, spoil: Any) -> None:
    write_renderer(path, small())
    facts = {"format": "vera-renderer", "version": "1", "output": "sigmoid"}
    facts |= {"precision": "float32", "norm_epsilon": "1e-4"}
    state = load_file(path)
    spoil(state, facts)
    save_file(state, path, facts)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_format,
        spoil_version,
        spoil_output,
        spoil_precision,
        spoil_epsilon,
        spoil_name,
        spoil_shape,
        spoil_value,
    ],
)
def test_a_damaged_file_is_refused(spoil: Any, tmp_path: Path) -> None:
    path = tmp_path / "bake.safetensors"
    rewritten(path, spoil_nothing)
    NativeRenderer.from_file(path)
    rewritten(path, spoil)
    with pytest.raises(errors.FileError, match=r"bake\.safetensors"):
        NativeRenderer.from_file(path)


def test_a_file_that_is_missing_or_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bake.safetensors"
    with pytest.raises(errors.FileError, match=r"bake\.safetensors"):
        NativeRenderer.from_file(path)
    write_renderer(path, small())
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(errors.FileError, match="export again"):
            NativeRenderer.from_file(path)


def test_bad_weights_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "bake.safetensors"
    weights = small()
    weights.out_bias[0] = np.inf
    with pytest.raises(errors.InvalidArgument, match="out_bias"):
        write_renderer(path, weights)
    with pytest.raises(errors.InvalidArgument, match="Storage"):
        write_renderer(path, small(), storage="int8")  # type: ignore[arg-type]
    assert not path.exists()
