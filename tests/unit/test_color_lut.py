"""Tables: exact on lattice points and linear maps, walked cells against explicit tetrahedra."""

import numpy as np
import pytest

from vera_mobile.color.curves import identity_curve
from vera_mobile.color.lut import apply_look, apply_lut, identity_lut
from vera_mobile.errors import InvalidArgument


def random_lut(size, seed=0):
    return np.random.default_rng(seed).random((size, size, size, 3))


def six_cases(rgb, lut):
    """One colour by the textbook's six inequalities: another way to the same tetrahedra."""
    n = len(lut) - 1
    p = np.clip(rgb, 0, 1) * n
    i = np.minimum(p.astype(int), n - 1)
    x, y, z = p - i

    def at(r, g, b):
        return lut[i[2] + b, i[1] + g, i[0] + r]

    if x >= y >= z:
        weights = [(1 - x, (0, 0, 0)), (x - y, (1, 0, 0)), (y - z, (1, 1, 0)), (z, (1, 1, 1))]
    elif x >= z >= y:
        weights = [(1 - x, (0, 0, 0)), (x - z, (1, 0, 0)), (z - y, (1, 0, 1)), (y, (1, 1, 1))]
    elif z >= x >= y:
        weights = [(1 - z, (0, 0, 0)), (z - x, (0, 0, 1)), (x - y, (1, 0, 1)), (y, (1, 1, 1))]
    elif y >= x >= z:
        weights = [(1 - y, (0, 0, 0)), (y - x, (0, 1, 0)), (x - z, (1, 1, 0)), (z, (1, 1, 1))]
    elif y >= z >= x:
        weights = [(1 - y, (0, 0, 0)), (y - z, (0, 1, 0)), (z - x, (0, 1, 1)), (x, (1, 1, 1))]
    else:
        weights = [(1 - z, (0, 0, 0)), (z - y, (0, 0, 1)), (y - x, (0, 1, 1)), (x, (1, 1, 1))]
    return sum(w * at(*corner) for w, corner in weights)


@pytest.mark.parametrize("size", [2, 3, 17, 33])
def test_tetrahedral_equals_the_six_cases(size):
    lut = random_lut(size)
    rgb = np.random.default_rng(1).uniform(-1, 2, (600, 3))
    rgb[:8] = np.round(rgb[:8])
    rgb[8:40, 1] = rgb[8:40, 0]
    want = np.stack([six_cases(c, lut) for c in rgb])
    # Sums of four products in one order or another; measured 0.
    np.testing.assert_allclose(apply_lut(rgb, lut), want, atol=2e-15)


@pytest.mark.parametrize("method", ["tetrahedral", "trilinear"])
def test_lattice_points_are_met_and_axes_are_bgr(method):
    lut = random_lut(5)
    axis = np.linspace(0, 1, 5)
    b, g, r = np.meshgrid(axis, axis, axis, indexing="ij")
    got = apply_lut(np.stack([r, g, b], -1), lut, method)
    np.testing.assert_allclose(got, lut, atol=1e-15)


@pytest.mark.parametrize("method", ["tetrahedral", "trilinear"])
def test_identity_lut_is_noop_and_linear_maps_are_exact(method):
    rgb = np.random.default_rng(2).random((7, 9, 3))
    # Weights sum to 1 up to rounding; measured 2e-16.
    np.testing.assert_allclose(apply_lut(rgb, identity_lut(33), method), rgb, atol=2e-15)
    matrix = np.random.default_rng(3).random((3, 3))
    np.testing.assert_allclose(
        apply_lut(rgb, identity_lut(9) @ matrix, method), rgb @ matrix, atol=4e-15
    )


def test_out_of_range_and_nan_follow_the_render_rule():
    lut = random_lut(4)
    rgb = np.array([[np.nan, -1, 2], [np.inf, -np.inf, 0.5]])
    want = apply_lut(np.array([[0.0, 0, 1], [1, 0, 0.5]]), lut)
    np.testing.assert_array_equal(apply_lut(rgb, lut), want)


def test_grey_stays_grey_through_a_grey_table():
    tone = np.linspace(0, 1, 17) ** 0.6
    lut = np.stack(np.meshgrid(tone, tone, tone, indexing="ij")[::-1], -1)
    grey = np.repeat(np.linspace(0, 1, 999)[:, None], 3, 1)
    out = apply_lut(grey, lut)
    # Equal fractions give equal weights in all channels; measured 1e-16.
    assert np.ptp(out, axis=1).max() < 1e-15
    assert (np.diff(out[:, 0]) >= 0).all()


def test_blocks_do_not_change_results():
    rgb = np.random.default_rng(4).random((70_000, 3))
    lut = random_lut(17)
    np.testing.assert_array_equal(apply_lut(rgb, lut)[66_000:], apply_lut(rgb[66_000:], lut))
    assert apply_lut(np.zeros((0, 4, 3)), lut).shape == (0, 4, 3)


def test_look_is_curve_then_table_then_mix_then_clamp():
    lut, rgb = random_lut(9), np.random.default_rng(5).random((50, 3))
    squares = np.stack([np.linspace(0, 1, 5) ** 2] * 3)
    curved = np.stack([np.interp(rgb[:, c], np.linspace(0, 1, 5), squares[c]) for c in range(3)], 1)
    edited = apply_lut(curved, lut)
    # One interpolation written twice; measured 1e-15.
    np.testing.assert_allclose(apply_look(rgb, squares, lut), edited, atol=1e-14)
    np.testing.assert_allclose(
        apply_look(rgb, squares, lut, 1.5), np.clip(rgb + 1.5 * (edited - rgb), 0, 1), atol=1e-14
    )


def test_look_of_strength_zero_is_noop_and_curves_clamp():
    lut, rgb = random_lut(9), np.random.default_rng(6).random((50, 3))
    curves = np.stack([identity_curve(17)] * 3)
    np.testing.assert_array_equal(apply_look(rgb, curves, lut, 0.0), rgb)
    wild = curves * 3 - 1
    np.testing.assert_array_equal(
        apply_look(rgb, wild, lut), apply_look(rgb, np.clip(wild, 0, 1), lut)
    )


@pytest.mark.parametrize(
    ("lut", "text"),
    [
        (np.zeros((3, 3, 3)), r"\(N, N, N, 3\)"),
        (np.zeros((3, 3, 4, 3)), r"\(N, N, N, 3\)"),
        (np.zeros((1, 1, 1, 3)), "LUT size 1 not allowed: use 2..129"),
        (np.full((2, 2, 2, 3), np.nan), "finite"),
    ],
)
def test_bad_tables_are_refused(lut, text):
    with pytest.raises(InvalidArgument, match=text):
        apply_lut(np.zeros((1, 3)), lut)


def test_bad_arguments_are_refused():
    lut, curves = random_lut(3), np.stack([identity_curve(5)] * 3)
    with pytest.raises(InvalidArgument, match="known: tetrahedral, trilinear"):
        apply_lut(np.zeros(3), lut, "cubic")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"0\.\.1\.5"):
        apply_look(np.zeros(3), curves, lut, 1.6)
    with pytest.raises(InvalidArgument, match="Strength nan"):
        apply_look(np.zeros(3), curves, lut, float("nan"))
    with pytest.raises(InvalidArgument, match=r"\(3, K\)"):
        apply_look(np.zeros(3), curves[0], lut)
    with pytest.raises(InvalidArgument, match="finite"):
        apply_look(np.zeros(3), curves * np.nan, lut)
    with pytest.raises(InvalidArgument, match=r"2\.\.129"):
        identity_lut(200)
