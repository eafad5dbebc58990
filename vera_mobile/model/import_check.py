"""What must hold of public files before they are imported."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera_mobile.errors import FileError, ModelError, OutOfMemory
from vera_mobile.model.import_sources import Stored, StoredTensor, named
from vera_mobile.model.public_names import (
    ENCODER_RENDERER,
    TIED_HEAD,
    VLM,
    own_name,
    upstream_name,
)

EMBEDDING = "decoder.embedding.weight"
WORKING_BYTES = 256 << 20  # converted pieces and the interpreter's own needs, rounded up
_MEMORY_FILE = Path("/proc/meminfo")
_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class PublicFiles:
    """The weights of the public files: by source and our name, and those without a place."""

    own: Mapping[str, Stored]
    left_over: Stored
    head: StoredTensor | None

    @staticmethod
    def of(stored: Mapping[str, Stored]) -> PublicFiles:
        """Sorts the weights of each source ("vlm", "encoder_renderer") by our names."""
        own: dict[str, Stored] = {source: {} for source in stored}
        left_over: Stored = {}
        for source, entries in stored.items():
            for name, entry in entries.items():
                try:
                    key = own_name(name, source)
                except ModelError:
                    left_over[name] = entry
                else:
                    if key is not None:
                        own[source][key] = entry
        return PublicFiles(own, left_over, stored.get(VLM, {}).get(TIED_HEAD))

    def chosen(self, renderer_from: str) -> Stored:
        """One entry for each of our names; of two renderers the one of `renderer_from`."""
        ordered = sorted(self.own, key=lambda source: source == renderer_from)
        return {key: entry for source in ordered for key, entry in self.own[source].items()}


@dataclass(frozen=True)
class Unmatched:
    """Our names that the files lack, and names in the files that have no place in the model."""

    missing: tuple[str, ...]
    left_over: tuple[str, ...]


def match(
    files: PublicFiles,
    expected: Mapping[str, Tensor],
    *,
    allow_missing: Sequence[str],
    allow_left_over: Sequence[str],
) -> Unmatched:
    """Holds names, shapes and number types against the model's state.

    allow_*: shell patterns (`*`, `?`, `[]`) on our or the public names. Raises ModelError that
    names what is missing, left over or of a wrong shape and not allowed.
    """
    found = files.chosen(VLM)
    left = {**files.left_over, **{e.name: e for key, e in found.items() if key not in expected}}
    missing = sorted(set(expected) - set(found))
    _refuse_missing([key for key in missing if not _allowed(key, allow_missing)], files)
    refused = sorted(name for name in left if not _allowed(name, allow_left_over))
    if refused:
        raise ModelError(
            f"The public files hold {len(refused)} weights without a place in the model: "
            f"{named(refused)}. Use the files as published, or allow them (--allow-left-over)."
        )
    for entries in files.own.values():
        _check_shapes(entries, expected)
    return Unmatched(tuple(missing), tuple(sorted(left)))


def _allowed(name: str, patterns: Sequence[str]) -> bool:
    names = [name, *_public_names(name)]
    return any(fnmatchcase(one, pattern) for one in names for pattern in patterns)


def _public_names(key: str) -> list[str]:
    try:
        names = (upstream_name(key, source) for source in (VLM, ENCODER_RENDERER))
        return [name for name in names if name is not None]
    except ModelError:  # not a name of ours
        return []


def _refuse_missing(missing: list[str], files: PublicFiles) -> None:
    if not missing:
        return
    names = named(f"{key} (publicly {' or '.join(_public_names(key))})" for key in missing)
    advice = "Use the files as published, or allow it (--allow-missing)."
    if ENCODER_RENDERER not in files.own and any(key.startswith("reference_") for key in missing):
        advice = (
            "Give the second public file too (--encoder-renderer), or do without looks from "
            "reference photos (--allow-missing 'reference_encoder.*')."
        )
    raise ModelError(f"The public files lack {len(missing)} weights: {names}. {advice}")


def _check_shapes(entries: Stored, expected: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{entry.name} is {list(entry.shape)} instead of {list(expected[key].shape)}"
        for key, entry in sorted(entries.items())
        if key in expected and entry.shape != tuple(expected[key].shape)
    ]
    if wrong:
        raise ModelError(
            f"The public files have {len(wrong)} weights of a wrong shape: {named(wrong)}. "
            "Use the files as published, or a config of their shape (--config)."
        )
    kinds = [
        f"{entry.name} is {entry.dtype}"
        for key, entry in sorted(entries.items())
        if key in expected
        and entry.dtype.is_floating_point != expected[key].dtype.is_floating_point
    ]
    if kinds:
        raise ModelError(
            f"The public files have {len(kinds)} weights of a wrong number type: {named(kinds)}. "
            "Use the files as published, not quantized ones."
        )


def check_tied_head(files: PublicFiles, *, tied: bool) -> None:
    """The output layer must be the embedding table: it is kept once.

    tied: what config.json says. Raises ModelError where they differ, or where config.json speaks of
    a head of its own and the file has none.
    """
    embedding = files.own.get(VLM, {}).get(EMBEDDING)
    if embedding is None:
        return
    if files.head is None:
        if not tied:
            raise ModelError(
                f"The public files lack {TIED_HEAD}, which config.json says is not the embedding "
                "(tie_word_embeddings false): download the files again."
            )
        return
    if files.head.shape != embedding.shape:
        raise ModelError(
            f"{TIED_HEAD} is {list(files.head.shape)} and {embedding.name} is "
            f"{list(embedding.shape)}: they must be equal, the model keeps one table."
        )
    head, table = files.head.read(), embedding.read()
    # rows in turn: two tables of different types are never both in memory as float32
    rows = [row for row in range(0, head.shape[0], 4096) if not _same_rows(head, table, row)]
    if rows:
        raise ModelError(
            f"{TIED_HEAD} differs from {embedding.name} (first in rows {rows[0]}.."
            f"{min(rows[0] + 4096, head.shape[0]) - 1}): the model keeps one table for both; use "
            "a checkpoint with tied embeddings."
        )


def _same_rows(left: Tensor, right: Tensor, begin: int) -> bool:
    part = slice(begin, begin + 4096)
    return torch.equal(left[part].float(), right[part].float())


def differing_renderer(files: PublicFiles, *, strict: bool) -> tuple[str, ...]:
    """Our names of the renderer's weights that the two files hold with different values.

    Two values are the same where they lie within one step of the coarser of the two stored types.
    strict: raises ModelError that names the first. Empty where only one file has a renderer.
    """
    vlm, encoder = (files.own.get(source, {}) for source in (VLM, ENCODER_RENDERER))
    differing = []
    for key in sorted(set(vlm) & set(encoder)):
        distance = _distance(vlm[key], encoder[key])
        if distance is None:
            continue
        if strict:
            raise ModelError(
                f"The renderer differs between the public files, first in {vlm[key].name} and "
                f"{encoder[key].name} (by up to {distance:.3g}, in {vlm[key].file.name} and "
                f"{encoder[key].file.name}): use files of one release, or say which one counts "
                "(--renderer-from vlm or encoder-renderer)."
            )
        differing.append(key)
    return tuple(differing)


def _distance(one: StoredTensor, other: StoredTensor) -> float | None:
    """The largest difference, None where all are within the stored precision."""
    left, right = one.read().double(), other.read().double()
    coarse = max((torch.finfo(entry.dtype) for entry in (one, other)), key=lambda info: info.eps)
    allowed = coarse.eps * torch.maximum(left.abs(), right.abs()) + coarse.tiny
    gaps = (left - right).abs()
    # written so that NaN counts as a difference
    return None if bool((gaps <= allowed).all()) else float(gaps.max())


def check_room(out: Path, size_bytes: int, weights: Iterable[StoredTensor]) -> None:
    """Raises FileError for too little disk below `out`, OutOfMemory for too little memory.

    size_bytes: of the weights to write. Memory is only known where the system tells (Linux).
    """
    parent = next(place for place in (out.parent, *out.absolute().parents) if place.is_dir())
    needed = size_bytes + _HEADER_BYTES
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise FileError(
            f"Checkpoint {out} needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free on its "
            "disk: free some space, choose another folder, or a smaller type (--dtype)."
        )
    largest = max((entry.size_bytes for entry in weights), default=0)
    needed = 2 * largest + WORKING_BYTES  # the embedding table and its tied copy at once
    available = available_memory()
    if available is not None and available < needed:
        raise OutOfMemory(
            f"The import needs {needed / 1e6:.0f} MB of memory and {available / 1e6:.0f} MB are "
            "available: close other programs or use another machine."
        )


def available_memory() -> int | None:
    """Bytes of memory that new work can have, None where the system does not tell."""
    try:
        lines = _MEMORY_FILE.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found and found[0].isdigit() else None


def tied_by(hf: Mapping[str, Any] | None) -> bool:
    """Whether the public config.json ties head and embedding (they are where it is silent)."""
    return hf is None or hf.get("tie_word_embeddings") is not False
