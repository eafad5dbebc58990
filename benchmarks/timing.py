"""What the kernel benchmarks share: times of runs that alternate, and the machine's own limits."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile import native

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds of n runs."""

    median_ms: float
    p95_ms: float
    n: int

    @classmethod
    def of(cls, runs_ms: list[float]) -> Times:
        ordered = sorted(runs_ms)
        p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
        return cls(round(statistics.median(ordered), 3), round(p95, 3), len(ordered))


def timed_ms(work: Work) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def alternate(works: dict[str, Work], runs: int) -> dict[str, Times]:
    """Times of each work; runs alternate, after one of each that does not count, so that all meet
    the same state of the machine. A work may return its own milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for run in range(-1, runs):
        for name, work in works.items():
            start = time.perf_counter()
            own = work()
            elapsed = (time.perf_counter() - start) * 1e3
            if run >= 0:
                times[name].append(own if isinstance(own, float) else elapsed)
    return {name: Times.of(ms) for name, ms in times.items()}


def copy_ms(image: np.ndarray, threads: int, runs: int) -> float:
    """Median of copying an array by as many threads: no render of it can be faster."""
    source = image.reshape(-1)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def work() -> None:
            list(pool.map(lambda part: np.copyto(*part), parts))

        return alternate({"copy": work}, runs)["copy"].median_ms


def peak_gflops(threads: int) -> float:
    """Float additions and multiplications a second of a large matrix product, in 10^9."""
    import torch

    torch.set_num_threads(threads)
    a = torch.rand(1024, 1024)
    best = min(timed_ms(lambda: a @ a) for _ in range(30))
    return 2 * 1024**3 / best / 1e6


def machine(threads: list[int]) -> dict[str, Any]:
    """What ran, where, and how fast its arithmetic is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_1min": round(os.getloadavg()[0], 2),
        "library": native.version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gflops": {str(count): round(peak_gflops(count), 1) for count in threads},
    }
