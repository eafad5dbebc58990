"""A photo in memory: upright pixels, colour space and metadata, read from and saved to files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vera_mobile.errors import FileError, InvalidArgument, OutOfMemory, UnsupportedFormat, VeraError
from vera_mobile.files import replacing
from vera_mobile.image_meta import (
    SRGB,
    colour_space_of,
    convert_to_srgb,
    profile_space,
    upright_exif,
)
from vera_mobile.image_read import MAX_PIXELS, decode
from vera_mobile.image_write import Encodable, encode, to_eight_bits

__all__ = ["FORMATS", "MAX_PIXELS", "Photo"]

FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
    ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Photo:
    """One still picture.

    pixels: (H, W, 3) uint8 or uint16, encoded RGB in the photo's own colour space, upright.
    alpha: (H, W), same dtype, straight (not premultiplied), or None.
    format: "JPEG", "PNG", "TIFF" or "WEBP": the default for saving.
    colour_space: "sRGB", "Display P3", "Adobe RGB" or the description in the profile.
    icc: the profile, to the byte; None means sRGB.
    exif: EXIF block beginning with "Exif", two zero bytes, orientation 1; xmp: XMP packet; dpi:
    (x, y) in dots per inch. path: where it was read. notes: what was converted on loading, for the
    user.

    Errors: InvalidArgument for pixels or alpha of another shape or dtype.
    """

    pixels: np.ndarray = field(repr=False)
    alpha: np.ndarray | None = field(default=None, repr=False)
    format: str = "PNG"
    colour_space: str = SRGB
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        p, a = self.pixels, self.alpha
        if p.ndim != 3 or p.shape[2] != 3 or p.size == 0 or p.dtype not in (np.uint8, np.uint16):
            raise InvalidArgument(
                f"Pixels of shape {p.shape} and type {p.dtype} not allowed: use (H, W, 3) uint8 or "
                "uint16 with at least one pixel; scale float by 65535 and round."
            )
        if a is not None and (a.shape != p.shape[:2] or a.dtype != p.dtype):
            raise InvalidArgument(
                f"Alpha of shape {a.shape} and type {a.dtype} does not fit pixels of {p.shape[:2]} "
                f"and {p.dtype}; make them equal."
            )
        if self.format not in FORMATS.values():
            known = ", ".join(dict.fromkeys(FORMATS.values()))
            raise UnsupportedFormat(f"Unknown format {self.format!r}; known: {known}.")

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Photo:
        """The photo in a JPEG, PNG, TIFF or WebP file, turned upright once.

        8 bits stay 8 bits, 16-bit PNG and TIFF stay 16 bits. CMYK becomes sRGB, grey and palette
        colours become RGB, each with a note. The content decides about the format, not the name.
        Needs about 3 (8 bits) or 10 (16 bits) bytes per pixel. Thread-safe.

        Errors: FileError (missing, a folder, empty, damaged, cut off), UnsupportedFormat (HEIC,
        raw, animated, several pages, float, not a picture), OutOfMemory (above MAX_PIXELS, found
        before decoding).
        """
        got = decode(path)
        icc, space, notes = got.icc, SRGB, list(got.notes)
        if icc:
            space = colour_space_of(icc) if profile_space(icc) == "RGB" else ""
            if not space:
                notes.append("The colour profile is unusable and was removed; sRGB is assumed.")
                icc, space = None, SRGB
        return cls(
            pixels=got.pixels, alpha=got.alpha, format=got.format, colour_space=space, icc=icc,
            exif=got.exif, xmp=got.xmp, dpi=got.dpi, path=Path(path), notes=tuple(notes),
        )  # fmt: skip

    @classmethod
    def from_array(cls, rgb: np.ndarray, *, icc: bytes | None = None, format: str = "PNG") -> Photo:
        """A photo of pixels in memory; (H, W, 3) arrays are not copied.

        rgb: (H, W, 3), or (H, W, 4) with straight alpha, uint8 or uint16, encoded RGB, in sRGB
        unless `icc` is the RGB profile of another space.

        Errors: InvalidArgument, UnsupportedFormat for an unknown format.
        """
        array = np.asarray(rgb)
        alpha = array[..., 3] if array.ndim == 3 and array.shape[2] == 4 else None
        space = SRGB
        if icc is not None:
            space = colour_space_of(icc) if profile_space(icc) == "RGB" else ""
            if not space:
                raise InvalidArgument(
                    f"The ICC profile ({len(icc)} bytes) is damaged or not for RGB; give another "
                    "or none for sRGB."
                )
        pixels = array if alpha is None else np.ascontiguousarray(array[..., :3])
        return cls(pixels, alpha, format=format, colour_space=space, icc=icc)

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same photo with other pixels in the same colour space; metadata is kept.

        pixels: (H, W, 3) uint8 or uint16. Another size is allowed if there is no alpha; alpha is
        brought to the depth of the new pixels.

        Errors: InvalidArgument.
        """
        alpha = self.alpha
        if alpha is not None and alpha.dtype != pixels.dtype:
            wide = pixels.dtype == np.uint16
            alpha = alpha.astype(np.uint16) * np.uint16(257) if wide else to_eight_bits(alpha)
        return replace(self, pixels=pixels, alpha=alpha)

    def to_srgb(
        self, max_side: int | None = None, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """(h, w, 3) float32 encoded sRGB in [0, 1], for planning and comparing; alpha is ignored.

        max_side: the longer side is scaled down to this, never up. size: exactly (width, height),
        whatever the aspect. Scaling is Lanczos on encoded values, after a box filter when much
        smaller. Other colour spaces are converted after scaling, relative colorimetric with black
        point compensation, in 8 bits; colours outside of sRGB are clipped.

        Errors: InvalidArgument for a size below 1 or for both sizes at once.
        """
        values = self._scaled(self._target(max_side, size))
        if self.icc is None or self.colour_space == SRGB:
            return values
        codes = np.floor(values * 255 + np.float32(0.5)).astype(np.uint8)
        converted = convert_to_srgb(Image.fromarray(codes), self.icc)
        if converted is None:
            raise InvalidArgument(
                f"The profile {self.colour_space!r} cannot be converted to sRGB; convert the "
                "photo in another program first."
            )
        return np.asarray(converted, np.float32) / np.float32(255)

    def save(self, path: str | os.PathLike[str], *, quality: int = 95) -> tuple[str, ...]:
        """Writes the photo with its metadata; what the format could not hold comes back as notes.

        The suffix decides about the format; without one the photo's own is used. quality: 1..100
        for JPEG (always 4:4:4) and WebP. PNG and TIFF are lossless and keep 16 bits. 16 bits are
        rounded for JPEG and WebP. The file is written under a temporary name and renamed, so a
        failure leaves no part of it behind.

        Errors: InvalidArgument if `path` is the file that the photo was read from, for a quality
        or a size that is not allowed; UnsupportedFormat for another suffix; FileError if it
        cannot be written.
        """
        target = Path(path)
        kind = self._format_of(target)
        if not 1 <= quality <= 100:
            raise InvalidArgument(f"Quality {quality} not allowed: use 1..100; 95 suits photos.")
        if self.path is not None and _same_file(target, self.path):
            raise InvalidArgument(
                f"{target} is the file the photo was read from and is never overwritten. Choose "
                "another name."
            )
        exif = upright_exif(self.exif, self.width, self.height)
        content = Encodable(self.pixels, self.alpha, self.icc, exif, self.xmp, self.dpi)
        try:
            with replacing(target) as stream:
                return encode(stream, kind, content, quality)
        except VeraError:
            raise
        except MemoryError as error:
            raise OutOfMemory(
                f"No memory to encode {target} as {kind}; close other work."
            ) from error
        except Exception as error:
            raise FileError(f"Cannot encode {target} as {kind}: {error}. Use PNG.") from error

    def _format_of(self, target: Path) -> str:
        suffix = target.suffix.lower()
        if not suffix:
            return self.format
        if suffix not in FORMATS:
            raise UnsupportedFormat(
                f"Unknown suffix {suffix!r} of {target}; known: {', '.join(FORMATS)}."
            )
        return FORMATS[suffix]

    def _target(self, max_side: int | None, size: tuple[int, int] | None) -> tuple[int, int]:
        if max_side is not None and size is not None:
            raise InvalidArgument("Both max_side and size are given; give only one of them.")
        width, height = size or (self.width, self.height)
        if max_side is not None and max(width, height) > max_side:
            if max_side < 1:
                raise InvalidArgument(f"max_side {max_side} not allowed: use 1 or more.")
            scale = max_side / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        if width < 1 or height < 1:
            raise InvalidArgument(f"Size {(width, height)} not allowed: use 1 or more.")
        return width, height

    def _scaled(self, size: tuple[int, int]) -> np.ndarray:
        """(h, w, 3) float32 in [0, 1]; one channel after the other, because Pillow scales float
        only so, and 8-bit steps would cost up to two codes."""
        peak = np.float32(np.iinfo(self.pixels.dtype).max)
        if size == (self.width, self.height):
            return self.pixels.astype(np.float32) / peak
        out = np.empty((size[1], size[0], 3), np.float32)
        for c in range(3):
            plane = Image.fromarray(self.pixels[..., c].astype(np.float32))
            plane = plane.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            out[..., c] = np.asarray(plane)
        return np.clip(out / peak, 0.0, 1.0)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return a.absolute() == b.absolute()
