"""Saving photos: what is kept to the byte, what is rounded, and that no failure leaves a trace."""

import os
import resource
import stat
import struct
import threading

import numpy as np
import pytest
import tifffile
from image_makers import P3_PRIMARIES, chunk, exif_block, png16, rgb_profile
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from skimage import data, io

from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.image import Photo
from vera_mobile.image_write import to_eight_bits

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="1" t="\xc3\xa4"/></x:xmpmeta>'
ICC = rgb_profile("Display P3", P3_PRIMARIES)
SUFFIXES = [".jpg", ".png", ".tif", ".webp"]
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (130, 170, 3), dtype=np.uint16)


def full_photo(pixels, alpha=None):
    return Photo(
        pixels,
        alpha,
        icc=ICC,
        colour_space="Display P3",
        exif=exif_block(1),
        xmp=XMP,
        dpi=(300.0, 240.0),
    )


def tags_of(raw):
    exif = Image.Exif()
    exif.load(raw)
    inner, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    return exif[0x010F], float(inner[0x829A]), inner[0x927C], gps[1], tuple(map(float, gps[2]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_is_kept_by_every_format(tmp_path, suffix, dtype):
    photo = full_photo(RGB8 if dtype == np.uint8 else RGB16)
    path = tmp_path / ("a" + suffix)
    photo.save(path)
    again = Photo.load(path)
    assert again.icc == ICC
    assert again.xmp == XMP
    assert tags_of(again.exif) == ("Vera Camera", 1 / 250, b"maker\0note", "N", (48.0, 8.0, 14.25))
    assert (again.format, again.colour_space, again.notes) == (
        {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}[suffix], "Display P3", (),
    )  # fmt: skip
    if suffix == ".png":
        # PNG counts dots per metre in whole numbers: 300 dpi are 11,811.02.
        assert again.dpi == pytest.approx((300, 240), abs=0.01)
    elif suffix != ".webp":
        assert again.dpi == (300, 240)


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
def test_exif_survives_any_two_formats(tmp_path, source, target):
    full_photo(RGB8).save(tmp_path / ("a" + source))
    first = Photo.load(tmp_path / ("a" + source))
    first.save(tmp_path / ("b" + target))
    second = Photo.load(tmp_path / ("b" + target))
    assert tags_of(second.exif) == tags_of(exif_block(1))
    assert (second.icc, second.xmp) == (ICC, XMP)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (61, 67), (400, 300)])
def test_lossless_formats_keep_every_bit(tmp_path, bits, with_alpha, size):
    dtype = np.uint8 if bits == 8 else np.uint16
    noise = RNG.integers(0, 2**bits, (*size, 4)).astype(dtype)
    smooth = np.cumsum(noise % 7, axis=1, dtype=dtype)
    for array in (noise, smooth):
        photo = Photo.from_array(array if with_alpha else array[..., :3])
        for name in ("a.png", "a.tif"):
            photo.save(tmp_path / name)
            again = Photo.load(tmp_path / name)
            assert again.pixels.dtype == dtype
            np.testing.assert_array_equal(again.pixels, array[..., :3])
            if with_alpha:
                np.testing.assert_array_equal(again.alpha, array[..., 3])
            else:
                assert again.alpha is None


def test_other_programs_read_our_16_bit_files(tmp_path):
    photo = full_photo(RGB16)
    photo.save(tmp_path / "a.tif")
    photo.save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.imread(tmp_path / "a.tif"), RGB16)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        np.testing.assert_array_equal(tiff.pages[0].asarray(), RGB16)
        assert tiff.pages.first.tags["InterColorProfile"].value == ICC
        assert len(tiff.pages) == 1
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), RGB16 >> 8)
        assert image.info["icc_profile"] == ICC


def test_filters_make_smooth_16_bit_png_smaller(tmp_path):
    ramp = np.add.outer(np.arange(200) * 97, np.arange(300) * 53)[..., None] + np.arange(3) * 999
    ramp = ramp.astype(np.uint16)
    Photo.from_array(ramp).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < len(png16(ramp)) / 5


