"""Prompts of the three tasks as token ids, for vera-nano and for the public 0.5B model.

How a family is spoken to is a `PromptFormat`; which one a checkpoint has is told by the special
tokens of its tokenizer. vera-nano has a byte-level BPE of its own plus one token for each slider
and tens step ("Exposure2012+03"), so that a slider value is two tokens: the fused one and its ones
digit ("Exposure2012+03" "5" is +35 %); a tokenizer that also has the tokens of `measures` makes
prompts that hold what was measured on the photo. The 0.5B model has Qwen2's tokenizer and chat
form; its prompts are those of the public inference scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from vera_mobile.develop.sliders import GROUP_SLICES, GROUPS, SLIDERS, named, vector
from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.measures import LEVELS, measure_pieces, measured_levels

PAD, AUTO, STYLE, PARAM, ANSWER = "<pad>", "<auto>", "<style>", "<param>", "<answer>"
RETOUCH = ("<retouch_light>", "<retouch_color&temp>", "<retouch_colormixer>")
SPECIALS = (PAD, AUTO, STYLE, PARAM, ANSWER, *RETOUCH)
CHAT_START, CHAT_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TASKS = ("<Auto_Retouch_Task>", "<Style_Retouch_Task>", "<Professional_Retouch_Task>")
IMAGE, TEXT = "{image}", "{text}"
MAX_WISH_CHARS = 400
MAX_WISH_TOKENS = 64

_PARAM_GROUPS = (
    "Light Adjustment",
    "Color and Temperature Adjustment",
    "Specific Color Adjustment",
)
_NO_CHANGE = 1e-4  # a slider at or below this share of its range leaves its group off


def slider_pieces() -> list[str]:
    """The fused slider tokens: 38 names x sign x 0..10 tens."""
    return [f"{name}{sign}{tens:02d}" for name in SLIDERS for sign in "+-" for tens in range(11)]


def build_tokenizer(corpus: Iterable[str], vocab_size: int = 4096) -> Tokenizer:
    """A BPE trained on `corpus` (deterministic): specials first, then text, then slider pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    pieces = slider_pieces()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(pieces),
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p in pieces])
    return tokenizer


def add_measures_(tokenizer: Tokenizer) -> None:
    """Appends the tokens of `measure_pieces`; ids that were there stay."""
    tokenizer.add_special_tokens(
        [AddedToken(p, normalized=False, special=True) for p in measure_pieces()]
    )


def slider_text(sliders: Mapping[str, float]) -> str:
    """The sliders that are not 0 as vera-nano reads them: fused token and ones digit, in order."""
    return _fused_text(vector(sliders))


def check_wish(wish: str) -> str:
    """The wish in lower case with single spaces; InvalidArgument unless 1 to 400 characters."""
    text = " ".join(wish.lower().split())
    if not text or len(text) > MAX_WISH_CHARS:
        raise InvalidArgument(
            f"the style wish has {len(text)} characters: use 1..{MAX_WISH_CHARS}, "
            'for example "warm and bright"'
        )
    return text


@dataclass(frozen=True)
class Prompt:
    """Token ids before and after the place of the image tokens; `has_image` False: no image.

    groups: what the three latents of the answer are multiplied with (0.0 leaves a group off).
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    has_image: bool
    groups: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class PromptFormat:
    """How a family of models is spoken to.

    specials: tokens that its tokenizer must have; auto, style, param: the prompts, with the places
    {image} and {text} (the wish, the sliders); end: tokens that end an answer, padding first;
    prompt_only: what an answer never holds; marks: what else a wish must not hold; wish_text,
    slider_text: what is written for a wish and for slider values (38,) in percent;
    max_wish_tokens: the wish is cut there; masks_groups: a group whose sliders are all 0 is left
    off. temperature, top_p, max_tokens: how it is decoded where the caller does not say.
    measures: tokens that its tokenizer must have too, of what is measured on the photo; they
    follow the image (none: nothing is measured).
    """

    family: str
    specials: tuple[str, ...]
    auto: str
    style: str
    param: str
    end: tuple[str, ...]
    prompt_only: tuple[str, ...]
    marks: tuple[str, ...]
    wish_text: Callable[[str], str]
    slider_text: Callable[[np.ndarray], str]
    max_wish_tokens: int | None
    masks_groups: bool
    temperature: float
    top_p: float
    max_tokens: int
    measures: tuple[str, ...] = ()


def _fused_text(values: np.ndarray) -> str:
    out = []
    for name, value in named(values).items():
        tens, ones = divmod(abs(value), 10)
        out.append(f"{name}{'+' if value > 0 else '-'}{tens:02d}{ones}")
    return "".join(out)


def _spelled_wish(wish: str) -> str:
    """The wish as it was written: the public scripts change nothing, case and spaces included."""
    check_wish(wish)
    return wish


def _shares(values: np.ndarray) -> dict[str, dict[str, float]]:
    """All sliders as shares -1..1 with three decimals, in the public scripts' three groups."""
    shares = {n: round(float(v) / 100, 3) for n, v in zip(SLIDERS, values, strict=True)}
    return {
        title: {name: shares[name] for name in SLIDERS[GROUP_SLICES[group]]}
        for title, group in zip(_PARAM_GROUPS, GROUPS, strict=True)
    }


