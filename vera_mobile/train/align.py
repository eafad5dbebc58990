"""Stage 2: the projector learns to say in the decoder's words what a photo looks like.

Photos, some of them degraded, are described by what was measured on their pixels: brightness,
contrast, cast, strength of colour, the hues that there are. Cross-entropy of the text is the only
loss. By default the tower and the decoder stay as `init` has them (a FastVLM or Qwen2 checkpoint
through `vera import`); a decoder with random weights must learn too (`decoder_frozen = false`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import noisy, one_thread, prompt_of
from vera_mobile.train.data import crop, degradation, develop_picture, pick_pixels
from vera_mobile.train.grow import FRESH_STRENGTH, lay_way_
from vera_mobile.train.loop import Run, StageConfig, load_weights_, read_state, step_rng
from vera_mobile.train.parallel import ALONE, Group, shard_
from vera_mobile.train.plan import OnStep
from vera_mobile.train.rollout import Sampling, generate
from vera_mobile.train.rows import (
    checkpoint_layers_,
    hidden_states,
    lay_out,
    learned_tokens,
    text_loss,
    text_row,
)
from vera_mobile.train.stage import (
    STATE_FILE,
    VeraStage,
    evaluating,
    smooth_slider_embeddings_,
    take_weights_,
    training_mode_,
)
from vera_mobile.train.words import HUE_WORDS, HUES, Measures, measure

REQUEST = "describe the photo"
MIN_HUE_SHARE = 0.08


@dataclass(frozen=True)
class AlignConfig(StageConfig):
    """Settings of stage 2; `batch` counts photos of all processes together.

    degraded_share: photos that are made worse first, so that faults are seen too; of shards: how
    often the picture before the edit is taken. The rest is as in the plan stage.
    """

    degraded_share: float = 0.6
    noise_codes: float = 1.5
    shards: str = ""
    vision_frozen: bool = True
    decoder_frozen: bool = True
    bf16: bool = True
    accumulate: int = 1
    pack_tokens: int = 0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate < 1:
            raise InvalidArgument(f"accumulate is {self.accumulate}: use 1 or more")


def caption(m: Measures, rng: np.random.Generator) -> str:
    """What a photo looks like, true to its measures; the wording varies.

    m: of `words.measure`, in CIELAB units. The bounds are thirds of everyday photos.
    """
    parts = [
        _pick(rng, m["L"], ((35, "dark|low in light"), (60, "of medium brightness|evenly lit"),
                            (101, "bright|full of light"))),
        _pick(rng, m["spread"], ((15, "flat contrast|little contrast"),
                                 (25, "medium contrast|normal contrast"),
                                 (101, "strong contrast|high contrast"))),
        _pick(rng, m["C"], ((8, "pale colors|hardly any color"), (22, "natural colors|calm colors"),
                            (200, "strong colors|rich colors"))),
        _cast(m),
    ]  # fmt: skip
    hues = [word for name, word in zip(HUES, HUE_WORDS, strict=True)
            if m[f"{name.lower()}_share"] >= MIN_HUE_SHARE]  # fmt: skip
    if hues:
        parts.append(f"{_either(rng, 'with|there are')} {', '.join(hues)}")
    opening = _either(rng, "The photo is|I see a photo that is|It is")
    return f"{opening} {parts[0]}; {'; '.join(parts[1:])}."


def _either(rng: np.random.Generator, words: str) -> str:
    choices = words.split("|")
    return choices[int(rng.integers(len(choices)))]


def _pick(rng: np.random.Generator, value: float, steps: tuple[tuple[float, str], ...]) -> str:
    return next(_either(rng, words) for limit, words in steps if value < limit or limit > 100)


def _cast(m: Measures) -> str:
    pairs = ((m["b"], "warm", "cool"), (m["a"], "magenta", "green"))
    found = [plus if value > 0 else minus for value, plus, minus in pairs if abs(value) > 6]
    return f"{' and '.join(found)} cast" if found else "no cast"


@dataclass(frozen=True)
class Captioned:
    """pictures: (n, S, S, 3) encoded sRGB in [0, 1]; answers: token ids of their captions."""

    pictures: Tensor
    answers: list[list[int]]

    def part(self, index: int, count: int) -> Captioned:
        """Every `count`-th photo from `index` on. InvalidArgument for parts that are not equal."""
        if len(self.answers) % count:
            raise InvalidArgument(
                f"batch is {len(self.answers)}: use a multiple of {count} (processes x accumulate)"
            )
        return Captioned(self.pictures[index::count], self.answers[index::count])


class Captions(Dataset[Captioned]):
    """Described photos by step number, of a pool (n, s, s, 3) uint8."""

    def __init__(
        self, pool: Tensor, vocabulary: Vocabulary, config: AlignConfig, size: int
    ) -> None:
        self.pool, self.vocabulary, self.config, self.size = pool, vocabulary, config, size

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Captioned:
        rng = step_rng(self.config.seed, step)
        c = self.config
        pictures = noisy(self._pictures(rng), c.noise_codes, rng)
        texts = [caption(measure(pick_pixels(p, c.pixels, rng).numpy()), rng) for p in pictures]
        return Captioned(pictures, [self.vocabulary.encode(t) for t in texts])

    def _pictures(self, rng: np.random.Generator) -> Tensor:
        c = self.config
        chosen = (int(rng.integers(len(self.pool))) for _ in range(c.batch))
        pictures = torch.stack([crop(self.pool, i, self.size, rng) for i in chosen])
        worse = rng.random(c.batch) < c.degraded_share
        sliders = np.stack([degradation(rng) * w for w in worse])
        return develop_picture(pictures, torch.from_numpy(sliders))


class ShardCaptions(Captions):
    """Described photos of shards: of each sample the picture before or after its edit."""

    def __init__(self, vocabulary: Vocabulary, config: AlignConfig, size: int) -> None:
        from vera_mobile.train.engine.reader import Shards

        super().__init__(torch.zeros(0), vocabulary, config, size)
        self.shards = Shards(config.shards)

    def _pictures(self, rng: np.random.Generator) -> Tensor:
        from vera_mobile.train.engine.reader import squeezed

        pictures = []
        for _ in range(self.config.batch):
            sample = self.shards[int(rng.integers(len(self.shards)))]
            first = rng.random() < self.config.degraded_share
            picture = sample.before if first else sample.target
            mirrored = bool(rng.random() < 0.5)
            pictures.append(squeezed(picture, self.size, mirrored=mirrored))
        return torch.stack(pictures)


def captions_of(
    pool: Tensor | None, vocabulary: Vocabulary, config: AlignConfig, size: int
) -> Captions:
    """What a run learns from. InvalidArgument where there are neither photos nor shards."""
    if config.shards:
        return ShardCaptions(vocabulary, config, size)
    if pool is None:
        raise InvalidArgument("nothing to learn from: give photos or shards")
    return Captions(pool, vocabulary, config, size)


def losses(
    model: VeraStage,
    vocabulary: Vocabulary,
    batch: Captioned,
    config: AlignConfig,
    tokens: int,
    device: torch.device,
) -> Tensor:
    """This part's share of the cross-entropy; tokens: how many the whole batch learns."""
    vera = model.vera
    prompts = [prompt_of(vocabulary, REQUEST, p) for p in batch.pictures]
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        with torch.set_grad_enabled(not config.vision_frozen):
            features = vera.vision(batch.pictures.to(device).permute(0, 3, 1, 2))
        image = vera.projector(features)
        rows = [text_row(vocabulary, prompt, answer, image.shape[1])
                for prompt, answer in zip(prompts, batch.answers, strict=True)]  # fmt: skip
        laid = lay_out(rows, vocabulary.pad, config.pack_tokens).to(device)
        return text_loss(vera, hidden_states(vera, laid, image), laid.wanted) / tokens


