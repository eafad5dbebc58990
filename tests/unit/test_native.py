"""The C++ renderer against a float64 NumPy one that shares no code with it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from vera_mobile import errors, native

DTYPES = (np.uint8, np.uint16, np.float32)
CODE_MAX = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def curve_values(curve: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.interp(x, np.linspace(0.0, 1.0, len(curve)), np.clip(curve.astype(float), 0, 1))


def tetrahedral(lut: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Sum over the four corners of the path that steps along the largest fraction first."""
    size = lut.shape[0]
    position = rgb * (size - 1)
    corner = np.minimum(position.astype(int), size - 2)
    fraction = position - corner
    order = np.argsort(-fraction, axis=-1, kind="stable")
    ranked = np.take_along_axis(fraction, order, axis=-1)
    bounds = np.concatenate([np.ones_like(ranked[..., :1]), ranked, ranked[..., :1] * 0], axis=-1)
    total = np.zeros(rgb.shape)
    for step in range(4):
        node = lut[corner[..., 2], corner[..., 1], corner[..., 0]].astype(float)
        total += (bounds[..., step] - bounds[..., step + 1])[..., None] * node
        if step < 3:
            one_step = np.arange(3) == order[..., step : step + 1]
            corner = corner + one_step
    return total


def expected_codes(
    image: np.ndarray, curves: np.ndarray, lut: np.ndarray, strength: float
) -> np.ndarray:
    code_max = CODE_MAX[image.dtype.name]
    rgb = np.nan_to_num(image[..., :3].astype(float), nan=0.0, posinf=2.0, neginf=-2.0)
    rgb = np.clip(rgb / code_max, 0.0, 1.0)
    curved = np.stack([curve_values(curves[c], rgb[..., c]) for c in range(3)], axis=-1)
    mixed = np.clip(rgb + strength * (tetrahedral(lut, curved) - rgb), 0.0, 1.0) * code_max
    return mixed if image.dtype == np.float32 else np.floor(mixed + 0.5)


