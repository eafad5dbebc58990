"""Stage 4, DAPO-AE: answers are drawn in groups; what is better than its group comes more often.

Two gradients meet in one loss. The policy gradient acts on the answer's tokens: group advantages,
a clipped ratio whose upper bound is wider than the lower one, a mean over all tokens of the batch,
groups without differences drawn anew, a penalty for overlong answers (DAPO, arXiv 2503.14476).
The three latents are no tokens: they are read off hidden states, and the renderer that they steer
is differentiable, so they learn by the exact gradient of the pixel similarity to the target, for
the drawn answers that end in a look. The aesthetic score is a reward only, never differentiated:
a scorer's gradient would be the shortest way to fool it.

Why not TRL's GRPOTrainer (read at 1.16)? It has the clipping (epsilon, epsilon_high), the
token-level loss (loss_type "dapo") and masks cut answers, but a reward function gets prompts,
completions, their token ids and columns of the dataset, no hidden state. The experimental
rollout_func may add fields of its own, such as latents made while sampling, and then it drops the
multimodal inputs that the trainer had made, so image tokens that come from our tower and not from
a processor do not reach the loss; the latents would be detached numbers, and the pixel loss would
need `_compute_loss` replaced anyway. It also wants a transformers PreTrainedModel, and has no
dynamic sampling of groups. What would be left of it is the argument parser; hence a plain loop.

Guards against reward hacking: the score counts only for edits that are no less like the target than
the untouched photo (`similarity_slack`), the pixel loss holds likeness directly, and `kl_weight`
holds the text near that of the start. RUN/report.json tells score and similarity of fixed photos
before and after, decoded as a user would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import Samples, SamplesConfig, has_split, samples_of
from vera_mobile.train.examples import Examples
from vera_mobile.train.loop import Run
from vera_mobile.train.parallel import ALONE, Group
from vera_mobile.train.plan import OnStep
from vera_mobile.train.renderer import pixel_loss
from vera_mobile.train.rewards import Drawn, RewardConfig, Rewards
from vera_mobile.train.rl_draw import Draw, draw_group, joined
from vera_mobile.train.rl_report import compare, judge
from vera_mobile.train.rollout import allowed_logits, read_answers, ruled_out
from vera_mobile.train.rows import states_at
from vera_mobile.train.scorer import Scorer, load_scorer
from vera_mobile.train.stage import VeraStage, take_weights_

Reward = Callable[[Drawn], dict[str, Tensor]]
_NO_SIGNAL = 1e-4  # least standard deviation of a group's rewards


@dataclass(frozen=True)
class RLConfig(SamplesConfig):
    """Settings of stage 4; `batch` counts prompts per task, `group` the answers to each.

    updates: optimizer steps per draw; micro: answers per backward pass; attempts: draws per step
    until all groups differ within; scorer: a name of `train.scorer` ("": no score); judged: photos
    of the report. The weights, max_tokens, overlong and similarity_slack: see `RewardConfig`.
    """

    group: int = 8
    temperature: float = 1.0
    updates: int = 2
    micro: int = 64
    attempts: int = 3
    clip_low: float = 0.2
    clip_high: float = 0.28
    pixel_weight: float = 1.0
    kl_weight: float = 0.0
    scorer: str = "own"
    judged: int = 16
    format_weight: float = 0.5
    similarity_weight: float = 1.0
    aesthetic_weight: float = 0.5
    max_tokens: int = 120
    overlong: int = 16
    similarity_slack: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("updates", "micro", "attempts", "temperature", "judged"):
            if getattr(self, name) <= 0:
                raise InvalidArgument(f"{name} is {getattr(self, name)}: use a value above 0")
        if self.group < 2:
            raise InvalidArgument(f"group is {self.group}: answers are compared, use 2 or more")
        if not 3 < self.max_tokens > self.overlong:
            raise InvalidArgument(
                f"max_tokens is {self.max_tokens}: use more than 3 and more than overlong"
            )

    def rewards(self) -> RewardConfig:
        """The part that the rewards need."""
        return RewardConfig(**{f.name: getattr(self, f.name) for f in fields(RewardConfig)})


def advantages(rewards: Tensor, group: int) -> Tensor:
    """(B,) of rewards (B,), `group` answers to a prompt in a row: how many standard deviations of
    its group an answer is above the group's mean; 0 for groups without a difference."""
    grouped = rewards.view(-1, group)
    spread = grouped.std(1, keepdim=True)
    centred = (grouped - grouped.mean(1, keepdim=True)) / spread.clamp_min(_NO_SIGNAL)
    return (centred * (spread > _NO_SIGNAL)).flatten()


