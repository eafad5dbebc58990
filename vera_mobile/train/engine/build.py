"""Building all shards: in this process, in several, or on a Ray cluster, by one function."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vera_mobile.errors import FileError, InvalidArgument, VeraError
from vera_mobile.files import replacing
from vera_mobile.train.engine.config import EngineConfig, fingerprint, open_sources
from vera_mobile.train.engine.samples import make_sample
from vera_mobile.train.engine.shards import Entry, build_shard, finished, shard_name, sweep

PROBES = 3  # samples made to know how large all will be
SPARE = 1.15  # of the space that these foresee

OnShard = Callable[[Entry], None]


def index_name(split: str) -> str:
    """File name of a split's index, "index-train.json"."""
    return f"index-{split}.json"


def build(
    config: EngineConfig,
    out: str | Path,
    *,
    workers: int = 1,
    ray_address: str = "",
    on_shard: OnShard | None = None,
) -> dict[str, Any]:
    """Builds what is missing of a split's shards into `out` and writes its index; returns that.

    workers: processes on this machine. ray_address: "local" starts Ray here with that many workers,
    an address joins a cluster whose machines see the same folders under the same paths. Shards of
    one split never hold samples of another; each split has its own files and index.

    Errors: FileError (no photos, not enough room, a worker died: run again, finished shards are
    kept), InvalidArgument (other settings in the folder, a package that is missing).
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise FileError(f"{out}: cannot be made ({e.strerror}); choose another --out") from e
    mark = fingerprint(config)
    entries: dict[int, Entry] = {}
    for index in range(config.shards):
        done = finished(config, index, out, mark)
        if done is not None:
            entries[index] = done
    missing = [i for i in range(config.shards) if i not in entries]
    _refuse_left_over(config, out)
    for entry in entries.values():
        if on_shard:
            on_shard(entry)
    if missing:
        _check_room(config, out, len(missing))
        sweep(out, config.split)
        for entry in _run(config, missing, out, mark, workers, ray_address):
            entries[int(entry["index"])] = entry
            if on_shard:
                on_shard(entry)
        sweep(out, config.split)
    return _write_index(config, out, mark, [entries[i] for i in range(config.shards)])


def build_one(config_json: str, index: int, out: str, mark: str) -> Entry:
    """`build_shard` with plain arguments: what every worker of every kind runs."""
    return build_shard(EngineConfig.from_json(config_json), index, out, mark)


def _run(
    config: EngineConfig, missing: list[int], out: Path, mark: str, workers: int, ray_address: str
) -> Iterator[Entry]:
    if ray_address:
        from vera_mobile.train.engine.on_ray import run_on_ray

        yield from run_on_ray(config, missing, out, mark, workers, ray_address)
    elif workers > 1 and len(missing) > 1:
        yield from _in_processes(config, missing, out, mark, workers)
    else:
        yield from (build_shard(config, i, out, mark) for i in missing)


def _in_processes(
    config: EngineConfig, missing: list[int], out: Path, mark: str, workers: int
) -> Iterator[Entry]:
    context = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        work = [pool.submit(build_one, config.to_json(), i, str(out), mark) for i in missing]
        try:
            for future in as_completed(work):
                yield future.result()
        except BrokenProcessPool as e:
            raise FileError(
                "a worker process died, perhaps for want of memory; run the same command again "
                "with fewer --workers: finished shards are kept"
            ) from e
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _refuse_left_over(config: EngineConfig, out: Path) -> None:
    """Shards beyond the last one would be read as part of the build."""
    wanted = {shard_name(config.split, i) for i in range(config.shards)}
    extra = sorted(p.name for p in out.glob(f"{config.split}-*.tar") if p.stem not in wanted)
    if extra:
        raise InvalidArgument(
            f"{out}: holds {extra[0]}, which this build of {config.shards} shards does not make; "
            "choose another --out"
        )


def _check_room(config: EngineConfig, out: Path, shards: int) -> None:
    """Makes the first samples to foresee the size of all. FileError when the disk has less."""
    sources = open_sources(config)
    count = min(PROBES, config.samples)
    sizes = [sum(map(len, make_sample(config, sources, i).values())) for i in range(count)]
    needed = int(sum(sizes) / count * min(config.samples, shards * config.per_shard) * SPARE)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise FileError(
            f"{out}: has {free / 1e6:.0f} MB free, this build needs about {needed / 1e6:.0f} MB; "
            "free some, choose another --out, fewer --samples or a smaller --side"
        )


def _write_index(
    config: EngineConfig, out: Path, mark: str, entries: list[Entry]
) -> dict[str, Any]:
    """The index: settings, shards in order with sha256, counts, licences."""
    index: dict[str, Any] = {
        "format": "vera-shards", "version": 1, "split": config.split, "fingerprint": mark,
        "samples": sum(e["samples"] for e in entries), "config": asdict(config),
        "tasks": _summed(entries, "tasks"), "licences": _summed(entries, "licences"),
        "shards": [{k: e[k] for k in ("file", "sha256", "bytes", "samples")} for e in entries],
    }  # fmt: skip
    if index["samples"] != config.samples:
        raise VeraError(f"{out}: {index['samples']} samples instead of {config.samples}")
    with replacing(out / index_name(config.split)) as stream:
        stream.write((json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
    return index


def _summed(entries: list[Entry], key: str) -> dict[str, int]:
    out: dict[str, int] = {}
    for entry in entries:
        for name, count in entry[key].items():
            out[name] = out.get(name, 0) + count
    return dict(sorted(out.items()))