def make_look(curve_size: int = 17, lut_size: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Steep curves; a LUT of noise whose slope is up to 8, more than any look for photos has."""
    rng = np.random.default_rng(7)
    x = np.linspace(-0.1, 1.1, curve_size, dtype=np.float32)
    curves = np.stack([x, x**3, np.sqrt(np.abs(x))])
    noise = rng.random((lut_size, lut_size, lut_size, 3), dtype=np.float32)
    return curves, noise * np.float32(min(1.0, 8.0 / (lut_size - 1)))


def identity_look(lut_size: int = 33) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(0.0, 1.0, lut_size, dtype=np.float32)
    b, g, r = np.meshgrid(axis, axis, axis, indexing="ij")
    curve = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    return np.stack([curve] * 3), np.stack([r, g, b], axis=-1)


def make_image(dtype: type, height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    if dtype is not np.float32:
        high = np.iinfo(dtype).max
        return rng.integers(0, high, (height, width, channels), dtype, endpoint=True)
    image = rng.uniform(-1.0, 2.0, (height, width, channels)).astype(np.float32)
    for i, special in enumerate((np.nan, np.inf, -np.inf)):
        image.reshape(-1)[i::31] = special
    return image


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    # One code value: float32 may fall to the other side of a half. Float: measured 1.5e-6.
    tolerance = 1e-5 if actual.dtype == np.float32 else 1.0
    error = np.abs(actual.astype(float) - expected)
    if error.size and not error.max() <= tolerance:
        worst = np.unravel_index(np.nanargmax(error), error.shape)
        pytest.fail(
            f"max {error.max():.3g} mean {error.mean():.3g} p99 {np.percentile(error, 99):.3g} "
            f"at {worst}: {actual[worst]} instead of {expected[worst]}"
        )


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_float64(dtype: type, channels: int) -> None:
    curves, lut = make_look()
    for size in (0, 1, 7, 8, 9, 31, 32, 33):
        image = make_image(dtype, 3, size, channels)
        for strength in (0.6, 1.0, 1.5):
            result = native.render(image, curves, lut, strength=strength)
            assert result.dtype == image.dtype
            assert result.shape == image.shape
            assert_close(result[..., :3], expected_codes(image, curves, lut, strength))
            np.testing.assert_array_equal(result[..., 3:], image[..., 3:])


@pytest.mark.parametrize(("curve_size", "lut_size"), [(2, 2), (4096, 129), (256, 65)])
def test_extreme_look_sizes_match_float64(curve_size: int, lut_size: int) -> None:
    curves, lut = make_look(curve_size, lut_size)
    for dtype in DTYPES:
        image = make_image(dtype, 20, 33, 3)
        expected = expected_codes(image, curves, lut, 1.0)
        assert_close(native.render(image, curves, lut), expected)


def test_rounds_half_up() -> None:
    # Node values half-way between codes: 10.5 must give 11, and truncation would give 10.
    curves, lut = identity_look(2)
    lut = np.full_like(lut, 10.5 / 255.0)
    image = np.zeros((1, 1, 3), np.uint8)
    assert native.render(image, curves, lut).tolist() == [[[11, 11, 11]]]
    lut[:] = 10.49 / 255.0  # nodes of the 8-bit path are multiples of 1/64 code
    assert native.render(image, curves, lut).tolist() == [[[10, 10, 10]]]


@pytest.mark.parametrize("lut_size", [2, 17, 33, 65, 129])
def test_identity_lut_is_noop(lut_size: int) -> None:
    curves, lut = identity_look(lut_size)
    codes8 = make_image(np.uint8, 256, 256, 4)
    codes16 = np.stack([np.roll(np.arange(65536, dtype=np.uint16), s) for s in (0, 9, 30000)], -1)
    for image in (codes8, codes16.reshape(256, 256, 3)):
        for strength in (0.4, 1.0):
            np.testing.assert_array_equal(
                native.render(image, curves, lut, strength=strength), image
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_strength_zero_is_noop(dtype: type) -> None:
    curves, lut = make_look()
    image = make_image(dtype, 9, 65, 3)
    if dtype is np.float32:
        image = np.random.default_rng(1).random(image.shape, dtype=np.float32)
    np.testing.assert_array_equal(native.render(image, curves, lut, strength=0.0), image)


def test_strided_rows_and_views_match_contiguous() -> None:
    curves, lut = make_look()
    canvas = make_image(np.uint16, 40, 50, 3)
    views = (
        canvas[::2, 5:38],
        canvas[::-1],
        canvas[:, ::3],
        canvas[..., ::-1],
        canvas.transpose(1, 0, 2),
        np.broadcast_to(canvas[:1], canvas.shape),
    )
    for view in views:
        expected = native.render(view.copy(), curves, lut)
        np.testing.assert_array_equal(native.render(view, curves, lut), expected)


def test_out_may_be_a_crop_and_the_rest_is_untouched() -> None:
    curves, lut = make_look()
    image = make_image(np.uint8, 20, 33, 3)
    canvas = np.full((24, 60, 3), 77, np.uint8)
    target = canvas[2:22, 7:40]
    assert native.render(image, curves, lut, out=target) is target
    np.testing.assert_array_equal(target, native.render(image, curves, lut))
    canvas[2:22, 7:40] = 77
    assert (canvas == 77).all()


def test_in_place_matches() -> None:
    curves, lut = make_look()
    for dtype in DTYPES:
        image = make_image(dtype, 30, 333, 4)
        expected = native.render(image, curves, lut, strength=0.7)
        native.render(image, curves, lut, strength=0.7, out=image)
        np.testing.assert_array_equal(image, expected)


def test_threads_and_tiles_do_not_change_bytes() -> None:
    curves, lut = make_look()
    image = make_image(np.uint8, 300, 1001, 3)
    whole = native.render(image, curves, lut, strength=0.8, threads=1)
    for threads in (0, 2, 5, 64):
        again = native.render(image, curves, lut, strength=0.8, threads=threads)
        np.testing.assert_array_equal(again, whole)
    tiled = np.empty_like(image)
    for y in range(0, 300, 37):
        for x in range(0, 1001, 91):
            part = np.s_[y : y + 37, x : x + 91]
            native.render(image[part], curves, lut, strength=0.8, out=tiled[part])
    np.testing.assert_array_equal(tiled, whole)


def test_grey_stays_grey_and_order_is_kept() -> None:
    curves, lut = identity_look(17)
    lut = lut**1.7
    ramp = np.repeat(np.arange(65536, dtype=np.uint16)[None, :, None], 3, axis=2)
    result = native.render(ramp, curves, lut)
    assert (result[..., 0] == result[..., 1]).all()
    assert (result[..., 0] == result[..., 2]).all()
    assert (np.diff(result[0, :, 0].astype(int)) >= 0).all()
    assert result[0, 0, 0] == 0
    assert result[0, -1, 0] == 65535


def test_cancel_and_progress() -> None:
    curves, lut = make_look()
    image = make_image(np.uint8, 1000, 1000, 3)
    seen: list[float] = []
    native.render(image, curves, lut, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    cancel = threading.Event()
    calls: list[float] = []

    def stop(done: float) -> None:
        calls.append(done)
        cancel.set()

    with pytest.raises(errors.Cancelled):
        native.render(image, curves, lut, threads=1, cancel=cancel, on_progress=stop)
    assert len(calls) <= 2  # the tile after the one that set the event may still be done
    out = np.zeros_like(image)
    with pytest.raises(errors.Cancelled):
        native.render(image, curves, lut, cancel=cancel, out=out)
    assert not out.any()


def test_error_in_progress_stops_and_is_raised() -> None:
    def fail(done: float) -> None:
        raise KeyError("mine")

    curves, lut = make_look()
    with pytest.raises(KeyError, match="mine"):
        native.render(make_image(np.uint8, 999, 999, 3), curves, lut, on_progress=fail)


def test_bad_arguments_are_refused() -> None:
    curves, lut = make_look()
    image = make_image(np.uint8, 4, 40, 3)
    nan_lut = lut.copy()
    nan_lut[8, 8, 8, 2] = np.nan
    nan_curves = curves.copy()
    nan_curves[2, -1] = np.inf
    read_only = image.copy()
    read_only.flags.writeable = False
    cases: list[tuple[str, dict]] = [
        ("Image", {"image": image[..., 0]}),
        ("Image", {"image": image[..., :2]}),
        ("Image", {"image": image.tolist()}),
        ("dtype", {"image": image.astype(np.float64)}),
        ("dtype", {"image": image.astype(">u2")}),
        ("Curves", {"curves": curves[:2]}),
        ("Curves", {"curves": curves[:, :1]}),
        ("LUT", {"lut": lut[:8]}),
        ("LUT", {"lut": lut[:1, :1, :1]}),
        ("LUT", {"lut": lut[..., :2]}),
        ("lut holds nan", {"lut": nan_lut}),
        ("curves holds inf", {"curves": nan_curves}),
        ("Strength", {"strength": 1.6}),
        ("Strength", {"strength": float("nan")}),
        ("threads", {"threads": 65}),
        ("threads", {"threads": -1}),
        ("out", {"out": image[:2].copy()}),
        ("out", {"out": image.astype(np.uint16)}),
        ("out", {"out": np.zeros((4, 80, 3), np.uint8)[:, ::2]}),
        ("writeable=False", {"out": read_only}),
        ("overlaps", {"image": image[:, :30], "out": image[:, 10:]}),
    ]
    for message, change in cases:
        arguments = {"image": image, "curves": curves, "lut": lut} | change
        with pytest.raises(errors.InvalidArgument, match=message):
            native.render(**arguments)


def test_missing_library_says_how_to_build() -> None:
    with pytest.raises(errors.FileError, match=r"pip install .* -e \."):
        native.library_path("vera_no_such_library")
