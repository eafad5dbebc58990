"""HALD pictures as files: a 3-D LUT that passes through any photo program."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vera_mobile.color.lut_files import hald_picture, lut_of_hald
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.image import Photo

_LOSSLESS = (".png", ".tif", ".tiff")


def write_hald(
    path: str | os.PathLike[str], lut: np.ndarray, *, level: int = 8, bits: int = 16
) -> None:
    """Writes a table as a HALD picture, PNG or TIFF; see `hald_picture` for the arguments.

    Errors: InvalidArgument; UnsupportedFormat for a suffix that loses colours; FileError if it
    cannot be written.
    """
    if Path(path).suffix.lower() not in _LOSSLESS:
        raise UnsupportedFormat(
            f"A HALD picture cannot be {Path(path).suffix!r}: use one of {', '.join(_LOSSLESS)}."
        )
    Photo.from_array(hald_picture(lut, level=level, bits=bits)).save(path)


def read_hald(path: str | os.PathLike[str]) -> np.ndarray:
    """The (N, N, N, 3) float64 table of a HALD picture, indexed [b][g][r], values in [0, 1].

    Errors: FileError if it is missing, damaged or no HALD (not square, a side that is no cube of
    2..11); UnsupportedFormat for a picture with losses (JPEG, WebP) or of a kind that is not read.
    """
    photo = Photo.load(path)
    if photo.format not in ("PNG", "TIFF"):
        raise UnsupportedFormat(
            f"{path} is {photo.format}, which changes colours; save the HALD as PNG or TIFF."
        )
    try:
        return lut_of_hald(photo.pixels)
    except InvalidArgument as error:
        raise FileError(f"{path}: {error}") from error
