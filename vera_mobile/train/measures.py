"""After plan runs: the words, then the retouch head, learn to read the measures of the prompt.

A checkpoint without them first grows their tokens and an attention head that carries them to the
states that the retouch head reads (`train.grow`). Samples are drawn once. The decoder's layers
learn their words anew, for twenty more tokens in the prompt disturb them; then all but the head is
frozen, so the states of all samples are made once and drawn from many times: minutes, not hours.

The head learns on what a phone will give it: behind true words, words of other samples, none and
the model's own; with what 4-bit weights change in the states; and with its first layer's weights
and inputs rounded to 8 bits. The states' variances along their principal axes span decades: the
first layer learns on axes that have been made equal, and takes that up at the end. Without it the
gain on held-out photos was 3.5 dB after 300 steps, with it 5.0 after 200.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.head import RetouchHead
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.simulate import rounded_rows
from vera_mobile.train.batches import TASKS, Samples
from vera_mobile.train.loop import Run, step_rng
from vera_mobile.train.measured import (
    Drawn,
    OnWork,
    WordsConfig,
    draw,
    learn_words_,
    own_states,
    rounding_of,
    states_of,
)  # fmt: skip
from vera_mobile.train.parallel import ALONE, Group
from vera_mobile.train.plan import OnStep, log_error, mean_square
from vera_mobile.train.renderer import pixel_loss
from vera_mobile.train.stage import VeraStage, take_weights_

_DRAWN = 14  # samples of a task that are made at once
_SEEN = 128  # pixels of a sample in a step; others in each


@dataclass(frozen=True)
class MeasuresConfig(WordsConfig):
    """Settings of the stage; `batch` counts auto samples of a step, beside a fifth as many style
    and two fifths as many param samples.

    made: samples of each task that are drawn before the first step; own_words: samples of each task
    whose states are made behind the model's own words too, and then make half of those learned
    from; rounded: samples of each task whose states are computed with 4-bit weights too.
    auto_weight: of its pixels; psnr_weight: as in `PlanConfig`, for param a third of it;
    keep_weight: of the distance of param latents to those of the first model; noise: standard
    deviation of what is added to the states, in units of an axis; least_variance: axes with less
    are not made equal.
    """

    made: int = 4000
    own_words: int = 0
    rounded: int = 300
    auto_weight: float = 1.5
    psnr_weight: float = 0.3
    keep_weight: float = 0.5
    noise: float = 0.03
    least_variance: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.made < self.batch:
            raise InvalidArgument(f"made is {self.made}: use at least batch, {self.batch}")
        if self.rounded < 1:
            raise InvalidArgument(f"rounded is {self.rounded}: use 1 or more")


@dataclass(frozen=True)
class Made:
    """Samples of one task: states (k, 3, H) that emit the retouch tokens, the first `drawn` of them
    behind given words and the others behind the model's own; roundings (m, 3, H) of such states;
    before, target (k, N, 3) uint8; known: latents (drawn, 3, L) of the first model, or None."""

    states: Tensor
    before: Tensor
    target: Tensor
    roundings: Tensor
    drawn: int
    known: Tensor | None = None


def make(
    vera: VeraModel, vocabulary: Vocabulary, samples: Samples, config: MeasuresConfig,
    on_work: OnWork = lambda *_: None,
) -> list[Made]:  # fmt: skip
    """The samples of each task in the order of TASKS; the model's words are learned on the way."""
    drawn = draw(vera, samples, config.made, on_work)
    with torch.no_grad():
        known = vera.retouch_head(states_of(vera, vocabulary, drawn[-1], on_work))
    learn_words_(vera, vocabulary, drawn, config, config.seed, on_work)
    found = [_made(vera, vocabulary, part, config, on_work) for part in drawn]
    return [*found[:-1], replace(found[-1], known=known)]


def _made(
    vera: VeraModel, vocabulary: Vocabulary, drawn: Drawn, config: MeasuresConfig, on_work: OnWork
) -> Made:
    states = states_of(vera, vocabulary, drawn, on_work)
    roundings = rounding_of(vera, vocabulary, drawn, states, config.rounded)
    before, target = drawn.before, drawn.target
    if config.own_words:
        some = list(range(min(config.own_words, len(drawn))))
        states = torch.cat([states, own_states(vera, vocabulary, drawn.part(some), on_work)])
        before, target = torch.cat([before, before[some]]), torch.cat([target, target[some]])
    return Made(states, before, target, roundings, len(drawn))


