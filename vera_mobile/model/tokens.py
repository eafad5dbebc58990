"""Vocabulary of vera-nano and the prompts of the three tasks.

The vocabulary is a byte-level BPE of the `tokenizers` library plus special tokens and one token for
each slider and tens step ("Exposure2012+03"), so that a slider value is two tokens: the fused one
and its ones digit ("Exposure2012+03" "5" is +35 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from vera_mobile.develop.sliders import SLIDERS, named, vector
from vera_mobile.errors import InvalidArgument, ModelError

PAD, AUTO, STYLE, PARAM, ANSWER = "<pad>", "<auto>", "<style>", "<param>", "<answer>"
RETOUCH = ("<retouch_light>", "<retouch_color&temp>", "<retouch_colormixer>")
SPECIALS = (PAD, AUTO, STYLE, PARAM, ANSWER, *RETOUCH)
TASKS = {"auto": AUTO, "style": STYLE, "param": PARAM}
MAX_WISH_CHARS = 400
MAX_WISH_TOKENS = 64


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


def slider_text(sliders: Mapping[str, float]) -> str:
    """The sliders that are not 0 as prompt text: fused token and ones digit, table order."""
    out = []
    for name, value in named(vector(sliders)).items():
        tens, ones = divmod(abs(value), 10)
        out.append(f"{name}{'+' if value > 0 else '-'}{tens:02d}{ones}")
    return "".join(out)


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
    """Token ids before and after the place of the image tokens; `has_image` False: no image."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    has_image: bool


class Vocabulary:
    """Text to token ids and back, with the ids of the special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        ids = {s: tokenizer.token_to_id(s) for s in SPECIALS}
        missing = [s for s, i in ids.items() if i is None]
        if missing:
            raise ModelError(f"the tokenizer lacks the special tokens {missing}; wrong file?")
        self.pad, self.answer = ids[PAD], ids[ANSWER]
        self.retouch = tuple(ids[r] for r in RETOUCH)
        self.prompt_only = [
            *(ids[s] for s in (PAD, AUTO, STYLE, PARAM, ANSWER)),
            *(tokenizer.token_to_id(p) for p in slider_pieces()),
        ]
        self._ids = ids

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
        return int(self.tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; special tokens inside the text are spelled out, never obeyed."""
        for special in SPECIALS:
            text = text.replace(special, special.strip("<>"))
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def auto(self) -> Prompt:
        """Prompt of the auto task: the photo only."""
        return Prompt((self._ids[AUTO],), (self.answer,), True)

    def style(self, wish: str) -> Prompt:
        """Prompt of the style task: the photo and a wish in words (1 to 400 characters)."""
        ids = self.encode(" " + check_wish(wish))[:MAX_WISH_TOKENS]
        return Prompt((self._ids[STYLE],), (*ids, self.answer), True)

    def param(self, sliders: Mapping[str, float] | np.ndarray) -> Prompt:
        """Prompt of the param task: slider values in percent, no image tokens."""
        values = named(sliders) if isinstance(sliders, np.ndarray) else sliders
        ids = self.tokenizer.encode(slider_text(values), add_special_tokens=False).ids
        return Prompt((self._ids[PARAM], *ids, self.answer), (), False)
