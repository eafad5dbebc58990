"""Calls that `make_cases.py` kept, run again on this machine and compared: for emulated 64-bit ARM.

replay.py LIBRARIES OUT.json RECIPE BUNDLE CASES.npz [RECIPE BUNDLE CASES.npz ...]
LIBRARIES: the folder that holds _lib/libvera.so and _lib/libvera_executorch.so. Needs NumPy,
PyTorch and ExecuTorch's runtime alone. OUT.json: a list of
{recipe, program, calls, own, max_abs, relative, bound, passed, error, seconds}; relative: the
largest difference over the largest value of the host's output.

Own kernels promise the same bytes on every instruction set: bound 0 holds the bytes. XNNPACK does
not: it has other micro-kernels for each, whose float sums are in another order, so that a value
between two of 8 bits can round to the other one.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import vera_mobile

# The largest relative difference: half a step of an 8-bit picture. Measured on an x86-64 host with
# AVX-512: bake 4.5e-4, where a value rounds to the other 8-bit code; all others at most 2.5e-7.
XNNPACK_BOUND = 1 / 510


def compare(wanted: list[np.ndarray], got: list[np.ndarray]) -> tuple[bool, float, float]:
    """Whether bytes are equal, the largest absolute difference, and that over the largest value."""
    if [(a.shape, a.dtype) for a in wanted] != [(a.shape, a.dtype) for a in got]:
        return False, float("inf"), float("inf")
    equal = all(a.tobytes() == b.tobytes() for a, b in zip(wanted, got, strict=True))
    if equal:
        return True, 0.0, 0.0
    largest = [
        (float(np.abs(a.astype(np.float64) - b).max()), float(np.abs(a).max()))
        for a, b in zip(wanted, got, strict=True)
    ]
    if not all(np.isfinite(pair).all() for pair in largest):
        return False, float("inf"), float("inf")
    return False, max(d for d, _ in largest), max(d / (v or 1.0) for d, v in largest)


class Machine:
    """A bundle's programs on this machine, each loaded once; the decoder keeps its cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs: dict[str, Any] = {}
        self.methods: dict[tuple[str, str], Any] = {}

    def run(self, call: dict[str, Any], inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one call."""
        if not call["method"]:
            return [self._bake(call["file"], *inputs)]
        import torch

        key = call["file"], call["method"]
        if key not in self.methods:
            from vera_mobile.executorch_runtime import load_program

            if key[0] not in self.programs:
                self.programs[key[0]] = load_program(self.root / key[0])
            self.methods[key] = self.programs[key[0]].load_method(key[1])
        values = [torch.from_numpy(value) for value in inputs]
        outputs = self.methods[key].call(values, clone_outputs=False)
        return [output.numpy().copy() for output in outputs]

    def _bake(self, file: str, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        from vera_mobile.native.bake import NativeRenderer

        return NativeRenderer.from_file(self.root / file).colours(points, latents)


def replay(recipe: str, root: Path, cases: Path) -> list[dict[str, Any]]:
    """One row a program: the worst of its calls. A program that fails is a row, not the end."""
    arrays = np.load(cases, allow_pickle=False)
    machine = Machine(root)
    rows: dict[str, dict[str, Any]] = {}
    for index, call in enumerate(json.loads(str(arrays["calls"]))):
        row = rows.setdefault(call["program"], {
            "recipe": recipe, "program": call["program"], "own": call["own"], "calls": 0,
            "max_abs": 0.0, "relative": 0.0, "bound": 0.0 if call["own"] else XNNPACK_BOUND,
            "passed": True, "error": "", "seconds": 0.0,
        })  # fmt: skip
        start = time.monotonic()
        wanted = [arrays[f"{index}.out{i}"] for i in range(call["outputs"])]
        try:
            got = machine.run(call, [arrays[f"{index}.in{i}"] for i in range(call["inputs"])])
            equal, largest, relative = compare(wanted, got)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
            equal, largest, relative = False, float("inf"), float("inf")
        row["calls"] += 1
        row["seconds"] += time.monotonic() - start
        row["max_abs"] = max(row["max_abs"], largest)
        row["relative"] = max(row["relative"], relative)
        row["passed"] &= equal if call["own"] else relative <= row["bound"]
    return list(rows.values())


def main() -> int:
    libraries, out, *rest = sys.argv[1:]
    vera_mobile.__path__.insert(0, libraries)
    import torch  # noqa: F401, its libraries have to be in the process first
    from executorch.extension.pybindings import _portable_lib  # noqa: F401

    ctypes.CDLL(str(Path(libraries) / "_lib" / "libvera_executorch.so"))
    rows = []
    for recipe, bundle, cases in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        rows += replay(recipe, Path(bundle), Path(cases))
        Path(out).write_text(json.dumps(rows, indent=1))
    for row in rows:
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
