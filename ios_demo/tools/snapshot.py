"""Copies the files that the package needs, as they are now, to a folder: snapshot.py FOLDER.

Tracked files, and new ones that git does not ignore. A file that is there and equal stays
untouched, so that a build goes on where it was; one that is gone is deleted.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Package.swift", "README.md", "ios_demo", "kernels")


def names() -> set[str]:
    """Paths relative to the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard", "--", *PARTS]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name for name in listed.split("\0") if name}
    return {name for name in found if (ROOT / name).is_file() or (ROOT / name).is_symlink()}


def same(source: Path, target: Path) -> bool:
    if source.is_symlink() or target.is_symlink():
        links = source.is_symlink() and target.is_symlink()
        return links and source.readlink() == target.readlink()
    return target.is_file() and filecmp.cmp(source, target, shallow=False)


def main() -> None:
    folder, wanted = Path(sys.argv[1]), names()
    for path in list(folder.rglob("*")):
        if (path.is_file() or path.is_symlink()) and str(path.relative_to(folder)) not in wanted:
            path.unlink()
    for name in sorted(wanted):
        source, target = ROOT / name, folder / name
        if not same(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target, follow_symlinks=False)


if __name__ == "__main__":
    main()
