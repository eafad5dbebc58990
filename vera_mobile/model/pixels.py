"""What the model sees of a photo, for each family of weights."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vera_mobile.image import Photo
from vera_mobile.image_write import to_eight_bits
from vera_mobile.model.config import ModelConfig

SHORT_EDGE = 512  # the public scripts scale a photo to it before they pad
LONGEST_EDGE = 8 * SHORT_EDGE


def model_pixels(photo: Photo, size: int) -> np.ndarray:
    """A photo squeezed to a square: (1, 3, size, size) float32 encoded sRGB in [0, 1]."""
    return _planar(photo.to_srgb(size=(size, size)))


def vision_pixels(photo: Photo, config: ModelConfig) -> np.ndarray:
    """What the vision tower sees: (1, 3, S, S) float32 encoded sRGB in [0, 1], S the tower's side.

    vera-nano sees the photo squeezed to the square. The public weights see what the public scripts
    make of it: the short edge at 512, centred on black, scaled to S, in 8 bits (Pillow's Lanczos,
    then bicubic). Only photos above 8:1 differ, which would need gigabytes there.
    """
    size = config.vision.image_size
    if not _is_public(config):
        return model_pixels(photo, size)
    scaled = Image.fromarray(_codes(photo, _padded_size(photo), Image.Resampling.LANCZOS))
    side = max(scaled.size)
    square = Image.new("RGB", (side, side))
    square.paste(scaled, ((side - scaled.width) // 2, (side - scaled.height) // 2))
    seen = square.resize((size, size), Image.Resampling.BICUBIC)
    return _planar(np.asarray(seen, np.float32) / np.float32(255))


def reference_pixels(photo: Photo, config: ModelConfig) -> np.ndarray:
    """What the reference encoder sees: (1, 3, E, E) float32 encoded sRGB in [0, 1], squeezed.

    For the public weights it is scaled as the public scripts do, in 8 bits, bilinear.
    """
    size = config.encoder.image_size
    if not _is_public(config):
        return model_pixels(photo, size)
    codes = _codes(photo, (size, size), Image.Resampling.BILINEAR)
    return _planar(codes.astype(np.float32) / np.float32(255))


def _is_public(config: ModelConfig) -> bool:
    """True for weights in the public form: only they keep the public file's unused projection."""
    return config.vision.unused_projection


def _padded_size(photo: Photo) -> tuple[int, int]:
    """(width, height) with the short edge at 512, the other one cut to whole pixels."""
    short, long = sorted((photo.width, photo.height))
    other = int(long * (SHORT_EDGE / short))
    edge = SHORT_EDGE
    if other > LONGEST_EDGE:
        edge, other = max(1, round(LONGEST_EDGE * short / long)), LONGEST_EDGE
    return (edge, other) if photo.width <= photo.height else (other, edge)


def _codes(photo: Photo, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """(h, w, 3) uint8 sRGB, scaled as Pillow scales 8-bit pictures, converted after scaling."""
    scaled = Image.fromarray(to_eight_bits(photo.pixels)).resize(size, resample)
    small = Photo(np.asarray(scaled), icc=photo.icc, colour_space=photo.colour_space)
    return np.round(small.to_srgb() * 255).astype(np.uint8)


def _planar(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)
