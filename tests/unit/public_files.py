"""Files with the names and shapes of the public checkpoints, and seeded values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vera_mobile.model.config import (
    EncoderConfig,
    LanguageConfig,
    ModelConfig,
    RendererConfig,
    VisionConfig,
)
from vera_mobile.model.import_checkpoint import ImportOptions, ImportReport, import_checkpoint
from vera_mobile.model.public_names import ENCODER_RENDERER, SOURCES, VLM, upstream_name
from vera_mobile.model.vlm import VeraModel

TINY = ModelConfig(
    name="tiny",
    vision=VisionConfig(
        image_size=64,
        embed_dims=(8, 8, 16, 32, 32),
        depths=(1, 1, 1, 1, 1),
        mlp_ratio=1,
        unused_projection=True,
    ),
    language=LanguageConfig(
        vocab_size=11,
        hidden_size=16,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=8,
        intermediate_size=16,
        max_length=8,
        rope_theta=1e4,
    ),
    renderer=RendererConfig(widths=(8, 8, 8), latent_size=16),
    encoder=EncoderConfig(image_size=32, widths=(4, 4, 8, 16), reduction=4),
)


def uniform(key: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """float32 values in [0, 1), from the name and the seed alone.

    Made of PCG64's raw bits, which NumPy keeps the same in all releases (NEP 19), by exact steps
    only: the same on every machine.
    """
    digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:8], "little")).random_raw(int(np.prod(shape)))
    values = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return torch.from_numpy(values.reshape(shape))


def seeded(key: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """float32 values of a weight, of a size that keeps signals neither small nor large."""
    values = (2.0 * uniform(key, shape, seed) - 1.0) * 3.0**0.5  # mean 0, variance 1
    if key.endswith("running_var"):
        return 1.0 + 0.1 * values.abs()
    if key.endswith("weight") and len(shape) == 1:
        return 1.0 + 0.1 * values
    if len(shape) > 1 and shape[1:] != (1, 1):
        return values / float(np.prod(shape[1:])) ** 0.5
    return 0.1 * values


def seeded_state(state: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Seeded values for a whole state (its counters are 0)."""
    return {
        key: seeded(key, tuple(tensor.shape), seed)
        if tensor.dtype.is_floating_point
        else torch.zeros_like(tensor, device="cpu")
        for key, tensor in state.items()
    }


def hf_config(config: ModelConfig) -> dict[str, Any]:
    """The public config.json of a shape, as far as an import reads it."""
    language = config.language
    return {
        "vocab_size": language.vocab_size,
        "hidden_size": language.hidden_size,
        "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads,
        "num_key_value_heads": language.kv_heads,
        "intermediate_size": language.intermediate_size,
        "rope_theta": language.rope_theta,
        "rms_norm_eps": language.rms_eps,
        "tie_word_embeddings": True,
        "mm_vision_tower": f"mobileclip_l_{config.vision.image_size}",
    }


def public_states(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A state of ours under the names of the two public files, copies throughout."""
    named: dict[str, dict[str, Tensor]] = {
        source: {
            name: tensor.clone()
            for key, tensor in state.items()
            if (name := upstream_name(key, source)) is not None
        }
        for source in SOURCES
    }
    named[VLM]["lm_head.weight"] = state["decoder.embedding.weight"].clone()
    return named


def write_vlm(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    *,
    shards: int = 1,
    edit: Callable[[dict[str, str]], None] | None = None,
) -> Path:
    """A Hugging Face folder with one file, or shards and an index that `edit` may change."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(config)))
    if shards == 1:
        save_file(dict(weights), folder / "model.safetensors")
        return folder
    names = sorted(weights)
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: weights[name] for name in names[shard::shards]}, folder / file)
        places |= dict.fromkeys(names[shard::shards], file)
    if edit is not None:
        edit(places)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


OPTIONS = ImportOptions(config=TINY)


def tiny_model(seed: int = 0) -> VeraModel:
    """A model of the tiny shape with seeded weights."""
    model = VeraModel(TINY)
    model.load_state_dict(seeded_state(model.state_dict(), seed))
    return model.eval()


@dataclass
class Files:
    """The two public files, to be changed before `write` and imported to `out`."""

    root: Path
    vlm: dict[str, Tensor]
    encoder: dict[str, Tensor]
    config: ModelConfig
    shards: int = 1
    edit: Callable[[dict[str, str]], None] | None = None

    @staticmethod
    def of(model: VeraModel, root: Path) -> Files:
        """Files of a model's weights."""
        states = public_states(model.state_dict())
        return Files(root, states[VLM], states[ENCODER_RENDERER], model.config)

    @property
    def out(self) -> Path:
        """Where the checkpoint goes."""
        return self.root / "made" / "checkpoint"

    @property
    def folder(self) -> Path:
        """The Hugging Face folder."""
        return self.root / "vlm"

    def write(self) -> Files:
        """Writes both; returns itself."""
        write_vlm(self.folder, self.vlm, self.config, shards=self.shards, edit=self.edit)
        save_file(self.encoder, self.root / "encoder_renderer.safetensors")
        return self

    def run(self, options: ImportOptions = OPTIONS, **more: Any) -> ImportReport:
        """Imports to `out`."""
        second = {"encoder_renderer": self.root / "encoder_renderer.safetensors", **more}
        return import_checkpoint(self.folder, self.out, options=options, **second)

    def refused(self, kind: type[Exception], match: str, *args: Any, **more: Any) -> None:
        """The import fails with this message and leaves nothing behind."""
        with pytest.raises(kind, match=match):
            self.run(*args, **more)
        assert not self.out.exists()
        assert not self.out.parent.exists() or not list(self.out.parent.iterdir())
