"""plan() and render(): the same on ExecuTorch (a bundle) and on PyTorch (a checkpoint)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vera_mobile import native
from vera_mobile.bundle import Bundle
from vera_mobile.develop.sliders import vector
from vera_mobile.errors import Cancelled, FileError, InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.look import BakedLook, Look, check_strength
from vera_mobile.model.tokens import Prompt, Vocabulary

if TYPE_CHECKING:
    from vera_mobile.runtime import Planner

MAX_TOKENS = 120
LUT_SIZE = 33


@dataclass(frozen=True)
class Auto:
    """Retouch from the photo alone."""


@dataclass(frozen=True)
class Style:
    """Retouch after a wish in words."""

    wish: str


@dataclass(frozen=True)
class Param:
    """Retouch by slider values in percent (-100..100), by name; missing ones are 0."""

    sliders: Mapping[str, float] = field(default_factory=dict)


Task = Auto | Style | Param


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: greedy at temperature 0, else nucleus sampling with the seed."""

    temperature: float = 0.0
    top_p: float = 0.8
    seed: int = 0
    max_tokens: int = MAX_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise InvalidArgument(f"temperature is {self.temperature}: allowed are 0..2")
        if not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top_p is {self.top_p}: allowed are above 0 up to 1")
        if not 0 <= self.max_tokens <= 200:
            raise InvalidArgument(f"max_tokens is {self.max_tokens}: allowed are 0..200")
        if not 0 <= self.seed < 2**63:
            raise InvalidArgument(f"seed is {self.seed}: allowed are 0..2^63-1")