class EqualHead(nn.Module):
    """A retouch head whose first layer learns on states whose principal axes have been made equal,
    and computes on states as they are."""

    mean: Tensor
    turn: Tensor
    scale: Tensor

    def __init__(self, head: RetouchHead) -> None:
        super().__init__()
        self.head = head
        inputs = head.first.in_features
        self.register_buffer("mean", torch.zeros(inputs), persistent=False)
        self.register_buffer("turn", torch.eye(inputs), persistent=False)
        self.register_buffer("scale", torch.ones(inputs), persistent=False)

    @torch.no_grad()
    def equalize_(self, states: Tensor, least: float) -> None:
        """Finds the axes of states (k, 3, H) and rewrites the first layer for them; axes of less
        variance than `least` are scaled as if they had it."""
        flat = states.flatten(1)
        self.mean = flat.mean(0)
        centred = flat - self.mean
        variance, self.turn = torch.linalg.eigh(centred.T @ centred / len(flat))
        self.scale = (variance.clamp_min(0) + least).sqrt()
        first = self.head.first
        first.bias.add_(first.weight @ self.mean)
        first.weight.copy_((first.weight @ self.turn) * self.scale)

    def plain(self) -> tuple[Tensor, Tensor]:
        """The first layer's weight and bias for states as they are."""
        weight = (self.head.first.weight / self.scale) @ self.turn.T
        return weight, self.head.first.bias - weight @ self.mean

    def forward(self, states: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latents (B, 3, L) with weights and inputs of the first layer in 8 bits; noise
        (B, 3H): added to the states, in units of an axis."""
        weight, bias = self.plain()
        step = (weight.detach().abs().amax(1, keepdim=True) / 127).clamp_min(1e-12)
        weight = weight + ((weight / step).round() * step - weight).detach()
        flat = states.flatten(1)
        if noise is not None:
            flat = flat + (noise * self.scale) @ self.turn.T
        flat = rounded_rows(flat).view_as(states)
        return functional_call(self.head, {"first.weight": weight, "first.bias": bias}, (flat,))

    @torch.no_grad()
    def finish_(self) -> RetouchHead:
        """The head as a plain one, rewritten in place."""
        weight, bias = self.plain()
        self.head.first.weight.copy_(weight)
        self.head.first.bias.copy_(bias)
        return self.head


def losses(
    vera: VeraModel, head: EqualHead, made: list[Made], config: MeasuresConfig, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a step, and PSNR in dB for the log."""
    rng = step_rng(config.seed, step)
    total, figures = torch.zeros(()), {}
    for task, part in zip(TASKS, made, strict=True):
        count = {"auto": config.batch, "style": -(-config.batch // 5)}.get(
            task, -(-2 * config.batch // 5)
        )
        own = len(part.states) > part.drawn
        given = -(-count // 2) if own else count
        chosen = torch.from_numpy(rng.integers(0, part.drawn, count))
        if own:
            said = rng.integers(part.drawn, len(part.states), count - given)
            chosen[given:] = torch.from_numpy(said)
        where = torch.from_numpy(rng.integers(0, part.before.shape[1], _SEEN))
        before, target = (x[chosen][:, where].float() / 255 for x in (part.before, part.target))
        states = part.states[chosen]
        rounding = part.roundings[torch.randint(0, len(part.roundings), (count,))]
        share = 1.5 * torch.rand(count, 1, 1) * (torch.rand(count, 1, 1) < 0.8)
        noise = config.noise * torch.randn(count, states[0].numel())
        latents = head(states + share * rounding, noise)
        out = vera.renderer(before, latents, clamp=False)
        if task == "auto":
            total = total + 4 * config.auto_weight * pixel_loss(out, target)
            total = total + config.psnr_weight * log_error(out, target)
            figures["alone_psnr"] = _psnr(before, target)
        else:
            total = total + 4 * pixel_loss(out, target)
        if part.known is not None:
            known = part.known[chosen[:given]]
            kept = (latents[:given] - known).square().mean() / mean_square(known)
            total = total + config.keep_weight * kept
            total = total + config.psnr_weight / 3 * log_error(out, target)
        figures[f"{task}_psnr"] = _psnr(out, target)
    return total, figures


@torch.no_grad()
def _psnr(out: Tensor, target: Tensor) -> Tensor:
    error = (out.clamp(0, 1) - target).square().mean((1, 2)).clamp_min(1e-6)
    return (-10 * error.log10()).mean()


def freeze_(model: VeraStage) -> None:
    """All but the decoder's layers, which learn words, and the retouch head."""
    model.vera.requires_grad_(False)
    model.vera.decoder.layers.requires_grad_(True)
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
    on_work: OnWork = lambda *_: None,
) -> VeraModel:
    """Trains on `pool` (n, s, s, 3) uint8; resumes from `out`: samples and words, which come before
    the first step, are made again.

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
    head = EqualHead(vera.retouch_head)
    # the state is the head's alone, in the form that learns: a later run starts at the checkpoint.
    # Made first, for it sets the threads that states are computed with.
    shape = model_config.to_dict()
    run = Run(out, config, head, stage="measures", model=shape, group=group)
    drawn = replace(config, batch=min(_DRAWN, config.batch))
    samples = Samples(pool, vocabulary, drawn, model_config.vision.image_size)
    made = make(vera, vocabulary, samples, config, on_work)
    head.equalize_(torch.cat([part.states for part in made]), config.least_variance)
    start = run.resume()
    for step in range(start, config.steps):
        loss, figures = losses(vera, head, made, config, step)
        run.step(step, loss)
        values = {"loss": loss.item(), **{k: v.item() for k, v in figures.items()}}
        run.finish_step(step + 1, values)
        if on_step:
            on_step(step + 1, values)
    head.finish_()
    return vera
