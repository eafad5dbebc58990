"""Drawing groups of answers and making their photos, for reinforcement learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import TASKS, Batch, Samples
from vera_mobile.train.examples import render_pictures
from vera_mobile.train.plan import group_mask
from vera_mobile.train.rewards import Drawn, form_of
from vera_mobile.train.rollout import Answer, Prompts, Sampling, generate, looks

if TYPE_CHECKING:
    from vera_mobile.train.rl import RLConfig

SCORED_SIDE = 96  # pixels: scorers see small pictures


@dataclass
class Draw:
    """Answers of one kind (with a picture or without), groups one after the other.

    image: (B, t, H) image tokens or None; mask: (B, 3, 1) of the groups that are on; has_look: (B,)
    bool; rewards and advantage: (B,) each, put in when they are known.
    """

    prompts: Prompts
    image: Tensor | None
    judged: Drawn
    logp: list[list[float]]
    mask: Tensor
    has_look: Tensor
    rewards: dict[str, Tensor] = field(default_factory=dict)
    advantage: Tensor = field(default_factory=lambda: torch.zeros(0))

    def rows(self, chosen: list[int]) -> Draw:
        """Some of the answers; their pictures, needed for rewards only, are left behind."""
        j = self.judged
        picked = Drawn(
            j.vocabulary, [j.tasks[i] for i in chosen], [j.tokens[i] for i in chosen],
            [j.ended[i] for i in chosen], j.before[chosen], j.target[chosen], j.out[chosen],
            (j.pictures[0][:0], j.pictures[1][:0]),
        )  # fmt: skip
        return Draw(
            [self.prompts[i] for i in chosen],
            None if self.image is None else self.image[chosen],
            picked, [self.logp[i] for i in chosen], self.mask[chosen], self.has_look[chosen],
            {k: v[chosen] for k, v in self.rewards.items()}, self.advantage[chosen],
        )  # fmt: skip

    def groups(self, size: int) -> list[Draw]:
        """The groups whose advantages are not all zero."""
        starts = range(0, len(self.prompts), size)
        found = [list(range(s, s + size)) for s in starts]
        return [self.rows(g) for g in found if bool(self.advantage[g].any())]


def joined(draws: list[Draw], limit: int) -> Iterator[Draw]:
    """The answers of all draws, up to `limit` at a time; those with pictures apart from others."""
    for pictured in (True, False):
        kind = [d for d in draws if (d.image is not None) == pictured]
        if kind:
            whole = _merged(kind)
            for start in range(0, len(whole.prompts), limit):
                yield whole.rows(list(range(start, min(start + limit, len(whole.prompts)))))


def _merged(draws: list[Draw]) -> Draw:
    """Draws of one kind as one; rewards and pictures are left behind."""
    all_of = [d.judged for d in draws]
    first = all_of[0]
    judged = Drawn(
        first.vocabulary,
        [t for j in all_of for t in j.tasks],
        [t for j in all_of for t in j.tokens],
        [e for j in all_of for e in j.ended],
        torch.cat([j.before for j in all_of]),
        torch.cat([j.target for j in all_of]),
        torch.cat([j.out for j in all_of]),
        (first.pictures[0][:0], first.pictures[1][:0]),
    )
    images = [d.image for d in draws if d.image is not None]
    return Draw(
        [p for d in draws for p in d.prompts],
        torch.cat(images) if images else None,
        judged,
        [p for d in draws for p in d.logp],
        torch.cat([d.mask for d in draws]),
        torch.cat([d.has_look for d in draws]),
        {},
        torch.cat([d.advantage for d in draws]),
    )


@torch.no_grad()
def draw_group(
    vera: VeraModel, samples: Samples, config: RLConfig, step: int, attempt: int
) -> list[Draw]:
    """`group` answers to each prompt of a fresh batch: those with a picture, and those without."""
    batch = samples.draw(step, attempt).to(next(vera.parameters()).device)
    generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 101 + attempt)
    sampling = Sampling(config.temperature, config.max_tokens, config.group)
    made = []
    for pictured in (True, False):
        answers, kind = draw_answers(vera, samples, batch, pictured, sampling, generator)
        made.append(made_photos(vera, samples, batch, kind, answers, config.group))
    return made


@dataclass(frozen=True)
class Kind:
    """Samples of one kind in a batch: their numbers, prompts, image tokens (None: no picture)."""

    numbers: list[int]
    prompts: Prompts
    image: Tensor | None


def draw_answers(
    vera: VeraModel,
    samples: Samples,
    batch: Batch,
    pictured: bool,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> tuple[list[Answer], Kind]:
    """Answers to the prompts of a batch that have a picture, or to those that have none."""
    n = batch.n
    numbers = list(range(2 * n) if pictured else range(2 * n, 3 * n))
    prompts = [batch.prompts[i] for i in numbers]
    image = vera.encode_image(batch.pictures.permute(0, 3, 1, 2)) if pictured else None
    kind = Kind(numbers, prompts, image)
    return generate(vera, samples.vocabulary, prompts, image, sampling, generator), kind


def made_photos(
    vera: VeraModel, samples: Samples, batch: Batch, kind: Kind, answers: list[Answer], each: int
) -> Draw:
    """The photos of answers, `each` to a prompt; one without a look leaves its photo alone."""
    vocabulary = samples.vocabulary
    index = [i for i in range(len(kind.numbers)) for _ in range(each)]
    numbers = [kind.numbers[i] for i in index]
    prompts = [kind.prompts[i] for i in index]
    image = None if kind.image is None else kind.image[index]
    tasks = [TASKS[i // batch.n] for i in numbers]
    tokens = [a.tokens for a in answers]
    has_look = torch.tensor([form_of(vocabulary, t, task) > 0
                             for t, task in zip(tokens, tasks, strict=True)])  # fmt: skip
    mask = group_mask(vocabulary, batch)[numbers]
    latents = looks(vera, vocabulary, prompts, tokens, image) * mask
    before, target = batch.before[numbers], batch.target[numbers]
    device = before.device
    out = torch.where(has_look.to(device)[:, None, None], vera.renderer(before, latents), before)
    auto = [k for k, task in enumerate(tasks) if task == "auto"]
    shown = after = before.new_zeros(0, 1, 1, 3)
    if auto:
        shown = small(batch.pictures[[numbers[k] for k in auto]])
        edited = render_pictures(vera.renderer, shown, latents[auto])
        after = torch.where(has_look.to(device)[auto][:, None, None, None], edited, shown)
    judged = Drawn(
        vocabulary, tasks, tokens, [a.ended for a in answers], before, target, out, (shown, after)
    )
    return Draw(prompts, image, judged, [a.logp for a in answers], mask, has_look)


def small(pictures: Tensor) -> Tensor:
    """Pictures (B, S, S, 3) no larger than a scorer needs them."""
    side = min(SCORED_SIDE, pictures.shape[1])
    x = F.adaptive_avg_pool2d(pictures.permute(0, 3, 1, 2), side)
    return x.permute(0, 2, 3, 1)
