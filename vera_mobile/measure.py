"""Latency and memory of each stage of a bundle on this machine: the figures of `vera bench run`."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.bench import machine
from vera_mobile.bench.results import FORMAT, SCHEMA, source_commit, stage_figures
from vera_mobile.bundle import MANIFEST_NAME, Bundle, describe, sha256_of
from vera_mobile.errors import InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.native import load_torch_ops
from vera_mobile.retoucher import Auto, Retoucher, Sampling
from vera_mobile.runtime import ANSWER_LOGITS, ExecuTorchPlanner, quiet_stderr

if TYPE_CHECKING:
    from vera_mobile.look import Look
    from vera_mobile.model.config import ModelConfig

RENDER_MEGAPIXELS = (2, 12, 48)
STAGES = ("prepare", "vision", "prefill", "decode", "head")
INSTANT_STAGES = ("prepare", "vision", "prefill", "forced", "head")
TOKENS = 120
FORCED = 2  # forward steps of the first two retouch tokens, beside those of the text


@dataclass(frozen=True)
class Case:
    """What is run: rounds per stage, threads of the render kernel (0: all cores), longest text."""

    repeats: int = 9
    threads: int = 0
    max_tokens: int = TOKENS

    @property
    def sampling(self) -> Sampling:
        """Greedy, so that each round says the same."""
        return Sampling(temperature=0.0, max_tokens=self.max_tokens)


def bench_run(
    path: str | Path,
    *,
    repeats: int = 9,
    threads: int = 0,
    max_tokens: int = TOKENS,
    on_round: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """A result as `vera_mobile.bench.results` describes it, without what is counted in the graph.

    The photo is a fixed gradient with noise (2 MP for planning), the task is auto, greedy. "load"
    is from the folder to ready: hashes checked, programs loaded; its cold run is the first one of
    the process, with the files dropped from the page cache where the system allows that. "decode"
    is the whole text and two retouch tokens, "decode_per_token" one of its steps; "plan" ends with
    the latents, and so does "instant_look", the plan whose words come after. Peaks are taken
    in a round of their own, since reading them costs time. on_round: called `rounds(repeats)`
    times. Raises InvalidArgument for a bundle that this machine cannot run, and the errors of
    `Bundle.open`.
    """
    case = Case(repeats, threads, max_tokens)
    bundle = _runnable(Bundle.open(path))
    tick = on_round or (lambda: None)
    _load_runtime()  # Python's imports are no part of a load
    machine.forget_peak()  # what importing took and gave back is no part of what is held
    before = {"celsius": machine.celsius(), "peak_mb": machine.peak_mb()}
    times, cold, retoucher = _load_times(bundle, case, tick)
    photo = Photo.from_array(picture(2))
    look = _plan_times(retoucher, photo, case, times, cold, tick)
    times["instant_look"] = _instant_times(retoucher, photo, case)
    retoucher.bake(look)
    peaks: dict[str, float] = {}
    for size in RENDER_MEGAPIXELS:
        _render_times(retoucher, look, size, case, times, cold, peaks)
        tick()
    spoken = len(look.tokens)
    del look, retoucher  # the round of the peaks loads the programs again, and only once
    gc.collect()
    peaks |= _peaks(bundle, photo, case)
    tick()
    result = _facts(bundle, case, before)
    result["tokens"] = spoken
    result["in_a_row_ms"] = [round(cold["plan"], 3), *(round(t, 3) for t in times["plan"])]
    result["stages"] = {
        name: stage_figures(values, cold_ms=_rounded(cold.get(name)), peak_mb=peaks.get(name))
        for name, values in times.items()
    }
    return result


def rounds(repeats: int) -> int:
    """How often `bench_run` calls on_round."""
    return 2 * repeats + 1 + len(RENDER_MEGAPIXELS)


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


def prompt_tokens(bundle: Bundle, config: ModelConfig) -> int:
    """Tokens that the auto task feeds before the first token of its answer."""
    side = config.vision.image_size
    prompt = Vocabulary.load(bundle.file("tokenizer")).auto(np.zeros((1, 3, side, side)))
    image = config.vision.tokens if prompt.has_image else 0
    return len(prompt.before) + image + len(prompt.after)


def _runnable(bundle: Bundle) -> Bundle:
    kinds = {f.kind for name, f in bundle.manifest.files.items() if name in ("vision", "decoder")}
    if kinds != {"executorch"}:
        raise InvalidArgument(
            f"{bundle.root} holds {', '.join(sorted(kinds)) or 'no'} programs: only ExecuTorch "
            "bundles are timed on this machine; `vera bench project` counts the others."
        )
    return bundle


def _load_runtime() -> None:
    with quiet_stderr():
        load_torch_ops()


def _load_times(
    bundle: Bundle, case: Case, tick: Callable[[], None]
) -> tuple[dict[str, list[float]], dict[str, float], Retoucher]:
    for name in bundle.manifest.files:
        machine.drop_from_page_cache(bundle.file(name))
    times: list[float] = []
    retoucher: Retoucher | None = None
    for _ in range(case.repeats + 1):
        retoucher = None
        gc.collect()  # the programs of the round before are gone before the next ones come
        started = time.perf_counter()
        retoucher = Retoucher.load(bundle.root)
        retoucher.prepare()
        times.append((time.perf_counter() - started) * 1000)
        if len(times) > 1:
            tick()
    assert retoucher is not None
    return {"load": times[1:]}, {"load": times[0]}, retoucher


def _plan_times(
    retoucher: Retoucher,
    photo: Photo,
    case: Case,
    times: dict[str, list[float]],
    cold: dict[str, float],
    tick: Callable[[], None],
) -> Look:
    for number in range(case.repeats + 1):
        look = retoucher.plan(photo, Auto(), sampling=case.sampling)
        spent = {stage: look.timings_ms[stage] for stage in STAGES}
        spent["plan"] = sum(spent.values())
        spent["decode_per_token"] = spent["decode"] / (len(look.tokens) + FORCED)
        spent["bake"] = _milliseconds(look.bake)
        if number == 0:
            cold.update(spent)
            continue
        for stage, value in spent.items():
            times.setdefault(stage, []).append(value)
        tick()
    return look


def _instant_times(retoucher: Retoucher, photo: Photo, case: Case) -> list[float]:
    """Warm: the plans before have loaded all that it needs."""
    times = []
    for _ in range(case.repeats):
        look = retoucher.plan(photo, Auto(), instant=True, sampling=Sampling(max_tokens=0))
        times.append(sum(look.timings_ms[stage] for stage in INSTANT_STAGES))
    return times


def _render_times(
    retoucher: Retoucher,
    look: Look,
    size: int,
    case: Case,
    times: dict[str, list[float]],
    cold: dict[str, float],
    peaks: dict[str, float],
) -> None:
    name = f"render_{size}mp"
    big = Photo.from_array(picture(size))
    render = partial(retoucher.render, look, big, threads=case.threads)
    reset = machine.forget_peak()
    cold[name] = _milliseconds(render)
    if reset:
        peaks[name] = machine.peak_mb()
    times[name] = [_milliseconds(render) for _ in range(case.repeats)]


def _peaks(bundle: Bundle, photo: Photo, case: Case) -> dict[str, float]:
    """The most memory during each stage, megabytes; {} where the system does not tell."""
    if not machine.forget_peak():
        return {}
    planner = _WatchedPlanner(bundle)
    retoucher = Retoucher(planner, Vocabulary.load(bundle.file("tokenizer")))
    machine.forget_peak()
    retoucher.prepare()
    planner.note("load")
    look = retoucher.plan(photo, Auto(), sampling=case.sampling)
    planner.peaks["decode_per_token"] = planner.peaks["decode"]
    planner.peaks["plan"] = max(planner.peaks[stage] for stage in STAGES)
    machine.forget_peak()
    look.bake()
    planner.note("bake")
    return planner.peaks


class _WatchedPlanner(ExecuTorchPlanner):
    """Notes the peak of each stage; what runs before the photo is encoded is "prepare"."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.peaks: dict[str, float] = {}

    def note(self, stage: str) -> None:
        self.peaks[stage] = max(machine.peak_mb(), self.peaks.get(stage, 0.0))
        machine.forget_peak()

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        self.note("prepare")
        tokens = super().encode_image(pixels)
        self.note("vision")
        return tokens

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        out = super().step(embeds, start, wanted)
        self.note("prefill" if start == 0 else "decode")
        return out

    def head(self, hidden: np.ndarray) -> np.ndarray:
        latents = super().head(hidden)
        self.note("head")
        return latents


def _facts(bundle: Bundle, case: Case, before: dict[str, float | None]) -> dict[str, Any]:
    info = describe(bundle)
    config = ExecuTorchPlanner(bundle).config
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "kind": "host",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "device": machine.device(),
        "unit": "cpu",
        "bundle": {
            "name": info["name"],
            "recipe": info["recipe"],
            "size_bytes": info["size_bytes"],
            "sha256": sha256_of(bundle.root / MANIFEST_NAME),
            "commit": info["commit"],
        },
        "files": {entry.path: entry.size_bytes for entry in bundle.manifest.files.values()},
        "thermal": {
            "state": {"before": None, "after": None},  # a host has no such scale
            "celsius": {"before": before["celsius"], "after": machine.celsius()},
        },
        "settings": {
            "task": "auto",
            "repeats": case.repeats,
            "threads": case.threads,
            "max_tokens": case.max_tokens,
            "photo_megapixels": 2,
        },
        "prompt_tokens": prompt_tokens(bundle, config),
        "memory": {"before_load_mb": before["peak_mb"], "peak_mb": machine.peak_mb()},
    }


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
