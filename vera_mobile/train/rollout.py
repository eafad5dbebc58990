"""Answers of many prompts at once: sampled for reinforcement learning, greedy for pictures.

The retoucher decodes one photo with a cache of fixed size, as a phone does; here a batch of
left-padded prompts shares the work, and every token keeps the probability that it was drawn with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.model.language import Decoder, DecoderLayer
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.rows import IGNORED, Row, Sequences, hidden_states, lay_out, states_at

Prompts = Sequence[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy; max_tokens: longest answer, retouch tokens included; each: answers
    per prompt; forced: the retouch tokens come in order and always, as in the retoucher."""

    temperature: float = 1.0
    max_tokens: int = 120
    each: int = 1
    forced: bool = False


@dataclass(frozen=True)
class Answer:
    """tokens: all that was generated, the ending ones included; logp: of each when it was drawn, at
    the temperature; ended: False when max_tokens cut it."""

    tokens: list[int]
    logp: list[float]
    ended: bool


class _Cache:
    """Keys and values of one layer, growing."""

    key: Tensor | None = None
    value: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value

    def repeat_(self, times: int) -> None:
        assert self.key is not None
        assert self.value is not None
        self.key = self.key.repeat_interleave(times, 0)
        self.value = self.value.repeat_interleave(times, 0)


def _advance(
    decoder: Decoder, x: Tensor, positions: Tensor, mask: Tensor, caches: list[_Cache]
) -> Tensor:
    """States (B, n, H) of the next n positions; mask: (B, 1, n, all positions so far) bool."""
    rope = (decoder.cosines[positions][:, None], decoder.sines[positions][:, None])
    for entry, cache in zip(decoder.layers, caches, strict=True):
        layer = cast(DecoderLayer, entry)
        attention = layer.attention
        query, key, value = attention._project(layer.attention_norm(x), rope)
        key, value = cache.extend(key, value)
        mixed = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(attention.groups, 1),
            value.repeat_interleave(attention.groups, 1),
            attn_mask=mask,
        )
        x = x + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        x = x + layer.mlp(layer.mlp_norm(x))
    return decoder.norm(x)


