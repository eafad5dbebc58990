"""Speed of the kernels beside other people's, in one run: `make bench-kernels`.

A row is one picture size, format, LUT size, number of threads and peer. Runs alternate, ours and
the peer's, so that both meet the same state of the machine. Ours includes curves, mix and rounding;
the peers apply the bare LUT. Rows with a peer named "ours, ..." hold our own times against each
other. The rows `bake_and_render` hold a bake and a render of 12 MP against the network for every
pixel in PyTorch, which is measured on a part of the pixels and scaled. Writes JSON: the machine,
the rows with the limits of memory and arithmetic, the bake (see bake.py) and the aims.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from bake import bake_record
from kernel_aims import table, verdicts
from kernel_peers import Case, a_look, photo_like
from timing import Times, alternate, copy_ms, machine

from vera_mobile import native

Row = dict[str, Any]

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
KINDS = ("8", "16", "float")
SLOW = ("pillow", "ffmpeg", "grid_sample")  # measured with 33^3 only
SIMD_PACKAGE = "pillow-simd==12.1.1.post0"
# Additions and multiplications of a pixel: curves 3 x 4, weights 4 and differences 6, four nodes
# of three channels 21, mix 3 x 3, scale and round 3 x 2.
OPERATIONS_PER_PIXEL = 12 + 10 + 21 + 9 + 6


class PeerFailed(Exception):
    """The peer is missing or gave no time; the row says why."""


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


@lru_cache(maxsize=1)  # cases of one kind and size follow each other
def our_photo(kind: str, height: int, width: int) -> np.ndarray:
    return photo_like(kind, height, width)


def our_render(case: Case, layout: str) -> Callable[[], None]:
    """Renders the case's picture once per call."""
    image = our_photo(case.kind, case.height, case.width)
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


