"""The weights of public files as they lie on disk: names, shapes and types first, values later.

Nothing here executes what a file holds, and no more than one weight is in memory at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vera_mobile.errors import FileError, ModelError

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
STATE_KEY = "model_state_dict"
NAMED_IN_ERRORS = 10

_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}
_KNOWN = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES.values())
_ZIP_START = b"PK\x03\x04"
_PLAIN_NAME = re.compile(r"[^/\\:\0]+\.safetensors")


@dataclass(frozen=True)
class StoredTensor:
    """One weight of a file; `read()` gives it on the CPU, mapped from the file where it can be."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor] = field(repr=False, compare=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of the values in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


Stored = dict[str, StoredTensor]


def named(keys: Iterable[str]) -> str:
    """The first ten of `keys` for a message, and how many more there are."""
    known = list(keys)
    more = len(known) - NAMED_IN_ERRORS
    return ", ".join(known[:NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")


def open_vlm(folder: Path) -> Stored:
    """The weights of a Hugging Face folder: model.safetensors, or shards and their index.

    Raises FileError for a missing folder, file or shard and for damaged files, ModelError for an
    index that leaves the folder or disagrees with its shards, and for pickles (never read here).
    """
    if not folder.is_dir():
        raise FileError(f"Checkpoint {folder} is not a folder: give the one with {SINGLE_FILE}.")
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if index.is_file():
        if single.is_file() and set(_weight_map(index).values()) != {SINGLE_FILE}:
            raise ModelError(
                f"Checkpoint {folder} holds both {SINGLE_FILE} and {INDEX_FILE}, which names other "
                "files: remove the set that is not meant."
            )
        return _open_shards(folder, _weight_map(index))
    if single.is_file():
        return open_safetensors(single)
    if any(folder.glob("*.safetensors")):
        raise FileError(f"Shards in {folder} have no {INDEX_FILE}: download it beside them.")
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise ModelError(
            f"Checkpoint {folder} holds {pickles[0]}, a Python pickle, and no safetensors: "
            "download the safetensors files."
        )
    raise FileError(f"Checkpoint {folder} has no {SINGLE_FILE}: download the checkpoint there.")


def open_encoder_renderer(path: Path) -> Stored:
    """The weights of the second public file: .safetensors, or .pth with `model_state_dict`.

    A .pth is read with PyTorch's restricted reader, which builds tensors and plain containers and
    runs nothing. Raises FileError for a missing or damaged file, ModelError for a pickle that holds
    code or something else than named tensors.
    """
    if not path.is_file():
        raise FileError(f"Weights {path} are missing: give encoder_renderer.pth or .safetensors.")
    return open_safetensors(path) if path.suffix == ".safetensors" else _open_pth(path)


def open_safetensors(path: Path) -> Stored:
    """The weights of one file. Raises FileError, ModelError for a number type not handled."""
    stored: Stored = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                dtype = _known_dtype(_DTYPES.get(part.get_dtype()), part.get_dtype(), name, path)
                shape = tuple(part.get_shape())
                stored[name] = StoredTensor(name, path, shape, dtype, _reader(path, name))
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return stored


def _reader(path: Path, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        # opened for each weight: the pages of those read before leave the process with the mapping
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error

    return read


def _damaged(path: Path, error: Exception) -> FileError:
    return FileError(
        f"Weights {path} are damaged or not safetensors ({error}): copy or download them again."
    )


def _known_dtype(dtype: torch.dtype | None, said: object, name: str, path: Path) -> torch.dtype:
    if dtype is None:
        raise ModelError(
            f"Weight '{name}' of {path} is {said}: use a file with {_KNOWN}, not a quantized one."
        )
    return dtype


def _weight_map(index: Path) -> dict[str, str]:
    try:
        values: Any = json.loads(index.read_text(encoding="utf-8"))
        entries = values["weight_map"]
        if not isinstance(entries, dict) or not entries:
            raise TypeError("weight_map is not a table of names")
    except OSError as error:
        raise FileError(f"Index {index} cannot be read ({error}): check the path.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"Index {index} is no weight_map ({error}): download it again.") from error
    for name, file in entries.items():
        if not isinstance(file, str) or not _PLAIN_NAME.fullmatch(file):
            raise ModelError(
                f"Index {index} places '{name}' in {file!r}: only names of .safetensors files in "
                "the same folder are allowed; download the index again."
            )
    return entries


def _open_shards(folder: Path, places: dict[str, str]) -> Stored:
    files = sorted(set(places.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise FileError(
            f"Checkpoint {folder} lacks {len(missing)} of {len(files)} shards: {named(missing)}. "
            "Download them into the folder."
        )
    stored: Stored = {}
    for file in files:
        shard = open_safetensors(folder / file)
        listed = {name for name, place in places.items() if place == file}
        wrong = sorted(listed ^ set(shard))
        if wrong:
            raise ModelError(
                f"Index {INDEX_FILE} and shard {file} in {folder} disagree on {len(wrong)} "
                f"weights: {named(wrong)}. Download index and shards of the same version."
            )
        stored |= shard
    return stored


def _open_pth(path: Path) -> Stored:
    content = _load_pth(path)
    if not isinstance(content, dict) or not isinstance(content.get(STATE_KEY), dict):
        kind = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ModelError(
            f"Weights {path} hold {kind} and no table '{STATE_KEY}': use the public "
            "encoder_renderer.pth."
        )
    stored: Stored = {}
    for name, value in content[STATE_KEY].items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ModelError(
                f"Entry {name!r} of '{STATE_KEY}' in {path} is {type(value).__name__}: only named "
                "dense tensors are allowed; use the public encoder_renderer.pth."
            )
        known = value.dtype if value.dtype in _DTYPES.values() else None
        dtype = _known_dtype(known, value.dtype, name, path)
        stored[name] = StoredTensor(
            name, path, tuple(value.shape), dtype, partial(Tensor.detach, value)
        )
    return stored


def _is_plain(value: object) -> bool:
    """True for a tensor whose values are all there; a `meta` one has only a shape."""
    return (
        isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    )


def _load_pth(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            mappable = file.read(len(_ZIP_START)) == _ZIP_START
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except OSError as error:
        raise FileError(f"Weights {path} cannot be read ({error}): check the path.") from error
    except Exception as error:  # PyTorch's reader raises a dozen kinds, one of them of `pickle`
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if "Weights only load failed" in str(error):
            raise ModelError(
                f"Weights {path} were not read: they are damaged, or hold more than tensors, such "
                f"as code that would run ({type(error).__name__}). Use the public file, or save "
                "its tensors as .safetensors where that is safe."
            ) from error
        raise FileError(
            f"Weights {path} are damaged ({reason}): copy or download them again."
        ) from error