def clipped_objective(
    logp: Tensor, old: Tensor, advantage: Tensor, low: float, high: float
) -> Tensor:
    """Per token: min(r A, clip(r, 1 - low, 1 + high) A), r the ratio of probabilities."""
    ratio = (logp - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def with_signal(
    vera: VeraModel, samples: Samples, config: RLConfig, reward: Reward, step: int
) -> tuple[list[Draw], dict[str, float]]:
    """Groups of a step whose answers differ in reward, at most 3 x batch; drawn up to `attempts`
    times. Also the figures of all that was drawn."""
    kept: list[Draw] = []
    seen: list[Draw] = []
    for attempt in range(config.attempts):
        for drawn in draw_group(vera, samples, config, step, attempt):
            drawn.rewards = reward(drawn.judged)
            drawn.advantage = advantages(drawn.rewards["reward"], config.group)
            seen.append(drawn)
            kept += drawn.groups(config.group)
        if len(kept) >= 3 * config.batch:
            break
    names = seen[0].rewards
    figures = {k: float(torch.cat([d.rewards[k] for d in seen]).mean()) for k in names}
    lengths = [len(t) for d in seen for t in d.judged.tokens]
    figures["length"] = sum(lengths) / len(lengths)
    figures["groups_kept"] = len(kept) / (sum(len(d.prompts) for d in seen) / config.group)
    # without any difference there is no policy gradient; the pixels are still learned from
    return kept[: 3 * config.batch] or seen, figures


def token_logp(
    vera: VeraModel, vocabulary: Vocabulary, draw: Draw, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of all drawn tokens, one after the other (T,), the answer (T,) that each
    belongs to, and the retouch states (B, 3, H)."""
    tokens = draw.judged.tokens
    hidden, laid = read_answers(vera, vocabulary, draw.prompts, list(tokens), draw.image)
    assert laid.places is not None
    learned = laid.wanted >= 0
    logits = allowed_logits(vera, hidden[learned], ruled_out(vera, vocabulary))
    shares = torch.log_softmax(logits / temperature, -1)
    logp = shares.gather(1, laid.wanted[learned][:, None])[:, 0]
    return logp, laid.segments[learned] - 1, states_at(hidden, laid.places)


def draw_loss(
    vera: VeraModel,
    vocabulary: Vocabulary,
    draw: Draw,
    config: RLConfig,
    totals: tuple[int, int],
    reference: VeraModel | None,
) -> Tensor:
    """This draw's share of a step's loss; totals: tokens and looks of the whole step."""
    logp, owner, states = token_logp(vera, vocabulary, draw, config.temperature)
    old = torch.tensor([p for row in draw.logp for p in row], device=logp.device)
    advantage = draw.advantage.to(logp.device)[owner]
    gained = clipped_objective(logp, old, advantage, config.clip_low, config.clip_high)
    loss = -gained.sum() / totals[0]
    if reference is not None:
        with torch.no_grad():
            anchor = token_logp(reference, vocabulary, draw, config.temperature)[0]
        gap = anchor - logp  # k3 estimator of the divergence: never negative, unbiased
        loss = loss + config.kl_weight * (gap.exp() - gap - 1).sum() / totals[0]
    valid = draw.has_look.to(logp.device)
    if config.pixel_weight and valid.any():
        latents = vera.retouch_head(states[valid]) * draw.mask.to(logp.device)[valid]
        out = vera.renderer(draw.judged.before[valid], latents, clamp=False)
        share = int(valid.sum()) / totals[1]
        loss = loss + config.pixel_weight * share * pixel_loss(out, draw.judged.target[valid])
    return loss


def step_losses(
    vera: VeraModel,
    vocabulary: Vocabulary,
    draws: list[Draw],
    config: RLConfig,
    reference: VeraModel | None,
) -> Iterator[Tensor]:
    """The losses of one optimizer step, `micro` answers at a time; together they are its loss."""
    tokens = sum(len(t) for d in draws for t in d.judged.tokens)
    totals = (tokens, max(1, sum(int(d.has_look.sum()) for d in draws)))
    for pieces in joined(draws, config.micro):
        yield draw_loss(vera, vocabulary, pieces, config, totals, reference)


def freeze_(model: VeraStage, config: RLConfig | None = None) -> None:
    """Only decoder and retouch head learn, whatever the config says."""
    model.vera.requires_grad_(False)
    model.vera.decoder.requires_grad_(True)
    model.vera.retouch_head.requires_grad_(True)


def check_start(config: RLConfig) -> None:
    """InvalidArgument without `init`; what `load_scorer` raises for the scorer."""
    if not config.init:
        raise InvalidArgument("rl starts from a trained model: use --init RUN of `vera train plan`")
    if config.scorer:
        load_scorer(config.scorer)


def build(model_config: ModelConfig, config: RLConfig) -> VeraStage:
    """The model as the first step finds it. InvalidArgument without `init`."""
    if not config.init:
        raise InvalidArgument(
            "rl starts from a trained model: give --init RUN of `vera train plan`"
        )
    torch.manual_seed(config.seed)
    model = VeraStage(model_config)
    take_weights_(model, Path(config.init))
    freeze_(model)
    return model


def train_rl(
    pool: Tensor | None,
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    config: RLConfig,
    out: Path,
    on_step: OnStep | None = None,
    group: Group = ALONE,
    *,
    held_out: Tensor | None = None,
    reward: Reward | None = None,
) -> VeraModel:
    """Trains stage 4 on `pool` (n, s, s, 3) uint8 from `init`; resumes from `out`.

    pool None: learns from the config's shards. held_out: photos (m, s, s, 3) of OUT/report.json;
    without them, and without shards of split val, it is of training photos and says so. reward:
    instead of `Rewards`. Cost: each step draws 3 x batch x group answers.
    """
    model = build(model_config, config).to(group.device).eval()
    scorer = _scorer(config, group)
    reference = copy.deepcopy(model.vera).requires_grad_(False) if config.kl_weight else None
    size = model_config.vision.image_size
    samples = samples_of(pool, vocabulary, config, size)
    judged = samples
    if config.shards and has_split(config.shards, "val"):
        judged = samples_of(None, vocabulary, config, size, "val")
    elif held_out is not None:
        judged = Samples(held_out, vocabulary, config, size)
    start = judge(model.vera, judged, config, scorer)
    run = Run(out, config, model, stage="rl", model=model_config.to_dict(), group=group)
    examples = Examples(samples, config) if config.tensorboard else None
    chosen = reward or Rewards(config.rewards(), scorer)
    for step in range(run.resume(), config.steps):
        draws, figures = with_signal(model.vera, samples, config, chosen, step)
        for _ in range(config.updates):
            run.step(step, step_losses(model.vera, vocabulary, draws, config, reference))
        run.finish_step(step + 1, figures)
        if examples and run.pictures_due(step + 1):
            examples.show(run.board, step + 1, model.vera, vocabulary)
        if on_step:
            on_step(step + 1, figures)
    end = judge(model.vera, judged, config, scorer)
    about: dict[str, Any] = {"photos": "train" if judged is samples else "held out"}
    run.write_json("report.json", {**about, **compare(start, end)})
    return model.vera.eval()


def _scorer(config: RLConfig, group: Group) -> Scorer | None:
    if not config.scorer:
        return None
    scorer = load_scorer(config.scorer)
    if isinstance(scorer, torch.nn.Module):
        scorer.to(group.device).requires_grad_(False)
    return scorer
