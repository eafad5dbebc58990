"""Files that come with the package: the bundled checkpoint `nano`."""

from __future__ import annotations

from pathlib import Path

from vera_mobile.errors import FileError

CHECKPOINTS = {"nano": "nano"}


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint: a bundled name ("nano") or a path. FileError when it is none."""
    bundled = CHECKPOINTS.get(str(name_or_path))
    folder = Path(__file__).parent / bundled if bundled else Path(name_or_path)
    if not (folder / "config.json").is_file():
        raise FileError(
            f"{name_or_path}: is no checkpoint (no config.json); bundled are: "
            + ", ".join(sorted(CHECKPOINTS))
        )
    return folder
