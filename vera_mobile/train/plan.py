"""Stage 3: the decoder learns to see, to reason in words and to emit the three control latents.

Each step draws the three tasks in equal parts. Loss: cross-entropy of the answer's tokens, pixel
loss through the frozen renderer, the distance to stage 1's teacher latents where the edit is a
known slider set, and a probe that reads the sliders off the hidden states (dropped after training).

For a quarter of the samples the answer text is that of another one, for 30 % there is none, and
neither is learned: the latents must come from the photo and the wish, not from words that are true
in training and only guessed later.
Without it (measured at step 1200) the param task fell from 32.8 dB with true to 28.3 dB with
generated text, no better than leaving the photo alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vera_mobile.develop.operators import develop
from vera_mobile.errors import FileError
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.load import WEIGHTS_FILE, load_checkpoint, save_checkpoint
from vera_mobile.model.tokens import Vocabulary, slider_pieces
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.data import (
    crop,
    degradation,
    develop_picture,
    pick_pixels,
    quantize8,
    slider_set,
)
from vera_mobile.train.loop import Run, StageConfig, load_weights_, read_state, step_rng
from vera_mobile.train.renderer import StageModel, pixel_loss
from vera_mobile.train.styles import AMOUNTS, draw, wording
from vera_mobile.train.words import describe, measure

TASKS = ("auto", "style", "param")
MAX_ANSWER = 110


@dataclass(frozen=True)
class PlanConfig(StageConfig):
    """Settings of stage 3; `batch` counts samples per task. Weights are of the loss terms.

    psnr_weight: of the auto task's log10(mean square error), which is what PSNR averages;
    init: folder of an earlier plan run or of a checkpoint to start from.
    """

    good_share: float = 0.15
    foreign_text_share: float = 0.25
    no_text_share: float = 0.3
    noise_codes: float = 1.5
    text_weight: float = 0.25
    latent_weight: float = 0.5
    probe_weight: float = 0.2
    psnr_weight: float = 0.0
    measured_pixels: int = 400
    stage1: str = "runs/renderer"
    init: str = ""
    bf16: bool = True


@dataclass(frozen=True)
class Batch:
    """One step's samples, tasks in the order of TASKS, n each.

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


