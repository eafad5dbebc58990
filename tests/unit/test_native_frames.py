"""Pixel formats and options of the C++ renderer against a float64 NumPy that shares no code."""

from __future__ import annotations

import numpy as np
import pytest

from vera_mobile import errors, native
from vera_mobile.native import Frame, Method

RNG = np.random.default_rng(11)
SPECS = {  # Kr, Kb of the recommendations
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


def identity_look(size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    b, g, r = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.tile(axis, (3, 1)), np.stack([r, g, b], -1)


def plain(frame: Frame, target: Frame, method: Method = native.DEFAULT_METHOD) -> Frame:
    native.render_frame(frame, target, *identity_look(), method=method)
    return target


def chroma_at_luma(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Linear between samples at columns 0, 2, 4 ... and rows 0.5, 2.5, ..."""
    rows, columns = plane.shape
    x = np.clip(np.arange(width) / 2, 0, columns - 1)
    y = np.clip((np.arange(height) - 0.5) / 2, 0, rows - 1)
    wide = np.stack([np.interp(x, np.arange(columns), row) for row in plane.astype(float)])
    tall = [np.interp(y, np.arange(rows), wide[:, i]) for i in range(width)]
    return np.stack(tall, axis=1)


def yuv_to_rgb(planes: tuple[np.ndarray, ...], bits: int, matrix: str, is_full: bool) -> np.ndarray:
    unit, top = 2.0 ** (bits - 8), 2.0**bits - 1
    red, blue = SPECS[matrix]
    luma = planes[0].astype(float)
    cb, cr = (chroma_at_luma(p, *luma.shape) - 128 * unit for p in planes[1:])
    luma = luma / top if is_full else (luma - 16 * unit) / (219 * unit)
    cb, cr = (c / top if is_full else c / (224 * unit) for c in (cb, cr))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 1)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("range_name", ["video", "full"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (37, 261)])
def test_camera_frames_match_float64(
    matrix: native.Matrix, range_name: native.Range, size: tuple[int, int]
) -> None:
    height, width = size
    half = ((height + 1) // 2, (width + 1) // 2)
    luma = RNG.integers(0, 256, size, np.uint8)
    chroma = RNG.integers(0, 256, (*half, 2), np.uint8)
    luma10 = RNG.integers(0, 1024, size, np.uint16)
    chroma10 = RNG.integers(0, 1024, (*half, 2), np.uint16)
    cases = {
        "nv12": (8, (luma, chroma)),
        "i420": (8, (luma, chroma[..., 0].copy(), chroma[..., 1].copy())),
        "p010": (10, (luma10 << 6 | 63, chroma10 << 6 | 1)),  # the low bits do not count
    }
    for name, (bits, planes) in cases.items():
        codes = (luma10, chroma10) if bits == 10 else (luma, chroma)
        split = (codes[0], codes[1][..., 0], codes[1][..., 1])
        expected = yuv_to_rgb(split, bits, matrix, range_name == "full")
        frame = Frame(name, planes, matrix, range_name)
        out = plain(frame, Frame.empty("rgbaf32", height, width)).planes[0]
        # Measured 4e-7: float32 codes of up to 1023 times a coefficient.
        np.testing.assert_allclose(out[..., :3], expected, atol=2e-6)
        assert (out[..., 3] == 1.0).all()
        eight = plain(frame, Frame.empty("rgba8", height, width)).planes[0]
        assert np.abs(eight[..., :3] - expected * 255).max() <= 0.5 + 1e-3
        assert (eight[..., 3] == 255).all()
        ten = plain(frame, Frame.empty("rgb10a2", height, width)).planes[0]
        for c in range(3):
            assert np.abs((ten >> 10 * c & 1023) - expected[..., c] * 1023).max() <= 0.5 + 1e-3
        assert (ten >> 30 == 3).all()


def test_white_black_and_grey_of_video_range() -> None:
    luma = np.array([[16, 235, 126, 0]], np.uint8)
    frame = Frame("nv12", (luma, np.full((1, 2, 2), 128, np.uint8)))
    out = plain(frame, Frame.empty("rgb8", 1, 4)).planes[0]
    assert out[0].tolist() == [[0] * 3, [255] * 3, [128] * 3, [0] * 3]


def test_layouts_hold_the_same_picture() -> None:
    codes = RNG.integers(0, 256, (13, 77, 4), np.uint8)
    source = Frame.of(codes)
    bgra = plain(source, Frame.empty("bgra8", 13, 77))
    np.testing.assert_array_equal(bgra.planes[0], codes[..., [2, 1, 0, 3]])
    planar = plain(bgra, Frame.empty("planar8", 13, 77))
    for c in range(3):
        np.testing.assert_array_equal(planar.planes[c], codes[..., c])
    wide = plain(source, Frame.empty("rgba16", 13, 77)).planes[0]
    np.testing.assert_array_equal(wide, codes.astype(np.uint16) * 257)
    np.testing.assert_array_equal(
        plain(Frame.of(wide), Frame.empty("rgba8", 13, 77)).planes[0], codes
    )
    half = plain(source, Frame.empty("rgbaf16", 13, 77)).planes[0]
    # One of 2048 steps below 1: the LUT's 1e-7 may push a value over the middle of two halves.
    np.testing.assert_allclose(half.astype(float), codes / 255.0, atol=2**-12 * 1.01)


def test_rgb10a2_bits() -> None:
    red, green, blue = (RNG.integers(0, 1024, (5, 40), np.uint32) for _ in range(3))
    alpha = RNG.integers(0, 4, (5, 40), np.uint32)
    packed = red | green << 10 | blue << 20 | alpha << 30
    same = plain(Frame("rgb10a2", (packed,)), Frame.empty("rgb10a2", 5, 40))
    np.testing.assert_array_equal(same.planes[0], packed)
    wide = plain(Frame("rgb10a2", (packed,)), Frame.empty("rgba16", 5, 40)).planes[0]
    expected = np.stack([red / 1023, green / 1023, blue / 1023, alpha / 3], -1) * 65535
    assert np.abs(wide - expected).max() <= 0.5 + 1e-2


def test_output_curves_come_before_the_mix() -> None:
    curves, lut = identity_look()
    after = np.stack([np.linspace(1.0, 0.0, 9) ** p for p in (1, 2, 3)]).astype(np.float32)
    image = RNG.random((9, 50, 3), dtype=np.float32)
    result = native.render(image, curves, lut, output_curves=after, strength=0.25)
    grid = np.linspace(0.0, 1.0, 9)
    curved = np.stack([np.interp(image[..., c], grid, after[c]) for c in range(3)], -1)
    np.testing.assert_allclose(result, image + 0.25 * (curved - image), atol=1e-6)


def test_trilinear_matches_float64() -> None:
    from scipy.interpolate import RegularGridInterpolator

    curves, _ = identity_look()
    lut = RNG.random((7, 7, 7, 3), dtype=np.float32)
    image = RNG.random((20, 33, 3), dtype=np.float32)
    axis = np.linspace(0.0, 1.0, 7)
    expected = RegularGridInterpolator((axis,) * 3, lut.astype(float))(image[..., ::-1])
    result = native.render(image, curves, lut, method=Method(interpolation="trilinear"))
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert np.abs(native.render(image, curves, lut) - expected).max() > 0.01


def test_extend_keeps_what_lies_outside() -> None:
    curves, lut = identity_look()
    lut = lut**2
    image = RNG.uniform(-1.0, 3.0, (9, 50, 3)).astype(np.float32)
    result = native.render(image, curves, lut, method=Method(out_of_range="extend"))
    inside = np.clip(image, 0.0, 1.0)
    expected = native.render(inside, curves, lut) + (image - inside)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_array_equal(native.render(image, curves, lut), expected.clip(0, 1))


def test_dither_has_no_bands_and_does_not_see_tiles() -> None:
    ramp = np.linspace(100 / 255, 104 / 255, 1024, dtype=np.float32)
    image = np.repeat(np.tile(ramp, (64, 1))[..., None], 3, axis=2)
    source, target = Frame.of(image), Frame.empty("rgb8", 64, 1024)
    out = plain(source, target, method=Method(dither=True)).planes[0]
    assert (out[..., 0] == out[..., 1]).all()
    means = out[..., 0].reshape(64, 64, 16).mean(axis=(0, 2))
    # 1024 thresholds: measured 0.01 of a code; without dither 0.5.
    assert np.abs(means - ramp.reshape(64, 16).mean(axis=1) * 255).max() < 0.03
    tiled = np.zeros_like(out)
    for x in range(0, 1024, 100):
        part = np.s_[:, x : x + 100]
        method = Method(dither=True, origin=(x, 0))
        plain(Frame.of(image[part]), Frame.of(tiled[part]), method=method)
    np.testing.assert_array_equal(tiled, out)


@pytest.mark.parametrize("dtype", [np.float16, np.uint16])
@pytest.mark.parametrize("size", [2, 33, 129])
def test_look_types_match_their_floats(dtype: type, size: int) -> None:
    curves, lut = identity_look(size)
    lut = lut**1.5
    if dtype is np.uint16:
        stored = [np.round(v * 65535).astype(np.uint16) for v in (curves, lut)]
        floats = [(v / np.float32(65535)).astype(np.float32) for v in stored]
    else:
        stored = [v.astype(np.float16) for v in (curves, lut)]
        floats = [v.astype(np.float32) for v in stored]
    image = RNG.integers(0, 65536, (9, 77, 3), np.uint16)
    np.testing.assert_array_equal(native.render(image, *stored), native.render(image, *floats))


def test_float16_image_in_place() -> None:
    curves, lut = identity_look()
    image = RNG.random((9, 50, 4)).astype(np.float16)
    expected = native.render(image.astype(np.float32), curves, lut**2).astype(np.float16)
    np.testing.assert_array_equal(native.render(image, curves, lut**2, out=image), expected)


def test_bad_frames_are_refused() -> None:
    luma, chroma = np.zeros((5, 5), np.uint8), np.zeros((3, 3, 2), np.uint8)
    rgb = np.zeros((5, 5, 3), np.uint8)
    for message, arguments in (
        ("known: use bt709", ("nv12", (luma, chroma), "bt470")),
        ("known: use rgb8", ("yuv", (luma,))),
        ("native uint8 arrays", ("nv12", (luma, chroma[:2]))),
        ("native uint8 arrays", ("nv12", (luma,))),
        ("native uint16 arrays", ("p010", (luma, chroma))),
        ("do not make", ("rgb8", (luma,))),
        ("do not make", ("planar8", ())),
    ):
        with pytest.raises(errors.InvalidArgument, match=message):
            Frame(*arguments)
    frame, target = Frame("nv12", (luma, chroma)), Frame.of(rgb)
    for message, source, out, method in (
        ("to nv12", target, frame, Method()),
        ("one size", Frame.of(rgb[:3]), target, Method()),
        ("for 8 bits", frame, Frame.empty("rgb16", 5, 5), Method(dither=True)),
        ("float formats", frame, target, Method(out_of_range="extend")),
        ("strides", frame, Frame.of(np.zeros((5, 10, 3), np.uint8)[:, ::2]), Method()),
    ):
        with pytest.raises(errors.InvalidArgument, match=message):
            plain(source, out, method=method)
    with pytest.raises(errors.InvalidArgument, match="tetrahedral or trilinear"):
        Method(interpolation="cubic")  # type: ignore[arg-type]
