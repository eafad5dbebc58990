"""Which photo is compared with which: by name, from two folders or a result file of a device.

A result file is JSON: {"photos": [{"name": ..., "file": ..., "text": ...}]}, "file" relative to the
JSON's folder and "text" optional. What `vera retouch --json` prints ("done" with "photo", "out" and
"text") is read as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.image import FORMATS

LOOK_SUFFIX = ".look.json"
_RESULT_MAX_BYTES = 64 * 2**20
_LOOK_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Shot:
    """One photo of a side. text: what the model wrote, None where that is not known."""

    name: str
    path: Path
    text: str | None = None


@dataclass(frozen=True)
class Pair:
    """A photo that both sides have; name without suffix, with its folder."""

    name: str
    reference: Shot
    candidate: Shot


@dataclass(frozen=True)
class Pairs:
    """What to compare, in order of names, and what only one side has."""

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_up(reference: str | Path, candidate: str | Path) -> Pairs:
    """The photos of two sides, each a folder (searched to its depth) or a result file.

    Names are paths relative to the side's folder, without suffix: a PNG and a JPEG of one name
    are a pair. Raises FileError for a side that is neither or cannot be read, InvalidArgument for
    two photos of one name or no common name.
    """
    sides = [_by_name(Path(side)) for side in (reference, candidate)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        raise InvalidArgument(
            f"{reference} and {candidate} have no photo of the same name "
            f"({len(sides[0])} and {len(sides[1])} photos): the names without suffix must be equal."
        )
    return Pairs(
        tuple(Pair(name, sides[0][name], sides[1][name]) for name in common),
        tuple(sorted(sides[0].keys() - sides[1].keys())),
        tuple(sorted(sides[1].keys() - sides[0].keys())),
    )


def text_of(shot: Shot) -> str | None:
    """The model's words: of the result file, else of NAME.look.json beside the photo, else None.

    Raises FileError for a look that cannot be read.
    """
    if shot.text is not None:
        return shot.text
    look = shot.path.with_suffix(LOOK_SUFFIX)
    if not look.is_file():
        return None
    record = _json(look, _LOOK_MAX_BYTES)
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise FileError(f"{look} is not a look: save it again with `vera retouch --save-look`.")
    return record["text"]


def _by_name(side: Path) -> dict[str, Shot]:
    if side.is_dir():
        shots = list(_photos_in(side))
    elif side.is_file():
        shots = list(_photos_of(side))
    else:
        raise FileError(f"{side} does not exist: give a folder of photos or a result file (.json).")
    found: dict[str, Shot] = {}
    for shot in shots:
        if shot.name in found:
            raise InvalidArgument(
                f"{found[shot.name].path} and {shot.path} have one name: keep one of them."
            )
        found[shot.name] = shot
    return found


def _photos_in(folder: Path) -> Iterator[Shot]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in FORMATS and path.is_file():
            yield Shot(path.relative_to(folder).with_suffix("").as_posix(), path)


def _photos_of(file: Path) -> Iterator[Shot]:
    record = _json(file, _RESULT_MAX_BYTES)
    rows = record.get("photos", record.get("done")) if isinstance(record, dict) else None
    if not isinstance(rows, list):
        raise FileError(
            f'{file} is not a result file: it needs "photos", a list of objects with "name", '
            '"file" and, if there is one, "text".'
        )
    for index, row in enumerate(rows):
        yield _shot(file, index, row)


def _shot(file: Path, index: int, row: Any) -> Shot:
    fields = row if isinstance(row, dict) else {}
    name, photo, text = fields.get("name"), fields.get("file"), fields.get("text")
    if photo is None and isinstance(fields.get("out"), str):  # of `vera retouch --json`
        return Shot(Path(fields["out"]).stem, Path(fields["out"]), text)
    if not isinstance(name, str) or not isinstance(photo, str) or not name or not photo:
        raise FileError(f'{file}: photo {index} lacks "name" or "file" (text): write it again.')
    if text is not None and not isinstance(text, str):
        raise FileError(f'{file}: photo {index} has a "text" that is no text: write it again.')
    relative = Path(name)
    plain = relative.with_suffix("") if relative.suffix.lower() in FORMATS else relative
    return Shot(plain.as_posix(), file.parent / photo, text)


def _json(path: Path, max_bytes: int) -> Any:
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"it is larger than {max_bytes} bytes")
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read as JSON ({error}): write it again.") from error
