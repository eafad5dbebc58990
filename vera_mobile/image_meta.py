"""What travels with the pixels: EXIF, XMP and ICC profiles."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

EXIF_PREFIX = b"Exif\0\0"
SRGB, DISPLAY_P3, ADOBE_RGB = "sRGB", "Display P3", "Adobe RGB"

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_WIDTH, _HEIGHT = 0xA002, 0xA003
_THUMBNAIL_AT, _THUMBNAIL_SIZE = 0x0201, 0x0202
# Tags of a TIFF that describe how its own pixels are stored (or repeat what a Photo keeps apart):
# they are wrong in any other file.
STRUCTURAL_TAGS = frozenset(
    tag
    for first, last in (
        (254, 259), (262, 266), (273, 274), (277, 284), (288, 293), (296, 297), (301, 301),
        (317, 342), (512, 532), (700, 700), (34377, 34377), (34675, 34675), (37724, 37724),
    )
    for tag in range(first, last + 1)
)  # fmt: skip


class _Exif:
    """In-place access to an EXIF block; nothing is moved, so maker notes keep their offsets."""

    def __init__(self, raw: bytes) -> None:
        self.data = bytearray(re.sub(rb"^(Exif\0\0)+", b"", raw))
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        self.order = orders.get(bytes(self.data[:4]), "")
        if not self.order:
            raise ValueError("no TIFF header")
        self.first = self.read("I", 4)

    def read(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(self.order + kind, self.data, at)[0])

    def write(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(self.order + kind, self.data, at, value)

    def entries(self, ifd: int) -> Iterator[tuple[int, int, int]]:
        """(tag, type, place of the value) of a directory."""
        for i in range(self.read("H", ifd)):
            at = ifd + 2 + 12 * i
            yield self.read("H", at), self.read("H", at + 2), at + 8

    def number(self, kind: int, at: int) -> int:
        return self.read("H" if kind == 3 else "I", at)

    def drop_thumbnail(self) -> None:
        pointer = self.first + 2 + 12 * self.read("H", self.first)
        second = self.read("I", pointer)
        if not second:
            return
        place = {tag: self.number(kind, at) for tag, kind, at in self.entries(second)}
        start, size = place.get(_THUMBNAIL_AT, 0), place.get(_THUMBNAIL_SIZE, 0)
        stop = min(start + size, len(self.data))
        if start and stop > start:
            self.data[start:stop] = bytes(stop - start)
        self.write("I", pointer, 0)


def exif_orientation(raw: bytes | None) -> int:
    """The orientation, 1..8, of an EXIF block; 1 where there is none or it is damaged."""
    if not raw:
        return 1
    try:
        exif = _Exif(raw)
        values = [exif.number(k, at) for tag, k, at in exif.entries(exif.first) if tag == 0x0112]
    except (ValueError, struct.error):
        return 1
    return values[0] if values and 1 <= values[0] <= 8 else 1


def upright_exif(raw: bytes | None, width: int, height: int) -> bytes | None:
    """The EXIF block for upright pixels: orientation 1, pixel size set, thumbnail removed.

    The thumbnail goes because it shows the photo before the edit. Everything else stays to the
    byte. None if there is no block or it is too damaged to be walked.
    """
    if not raw:
        return None
    try:
        exif = _Exif(raw)
        exif.drop_thumbnail()
        for tag, kind, at in list(exif.entries(exif.first)):
            if tag == _ORIENTATION:
                exif.write("H" if kind == 3 else "I", at, 1)
            if tag == _EXIF_IFD:
                for inner, inner_kind, place in list(exif.entries(exif.read("I", at))):
                    if inner in (_WIDTH, _HEIGHT):
                        size = width if inner == _WIDTH else height
                        exif.write("H" if inner_kind == 3 else "I", place, size)
    except (ValueError, struct.error):
        return None
    return EXIF_PREFIX + bytes(exif.data)


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """The XMP packet with its copy of the orientation set to 1."""
    if not xmp:
        return None
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>)\s*)[1-8]", rb"\g<1>1", xmp)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) pixels as EXIF orientation 1..8 wants them seen; a contiguous array."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _open_profile(icc: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def profile_space(icc: bytes) -> str:
    """What a profile is for: "RGB", "GRAY", "CMYK", ...; "" if it cannot be read."""
    # Not by Pillow: it fails to decode the letters of a damaged profile.
    return icc[16:20].decode("latin-1").strip() if _open_profile(icc) else ""


def convert_to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """An RGB, L or CMYK picture in sRGB, 8 bit; None if the profile cannot do that.

    Relative colorimetric with black point compensation; colours outside of sRGB are clipped.
    """
    profile = _open_profile(icc)
    if profile is None:
        return None
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if image.mode == "L":
        # LCMS's shortcut for one channel misses dark greys of a gamma of 1 by 10 codes.
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        return ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=flags,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def colour_space_of(icc: bytes) -> str:
    """The name of an RGB profile's colour space; "" if the profile is unusable.

    "sRGB" is decided by what the profile does to 125 colours (at most one 8-bit code of change),
    not by its name: "linear sRGB" is another space.
    """
    axis = np.linspace(0, 255, 5).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    converted = convert_to_srgb(Image.fromarray(colours), icc)
    profile = _open_profile(icc)
    if converted is None or profile is None:
        return ""
    if np.abs(np.asarray(converted, np.int16) - colours).max() <= 1:
        return SRGB
    try:
        name = (profile.profile.profile_description or "").strip()
    except ValueError:
        name = ""
    for known in (DISPLAY_P3, ADOBE_RGB):
        if known.replace(" ", "").lower() in name.replace(" ", "").lower():
            return known
    return name or "unnamed profile"
