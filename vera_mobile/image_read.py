"""Decoding JPEG, PNG, TIFF and WebP into upright RGB arrays of 8 or 16 bits.

Plugins of Pillow are called directly: the size is checked against our own limit before pixels are
decoded, and Pillow's global limit with its warning stays out of the way (and as the app set it).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vera_mobile.errors import FileError, OutOfMemory, UnsupportedFormat, VeraError
from vera_mobile.image_meta import (
    EXIF_PREFIX,
    STRUCTURAL_TAGS,
    convert_to_srgb,
    exif_orientation,
    profile_space,
    turn_upright,
    upright_exif,
    upright_xmp,
)

MAX_PIXELS = 250_000_000
_READABLE = "Convert it to JPEG, PNG, TIFF or WebP first."
_BITS, _PHOTOMETRIC, _PLANAR, _SUBFILE, _DNG = 258, 262, 284, 254, 50706
_PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


class _Tiff(TiffImageFile):
    """Without Pillow's global size check, which runs a second time when a TIFF is decoded."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        ImageFile.ImageFile.load_prepare(self)


_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": _Tiff,
    "WEBP": WebPImageFile,
}


@dataclass
class Decoded:
    """What a file holds: upright pixels (H, W, 3), alpha (H, W) or None, both uint8 or uint16."""

    format: str
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)


def _kind(head: bytes, path: Path) -> str:
    """ "JPEG", "PNG", "TIFF" or "WEBP" by the first bytes, whatever the name says."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[8:12] == b"WEBP" and head.startswith(b"RIFF"):
        return "WEBP"
    raw_suffixes = (".dng", ".nef", ".nrw", ".cr2", ".arw", ".pef", ".srw", ".3fr", ".erf")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        if path.suffix.lower() in raw_suffixes or head[8:10] == b"CR":
            raise UnsupportedFormat(f"{path} is a raw photo. Develop it to a 16-bit TIFF first.")
        return "TIFF"
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    others = {
        "a HEIC photo": brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
        "an AVIF picture": brand in (b"avif", b"avis"),
        "a raw photo": brand == b"crx " or head.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0")),
        "a GIF": head.startswith((b"GIF87a", b"GIF89a")),
        "a BMP": head.startswith(b"BM"),
        "a Photoshop document": head.startswith(b"8BPS"),
        "a JPEG XL picture": head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")),
        "a PDF": head.startswith(b"%PDF"),
    }
    for name, matches in others.items():
        if matches:
            raise UnsupportedFormat(f"{path} is {name}, which is not read. {_READABLE}")
    raise UnsupportedFormat(
        f"{path} is not a picture: it begins with {head[:8]!r}. Use JPEG, PNG, TIFF or WebP."
    )


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns what decoders raise into one VeraError; they raise nearly anything on damaged files."""
    try:
        yield
    except VeraError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise OutOfMemory(
            f"{path} does not fit into memory: {error}. Use a smaller copy."
        ) from error
    except Exception as error:
        raise FileError(
            f"{path} is damaged or cut off: {error}. Get the file again from its source."
        ) from error


def _open(stream: BinaryIO, kind: str, path: Path) -> ImageFile.ImageFile:
    stream.seek(0)
    try:
        return _PLUGINS[kind](stream)
    except SyntaxError as error:
        if kind == "TIFF" and "unknown" in str(error):
            raise UnsupportedFormat(
                f"{path} is a TIFF of a kind that is not read ({error}). Save it as RGB with 8 or "
                "16 bits, without layers."
            ) from error
        raise


def _count_pages(image: ImageFile.ImageFile) -> int:
    """Frames or pages; smaller copies that a TIFF may hold of its first page do not count."""
    frames = int(getattr(image, "n_frames", 1))
    if frames == 1 or not isinstance(image, TiffImageFile):
        return frames
    pages = 1
    for frame in range(1, frames):
        image.seek(frame)
        pages += not int(image.tag_v2.get(_SUBFILE, 0)) & 1
    image.seek(0)
    return pages


def _tiff_bits(image: TiffImageFile) -> int:
    return max(image.tag_v2.get(_BITS, (1,)))


