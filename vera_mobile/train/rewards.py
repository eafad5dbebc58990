"""What an answer is worth: its form, the likeness of its photo to the target, its looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train.answers import is_well_formed
from vera_mobile.train.scorer import Scorer

BINS = 8  # per channel


@dataclass(frozen=True)
class Drawn:
    """Answers and the photos that they make.

    tasks: "auto", "style" or "param"; tokens, ended: of each answer; before, target, out:
    (B, N, 3) encoded sRGB in [0, 1], out is `before` where an answer has no look; pictures: those
    of the auto answers before and after, (A, s, s, 3) each, in the order of the answers.
    """

    vocabulary: Vocabulary
    tasks: Sequence[str]
    tokens: Sequence[list[int]]
    ended: Sequence[bool]
    before: Tensor
    target: Tensor
    out: Tensor
    pictures: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the rewards; max_tokens, overlong: an answer loses up to 1 over its last
    `overlong` tokens before max_tokens; similarity_slack: how much less like the target than the
    untouched photo an edit may be before its looks count nothing."""

    format_weight: float = 0.5
    similarity_weight: float = 1.0
    aesthetic_weight: float = 0.5
    max_tokens: int = 120
    overlong: int = 16
    similarity_slack: float = 0.0


class Rewards:
    """The rewards of the auto, style and param tasks; see `RewardConfig`."""

    def __init__(self, config: RewardConfig, scorer: Scorer | None) -> None:
        self.config, self.scorer = config, scorer

    @torch.no_grad()
    def __call__(self, drawn: Drawn) -> dict[str, Tensor]:
        """`reward` (B,) and its parts, each (B,) on the CPU.

        The looks count only in the auto task, and only where the edit is no less like the target
        than the untouched photo is: an edit cannot buy a score with likeness.
        """
        c = self.config
        form = torch.tensor([
            form_of(drawn.vocabulary, tokens, task)
            for tokens, task in zip(drawn.tokens, drawn.tasks, strict=True)
        ])  # fmt: skip
        likeness = similarity(drawn.out, drawn.target).cpu()
        alone = similarity(drawn.before, drawn.target).cpu()
        looks = self._looks(drawn) * (likeness >= alone - c.similarity_slack)
        length = torch.tensor([len(tokens) for tokens in drawn.tokens])
        over = overlong(length, torch.tensor(drawn.ended), c.max_tokens, c.overlong)
        # an answer without a look is the untouched photo: its likeness is no merit
        has_look = form >= 0.5
        reward = (c.format_weight * form + c.similarity_weight * likeness * has_look
                  + c.aesthetic_weight * looks * has_look + over)  # fmt: skip
        return {"reward": reward, "format": form, "similarity": likeness, "aesthetic": looks,
                "overlong": over}  # fmt: skip

    def _looks(self, drawn: Drawn) -> Tensor:
        auto = torch.tensor([task == "auto" for task in drawn.tasks])
        out = torch.zeros(len(auto))
        if self.scorer is not None and auto.any():
            before, after = drawn.pictures
            out[auto] = torch.sigmoid(self.scorer(after) - self.scorer(before)).float().cpu()
        return out


def form_of(vocabulary: Vocabulary, tokens: Sequence[int], task: str) -> float:
    """1 for the tags and the three retouch tokens in order, 0.5 for these tokens alone, else 0."""
    retouch = list(vocabulary.retouch)
    if list(tokens[-3:]) != retouch or set(tokens[:-3]) & set(retouch):
        return 0.0
    return 1.0 if is_well_formed(vocabulary, tokens, task) else 0.5


def histograms(rgb: Tensor) -> Tensor:
    """Shares (B, 512) of pixels (B, N, 3), encoded RGB in [0, 1], in 8 x 8 x 8 colours."""
    level = (rgb.clamp(0, 1) * BINS).long().clamp_max(BINS - 1)
    place = (level[..., 0] * BINS + level[..., 1]) * BINS + level[..., 2]
    counts = torch.zeros(len(rgb), BINS**3, device=rgb.device)
    return counts.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float32)) / rgb.shape[1]


def similarity(out: Tensor, target: Tensor) -> Tensor:
    """(B,) in [0, 1]: the mean of 1 - L1 and of the cosine of the colour histograms; (B, N, 3)."""
    near = 1 - (out.clamp(0, 1) - target).abs().mean((1, 2))
    return 0.5 * near + 0.5 * F.cosine_similarity(histograms(out), histograms(target))


def overlong(length: Tensor, ended: Tensor, limit: int, buffer: int) -> Tensor:
    """(B,) in [-1, 0]: 0 up to limit - buffer tokens, then falling to -1 at the limit; -1 for an
    answer that was cut (soft overlong punishment, DAPO, arXiv 2503.14476)."""
    if not buffer:
        return -(~ended).float()
    soft = -((length - (limit - buffer)).clamp(0, buffer) / buffer)
    return torch.where(ended, soft, -torch.ones_like(soft))