def count_tokens(vocabulary: Vocabulary, batch: Captioned) -> int:
    """How many tokens a batch learns."""
    return learned_tokens([text_row(vocabulary, ([0], [0]), a, 0) for a in batch.answers])


def build(model_config: ModelConfig, vocabulary: Vocabulary, config: AlignConfig) -> VeraStage:
    """The model as the first step finds it."""
    torch.manual_seed(config.seed)
    model = VeraStage(model_config)
    smooth_slider_embeddings_(model.vera, vocabulary, config.seed)
    lay_way_(model.vera, vocabulary, FRESH_STRENGTH)
    if config.init:
        take_weights_(model, Path(config.init))
    freeze_(model, config)
    if config.checkpointing:
        checkpoint_layers_([*model.vera.decoder.layers])
    return model


def freeze_(model: VeraStage, config: AlignConfig) -> None:
    """Only the projector learns, and what the config says."""
    model.vera.requires_grad_(False)
    model.vera.projector.requires_grad_(True)
    if not config.vision_frozen:
        model.vera.vision.requires_grad_(True)
        if model.vera.vision.projection is not None:
            model.vera.vision.projection.requires_grad_(False)
    if not config.decoder_frozen:
        model.vera.decoder.requires_grad_(True)


def train_align(
    pool: Tensor | None,
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    config: AlignConfig,
    out: Path,
    on_step: OnStep | None = None,
    group: Group = ALONE,
) -> VeraModel:
    """Trains stage 2 on `pool` (n, s, s, 3) uint8, or the config's shards (pool None); resumes from
    `out` when it holds a state."""
    model = build(model_config, vocabulary, config).to(group.device)
    shard_(model, [*model.vera.decoder.layers, *model.vera.vision.stages], group)
    run = Run(out, config, model, stage="align", model=model_config.to_dict(), group=group)
    start = run.resume()
    training_mode_(model.vera, config.vision_frozen, group.size * config.accumulate)
    captions = captions_of(pool, vocabulary, config, model_config.vision.image_size)
    loader: DataLoader[Captioned] = DataLoader(
        captions, batch_size=None, sampler=range(start, config.steps), num_workers=1,
        prefetch_factor=3, worker_init_fn=one_thread,
    )  # fmt: skip
    for step, batch in enumerate(loader, start):
        torch.manual_seed(config.seed * 1_000_003 + step)
        figures = _learn(run, model, vocabulary, batch, config, step)
        run.finish_step(step + 1, figures)
        if run.pictures_due(step + 1) and group.size == 1:
            _show(run, step + 1, model.vera, vocabulary, captions)
        if on_step and group.main:
            on_step(step + 1, figures)
    if group.size > 1:
        model = build(model_config, vocabulary, config)
        load_weights_(model, read_state(out / STATE_FILE), out / STATE_FILE)
    return model.vera.eval()


