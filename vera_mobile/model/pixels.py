"""What the model sees of a photo, for each family of weights: prepared by libvera, so that a phone
sees the same bytes."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from vera_mobile.errors import InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.image_meta import SRGB, convert_to_srgb
from vera_mobile.image_write import to_eight_bits
from vera_mobile.model.config import ModelConfig
from vera_mobile.native.sdk import (
    COLOR_SPACES,
    ColorSpace,
    Family,
    prepare_picture,
    prepare_reference,
)

SHORT_EDGE = 512  # the public scripts scale a photo to it before they pad
LONGEST_EDGE = 8 * SHORT_EDGE
_SAME = 1  # 8-bit codes between two conversions of one colour space


def model_pixels(photo: Photo, size: int) -> np.ndarray:
    """A photo squeezed to a square: (1, 3, size, size) float32 encoded sRGB in [0, 1]."""
    pixels, space = _in_known_space(photo)
    return prepare_picture(pixels, size, space=space)[None]


def vision_pixels(photo: Photo, config: ModelConfig) -> np.ndarray:
    """What the vision tower sees: (1, 3, S, S) float32 encoded sRGB in [0, 1], S the tower's side.

    vera-nano sees the photo squeezed to the square. The public weights see what the public scripts
    make of it: the short edge at 512, centred on black, scaled to S, in 8 bits (Pillow's Lanczos,
    then bicubic). Only photos above 8:1 differ, which would need gigabytes there.

    Photos in Display P3, Adobe RGB and BT.2020 are converted to sRGB when they are small; those of
    other profiles before, in 8 bits (relative colorimetric, black point compensation).
    """
    pixels, space = _in_known_space(photo)
    size = config.vision.image_size
    return prepare_picture(pixels, size, family=_family(config), space=space)[None]


def reference_pixels(photo: Photo, config: ModelConfig) -> np.ndarray:
    """What the reference encoder sees: (1, 3, E, E) float32 encoded sRGB in [0, 1], squeezed.

    For the public weights it is scaled as the public scripts do, in 8 bits, bilinear.
    """
    pixels, space = _in_known_space(photo)
    size = config.encoder.image_size
    return prepare_reference(pixels, size, family=_family(config), space=space)[None]


def _family(config: ModelConfig) -> Family:
    """Only weights in the public form keep the public file's unused projection."""
    return "vera-0.5b" if config.vision.unused_projection else "vera-nano"


def _in_known_space(photo: Photo) -> tuple[np.ndarray, ColorSpace]:
    """The photo's pixels and their space; of another profile than libvera's: sRGB in 8 bits."""
    if photo.icc is None or photo.colour_space == SRGB:
        return photo.pixels, "srgb"
    space = _known_space(photo.icc)
    if space is not None:
        return photo.pixels, space
    converted = convert_to_srgb(Image.fromarray(to_eight_bits(photo.pixels)), photo.icc)
    if converted is None:
        raise InvalidArgument(
            f"The profile {photo.colour_space!r} cannot be converted to sRGB; convert the photo in "
            "another program first."
        )
    return np.asarray(converted), "srgb"


@functools.lru_cache(maxsize=64)
def _known_space(icc: bytes) -> ColorSpace | None:
    """The space of a profile, found by what it does to 125 colours, not by its name."""
    axis = np.linspace(0, 255, 5).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    converted = convert_to_srgb(Image.fromarray(colours), icc)
    if converted is None:
        return None
    square = np.broadcast_to(colours, (colours.shape[1], *colours.shape[1:]))
    for space in COLOR_SPACES:
        ours = prepare_picture(square, colours.shape[1], space=space)[:, 0].T * 255
        if np.abs(ours - np.asarray(converted, np.float32)[0]).max() <= _SAME:
            return space
    return None