class Samples(Dataset[Batch]):
    """Batches by step number: the same seed and step give the same batch on every machine."""

    def __init__(self, pool: Tensor, vocabulary: Vocabulary, config: PlanConfig, size: int) -> None:
        self.pool, self.vocabulary, self.config, self.size = pool, vocabulary, config, size

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Batch:
        rng = step_rng(self.config.seed, step)
        n, c = self.config.batch, self.config
        pictures = [crop(self.pool, int(rng.integers(len(self.pool))), self.size, rng)
                    for _ in range(3 * n)]  # fmt: skip
        prompts, sliders = self._tasks(rng, n)
        pixels = torch.stack([pick_pixels(p, c.pixels, rng) for p in pictures])
        edited = develop(pixels, sliders)
        before = torch.cat([quantize8(edited[:n]), pixels[n:]])
        target = torch.cat([pixels[:n], edited[n:]])
        shown = torch.stack(pictures[: 2 * n])
        shown[:n] = develop_picture(shown[:n], sliders[:n])
        noise = torch.randn(shown.shape) * (float(rng.uniform(0, c.noise_codes)) / 255)
        shown = quantize8((shown + noise).clamp(0, 1))  # no trace of the edit but its colours
        answers = [self._answer(before[i], target[i], TASKS[i // n], rng) for i in range(3 * n)]
        learn = [True] * (3 * n)
        own = list(answers)
        for i in range(3 * n):
            kind = rng.random()
            if kind < c.foreign_text_share + c.no_text_share:
                foreign = kind < c.foreign_text_share
                answers[i] = own[i // n * n + int(rng.integers(n))] if foreign else []
                learn[i] = False
        return Batch(shown, before, target, sliders, prompts, answers, learn)

    def _tasks(self, rng: np.random.Generator, n: int) -> tuple[list, Tensor]:
        prompts, sliders = [], []
        for _ in range(n):
            good = rng.random() < self.config.good_share
            sliders.append(np.zeros(38, np.float32) if good else degradation(rng))
            prompts.append(self.vocabulary.auto())
        for _ in range(n):
            style, amount = draw(rng), float(rng.choice(list(AMOUNTS)))
            sliders.append(style.vector(amount))
            prompts.append(self.vocabulary.style(wording(style, amount, rng)))
        for _ in range(n):
            sliders.append(slider_set(rng))
            prompts.append(self.vocabulary.param(sliders[-1]))
        pairs = [(list(p.before), list(p.after)) for p in prompts]
        return pairs, torch.from_numpy(np.stack(sliders))

    def _answer(self, before: Tensor, target: Tensor, task: str, rng: np.random.Generator
                ) -> list[int]:  # fmt: skip
        m = self.config.measured_pixels
        text = describe(measure(before[:m].numpy()), measure(target[:m].numpy()), task, rng)
        return self.vocabulary.encode(text)[:MAX_ANSWER]


class PlanModel(nn.Module):
    """What stage 3 trains: the model and the slider probes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vera = VeraModel(config)
        hidden = config.language.hidden_size
        self.image_probe = nn.Linear(hidden, 38)
        self.hidden_probe = nn.Linear(3 * hidden, 38)


@torch.no_grad()
def smooth_slider_embeddings_(model: VeraModel, vocabulary: Vocabulary, seed: int) -> None:
    """Starts the fused slider tokens on a line per slider, so that near values are alike."""
    generator = torch.Generator().manual_seed(seed)
    weight = model.decoder.embedding.weight
    width = weight.shape[1]
    pieces = slider_pieces()
    for start in range(0, len(pieces), 22):
        base, line = (torch.randn(width, generator=generator) * s for s in (0.02, 0.08))
        for piece in pieces[start : start + 22]:
            value = (int(piece[-2:]) + 0.45) / 10 * (1 if piece[-3] == "+" else -1)
            weight[vocabulary.tokenizer.token_to_id(piece)] = base + value * line


@dataclass(frozen=True)
class Sequences:
    """Right-padded token rows: ids and mask (B, T), wanted next tokens (-100: not learned), and
    the positions (B, 3) whose hidden states emit the retouch tokens."""

    ids: Tensor
    mask: Tensor
    wanted: Tensor
    places: Tensor


def pack(vocabulary: Vocabulary, batch: Batch, rows: range, image_tokens: int) -> Sequences:
    """The rows of `batch` as sequences: prompt, room for the image, answer, two retouch tokens."""
    retouch = list(vocabulary.retouch)
    ids, wanted, places = [], [], []
    for i in rows:
        before, after = batch.prompts[i]
        prompt = before + [vocabulary.pad] * image_tokens + after
        answer = batch.answers[i]
        said = answer if batch.learn[i] else [-100] * len(answer)
        ids.append(torch.tensor(prompt + answer + retouch[:2]))
        # an answer without text must not teach that the look may come before the words
        emitted = retouch if answer else [-100, *retouch[1:]]
        wanted.append(torch.tensor([-100] * (len(prompt) - 1) + said + emitted))
        last = len(prompt) + len(answer) - 1
        places.append([last, last + 1, last + 2])
    pad = nn.utils.rnn.pad_sequence
    return Sequences(
        pad(ids, batch_first=True, padding_value=vocabulary.pad),
        pad([torch.ones(len(r), dtype=torch.bool) for r in ids], batch_first=True),
        pad(wanted, batch_first=True, padding_value=-100),
        torch.tensor(places),
    )


def read_rows(model: VeraModel, rows: Sequences, image: Tensor | None) -> tuple[Tensor, Tensor]:
    """Summed text cross-entropy and the retouch hidden states (B, 3, H) of packed rows.

    image: (B, t, H) tokens that stand after the task token, or None for the param task.
    """
    embeds = model.decoder.embed(rows.ids)
    if image is not None:
        t = image.shape[1]
        embeds = torch.cat([embeds[:, :1], image.to(embeds.dtype), embeds[:, 1 + t :]], 1)
    hidden = model.decoder(embeds, rows.mask)
    learned = rows.wanted >= 0
    logits = model.decoder.logits(hidden[learned]).float()
    text = F.cross_entropy(logits, rows.wanted[learned])
    index = rows.places[:, :, None].expand(-1, -1, hidden.shape[2])
    return text, hidden.gather(1, index).float()


def see(model: VeraModel, pictures: Tensor, learned: int) -> Tensor:
    """Image tokens of all pictures (B, S, S, 3); only the first `learned` pass gradients on.

    A style edit hardly depends on the photo, so its pictures are looked at, not learned from.
    """
    x = pictures.permute(0, 3, 1, 2)  # channels-last in memory: 1.6 times faster here
    with torch.no_grad():
        fixed = model.encode_image(x[learned:])
    return torch.cat([model.encode_image(x[:learned]), fixed])


def relative(out: Tensor, target: Tensor) -> Tensor:
    """Mean square error over the mean square of the target: 1 is what predicting zeros gives."""
    return F.mse_loss(out, target) / target.square().mean().clamp_min(1e-6)


def log_error(out: Tensor, target: Tensor) -> Tensor:
    """Mean over photos of log10(mean square error + 1e-4): beyond 40 dB nothing is to be won."""
    return (out - target).square().mean((1, 2)).add(1e-4).log10().mean()


def losses(model: PlanModel, teacher: StageModel, vocabulary: Vocabulary, batch: Batch,
           config: PlanConfig) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
    """Total loss and the figures for the log (PSNR per task, cross-entropy, probe)."""
    vera, n = model.vera, config.batch
    image = see(vera, batch.pictures, n)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        pictured = pack(vocabulary, batch, range(2 * n), image.shape[1])
        text1, hidden1 = read_rows(vera, pictured, image)
        text2, hidden2 = read_rows(vera, pack(vocabulary, batch, range(2 * n, 3 * n), 0), None)
    text, chosen = (2 * text1 + text2) / 3, torch.cat([hidden1, hidden2])
    latents = vera.retouch_head(chosen)
    out = vera.renderer(batch.before, latents, clamp=False)
    per_task = [pixel_loss(out[i * n : (i + 1) * n], batch.target[i * n : (i + 1) * n])
                for i in range(3)]  # fmt: skip
    with torch.no_grad():
        known = teacher.teacher(batch.sliders[n:])
    latent = relative(latents[n:], known)
    percent = batch.sliders / 50.0
    probe = relative(model.hidden_probe(chosen.flatten(1)), percent)
    probe = probe + relative(model.image_probe(image[:n].float().mean(1)), percent[:n])
    total = (torch.stack(per_task).sum() * 4.0 + config.text_weight * text
             + config.latent_weight * latent + config.probe_weight * probe
             + config.psnr_weight * log_error(out[:n], batch.target[:n]))  # fmt: skip
    figures = {"text": text.item(), "latent": latent.item(), "probe": probe.item()}
    with torch.no_grad():
        error = (out.clamp(0, 1) - batch.target).square().mean((1, 2)).clamp_min(1e-6)
        start = (batch.before - batch.target).square().mean((1, 2)).clamp_min(1e-6)
        gain = -10 * error.log10()
        for i, task in enumerate(TASKS):
            figures[f"{task}_psnr"] = gain[i * n : (i + 1) * n].mean().item()
        figures["alone_psnr"] = (-10 * start[:n].log10()).mean().item()
    return total, figures


def load_stage1(folder: Path, config: ModelConfig) -> StageModel:
    """Stage 1's renderer, reference encoder and teacher from its run folder."""
    file = folder / "state.safetensors"
    if not file.is_file():
        raise FileError(f"{file}: missing; run `vera train renderer --out {folder}` first")
    stage = StageModel(config)
    load_weights_(stage, read_state(file), file)
    return stage.eval().requires_grad_(False)


def take_weights_(model: PlanModel, folder: Path) -> None:
    """Starts from another run of this stage, whose optimizer state is left behind, or from a
    checkpoint, which has no probes."""
    file = folder / "state.safetensors"
    if file.is_file():
        load_weights_(model, read_state(file), file)
    elif (folder / WEIGHTS_FILE).is_file():
        model.vera.load_state_dict(load_checkpoint(folder).state_dict())
    else:
        raise FileError(
            f"{folder}: holds no run and no checkpoint; `init` names the folder of an earlier "
            "plan run or of a checkpoint"
        )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _batches(samples: Samples, start: int) -> Iterator[Batch]:
    loader: DataLoader[Batch] = DataLoader(
        samples, batch_size=None, sampler=range(start, len(samples)), num_workers=1,
        prefetch_factor=3, worker_init_fn=_one_thread,
    )  # fmt: skip
    return iter(loader)


def train_plan(
    pool: Tensor,
    model_config: ModelConfig,
    vocabulary: Vocabulary,
    config: PlanConfig,
    out: Path,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> VeraModel:
    """Trains stage 3 on `pool` (n, s, s, 3) uint8 from stage 1's run; resumes from `out`."""
    torch.manual_seed(config.seed)
    stage1 = load_stage1(Path(config.stage1), model_config)
    model = PlanModel(model_config)
    smooth_slider_embeddings_(model.vera, vocabulary, config.seed)
    model.vera.renderer.load_state_dict(stage1.renderer.state_dict())
    model.vera.reference_encoder.load_state_dict(stage1.reference_encoder.state_dict())
    model.vera.renderer.requires_grad_(False)
    model.vera.reference_encoder.requires_grad_(False).eval()
    model.vera.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.init:
        take_weights_(model, Path(config.init))
    run = Run(out, config, model)
    start = run.resume()
    model.train()
    model.vera.reference_encoder.eval()
    samples = Samples(pool, vocabulary, config, model_config.vision.image_size)
    smooth: dict[str, float] = {}
    for step, batch in enumerate(_batches(samples, start), start):
        torch.manual_seed(config.seed * 1_000_003 + step)
        loss, figures = losses(model, stage1, vocabulary, batch, config)
        run.step(step, loss)
        smooth = {k: 0.95 * smooth.get(k, v) + 0.05 * v for k, v in figures.items()}
        run.finish_step(step + 1, smooth)
        if on_step:
            on_step(step + 1, smooth)
    return model.vera.eval()


def save_nano(model: VeraModel, tokenizer: Path, folder: Path) -> None:
    """Writes the checkpoint that ships: safetensors in fp16, config and tokenizer."""
    save_checkpoint(model, folder, dtype=torch.float16)
    (folder / "model.safetensors").chmod(0o644)  # the library writes 0600; a package is for all
    if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
