"""The data engine on Ray: shards as rows of a Ray dataset, built by the function of every worker.

Ray runs a row again when the worker or the machine that had it is lost. That is safe because a
shard is written under a temporary name, renamed when whole, and found done by whoever comes second.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vera_mobile.errors import FileError, InvalidArgument, VeraError
from vera_mobile.train.engine.config import EngineConfig
from vera_mobile.train.engine.shards import Entry


def run_on_ray(
    config: EngineConfig, missing: list[int], out: Path, mark: str, workers: int, address: str
) -> Iterator[Entry]:
    """Entries of the missing shards in the order in which they are done.

    address: "local", which starts Ray with `workers` CPUs, or a cluster's address ("auto",
    "host:6379"). A Ray that is already running in this process is used and left running.
    Errors: InvalidArgument without the package, FileError when the cluster gives up.
    """
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        _start(ray, address, workers)
    try:
        yield from _rows(ray, config, missing, out, mark)
    except ray.exceptions.RayError as e:
        raise FileError(
            f"Ray gave up ({type(e).__name__}); run the same command again, "
            "finished shards are kept"
        ) from e
    finally:
        if own:
            ray.shutdown()


def _ray() -> Any:
    # a build of photos is nobody's business; the names are Ray's
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise InvalidArgument("ray is not installed: pip install 'vera-mobile[train]'") from e
    return ray


def _start(ray: Any, address: str, workers: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as e:
        raise InvalidArgument(
            f"--ray {address}: no cluster there ({e}); use 'local', 'auto' or HOST:PORT"
        ) from e


def _rows(
    ray: Any, config: EngineConfig, missing: list[int], out: Path, mark: str
) -> Iterator[Entry]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = config.to_json()

    def work(row: dict[str, Any]) -> dict[str, Any]:
        from vera_mobile.train.engine.build import build_one

        try:
            entry = build_one(settings, int(row["shard"]), str(out.resolve()), mark)
        except VeraError as e:  # an answer, not a crash: Ray would try it again and hide the words
            return {"entry": "", "error": str(e)}
        return {"entry": json.dumps(entry), "error": ""}

    rows = [{"shard": i} for i in missing]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(work, num_cpus=1)
    for row in dataset.iter_rows():
        if row["error"]:
            raise FileError(row["error"])
        yield json.loads(row["entry"])
