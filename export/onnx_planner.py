"""The model's steps on ONNX Runtime, to measure the files before an NPU compiler sees them.

Shapes and units as in vera_mobile.runtime; a planner serves one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.errors import BundleError, FileError, InvalidArgument
from vera_mobile.export.onnx import PREFILL, STEP
from vera_mobile.export.onnx.sources import cache_names, empty_cache
from vera_mobile.model.config import ModelConfig
from vera_mobile.planner_inputs import (
    checked_embeds,
    checked_hidden,
    checked_ids,
    checked_latents,
    checked_pixels,
    checked_points,
    checked_reference,
)
from vera_mobile.runtime import ANSWER_LOGITS, REFERENCE

_FILES = {
    "vision": "vision.onnx",
    "embed": "embed.onnx",
    "prefill": f"decoder/{PREFILL}",
    "step": f"decoder/{STEP}",
    "head": "head.onnx",
    "bake": "bake.onnx",
}


class OnnxPlanner:
    """A folder of `vera_mobile.export.onnx.build` as a Planner. Graphs load at first use.

    folder: holds vision.onnx, embed.onnx, decoder/, head.onnx, bake.onnx and, if wanted, look.onnx
    and reference.onnx; threads: of ONNX Runtime, 0 for all cores. Calls raise FileError for a
    missing file and BundleError for a damaged one.
    """

    def __init__(self, folder: Path, config: ModelConfig, *, threads: int = 0) -> None:
        self.folder, self.config, self.threads = folder, config, threads
        self._sessions: dict[str, Any] = {}
        language = config.language
        names = cache_names(language)
        self._cache = {n: v.numpy() for n, v in zip(names, empty_cache(language), strict=True)}

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self.config.vision.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self.config.language.max_length

    def load(self) -> None:
        for name in _FILES:
            self._session(name)

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        return self._run("vision", {"pixels": checked_pixels(pixels, self.config)})[0]

    def embed(self, ids: np.ndarray) -> np.ndarray:
        return self._run("embed", {"ids": checked_ids(ids, self.config).astype(np.int32)})[0]

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = checked_embeds(embeds, start, self.config)
        count = checked.shape[1]
        room = 1 if count == 1 else self._length("prefill", "embeds", 1)
        for begin in range(0, count, room):
            part = checked[:, begin : begin + room]
            logits, hidden = self._call(part, start + begin, room)
        return logits, hidden

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._run("head", {"hidden": checked_hidden(hidden, self.config)})[0][0]

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if not (self.folder / f"{REFERENCE}.onnx").is_file():
            raise InvalidArgument(
                f"{self.folder} has no reference encoder: give one reference photo, use the "
                "checkpoint, or export with --with-reference."
            )
        pair = (checked_reference(photo, self.config) for photo in (before, after))
        return self._run(REFERENCE, dict(zip(("before", "after"), pair, strict=True)))[0][0]

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        colours, look = checked_points(points), checked_latents(latents, self.config)
        out = np.empty_like(colours)
        room = self._length("bake", "points", 0)
        padded = np.zeros((room, 3), np.float32)
        for begin in range(0, len(colours), room):
            part = colours[begin : begin + room]
            padded[: len(part)] = part
            edited = self._run("bake", {"points": padded, "latents": look})[0]
            out[begin : begin + len(part)] = edited[: len(part)]
        return out

    def look(self, hidden: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (3, H) and strengths (3,) -> latents (3, L) and LUT (33, 33, 33, 3), indexed
        [blue][green][red], encoded sRGB in [0, 1], of the latents times the strengths."""
        feed = {
            "hidden": checked_hidden(hidden, self.config),
            "strengths": np.asarray(strengths, np.float32),
        }
        latents, lut = self._run("look", feed)
        return latents[0], lut

    def _call(self, part: np.ndarray, start: int, room: int) -> tuple[np.ndarray, np.ndarray]:
        """One call of a decoder graph; its new keys and values go into the cache."""
        count = part.shape[1]
        padded = np.zeros((1, room, part.shape[2]), np.float32)
        padded[:, :count] = part
        feed = {
            "embeds": padded,
            "positions": np.arange(start, start + room, dtype=np.int32),
            "last": np.array([count - 1], np.int32),
            **self._cache,
        }
        logits, hidden, *new = self._run("step" if room == 1 else "prefill", feed)
        for cache, added in zip(self._cache.values(), new, strict=True):
            cache[:, :, start : start + count] = added[:, :, :count]
        return logits[0], hidden[0]

    def _length(self, name: str, tensor: str, axis: int) -> int:
        shapes = {entry.name: entry.shape for entry in self._session(name).get_inputs()}
        return int(shapes[tensor][axis])

    def _run(self, name: str, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return list(self._session(name).run(None, dict(feed)))

    def _session(self, name: str) -> Any:
        if name not in self._sessions:
            self._sessions[name] = self._load(self.folder / _FILES.get(name, f"{name}.onnx"))
        return self._sessions[name]

    def _load(self, path: Path) -> Any:
        import onnxruntime

        if not path.is_file():
            raise FileError(f"{path} is missing: build all parts, {', '.join(_FILES)}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's own kinds derive from Exception alone
            raise BundleError(
                f"{path} cannot be loaded by ONNX Runtime ({error}): export it again."
            ) from error
