"""Latency and memory of each stage of a bundle on this machine: the figures of `vera bench run`."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.bundle import Bundle, describe, sha256_of
from vera_mobile.image import Photo
from vera_mobile.retoucher import Auto, Retoucher

RENDER_MEGAPIXELS = (2, 12, 48)
STAGES = ("prepare", "vision", "prefill", "decode", "head")


def bench_run(
    path: str | Path,
    *,
    repeats: int = 9,
    threads: int = 0,
    on_round: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Median and p95 in milliseconds of each stage, n, peak memory, sizes, device, date.

    The photo is a fixed gradient with noise (2 MP for planning); `cold_*` is the first plan of the
    process, programs not yet loaded. threads: of the render kernel, 0 for all cores. Raises the
    errors of `Retoucher.load`.
    """
    bundle = Bundle.open(path)
    retoucher = Retoucher.load(path)
    photo = Photo.from_array(picture(2))
    cold_ms = _milliseconds(lambda: retoucher.plan(photo, Auto()))
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        look = retoucher.plan(photo, Auto())
        for stage in STAGES:
            times.setdefault(stage, []).append(look.timings_ms[stage])
        per_token = look.timings_ms["decode"] / (len(look.tokens) + 2)
        times.setdefault("decode_per_token", []).append(per_token)
        times.setdefault("plan", []).append(sum(look.timings_ms[s] for s in STAGES))
        times.setdefault("bake", []).append(_milliseconds(look.bake))
        if on_round:
            on_round()
    plan_peak_mb = _peak_mb()
    retoucher.bake(look)
    for size in RENDER_MEGAPIXELS:
        big = Photo.from_array(picture(size))
        render = partial(retoucher.render, look, big, threads=threads)
        times[f"render_{size}mp"] = [_milliseconds(render) for _ in range(repeats)]
        if on_round:
            on_round()
    info = describe(bundle)
    return {
        "bundle": {
            "name": info["name"],
            "recipe": info["recipe"],
            "size_bytes": info["size_bytes"],
            "sha256": sha256_of(bundle.root / "bundle.json"),
            "commit": info["commit"],
        },
        "device": _device(),
        "date": datetime.date.today().isoformat(),
        "cold_plan_ms": round(cold_ms, 3),
        "tokens": len(look.tokens),
        "stages": {k: _summary(v) for k, v in times.items()},
        "peak_rss_plan_mb": plan_peak_mb,
        "peak_rss_mb": _peak_mb(),
    }


def picture(megapixels: int) -> np.ndarray:
    """A fixed 4:3 picture (H, W, 3) uint8: gradients, hues and noise, no two rows alike."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    out = np.empty((height, width, 3), np.uint8)
    random = np.random.default_rng(0)
    x = np.arange(width, dtype=np.float32)
    for row in range(height):  # one row at a time: 48 MP must not cost gigabytes
        noise = random.integers(0, 12, width)
        for i in range(3):
            wave = np.sin(x / (90 + 40 * i) + i) + np.cos(row / (130 - 20 * i))
            out[row, :, i] = np.clip(wave * 50 + 110 + noise, 0, 255)
    return out


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(float(np.median(values)), 3),
        "p95_ms": round(float(np.quantile(values, 0.95)), 3),
        "n": len(values),
    }


def _device() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "name": model,
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {platform.release()}",
    }
