"""Between plan runs: the retouch head learns to read the measures of the prompt.

A checkpoint without them first grows their tokens and an attention head that carries them to the
states that the retouch head reads (`train.grow`). All else is frozen, so the states of all samples
are made once and drawn from many times: minutes on one core, and no word changes. The other tasks
are there to be kept: their latents stay near those of the head that the run starts from.

The states' variances along their principal axes span seven decades, and the measures lie on weak
axes: the head's first layer learns on states whose axes have been made equal, and takes that up at
the end. Without it the gain on held-out photos was 3.5 dB after 300 steps, with it 5.0 after 200.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.head import RetouchHead
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import TASKS, Batch, Samples, SamplesConfig
from vera_mobile.train.loop import Run, step_rng
from vera_mobile.train.parallel import ALONE, Group
from vera_mobile.train.plan import OnStep, log_error, mean_square
from vera_mobile.train.renderer import pixel_loss
from vera_mobile.train.rows import Row, hidden_states, lay_out, plan_row, states_at
from vera_mobile.train.stage import VeraStage, take_weights_

_DRAWN = 14  # samples of a task that are made at once
_SEEN = 128  # pixels of a sample in a step; others in each


@dataclass(frozen=True)
class MeasuresConfig(SamplesConfig):
    """Settings of the stage; `batch` counts auto samples of a step, beside a fifth as many style
    and a third as many param samples.

    made: samples of each task that are made before the first step. auto_weight: of its pixels;
    psnr_weight: as in `PlanConfig`; keep_weight: of the distance to the latents of the first head,
    for style and param; noise: standard deviation of what is added to the states, in units of an
    axis; least_variance: axes with less are not made equal.
    """

    made: int = 4000
    auto_weight: float = 1.5
    psnr_weight: float = 0.3
    keep_weight: float = 0.5
    noise: float = 0.03
    least_variance: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.made < self.batch:
            raise InvalidArgument(f"made is {self.made}: use at least batch, {self.batch}")


@dataclass(frozen=True)
class Made:
    """Samples of one task: states (k, 3, H) that emit the retouch tokens; before, target
    (k, N, 3) uint8."""

    states: Tensor
    before: Tensor
    target: Tensor


@torch.no_grad()
def make(
    vera: VeraModel, samples: Samples, count: int, on_made: Callable[[int], None]
) -> list[Made]:
    """At least `count` samples of each task, in the order of TASKS."""
    parts: list[list[Made]] = [[] for _ in TASKS]
    n = samples.config.batch
    for step in range(-(-count // n)):
        batch = samples.draw(step)
        image = vera.encode_image(batch.pictures.permute(0, 3, 1, 2))
        codes = [(x * 255).round().to(torch.uint8) for x in (batch.before, batch.target)]
        for task, part in enumerate(parts):
            own = list(range(task * n, (task + 1) * n))
            states = _states(vera, samples.vocabulary, batch, own, image)
            part.append(Made(states, codes[0][own], codes[1][own]))
        on_made(min(count, (step + 1) * n))
    return [
        Made(*(torch.cat([getattr(m, f) for m in part]) for f in ("states", "before", "target")))
        for part in parts
    ]


def _states(
    vera: VeraModel, vocabulary: Vocabulary, batch: Batch, own: list[int], image: Tensor
) -> Tensor:
    """Those with words are computed apart from those without: padding costs as much as words."""
    found: dict[int, Tensor] = {}
    for spoken in (False, True):
        some = [i for i in own if bool(batch.answers[i]) == spoken]
        if not some:
            continue
        seen = image[some] if own[0] < 2 * batch.n else None
        count = 0 if seen is None else seen.shape[1]
        rows: list[Row] = [
            plan_row(vocabulary, batch.prompts[i], batch.answers[i], False, count) for i in some
        ]
        laid = lay_out(rows, vocabulary.pad)
        assert laid.places is not None
        states = states_at(hidden_states(vera, laid, seen), laid.places)
        found |= dict(zip(some, states, strict=True))
    return torch.stack([found[i] for i in own])


class Axes:
    """The principal axes of states; `equal` gives states (k, 3, H) in which their variances are 1,
    `into_` and `out_of_` rewrite a head for such states and back."""

    def __init__(self, made: list[Made], least: float) -> None:
        states = torch.cat([part.states for part in made]).flatten(1)
        self.mean = states.mean(0)
        centred = states - self.mean
        variance, self.turn = torch.linalg.eigh(centred.T @ centred / len(states))
        self.scale = (variance.clamp_min(0) + least).sqrt()

    def equal(self, states: Tensor) -> Tensor:
        """The states as the rewritten head takes them."""
        return (((states.flatten(1) - self.mean) @ self.turn) / self.scale).view_as(states)

    @torch.no_grad()
    def into_(self, head: RetouchHead) -> None:
        """Rewrites the head's first layer for `equal` states."""
        head.first.bias.add_(head.first.weight @ self.mean)
        head.first.weight.copy_((head.first.weight @ self.turn) * self.scale)

    @torch.no_grad()
    def out_of_(self, head: RetouchHead) -> None:
        """Rewrites it for states as they are."""
        head.first.weight.copy_((head.first.weight / self.scale) @ self.turn.T)
        head.first.bias.sub_(head.first.weight @ self.mean)


