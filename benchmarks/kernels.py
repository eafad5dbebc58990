"""Speed of the render kernel beside other people's, in one run: `make bench-kernels`.

Each row is one picture size, format, LUT size, number of threads and peer. Runs alternate, ours and
the peer's, so that both meet the same state of the machine. Ours includes curves and the mix; the
peers apply the bare LUT. Writes JSON with the machine, the limits and the rows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from kernel_peers import Case, a_look, photo_like

from vera_mobile import native

STRENGTH = 0.8
CURVE_SIZE = 256
SIZES = {12: (3000, 4000), 48: (6000, 8000), 1: (1000, 1000)}  # megapixels: height, width
PEERS = {  # which peer can do which kind of samples, and the layout that it is compared in
    "pillow": {"8": "interleaved"},
    "pillow-simd": {"8": "interleaved"},
    "opencolorio": {"8": "interleaved", "16": "interleaved", "float": "interleaved"},
    "ffmpeg": {"8": "interleaved", "16": "planar", "float": "planar"},
    "grid_sample": {"float": "interleaved"},
}
SIMD_PACKAGE = "pillow-simd==12.1.1.post0"
# Additions and multiplications of a pixel: curves 3 x 4, weights 4 and differences 6, four nodes
# of three channels 21, mix 3 x 3, scale and round 3 x 2.
OPERATIONS_PER_PIXEL = 12 + 10 + 21 + 9 + 6


class PeerFailed(Exception):
    """The peer is missing or gave no time; the row says why."""


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


def timed_ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


class PeerProcess:
    """A peer that waits in its own process and runs when asked."""

    def __init__(self, name: str, python: str, case: Case) -> None:
        script = Path(__file__).with_name("kernel_peers.py")
        self._process = subprocess.Popen(
            [python, str(script), name, *(str(value) for value in case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.version = str(self._answer()["version"])

    def _answer(self) -> dict[str, float | str]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            trouble = self._process.stderr.read().strip().splitlines()
            raise PeerFailed(trouble[-1] if trouble else "the peer ended without a word")
        return json.loads(line)

    def run_ms(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._answer()["ms"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def python_of(peer: str, folder: Path) -> str:
    """The interpreter that has the peer; pillow-simd replaces Pillow, so it has its own."""
    if peer == "ffmpeg" and shutil.which("ffmpeg") is None:
        raise PeerFailed("ffmpeg is not installed")
    if peer != "pillow-simd":
        return sys.executable
    home = folder / "pillow-simd"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        packages = [SIMD_PACKAGE, f"numpy=={np.__version__}"]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "-q", *packages],
                check=True,
                env=os.environ | {"CC": "cc -mavx2"},
                capture_output=True,
                text=True,
            )
        except subprocess.CalledProcessError as error:
            text = (error.stderr or "").strip().splitlines()
            raise PeerFailed(f"{SIMD_PACKAGE} does not install: {text[-1:]}") from error
        (home / "ready").touch()
    return str(python)


def our_render(case: Case, layout: str) -> Callable[[], None]:
    """Renders the case's picture once per call."""
    image = photo_like(case.kind, case.height, case.width)
    source = native.Frame.of(image)
    if layout == "planar":
        name = {"8": "planar8", "16": "planar16", "float": "planarf32"}[case.kind]
        planes = tuple(np.ascontiguousarray(image[..., c]) for c in range(3))
        source = native.Frame(name, planes)
    target = native.Frame.empty(source.format, case.height, case.width)
    for plane in target.planes:
        plane.fill(0)
    axis = np.linspace(0.0, 1.0, CURVE_SIZE, dtype=np.float32)
    curves, lut = np.stack([axis**p for p in (0.9, 1.0, 1.1)]), a_look(case.lut_size)

    def run() -> None:
        native.render_frame(source, target, curves, lut, strength=STRENGTH, threads=case.threads)

    return run


def copy_ms(case: Case, runs: int) -> float:
    """Median of copying the picture by as many threads: no render can be faster."""
    source = photo_like(case.kind, case.height, case.width).reshape(-1)
    target = np.zeros_like(source)
    parts = [
        (np.array_split(target, case.threads)[i], np.array_split(source, case.threads)[i])
        for i in range(case.threads)
    ]
    with ThreadPoolExecutor(case.threads) as pool:

        def work() -> None:
            list(pool.map(lambda part: np.copyto(*part), parts))

        return Times.of([timed_ms(work) for _ in range(runs + 1)][1:]).median_ms


