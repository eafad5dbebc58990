"""The samples of plan and rl: three tasks in equal parts, made from photos and a seed.

For a quarter of the samples the answer text is that of another one, for 30 % there is none, and
neither is learned: the latents must come from the photo and the wish, not from words that are true
in training and only guessed later.
Without it (measured at step 1200) the param task fell from 32.8 dB with true to 28.3 dB with
generated text, no better than leaving the photo alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vera_mobile.develop.operators import develop
from vera_mobile.errors import InvalidArgument
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train.answers import answer_ids
from vera_mobile.train.data import (
    crop,
    degradation,
    develop_picture,
    pick_pixels,
    quantize8,
    slider_set,
)
from vera_mobile.train.loop import StageConfig, step_rng
from vera_mobile.train.styles import AMOUNTS, draw, wording
from vera_mobile.train.words import describe, measure

TASKS = ("auto", "style", "param")
Wish = str | np.ndarray | None
"""What a sample asks for: words (style), sliders (38,) in percent (param), or nothing (auto)."""
_FAR = 10_000_019  # steps apart: draws of one step never meet those of another


@dataclass(frozen=True)
class SamplesConfig(StageConfig):
    """Settings of the samples; `batch` counts samples per task, of all processes together.

    good_share: auto samples whose photo is left good; noise_codes: largest noise on the pictures,
    in 8-bit codes; measured_pixels: pixels that the words are measured on. shards: folder that
    `vera data build` wrote, read instead of photos ("": photos); shard_text: which of its labelled
    answers is learned, "brief" or "full".
    """

    good_share: float = 0.15
    foreign_text_share: float = 0.25
    no_text_share: float = 0.3
    noise_codes: float = 1.5
    measured_pixels: int = 400
    shards: str = ""
    shard_text: str = "brief"


@dataclass(frozen=True)
class Batch:
    """Samples, tasks in the order of TASKS, n each.

    pictures: (2n, S, S, 3) of auto and style; before/target: (3n, N, 3); sliders: (3n, 38) percent
    (auto: of the degradation); prompts, answers: token ids; learn: whether the text is learned.
    """

    pictures: Tensor
    before: Tensor
    target: Tensor
    sliders: Tensor
    prompts: list[tuple[list[int], list[int]]]
    answers: list[list[int]]
    learn: list[bool]

    @property
    def n(self) -> int:
        """Samples per task."""
        return len(self.answers) // 3

    def part(self, index: int, count: int) -> Batch:
        """Every `count`-th sample of each task from `index` on: one of `count` equal parts.

        Raises InvalidArgument when they would not be equal.
        """
        if count == 1:
            return self
        if self.n % count:
            raise InvalidArgument(
                f"batch is {self.n} per task: use a multiple of {count} (processes x accumulate)"
            )
        chosen = [i for i in range(3 * self.n) if i % self.n % count == index]
        pictured = [i for i in chosen if i < 2 * self.n]
        return Batch(
            self.pictures[pictured], self.before[chosen], self.target[chosen],
            self.sliders[chosen], [self.prompts[i] for i in chosen],
            [self.answers[i] for i in chosen], [self.learn[i] for i in chosen],
        )  # fmt: skip

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        if device.type == "cpu":
            return self
        return Batch(self.pictures.to(device), self.before.to(device), self.target.to(device),
                     self.sliders.to(device), self.prompts, self.answers, self.learn)  # fmt: skip


def prompt_of(
    vocabulary: Vocabulary, wish: Wish, picture: Tensor | None
) -> tuple[list[int], list[int]]:
    """Token ids before and after the image; picture: (S, S, 3) in [0, 1] as the tower gets it,
    None for sliders."""
    if isinstance(wish, np.ndarray):
        prompt = vocabulary.param(wish)
    else:
        seen = None if picture is None else picture.cpu().numpy().transpose(2, 0, 1)
        prompt = vocabulary.auto(seen) if wish is None else vocabulary.style(wish, seen)
    return list(prompt.before), list(prompt.after)


class Samples(Dataset[Batch]):
    """Batches by step number: the same seed and step give the same batch on every machine.

    pool: (n, s, s, 3) uint8, s = 1.125 size; size: side of the pictures in pixels.
    """

    def __init__(
        self, pool: Tensor, vocabulary: Vocabulary, config: SamplesConfig, size: int
    ) -> None:
        self.pool, self.vocabulary, self.config, self.size = pool, vocabulary, config, size

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Batch:
        return self.draw(step)

    def draw(self, step: int, attempt: int = 0) -> Batch:
        """The batch of a step; another one of the same step for each attempt."""
        rng = step_rng(self.config.seed, step + attempt * _FAR)
        n, c = self.config.batch, self.config
        pictures = [crop(self.pool, int(rng.integers(len(self.pool))), self.size, rng)
                    for _ in range(3 * n)]  # fmt: skip
        wishes, sliders = self._tasks(rng, n)
        pixels = torch.stack([pick_pixels(p, c.pixels, rng) for p in pictures])
        edited = develop(pixels, sliders)
        before = torch.cat([quantize8(edited[:n]), pixels[n:]])
        target = torch.cat([pixels[:n], edited[n:]])
        shown = torch.stack(pictures[: 2 * n])
        shown[:n] = develop_picture(shown[:n], sliders[:n])
        shown = noisy(shown, c.noise_codes, rng)
        own = [self._answer(before[i], target[i], TASKS[i // n], rng) for i in range(3 * n)]
        answers, learn = self._exchanged(own, rng)
        seen = [*shown, *[None] * n]
        prompts = [prompt_of(self.vocabulary, w, p) for w, p in zip(wishes, seen, strict=True)]
        return Batch(shown, before, target, sliders, prompts, answers, learn)

    def _tasks(self, rng: np.random.Generator, n: int) -> tuple[list[Wish], Tensor]:
        wishes: list[Wish] = []
        sliders = []
        for _ in range(n):
            good = rng.random() < self.config.good_share
            sliders.append(np.zeros(38, np.float32) if good else degradation(rng))
            wishes.append(None)
        for _ in range(n):
            style, amount = draw(rng), float(rng.choice(list(AMOUNTS)))
            sliders.append(style.vector(amount))
            wishes.append(wording(style, amount, rng))
        for _ in range(n):
            sliders.append(slider_set(rng))
            wishes.append(sliders[-1])
        return wishes, torch.from_numpy(np.stack(sliders))

    def _answer(self, before: Tensor, target: Tensor, task: str, rng: np.random.Generator
                ) -> list[int]:  # fmt: skip
        m = self.config.measured_pixels
        text = describe(measure(before[:m].numpy()), measure(target[:m].numpy()), task, rng)
        return answer_ids(self.vocabulary, text)

    def _exchanged(
        self, own: list[list[int]], rng: np.random.Generator
    ) -> tuple[list[list[int]], list[bool]]:
        """Some answers replaced by another sample's or by none, and which are learned."""
        n, c = self.config.batch, self.config
        answers, learn = list(own), [True] * (3 * n)
        for i in range(3 * n):
            kind = rng.random()
            if kind < c.foreign_text_share + c.no_text_share:
                foreign = kind < c.foreign_text_share
                answers[i] = own[i // n * n + int(rng.integers(n))] if foreign else []
                learn[i] = False
        return answers, learn


def samples_of(
    pool: Tensor | None,
    vocabulary: Vocabulary,
    config: SamplesConfig,
    size: int,
    split: str = "train",
) -> Samples:
    """The samples of a run: of a pool of photos, or of a split of the config's shards.

    Raises InvalidArgument where there is neither, and what reading shards raises.
    """
    if not config.shards:
        if pool is None:
            raise InvalidArgument("nothing to learn from: give photos or shards")
        return Samples(pool, vocabulary, config, size)
    from vera_mobile.train.engine.reader import Shards, ShardSamples

    shards = Shards(config.shards, split)
    text: Any = config.shard_text
    return ShardSamples(shards, vocabulary, config, size, text=text)


def has_split(shards: str, split: str) -> bool:
    """True where a folder holds finished shards of a split."""
    from vera_mobile.train.engine.build import index_name

    return (Path(shards) / index_name(split)).is_file()


def noisy(pictures: Tensor, codes: float, rng: np.random.Generator) -> Tensor:
    """Pictures with noise of a random size up to `codes`, in 8 bits: no trace of an edit is left
    but its colours. Draws from torch's generator, which `step_rng` has seeded."""
    noise = torch.randn(pictures.shape) * (float(rng.uniform(0, codes)) / 255)
    return quantize8((pictures + noise).clamp(0, 1))


def one_thread(_: int) -> None:
    """One thread for a loader: the model has the others."""
    torch.set_num_threads(1)


def batches(samples: Dataset[Batch], start: int, steps: int) -> Iterator[Batch]:
    """The batches of steps start..steps - 1, made ahead by a process of their own."""
    loader: DataLoader[Batch] = DataLoader(
        samples, batch_size=None, sampler=range(start, steps), num_workers=1,
        prefetch_factor=3, worker_init_fn=one_thread,
    )  # fmt: skip
    return iter(loader)
