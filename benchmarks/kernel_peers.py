"""Other people's 3-D LUT renderers, timed in a process of their own.

    python kernel_peers.py PEER FORMAT HEIGHT WIDTH LUT_SIZE THREADS

Prints {"version": ...} when ready and then {"ms": ...} for each line read. Needs NumPy and the
peer, nothing of this project, so that it runs in any environment. All apply a bare LUT: no curves,
no mix.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TOPS = {"8": 255.0, "16": 65535.0, "float": 1.0}
DTYPES = {"8": np.uint8, "16": np.uint16, "float": np.float32}


class Case(NamedTuple):
    """What to render: `kind` is 8, 16 or float; RGB of height x width; threads share the rows."""

    kind: str
    height: int
    width: int
    lut_size: int
    threads: int


class Peer(NamedTuple):
    """`run` renders once; where it cannot be timed from outside it returns milliseconds. `kept` is
    what must live as long."""

    version: str
    run: Callable[[], float | None]
    kept: object = None


def photo_like(kind: str, height: int, width: int) -> np.ndarray:
    """(H, W, 3) of the kind: waves over the picture and a few percent of noise, in [0, 1]. Pictures
    larger than 12 MP repeat one of 12 MP, which is quicker to make."""
    if height > 3000 or width > 4000:
        part = photo_like(kind, min(height, 3000), min(width, 4000))
        repeats = (-(-height // part.shape[0]), -(-width // part.shape[1]), 1)
        return np.ascontiguousarray(np.tile(part, repeats)[:height, :width])
    rng = np.random.default_rng(1)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)
    top = np.float32(TOPS[kind])
    image = np.empty((height, width, 3), DTYPES[kind])
    noise = rng.random((min(height, 499), width), dtype=np.float32) - np.float32(0.5)
    for c in range(3):
        for begin in range(0, height, len(noise)):
            rows = slice(begin, min(begin + len(noise), height))
            wave = np.sin(0.0021 * x + c) * np.cos(0.0017 * y[rows] - 0.7 * c)
            part = 0.5 + 0.45 * wave + 0.05 * np.roll(noise, 31 * c, 1)[: len(wave)]
            image[rows, :, c] = (part.clip(0.0, 1.0) * top).astype(image.dtype)
    return image


def a_look(size: int) -> np.ndarray:
    """(N, N, N, 3) float32, [b][g][r]: contrast and some exchange between channels."""
    axis = np.linspace(0.0, 1.0, size, dtype=np.float32)
    b, g, r = np.meshgrid(axis, axis, axis, indexing="ij")
    rgb = np.stack([r, g, b], -1)
    mixed = 0.85 * rgb + 0.15 * rgb[..., [1, 2, 0]]
    return np.ascontiguousarray(mixed * mixed * (3.0 - 2.0 * mixed), dtype=np.float32)


def _bands(case: Case) -> list[slice]:
    edges = [case.height * i // case.threads for i in range(case.threads + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _on_threads(case: Case, works: Sequence[Callable[[], Any]]) -> Callable[[], None]:
    """Runs one work per thread; each must release the interpreter lock."""
    pool = ThreadPoolExecutor(case.threads)

    def run() -> None:
        for future in [pool.submit(work) for work in works]:
            future.result()

    return run


def pillow(case: Case) -> Peer:
    """Pillow or pillow-simd, whichever this environment holds: trilinear, 8 bits."""
    from PIL import Image, ImageFilter, __version__

    table = ImageFilter.Color3DLUT(case.lut_size, a_look(case.lut_size).reshape(-1).tolist())
    image = photo_like("8", case.height, case.width)
    parts = [Image.fromarray(image[band]) for band in _bands(case)]
    return Peer(__version__, _on_threads(case, [partial(part.filter, table) for part in parts]))


def opencolorio(case: Case) -> Peer:
    """OpenColorIO's CPU processor: tetrahedral; 8 and 16 bits, float."""
    import PyOpenColorIO as ocio

    depth = {"8": ocio.BIT_DEPTH_UINT8, "16": ocio.BIT_DEPTH_UINT16, "float": ocio.BIT_DEPTH_F32}
    lut = ocio.Lut3DTransform(gridSize=case.lut_size)
    lut.setInterpolation(ocio.INTERP_TETRAHEDRAL)
    lut.setData(np.ascontiguousarray(a_look(case.lut_size).transpose(2, 1, 0, 3)).reshape(-1))
    processor = ocio.Config.CreateRaw().getProcessor(lut)
    bits = depth[case.kind]
    cpu = processor.getOptimizedCPUProcessor(bits, bits, ocio.OPTIMIZATION_DEFAULT)
    image = photo_like(case.kind, case.height, case.width)
    out = np.empty_like(image)
    item = image.itemsize

    def describe(pixels: np.ndarray) -> Any:
        rows = pixels.shape[0]
        flat = pixels.reshape(-1)
        return ocio.PackedImageDesc(
            flat, case.width, rows, 3, bits, item, 3 * item, 3 * item * case.width
        )

    works = [
        partial(cpu.apply, describe(image[band]), describe(out[band])) for band in _bands(case)
    ]
    return Peer(ocio.__version__, _on_threads(case, works))


