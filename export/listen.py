"""A planner that is listened to: what was fed to it, what it would have said, what it must say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vera_mobile.retoucher import Sampling
from vera_mobile.runtime import ANSWER_LOGITS, Planner

GREEDY = Sampling(temperature=0.0)  # two forms of a model can only be compared without a draw


class ListeningPlanner:
    """Another planner's answers, unchanged, and a record of them; for `Retoucher`.

    said: the answer to follow in place of the planner's own, token by token (teacher forcing): the
    logits that come out then allow only that token. After its end the planner chooses again.
    choices: the most likely token of each step; pieces: ids (1, n) int64 and pixels
    (1, 3, S, S) float32 that were embedded, in order.
    """

    def __init__(self, planner: Planner, said: Sequence[int] = ()) -> None:
        self._planner = planner
        self._said = tuple(said)
        self.config = planner.config
        self.choices: list[int] = []
        self.pieces: list[np.ndarray] = []

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self._planner.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self._planner.max_length

    def load(self) -> None:
        self._planner.load()

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        self.pieces.append(np.asarray(pixels, np.float32))
        return self._planner.encode_image(pixels)

    def embed(self, ids: np.ndarray) -> np.ndarray:
        self.pieces.append(np.asarray(ids, np.int64))
        return self._planner.embed(ids)

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, hidden = self._planner.step(embeds, start, wanted)
        index = len(self.choices)
        self.choices.append(int(logits.argmax()))
        if index < len(self._said):
            logits = np.full_like(logits, -1e9)
            logits[self._said[index]] = 0.0
        return logits, hidden

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._planner.head(hidden)

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return self._planner.encode_reference(before, after)

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        return self._planner.bake(points, latents)
