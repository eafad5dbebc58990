"""The planning line on Core ML packages, computed here: what `vera verify` judges them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.mil.package import Package
from vera_mobile.export.mil.session import Overflow, Precision, Session
from vera_mobile.model.config import LATENT_GROUPS, ModelConfig
from vera_mobile.runtime import ANSWER_LOGITS, REFERENCE


class MilPlanner:
    """Packages <part>.mlpackage of one folder as a vera_mobile.runtime.Planner.

    precision: as in Session; "declared" is what Core ML promises. Packages are opened at first use;
    any call raises BundleError when its package is missing or damaged. One thread at a time.
    """

    def __init__(
        self, folder: str | Path, config: ModelConfig, *, precision: Precision = "declared"
    ) -> None:
        self.folder = Path(folder)
        self.config = config
        self.precision = precision
        self._sessions: dict[str, Session] = {}
        language = config.language
        shape = (language.layers, language.kv_heads, language.max_length, language.head_dim)
        # what an app keeps for a decoder without states
        self._keys, self._values = (np.zeros(shape, np.float32) for _ in range(2))

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self.config.vision.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self.config.language.max_length

    @property
    def overflows(self) -> dict[str, Overflow]:
        """Per part that has run, the first result that half floats cannot hold, if any."""
        found = {name: session.overflow for name, session in self._sessions.items()}
        return {name: one for name, one in found.items() if one is not None}

    def load(self) -> None:
        """Opens every package."""
        for name in ("vision", "embed", "decoder", "head", "bake"):
            self.session(name)

    def session(self, name: str) -> Session:
        """The part's package, ready to run."""
        if name not in self._sessions:
            package = Package.open(self.folder / f"{name}.mlpackage")
            self._sessions[name] = Session(package, precision=self.precision)
        return self._sessions[name]

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        """(1, 3, S, S), encoded sRGB in [0, 1] -> image tokens (1, T, H)."""
        return self.session("vision").run({"pixels": pixels})["image_tokens"]

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """(1, n) integers in [0, V), n from 1 -> embeddings (1, n, H)."""
        session = self.session("embed")
        limit = _limit(session, "main", "ids", 1)
        narrow = np.asarray(ids, np.int32)
        parts = [
            session.run({"ids": narrow[:, begin : begin + limit]})["embeds"]
            for begin in range(0, narrow.shape[1], limit)
        ]
        return np.concatenate(parts, axis=1)

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        """(1, n, H) at positions start .. start + n - 1 -> logits (V,) and hidden state (H,)."""
        count = embeds.shape[1]
        if not count or start < 0 or start + count > self.max_length:
            raise InvalidArgument(
                f"{count} tokens at position {start} not allowed: use positions "
                f"0..{self.max_length - 1}."
            )
        session = self.session("decoder")
        stateful = "main" in session.package.functions
        chunk = _limit(session, "main" if stateful else "prefill", "embeds", 1)
        outputs: dict[str, np.ndarray] = {}
        for begin in range(0, count, chunk):
            part, place = embeds[:, begin : begin + chunk], start + begin
            if stateful:
                outputs = session.run({"embeds": part, "start": _integer(place)})
            else:
                outputs = self._step_with_cache(session, part, place, chunk)
        return outputs["logits"][0], outputs["hidden"][0]

    def head(self, hidden: np.ndarray) -> np.ndarray:
        """(3, H), the states that emit the retouch tokens -> latents (3, L)."""
        return self.head_and_lut(hidden, np.ones(LATENT_GROUPS, np.float32))[0]

    def head_and_lut(
        self, hidden: np.ndarray, strengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(3, H) and a strength per group -> latents (3, L) and the LUT (33, 33, 33, 3)."""
        given = {"hidden": hidden[None], "strengths": strengths}
        outputs = self.session("head").run(given)
        return outputs["latents"][0], outputs["lut"]

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """(N, 3) encoded sRGB in [0, 1] and latents (3, L) -> edited (N, 3) in [0, 1]."""
        session = self.session("bake")
        limit = _limit(session, "main", "points", 0)
        parts = [
            session.run({"points": points[begin : begin + limit], "latents": latents[None]})
            for begin in range(0, len(points), limit)
        ]
        return np.concatenate([one["colours"] for one in parts])

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Photos (1, 3, S, S) before and after an edit, in [0, 1] -> its latents (3, L)."""
        if not (self.folder / f"{REFERENCE}.mlpackage").exists():
            raise InvalidArgument(
                f"{self.folder} has no reference encoder: give one reference photo, use the "
                "checkpoint, or export with --with-reference."
            )
        return self.session(REFERENCE).run({"before": before, "after": after})["latents"][0]

    def _step_with_cache(
        self, session: Session, embeds: np.ndarray, start: int, chunk: int
    ) -> dict[str, np.ndarray]:
        count = embeds.shape[1]
        given = {"start": _integer(start), "keys": self._keys, "values": self._values}
        if count == 1:
            outputs = session.run({**given, "embeds": embeds}, "decode")
        else:
            padded = np.zeros((1, chunk, embeds.shape[2]), np.float32)
            padded[:, :count] = embeds
            outputs = session.run({**given, "embeds": padded, "count": _integer(count)}, "prefill")
        self._keys[:, :, start : start + count] = outputs["new_keys"][:, :, :count]
        self._values[:, :, start : start + count] = outputs["new_values"][:, :, :count]
        return outputs


def _integer(value: int) -> np.ndarray:
    return np.array([value], np.int32)


def _limit(session: Session, function: str, name: str, axis: int) -> int:
    """The largest size that an input of the package may have along an axis."""
    feature = session.package.function(function).inputs[name]
    return max(shape[axis][1] or shape[axis][0] for shape in feature.shapes)