def _check_header(image: ImageFile.ImageFile, path: Path) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise FileError(f"{path} has {width} x {height} pixels; at least 1 x 1 is needed.")
    if width * height > MAX_PIXELS:
        raise OutOfMemory(
            f"{path} has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded. Use a "
            "smaller copy."
        )
    pages = _count_pages(image)
    if pages > 1:
        what = "pages" if isinstance(image, TiffImageFile) else "frames"
        raise UnsupportedFormat(
            f"{path} has {pages} {what}; only single pictures are read. Save one of them alone."
        )
    if isinstance(image, TiffImageFile) and (
        _DNG in image.tag_v2 or image.tag_v2.get(_PHOTOMETRIC) in (32803, 34892)
    ):
        raise UnsupportedFormat(f"{path} is a raw photo. Develop it to a 16-bit TIFF first.")
    odd_bits = isinstance(image, TiffImageFile) and _tiff_bits(image) not in (1, 2, 4, 8, 16)
    if odd_bits or not (image.mode in _PLAIN_MODES or image.mode.startswith("I;16")):
        raise UnsupportedFormat(
            f"{path} holds {image.mode} pixels (float, 12-bit, 32-bit or Lab), which are not "
            "read. Save it as RGB with 8 or 16 bits."
        )


def _rawmode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    image.tile = [
        t._replace(args=rawmode if isinstance(t.args, str) else (rawmode, *(t.args or ())[1:]))
        for t in image.tile
    ]


def _read_wide(image: ImageFile.ImageFile, stream: BinaryIO, kind: str, path: Path) -> np.ndarray:
    """(H, W, 2..4) uint16, where Pillow has only 8-bit modes; loads `image`.

    Its unpackers take the high byte of each sample in the given byte order. Decoding once as it
    is and once with the order swapped gives both bytes, at the speed of its C code.
    """
    rawmode = _rawmode(image).replace("RGBa", "RGBA")
    if rawmode.startswith("LA"):
        image._mode = "RGBA"
        _set_rawmode(image, "RGBA")
        image.load()
        both = np.asarray(image).astype(np.uint16)
        return both[..., 0::2] << 8 | both[..., 1::2]
    native = ";16L" if sys.byteorder == "little" else ";16B"
    high = rawmode.replace(";16N", native)
    low = high[:-1] + ("B" if high.endswith("L") else "L")
    _set_rawmode(image, high)
    image.load()
    wide = np.asarray(image).astype(np.uint16) << 8
    again = _open(stream, kind, path)
    _set_rawmode(again, low)
    again.load()
    wide |= np.asarray(again)
    return wide


def _read_planes(stream: BinaryIO, image: TiffImageFile, path: Path) -> np.ndarray:
    """(H, W, C) uint16 of a TIFF with one plane per channel, which Pillow reads wrongly."""
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as tiff:
            planes = tiff.pages[0].asarray()
    except ValueError as error:
        raise UnsupportedFormat(
            f"{path} is a 16-bit TIFF with separate planes of a compression that is not read "
            f"({error}). Save it with interleaved channels."
        ) from error
    return turn_upright(np.moveaxis(planes, 0, -1), int(image.tag_v2.get(0x0112, 1)))


