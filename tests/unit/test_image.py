"""Reading photos: orientation, depth, colour, every kind of file that must be refused."""

import os
import struct
import warnings
from typing import Any

import numpy as np
import pytest
import tifffile
from image_makers import (
    ADOBE_PRIMARIES,
    P3_PRIMARIES,
    SRGB_PRIMARIES,
    chunk,
    cmyk_profile,
    exif_block,
    grey_profile,
    png16,
    rgb_profile,
    to_xyz_d50,
)
from PIL import Image
from skimage import data

from vera_mobile.color.spaces import linear_to_srgb, srgb_to_linear
from vera_mobile.errors import InvalidArgument
from vera_mobile.image import Photo

RGB8 = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
RGB16 = np.random.default_rng(1).integers(0, 65536, (70, 90, 3), dtype=np.uint16)
RGBA16 = np.random.default_rng(2).integers(0, 65536, (70, 90, 4), dtype=np.uint16)


@pytest.fixture(autouse=True)
def no_warnings_and_no_open_files():
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert len(os.listdir("/proc/self/fd")) == before


def saved(tmp_path, array, name, **options):
    path = tmp_path / name
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def turned(pixels, orientation):
    """What EXIF's table says, by where the first row and column of the file are seen."""
    image = Image.fromarray(pixels)
    ways = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    way = ways.get(orientation)
    return np.asarray(image if way is None else image.transpose(Image.Transpose(way)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_orientation_is_applied_once_and_reset(tmp_path, orientation, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path, RGB8, "a" + suffix, exif=exif_block(orientation), **options)
    photo = Photo.load(path)
    np.testing.assert_array_equal(photo.pixels, turned(RGB8, orientation))
    photo.save(tmp_path / ("b" + suffix))
    again = Image.open(tmp_path / ("b" + suffix))
    assert again.getexif().get(0x0112, 1) == 1
    assert again.size == (photo.width, photo.height)
    if suffix != ".webp":
        np.testing.assert_array_equal(Photo.load(tmp_path / ("b" + suffix)).pixels, photo.pixels)
    again.close()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_jpeg_and_16_bits(tmp_path, orientation):
    blocks = np.kron(RGB8[:2, :3], np.ones((16, 16, 1), np.uint8))
    path = saved(
        tmp_path, blocks, "a.jpg", exif=exif_block(orientation), quality=100, subsampling=0
    )
    with Image.open(path) as image:
        want = turned(np.asarray(image), orientation)
    photo = Photo.load(path)
    np.testing.assert_array_equal(photo.pixels, want)
    sizes = Image.Exif()
    sizes.load(photo.exif or b"")
    inner = sizes.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (photo.width, photo.height)
    exif = chunk(b"eXIf", exif_block(orientation)[6:])
    (tmp_path / "a.png").write_bytes(png16(RGB16, exif))
    wide = Photo.load(tmp_path / "a.png").pixels
    high = turned((RGB16 >> 8).astype(np.uint8), orientation)
    np.testing.assert_array_equal((wide >> 8).astype(np.uint8), high)


def test_wrong_orientation_and_damaged_exif_do_not_stop_loading(tmp_path):
    np.testing.assert_array_equal(
        Photo.load(saved(tmp_path, RGB8, "a.png", exif=exif_block(9))).pixels, RGB8
    )
    broken = exif_block(6)[:20]
    photo = Photo.load(saved(tmp_path, RGB8, "b.png", exif=broken))
    assert photo.exif is None
    assert "EXIF" in photo.notes[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_tiny_sizes(tmp_path, size, suffix):
    path = saved(tmp_path, np.full((*size, 3), 77, np.uint8), "a" + suffix)
    photo = Photo.load(path)
    assert photo.pixels.shape == (*size, 3)
    assert photo.to_srgb(max_side=8).shape[:2] == tuple(min(s, 8) for s in size)
    photo.save(tmp_path / ("b" + suffix))
    assert Photo.load(tmp_path / ("b" + suffix)).pixels.shape == (*size, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_every_kind(tmp_path, channels):
    path = tmp_path / "a.png"
    path.write_bytes(png16(RGBA16[..., :channels] if channels != 2 else RGBA16[..., 2:]))
    photo = Photo.load(path)
    if channels > 2:
        np.testing.assert_array_equal(photo.pixels, RGBA16[..., :3])
    else:
        grey = RGBA16[..., 0] if channels == 1 else RGBA16[..., 2]
        np.testing.assert_array_equal(photo.pixels, np.repeat(grey[..., None], 3, -1))
        assert photo.notes == ("Grey converted to RGB.",)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, RGBA16[..., 3])
    else:
        assert photo.alpha is None


def test_16_bit_png_with_one_transparent_colour(tmp_path):
    key = struct.pack(">3H", *(int(v) for v in RGB16[3, 4]))
    (tmp_path / "a.png").write_bytes(png16(RGB16, chunk(b"tRNS", key)))
    photo = Photo.load(tmp_path / "a.png")
    assert photo.alpha is not None
    assert np.count_nonzero(photo.alpha == 0) == 1
    assert photo.alpha[3, 4] == 0
    np.testing.assert_array_equal(photo.pixels, RGB16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (32, 32)},
        {"planarconfig": "separate"},
        {"compression": "zlib", "planarconfig": "separate"},
    ],
)
def test_16_bit_tiff_of_every_layout(tmp_path, order, options):
    path = tmp_path / "a.tif"
    for array in (RGB16, RGBA16):
        shown = np.moveaxis(array, -1, 0) if "planarconfig" in options else array
        extra = ["unassalpha"] if array is RGBA16 else None
        layout: dict[str, Any] = {**options, "byteorder": order, "extrasamples": extra}
        tifffile.imwrite(path, shown, photometric="rgb", **layout)
        photo = Photo.load(path)
        np.testing.assert_array_equal(photo.pixels, array[..., :3])
        if array is RGBA16:
            np.testing.assert_array_equal(photo.alpha, array[..., 3])


def test_16_bit_tiff_by_lzw_and_with_premultiplied_alpha(tmp_path):
    path = tmp_path / "a.tif"
    grey = Image.fromarray(RGB16[..., 0])
    grey.save(path, compression="tiff_lzw")
    np.testing.assert_array_equal(Photo.load(path).pixels[..., 1], RGB16[..., 0])
    alpha = np.maximum(RGBA16[..., 3:], 20_000).astype(np.uint64)
    multiplied = ((RGBA16[..., :3] * alpha + 32767) // 65535).astype(np.uint16)
    both = np.concatenate([multiplied, alpha.astype(np.uint16)], -1)
    tifffile.imwrite(path, both, photometric="rgb", extrasamples=["assocalpha"])
    photo = Photo.load(path)
    # Half a code of the product over the least alpha, 20,000 / 65,535, is 1.6; the result is
    # rounded once more: 2, measured 2.
    assert np.abs(photo.pixels.astype(int) - RGBA16[..., :3]).max() <= 2
    np.testing.assert_array_equal(photo.alpha, alpha[..., 0])


def test_16_bit_grey_tiff_both_ways_around(tmp_path):
    path = tmp_path / "a.tif"
    for photometric, want in (("minisblack", RGB16[..., 0]), ("miniswhite", 65535 - RGB16[..., 0])):
        tifffile.imwrite(path, RGB16[..., 0], photometric=photometric)
        photo = Photo.load(path)
        np.testing.assert_array_equal(photo.pixels, np.repeat(want[..., None], 3, -1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_modes_become_rgb_with_a_note(tmp_path, mode, suffix):
    image = Image.fromarray(
        np.dstack([data.coffee()[:40, :50], RGBA16[:40, :50, 3] >> 8]).astype(np.uint8)
    )
    image = image.convert("RGB").convert("P") if mode == "P" else image.convert(mode)
    photo = Photo.load(saved(tmp_path, image, "a" + suffix))
    want = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(photo.pixels, want)
    word = {"P": "Palette", "RGBA": None}.get(mode, "Grey")
    assert len(photo.notes) == (word is not None)
    assert word is None or photo.notes[0].startswith(word)
    assert (photo.alpha is not None) == (mode in ("LA", "RGBA"))
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, np.asarray(image.getchannel("A")))


def test_palette_transparency_becomes_alpha(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = tmp_path / "a.png"
    image.save(path, transparency=bytes([255, 0, 99]))
    photo = Photo.load(path)
    np.testing.assert_array_equal(photo.alpha, [[255, 0], [99, 0]])
    np.testing.assert_array_equal(photo.pixels[1, 0], [0, 0, 255])


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_with_and_without_a_profile(tmp_path, suffix):
    inks = np.zeros((32, 64, 4), np.uint8)
    inks[:, 32:, 3] = 255
    image = Image.fromarray(inks, "CMYK")
    options = {"quality": 100} if suffix == ".jpg" else {}
    plain = Photo.load(saved(tmp_path, image, "a" + suffix, **options))
    assert plain.pixels[4, 4].tolist() == [255, 255, 255]
    assert plain.pixels[4, 60].tolist() == [0, 0, 0]
    assert "without a profile" in plain.notes[0]
    exact = Photo.load(saved(tmp_path, image, "b" + suffix, icc_profile=cmyk_profile(), **options))
    assert exact.notes == ("CMYK converted to sRGB by its profile.",)
    assert (exact.icc, exact.colour_space) == (None, "sRGB")
    # The profile's black has L = 60, and 100 % ink of everything has L = 0, so black point
    # compensation leaves it: sRGB of L = 60 is 145; the profile's 8 bits allow 1 code.
    assert np.abs(exact.pixels[4, 60].astype(int) - 145).max() <= 1
    assert exact.pixels[4, 4].min() >= 254


def test_grey_profile_is_applied_at_8_bits_and_named_at_16(tmp_path):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 4, 0)
    path = saved(tmp_path, ramp, "a.png", icc_profile=grey_profile(1.0))
    photo = Photo.load(path)
    want = np.round(linear_to_srgb(np.arange(256) / 255) * 255)
    # LCMS rounds the curve's places to 16 bits, which may tip a rounding; measured 0.
    assert np.abs(photo.pixels[0, :, 1] - want).max() <= 1
    assert photo.icc is None
    tifffile.imwrite(
        tmp_path / "b.tif", RGB16[..., 0], photometric="minisblack", iccprofile=grey_profile(1.0)
    )
    assert "grey profile" in Photo.load(tmp_path / "b.tif").notes[1]


@pytest.mark.parametrize("bits", [8, 16])
def test_display_p3_is_named_kept_and_converted(tmp_path, bits):
    icc = rgb_profile("Display P3", P3_PRIMARIES)
    rgb = np.random.default_rng(4).uniform(0.3, 0.6, (16, 24, 3))
    codes = np.round(rgb * (2**bits - 1)).astype(f"u{bits // 8}")
    photo = Photo.from_array(codes, icc=icc)
    photo.save(tmp_path / "a.png")
    loaded = Photo.load(tmp_path / "a.png")
    assert loaded.icc == icc
    assert loaded.colour_space == photo.colour_space == "Display P3"
    got = loaded.to_srgb()
    matrix = np.linalg.solve(to_xyz_d50(SRGB_PRIMARIES), to_xyz_d50(P3_PRIMARIES))
    want = linear_to_srgb(srgb_to_linear(rgb) @ matrix.T)
    assert want.min() > 0
    assert want.max() < 1
    # Input, conversion and output are 8 bits: 1.5 codes at most; measured 1.19.
    assert np.abs(got - want).max() * 255 < 1.5
    assert np.abs(got - rgb).max() * 255 > 5


def test_colour_spaces_are_told_by_what_they_do():
    def space(icc):
        return Photo.from_array(RGB8, icc=icc).colour_space

    assert space(rgb_profile("sRGB IEC61966-2.1", SRGB_PRIMARIES)) == "sRGB"
    assert space(rgb_profile("my camera", SRGB_PRIMARIES)) == "sRGB"
    assert space(rgb_profile("Linear sRGB", SRGB_PRIMARIES, [0, 1])) == "Linear sRGB"
    gamma = np.linspace(0, 1, 1024) ** 2.19921875
    assert space(rgb_profile("Adobe RGB (1998)", ADOBE_PRIMARIES, gamma)) == "Adobe RGB"


def test_unusable_profiles_are_removed_with_a_note(tmp_path):
    damaged = bytearray(rgb_profile("Display P3", P3_PRIMARIES))
    damaged[16:20] = b"RG\xb8 "
    for icc in (b"not a profile at all", bytes(damaged), grey_profile(2.2), cmyk_profile()):
        photo = Photo.load(saved(tmp_path, RGB8, "a.png", icc_profile=icc))
        assert (photo.icc, photo.colour_space) == (None, "sRGB")
        assert "profile" in photo.notes[0]
        with pytest.raises(InvalidArgument, match="ICC profile"):
            Photo.from_array(RGB8, icc=icc)


def test_to_srgb_scales_like_an_area_mean():
    eight = data.coffee()
    photo = Photo.from_array(eight)
    np.testing.assert_array_equal(photo.to_srgb(), np.float32(eight) / np.float32(255))
    small = photo.to_srgb(max_side=60)
    assert small.shape == (40, 60, 3)
    assert small.dtype == np.float32
    wide = Photo.from_array(eight.astype(np.uint16) * 257).to_srgb(max_side=60)
    # Float32 sums of the same picture in other units; measured 3e-5 codes.
    assert np.abs(wide - small).max() * 255 < 1e-4
    area = eight.reshape(40, 10, 60, 10, 3).mean(axis=(1, 3)) / 255
    # Lanczos is sharper than a plain mean; measured a mean of 2.24 codes.
    assert np.abs(small - area).mean() * 255 < 4
    assert photo.to_srgb(max_side=9999).shape == eight.shape
    assert photo.to_srgb(size=(32, 32)).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "options", [{"max_side": 0}, {"size": (0, 5)}, {"max_side": 5, "size": (5, 5)}]
)
def test_to_srgb_refuses_sizes(options):
    with pytest.raises(InvalidArgument):
        Photo.from_array(RGB8).to_srgb(**options)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.int16),
    ],
)
def test_from_array_refuses(array):
    with pytest.raises(InvalidArgument, match="not allowed"):
        Photo.from_array(array)