class Retoucher:
    """Plans looks and renders them. One plan at a time per object: a second caller waits."""

    def __init__(self, planner: Planner, vocabulary: Vocabulary) -> None:
        self._planner = planner
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._baked: tuple[str, BakedLook] | None = None

    @classmethod
    def load(cls, path: str | Path) -> Retoucher:
        """From a bundle folder (ExecuTorch) or a checkpoint folder (PyTorch, fp32).

        Raises FileError when the path is neither, BundleError or ModelError when it is damaged.
        """
        path = Path(path)
        if (path / "bundle.json").is_file():
            from vera_mobile.runtime import ExecuTorchPlanner

            bundle = Bundle.open(path)
            return cls(ExecuTorchPlanner(bundle), Vocabulary.load(bundle.file("tokenizer")))
        if (path / "config.json").is_file():
            from vera_mobile.model.load import load_checkpoint
            from vera_mobile.runtime import TorchPlanner

            vocabulary = Vocabulary.load(path / "tokenizer.json")
            return cls(TorchPlanner(load_checkpoint(path)), vocabulary)
        raise FileError(
            f"{path}: is neither a bundle (bundle.json) nor a checkpoint (config.json); "
            "make a bundle with `vera export`"
        )

    def prepare(self) -> None:
        """Loads all programs now; without it they load at first use."""
        with self._lock:
            self._planner.load()

    def plan(
        self,
        photo: Photo,
        task: Task | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
        sampling: Sampling | None = None,
    ) -> Look:
        """The look for `photo` and `task` (default Auto()); text is streamed to `on_text`.

        The same photo, task, bundle and seed give the same look. Raises InvalidArgument for a bad
        task, Cancelled within one token after `cancel` is set.
        """
        with self._lock:
            session = _Session(self._planner, self._vocabulary, cancel, on_text)
            look = session.run(photo, task or Auto(), sampling or Sampling())
        return replace(look, evaluate=self._evaluate)

    def look_from_json(self, text: str) -> Look:
        """A saved look, ready to render. FileError when the text is no look."""
        return Look.from_json(text, self._evaluate)

    def bake(self, look: Look, size: int = LUT_SIZE) -> BakedLook:
        """Curves and LUT of a look; the last one is kept, so that strengths re-render at once."""
        key = hashlib.sha256(look.to_json().encode() + str(size).encode()).hexdigest()
        last = self._baked  # one read: another thread may bake another look meanwhile
        if last is None or last[0] != key:
            last = (key, look.bake(size))
            self._baked = last
        return last[1]

    def render(
        self,
        look: Look,
        photo: Photo,
        *,
        strength: float = 1.0,
        threads: int = 0,
        cancel: threading.Event | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Photo:
        """`photo` with the look, in its own colour space, depth and size; alpha is kept.

        strength: 0..1.5, mix of photo and look. threads: 0 for all cores.
        """
        check_strength("strength", strength)
        baked = self.bake(look)
        pixels = native.render(
            photo.pixels, baked.curves, baked.lut, strength=strength, threads=threads,
            cancel=cancel, on_progress=on_progress,
        )  # fmt: skip
        return photo.with_pixels(pixels)

    def _evaluate(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """`Planner.bake` for looks, which may be baked or saved while another thread plans."""
        with self._lock:
            return self._planner.bake(points, latents)


class _Session:
    """One plan: prompt, decode, latents, with timings in milliseconds."""

    def __init__(
        self,
        planner: Planner,
        vocabulary: Vocabulary,
        cancel: threading.Event | None,
        on_text: Callable[[str], None] | None,
    ) -> None:
        self.planner, self.vocabulary = planner, vocabulary
        self.cancel, self.on_text = cancel, on_text
        self.timings: dict[str, float] = {}
        self.said = ""

    def run(self, photo: Photo, task: Task, sampling: Sampling) -> Look:
        prompt = self._prompt(task)
        embeds = self._embed(prompt, photo)
        hidden, tokens = self._decode(embeds, sampling)
        with self._timed("head"):
            latents = self.planner.head(hidden)
        text = self.vocabulary.decode(tokens).strip()
        if self.on_text and len(text) > len(self.said):
            self.on_text(text[len(self.said) :])  # what waited for a rest that never came
        return Look(latents, text, timings_ms=self.timings, tokens=tuple(tokens))

    def _prompt(self, task: Task) -> Prompt:
        if isinstance(task, Style):
            return self.vocabulary.style(task.wish)
        if isinstance(task, Param):
            return self.vocabulary.param(vector(task.sliders))
        return self.vocabulary.auto()

    def _embed(self, prompt: Prompt, photo: Photo) -> np.ndarray:
        parts = [self._ids(prompt.before)]
        if prompt.has_image:
            with self._timed("prepare"):
                pixels = model_pixels(photo, self.planner.image_size)
            self._check_cancel()
            with self._timed("vision"):
                parts.append(self.planner.encode_image(pixels))
            parts.append(self._ids(prompt.after))
        return np.concatenate([p for p in parts if p.shape[1]], axis=1)

    def _ids(self, ids: tuple[int, ...]) -> np.ndarray:
        return self.planner.embed(np.array([ids], np.int64))

    def _decode(self, embeds: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, list[int]]:
        """Hidden states (3, H) that emit the retouch tokens, and the text's token ids.

        The retouch tokens may only come in order; when the text reaches `max_tokens` they are
        forced, so that every plan ends in a look.
        """
        rng = np.random.default_rng(sampling.seed)
        retouch = self.vocabulary.retouch
        hidden: list[np.ndarray] = []
        tokens: list[int] = []
        self._check_cancel()
        with self._timed("prefill"):
            logits, state = self.planner.step(embeds, 0)
        position = embeds.shape[1]
        room = min(sampling.max_tokens, self.planner.max_length - position - len(retouch))
        with self._timed("decode"):
            while True:
                if hidden or len(tokens) >= room:
                    token = retouch[len(hidden)]
                else:
                    token = _choose(_allowed(logits, self.vocabulary), sampling, rng)
                if token in retouch:
                    hidden.append(state)
                    if len(hidden) == len(retouch):
                        break
                else:
                    tokens.append(token)
                    self._stream(tokens)
                self._check_cancel()
                logits, state = self.planner.step(self._ids((token,)), position)
                position += 1
        return np.stack(hidden), tokens

    def _stream(self, tokens: list[int]) -> None:
        """Gives new whole characters to `on_text`.

        A half UTF-8 character waits for its rest, a space for the word after it: all pieces
        together are the look's text.
        """
        if not self.on_text:
            return
        text = self.vocabulary.decode(tokens).strip()
        if not text.endswith("\ufffd") and len(text) > len(self.said):
            self.on_text(text[len(self.said) :])
            self.said = text

    def _check_cancel(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("the plan was cancelled; nothing was written")

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent = (time.perf_counter() - start) * 1000
        self.timings[stage] = self.timings.get(stage, 0.0) + spent


def model_pixels(photo: Photo, size: int) -> np.ndarray:
    """What the vision tower sees: (1, 3, size, size) float32 encoded sRGB, squeezed to a square."""
    small = photo.to_srgb(size=(size, size))
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)


def _allowed(logits: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Logits with what an answer never holds ruled out: prompt tokens and later retouch tokens."""
    logits = np.array(logits, np.float64)
    logits[vocabulary.prompt_only] = -np.inf
    logits[list(vocabulary.retouch[1:])] = -np.inf
    return logits


def _choose(logits: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> int:
    """Greedy, or one draw from the smallest set of tokens with `top_p` of the probability."""
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    order = np.argsort(-logits, kind="stable")
    scaled = np.exp((logits[order] - logits[order[0]]) / sampling.temperature)
    share = scaled / scaled.sum()
    # rounding may leave the sum of all shares below a top_p of 1
    keep = min(int(np.searchsorted(np.cumsum(share), sampling.top_p)) + 1, len(order))
    return int(order[rng.choice(keep, p=share[:keep] / share[:keep].sum())])
