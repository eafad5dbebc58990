"""The text that vera-nano's vocabulary is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pydoc_data import topics

import numpy as np
from tokenizers import Tokenizer

from vera_mobile.model.tokens import build_tokenizer
from vera_mobile.train.styles import AMOUNTS, STYLES, wording
from vera_mobile.train.words import describe, measure


def corpus(seed: int = 1, samples: int = 3000) -> Iterator[str]:
    """Answers on random measurements, every wish wording, and general English for other wishes.

    The English is the documentation text that comes with Python (PSF licence), lower-cased, because
    wishes are lower-cased too.
    """
    rng = np.random.default_rng(seed)
    for i in range(samples):
        before = rng.random((64, 3)) * rng.uniform(0.3, 1, 3)
        after = rng.random((64, 3)) * rng.uniform(0.3, 1, 3)
        yield describe(measure(before), measure(after), ("auto", "style")[i % 2], rng)
    for style in STYLES:
        for amount in AMOUNTS:
            yield from (" " + wording(style, amount, rng) for _ in range(60))
    for text in topics.topics.values():
        yield re.sub(r"[^a-z' .,]+", " ", str(text).lower())


def nano_tokenizer() -> Tokenizer:
    """The tokenizer of vera-nano; the same on every run."""
    return build_tokenizer(corpus(), vocab_size=4096)
