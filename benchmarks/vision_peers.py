"""The vision tower of the 0.5B shape on ONNX Runtime: the peer that ours is compared with.

    python vision_peers.py [--folder out/bench/vision] [--runs 9] [--ours bundle/vision.pte]

The peer is made as its makers advise: all graph optimizations, for 8 bits static ranges,
quantize/dequantize pairs, weights per channel, every convolution and product quantized. Speed is
all that counts here, so nothing is left in float for the sake of error.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
SEED = 0
CALIBRATION_PHOTOS = 2


def write_towers(folder: Path) -> dict[str, Path]:
    """Files of the tower with projector in float32 and int8, by kind ("fp32", "int8").

    Seeded random weights in the public shape; made once, then found again. Minutes on two cores.
    """
    import torch

    from vera_mobile.export.onnx import graphs
    from vera_mobile.export.onnx.quantize import quantize
    from vera_mobile.export.onnx.sources import Sources
    from vera_mobile.export.recipes import recipe
    from vera_mobile.model.config import vera_0_5b
    from vera_mobile.model.vlm import VeraModel

    files = {kind: folder / f"vision-{kind}.onnx" for kind in ("fp32", "int8")}
    if all(file.is_file() for file in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    model = VeraModel(vera_0_5b()).eval()
    source = Sources(model, recipe("host-fp32"), None, None, None).of("vision")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        raw = Path(scratch) / "vision.onnx"
        graphs.capture(source, raw)
        made = quantize(raw, ({"pixels": photo} for photo in photos()), lambda weight: True)
        graphs.save(made, Path(scratch) / "int8.onnx")
        graphs.save(_loaded(raw), Path(scratch) / "fp32.onnx")
        for kind, file in files.items():
            (Path(scratch) / f"{kind}.onnx").replace(file)
    return files


def photos() -> list[np.ndarray]:
    """Inputs (1, 3, 1024, 1024) float32 in [0, 1], smooth with some noise, seeded."""
    random = np.random.default_rng(SEED)
    ramp = np.linspace(0, 1, 1024, dtype=np.float32)
    weights = np.stack((1 - ramp, ramp))
    made = []
    for _ in range(CALIBRATION_PHOTOS):
        smooth = np.einsum("cij,ih,jw->chw", random.random((3, 2, 2)), weights, weights)
        noisy = smooth + random.normal(0, 0.05, smooth.shape)
        made.append(np.clip(noisy, 0, 1).astype(np.float32)[None])
    return made


def session(path: Path, threads: int = THREADS) -> Callable[[], Any]:
    """Runs the file once per call on a fixed photo; ONNX Runtime with all optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"pixels": photos()[0]}
    return lambda: made.run(None, feed)[0]


def program(path: Path, threads: int = THREADS) -> Callable[[], Any]:
    """Runs the vision program of a bundle with an own tower on the same photo as `session`."""
    import torch
    from executorch.runtime import Runtime

    from vera_mobile.native import load_torch_ops
    from vera_mobile.native.decoder import set_threads

    load_torch_ops()
    set_threads(threads)
    method = Runtime.get().load_program(path).load_method("forward")
    if method is None:
        raise FileNotFoundError(f"{path} has no method 'forward': give a vision.pte.")
    pixels = torch.from_numpy(photos()[0])
    return lambda: method.execute([pixels])[0]


def time_peers(
    folder: Path, runs: int = 9, threads: int = THREADS, ours: Path | None = None
) -> dict[str, dict[str, float]]:
    """Milliseconds of one photo by kind: {"median_ms", "p95_ms", "n", "threads"}.

    Runs of the kinds alternate after one of each that does not count, so that all meet the same
    state of the machine. ours: a bundle's vision program, which becomes the kind "ours".
    """
    works = {kind: session(file, threads) for kind, file in write_towers(folder).items()}
    if ours is not None:
        works["ours"] = program(ours, threads)
    times: dict[str, list[float]] = {kind: [] for kind in works}
    for index in range(runs + 1):
        for kind, work in works.items():
            start = time.perf_counter()
            work()
            if index:
                times[kind].append((time.perf_counter() - start) * 1e3)
    return {kind: {**_figures(values), "threads": threads} for kind, values in times.items()}


def ratios(ours_ms: float, peers: dict[str, dict[str, float]]) -> dict[str, float]:
    """The peer's median over ours, above 1 where ours is faster."""
    return {
        f"vision_ratio_vs_onnxruntime_{kind}": round(values["median_ms"] / ours_ms, 3)
        for kind, values in peers.items()
        if kind != "ours"
    }


def _figures(runs_ms: list[float]) -> dict[str, float]:
    ordered = sorted(runs_ms)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(p95, 1),
        "n": len(ordered),
    }


def _loaded(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/bench/vision"))
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--ours", type=Path, help="vision.pte of a bundle, to run beside")
    arguments = parser.parse_args()
    times: dict[str, Any] = dict(
        time_peers(arguments.folder, arguments.runs, arguments.threads, arguments.ours)
    )
    if arguments.ours:
        times.update(ratios(times["ours"]["median_ms"], times))
    print(json.dumps(times, indent=2))


if __name__ == "__main__":
    main()
