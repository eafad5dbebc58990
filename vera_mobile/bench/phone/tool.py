"""Programs of other toolchains: found, run with a limit, their failures in one sentence."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vera_mobile.errors import FileError


class ToolError(FileError):
    """A program of the toolchain failed, or the phone did."""


@dataclass(frozen=True)
class Tool:
    """A program with the arguments that every call begins with."""

    path: str
    first: tuple[str, ...] = ()

    @classmethod
    def find(cls, name: str, how: str) -> Tool:
        """The program on the PATH. FileError that says how to get it."""
        path = shutil.which(name)
        if path is None:
            raise FileError(f"{name} is not installed: {how}")
        return cls(path)

    def with_first(self, *first: str) -> Tool:
        """The same program, with these arguments first."""
        return Tool(self.path, first)

    def run(self, *arguments: str, timeout_s: float = 120) -> str:
        """Standard output. ToolError with the last thing that it said, when it fails or hangs."""
        command = [self.path, *self.first, *arguments]
        name = " ".join([Path(self.path).name, *arguments[:3]])
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False,
                stdin=subprocess.DEVNULL, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"`{name}` did not end within {timeout_s:.0f} s.") from error
        except OSError as error:
            raise ToolError(f"`{name}` cannot be run ({error.strerror}).") from error
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
            raise ToolError(f"`{name}` failed ({done.returncode}): {said[-1].strip()}")
        return done.stdout
