"""Folders of before/after pairs as they come: FiveK, PPR10K, or names that end in before/after."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vera_mobile.errors import FileError
from vera_mobile.image import FORMATS, Photo
from vera_mobile.retoucher import ASPECT_TOLERANCE, Retoucher
from vera_mobile.train.evaluation.figures import Wanted
from vera_mobile.train.evaluation.run import Model, Report, Settings, for_each, summary
from vera_mobile.train.evaluation.tasks import Rows, pair_rows

LONG_SIDE = 512
BEFORE_FOLDERS = ("input", "raw", "source", "original", "before")
AFTER_FOLDERS = re.compile(r"(expert|target)[ _-]?([a-z])?|after|gt|[a-e]")
_BEFORE_NAME = re.compile(r"(.+)[_-]before")
LAYOUTS = (
    f"a folder {', '.join(BEFORE_FOLDERS[:-1])} or before, beside folders such as expertC, "
    "target_a or after with the same file names; or files NAME_before and NAME_after"
)


@dataclass(frozen=True)
class Pair:
    """One photo before and after; `expert` names the folder of `after` where there are several."""

    name: str
    before: Path
    after: Path
    expert: str = ""


def list_pairs(folder: str | Path) -> list[Pair]:
    """The pairs of a folder, sorted by name. Raises FileError when it holds none.

    Names are compared without suffix, so that input/a.tif goes with expertC/a.jpg.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"{folder}: is no folder; give one that holds {LAYOUTS}.")
    pairs = _by_folders(folder) or _by_names(folder)
    if not pairs:
        raise FileError(f"{folder}: holds no pairs; expected is {LAYOUTS}.")
    return sorted(pairs, key=lambda p: (p.name, p.expert))


def _pictures(folder: Path) -> dict[str, Path]:
    """Pictures below a folder by their name in it, without suffix."""
    return {
        p.relative_to(folder).with_suffix("").as_posix(): p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix.lower() in FORMATS
    }


def _by_folders(folder: Path) -> list[Pair]:
    inside = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    first = next((inside[name] for name in BEFORE_FOLDERS if name in inside), None)
    if first is None:
        return []
    before = _pictures(first)
    experts = [p for name, p in inside.items() if AFTER_FOLDERS.fullmatch(name) and p != first]
    found = {p.name: _pictures(p) for p in experts}
    found = {expert: after for expert, after in found.items() if set(after) & set(before)}
    return [
        Pair(name, before[name], after[name], expert if len(found) > 1 else "")
        for expert, after in found.items()
        for name in before
        if name in after
    ]


def _by_names(folder: Path) -> list[Pair]:
    pictures = _pictures(folder)
    pairs = []
    for name, path in pictures.items():
        match = _BEFORE_NAME.fullmatch(name)
        if match:
            after = next((pictures[n] for mark in "_-" if (n := f"{match[1]}{mark}after")
                          in pictures), None)  # fmt: skip
            if after:
                pairs.append(Pair(match[1], path, after))
    return pairs


def load_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, (H, W, 3) uint8 sRGB of one size, long side at most 512.

    Raises FileError for an unreadable file and for frames of different aspect.
    """
    before, after = (Photo.load(path) for path in (pair.before, pair.after))
    if abs(before.width * after.height / (before.height * after.width) - 1) > ASPECT_TOLERANCE:
        raise FileError(
            f"{pair.before} is {before.width} x {before.height}, {pair.after} "
            f"{after.width} x {after.height}: a pair shows one frame; take it out of the folder."
        )
    first = before.to_srgb(max_side=LONG_SIDE)
    second = after.to_srgb(size=(first.shape[1], first.shape[0]))
    return _codes(first), _codes(second)


def _codes(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def measured_pairs(
    model: Model,
    pairs: list[Pair],
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    on_pair: Callable[[int, int], None] | None = None,
) -> list[Rows]:
    """The rows of each pair: "auto" and what runs beside it, against the photo after."""
    return for_each(model, _rows_of, [(p, settings) for p in pairs], settings.workers, on_pair)


def _rows_of(retoucher: Retoucher, pair: Pair, settings: Settings) -> Rows:
    before, after = load_pair(pair)
    tools = settings.tools()
    wanted = Wanted(after, tools.lpips)
    return {name: [row] for name, row in pair_rows(retoucher, before, wanted, tools)}


def pairs_summary(pairs: list[Pair], rows: list[Rows]) -> Report:
    """`pairs`: auto on all of them; `pairs_X`: correction X; `pairs_auto[E]`: expert E alone."""
    report = _prefixed(summary(rows))
    experts = sorted({p.expert for p in pairs} - {""})
    for expert in experts:
        own = [row for pair, row in zip(pairs, rows, strict=True) if pair.expert == expert]
        report[f"pairs[{expert}]"] = summary(own)["auto"]
    return report


def _prefixed(report: Report) -> Report:
    names = {"auto": "pairs"}
    return {names.get(k, f"pairs_{k}"): row for k, row in report.items() if k != "photos"}
