"""Speed of the bake kernel beside PyTorch, in one run: `python benchmarks/bake.py --out FILE`.

The network has the public widths and seeded weights. Rows: our LUT in float32 and int8 and PyTorch
eager on the same lattice points, whole and in chunks; then a 12 MP photo, ours baked and rendered,
PyTorch's by the network for every pixel. Runs alternate, so that all meet the same state of the
machine. Writes JSON with the machine and the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from kernels import Times, machine, timed_ms
from vera_mobile import native
from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.renderer import Renderer
from vera_mobile.native.bake import NativeRenderer, RendererWeights

Work = Callable[[], object]

LATTICE_CHUNK = 4096
PHOTO_CHUNK = 262_144  # of the public per-pixel loop
HEIGHT, WIDTH = 3000, 4000
CURVE_SIZE = 65
MACHINE_KEYS = ("cpu", "cores", "system", "load_1min", "library", "date", "gflops")


class Contest:
    """One network and one look, in PyTorch and in ours."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.renderer = Renderer(vera_0_5b().renderer).eval()
        size = self.renderer.config.latent_size
        self.latents = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
        weights = RendererWeights.from_state(self.renderer.state_dict(), residual=False)
        self.ours = {
            "float32": NativeRenderer(weights),
            "int8": NativeRenderer(weights, precision="int8"),
        }

    @torch.inference_mode()
    def in_torch(self, rgb: np.ndarray, chunk: int) -> np.ndarray:
        """rgb (N, 3) float32 through the network in PyTorch, `chunk` colours at a time."""
        latents = torch.from_numpy(self.latents)[None]
        parts = torch.from_numpy(rgb)[None].split(chunk, dim=1)
        return torch.cat([self.renderer(part, latents) for part in parts], 1)[0].numpy()

    def quality(self) -> dict[str, float]:
        """How far 33^3 LUTs are from PyTorch's, and int8 from float32."""
        points = lattice_points(33)
        exact, coarse = (self.ours[p].bake(self.latents).reshape(-1, 3) for p in self.ours)
        labs = [rgb_to_lab(lut.astype(np.float64)) for lut in (exact, coarse)]
        difference = ciede2000(*labs)
        return {
            "float32_from_torch_max": float(np.abs(exact - self.in_torch(points, 4096)).max()),
            "int8_from_float32_ciede2000_mean": float(difference.mean()),
            "int8_from_float32_ciede2000_p99": float(np.percentile(difference, 99)),
        }


def lattice_points(size: int) -> np.ndarray:
    """(size^3, 3) float32, red fastest."""
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(-1, 3)


def measure(works: dict[str, Work], runs: int) -> dict[str, Times]:
    """Times of each work; runs alternate, after one unmeasured run of each."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for run in range(-1, runs):
        for name, work in works.items():
            ms = timed_ms(work)
            if run >= 0:
                times[name].append(ms)
    return {name: Times.of(ms) for name, ms in times.items()}


def bake_rows(contest: Contest, size: int, threads: int, runs: int) -> list[dict[str, object]]:
    """Ours and PyTorch's LUT of `size` nodes an axis."""
    points = lattice_points(size)

    def bake(native_renderer: NativeRenderer) -> Work:
        return lambda: native_renderer.bake(contest.latents, size, threads=threads)

    works: dict[str, Work] = {f"ours {p}": bake(r) for p, r in contest.ours.items()}
    works["pytorch eager, whole"] = lambda: contest.in_torch(points, len(points))
    works["pytorch eager, chunks"] = lambda: contest.in_torch(points, LATTICE_CHUNK)
    return [
        {"task": f"bake {size}^3", "threads": threads, "who": who, **asdict(times)}
        for who, times in measure(works, runs).items()
    ]


def photo_rows(
    contest: Contest, threads: int, runs: int, torch_pixels: int
) -> list[dict[str, object]]:
    """A 12 MP photo: bake and render, and the network for every pixel (measured on a part)."""
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8, endpoint=True)
    some = (photo.reshape(-1, 3)[:torch_pixels] / 255.0).astype(np.float32)
    curves = np.tile(np.linspace(0, 1, CURVE_SIZE, dtype=np.float32), (3, 1))

    def retouch(native_renderer: NativeRenderer) -> Work:
        def work() -> object:
            lut = native_renderer.bake(contest.latents, threads=threads)
            return native.render(photo, curves, lut, threads=threads)

        return work

    ours = measure({f"ours {p}": retouch(r) for p, r in contest.ours.items()}, runs)
    works: dict[str, Work] = {"pytorch": lambda: contest.in_torch(some, PHOTO_CHUNK)}
    peer = measure(works, max(1, runs // 5))["pytorch"]
    scale = HEIGHT * WIDTH / len(some)
    rows: list[dict[str, object]] = [
        {"task": "bake 33^3 and render 12 MP", "threads": threads, "who": who, **asdict(times)}
        for who, times in ours.items()
    ]
    rows.append(
        {
            "task": "network on 12 MP",
            "threads": threads,
            "who": f"pytorch eager, scaled from {len(some)} pixels",
            "median_ms": round(peer.median_ms * scale, 1),
            "p95_ms": round(peer.p95_ms * scale, 1),
            "n": peer.n,
        }
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file; without it only the table is printed")
    parser.add_argument("--runs", type=int, default=15, help="measured runs of each row")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="a smoke test: few runs, 17^3 alone")
    given = parser.parse_args()
    runs = 3 if given.quick else given.runs
    contest = Contest()
    rows: list[dict[str, object]] = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        for size in (17,) if given.quick else (17, 33, 65):
            rows += bake_rows(contest, size, threads, runs)
        rows += photo_rows(contest, threads, runs, 65_536 if given.quick else 524_288)
    for row in rows:
        print(*(f"{row[key]!s:>8}" for key in ("threads", "median_ms", "p95_ms", "n")), end="  ")
        print(f"{row['task']}: {row['who']}")
    quality = contest.quality()
    print(json.dumps(quality))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        about = machine(given.threads)
        about = {key: about[key] for key in MACHINE_KEYS} | {"torch": torch.__version__}
        record = {"machine": about, "quality": quality, "rows": rows}
        given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