def _shares_text(values: np.ndarray) -> str:
    return str(_shares(values))  # the form of Python's str(dict) is what the model was trained on


def _chat(request: str) -> str:
    """One request in Qwen2's chat form, up to where the answer begins."""
    return (
        f"{CHAT_START}system\nYou are a helpful assistant.{CHAT_END}\n"
        f"{CHAT_START}user\n{request}{CHAT_END}\n{CHAT_START}assistant\n"
    )


_AGENT = "\nNow, you are acting as a Retouch Agent. "

NANO = PromptFormat(
    family="vera-nano",
    specials=SPECIALS,
    auto=AUTO + IMAGE + ANSWER,
    style=f"{STYLE}{IMAGE} {TEXT}{ANSWER}",
    param=PARAM + TEXT + ANSWER,
    end=(PAD,),
    prompt_only=(PAD, AUTO, STYLE, PARAM, ANSWER, *slider_pieces()),
    marks=(),
    wish_text=check_wish,
    slider_text=_fused_text,
    max_wish_tokens=MAX_WISH_TOKENS,
    masks_groups=False,
    temperature=0.0,
    top_p=0.8,
    max_tokens=120,
)

NANO_MEASURED = replace(
    NANO,
    prompt_only=(*NANO.prompt_only, *measure_pieces()),
    measures=tuple(measure_pieces()),
)

# the wording is an interface of the published weights (data/infer_dataset.py in its repository):
# one other character is other tokens
CHAT = PromptFormat(
    family="vera-0.5b",
    specials=(TEXT_END, CHAT_START, CHAT_END, *RETOUCH),
    auto=_chat(
        f"{IMAGE}\n{CHAT_TASKS[0]}{_AGENT}When I provide an image, please state the problems found "
        "in the image (from 3 aspects: lighting, global_color, specific color), and give the "
        "solution and retouch tokens."
    ),
    style=_chat(
        f"{IMAGE}\n{CHAT_TASKS[1]}{_AGENT}I will provide an image and an instruction, please give "
        f"me a retouch plan and retouch tokens.\n Instruction: {TEXT}"
    ),
    param=_chat(
        f"{CHAT_TASKS[2]}{_AGENT}I will provide an image and an professional instruction (plain "
        "text description or retouch operator parameters range from -1.0 to 1.0), please give me "
        f"a retouch plan and retouch tokens.\n Instruction: {TEXT}"
    ),
    end=(TEXT_END, CHAT_END),
    prompt_only=(CHAT_START, *CHAT_TASKS),
    marks=("<image>",),  # the public scripts put the photo wherever it stands
    wish_text=_spelled_wish,
    slider_text=_shares_text,
    max_wish_tokens=None,
    masks_groups=True,
    temperature=0.2,
    top_p=0.8,
    max_tokens=1024,
)

FORMATS = (NANO_MEASURED, NANO, CHAT)


