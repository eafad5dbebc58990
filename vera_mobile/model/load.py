"""Checkpoints: a folder with model.safetensors and config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.import_sources import Stored, open_safetensors
from vera_mobile.model.vlm import VeraModel

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_NAMED_IN_ERRORS = 5
_PIECE = 1 << 22  # values


def save_checkpoint(
    model: VeraModel, folder: str | Path, *, dtype: torch.dtype = torch.float32
) -> Path:
    """Writes model.safetensors (weights as `dtype`) and config.json; returns the folder.

    Each file is replaced as a whole or not at all. Raises InvalidArgument for a dtype other than
    float32, float16, bfloat16, ModelError for weights that are not finite in it, FileError.
    """
    check_dtype(dtype)
    weights = {
        key: tensor.detach().to("cpu", _stored_dtype(tensor, dtype)).contiguous()
        for key, tensor in model.state_dict().items()
    }
    bad = (key for key, tensor in weights.items() if not _is_finite(tensor))
    _refuse_not_finite(bad, f"a checkpoint of {dtype_name(dtype)}")
    folder = Path(folder)
    weights_part, config_part = (folder / f"{name}.part" for name in (WEIGHTS_FILE, CONFIG_FILE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, weights_part)
        config_part.write_text(config_text(model.config), encoding="utf-8")
        os.replace(weights_part, folder / WEIGHTS_FILE)
        os.replace(config_part, folder / CONFIG_FILE)
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"Checkpoint {folder} cannot be written ({error}): choose a folder with room and "
            "write permission."
        ) from error
    finally:
        for part in (weights_part, config_part):
            if part.exists():
                part.unlink()
    return folder


def load_checkpoint(
    folder: str | Path, dtype: torch.dtype = torch.float32, *, only: Collection[str] = ()
) -> VeraModel:
    """The model of a checkpoint folder, in evaluation mode, with weights of `dtype`.

    only: names of parts (vera_mobile.model.vlm.PARTS); the others stay without memory (on the meta
    device) and cannot run. Empty: all.

    Nothing in the folder is executed. Memory: the weights as `dtype`, and one mapped from the file.
    Raises FileError for a missing or damaged file, ModelError for a pickle, a wrong config and for
    missing, left-over, wrongly shaped or non-finite weights (named in the message),
    InvalidArgument for a dtype other than float32, float16, bfloat16.
    """
    check_dtype(dtype)
    folder = Path(folder)
    weights = _open(_weights_path(folder))
    return _assemble(read_config(folder / CONFIG_FILE), weights, dtype, str(folder), only)


def read_config(path: str | Path) -> ModelConfig:
    """The config of a checkpoint's config.json. Raises FileError, ModelError for a wrong one."""
    path = Path(path)
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FileError(f"Config {path} cannot be read ({error}): check the path.") from error
    except ValueError as error:
        raise ModelError(f"Config {path} is not JSON ({error}): copy it again.") from error
    except InvalidArgument as error:
        raise ModelError(f"Config {path} does not fit this release. {error}") from error


def config_text(config: ModelConfig) -> str:
    """The content of config.json."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def check_dtype(dtype: torch.dtype) -> None:
    """Raises InvalidArgument for a dtype other than float32, float16, bfloat16."""
    if dtype not in FLOAT_DTYPES:
        names = ", ".join(dtype_name(entry) for entry in FLOAT_DTYPES)
        raise InvalidArgument(f"Checkpoint dtype {dtype_name(dtype)} not allowed: use {names}.")


def dtype_name(dtype: torch.dtype) -> str:
    """The name without its module: "float16"."""
    return str(dtype).removeprefix("torch.")


def _assemble(
    config: ModelConfig, weights: Stored, dtype: torch.dtype, place: str, only: Collection[str]
) -> VeraModel:
    with torch.device("meta"):
        model = VeraModel(config)
    _check_keys(model.state_dict(), weights, place)
    converted: dict[str, Tensor] = {}
    bad: dict[str, list[str]] = {place: [], f"{place} as {dtype_name(dtype)}": []}
    for key, entry in weights.items():
        if only and key.partition(".")[0] not in only:
            continue
        stored = entry.read()
        # a copy, and not a view into the mapped file: aligned (the last bits of a result depend on
        # it) and safe from whoever writes to the file later
        converted[key] = stored.to(_stored_dtype(stored, dtype), copy=True)
        for where, value in zip(bad, (stored, converted[key]), strict=True):
            if not _is_finite(value):
                bad[where].append(key)
                break
    for where, keys in bad.items():
        _refuse_not_finite(keys, where)
    model.load_state_dict(converted, strict=not only, assign=True)
    if not only or "decoder" in only:
        model.decoder.reset_rope_()
    return model.eval()


def _stored_dtype(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype if tensor.is_floating_point() else tensor.dtype


def _named(keys: list[str]) -> str:
    more = len(keys) - _NAMED_IN_ERRORS
    return ", ".join(keys[:_NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")


def _check_keys(expected: Mapping[str, Tensor], found: Stored, place: str) -> None:
    missing = sorted(set(expected) - set(found))
    if missing:
        raise ModelError(
            f"Checkpoint {place} lacks {len(missing)} weights: {_named(missing)}. "
            "Use files of the same model shape as the config."
        )
    extra = sorted(set(found) - set(expected))
    if extra:
        raise ModelError(
            f"Checkpoint {place} holds {len(extra)} weights without a place in the model: "
            f"{_named(extra)}. Use the config that it was saved with."
        )
    wrong = [
        f"{key} is {list(found[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if found[key].shape != tuple(tensor.shape)
    ]
    if wrong:
        raise ModelError(
            f"Checkpoint {place} has {len(wrong)} weights of a wrong shape: {_named(wrong)}. "
            "Use the config that it was saved with."
        )


def _is_finite(tensor: Tensor) -> bool:
    # piece by piece: the check makes a copy of what it looks at
    pieces = tensor.reshape(-1).split(_PIECE)
    return all(bool(torch.isfinite(piece).all()) for piece in pieces)


def _refuse_not_finite(keys: Iterable[str], place: str) -> None:
    bad = sorted(keys)
    if bad:
        raise ModelError(
            f"Weights of {place} hold NaN or infinity in {_named(bad)}: train or download them "
            "again, or choose a dtype of larger range."
        )


def _weights_path(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    if path.is_file():
        return path
    pickles = sorted(entry.name for entry in folder.glob("*") if _has_pickle_name(entry))
    if pickles:
        raise _pickle_error(folder / pickles[0])
    raise FileError(
        f"Checkpoint {folder} has no {WEIGHTS_FILE}: give a folder that save_checkpoint wrote."
    )


def _has_pickle_name(path: Path) -> bool:
    return path.suffix.lower() in _PICKLE_SUFFIXES


def _pickle_error(path: Path) -> ModelError:
    return ModelError(
        f"Weights {path} are a Python pickle, which can run code when read: convert them to "
        "safetensors where that is safe."
    )


def _open(path: Path) -> Stored:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise FileError(f"Weights {path} cannot be read ({error}): check the path.") from error
    if _has_pickle_name(path) or start.startswith(_PICKLE_STARTS):
        raise _pickle_error(path)
    return open_safetensors(path)