def grid_sample(case: Case) -> Peer:
    """PyTorch's grid_sample: trilinear, float, channels first."""
    import torch

    torch.set_num_threads(case.threads)
    image = torch.from_numpy(photo_like("float", case.height, case.width))[None, None]
    grid = image * 2 - 1
    lut = torch.from_numpy(a_look(case.lut_size)).permute(3, 0, 1, 2)[None].contiguous()

    def run() -> None:
        with torch.inference_mode():
            torch.nn.functional.grid_sample(
                lut, grid, mode="bilinear", padding_mode="border", align_corners=True
            )

    return Peer(torch.__version__, run)


def _write_cube(path: Path, lut: np.ndarray) -> None:
    rows = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in lut.reshape(-1, 3))
    path.write_text(f"LUT_3D_SIZE {lut.shape[0]}\n{rows}\n")


def _ffmpeg_program() -> str:
    """The system's, else the one that the wheel imageio-ffmpeg holds."""
    found = shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg

        found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def ffmpeg(case: Case) -> Peer:
    """FFmpeg's lut3d filter: tetrahedral; rgb24, gbrp16, gbrpf32 (planar)."""
    program = _ffmpeg_program()
    formats = {"8": "rgb24", "16": "gbrp16le", "float": "gbrpf32le"}
    kept = tempfile.TemporaryDirectory(prefix="vera-ffmpeg-")  # until this process ends
    folder = Path(kept.name)
    image = photo_like(case.kind, case.height, case.width)
    if case.kind != "8":
        image = image[..., [1, 2, 0]].transpose(2, 0, 1)
    np.ascontiguousarray(image).tofile(folder / "photo.raw")
    _write_cube(folder / "look.cube", a_look(case.lut_size))
    frames = 6 if case.height * case.width <= 12_000_000 else 2
    command = [program, "-v", "error", "-filter_threads", str(case.threads), "-f", "rawvideo"]
    command += ["-pix_fmt", formats[case.kind], "-s", f"{case.width}x{case.height}"]
    command += ["-i", str(folder / "photo.raw"), "-f", "null", "-vf"]
    look = f"lut3d=file={folder / 'look.cube'}:interp=tetrahedral"

    def seconds(count: int) -> float:
        start = time.perf_counter()
        subprocess.run([*command, f"loop=loop={count}:size=1,{look}", "-"], check=True)
        return time.perf_counter() - start

    def run() -> float:
        # More frames less few: start, reading and parsing fall out.
        return (seconds(1 + frames) - seconds(1)) / frames * 1e3

    version = subprocess.run([program, "-version"], capture_output=True, text=True, check=True)
    return Peer(version.stdout.split()[2], run, kept)


PEERS = {
    "pillow": pillow,
    "pillow-simd": pillow,
    "opencolorio": opencolorio,
    "grid_sample": grid_sample,
    "ffmpeg": ffmpeg,
}


def main() -> None:
    """Answers each line of stdin with one timed run."""
    name, kind, *numbers = sys.argv[1:]
    peer = PEERS[name](Case(kind, *(int(number) for number in numbers)))
    print(json.dumps({"version": peer.version}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        own = peer.run()
        elapsed = (time.perf_counter() - start) * 1e3
        print(json.dumps({"ms": elapsed if own is None else own}), flush=True)


if __name__ == "__main__":
    main()