def losses(
    vera: VeraModel, first: nn.Module, made: list[Made], config: MeasuresConfig, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a step, and PSNR in dB for the log. first: the head that the run started from."""
    rng = step_rng(config.seed, step)
    total, figures = torch.zeros(()), {}
    for task, part in zip(TASKS, made, strict=True):
        count = {"auto": config.batch, "style": -(-config.batch // 5)}.get(
            task, -(-config.batch // 3)
        )
        chosen = torch.from_numpy(rng.integers(0, len(part.states), count))
        states = part.states[chosen]
        states = states + config.noise * torch.randn_like(states)
        where = torch.from_numpy(rng.integers(0, part.before.shape[1], _SEEN))
        before, target = (x[chosen][:, where].float() / 255 for x in (part.before, part.target))
        latents = vera.retouch_head(states)
        out = vera.renderer(before, latents, clamp=False)
        if task == "auto":
            total = total + 4 * config.auto_weight * pixel_loss(out, target)
            total = total + config.psnr_weight * log_error(out, target)
            figures["alone_psnr"] = _psnr(before, target)
        else:
            with torch.no_grad():
                known = first(states)
            kept = (latents - known).square().mean() / mean_square(known)
            total = total + 4 * pixel_loss(out, target) + config.keep_weight * kept
        figures[f"{task}_psnr"] = _psnr(out, target)
    return total, figures


@torch.no_grad()
def _psnr(out: Tensor, target: Tensor) -> Tensor:
    error = (out.clamp(0, 1) - target).square().mean((1, 2)).clamp_min(1e-6)
    return (-10 * error.log10()).mean()


def freeze_(model: VeraStage) -> None:
    """Only the retouch head learns."""
    model.vera.requires_grad_(False)
    model.vera.retouch_head.requires_grad_(True)


def train_measures(
    pool: Tensor | None,
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    config: MeasuresConfig,
    out: Path,
    on_step: OnStep | None = None,
    group: Group = ALONE,
    *,
    on_made: Callable[[int], None] = lambda count: None,
) -> VeraModel:
    """Trains on `pool` (n, s, s, 3) uint8; resumes from `out`, whose samples are made again.

    Raises InvalidArgument without photos, without `init`, and for a vocabulary without measures.
    """
    if pool is None:
        raise InvalidArgument("measures learns from photos: give --photos DIR")
    if not config.init or not vocabulary.measures:
        raise InvalidArgument(
            "measures starts from a checkpoint whose tokenizer has measure tokens: `vera train "
            "measures --init CHECKPOINT` makes one"
        )
    torch.manual_seed(config.seed)
    model = VeraStage(model_config)
    take_weights_(model, Path(config.init))
    freeze_(model)
    vera = model.eval().vera
    first = copy.deepcopy(vera.retouch_head).requires_grad_(False)
    # the state is the head's alone, in the form that learns: a later run starts at the checkpoint.
    # Made first, for it sets the threads that states are computed with.
    shape = model_config.to_dict()
    run = Run(out, config, vera.retouch_head, stage="measures", model=shape, group=group)
    drawn = replace(config, batch=min(_DRAWN, config.batch))
    samples = Samples(pool, vocabulary, drawn, model_config.vision.image_size)
    made = make(vera, samples, config.made, on_made)
    axes = Axes(made, config.least_variance)
    made = [replace(part, states=axes.equal(part.states)) for part in made]
    for head in (first, vera.retouch_head):
        axes.into_(head)
    start = run.resume()
    for step in range(start, config.steps):
        loss, figures = losses(vera, first, made, config, step)
        run.step(step, loss)
        values = {"loss": loss.item(), **{k: v.item() for k, v in figures.items()}}
        run.finish_step(step + 1, values)
        if on_step:
            on_step(step + 1, values)
    axes.out_of_(vera.retouch_head)
    return vera
