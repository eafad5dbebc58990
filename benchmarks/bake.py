"""Speed of the bake kernel beside PyTorch: a part of `make bench-kernels` (see kernels.py).

The network has the public widths and seeded weights. Rows: our LUT in float32 and int8 and PyTorch
eager on the same lattice points, whole and in chunks; then a 12 MP photo, ours baked and rendered,
PyTorch's by the network for every pixel, measured on a part of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from kernel_peers import photo_like
from timing import Times, Work, alternate

from vera_mobile import native
from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.renderer import Renderer
from vera_mobile.native.bake import NativeRenderer, RendererWeights

Row = dict[str, Any]

LATTICE_CHUNK = 4096  # PyTorch is faster in chunks that stay in its caches
PHOTO_CHUNK = 262_144  # of the public per-pixel loop
HEIGHT, WIDTH = 3000, 4000
CURVE_SIZE = 65
SIZE = 33  # of the aims
WHOLE, CHUNKS = "pytorch eager, whole", "pytorch eager, chunks"


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

    @property
    def macs(self) -> int:
        """Multiply-adds of the network for a colour."""
        return sum(layer.weight.numel() for layer in (*self.renderer.layers, self.renderer.out))

    @torch.inference_mode()
    def in_torch(self, rgb: np.ndarray, chunk: int) -> np.ndarray:
        """rgb (N, 3) float32 through the network in PyTorch, `chunk` colours at a time."""
        latents = torch.from_numpy(self.latents)[None]
        parts = torch.from_numpy(rgb)[None].split(chunk, dim=1)
        return torch.cat([self.renderer(part, latents) for part in parts], 1)[0].numpy()

    def quality(self) -> dict[str, float]:
        """How far 33^3 LUTs are from PyTorch's, and int8 from float32."""
        points = lattice_points(SIZE)
        exact, coarse = (self.ours[p].bake(self.latents).reshape(-1, 3) for p in self.ours)
        labs = [rgb_to_lab(lut.astype(np.float64)) for lut in (exact, coarse)]
        difference = ciede2000(*labs)
        off = np.abs(exact - self.in_torch(points, LATTICE_CHUNK)).max()
        return {
            "float32_from_torch_max": float(off),
            "int8_ciede2000_mean": float(difference.mean()),
            "int8_ciede2000_p99": float(np.percentile(difference, 99)),
        }


def lattice_points(size: int) -> np.ndarray:
    """(size^3, 3) float32, red fastest."""
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(-1, 3)


def bake_rows(contest: Contest, size: int, threads: int, runs: int) -> list[Row]:
    """Ours and PyTorch's LUT of `size` nodes an axis."""
    points = lattice_points(size)

    def bake(native_renderer: NativeRenderer) -> Work:
        return lambda: native_renderer.bake(contest.latents, size, threads=threads)

    works: dict[str, Work] = {f"ours {p}": bake(r) for p, r in contest.ours.items()}
    works[CHUNKS] = lambda: contest.in_torch(points, LATTICE_CHUNK)
    if size <= SIZE:
        works[WHOLE] = lambda: contest.in_torch(points, len(points))
    return [
        {"task": f"bake {size}^3", "lut_size": size, "threads": threads, "who": who} | asdict(times)
        for who, times in alternate(works, runs).items()
    ]


def photo_rows(contest: Contest, threads: int, runs: int, torch_pixels: int) -> list[Row]:
    """A 12 MP photo: bake and render, and the network for every pixel (measured on a part)."""
    photo = photo_like("8", HEIGHT, WIDTH)
    some = (photo.reshape(-1, 3)[:torch_pixels] / 255.0).astype(np.float32)
    curves = np.tile(np.linspace(0, 1, CURVE_SIZE, dtype=np.float32), (3, 1))

    def retouch(native_renderer: NativeRenderer) -> Work:
        def work() -> object:
            lut = native_renderer.bake(contest.latents, threads=threads)
            return native.render(photo, curves, lut, threads=threads)

        return work

    found = alternate({f"ours {p}": retouch(r) for p, r in contest.ours.items()}, runs)
    works: dict[str, Work] = {"pytorch": lambda: contest.in_torch(some, PHOTO_CHUNK)}
    part = alternate(works, max(1, runs // 5))["pytorch"]
    scale = HEIGHT * WIDTH / len(some)
    whole = Times(round(part.median_ms * scale, 1), round(part.p95_ms * scale, 1), part.n)
    found[f"pytorch eager, scaled from {len(some)} pixels"] = whole
    return [
        {"task": "12 MP", "lut_size": SIZE, "threads": threads, "who": who} | asdict(times)
        for who, times in found.items()
    ]


def _median(rows: list[Row], task: str, threads: int, who: str) -> float:
    for row in rows:
        if (row["task"], row["threads"]) == (task, threads) and row["who"].startswith(who):
            return float(row["median_ms"])
    raise KeyError(f"no row for {task}, {threads} threads, {who}")


def _worst(rows: list[Row], task: str, ours: str, peer: str) -> float:
    """The smallest ratio of the peer's time to ours over the numbers of threads."""
    counts = sorted({row["threads"] for row in rows})
    found = (_median(rows, task, n, peer) / _median(rows, task, n, ours) for n in counts)
    return round(min(found), 3)


def limits_of(contest: Contest, row: Row, gflops: float) -> Row:
    """What arithmetic allows for a bake in float32 that computes every product. Ours leaves out
    products with features that are 0, so it may pass 100 %. Memory is no limit: weights stay in
    the second-level cache and each colour is written once."""
    if row["who"] != "ours float32" or not row["task"].startswith("bake"):
        return {}
    limit_ms = 2 * contest.macs * row["lut_size"] ** 3 / gflops / 1e6
    return {
        "arithmetic_limit_ms": round(limit_ms, 2),
        "arithmetic_limit_percent": round(100 * limit_ms / row["median_ms"], 1),
    }


def show(row: Row) -> None:
    limit = row.get("arithmetic_limit_percent")
    tail = "" if limit is None else f"; {limit:.0f} % of the limit of all products"
    name = f"{row['task']}, {row['threads']} threads, {row['who']}"
    print(f"{name:60} {row['median_ms']:9.2f} ms, p95 {row['p95_ms']:9.2f} ms{tail}")


def bake_record(
    threads: list[int], runs: int, gflops: dict[str, float], *, quick: bool = False
) -> dict[str, Any]:
    """All rows, the quality and the ratios of the aims, each the worst over `threads`.

    ratio_vs_pytorch: float32 at 33^3 against PyTorch in chunks, its faster way.
    """
    contest = Contest()
    rows: list[Row] = []
    for count in threads:
        torch.set_num_threads(count)
        for size in (SIZE,) if quick else (17, SIZE, 65):
            rows += bake_rows(contest, size, count, runs)
        rows += photo_rows(contest, count, runs, 65_536 if quick else 524_288)
    for row in rows:
        row |= limits_of(contest, row, gflops[str(row["threads"])])
        show(row)
    task = f"bake {SIZE}^3"
    return {
        "ratio_vs_pytorch": _worst(rows, task, "ours float32", CHUNKS),
        "ratio_vs_pytorch_whole": _worst(rows, task, "ours float32", WHOLE),
        "int8_ratio_vs_float32": _worst(rows, task, "ours int8", "ours float32"),
        "photo_ratio": _worst(rows, "12 MP", "ours float32", "pytorch eager"),
        **contest.quality(),
        "multiply_adds_per_colour": contest.macs,
        "torch": torch.__version__,
        "rows": rows,
    }