def test_16_bits_are_rounded_to_8_not_truncated(tmp_path):
    codes = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.floor(codes / 257 + 0.5)
    np.testing.assert_array_equal(to_eight_bits(codes), want)
    grey = np.full((16, 16, 3), 128 * 257 + 129, np.uint16)
    notes = Photo.from_array(grey).save(tmp_path / "a.jpg")
    assert notes == ("JPEG holds 8 bits: 16-bit values were rounded.",)
    assert (Photo.load(tmp_path / "a.jpg").pixels == 129).all()


def test_jpeg_is_444_at_quality_95_and_drops_alpha_with_a_note(tmp_path):
    coffee = data.coffee()
    alpha = np.full(coffee.shape[:2], 200, np.uint8)
    notes = Photo.from_array(np.dstack([coffee, alpha])).save(tmp_path / "a.jpg")
    assert notes == ("JPEG holds no transparency: it was dropped.",)
    with JpegImageFile(tmp_path / "a.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3
        tables = image.quantization
    coffee_image = Image.fromarray(coffee)
    coffee_image.save(tmp_path / "b.jpg", quality=95)
    with JpegImageFile(tmp_path / "b.jpg") as image:
        assert image.quantization == tables
    Photo.from_array(coffee).save(tmp_path / "c.jpg", quality=60)
    assert (tmp_path / "c.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size / 2


def test_webp_keeps_alpha(tmp_path):
    alpha = np.kron(np.eye(2, dtype=np.uint8) * 200 + 30, np.ones((16, 16), np.uint8))
    photo = Photo(np.full((32, 32, 3), 90, np.uint8), alpha)
    photo.save(tmp_path / "a.webp")
    np.testing.assert_array_equal(Photo.load(tmp_path / "a.webp").alpha, alpha)


def test_thumbnail_of_the_old_photo_is_removed(tmp_path):
    small = b"\xff\xd8 old thumbnail \xff\xd9"
    raw = bytearray(exif_block(6))
    exif = raw[6:]
    order = "<" if exif[:2] == b"II" else ">"
    count = struct.unpack_from(order + "H", exif, 8)[0]
    second = len(exif)
    struct.pack_into(order + "I", exif, 10 + 12 * count, second)
    at = second + 2 + 24 + 4
    exif += struct.pack(order + "H", 2)
    exif += struct.pack(order + "HHII", 0x0201, 4, 1, at)
    exif += struct.pack(order + "HHII", 0x0202, 4, 1, len(small))
    exif += struct.pack(order + "I", 0) + small
    Image.fromarray(RGB8).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(exif))
    photo = Photo.load(tmp_path / "a.jpg")
    assert photo.exif is not None
    assert b"old thumbnail" not in photo.exif
    assert tags_of(photo.exif) == tags_of(exif_block(1))


def test_orientation_in_xmp_is_reset(tmp_path):
    turned = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    Image.fromarray(RGB8).save(tmp_path / "a.jpg", exif=exif_block(6), xmp=turned)
    assert Photo.load(tmp_path / "a.jpg").xmp == XMP


def test_metadata_too_long_for_jpeg_is_dropped_with_notes(tmp_path):
    long = Photo(RGB8, exif=exif_block(1, t270="x" * 70_000), xmp=b"<x>" + b" " * 70_000)
    notes = long.save(tmp_path / "a.jpg")
    assert [n.split(":")[0] for n in notes] == [
        "JPEG holds at most 64 KB of EXIF", "JPEG holds at most 64 KB of XMP",
    ]  # fmt: skip
    assert long.save(tmp_path / "a.png") == ()
    assert len(Photo.load(tmp_path / "a.png").exif or b"") > 70_000


def test_format_follows_the_suffix_or_the_photo(tmp_path):
    photo = Photo.from_array(RGB8, format="TIFF")
    photo.save(tmp_path / "plain")
    assert Photo.load(tmp_path / "plain").format == "TIFF"
    photo.save(tmp_path / "A.JPEG")
    assert Photo.load(tmp_path / "A.JPEG").format == "JPEG"
    with pytest.raises(UnsupportedFormat, match=r"'.gif'.*known: .jpg"):
        photo.save(tmp_path / "a.gif")
    with pytest.raises(UnsupportedFormat, match="known: JPEG, PNG"):
        Photo.from_array(RGB8, format="GIF")


def test_the_input_is_never_overwritten(tmp_path):
    path = tmp_path / "a.png"
    Photo.from_array(RGB8).save(path)
    before = path.read_bytes()
    photo = Photo.load(path).with_pixels(255 - RGB8)
    (tmp_path / "link.png").symlink_to(path)
    os.link(path, tmp_path / "hard.png")
    (tmp_path / "sub").mkdir()
    for other in ("a.png", "link.png", "hard.png", "sub/../a.png"):
        with pytest.raises(InvalidArgument, match="never overwritten"):
            photo.save(tmp_path / other)
    assert path.read_bytes() == before
    photo.save(tmp_path / "b.png")
    photo.with_pixels(RGB8).save(tmp_path / "b.png")
    np.testing.assert_array_equal(Photo.load(tmp_path / "b.png").pixels, RGB8)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_disk_leaves_the_old_file_and_no_other(tmp_path, suffix, dtype):
    path = tmp_path / ("a" + suffix)
    Photo.from_array(RGB8[:2, :2]).save(path)
    before, handles = path.read_bytes(), len(os.listdir("/proc/self/fd"))
    noise = RNG.integers(0, 256, (300, 300, 3)).astype(dtype) * dtype(
        257 if dtype == np.uint16 else 1
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FileError, match=r"Cannot write .*a\."):
            Photo.from_array(noise).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(os.listdir("/proc/self/fd")) == handles


def test_missing_folder_and_folder_as_target(tmp_path):
    photo = Photo.from_array(RGB8)
    with pytest.raises(FileError, match="does not exist"):
        photo.save(tmp_path / "none" / "a.png")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        photo.save(tmp_path / "d.png")
    assert [p.name for p in tmp_path.iterdir()] == ["d.png"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        Photo.from_array(RGB8).save(tmp_path / "a.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_outside_1_to_100_is_refused(tmp_path, quality):
    with pytest.raises(InvalidArgument, match=r"1\.\.100"):
        Photo.from_array(RGB8).save(tmp_path / "a.jpg", quality=quality)


def test_sides_that_a_format_cannot_hold(tmp_path):
    photo = Photo.from_array(np.zeros((1, 70_000, 3), np.uint8))
    for name, limit in (("a.jpg", 65_535), ("a.webp", 16_383)):
        with pytest.raises(InvalidArgument, match=f"at most {limit} a side"):
            photo.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    photo.save(tmp_path / "a.png")
    assert Photo.load(tmp_path / "a.png").width == 70_000


def test_with_pixels_keeps_metadata_and_fits_alpha():
    alpha = RGB8[..., 0].copy()
    photo = full_photo(RGB8, alpha)
    wide = photo.with_pixels(RGB8.astype(np.uint16) * 257)
    assert (wide.icc, wide.exif, wide.xmp, wide.dpi) == (
        photo.icc,
        photo.exif,
        photo.xmp,
        photo.dpi,
    )
    np.testing.assert_array_equal(wide.alpha, alpha.astype(np.uint16) * 257)
    np.testing.assert_array_equal(wide.with_pixels(RGB8).alpha, alpha)
    with pytest.raises(InvalidArgument, match="Alpha"):
        photo.with_pixels(RGB8[1:])
    assert full_photo(RGB8).with_pixels(RGB8[1:]).height == 32


def test_many_threads_load_and_save(tmp_path):
    (tmp_path / "in.png").write_bytes(png16(RGB16, chunk(b"eXIf", exif_block(3)[6:])))
    failures = []

    def work(number):
        photo = Photo.load(tmp_path / "in.png")
        photo.save(tmp_path / f"{number}.tif")
        if not np.array_equal(Photo.load(tmp_path / f"{number}.tif").pixels, RGB16[::-1, ::-1]):
            failures.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(list(tmp_path.iterdir())) == 7