def _learn(
    run: Run, model: VeraStage, vocabulary: Vocabulary, batch: Captioned, config: AlignConfig,
    step: int,
) -> dict[str, float]:  # fmt: skip
    group, tokens = run.group, count_tokens(vocabulary, batch)
    sums = {"text": torch.zeros((), device=group.device)}

    def shares() -> Iterator[Tensor]:
        for i in range(config.accumulate):
            index, count = group.rank * config.accumulate + i, group.size * config.accumulate
            part = batch.part(index, count)
            loss = model(lambda p=part: losses(model, vocabulary, p, config, tokens, group.device))
            sums["text"] += loss.detach()
            yield loss * group.size

    run.step(step, shares())
    return group.total(sums)


@torch.no_grad()
def _show(run: Run, step: int, vera: VeraModel, vocabulary: Vocabulary, captions: Captions) -> None:
    """Photos of the first batch with the measured words and the model's own."""
    batch = captions[0]
    shown = batch.pictures[:4]
    prompts = [prompt_of(vocabulary, REQUEST, picture) for picture in shown]
    with evaluating(vera):
        image = vera.encode_image(shown.to(run.group.device).permute(0, 3, 1, 2))
        said = generate(vera, vocabulary, prompts, image, Sampling(temperature=0.0, max_tokens=80))
    run.board.pictures(step, "photos", shown)
    own = [f"measured: {vocabulary.decode(a)}" for a in batch.answers[:4]]
    theirs = [f"model: {vocabulary.decode(a.tokens)}" for a in said]
    run.board.text(step, "captions", [f"{o} / {t}" for o, t in zip(own, theirs, strict=True)])
