"""Files that must not be read, or only just: each gives one clear error before any harm."""

import os
import struct
import warnings

import numpy as np
import pytest
import tifffile
from image_makers import chunk, png16
from PIL import Image
from skimage import data

from vera_mobile.errors import FileError, OutOfMemory, UnsupportedFormat
from vera_mobile.image import Photo

RGB8 = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
RGB16 = np.random.default_rng(1).integers(0, 65536, (70, 90, 3), dtype=np.uint16)


@pytest.fixture(autouse=True)
def no_warnings_and_no_open_files():
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert len(os.listdir("/proc/self/fd")) == before


def saved(tmp_path, array, name):
    path = tmp_path / name
    Image.fromarray(array).save(path)
    return path


def huge_png(path):
    path.write_bytes(png16(RGB16)[:16] + struct.pack(">II", 20_000, 20_000) + png16(RGB16)[24:])
    raw = bytearray(path.read_bytes())
    raw[29:33] = chunk(b"IHDR", bytes(raw[16:29]))[-4:]
    path.write_bytes(raw)


def huge_tiff(path):
    tifffile.imwrite(path, RGB8, photometric="rgb")
    raw = path.read_bytes()
    for tag in (256, 257):
        with tifffile.TiffFile(path) as tiff:
            place = tiff.pages.first.tags[tag].valueoffset
        raw = raw[:place] + struct.pack("<H", 20_000) + raw[place + 2 :]
    path.write_bytes(raw)


def huge_jpeg(path):
    Image.fromarray(RGB8).save(path)
    raw = path.read_bytes()
    at = raw.index(b"\xff\xc0") + 5
    path.write_bytes(raw[:at] + struct.pack(">HH", 20_000, 20_000) + raw[at + 4 :])


@pytest.mark.parametrize(
    ("make", "name"), [(huge_png, "a.png"), (huge_tiff, "a.tif"), (huge_jpeg, "a.jpg")]
)
def test_size_is_checked_before_decoding(tmp_path, make, name):
    make(tmp_path / name)
    with pytest.raises(OutOfMemory, match=r"20000 x 20000 pixels; at most 250,000,000"):
        Photo.load(tmp_path / name)


def test_pictures_above_pillows_warning_are_read(tmp_path):
    # 13,500 x 13,500 = 182 million: Pillow would raise from 179 million on.
    bits = Image.new("1", (13_500, 13_500))
    limit = Image.MAX_IMAGE_PIXELS
    bits.save(tmp_path / "a.tif", compression="group4")
    bits.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "vera_mobile.image_read._eight", lambda image, out: setattr(out, "pixels", RGB8)
        )
        assert Photo.load(tmp_path / "a.tif").pixels is RGB8
    assert limit == Image.MAX_IMAGE_PIXELS


def animated(path):
    frames = [Image.fromarray(np.full((9, 9, 3), v, np.uint8)) for v in (1, 99, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_several_frames_or_pages_are_refused(tmp_path, name):
    animated(tmp_path / name)
    with pytest.raises(UnsupportedFormat, match=r"3 (frames|pages)"):
        Photo.load(tmp_path / name)


def test_smaller_copy_inside_a_tiff_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(RGB8, photometric="rgb")
        tiff.write(RGB8[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(Photo.load(tmp_path / "a.tif").pixels, RGB8)


def test_mpo_is_read_as_a_photo(tmp_path):
    frames = [Image.fromarray(np.full((32, 32, 3), v, np.uint8)) for v in (50, 99)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    photo = Photo.load(tmp_path / "a.jpg")
    assert photo.format == "JPEG"
    assert photo.pixels.max() == 50
    assert "not kept" in photo.notes[0]


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw photo"),
        (b"this is a text that someone renamed", "not a picture"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, head, word):
    path = tmp_path / "a.jpg"
    path.write_bytes(head)
    with pytest.raises(UnsupportedFormat, match=word) as error:
        Photo.load(path)
    assert str(path) in str(error.value)


def test_float_tiff_is_unsupported(tmp_path):
    for shape in ((8, 8), (8, 8, 3)):
        kind = "rgb" if len(shape) == 3 else "minisblack"
        tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.float32), photometric=kind)
        with pytest.raises(UnsupportedFormat, match="8 or 16 bits"):
            Photo.load(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_cut_off_files_are_one_clear_error(tmp_path, name, share):
    path = saved(tmp_path, data.coffee()[:200, :200], name)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(FileError, match=r"empty|damaged or cut off") as error:
            Photo.load(path)
    assert str(path) in str(error.value)


def test_16_bit_files_cut_off(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(RGB16)[:-4000])
    tifffile.imwrite(tmp_path / "a.tif", RGB16, photometric="rgb")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-4000])
    for name in ("a.png", "a.tif"):
        with pytest.raises(FileError, match="damaged or cut off"):
            Photo.load(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        Photo.load(tmp_path / "none.jpg")
    with pytest.raises(FileError, match="is a folder"):
        Photo.load(tmp_path)