def runs_of(peer: str, megapixels: int, runs: int) -> int:
    """Fewer runs of what takes long; each of FFmpeg's is the mean of some frames anyway."""
    return max(2, runs // (3 if megapixels > 12 or peer in ("ffmpeg", "grid_sample") else 1))


def measure(case: Case, peer: str, python: str, runs: int) -> tuple[Times, Times, str]:
    """Ours, the peer's and its version."""
    process = PeerProcess(peer, python, case)
    ours = our_render(case, PEERS[peer][case.kind])
    try:
        times = alternate({"ours": ours, "peer": process.run_ms}, runs)
    finally:
        process.close()
    return times["ours"], times["peer"], process.version


def named(megapixels: int, case: Case, layout: str, peer: str) -> Row:
    """The part of a row that says what was measured."""
    slug = peer.replace(", ", "-").replace(" ", "-")
    return {
        "case": f"{megapixels}mp-{case.kind}-{layout}-{case.lut_size}-{case.threads}t-{slug}",
        "format": f"{case.kind} {layout}",
        "megapixels": megapixels,
        "lut_size": case.lut_size,
        "threads": case.threads,
        "peer": peer,
    }


def compared(ours: Times, theirs: Times) -> Row:
    return {
        "ours_ms": ours.median_ms,
        "ours_p95_ms": ours.p95_ms,
        "peer_ms": theirs.median_ms,
        "peer_p95_ms": theirs.p95_ms,
        "ratio": round(theirs.median_ms / ours.median_ms, 3),
        "n": ours.n,
    }


def peer_row(megapixels: int, case: Case, peer: str, arguments: argparse.Namespace) -> Row:
    """One row; without a peer's time it has `missing` with the reason instead of numbers."""
    row = named(megapixels, case, PEERS[peer][case.kind], peer)
    runs = runs_of(peer, megapixels, arguments.runs)
    try:
        python = python_of(peer, arguments.out.parent)
        ours, theirs, version = measure(case, peer, python, runs)
    except PeerFailed as error:
        return row | {"missing": str(error)}
    return row | compared(ours, theirs) | {"peer_version": version}


def own_rows(megapixels: int, kind: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """Two threads against one, and 65^3 against 33^3, all in one round of runs."""
    cases = {
        (size, threads): Case(kind, *SIZES[megapixels], size, threads)
        for size in (33, 65)
        for threads in arguments.threads
    }
    renders = {str(key): our_render(case, "interleaved") for key, case in cases.items()}
    times = alternate(dict(renders), arguments.runs)
    for (size, threads), case in cases.items():
        mine = times[str((size, threads))]
        if threads > 1 and 1 in arguments.threads:
            row = named(megapixels, case, "interleaved", "ours, 1 thread")
            yield row | compared(mine, times[str((size, 1))])
        if size > 33:
            row = named(megapixels, case, "interleaved", "ours, 33^3")
            yield row | compared(mine, times[str((33, threads))])


def cases(arguments: argparse.Namespace) -> Iterator[tuple[int, Case, str]]:
    """12 MP with both LUT sizes and each number of threads, larger photos with 33^3 and the most
    threads, each with its peers."""
    for megapixels in arguments.megapixels:
        large = megapixels > 12
        for kind in KINDS:
            for lut_size in (33,) if large else (33, 65):
                for threads in [max(arguments.threads)] if large else arguments.threads:
                    case = Case(kind, *SIZES[megapixels], lut_size, threads)
                    for peer in arguments.peers:
                        if case.kind in PEERS[peer] and (lut_size == 33 or peer not in SLOW):
                            yield megapixels, case, peer


def limits_of(row: Row, memory_ms: float, gflops: float) -> Row:
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


def show(row: Row) -> None:
    if "missing" in row:
        print(f"{row['case']:46} {row['missing']}", file=sys.stderr)
        return
    print(
        f"{row['case']:46} {row['ours_ms']:9.2f} ms, peer {row['peer_ms']:9.2f} ms, "
        f"{row['ratio']:6.2f}x; {row['memory_limit_percent']:.0f} % of memory, "
        f"{row['arithmetic_limit_percent']:.0f} % of arithmetic limit",
        file=sys.stderr,
    )


def render_rows(arguments: argparse.Namespace, gflops: dict[str, float]) -> list[Row]:
    """Every case against every peer that can do it, then ours against ours."""
    rows: list[Row] = []
    memory_ms: dict[tuple[int, str, int], float] = {}

    def add(row: Row, kind: str) -> None:
        key = (row["megapixels"], kind, row["threads"])
        if key not in memory_ms:
            picture = our_photo(kind, *SIZES[row["megapixels"]])
            memory_ms[key] = copy_ms(picture, row["threads"], arguments.runs)
        row |= limits_of(row, memory_ms[key], gflops[str(row["threads"])])
        rows.append(row)
        show(row)

    for megapixels, case, peer in cases(arguments):
        add(peer_row(megapixels, case, peer, arguments), case.kind)
    for kind in KINDS:
        for row in own_rows(arguments.megapixels[0], kind, arguments):
            add(row, kind)
    return rows


def whole_rows(bake: Row) -> Iterator[Row]:
    """Bake and render together of a 12 MP photo against the network for every pixel."""
    found = [row for row in bake["rows"] if row["task"] == "12 MP"]
    for theirs in (row for row in found if row["who"].startswith("pytorch")):
        for ours in (row for row in found if row["who"].startswith("ours")):
            if ours["threads"] != theirs["threads"]:
                continue
            precision = ours["who"].split()[-1]
            yield {
                "case": f"bake_and_render-{precision}-{ours['lut_size']}-{ours['threads']}t",
                "format": "8 interleaved",
                "megapixels": 12,
                "lut_size": ours["lut_size"],
                "threads": ours["threads"],
                "peer": theirs["who"],
                "ours_ms": ours["median_ms"],
                "ours_p95_ms": ours["p95_ms"],
                "peer_ms": theirs["median_ms"],
                "peer_p95_ms": theirs["p95_ms"],
                "ratio": round(theirs["median_ms"] / ours["median_ms"], 3),
                "n": ours["n"],
            }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench/kernels.json"))
    parser.add_argument("--runs", type=int, default=15, help="timed runs of a row (default 15)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--megapixels", type=int, nargs="+", default=[12, 48], choices=SIZES)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--only", choices=["render", "bake"], help="one half of the benchmark")
    parser.add_argument("--quick", action="store_true", help="1 MP, 2 runs: does it all work?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.megapixels, arguments.runs = [1], 2
    if arguments.runs < 1:
        parser.error("--runs: use 1 or more")
    return arguments


def main() -> None:
    """Measures all, writes the record and prints the aims."""
    arguments = parse()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    about = machine(arguments.threads)
    about |= {"operations_per_pixel": OPERATIONS_PER_PIXEL, "strength": STRENGTH}
    record: dict[str, Any] = {"machine": about, "rows": []}
    if arguments.only != "bake":
        record["rows"] = render_rows(arguments, about["gflops"])
    if arguments.only != "render":
        gflops = about["gflops"]
        record["bake"] = bake_record(
            arguments.threads, arguments.runs, gflops, quick=arguments.quick
        )
        for row in whole_rows(record["bake"]):
            record["rows"].append(row)
            print(
                f"{row['case']:46} {row['ours_ms']:9.2f} ms, peer {row['peer_ms']:9.0f} ms "
                f"({row['peer']}), {row['ratio']:6.0f}x",
                file=sys.stderr,
            )
    record["aims"] = verdicts(record)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record["aims"]))
    print(arguments.out)


if __name__ == "__main__":
    main()