class Vocabulary:
    """Text to token ids and back, and the prompts of the family that the tokenizer belongs to."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.format = _format_of(tokenizer)
        self._size = int(tokenizer.get_vocab_size())  # the library counts anew at each call
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = {s: self._id(s) for s in self.format.specials}
        self._marks = _marks(self.format, (t.content for t in added.values() if t.special))
        self._special = {i for i, t in added.items() if t.special}
        self.end = tuple(self._id(s) for s in self.format.end)
        self.pad = self.end[0]
        self.retouch = tuple(self._id(s) for s in RETOUCH)
        ids = (tokenizer.token_to_id(s) for s in self.format.prompt_only)
        self.prompt_only = [i for i in ids if i is not None]
        self.measures = tuple(self._id(s) for s in self.format.measures)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Reads a `tokenizer.json`; ModelError when it is none."""
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as e:  # the library raises bare Exception for every parse error
            if isinstance(e, ModelError):
                raise
            raise ModelError(f"{path}: is not a tokenizer.json ({e})") from e

    def __len__(self) -> int:
        return self._size

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; special tokens inside the text are spelled out, never obeyed."""
        return self._ids(self._plain(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; special tokens are left out, and begin a new line within the text.

        The 0.5B model frames each part of its answer with a pair of them.
        """
        pieces: list[list[int]] = [[]]
        for i in ids:
            if i in self._special:
                pieces.append([])
            else:
                pieces[-1].append(i)
        if len(pieces) == 1:
            return str(self.tokenizer.decode(pieces[0], skip_special_tokens=True))
        texts = (self.tokenizer.decode(p, skip_special_tokens=True).strip() for p in pieces)
        return "\n".join(text for text in texts if text)

    def auto(self, seen: np.ndarray | None = None) -> Prompt:
        """Prompt of the auto task: the photo only.

        seen: (1, 3, S, S), what the vision tower gets; needed where the format has measures, else
        not looked at. Raises InvalidArgument where it is needed and missing.
        """
        return self._measured(self._prompt(self.format.auto, ""), seen)

    def style(self, wish: str, seen: np.ndarray | None = None) -> Prompt:
        """Prompt of the style task: the photo and a wish in words (1 to 400 characters).

        seen, errors: as for `auto`.
        """
        text = self._plain(self.format.wish_text(wish))
        prompt = self._prompt(self.format.style, text, self.format.max_wish_tokens)
        return self._measured(prompt, seen)

    def param(self, sliders: Mapping[str, float] | np.ndarray) -> Prompt:
        """Prompt of the param task: slider values in percent, no image tokens.

        sliders: by name, or (38,) in the order of the table. Raises InvalidArgument for an unknown
        name or a value outside of -100..100.
        """
        values = sliders if isinstance(sliders, np.ndarray) else vector(sliders)
        prompt = self._prompt(self.format.param, self.format.slider_text(values))
        if not self.format.masks_groups:
            return prompt
        on = [any(abs(v) > _NO_CHANGE for v in g.values()) for g in _shares(values).values()]
        light, colour, specific = (float(value) for value in on)
        return Prompt(prompt.before, prompt.after, prompt.has_image, (light, colour, specific))

    def _prompt(self, template: str, text: str, limit: int | None = None) -> Prompt:
        before, image, after = template.partition(IMAGE)
        if not image:
            return Prompt(self._filled(before, text, limit), (), False)
        return Prompt(self._filled(before, "", None), self._filled(after, text, limit), True)

    def _measured(self, prompt: Prompt, seen: np.ndarray | None) -> Prompt:
        if not self.measures:
            return prompt
        if seen is None:
            raise InvalidArgument(
                "this model's prompt holds measures of the photo: give the pixels that its vision "
                "tower gets"
            )
        levels = enumerate(measured_levels(seen))
        ids = tuple(self.measures[measure * LEVELS + level] for measure, level in levels)
        return replace(prompt, after=(*ids, *prompt.after))

    def _filled(self, template: str, text: str, limit: int | None) -> tuple[int, ...]:
        """Ids of a template; what stands before the text is encoded with it, for tokens may span
        both, what follows begins with a special token."""
        head, place, tail = template.partition(TEXT)
        ids = self._ids(head + text if place else head)
        return (*ids[:limit], *self._ids(tail))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _plain(self, text: str) -> str:
        """The text without special tokens: "<auto>" becomes "auto"."""
        # again until none is left: "<<auto>>" would give one
        while any(mark in text for mark in self._marks):
            for mark, spelled in self._marks.items():
                text = text.replace(mark, spelled)
        return text

    def _id(self, token: str) -> int:
        return int(self.tokenizer.token_to_id(token))


def _marks(used: PromptFormat, special: Iterable[str]) -> dict[str, str]:
    """What may not stand in a text, and how it is spelled instead."""
    marks = dict.fromkeys((*used.specials, *special, *used.marks))
    return {m: m.strip("<>") if m != m.strip("<>") else m[1:] for m in marks}


def _format_of(tokenizer: Tokenizer) -> PromptFormat:
    lacking: dict[str, list[str]] = {}
    for candidate in FORMATS:
        missing = _missing(tokenizer, candidate.specials)
        unmeasured = _missing(tokenizer, candidate.measures)
        if not missing and not unmeasured:
            return candidate
        if not missing and len(unmeasured) < len(candidate.measures):
            raise ModelError(
                f"the tokenizer lacks {len(unmeasured)} of {len(candidate.measures)} measure "
                f"tokens, {unmeasured[0]} first: it is of another release; use the checkpoint's own"
            )
        lacking[candidate.family] = missing
    told = "; ".join(f"{family}: {', '.join(missing)}" for family, missing in lacking.items())
    raise ModelError(
        f"the tokenizer lacks the special tokens of both families ({told}); wrong file?"
    )


def _missing(tokenizer: Tokenizer, tokens: Iterable[str]) -> list[str]:
    return [s for s in tokens if tokenizer.token_to_id(s) is None]
