"""Writes the wrappers through which the Swift package compiles the C++ core, or checks them.

    core_files.py           writes ios_demo/VeraMobile/Sources/CVera/core_*.cc
    core_files.py --check   exit code 1 where they differ from what it would write

The list of files is that of CMake (VERA_SOURCES and VERA_SDK_SOURCES). A wrapper per file, because
SwiftPM takes no compiler flags per file from packages that others depend on (see settings.h).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "ios_demo/VeraMobile/Sources/CVera"
LISTS = {
    "VERA_SOURCES": ROOT / "kernels/CMakeLists.txt",
    "VERA_SDK_SOURCES": ROOT / "kernels/cmake/sdk.cmake",
}


def sources() -> list[str]:
    """The core's .cc files, relative to kernels/."""
    found: list[str] = []
    for name, path in LISTS.items():
        match = re.search(rf"set\({name}\s+([^)]*)\)", path.read_text(encoding="utf-8"))
        if match is None:
            raise SystemExit(f"{path} has no list {name}: correct LISTS in core_files.py.")
        found += match.group(1).split()
    return found


def wrappers() -> dict[str, str]:
    """Text by file name."""
    return {
        f"core_{source.removesuffix('.cc').replace('/', '_')}.cc": (
            f'#include "settings.h"\n#include "{source}"\n'
        )
        for source in sources()
    }


def main() -> int:
    wanted = wrappers()
    present = {path.name: path.read_text("utf-8") for path in FOLDER.glob("core_*.cc")}
    if "--check" in sys.argv[1:]:
        wrong = sorted({name for name, _ in set(wanted.items()) ^ set(present.items())})
        for name in wrong:
            print(f"{name} is out of date: run python3 ios_demo/core_files.py", file=sys.stderr)
        return 1 if wrong else 0
    for name in present.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        if present.get(name) != text:
            (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
