"""A plan from a bundle needs ExecuTorch's runtime, not the stack that made the bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# 133 MB and 4 s of a core when they are imported (torch 2.13, executorch 1.4.1)
HEAVY = ("executorch.exir", "torchao", "torch._inductor", "sympy", "transformers")
PROGRAM = """
import sys
import numpy as np
from vera_mobile import Photo, Retoucher
photo = Photo.from_array(np.zeros((60, 80, 3), np.uint8) + 90)
look = Retoucher.load(sys.argv[1]).plan(photo)
assert look.latents.shape[0] == 3
print([name for name in sys.argv[2:] if name in sys.modules])
"""


def test_a_plan_imports_no_exporter(nano_bundle: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(nano_bundle), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
