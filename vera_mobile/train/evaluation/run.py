"""The whole benchmark: photos (in several processes), means over them, the loss of int4."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vera_mobile.errors import ModelError, OutOfMemory
from vera_mobile.retoucher import Retoucher
from vera_mobile.train.data import PhotoFile, list_photos
from vera_mobile.train.evaluation.baselines import Peer, baselines_here, corrections
from vera_mobile.train.evaluation.figures import Figures
from vera_mobile.train.evaluation.tasks import PARTS, Rows, Tools, photo_rows
from vera_mobile.train.iqa import load_metric
from vera_mobile.train.styles import STYLES

Report = dict[str, dict[str, float]]
Model = Retoucher | str | Path
"""A retoucher, or the folder of a checkpoint or bundle, which every process loads for itself."""

T = TypeVar("T")
_NAMES = {"good": "good_photos"}


@dataclass(frozen=True)
class Settings:
    """What is measured: parts of the model, corrections beside it, LPIPS or not.

    workers: processes; more than one needs a model given as a folder. Each holds a model and one
    photo, so memory does not grow with the photos.
    """

    parts: tuple[str, ...] = PARTS
    baselines: tuple[str, ...] | None = None
    peers: tuple[Peer, ...] = ()
    lpips: bool = False
    workers: int = 1

    def tools(self) -> Tools:
        """The corrections and LPIPS, loaded once a process."""
        names = baselines_here() if self.baselines is None else self.baselines
        return Tools(corrections(names, self.peers), _lpips() if self.lpips else None)


@cache
def _lpips() -> Any:
    return load_metric("lpips")


def lpips_missing() -> str:
    """Why LPIPS cannot be measured here; "" where it can."""
    try:
        _lpips()
    except ModelError as e:
        return str(e)
    return ""


def bench_quality(
    model: Model,
    photos: str | Path,
    *,
    split: str = "test",
    limit: int = 0,
    settings: Settings = Settings(),
    on_photo: Callable[[int, int], None] | None = None,
) -> Report:
    """Means over a split: auto, instant (auto with the look before the words; psnr_loss_db: what
    that costs), param, style, good photos, reference, and what runs beside auto;
    `limit` > 0 takes only so many photos.

    psnr_*: dB on 8-bit pixels, per photo and then averaged; ciede2000_*: mean over pixels, then
    over photos; direction_accuracy: share of measured directions that the words ask for;
    reference: the edit read off a pair, on its own photo and (transfer_*) on the next one.
    """
    return summary(measured_photos(model, photos, split=split, limit=limit, settings=settings,
                                   on_photo=on_photo))  # fmt: skip


def measured_photos(
    model: Model,
    photos: str | Path,
    *,
    split: str = "test",
    limit: int = 0,
    settings: Settings = Settings(),
    on_photo: Callable[[int, int], None] | None = None,
) -> list[Rows]:
    """The rows of each photo, in the order of `list_photos`."""
    files = list_photos(photos, split)
    partners = partners_of(files)
    count = min(limit, len(files)) if limit else len(files)
    jobs = [(files[i], partners[i], settings) for i in range(count)]
    return for_each(model, _rows_of, jobs, settings.workers, on_photo)


def partners_of(files: Sequence[PhotoFile]) -> list[PhotoFile | None]:
    """For each photo the next one (the first after the last); None for a single photo."""
    if len(files) < 2:
        return [None] * len(files)
    return [*files[1:], files[0]]


def _rows_of(
    retoucher: Retoucher, file: PhotoFile, partner: PhotoFile | None, settings: Settings
) -> Rows:
    return photo_rows(retoucher, file, partner, settings.tools(), settings.parts)


def auto_figures(
    model: Model,
    photos: str | Path,
    *,
    split: str,
    limit: int,
    workers: int,
    on_photo: Callable[[int, int], None] | None = None,
) -> Figures:
    """Only the auto part of `bench_quality`, without anything beside it."""
    settings = Settings(parts=("auto",), baselines=(), workers=workers)
    rows = measured_photos(model, photos, split=split, limit=limit, settings=settings,
                           on_photo=on_photo)  # fmt: skip
    return summary(rows)["auto"]


def int4_part(checkpoint: Figures, bundle: Figures) -> Figures:
    """The report's `int4` of the auto figures of a checkpoint and of its bundle."""
    loss = checkpoint["psnr_db"] - bundle["psnr_db"]
    kept = {k: bundle[k] for k in ("psnr_db", "psnr_gain_db", "ciede2000_mean", "n")}
    return {"psnr_loss_db": round(loss, 4)} | kept


