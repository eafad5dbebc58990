"""Shards: tar files of samples in WebDataset form, the same bytes on every build.

A shard is `SPLIT-00012.tar`; beside it `SPLIT-00012.json` says what it holds. Both are written
under temporary names and renamed, the tar first, so a shard that has its JSON is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.files import replacing
from vera_mobile.train.engine.config import EngineConfig, open_sources
from vera_mobile.train.engine.samples import make_sample

OWNER = "vera"
HASH_BLOCK = 1 << 20

Entry = dict[str, Any]
"""What is known of a shard: file, index, sha256, bytes, samples, tasks, licences, fingerprint, and
rows: for each sample its key, task, origin, and by suffix where its files lie (offset, size)."""


def shard_name(split: str, index: int) -> str:
    """File name without suffix, "train-00012"."""
    return f"{split}-{index:05d}"


def build_shard(
    config: EngineConfig,
    index: int,
    out: str | Path,
    fingerprint: str,
    on_sample: Callable[[], None] | None = None,
) -> Entry:
    """Writes shard `index` into `out` and returns its entry; a finished one is kept.

    The bytes depend on the settings, the source files and the index alone, given the same releases
    of the libraries and the same kind of processor. Any process on any machine that sees the same
    folders may build any shard; who comes second finds it done. Errors: FileError.
    """
    done = finished(config, index, out, fingerprint)
    if done is not None:
        if on_sample:
            for _ in range(done["samples"]):
                on_sample()
        return done
    name = shard_name(config.split, index)
    path = Path(out) / f"{name}.tar"
    numbers = range(index * config.per_shard, min(config.samples, (index + 1) * config.per_shard))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # how work is split moves last bits; shards run beside each other
    try:
        with replacing(path) as stream:
            tasks, licences = _write(stream, config, numbers, on_sample)
    finally:
        torch.set_num_threads(threads)
    entry: Entry = {
        "file": path.name, "index": index, "sha256": sha256_file(path),
        "bytes": path.stat().st_size, "samples": len(numbers), "tasks": dict(sorted(tasks.items())),
        "licences": dict(sorted(licences.items())), "fingerprint": fingerprint,
        "rows": _rows(path),
    }  # fmt: skip
    with replacing(path.with_suffix(".json")) as stream:
        stream.write(json.dumps(entry, sort_keys=True).encode())
    return entry


def finished(config: EngineConfig, index: int, out: str | Path, fingerprint: str) -> Entry | None:
    """The entry of a shard that is there and whole (its sha256 fits), or None.

    Raises InvalidArgument when the folder holds a shard of other settings or photos.
    """
    path = Path(out) / f"{shard_name(config.split, index)}.tar"
    try:
        entry = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(entry, dict) or not path.is_file():
        return None
    if entry.get("fingerprint") != fingerprint:
        raise InvalidArgument(
            f"{path}: was built with other settings or photos; choose another --out, or delete the "
            "folder"
        )
    return entry if entry.get("sha256") == sha256_file(path) else None


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks. FileError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as f:
            while block := f.read(HASH_BLOCK):
                digest.update(block)
    except OSError as e:
        raise FileError(f"{path}: cannot be read ({e.strerror})") from e
    return digest.hexdigest()


def sweep(out: Path, split: str) -> None:
    """Removes what killed workers left behind of a split's shards."""
    for part in out.glob(f".{split}-[0-9]*.part"):
        part.unlink(missing_ok=True)


def tar_writer(stream: Any) -> Any:
    """WebDataset's writer with fixed owner, mode and time. InvalidArgument without the package."""
    try:
        from webdataset import TarWriter
    except ImportError as e:
        raise InvalidArgument(
            "webdataset is not installed: pip install 'vera-mobile[train]'"
        ) from e
    return TarWriter(stream, user=OWNER, group=OWNER, mode=0o644, mtime=0, encoder=False)


def _write(
    stream: Any, config: EngineConfig, numbers: range, on_sample: Callable[[], None] | None
) -> tuple[Counter[str], Counter[str]]:
    sources = open_sources(config)
    tasks: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    with tar_writer(stream) as tar:
        for number in numbers:
            files = make_sample(config, sources, number)
            record = json.loads(files["json"])
            tasks[record["task"]] += 1
            licences[record["photo"]["licence"] or "not stated"] += 1
            tar.write({"__key__": f"{number:08d}", **files})
            if on_sample:
                on_sample()
    stream.flush()
    os.fsync(stream.fileno())  # the JSON that says "whole" must not outlive the bytes
    return tasks, licences


def _rows(path: Path) -> list[dict[str, Any]]:
    """Where each sample lies in a tar, for reading in any order."""
    rows: dict[str, dict[str, Any]] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            row = rows.setdefault(key, {"key": key, "files": {}})
            row["files"][suffix] = [member.offset_data, member.size]
            if suffix == "json":
                stream = tar.extractfile(member)
                assert stream is not None
                record = json.load(stream)
                row |= {"task": record["task"], "origin": record["origin"]}
    return [rows[key] for key in sorted(rows)]
