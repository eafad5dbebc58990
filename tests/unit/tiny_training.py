"""A model and photos so small that a stage trains in seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from vera_mobile.assets import checkpoint_folder
from vera_mobile.model.config import EncoderConfig, ModelConfig, RendererConfig, vera_nano
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train import data
from vera_mobile.train.renderer import RendererConfig as Stage1Config
from vera_mobile.train.renderer import train_renderer

SETTINGS: dict[str, Any] = {
    "batch": 2,
    "pixels": 64,
    "warmup": 2,
    "save_every": 2,
    "log_every": 1,
    "threads": 1,
}


def tiny_model() -> ModelConfig:
    """vera-nano with one decoder layer and 64 x 64 pictures."""
    base = vera_nano()
    return replace(
        base,
        name="tiny",
        vision=replace(base.vision, image_size=64),
        language=replace(base.language, layers=1, intermediate_size=64),
        renderer=RendererConfig(widths=(16, 16, 16), latent_size=256, residual=True),
        encoder=EncoderConfig(image_size=64, widths=(16, 16, 16, 16)),
    )


def write_photos(folder: Path) -> Path:
    """12 photos: 9 of the training split, the others of val and test."""
    from skimage import data as skimage_data

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(12):
        picture = getattr(skimage_data, ("chelsea", "coffee")[i % 2])()
        Image.fromarray(np.roll(picture, 30 * i, 1)).save(folder / f"{i:02d}.jpg")
    return folder


def write_model(folder: Path) -> Path:
    """The tiny model's config.json, as the key `model` takes it."""
    file = folder / "tiny.json"
    file.write_text(json.dumps(tiny_model().to_dict()))
    return file


def pool_of(photos: Path) -> Tensor:
    """The training photos at the tiny model's size."""
    return data.load_pool(data.list_photos(photos, "train"), 64)


def nano_words() -> Vocabulary:
    """The bundled tokenizer."""
    return Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")


def stage1_run(pool: Tensor, out: Path) -> Path:
    """Stage 1 of the tiny model after two steps."""
    config = Stage1Config(steps=2, **SETTINGS)
    train_renderer(pool, tiny_model(), config, out)
    return out


def state_hash(run: Path) -> str:
    """sha256 of a run's state file."""
    return hashlib.sha256((run / "state.safetensors").read_bytes()).hexdigest()


def settings(**more: object) -> list[str]:
    """SETTINGS and more as --set arguments."""
    pairs = {**SETTINGS, **more}
    return [a for k, v in pairs.items() for a in ("--set", f"{k}={_toml(v)}")]


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def largest_gap(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Largest distance of two tensors of the same name, as a share of the first one's size."""
    assert set(one) == set(other)
    gaps = [float((v - other[k]).norm() / v.norm().clamp_min(1e-12)) for k, v in one.items()]
    return max(gaps)


def moments(run: Path) -> dict[str, Tensor]:
    """AdamW's first moments of a saved state: sums of the gradients that it has seen."""
    state = load_file(run / "state.safetensors")
    return {k: v for k, v in state.items() if k.startswith("m/")}
