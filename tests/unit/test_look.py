"""Looks: strengths, curves, baking, JSON and .cube."""

from __future__ import annotations

import numpy as np
import pytest

from vera_mobile.color.cube import read_cube
from vera_mobile.color.lut import apply_look
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.look import Look


def steep(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """An analytic edit whose strength is the mean of the first latent; bends hard in the darks."""
    p = points.astype(np.float64)
    lifted = p + latents[0].mean() * 0.4 * p * (1 - p) ** 3 + 0.1 * latents[1].mean() * p[:, ::-1]
    return np.clip(np.tanh(2.5 * lifted) / np.tanh(2.5), 0, 1).astype(np.float32)


def identity(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
    return points


def look(evaluate=steep) -> Look:
    return Look(np.ones((3, 8), np.float32), "words", evaluate=evaluate)


def test_identity_bakes_to_straight_curves_and_identity_lattice() -> None:
    baked = look(identity).bake(17)
    straight = np.linspace(0, 1, baked.curves.shape[1])
    assert np.abs(baked.curves - straight).max() < 1e-6
    axis = np.linspace(0, 1, 17)
    assert np.allclose(baked.lut[0, 0, :, 0], axis, atol=1e-6)
    assert np.allclose(baked.lut[:, 0, 0, 2], axis, atol=1e-6)


def test_curves_are_monotone_from_zero_to_one() -> None:
    curves = look().bake(17).curves
    assert (np.diff(curves, axis=1) > 0).all()
    assert (curves[:, 0] == 0).all()
    assert np.allclose(curves[:, -1], 1)


def test_curves_make_the_lattice_more_accurate_than_a_uniform_one() -> None:
    rgb = np.random.default_rng(1).random((20000, 3))
    truth = steep(rgb, np.ones((3, 8)))
    baked = look().bake(17)
    uniform = np.stack(np.meshgrid(*[np.linspace(0, 1, 17)] * 3, indexing="ij"), -1)[..., ::-1]
    plain = steep(uniform.reshape(-1, 3), np.ones((3, 8))).reshape(17, 17, 17, 3)
    straight = np.tile(np.linspace(0, 1, 65), (3, 1))
    fitted_error = np.abs(apply_look(rgb, baked.curves, baked.lut, 1.0) - truth).mean()
    plain_error = np.abs(apply_look(rgb, straight, plain, 1.0) - truth).mean()
    # 0.932 of the uniform lattice measured
    assert fitted_error < 0.96 * plain_error, (fitted_error, plain_error)


def test_group_strength_scales_that_group_only() -> None:
    seen = []

    def spy(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        seen.append(latents.copy())
        return points

    look(spy).with_strengths(lighting=0.5, specific_color=0.0).bake(17)
    assert np.allclose(seen[0][0], 0.5)
    assert np.allclose(seen[0][1], 1.0)
    assert np.allclose(seen[0][2], 0.0)


@pytest.mark.parametrize("value", [-0.1, 1.51, float("nan"), "1"])
def test_bad_strengths_are_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"0\.\.1\.5"):
        look().with_strengths(lighting=value)  # type: ignore[arg-type]


def test_unknown_group_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="lighting"):
        look().with_strengths(colour=1.0)


@pytest.mark.parametrize("size", [16, 66])
def test_bad_sizes_are_refused(size: int, tmp_path) -> None:
    with pytest.raises(InvalidArgument, match=r"17\.\.65"):
        look().bake(size)
    with pytest.raises(InvalidArgument, match=r"17\.\.65"):
        look().save_cube(tmp_path / "a.cube", size)


def test_json_round_trip_keeps_the_bytes() -> None:
    first = look().with_strengths(lighting=0.25)
    again = Look.from_json(first.to_json(), steep)
    assert np.array_equal(again.latents, first.latents)
    assert (again.text, again.lighting) == ("words", 0.25)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "vera-look", "version": 2}', "[]"])
def test_a_file_that_is_no_look_is_refused(text: str) -> None:
    with pytest.raises(FileError, match="not a look"):
        Look.from_json(text)


def test_cube_holds_the_edit_at_its_strength(tmp_path) -> None:
    path = look().save_cube(tmp_path / "a.cube", 17, strength=0.5)
    lut = read_cube(path).lut
    node = np.array([[4, 8, 12]]) / 16
    want = node + 0.5 * (steep(node, np.ones((3, 8))) - node)
    # the file carries 9 decimals of float32 values
    assert np.abs(lut[12, 8, 4] - want[0]).max() < 1e-6


def test_a_look_without_renderer_says_so() -> None:
    with pytest.raises(InvalidArgument, match="look_from_json"):
        Look(np.zeros((3, 8), np.float32)).bake()
