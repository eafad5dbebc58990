"""Files that come with the package: the bundled checkpoints.

`nano` is what demo, tests and README's recipes use. `nano-measured` reads quantiles of the photo in
its prompt and retouches better; it takes nano's place when every recipe's figures are taken anew.
"""

from __future__ import annotations

from pathlib import Path

from vera_mobile.errors import FileError

CHECKPOINTS = {"nano": "nano", "nano-measured": "nano-measured"}


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint: a bundled name ("nano", "nano-measured") or a path.

    FileError when it is none.
    """
    bundled = CHECKPOINTS.get(str(name_or_path))
    folder = Path(__file__).parent / bundled if bundled else Path(name_or_path)
    if not (folder / "config.json").is_file():
        raise FileError(
            f"{name_or_path}: is no checkpoint (no config.json); bundled are: "
            + ", ".join(sorted(CHECKPOINTS))
        )
    return folder
