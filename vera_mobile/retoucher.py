"""plan() and render(): the same on ExecuTorch (a bundle) and on PyTorch (a checkpoint)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile import native
from vera_mobile.bundle import Bundle
from vera_mobile.develop.sliders import vector
from vera_mobile.errors import Cancelled, FileError, InvalidArgument, ModelError
from vera_mobile.image import Photo
from vera_mobile.look import BakedLook, Look, check_strength
from vera_mobile.model.match import sliders_towards
from vera_mobile.model.pixels import model_pixels, reference_pixels, vision_pixels
from vera_mobile.model.tokens import Prompt, PromptFormat, Vocabulary

if TYPE_CHECKING:
    from vera_mobile.runtime import Planner

__all__ = [
    "LUT_SIZE",
    "Auto",
    "Param",
    "Reference",
    "Retoucher",
    "Sampling",
    "Style",
    "Task",
    "model_pixels",
]

MAX_TOKENS = 4096
LUT_SIZE = 33
ASPECT_TOLERANCE = 0.02


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


@dataclass(frozen=True, eq=False)
class Reference:
    """Retouch as `before` was retouched into `after`: two pictures of one frame, of any sizes.

    before None: `after` is a picture of anything whose colours are wanted. Sliders are then fitted
    to the photo (see `sliders_towards`) and planned as Param would. Raises InvalidArgument for a
    pair of different aspect.
    """

    before: Photo | None
    after: Photo

    def __post_init__(self) -> None:
        if self.before is None:
            return
        sizes = [(p.width, p.height) for p in (self.before, self.after)]
        (w1, h1), (w2, h2) = sizes
        if abs(w1 * h2 / (h1 * w2) - 1) > ASPECT_TOLERANCE:
            raise InvalidArgument(
                f"The reference pictures are {w1} x {h1} and {w2} x {h2}: use the same frame "
                "before and after the retouch (sizes may differ, the aspect may not), or only the "
                "second picture."
            )


Task = Auto | Style | Param | Reference


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: greedy at temperature 0, else nucleus sampling with the seed.

    None stands for what the model's family is used with: greedy and 120 tokens for vera-nano;
    temperature 0.2, top_p 0.8 and 1024 tokens, as published, for the 0.5B model.
    """

    temperature: float | None = None
    top_p: float | None = None
    seed: int = 0
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InvalidArgument(f"temperature is {self.temperature}: allowed are 0..2")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top_p is {self.top_p}: allowed are above 0 up to 1")
        if self.max_tokens is not None and not 0 <= self.max_tokens <= MAX_TOKENS:
            raise InvalidArgument(f"max_tokens is {self.max_tokens}: allowed are 0..{MAX_TOKENS}")
        if not 0 <= self.seed < 2**63:
            raise InvalidArgument(f"seed is {self.seed}: allowed are 0..2^63-1")


