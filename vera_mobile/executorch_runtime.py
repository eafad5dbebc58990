"""ExecuTorch's runtime alone: programs in, methods out.

The package `executorch.runtime` imports the whole export stack on the way (`executorch.exir`,
torchao, PyTorch's compiler): 133 MB and 4 s of a core, which no plan needs. Its C++ module is what
it wraps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_program(path: str | Path) -> Any:
    """The checked program of a .pte file, mapped; `load_method(name)` gives a method, and
    `method_meta(name)` its shapes. It must outlive its methods. Raises RuntimeError."""
    library = _library()
    checks = library.Verification.InternalConsistency
    return library._load_program(str(path), program_verification=checks)


def has_backend(name: str) -> bool:
    """Whether the runtime of this machine has the backend, by ExecuTorch's name for it."""
    return bool(_library()._is_available(name))


def _library() -> Any:
    import torch  # noqa: F401, its libraries have to be in the process first
    from executorch.extension.pybindings import _portable_lib

    return _portable_lib