# ---- means ---------------------------------------------------------------------------------------


def summary(photos: Sequence[Rows]) -> Report:
    """The report of the rows of all photos; a part without rows is left out."""
    rows: Rows = {}
    for photo in photos:
        for name, found in photo.items():
            rows.setdefault(name, []).extend(found)
    report: Report = {}
    for name, table in rows.items():
        if table and "/" not in name:
            report[_NAMES.get(name, name)] = means(table)
    report |= _style_accuracies(rows.get("style", []), report)
    report |= _of_folders({k: v for k, v in rows.items() if "/" in k})
    return report | {"photos": {"n": len(photos)}}


def means(table: Sequence[Figures]) -> Figures:
    """Means of each figure over the rows that have it, and n, the rows."""
    keys = dict.fromkeys(k for row in table for k in row if k != "concept")
    out = {k: round(float(np.mean([r[k] for r in table if k in r])), 4) for k in keys}
    return out | {"n": len(table)}


def _style_accuracies(table: Sequence[Figures], report: Report) -> Report:
    if not table:
        return {}
    part = dict(report["style"])
    for i, style in enumerate(STYLES):
        hits = [r["direction_accuracy"] for r in table if r["concept"] == i]
        if hits:
            part[f"accuracy[{style.name}]"] = round(float(np.mean(hits)), 4)
    return {"style": part}


def _of_folders(rows: Rows) -> Report:
    """For each folder of LUTs: `_fixed`, the one that is best on average, with every LUT's mean,
    and `_best`, for each photo the LUT that suits it most (it knows the answer: a bound)."""
    report: Report = {}
    for folder in dict.fromkeys(name.partition("/")[0] for name in rows):
        luts = {k.partition("/")[2]: v for k, v in rows.items() if k.startswith(f"{folder}/")}
        table = {name: means(found) for name, found in luts.items()}
        first = max(table, key=lambda name: table[name]["psnr_db"])
        each = {f"psnr_db[{name}]": row["psnr_db"] for name, row in table.items()}
        cases = zip(*luts.values(), strict=True)
        chosen = [max(case, key=lambda r: r["psnr_db"]) for case in cases]
        report[f"{folder}_fixed"] = table[first] | each
        report[f"{folder}_best"] = means(chosen)
    return report


# ---- processes -----------------------------------------------------------------------------------


def for_each(
    model: Model,
    function: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    on_done: Callable[[int, int], None] | None = None,
) -> list[T]:
    """function(retoucher, *job) of every job, in order, in `workers` processes.

    function: of a module, since it is named to the other processes. Raises what it raises, and
    OutOfMemory when a process is lost.
    """
    workers = min(workers, len(jobs))
    if workers < 2 or not isinstance(model, (str, Path)):
        retoucher = Retoucher.load(model) if isinstance(model, (str, Path)) else model
        out = []
        for job in jobs:
            out.append(function(retoucher, *job))
            if on_done:
                on_done(len(out), len(jobs))
        return out
    with _pool(workers, Path(model)) as pool:
        waiting = [pool.submit(_in_worker, function, job) for job in jobs]
        return list(_collected(waiting, on_done))


def _collected(waiting: list[Future[T]], on_done: Callable[[int, int], None] | None) -> Iterator[T]:
    try:
        for i, future in enumerate(waiting):
            yield future.result()
            if on_done:
                on_done(i + 1, len(waiting))
    except BrokenProcessPool as e:
        raise OutOfMemory(
            f"One of the worker processes ended unexpectedly ({e}), most often for want of memory: "
            "use --workers 1."
        ) from e


@contextmanager
def _pool(workers: int, model: Path) -> Iterator[ProcessPoolExecutor]:
    from multiprocessing import get_context

    # spawn: a fork would copy PyTorch's threads in whatever state they are
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(str(model),))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield pool
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, str] = {}


def _start_worker(model: str) -> None:
    """One thread per process: PyTorch's threads would fight for the cores that processes use."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends them
    torch.set_num_threads(1)
    _worker["model"] = model


@cache
def _loaded(model: str) -> Retoucher:
    return Retoucher.load(model)


def _in_worker(function: Callable[..., T], job: tuple[Any, ...]) -> T:
    return function(_loaded(_worker["model"]), *job)
