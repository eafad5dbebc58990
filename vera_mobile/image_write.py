"""Encoding RGB arrays of 8 or 16 bits with EXIF, XMP, ICC profile and resolution.

JPEG, WebP and 8-bit PNG go through Pillow. 16-bit PNG and all TIFF are written here, because
Pillow has no 16-bit RGB and drops EXIF directories from compressed TIFF.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from vera_mobile.errors import InvalidArgument
from vera_mobile.image_meta import EXIF_PREFIX, STRUCTURAL_TAGS

MAX_SIDE = {"JPEG": 65_535, "WEBP": 16_383, "PNG": 2**31 - 1, "TIFF": 2**31 - 1}
_JPEG_SEGMENT = 65_533
_XMP_HEADER = 29
_ZLIB_LEVEL = 5
_BLOCK_BYTES = 1 << 20
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965


@dataclass
class Encodable:
    """Pixels (H, W, 3) and alpha (H, W) or None, uint8 or uint16, with what travels along."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None

    def samples(self) -> np.ndarray:
        """(H, W, 3) or, with alpha, (H, W, 4)."""
        if self.alpha is None:
            return np.ascontiguousarray(self.pixels)
        return np.dstack([self.pixels, self.alpha])


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of uint16, rounded to the nearest code (65535 / 255 = 257 exactly); uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    out = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), 64):
        out[row : row + 64] = (values[row : row + 64].astype(np.uint32) + 128) // 257
    return out


def encode(stream: BinaryIO, kind: str, photo: Encodable, quality: int) -> tuple[str, ...]:
    """Writes `photo` as "JPEG", "PNG", "TIFF" or "WEBP"; what the format cannot hold, as notes.

    Errors: InvalidArgument for a side that the format does not allow; OSError of the stream.
    """
    height, width = photo.pixels.shape[:2]
    if max(height, width) > MAX_SIDE[kind]:
        raise InvalidArgument(
            f"{width} x {height} pixels do not fit into {kind}: at most {MAX_SIDE[kind]} a side. "
            "Use PNG or TIFF."
        )
    writers = {"JPEG": _jpeg, "WEBP": _webp, "PNG": _png, "TIFF": _tiff}
    notes: list[str] = []
    if kind in ("JPEG", "WEBP") and photo.pixels.dtype == np.uint16:
        notes.append(f"{kind} holds 8 bits: 16-bit values were rounded.")
    writers[kind](stream, photo, quality, notes)
    return tuple(notes)


def _jpeg(stream: BinaryIO, photo: Encodable, quality: int, notes: list[str]) -> None:
    if photo.alpha is not None:
        notes.append("JPEG holds no transparency: it was dropped.")
    exif, xmp = photo.exif or b"", photo.xmp or b""
    if len(exif) > _JPEG_SEGMENT:
        notes.append(f"JPEG holds at most 64 KB of EXIF: {len(exif)} bytes were dropped.")
        exif = b""
    if len(xmp) > _JPEG_SEGMENT - _XMP_HEADER:
        notes.append(f"JPEG holds at most 64 KB of XMP: {len(xmp)} bytes were dropped.")
        xmp = b""
    options: dict[str, object] = {"dpi": photo.dpi} if photo.dpi else {}
    image = Image.fromarray(np.ascontiguousarray(to_eight_bits(photo.pixels)))
    image.save(
        stream, "JPEG", quality=quality, subsampling=0, exif=exif, xmp=xmp,
        icc_profile=photo.icc or b"", **options,
    )  # fmt: skip


def _webp(stream: BinaryIO, photo: Encodable, quality: int, notes: list[str]) -> None:
    if photo.dpi is not None and photo.exif is None:
        notes.append("WebP holds no resolution of its own: it was dropped.")
    image = Image.fromarray(to_eight_bits(photo.samples()))
    image.save(
        stream, "WEBP", quality=quality, exact=True, exif=photo.exif or b"",
        xmp=photo.xmp or b"", icc_profile=photo.icc or b"",
    )  # fmt: skip


def _png(stream: BinaryIO, photo: Encodable, quality: int, notes: list[str]) -> None:
    samples = photo.samples()
    if samples.dtype == np.uint16:
        _wide_png(stream, samples, photo)
        return
    info = PngImagePlugin.PngInfo()
    if photo.xmp:
        info.add_itxt("XML:com.adobe.xmp", photo.xmp.decode("utf-8", "replace"))
    options: dict[str, object] = {"dpi": photo.dpi} if photo.dpi else {}
    Image.fromarray(samples).save(
        stream, "PNG", exif=photo.exif or b"", icc_profile=photo.icc or b"", pnginfo=info,
        **options,
    )  # fmt: skip


def _chunk(stream: BinaryIO, name: bytes, data: bytes) -> None:
    checksum = zlib.crc32(data, zlib.crc32(name))
    stream.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum))


