"""Stage 3: the decoder learns to see, to reason in words and to emit the three control latents.

Each step draws the three tasks in equal parts. Loss: cross-entropy of the answer's tokens, pixel
loss through the frozen renderer, the distance to stage 1's teacher latents where the edit is a
known slider set, and a probe that reads the sliders off the hidden states (dropped after training).

A batch may be learned from in parts, one after the other (`accumulate`) or in several processes:
every term is divided by what the whole batch holds, so the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.adapters import add_lora_, exact_weights_, merge_lora_, round_weights_
from vera_mobile.train.batches import TASKS, Batch, SamplesConfig, batches, samples_of
from vera_mobile.train.examples import Examples
from vera_mobile.train.grow import FRESH_STRENGTH, lay_way_
from vera_mobile.train.loop import Run, load_weights_, read_state
from vera_mobile.train.parallel import ALONE, Group, shard_
from vera_mobile.train.renderer import StageModel, pixel_loss
from vera_mobile.train.rows import (
    Row,
    checkpoint_layers_,
    hidden_states,
    lay_out,
    learned_tokens,
    plan_row,
    states_at,
    text_loss,
)
from vera_mobile.train.stage import (
    STATE_FILE,
    VeraStage,
    load_stage1,
    smooth_slider_embeddings_,
    take_weights_,
    training_mode_,
)
from vera_mobile.train.stage import save_trained as save_nano

__all__ = ["PlanConfig", "PlanModel", "losses", "save_nano", "train_plan"]

OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class PlanConfig(SamplesConfig):
    """Settings of stage 3; `batch` counts samples per task. Weights are of the loss terms.

    psnr_weight: of the auto task's log10(mean square error), which is what PSNR averages;
    init: folder of an earlier align or plan run or of a checkpoint to start from; its renderer is
    replaced by that of `stage1`. accumulate: parts of a batch that are learned from one after the
    other; pack_tokens: length of rows that hold several samples (0: a row each); checkpointing:
    keep no activations of layers; lora_rank: above 0 the decoder's layers learn such a pair each
    and no more; qat_from_step: from there on the decoder computes with int4 weights (0: never).
    """

    text_weight: float = 0.25
    latent_weight: float = 0.5
    probe_weight: float = 0.2
    psnr_weight: float = 0.0
    stage1: str = "runs/renderer"
    bf16: bool = True
    vision_frozen: bool = False
    accumulate: int = 1
    pack_tokens: int = 0
    checkpointing: bool = False
    lora_rank: int = 0
    lora_alpha: float = 16.0
    qat_from_step: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate < 1:
            raise InvalidArgument(f"accumulate is {self.accumulate}: use 1 or more")
        if self.lora_rank and self.qat_from_step:
            raise InvalidArgument("qat_from_step and lora_rank do not go together: use one")


class PlanModel(VeraStage):
    """What stage 3 trains: the model and the slider probes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = config.language.hidden_size
        self.image_probe = nn.Linear(hidden, 38)
        self.hidden_probe = nn.Linear(3 * hidden, 38)


@dataclass(frozen=True)
class Totals:
    """What the terms of the loss are divided by, of a whole batch: learned tokens with and without
    a picture, mean squares of the known latents and of the sliders (all, auto)."""

    pictured: int
    spoken: int
    latents: Tensor
    sliders: Tensor
    auto_sliders: Tensor
    parts: int = 1


def see(model: VeraModel, pictures: Tensor, learned: int, frozen: bool = False) -> Tensor:
    """Image tokens of all pictures (B, S, S, 3); only the first `learned` pass gradients on.

    A style edit hardly depends on the photo, so its pictures are looked at, not learned from.
    frozen: no gradients to the tower, only to the projector.
    """
    x = pictures.permute(0, 3, 1, 2)  # channels-last in memory: 1.6 times faster here
    if frozen:
        with torch.no_grad():
            features = model.vision(x)
        return torch.cat([model.projector(features[:learned]),
                          model.projector(features[learned:]).detach()])  # fmt: skip
    with torch.no_grad():
        fixed = model.encode_image(x[learned:])
    return torch.cat([model.encode_image(x[:learned]), fixed])


def rows_of(vocabulary: Vocabulary, batch: Batch, image_tokens: int) -> tuple[list[Row], list[Row]]:
    """The batch's samples with a picture, and those without."""
    n = batch.n
    rows = [
        plan_row(vocabulary, batch.prompts[i], batch.answers[i], batch.learn[i],
                 image_tokens if i < 2 * n else 0)
        for i in range(3 * n)
    ]  # fmt: skip
    return rows[: 2 * n], rows[2 * n :]