@dataclass(frozen=True)
class _Choice:
    """A Sampling with the family's values for what was left open."""

    temperature: float
    top_p: float
    seed: int
    max_tokens: int

    @staticmethod
    def of(sampling: Sampling, used: PromptFormat) -> _Choice:
        def value(name: str) -> Any:
            given = getattr(sampling, name)
            return getattr(used, name) if given is None else given

        return _Choice(value("temperature"), value("top_p"), sampling.seed, value("max_tokens"))


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
            return cls._of(ExecuTorchPlanner(bundle), bundle.file("tokenizer"))
        if (path / "config.json").is_file():
            from vera_mobile.model.load import load_checkpoint
            from vera_mobile.runtime import TorchPlanner

            return cls._of(TorchPlanner(load_checkpoint(path)), path / "tokenizer.json")
        raise FileError(
            f"{path}: is neither a bundle (bundle.json) nor a checkpoint (config.json); "
            "make a bundle with `vera export`"
        )

    @classmethod
    def _of(cls, planner: Planner, tokenizer: Path) -> Retoucher:
        if not tokenizer.is_file():
            raise FileError(
                f"{tokenizer} is missing: import the public files again with their tokenizer, or "
                "copy it there."
            )
        vocabulary = Vocabulary.load(tokenizer)
        if len(vocabulary) > planner.config.language.vocab_size:
            raise ModelError(
                f"{tokenizer} has {len(vocabulary)} tokens, the model "
                f"{planner.config.language.vocab_size} embeddings: use the files of one checkpoint."
            )
        return cls(planner, vocabulary)

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

        The same photo, task, bundle and seed give the same look. A look from a pair has no text.
        Raises InvalidArgument for a bad task, Cancelled within one token after `cancel` is
        set.
        """
        with self._lock:
            session = _Session(self._planner, self._vocabulary, cancel, on_text)
            if isinstance(task, Reference) and task.before is not None:
                look = session.run_pair(task.before, task.after)
            else:
                if isinstance(task, Reference):
                    task = session.matched(photo, task.after)
                choice = _Choice.of(sampling or Sampling(), self._vocabulary.format)
                look = session.run(photo, task or Auto(), choice)
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

    def run(self, photo: Photo, task: Auto | Style | Param, choice: _Choice) -> Look:
        prompt = self._prompt(task)
        embeds = self._embed(prompt, photo)
        hidden, tokens = self._decode(embeds, choice)
        with self._timed("head"):
            latents = self.planner.head(hidden)
        if prompt.groups != (1.0, 1.0, 1.0):
            latents = latents * np.array(prompt.groups, np.float32)[:, None]
        text = self.vocabulary.decode(tokens).strip()
        if self.on_text and len(text) > len(self.said):
            self.on_text(text[len(self.said) :])  # what waited for a rest that never came
        return Look(latents, text, timings_ms=self.timings, tokens=tuple(tokens))

    def run_pair(self, before: Photo, after: Photo) -> Look:
        """The latents that the reference encoder reads off the pair."""
        pair = self._two_pictures(before, after)
        self._check_cancel()
        with self._timed("reference"):
            latents = self.planner.encode_reference(*pair)
        return Look(latents, timings_ms=self.timings)

    def matched(self, photo: Photo, wanted: Photo) -> Param:
        """The sliders that move `photo` towards the colours of `wanted`."""
        pair = self._two_pictures(photo, wanted)
        with self._timed("reference"):
            return Param(sliders_towards(*pair))

    def _two_pictures(self, one: Photo, other: Photo) -> tuple[np.ndarray, np.ndarray]:
        with self._timed("prepare"):
            first, second = (reference_pixels(p, self.planner.config) for p in (one, other))
        if np.array_equal(first, second):
            raise InvalidArgument(
                "The reference is the same picture twice: give the picture before and after its "
                "retouch, or another picture."
            )
        return first, second

    def _prompt(self, task: Auto | Style | Param) -> Prompt:
        if isinstance(task, Style):
            return self.vocabulary.style(task.wish)
        if isinstance(task, Param):
            return self.vocabulary.param(vector(task.sliders))
        return self.vocabulary.auto()

    def _embed(self, prompt: Prompt, photo: Photo) -> np.ndarray:
        parts = [self._ids(prompt.before)]
        if prompt.has_image:
            with self._timed("prepare"):
                pixels = vision_pixels(photo, self.planner.config)
            self._check_cancel()
            with self._timed("vision"):
                parts.append(self.planner.encode_image(pixels))
            parts.append(self._ids(prompt.after))
        return np.concatenate([p for p in parts if p.shape[1]], axis=1)

    def _ids(self, ids: tuple[int, ...]) -> np.ndarray:
        return self.planner.embed(np.array([ids], np.int64))

    def _decode(self, embeds: np.ndarray, choice: _Choice) -> tuple[np.ndarray, list[int]]:
        """Hidden states (3, H) that emit the retouch tokens, and the text's token ids.

        The retouch tokens may only come in order; when the text reaches `max_tokens`, or ends
        without them, they are forced, so that every plan ends in a look.
        """
        from vera_mobile.runtime import ANSWER_LOGITS, NO_LOGITS

        rng = np.random.default_rng(choice.seed)
        retouch = self.vocabulary.retouch
        hidden: list[np.ndarray] = []
        tokens: list[int] = []
        self._check_cancel()
        with self._timed("prefill"):
            logits, state = self.planner.step(embeds, 0)
        position = embeds.shape[1]
        room = min(choice.max_tokens, self.planner.max_length - position - len(retouch))
        with self._timed("decode"):
            while True:
                if hidden or len(tokens) >= room:
                    token = retouch[len(hidden)]
                else:
                    token = _choose(_allowed(logits, self.vocabulary), choice, rng)
                if token in self.vocabulary.end:
                    token = retouch[0]
                if token in retouch:
                    hidden.append(state)
                    if len(hidden) == len(retouch):
                        break
                else:
                    tokens.append(token)
                    self._stream(tokens)
                self._check_cancel()
                # after the first retouch token the others are known: only their states are needed
                wanted = NO_LOGITS if hidden else ANSWER_LOGITS
                logits, state = self.planner.step(self._ids((token,)), position, wanted)
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


def _allowed(logits: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Logits with what an answer never holds ruled out: prompt tokens and later retouch tokens."""
    logits = np.array(logits, np.float32)
    logits[vocabulary.prompt_only] = -np.inf
    logits[list(vocabulary.retouch[1:])] = -np.inf
    logits[len(vocabulary) :] = -np.inf  # rows that pad the table stand for no token
    return logits


_NO_SHARE = 40.0  # exp(-40) = 4e-18


def _choose(logits: np.ndarray, choice: _Choice, rng: np.random.Generator) -> int:
    """Greedy, or one draw from the smallest set of tokens with `top_p` of the probability."""
    if choice.temperature == 0:
        return int(np.argmax(logits))
    # what is so far below the best has no share that a float64 sum would show
    near = np.flatnonzero(logits >= logits.max() - _NO_SHARE * choice.temperature)
    values = logits[near].astype(np.float64)
    sorting = np.argsort(-values, kind="stable")
    order, values = near[sorting], values[sorting]
    scaled = np.exp((values - values[0]) / choice.temperature)
    share = scaled / scaled.sum()
    # rounding may leave the sum of all shares below a top_p of 1
    keep = min(int(np.searchsorted(np.cumsum(share), choice.top_p)) + 1, len(order))
    return int(order[rng.choice(keep, p=share[:keep] / share[:keep].sum())])