def _wide_png(stream: BinaryIO, samples: np.ndarray, photo: Encodable) -> None:
    """16-bit RGB or RGBA PNG. Format: PNG specification, third edition (W3C)."""
    height, width, channels = samples.shape
    stream.write(b"\x89PNG\r\n\x1a\n")
    colour_type = 2 if channels == 3 else 6
    _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    if photo.icc:
        _chunk(stream, b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc))
    if photo.dpi:
        x, y = (round(d / 0.0254) for d in photo.dpi)
        _chunk(stream, b"pHYs", struct.pack(">IIB", x, y, 1))
    if photo.exif:
        _chunk(stream, b"eXIf", photo.exif.removeprefix(EXIF_PREFIX))
    if photo.xmp:
        _chunk(stream, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp)
    compressor = zlib.compressobj(_ZLIB_LEVEL, strategy=zlib.Z_FILTERED)
    above = np.zeros((1, width * channels * 2), np.uint8)
    step = max(1, _BLOCK_BYTES // above.size)
    for row in range(0, height, step):
        block = samples[row : row + step].astype(">u2").reshape(-1, width * channels)
        lines = block.view(np.uint8)
        if data := compressor.compress(_png_filtered(lines, above, 2 * channels).tobytes()):
            _chunk(stream, b"IDAT", data)
        above = lines[-1:].copy()
    _chunk(stream, b"IDAT", compressor.flush())
    _chunk(stream, b"IEND", b"")


def _png_filtered(lines: np.ndarray, above: np.ndarray, distance: int) -> np.ndarray:
    """(R, 1 + B) uint8: each line with the filter, of four, whose bytes have the least sum.

    lines: (R, B) uint8 of R rows; above: (1, B), the row before; distance: bytes per pixel.
    """
    up = np.concatenate([above, lines[:-1]])
    left, corner = np.zeros_like(lines), np.zeros_like(lines)
    left[:, distance:] = lines[:, :-distance]
    corner[:, distance:] = up[:, :-distance]
    a, b, c = (v.astype(np.int16) for v in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    near_b = np.where(to_b <= to_c, up, corner)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), left, near_b)
    average = ((a + b) >> 1).astype(np.uint8)
    candidates = np.stack([lines - left, lines - up, lines - average, lines - paeth])
    cost = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = np.argmin(cost, axis=0)
    rows = np.arange(len(lines))
    return np.concatenate([(best + 1)[:, None].astype(np.uint8), candidates[best, rows]], axis=1)


def _strips(samples: np.ndarray, rows: int) -> list[bytes]:
    """Deflated strips of `rows` rows with horizontal differences (TIFF predictor 2)."""
    out = []
    for row in range(0, len(samples), rows):
        block = samples[row : row + rows].astype(samples.dtype.newbyteorder("<"))
        block[:, 1:] -= samples[row : row + rows, :-1]
        out.append(zlib.compress(block.tobytes(), _ZLIB_LEVEL))
    return out


def _exif_tags(raw: bytes) -> dict[int, object]:
    """The directories of an EXIF block as TIFF tags."""
    exif = Image.Exif()
    exif.load(raw)
    tags: dict[int, object] = {t: v for t, v in exif.items() if t not in STRUCTURAL_TAGS}
    for pointer in (_EXIF_IFD, _GPS_IFD):
        if pointer in tags:
            tags[pointer] = dict(exif.get_ifd(pointer))
    inner = tags.get(_EXIF_IFD)
    if isinstance(inner, dict) and _INTEROP_IFD in inner:
        inner[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
    return tags


def _directory(
    samples: np.ndarray, photo: Encodable, strips: list[bytes], rows: int
) -> ImageFileDirectory_v2:
    height, width, channels = samples.shape
    sizes = [len(s) for s in strips]
    ifd = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    ifd[256], ifd[257] = width, height
    ifd[258] = (samples.dtype.itemsize * 8,) * channels
    ifd[259], ifd[262], ifd[277], ifd[278], ifd[284], ifd[317] = 8, 2, channels, rows, 1, 2
    # Offsets count from the end of the directory; Pillow adds its length when it is written.
    ifd[273] = tuple(int(n) for n in np.cumsum([0, *sizes[:-1]]))
    ifd[279] = tuple(sizes)
    if channels == 4:
        ifd[338] = 2
    for tag, dpi in zip((282, 283), photo.dpi or (), strict=False):
        ifd[tag] = IFDRational(round(dpi * 1000), 1000)
    if photo.dpi:
        ifd[296] = 2
    if photo.xmp:
        ifd[700] = photo.xmp
    if photo.icc:
        ifd[34675] = photo.icc
    return ifd


def _tiff(stream: BinaryIO, photo: Encodable, quality: int, notes: list[str]) -> None:
    """Little-endian baseline TIFF, deflate. Format: TIFF 6.0 and Adobe's technical notes."""
    samples = photo.samples()
    row_bytes = samples.shape[1] * samples.shape[2] * samples.itemsize
    rows = min(len(samples), max(1, math.ceil(_BLOCK_BYTES / 4 / row_bytes)))
    strips = _strips(samples, rows)
    ifd = _directory(samples, photo, strips, rows)
    head = ifd.tobytes(8)
    if photo.exif:
        try:
            for tag, value in _exif_tags(photo.exif).items():
                ifd[tag] = value
            head = ifd.tobytes(8)
        except (struct.error, TypeError, ValueError, KeyError, SyntaxError) as error:
            notes.append(f"The EXIF data could not be written into TIFF ({error}): it was dropped.")
    stream.write(b"II*\0\x08\0\0\0" + head)
    for strip in strips:
        stream.write(strip)
