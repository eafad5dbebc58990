"""Colour spaces and curves: published values, round trips, and what happens outside of [0, 1]."""

import numpy as np
import pytest
from skimage import color as skimage_color

from vera_mobile.color import curves, spaces
from vera_mobile.errors import InvalidArgument


def test_matrices_follow_from_primaries_and_white():
    def xyz(x, y):
        return np.array([x / y, 1.0, (1 - x - y) / y])

    primaries = np.stack([xyz(0.64, 0.33), xyz(0.30, 0.60), xyz(0.15, 0.06)], axis=1)
    white = xyz(0.3127, 0.3290)
    matrix = primaries * np.linalg.solve(primaries, white)
    # Two float64 evaluations of one formula; measured 0.
    np.testing.assert_allclose(spaces.RGB_TO_XYZ, matrix, rtol=0, atol=1e-15)
    np.testing.assert_allclose(spaces.WHITE_D65, white, rtol=0, atol=1e-15)
    # An inverse of condition number 5: a few units of the last place; measured 1e-16.
    np.testing.assert_allclose(spaces.RGB_TO_XYZ @ spaces.XYZ_TO_RGB, np.eye(3), atol=1e-15)


def test_transfer_function_has_the_published_break_points():
    assert spaces.srgb_to_linear(np.array(0.0)) == 0.0
    assert spaces.srgb_to_linear(np.array(1.0)) == 1.0
    assert spaces.srgb_to_linear(np.array(0.04045)) == pytest.approx(0.0031308, abs=5e-8)
    assert spaces.srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404114, abs=5e-9)


def test_transfer_function_round_trip_and_mirror():
    x = np.linspace(-1.0, 2.0, 3001)
    # float64 pow there and back; measured 2e-16 (the standard's two pieces meet within 3e-9, which
    # costs nothing because both directions switch at the same place).
    np.testing.assert_allclose(spaces.linear_to_srgb(spaces.srgb_to_linear(x)), x, atol=4e-15)
    np.testing.assert_array_equal(spaces.srgb_to_linear(-x), -spaces.srgb_to_linear(x))


def test_lab_of_published_colours():
    # Four published decimals of other D65 digits (0.95047, 1.08883) move b by up to 0.013.
    rgb = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
    lab = [
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [100, 0, 0],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(spaces.rgb_to_lab(rgb), np.array(lab), atol=0.02)


def test_lab_agrees_with_scikit_image():
    rgb = np.random.default_rng(1).random((64, 64, 3))
    ours, theirs = spaces.rgb_to_lab(rgb), skimage_color.rgb2lab(rgb)
    # scikit-image rounds its matrix and its white to 5-6 digits; measured 0.0147.
    assert np.abs(ours - theirs).max() < 0.02


def test_grey_is_neutral_and_lab_round_trip():
    grey = np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)
    # Rounding of the matrix product; measured 6e-14.
    assert np.abs(spaces.rgb_to_lab(grey)[:, 1:]).max() < 1e-12
    rgb = np.random.default_rng(2).uniform(-0.2, 1.4, (5000, 3))
    # Two matrix products and two powers; measured 1.8e-14.
    np.testing.assert_allclose(spaces.lab_to_rgb(spaces.rgb_to_lab(rgb)), rgb, atol=1e-12)


def test_wrong_shape_is_refused():
    with pytest.raises(InvalidArgument, match="last axis must hold 3"):
        spaces.rgb_to_lab(np.zeros((4, 4)))


def test_curve_between_and_outside_its_places():
    values = np.array([0.0, 0.5, 0.6, 1.0])
    x = np.array([-1.0, 0.0, 1 / 6, 1 / 3, 0.5, 1.0, 2.0, np.nan, np.inf, -np.inf])
    want = [0.0, 0.0, 0.25, 0.5, 0.55, 1.0, 1.0, 0.0, 1.0, 0.0]
    np.testing.assert_allclose(curves.evaluate_curve(x, values), want, atol=1e-15)
    assert curves.evaluate_curve(np.zeros((2, 0, 3)), values).shape == (2, 0, 3)


def test_curve_agrees_with_numpy_interp():
    rng = np.random.default_rng(3)
    values, x = rng.random(257), rng.random(10_000)
    want = np.interp(x, np.linspace(0, 1, 257), values)
    # The place is rounded once, slopes reach 250; measured 0.
    np.testing.assert_allclose(curves.evaluate_curve(x, values), want, atol=1e-14)


def test_inverse_of_a_curve_undoes_it_at_its_places():
    values = np.linspace(0, 1, 33) ** 1.7
    inverse = curves.invert_curve(values, size=1025)
    y = np.linspace(0, 1, 1025)
    # Both are piecewise linear and meet exactly at the places of the inverse; measured 1e-16.
    np.testing.assert_allclose(curves.evaluate_curve(inverse, values), y, atol=4e-15)


def test_inverse_of_flat_parts_and_short_range():
    inverse = curves.invert_curve(np.array([0.25, 0.5, 0.5, 0.5, 0.75]), size=5)
    np.testing.assert_allclose(inverse, [0.0, 0.0, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(
        curves.invert_curve(curves.identity_curve(17)), curves.identity_curve(17)
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, 0.6, 0.5, 1.0], "falls from 0.6 to 0.5 at place 1"),
        ([0.3, 0.3, 0.3], "everywhere"),
        ([0.5], "2..4096"),
        ([0.0, np.nan], "finite"),
    ],
)
def test_curves_without_an_inverse_are_refused(values, text):
    with pytest.raises(InvalidArgument, match=text):
        curves.invert_curve(np.array(values))