def peak_gflops(threads: int) -> float:
    """Float additions and multiplications a second of a large matrix product."""
    import torch

    torch.set_num_threads(threads)
    a = torch.rand(1024, 1024)
    best = min(timed_ms(lambda: a @ a) for _ in range(10))
    return 2 * 1024**3 / best / 1e6


def measure(case: Case, peer: str, python: str, runs: int) -> tuple[Times, Times, str]:
    """Ours, the peer's and its version; runs alternate after one of each that does not count."""
    ours = our_render(case, PEERS[peer][case.kind])
    process = PeerProcess(peer, python, case)
    mine, theirs = [], []
    for _ in range(runs + 1):
        mine.append(timed_ms(ours))
        theirs.append(process.run_ms())
    process.close()
    return Times.of(mine[1:]), Times.of(theirs[1:]), process.version


def cases(arguments: argparse.Namespace) -> Iterator[tuple[int, Case]]:
    for megapixels in arguments.megapixels:
        for kind in ("8", "16", "float"):
            for lut_size in (33, 65):
                for threads in arguments.threads:
                    yield megapixels, Case(kind, *SIZES[megapixels], lut_size, threads)


def row_of(megapixels: int, case: Case, peer: str, arguments: argparse.Namespace) -> dict:
    """One row; without a peer's time it has `missing` with the reason instead of numbers."""
    layout = PEERS[peer][case.kind]
    row: dict = {
        "case": f"{megapixels}mp-{case.kind}-{layout}-{case.lut_size}-{case.threads}t-{peer}",
        "format": f"{case.kind} {layout}",
        "megapixels": megapixels,
        "lut_size": case.lut_size,
        "threads": case.threads,
        "peer": peer,
    }
    try:
        python = python_of(peer, arguments.out.parent)
        ours, theirs, version = measure(case, peer, python, arguments.runs)
    except PeerFailed as error:
        return row | {"missing": str(error)}
    return row | {
        "ours_ms": ours.median_ms,
        "ours_p95_ms": ours.p95_ms,
        "peer_ms": theirs.median_ms,
        "peer_p95_ms": theirs.p95_ms,
        "ratio": round(theirs.median_ms / ours.median_ms, 3),
        "n": ours.n,
        "peer_version": version,
    }


def limits_of(row: dict, memory_ms: float, gflops: float) -> dict:
    """What memory and arithmetic allow, and the part of each limit that ours reaches."""
    if "ours_ms" not in row:
        return {}
    arithmetic_ms = row["megapixels"] * OPERATIONS_PER_PIXEL / gflops
    return {
        "memory_limit_ms": memory_ms,
        "memory_limit_percent": round(100 * memory_ms / row["ours_ms"], 1),
        "arithmetic_limit_ms": round(arithmetic_ms, 3),
        "arithmetic_limit_percent": round(100 * arithmetic_ms / row["ours_ms"], 1),
    }


def machine(threads: list[int]) -> dict:
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
        "operations_per_pixel": OPERATIONS_PER_PIXEL,
        "strength": STRENGTH,
    }


def show(row: dict) -> None:
    if "missing" in row:
        print(f"{row['case']:44} {row['missing']}", file=sys.stderr)
        return
    print(
        f"{row['case']:44} {row['ours_ms']:9.2f} ms, peer {row['peer_ms']:9.2f} ms, "
        f"{row['ratio']:6.2f}x; {row['memory_limit_percent']:.0f} % of memory, "
        f"{row['arithmetic_limit_percent']:.0f} % of arithmetic limit",
        file=sys.stderr,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench/kernels.json"))
    parser.add_argument("--runs", type=int, default=15, help="timed runs of a row (default 15)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--megapixels", type=int, nargs="+", default=[12, 48], choices=SIZES)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--quick", action="store_true", help="1 MP, 2 runs: does it all work?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.megapixels, arguments.runs = [1], 2
    if arguments.runs < 1:
        parser.error("--runs: use 1 or more")
    return arguments


def main() -> None:
    """Measures every case against every peer that can do it."""
    arguments = parse()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    about = machine(arguments.threads)
    rows = []
    for megapixels, case in cases(arguments):
        memory_ms = copy_ms(case, arguments.runs)
        for peer in (name for name in arguments.peers if case.kind in PEERS[name]):
            row = row_of(megapixels, case, peer, arguments)
            row |= limits_of(row, memory_ms, about["gflops"][str(case.threads)])
            rows.append(row)
            show(row)
    arguments.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
