"""What planners take, checked before it reaches a program: finite numbers of the model's shapes.

Each function returns its argument contiguous and of its type, or raises InvalidArgument. S: photo
side, H: hidden size, L: values per latent, E: side of the reference encoder's photos.
"""

from __future__ import annotations

import numpy as np

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LATENT_GROUPS, ModelConfig


def checked_pixels(pixels: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(1, 3, S, S) float32: what the vision tower sees."""
    size = config.vision.image_size
    return _checked(pixels, (1, 3, size, size), "Pixels")


def checked_ids(ids: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(1, n) int64 token ids of the vocabulary, n from 1."""
    array = np.asarray(ids)
    vocabulary = config.language.vocab_size
    if array.ndim != 2 or len(array) != 1 or not array.size or array.dtype.kind not in "iu":
        raise InvalidArgument(
            f"Token ids of shape {array.shape} and type {array.dtype} not allowed: use (1, n) "
            "integers, n from 1."
        )
    if array.min() < 0 or array.max() >= vocabulary:
        raise InvalidArgument(
            f"Token ids {array.min()}..{array.max()} not allowed: use 0..{vocabulary - 1}."
        )
    return np.ascontiguousarray(array, np.int64)


def checked_embeds(embeds: np.ndarray, start: int, config: ModelConfig) -> np.ndarray:
    """(1, n, H) float32 for positions start .. start + n - 1, all within the cache."""
    array = _checked(embeds, (1, None, config.language.hidden_size), "Embeddings")
    limit = config.language.max_length
    count = array.shape[1]
    if not count or start < 0 or start + count > limit:
        raise InvalidArgument(
            f"{count} tokens at position {start} not allowed: use at least one, and positions "
            f"0..{limit - 1}. Shorten the prompt or the answer."
        )
    return array


def checked_hidden(hidden: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(3, H) as (1, 3, H) float32."""
    return _checked(hidden, (LATENT_GROUPS, config.language.hidden_size), "Hidden states")[None]


def checked_latents(latents: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(3, L) as (1, 3, L) float32."""
    return _checked(latents, (LATENT_GROUPS, config.renderer.latent_size), "Latents")[None]


def checked_reference(photo: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(1, 3, E, E) float32: one photo of a pair for the reference encoder."""
    size = config.encoder.image_size
    return _checked(photo, (1, 3, size, size), "Reference pixels")


def checked_points(points: np.ndarray) -> np.ndarray:
    """(N, 3) float32 colours."""
    return _checked(points, (None, 3), "Points")


def _checked(value: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    array = np.ascontiguousarray(value, np.float32)
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise InvalidArgument(f"{what} of shape {array.shape} not allowed: use ({wanted}).")
    if not np.isfinite(array).all():
        raise InvalidArgument(f"{what}: NaN or infinity not allowed; use finite numbers.")
    return array
