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
from vera_mobile.model.tokens import Prompt, Vocabulary
from vera_mobile.native.sdk import Random
from vera_mobile.sampling import Choice, Sampling, allowed, choose

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


class _Turns:
    """Lets one thread at a time at the planner, in the order of asking.

    A plan takes a turn per step, so that a look can be baked while the words of another, or its
    own, are still being written.
    """

    def __init__(self) -> None:
        self._next, self._busy = threading.Lock(), threading.Lock()

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with self._next:  # held while waiting: who comes later cannot overtake
            self._busy.acquire()
        try:
            return work(*arguments)
        finally:
            self._busy.release()


class Retoucher:
    """Plans looks and renders them. One plan at a time per object: a second caller waits.

    Baking and rendering wait for one step of a plan at most.
    """

    def __init__(self, planner: Planner, vocabulary: Vocabulary) -> None:
        self._planner = planner
        self._vocabulary = vocabulary
        self._plans = threading.Lock()
        self._turns = _Turns()
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
        self._turns(self._planner.load)

    def plan(
        self,
        photo: Photo,
        task: Task | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        on_look: Callable[[Look], None] | None = None,
        instant: bool = False,
        cancel: threading.Event | None = None,
        sampling: Sampling | None = None,
    ) -> Look:
        """The look for `photo` and `task` (default Auto()); text is streamed to `on_text`.

        instant: the look first, the words after. The retouch tokens are forced straight after the
        prompt and `on_look` gets the look, still without text, before the first word; the words
        are the ones that a plan without `instant` writes, but the look is not drawn from them. The
        checkpoint must have learnt to answer without text, as vera-nano has; what the published
        0.5B weights make of it is not known. Without `instant`, `on_look` gets the finished look.

        The same photo, task, bundle and seed give the same look. A look from a pair has no text.
        Raises InvalidArgument for a bad task, Cancelled within one token after `cancel` is
        set; a look that `on_look` got by then stays good.
        """
        with self._plans:
            session = _Session(
                self._planner, self._vocabulary, self._turns, cancel, on_text,
                on_look=lambda look: on_look(self._renderable(look)) if on_look else None,
            )  # fmt: skip
            if isinstance(task, Reference) and task.before is not None:
                look = session.run_pair(task.before, task.after)
            else:
                if isinstance(task, Reference):
                    task = session.matched(photo, task.after)
                choice = Choice.of(sampling or Sampling(), self._vocabulary.format)
                run = session.run_instant if instant else session.run
                look = run(photo, task or Auto(), choice)
        return self._renderable(look)

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

    def _renderable(self, look: Look) -> Look:
        return replace(look, evaluate=self._evaluate, timings_ms=dict(look.timings_ms))

    def _evaluate(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """`Planner.bake` for looks, which may be baked or saved while a thread plans."""
        return self._turns(self._planner.bake, points, latents)


@dataclass(frozen=True, eq=False)
class _Place:
    """A place in the answer: the next position, logits (V,) and state (H,) of the token before it.

    room: tokens of text that the answer may have in all.
    """

    position: int
    logits: np.ndarray
    state: np.ndarray
    room: int


class _Session:
    """One plan: prompt, decode, latents, with timings in milliseconds."""

    def __init__(
        self,
        planner: Planner,
        vocabulary: Vocabulary,
        turns: _Turns,
        cancel: threading.Event | None,
        on_text: Callable[[str], None] | None,
        on_look: Callable[[Look], None],
    ) -> None:
        self.planner, self.vocabulary, self.turns = planner, vocabulary, turns
        self.cancel, self.on_text, self.on_look = cancel, on_text, on_look
        self.timings: dict[str, float] = {}
        self.said = ""

    def run(self, photo: Photo, task: Auto | Style | Param, choice: Choice) -> Look:
        """The words, then the look that follows from them."""
        prompt, place = self._read(photo, task, choice)
        with self._timed("decode"):
            tokens, place = self._write(place, choice)
            hidden = self._retouch_states(place)
        latents = self._latents(hidden, prompt)
        look = Look(latents, self._finished(tokens), timings_ms=self.timings, tokens=tuple(tokens))
        self.on_look(look)
        return look

    def run_instant(self, photo: Photo, task: Auto | Style | Param, choice: Choice) -> Look:
        """The look right after the prompt, then the words from the same place."""
        prompt, place = self._read(photo, task, choice)
        with self._timed("forced"):
            hidden = self._retouch_states(place)
        look = Look(self._latents(hidden, prompt), timings_ms=self.timings)
        self.on_look(look)
        with self._timed("decode"):
            tokens, _ = self._write(place, choice)
        return replace(look, text=self._finished(tokens), tokens=tuple(tokens))

    def run_pair(self, before: Photo, after: Photo) -> Look:
        """The latents that the reference encoder reads off the pair."""
        pair = self._two_pictures(before, after)
        self._check_cancel()
        with self._timed("reference"):
            latents = self.turns(self.planner.encode_reference, *pair)
        look = Look(latents, timings_ms=self.timings)
        self.on_look(look)
        return look

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

    def _prompt(self, task: Auto | Style | Param, photo: Photo) -> tuple[Prompt, np.ndarray | None]:
        """The prompt, and the picture (1, 3, S, S) that it is about; None: no picture."""
        if isinstance(task, Param):
            return self.vocabulary.param(vector(task.sliders)), None
        with self._timed("prepare"):
            seen = vision_pixels(photo, self.planner.config)
            if isinstance(task, Style):
                return self.vocabulary.style(task.wish, seen), seen
            return self.vocabulary.auto(seen), seen

    def _embed(self, prompt: Prompt, seen: np.ndarray | None) -> np.ndarray:
        parts = [self._ids(prompt.before)]
        if seen is not None:
            self._check_cancel()
            with self._timed("vision"):
                parts.append(self.turns(self.planner.encode_image, seen))
            parts.append(self._ids(prompt.after))
        return np.concatenate([p for p in parts if p.shape[1]], axis=1)

    def _ids(self, ids: tuple[int, ...]) -> np.ndarray:
        return self.turns(self.planner.embed, np.array([ids], np.int64))

    def _read(
        self, photo: Photo, task: Auto | Style | Param, choice: Choice
    ) -> tuple[Prompt, _Place]:
        """The prompt, and the place behind it, where the answer begins."""
        prompt, seen = self._prompt(task, photo)
        embeds = self._embed(prompt, seen)
        position = embeds.shape[1]
        self._check_cancel()
        with self._timed("prefill"):
            logits, state = self.turns(self.planner.step, embeds, 0)
        left = self.planner.max_length - position - len(self.vocabulary.retouch)
        return prompt, _Place(position, logits, state, min(choice.max_tokens, left))

    def _write(self, place: _Place, choice: Choice) -> tuple[list[int], _Place]:
        """The text's token ids, and the place behind them.

        A retouch token ends the text, as the end of the answer does, and so do `max_tokens`.
        """
        from vera_mobile.runtime import ANSWER_LOGITS

        random = Random(choice.seed)
        ends = {self.vocabulary.retouch[0], *self.vocabulary.end}
        tokens: list[int] = []
        while len(tokens) < place.room:
            token = choose(allowed(place.logits, self.vocabulary), choice, random)
            if token in ends:
                break
            tokens.append(token)
            self._stream(tokens)
            place = self._after(token, place, ANSWER_LOGITS)
        return tokens, place

    def _retouch_states(self, place: _Place) -> np.ndarray:
        """Hidden states (3, H) that emit the retouch tokens, which follow each other unasked."""
        from vera_mobile.runtime import NO_LOGITS

        hidden = [place.state]
        for token in self.vocabulary.retouch[:-1]:
            place = self._after(token, place, NO_LOGITS)
            hidden.append(place.state)
        return np.stack(hidden)

    def _after(self, token: int, place: _Place, wanted: int) -> _Place:
        self._check_cancel()
        step = self.planner.step
        logits, state = self.turns(step, self._ids((token,)), place.position, wanted)
        return replace(place, position=place.position + 1, logits=logits, state=state)

    def _latents(self, hidden: np.ndarray, prompt: Prompt) -> np.ndarray:
        with self._timed("head"):
            latents = self.turns(self.planner.head, hidden)
        if prompt.groups != (1.0, 1.0, 1.0):
            latents = latents * np.array(prompt.groups, np.float32)[:, None]
        return latents

    def _finished(self, tokens: list[int]) -> str:
        """The whole text; what waited for a rest that never came is streamed."""
        text = self.vocabulary.decode(tokens).strip()
        if self.on_text and len(text) > len(self.said):
            self.on_text(text[len(self.said) :])
        return text

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