def _unmultiply(wide: np.ndarray) -> np.ndarray:
    """Straight alpha of (H, W, 4) uint16 with premultiplied alpha, rounded."""
    alpha = np.maximum(wide[..., 3:].astype(np.uint32), 1)
    colour = (wide[..., :3].astype(np.uint32) * 65535 + alpha // 2) // alpha
    return np.concatenate([np.minimum(colour, 65535).astype(np.uint16), wide[..., 3:]], axis=-1)


def _grey_note(icc: bytes | None, out: Decoded) -> None:
    out.notes.append("Grey converted to RGB.")
    if icc and profile_space(icc) == "GRAY":
        out.notes.append("The grey profile was removed; grey values are taken as sRGB.")
        out.icc = None


def _sixteen(image: ImageFile.ImageFile, stream: BinaryIO, path: Path, out: Decoded) -> None:
    """Fills `out` from a picture of 16 bits per sample."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    rawmode = _rawmode(image)
    if image.mode.startswith("I;16"):
        image.load()
        grey = np.asarray(image).astype(np.uint16)
        wide = (65535 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)[..., None]
    elif isinstance(image, TiffImageFile) and tags.get(_PLANAR) == 2:
        wide = _read_planes(stream, image, path)
    else:
        wide = _read_wide(image, stream, out.format, path)
        if rawmode.startswith("RGBa"):
            wide = _unmultiply(wide)
        elif rawmode.startswith("RGBX"):
            wide = wide[..., :3]
    key = image.info.get("transparency")
    if wide.shape[-1] in (2, 4):
        out.alpha = np.ascontiguousarray(wide[..., -1])
    elif key is not None:
        out.alpha = np.where((wide == np.array(key)).all(axis=-1), 0, 65535).astype(np.uint16)
    if wide.shape[-1] < 3:
        out.pixels = np.repeat(wide[..., :1], 3, axis=-1)
        _grey_note(out.icc, out)
    else:
        out.pixels = np.ascontiguousarray(wide[..., :3])


def _colour_converted(image: Image.Image, name: str, out: Decoded) -> Image.Image:
    """CMYK or grey as sRGB, by its profile where it has one that works."""
    icc, out.icc = out.icc, None
    codes = Image.fromarray(np.arange(256, dtype=np.uint8)[None]) if name == "Grey" else image
    converted = convert_to_srgb(codes, icc) if icc else None
    if converted is not None:
        if name == "Grey":
            converted = Image.fromarray(np.asarray(converted)[0][np.asarray(image)])
        out.notes.append(f"{name} converted to sRGB by its profile.")
        return converted
    if icc:
        out.notes.append(f"The {name} profile is unusable and was ignored.")
    if name == "CMYK":
        out.notes.append("CMYK converted to sRGB without a profile; colours are approximate.")
    else:
        out.notes.append("Grey converted to RGB.")
    return image.convert("RGB")


def _eight(image: Image.Image, out: Decoded) -> None:
    """Fills `out` from a picture of at most 8 bits per sample."""
    mode, clear = image.mode, image.has_transparency_data
    if clear:
        rgba = image.convert("RGBA")
        out.alpha = np.array(rgba.getchannel("A"))
    if mode == "CMYK":
        rgb = _colour_converted(image, "CMYK", out)
    elif mode in ("1", "L", "LA"):
        if out.icc and profile_space(out.icc) == "GRAY":
            rgb = _colour_converted(image.convert("L"), "Grey", out)
        else:
            out.notes.append("Grey converted to RGB.")
            rgb = rgba.convert("RGB") if clear else image.convert("RGB")
    else:
        if mode in ("P", "PA"):
            out.notes.append("Palette colours converted to RGB.")
        rgb = rgba.convert("RGB") if clear else image.convert("RGB")
    out.pixels = np.array(rgb)


def _raw_exif(image: ImageFile.ImageFile) -> bytes | None:
    """The EXIF block of the file; for a TIFF, built from the tags that describe the photo."""
    if not isinstance(image, TiffImageFile):
        raw = image.info.get("exif")
        return raw or (image.getexif().tobytes() if len(image.getexif()) else None)
    exif = image.getexif()
    for tag in STRUCTURAL_TAGS.intersection(exif):
        del exif[tag]
    return exif.tobytes() if len(exif) else None


def _read_metadata(image: ImageFile.ImageFile, out: Decoded) -> None:
    """EXIF, XMP and resolution; turns the pixels upright unless the decoder did (TIFF)."""
    raw = _raw_exif(image)
    orientation = 1 if out.format == "TIFF" else exif_orientation(raw)
    out.pixels = turn_upright(out.pixels, orientation)
    if out.alpha is not None:
        out.alpha = turn_upright(out.alpha, orientation)
    height, width = out.pixels.shape[:2]
    out.exif = upright_exif(raw, width, height)
    if raw and out.exif is None and raw != EXIF_PREFIX:
        out.notes.append("The EXIF data is damaged and was not kept.")
    xmp = image.info.get("xmp")
    xmp = xmp[0] if isinstance(xmp, tuple) else xmp
    out.xmp = upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp)
    dpi = tuple(float(d) for d in image.info.get("dpi", ()))
    if len(dpi) == 2 and all(0 < d < 1e6 for d in dpi):
        out.dpi = (dpi[0], dpi[1])
    if "mp" in image.info:
        out.notes.append("Further pictures in the file (depth, gain map, preview) are not kept.")


def _decode(stream: BinaryIO, path: Path) -> Decoded:
    kind = _kind(stream.read(64), path)
    with _decoding(path):
        image = _open(stream, kind, path)
        _check_header(image, path)
        out = Decoded(format=kind, pixels=np.empty(0), icc=image.info.get("icc_profile") or None)
        wide = ";16" in _rawmode(image)
        if isinstance(image, TiffImageFile):
            wide = _tiff_bits(image) == 16
        if wide and image.mode != "CMYK":
            _sixteen(image, stream, path, out)
        else:
            image.load()
            _eight(image, out)
        _read_metadata(image, out)
        if wide and image.mode == "CMYK":
            out.notes.append("16-bit CMYK was reduced to 8 bits.")
    return out


def decode(path: str | os.PathLike[str]) -> Decoded:
    """The picture in a file; the file is closed again.

    Errors: FileError if it is missing, a folder, empty, damaged or cut off; UnsupportedFormat if it
    is whole but of another kind; OutOfMemory above MAX_PIXELS.
    """
    source = Path(path)
    try:
        stream = source.open("rb")
    except IsADirectoryError as error:
        raise FileError(f"{source} is a folder. Give the name of a photo.") from error
    except OSError as error:
        raise FileError(f"Cannot open {source}: {error.strerror}. Check the path.") from error
    with stream:
        if not stream.read(1):
            raise FileError(f"{source} is empty (0 bytes). Get the file again from its source.")
        stream.seek(0)
        return _decode(stream, source)
