"""How the tokens of an answer are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.tokens import PromptFormat, Vocabulary
from vera_mobile.native.sdk import Random, choose_token

MAX_TOKENS = 4096


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
class Choice:
    """A Sampling with the family's values for what was left open."""

    temperature: float
    top_p: float
    seed: int
    max_tokens: int

    @staticmethod
    def of(sampling: Sampling, used: PromptFormat) -> Choice:
        def value(name: str) -> Any:
            given = getattr(sampling, name)
            return getattr(used, name) if given is None else given

        return Choice(value("temperature"), value("top_p"), sampling.seed, value("max_tokens"))


def allowed(logits: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Logits with what an answer never holds ruled out: prompt tokens and later retouch tokens."""
    logits = np.array(logits, np.float32)
    logits[vocabulary.prompt_only] = -np.inf
    logits[list(vocabulary.retouch[1:])] = -np.inf
    logits[len(vocabulary) :] = -np.inf  # rows that pad the table stand for no token
    return logits


def choose(logits: np.ndarray, choice: Choice, random: Random) -> int:
    """Greedy, or one draw from the smallest set of tokens with `top_p` of the probability; the same
    token on every machine and in every language (see `vera_mobile.native.sdk.choose_token`)."""
    return choose_token(logits, choice.temperature, choice.top_p, random)