def _prefill_inputs(
    vera: VeraModel, prompts: Prompts, image: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Left-padded embeddings (B, T, H) and which places are tokens (B, T)."""
    device = vera.decoder.embedding.weight.device
    parts = []
    for i, (before, after) in enumerate(prompts):
        ids = [vera.decoder.embed(torch.tensor(p, dtype=torch.long, device=device))
               for p in (before, after)]  # fmt: skip
        parts.append(torch.cat([ids[0], *([] if image is None else [image[i]]), ids[1]]))
    longest = max(len(p) for p in parts)
    embeds = torch.stack([F.pad(p, (0, 0, longest - len(p), 0)) for p in parts])
    real = torch.stack([torch.arange(longest) >= longest - len(p) for p in parts])
    return embeds, real.to(device)


def ruled_out(vera: VeraModel, vocabulary: Vocabulary, forced: bool = False) -> Tensor:
    """(vocab_size,) bool: what an answer never holds, tokens of prompts and spare rows; forced: the
    later retouch tokens and vera-nano's end too, as the retoucher does."""
    weight = vera.decoder.embedding.weight
    out = torch.zeros(len(weight), dtype=torch.bool)
    out[[i for i in vocabulary.prompt_only if forced or i not in vocabulary.end]] = True
    out[len(vocabulary) :] = True
    if forced:
        out[list(vocabulary.retouch[1:])] = True
    return out.to(weight.device)


def allowed_logits(vera: VeraModel, hidden: Tensor, without: Tensor) -> Tensor:
    """float32 logits of all tokens but those that are `ruled_out`, which get -inf."""
    return vera.decoder.logits(hidden).float().masked_fill(without, float("-inf"))


@torch.no_grad()
def generate(
    vera: VeraModel,
    vocabulary: Vocabulary,
    prompts: Prompts,
    image: Tensor | None,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> list[Answer]:
    """`each` answers per prompt, in the order of the prompts.

    image: (B, t, H) image tokens, or None where the prompts have no place for them; generator: on
    the CPU, draws the tokens. An answer ends with the last retouch token or a token of the end.
    """
    decoder = vera.decoder
    embeds, real = _prefill_inputs(vera, prompts, image)
    caches = [_Cache() for _ in decoder.layers]
    positions = (real.long().cumsum(1) - 1).clamp_min(0)
    length = embeds.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    own = torch.eye(length, dtype=torch.bool, device=real.device)
    mask = ((causal & real[:, None, :]) | own)[:, None]
    state = _advance(decoder, embeds, positions, mask, caches)[:, -1]
    for cache in caches:
        cache.repeat_(sampling.each)
    state, real = (x.repeat_interleave(sampling.each, 0) for x in (state, real))
    following = real.long().sum(1)
    room = decoder.config.max_length - int(following.max())
    book = _Book(len(state), vocabulary, sampling, min(sampling.max_tokens, room))
    without = ruled_out(vera, vocabulary, sampling.forced)
    while True:
        tokens = book.choose(allowed_logits(vera, state, without), generator)
        if book.finished():
            return book.answers()
        real = torch.cat([real, real.new_ones(len(real), 1)], 1)
        x = decoder.embed(tokens.to(state.device))[:, None]
        state = _advance(decoder, x, following[:, None], real[:, None, None], caches)[:, 0]
        following = following + 1


class _Book:
    """What has been drawn so far, and which rows still go on."""

    def __init__(self, count: int, vocabulary: Vocabulary, sampling: Sampling, limit: int) -> None:
        self.vocabulary, self.sampling, self.limit = vocabulary, sampling, limit
        self.tokens: list[list[int]] = [[] for _ in range(count)]
        self.logp: list[list[float]] = [[] for _ in range(count)]
        self.ended = [False] * count

    def choose(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """One token per row (B,); rows that have ended get padding that is not kept."""
        t = self.sampling.temperature
        shares = torch.log_softmax(logits / (t or 1.0), -1).cpu()
        if t:
            drawn = torch.multinomial(shares.exp(), 1, generator=generator)[:, 0]
        else:
            drawn = shares.argmax(-1)
        for row in range(len(drawn)):
            if self.ended[row] or len(self.tokens[row]) >= self.limit:
                continue
            if self.sampling.forced:
                drawn[row] = self._forced(row, int(drawn[row]))
            token = int(drawn[row])
            self.tokens[row].append(token)
            self.logp[row].append(float(shares[row, token]))
            last = self.vocabulary.retouch[-1]
            self.ended[row] = token == last or token in self.vocabulary.end
        return drawn

    def _forced(self, row: int, token: int) -> int:
        retouch, said = self.vocabulary.retouch, self.tokens[row]
        begun = [t for t in said if t in retouch]
        over = len(said) + len(retouch) >= self.limit or token in self.vocabulary.end
        if begun or over or token in retouch:
            return retouch[len(begun)]
        return token

    def finished(self) -> bool:
        """True when no row goes on."""
        return all(e or len(t) >= self.limit for e, t in zip(self.ended, self.tokens, strict=True))

    def answers(self) -> list[Answer]:
        """The rows as answers."""
        return [Answer(*row) for row in zip(self.tokens, self.logp, self.ended, strict=True)]


def answer_row(
    vocabulary: Vocabulary, prompt: tuple[list[int], list[int]], tokens: list[int], image: int
) -> Row:
    """An answer as a row whose every generated token is wanted; its places are where the retouch
    tokens are emitted, or its last three where it has them not."""
    before, after = prompt
    start = before + [vocabulary.pad] * image + after
    last = len(start) - 1 + len(tokens)
    # an answer of one or two tokens has no three places: the first one stands in
    places = tuple(max(len(start) - 1, last - k) for k in (3, 2, 1))
    return Row(
        start + tokens[:-1],
        [IGNORED] * (len(start) - 1) + tokens,
        (len(before), image),
        places,
    )


def read_answers(
    vera: VeraModel,
    vocabulary: Vocabulary,
    prompts: Prompts,
    answers: Sequence[list[int]],
    image: Tensor | None,
) -> tuple[Tensor, Sequences]:
    """The decoder's states of prompts with their answers, with gradients, and their layout."""
    count = 0 if image is None else image.shape[1]
    rows = [answer_row(vocabulary, p, a, count) for p, a in zip(prompts, answers, strict=True)]
    laid = lay_out(rows, vocabulary.pad).to(vera.decoder.embedding.weight.device)
    return hidden_states(vera, laid, image), laid


def looks(
    vera: VeraModel,
    vocabulary: Vocabulary,
    prompts: Prompts,
    answers: Sequence[list[int]],
    image: Tensor | None,
) -> Tensor:
    """The latents (B, 3, L) of answers that end in the three retouch tokens."""
    hidden, laid = read_answers(vera, vocabulary, prompts, answers, image)
    assert laid.places is not None
    return vera.retouch_head(states_at(hidden, laid.places))