def mean_square(values: Tensor) -> Tensor:
    """Mean of the squares, above 0."""
    return values.square().mean().clamp_min(1e-6)


def totals_of(teacher: StageModel, vocabulary: Vocabulary, batch: Batch, parts: int) -> Totals:
    """The divisors of a whole batch that is learned from in `parts` equal parts."""
    pictured, spoken = (learned_tokens(rows) for rows in rows_of(vocabulary, batch, 1))
    with torch.no_grad():
        known = teacher.teacher(batch.sliders[batch.n :])
    percent = batch.sliders / 50.0
    return Totals(
        max(1, pictured), max(1, spoken), mean_square(known), mean_square(percent),
        mean_square(percent[: batch.n]), parts,
    )  # fmt: skip


def log_error(out: Tensor, target: Tensor) -> Tensor:
    """Mean over photos of log10(mean square error + 1e-4): beyond 40 dB nothing is to be won."""
    return (out - target).square().mean((1, 2)).add(1e-4).log10().mean()


def read_batch(
    vera: VeraModel, vocabulary: Vocabulary, batch: Batch, image: Tensor, config: PlanConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Summed cross-entropies with and without a picture, and the retouch states (3n, 3, H)."""
    sums, states = [], []
    both = rows_of(vocabulary, batch, image.shape[1])
    for rows, picture in zip(both, (image, None), strict=True):
        laid = lay_out(rows, vocabulary.pad, config.pack_tokens).to(image.device)
        hidden = hidden_states(vera, laid, picture)
        sums.append(text_loss(vera, hidden, laid.wanted))
        assert laid.places is not None
        states.append(states_at(hidden, laid.places))
    return sums[0], sums[1], torch.cat(states)


def group_mask(vocabulary: Vocabulary, batch: Batch) -> Tensor:
    """(3n, 3, 1): 0 for the groups that the family's prompt of a sample leaves off."""
    mask = torch.ones(3 * batch.n, 3, 1)
    if vocabulary.format.masks_groups:
        for i in range(2 * batch.n, 3 * batch.n):
            prompt = vocabulary.param(batch.sliders[i].cpu().numpy())
            mask[i, :, 0] = torch.tensor(prompt.groups)
    return mask.to(batch.sliders.device)


def losses(
    model: PlanModel,
    teacher: StageModel,
    vocabulary: Vocabulary,
    batch: Batch,
    config: PlanConfig,
    totals: Totals | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """This part's share of the loss, and of the figures for the log (PSNR per task ...).

    totals: of the whole batch that `batch` is a part of; None: `batch` is the whole.
    """
    vera, n = model.vera, batch.n
    t = totals or totals_of(teacher, vocabulary, batch, 1)
    image = see(vera, batch.pictures, n, config.vision_frozen)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=config.bf16):
        text1, text2, chosen = read_batch(vera, vocabulary, batch, image, config)
    text = (2 * text1 / t.pictured + text2 / t.spoken) / 3
    latents = vera.retouch_head(chosen) * group_mask(vocabulary, batch)
    out = vera.renderer(batch.before, latents, clamp=False)
    per_task = [pixel_loss(out[i * n : (i + 1) * n], batch.target[i * n : (i + 1) * n])
                for i in range(3)]  # fmt: skip
    with torch.no_grad():
        known = teacher.teacher(batch.sliders[n:])
    latent = F.mse_loss(latents[n:], known) / t.latents
    percent = batch.sliders / 50.0
    probe = F.mse_loss(model.hidden_probe(chosen.flatten(1)), percent) / t.sliders
    guess = model.image_probe(image[:n].float().mean(1))
    probe = probe + F.mse_loss(guess, percent[:n]) / t.auto_sliders
    rest = (torch.stack(per_task).sum() * 4.0 + config.latent_weight * latent
            + config.probe_weight * probe
            + config.psnr_weight * log_error(out[:n], batch.target[:n]))  # fmt: skip
    total = rest / t.parts + config.text_weight * text
    figures = {"latent": latent, "probe": probe, **gains(out, batch)}
    return total, {"text": text, **{k: v / t.parts for k, v in figures.items()}}


@torch.no_grad()
def gains(out: Tensor, batch: Batch) -> dict[str, Tensor]:
    """PSNR in dB per task, and of leaving the auto photos alone."""
    n = batch.n
    error = (out.clamp(0, 1) - batch.target).square().mean((1, 2)).clamp_min(1e-6)
    start = (batch.before - batch.target).square().mean((1, 2)).clamp_min(1e-6)
    gain = -10 * error.log10()
    figures = {f"{task}_psnr": gain[i * n : (i + 1) * n].mean() for i, task in enumerate(TASKS)}
    return {**figures, "alone_psnr": (-10 * start[:n].log10()).mean()}


def build(
    model_config: ModelConfig, vocabulary: Vocabulary, config: PlanConfig, stage1: StageModel
) -> PlanModel:
    """The model as the first step finds it: weights, what is frozen, LoRA, checkpointing."""
    torch.manual_seed(config.seed)
    model = PlanModel(model_config)
    vera = model.vera
    smooth_slider_embeddings_(vera, vocabulary, config.seed)
    lay_way_(vera, vocabulary, FRESH_STRENGTH)
    if config.init:
        take_weights_(model, Path(config.init))
    vera.renderer.load_state_dict(stage1.renderer.state_dict())
    vera.reference_encoder.load_state_dict(stage1.reference_encoder.state_dict())
    freeze_(model, config)
    if config.checkpointing:
        checkpoint_layers_([*vera.decoder.layers])
    return model


def freeze_(model: PlanModel, config: PlanConfig) -> None:
    """What does not learn; with lora_rank also the pairs that do."""
    vera = model.vera
    vera.renderer.requires_grad_(False)
    vera.reference_encoder.requires_grad_(False)
    if config.vision_frozen:
        vera.vision.requires_grad_(False)
    if config.lora_rank:
        add_lora_(vera.decoder.layers, config.lora_rank, config.lora_alpha)


def parts_of(
    batch: Batch, teacher: StageModel, vocabulary: Vocabulary, config: PlanConfig, group: Group
) -> Iterator[tuple[Batch, Totals]]:
    """This process's parts of a batch that all processes have drawn."""
    count = group.size * config.accumulate
    totals = totals_of(teacher, vocabulary, batch, count)
    for i in range(config.accumulate):
        yield batch.part(group.rank * config.accumulate + i, count), totals


def train_plan(
    pool: Tensor | None,
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    config: PlanConfig,
    out: Path,
    on_step: OnStep | None = None,
    group: Group = ALONE,
) -> VeraModel:
    """Trains stage 3 on `pool` (n, s, s, 3) uint8, or the config's shards (pool None), from stage
    1's run; resumes from `out`."""
    stage1 = load_stage1(Path(config.stage1), model_config)
    model = build(model_config, vocabulary, config, stage1).to(group.device)
    stage1.to(group.device)
    if group.size == 1:  # FSDP takes no weights in this order
        model.vera.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shard_(model, [*model.vera.decoder.layers, *model.vera.vision.stages], group)
    run = Run(out, config, model, stage="plan", model=model_config.to_dict(), group=group)
    start = run.resume()
    training_mode_(model.vera, config.vision_frozen, group.size * config.accumulate)
    samples = samples_of(pool, vocabulary, config, model_config.vision.image_size)
    examples = Examples(samples, config) if run.board.open else None
    smooth: dict[str, float] = {}
    for step, batch in enumerate(batches(samples, start, config.steps), start):
        torch.manual_seed(config.seed * 1_000_003 + step)
        if config.qat_from_step and step >= config.qat_from_step:
            round_weights_(model.vera.decoder.layers)
        figures = _learn(run, model, stage1, vocabulary, batch.to(group.device), config, step)
        smooth = {k: 0.95 * smooth.get(k, v) + 0.05 * v for k, v in figures.items()}
        run.finish_step(step + 1, smooth)
        if examples and run.pictures_due(step + 1) and group.size == 1:
            examples.show(run.board, step + 1, model.vera, vocabulary)
        if on_step and group.main:
            on_step(step + 1, smooth)
    if group.size > 1:
        model = build(model_config, vocabulary, config, stage1.cpu())
        load_weights_(model, read_state(out / STATE_FILE), out / STATE_FILE)
    exact_weights_(model.vera.decoder.layers)
    merge_lora_(model.vera.decoder.layers)
    return model.vera.eval()


def _learn(
    run: Run,
    model: PlanModel,
    stage1: StageModel,
    vocabulary: Vocabulary,
    batch: Batch,
    config: PlanConfig,
    step: int,
) -> dict[str, float]:
    """One optimizer step; returns the figures of the whole batch."""
    sums: dict[str, Tensor] = {}

    def shares() -> Iterator[Tensor]:
        for part, totals in parts_of(batch, stage1, vocabulary, config, run.group):
            loss, figures = model(
                lambda p=part, t=totals: losses(model, stage1, vocabulary, p, config, t)
            )
            for name, value in {"loss": loss, **figures}.items():
                sums[name] = sums.get(name, torch.zeros(())).to(value.device) + value.detach()
            yield loss * run.group.size  # the gradients of all processes are averaged

    run.step(step, shares())
    return run.group.total(sums)
