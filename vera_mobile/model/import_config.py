"""The shape of public files, read off their weights and their config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vera_mobile.errors import FileError, ModelError
from vera_mobile.model.config import ModelConfig

HF_CONFIG = "config.json"

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  # by our own name of the weight

# our setting -> the names of the same setting in the public config.json
_HF_NAMES = {
    "language.vocab_size": ("vocab_size",),
    "language.hidden_size": ("hidden_size",),
    "language.layers": ("num_hidden_layers",),
    "language.heads": ("num_attention_heads",),
    "language.kv_heads": ("num_key_value_heads",),
    "language.intermediate_size": ("intermediate_size",),
    "language.rope_theta": ("rope_theta", "rope_parameters.rope_theta"),
    "language.rms_eps": ("rms_norm_eps",),
}
_TOWER_NAME = re.compile(r"mobileclip_l_(\d+)")
_BLOCK_OF_STAGE = (1, 2, 4, 6)  # the block of the reference encoder that sets a stage's width


def read_hf_config(folder: Path) -> dict[str, Any]:
    """The public config.json as a table. Raises FileError, ModelError where it is no JSON table."""
    path = folder / HF_CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(
            f"Config {path} cannot be read ({error}): download it, or name a config of this "
            "release (--config)."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"Config {path} is not JSON ({error}): download it again.") from error
    if not isinstance(values, dict):
        raise ModelError(f"Config {path} is no table: download it again.")
    return values


def settings_of(config: ModelConfig) -> dict[str, Any]:
    """The settings of a config as one flat table, "language.layers" and so on."""
    return {
        f"{part}.{name}": tuple(value) if isinstance(value, list) else value
        for part, values in config.to_dict().items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def stated_settings(hf: Mapping[str, Any]) -> dict[str, Any]:
    """What the public config.json says, under our names; settings that it lacks are left out."""
    found = {}
    for ours, theirs in _HF_NAMES.items():
        values = [value for name in theirs if (value := _look_up(hf, name)) is not None]
        if values:
            found[ours] = values[0]
    if isinstance(hf.get("head_dim"), int):
        found["language.head_dim"] = hf["head_dim"]
    tower = _TOWER_NAME.search(str(hf.get("mm_vision_tower", "")))
    if tower:
        found["vision.image_size"] = int(tower[1])
    return found


def measured_settings(shapes: Shapes, config: ModelConfig) -> dict[str, Any]:
    """What the weights say; settings whose weights are absent or of another rank are left out.

    config: only for what shapes cannot tell (the size of an attention head, the group count).
    """
    rules: dict[str, Callable[[], Any]] = {
        "language.vocab_size": lambda: _dim(shapes, "decoder.embedding.weight", 0),
        "language.hidden_size": lambda: _dim(shapes, "decoder.embedding.weight", 1),
        "language.layers": lambda: _count(shapes, "decoder.layers"),
        "language.heads": lambda: (
            _dim(shapes, "decoder.layers.0.attention.q_proj.weight", 0) // config.language.head_dim
        ),
        "language.kv_heads": lambda: (
            _dim(shapes, "decoder.layers.0.attention.k_proj.weight", 0) // config.language.head_dim
        ),
        "language.intermediate_size": lambda: _dim(
            shapes, "decoder.layers.0.mlp.gate_proj.weight", 0
        ),
        "renderer.widths": lambda: tuple(
            _dim(shapes, f"renderer.layers.{layer}.weight", 0)
            for layer in range(_count(shapes, "renderer.layers"))
        ),
        "renderer.latent_size": lambda: (
            _dim(shapes, "renderer.latent_projections.0.weight", 1) // 3
        ),
        "encoder.widths": lambda: tuple(
            _dim(shapes, f"reference_encoder.blocks.{block}.first.conv.weight", 0)
            for block in _BLOCK_OF_STAGE
        ),
        **_vision_rules(shapes),
    }
    found = {}
    for name, rule in rules.items():
        try:
            found[name] = rule()
        except (
            KeyError,
            IndexError,
            ZeroDivisionError,
        ):  # the weight's absence is reported by its name later
            continue
    return found


def _vision_rules(shapes: Shapes) -> dict[str, Callable[[], Any]]:
    first = "vision.stages.{}.blocks.0.ffn.{}.weight"
    return {
        "vision.embed_dims": lambda: tuple(
            _dim(shapes, first.format(stage, "depthwise"), 0) for stage in range(5)
        ),
        "vision.depths": lambda: tuple(
            _count(shapes, f"vision.stages.{stage}.blocks") for stage in range(5)
        ),
        "vision.mlp_ratio": lambda: (
            _dim(shapes, first.format(0, "expand"), 0) // _dim(shapes, first.format(0, "expand"), 1)
        ),
        "vision.exp_ratio": lambda: (
            _dim(shapes, "vision.expand.conv.weight", 0)
            // _dim(shapes, first.format(4, "depthwise"), 0)
        ),
    }


def check_settings(config: ModelConfig, shapes: Shapes, hf: Mapping[str, Any] | None) -> None:
    """Holds the files against `config`; hf: the public config.json where there is one.

    Raises ModelError that shows every setting in which config.json, the weights and `config`
    differ.
    """
    wanted = settings_of(config)
    said = {} if hf is None else stated_settings(hf)
    sources = {"weights": measured_settings(shapes, config), HF_CONFIG: said}
    wrong = [
        f"{name} is {found[name]} by {source}, {value} in {config.name}"
        for name, value in wanted.items()
        for source, found in sources.items()
        if name in found and found[name] != value
    ]
    if wrong:
        raise ModelError(
            f"The public files are not of the shape of {config.name}: {'; '.join(wrong)}. "
            "Use the files as published, or give a config of their shape (--config)."
        )


def _look_up(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _dim(shapes: Shapes, key: str, axis: int) -> int:
    return shapes[key][axis]


def _count(shapes: Shapes, prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    numbers = [int(match[1]) for key in shapes if (match := pattern.match(key))]
    if not numbers:
        raise KeyError(prefix)
    return max(numbers) + 1
