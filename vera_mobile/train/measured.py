"""The samples of the measures stage: drawn once, answered by the model, read as states."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.language import DecoderLayer
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.adapters import round_weights_
from vera_mobile.train.batches import TASKS, Samples, SamplesConfig
from vera_mobile.train.loop import step_rng
from vera_mobile.train.rollout import Sampling, generate, read_answers
from vera_mobile.train.rows import (
    Row,
    hidden_states,
    lay_out,
    learned_tokens,
    plan_row,
    states_at,
    text_loss,
)  # fmt: skip

_AT_ONCE = 48  # samples whose states are computed together
_ANSWERED = 120  # that are answered together
_LONGEST = 100  # tokens of an own answer
_WORDS_SEED = 7_000_003


@dataclass(frozen=True)
class WordsConfig(SamplesConfig):
    """Settings of the words: steps and peak learning rate of the decoder's layers; words_good:
    share of good photos among the auto samples that words are learned from. `batch` counts the auto
    samples of a step, beside a third as many of the other tasks."""

    words_steps: int = 0
    words_lr: float = 5e-4
    words_good: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.words_good < 1:
            raise InvalidArgument(f"words_good is {self.words_good}: use 0 to 1, the ends left out")


OnWork = Callable[[str, int, int], None]
"""Told (what, done, of) while samples, words, states and answers are made."""


@dataclass(frozen=True)
class Drawn:
    """Samples of one task: token ids of prompts and answers, whether an answer is true of its
    sample, image tokens (k, t, H) float16 or None, before and target (k, N, 3) uint8."""

    prompts: list[tuple[list[int], list[int]]]
    answers: list[list[int]]
    true: list[bool]
    image: Tensor | None
    before: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, chosen: list[int]) -> Drawn:
        """Some of them."""
        return Drawn(
            [self.prompts[i] for i in chosen], [self.answers[i] for i in chosen],
            [self.true[i] for i in chosen], None if self.image is None else self.image[chosen],
            self.before[chosen], self.target[chosen],
        )  # fmt: skip


@torch.no_grad()
def draw(vera: VeraModel, samples: Samples, count: int, on_work: OnWork) -> list[Drawn]:
    """At least `count` samples of each task, in the order of TASKS."""
    n = samples.config.batch
    parts: list[list[Drawn]] = [[] for _ in TASKS]
    for step in range(-(-count // n)):
        batch = samples.draw(step)
        image = vera.encode_image(batch.pictures.permute(0, 3, 1, 2)).half()
        codes = [(x * 255).round().to(torch.uint8) for x in (batch.before, batch.target)]
        for task, part in enumerate(parts):
            own = slice(task * n, (task + 1) * n)
            part.append(
                Drawn(
                    batch.prompts[own],
                    batch.answers[own],
                    batch.learn[own],
                    image[own] if task < 2 else None,
                    codes[0][own],
                    codes[1][own],
                )
            )
        on_work("samples", min(count, (step + 1) * n), count)
    return [_joined(part) for part in parts]


def _joined(parts: list[Drawn]) -> Drawn:
    images = [p.image for p in parts if p.image is not None]
    return Drawn(
        [x for p in parts for x in p.prompts], [x for p in parts for x in p.answers],
        [x for p in parts for x in p.true], torch.cat(images) if images else None,
        torch.cat([p.before for p in parts]), torch.cat([p.target for p in parts]),
    )  # fmt: skip


def _rows(vocabulary: Vocabulary, drawn: Drawn) -> list[Row]:
    count = 0 if drawn.image is None else drawn.image.shape[1]
    return [
        plan_row(vocabulary, prompt, answer, true, count)
        for prompt, answer, true in zip(drawn.prompts, drawn.answers, drawn.true, strict=True)
    ]


def _image(drawn: Drawn) -> Tensor | None:
    return None if drawn.image is None else drawn.image.float()


def learn_words_(
    vera: VeraModel, vocabulary: Vocabulary, drawn: list[Drawn], config: WordsConfig, seed: int,
    on_work: OnWork,
) -> None:  # fmt: skip
    """Trains the decoder's layers on the true answers of the samples, so that words are right
    behind prompts with measures too; tokens and the way of the measures stay as they are."""
    shares = [shares_of(part, config.words_good if task == "auto" else None)
              for task, part in zip(TASKS, drawn, strict=True)]  # fmt: skip
    steps, rate = config.words_steps, config.words_lr
    if not steps or not all(share.any() for share in shares):
        return
    layers = vera.decoder.layers
    kept = _way(vera)
    before = [p.detach()[s].clone() for p, s in kept]
    optimizer = torch.optim.AdamW(layers.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0)
    for step in range(steps):
        rng = step_rng(seed + _WORDS_SEED, step)
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (0.02 + 0.98 * fall)
        optimizer.zero_grad()
        for task, part in enumerate(drawn):
            count = config.batch if task == 0 else -(-config.batch // 3)
            chosen = rng.choice(len(part), count, p=shares[task])
            _words_loss(vera, vocabulary, part.part(chosen.tolist())).backward()
        nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for (parameter, where), value in zip(kept, before, strict=True):
                parameter[where] = value
        on_work("words", step + 1, steps)


def shares_of(drawn: Drawn, good: float | None) -> np.ndarray:
    """(k,) how often each sample is learned from: those with a true answer, and of these as large
    a share of photos that are to be left alone as `good` says (None: as they come)."""
    known = np.array([t and bool(a) for t, a in zip(drawn.true, drawn.answers, strict=True)])
    shares = known / max(1, known.sum())
    alone = (drawn.before.int() - drawn.target.int()).abs().amax((1, 2)).numpy() <= 1
    there = (known & alone).sum() * (known & ~alone).sum()
    if good is None or not there:
        return shares
    return (
        np.where(alone, good / (known & alone).sum(), (1 - good) / (known & ~alone).sum()) * known
    )


def _words_loss(vera: VeraModel, vocabulary: Vocabulary, drawn: Drawn) -> Tensor:
    rows = _rows(vocabulary, drawn)
    laid = lay_out(rows, vocabulary.pad)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = hidden_states(vera, laid, _image(drawn))
        return text_loss(vera, hidden, laid.wanted) / (len(TASKS) * learned_tokens(rows))


def _way(vera: VeraModel) -> list[tuple[Tensor, tuple[slice, ...]]]:
    """The numbers of the first layer that carry the measures, see `grow`."""
    layer = vera.decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    attention = layer.attention
    keys = slice((attention.kv_heads - 1) * attention.head_dim, None)
    asks = slice((attention.kv_heads - 1) * attention.head_dim * attention.groups, None)
    rows: list[tuple[Tensor, tuple[slice, ...]]] = []
    for linear, where in ((attention.q_proj, asks), (attention.k_proj, keys),
                          (attention.v_proj, keys)):  # fmt: skip
        rows += [(linear.weight, (where,)), (linear.bias, (where,))]
    every = slice(None)
    return [
        *rows,
        (attention.o_proj.weight, (every, asks)),
        (layer.attention_norm.weight, (every,)),
    ]


@torch.no_grad()
def states_of(
    vera: VeraModel, vocabulary: Vocabulary, drawn: Drawn, on_work: OnWork = lambda *_: None
) -> Tensor:
    """(k, 3, H): the states that emit the retouch tokens behind the samples' answers. Samples of
    about the same length are computed together, for padding costs as much as words."""
    order = np.argsort([len(a) for a in drawn.answers], kind="stable").tolist()
    states = torch.empty(len(drawn), 3, vera.config.language.hidden_size)
    for k in range(0, len(order), _AT_ONCE):
        some = order[k : k + _AT_ONCE]
        part = drawn.part(some)
        laid = lay_out(_rows(vocabulary, part), vocabulary.pad)
        assert laid.places is not None
        states[some] = states_at(hidden_states(vera, laid, _image(part)), laid.places)
        on_work("states", min(len(order), k + _AT_ONCE), len(order))
    return states


@torch.no_grad()
def own_states(vera: VeraModel, vocabulary: Vocabulary, drawn: Drawn, on_work: OnWork) -> Tensor:
    """As `states_of`, behind what the model itself says."""
    sampling = Sampling(temperature=0.0, forced=True, max_tokens=_LONGEST)
    found = []
    for k in range(0, len(drawn), _ANSWERED):
        part = drawn.part(list(range(k, min(len(drawn), k + _ANSWERED))))
        image = _image(part)
        answers = [a.tokens for a in generate(vera, vocabulary, part.prompts, image, sampling)]
        hidden, laid = read_answers(vera, vocabulary, part.prompts, answers, image)
        assert laid.places is not None
        found.append(states_at(hidden, laid.places))
        on_work("own answers", k + len(part), len(drawn))
    return torch.cat(found)


def rounding_of(
    vera: VeraModel, vocabulary: Vocabulary, drawn: Drawn, states: Tensor, count: int
) -> Tensor:
    """(count, 3, H): what decoder weights of 4 bits change in the states of the first samples."""
    count = min(count, len(drawn))
    rounded = copy.deepcopy(vera)
    round_weights_(rounded.decoder.layers)
    return states_of(rounded, vocabulary, drawn.part(list(range(count)))) - states[:count]
