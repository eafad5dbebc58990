"""Settings of the data engine, and the photos, presets and pairs that they name."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.train.data import PhotoFile, list_photos
from vera_mobile.train.engine.presets import Preset, read_presets

if TYPE_CHECKING:
    from vera_mobile.train.engine.pairs import PairLooks

VERSION = 1  # of what a sample holds and how it is drawn
TASKS = ("auto", "style", "param")
SPLITS = ("train", "val", "test")
FORMATS = ("jpg", "png")


@dataclass(frozen=True)
class EngineConfig:
    """What is built; the same settings and files give the same shards, byte for byte.

    photos, styles, pairs: folders, "" for none of the last two; checkpoint: folder of the encoder
    and renderer that transfer the pairs' edits. tiers: licence tiers of the manifest, () for all.
    samples: how many in all; per_shard: how many in one file; side: longer side in pixels; kind:
    "jpg" (4:4:4, `quality`) or "png". Shares are chances within a task: good_share: a good photo as
    input and target; transfer_share: an expert's edit; camera_share: faults after the scene, the
    rest drawn by `data.degradation`; preset_share: presets among the wishes.
    """

    photos: str
    split: str = "train"
    styles: str = ""
    pairs: str = ""
    checkpoint: str = ""
    tiers: tuple[str, ...] = ("A", "B")
    seed: int = 1
    samples: int = 3000
    per_shard: int = 100
    side: int = 512
    kind: str = "jpg"
    quality: int = 95
    tasks: tuple[str, ...] = TASKS
    good_share: float = 0.12
    transfer_share: float = 0.2
    camera_share: float = 0.75
    preset_share: float = 0.5

    def __post_init__(self) -> None:
        limits = {"samples": (1, 10**8), "per_shard": (1, 10**5), "side": (32, 4096),
                  "quality": (50, 100), "seed": (0, 2**31)}  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidArgument(f"{name} is {getattr(self, name)}: allowed are {low}..{high}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= value <= 1:
                raise InvalidArgument(f"{field.name} is {value}: allowed are 0..1")
        if self.split not in SPLITS:
            raise InvalidArgument(f"split {self.split!r} is unknown: use {', '.join(SPLITS)}")
        if self.kind not in FORMATS:
            raise InvalidArgument(f"pictures as {self.kind!r}: use {' or '.join(FORMATS)}")
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown or not self.tasks:
            raise InvalidArgument(f"tasks {unknown or 'none'}: use some of {', '.join(TASKS)}")
        if self.pairs and not self.checkpoint:
            raise InvalidArgument("pairs need a checkpoint, whose encoder reads their edits")

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.samples // self.per_shard)

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EngineConfig:
        """The settings that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        listed = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**(values | listed))


@dataclass(frozen=True)
class Source:
    """A photo to build from, with what the manifest says about it."""

    file: str
    path: Path
    tier: str
    licence: str
    author: str
    origin: str
    category: str


@dataclass(frozen=True, eq=False)
class Sources:
    """All that a build draws from. left_out: presets that were not usable, with the reason."""

    photos: tuple[Source, ...]
    presets: tuple[Preset, ...]
    pairs: PairLooks | None
    left_out: tuple[str, ...]


@lru_cache(maxsize=2)  # a process builds many shards of one config
def open_sources(config: EngineConfig) -> Sources:
    """The photos of the split and the readable presets and pairs. FileError when there are none."""
    presets, left_out = read_presets(config.styles) if config.styles else ([], [])
    pairs = None
    if config.pairs:
        from vera_mobile.train.engine.pairs import PairLooks  # brings the whole model along

        pairs = PairLooks(config.pairs, config.checkpoint)
    return Sources(tuple(read_photos(config)), tuple(presets), pairs, tuple(left_out))


def read_photos(config: EngineConfig) -> list[Source]:
    """The photos of the config's split and tiers, sorted by name."""
    folder = Path(config.photos)
    files = list_photos(folder, config.split, config.tiers)
    rows = _manifest(folder)
    return [_source(folder, file, rows) for file in files]


def fingerprint(config: EngineConfig) -> str:
    """sha256 of the settings and of the names and sizes of all files: tells builds apart.

    Where the folders lie does not count, so that a build can be moved.
    """
    digest = hashlib.sha256(f"{VERSION}".encode())
    settings = asdict(config)
    for name in ("photos", "styles", "pairs", "checkpoint"):
        given = settings.pop(name)
        listed = _sizes(Path(given) if given else None, config if name == "photos" else None)
        digest.update(f"{name}{listed}".encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


def _sizes(folder: Path | None, config: EngineConfig | None) -> list[tuple[str, int]]:
    if folder is None:
        return []
    if config is not None:
        return [(s.file, s.path.stat().st_size) for s in read_photos(config)]
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return [(p.relative_to(folder).as_posix(), p.stat().st_size) for p in files]


def _manifest(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / "manifest.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as f:
        return {row["file"]: row for row in csv.DictReader(f)}


def _source(folder: Path, file: PhotoFile, rows: dict[str, dict[str, str]]) -> Source:
    name = file.path.relative_to(folder).as_posix()
    row = rows.get(name, {})
    if not file.path.is_file():
        raise FileError(f"{file.path}: is in the manifest but not in the folder")
    return Source(
        name, file.path, file.tier, row.get("licence", ""), row.get("author", ""),
        row.get("source", ""), row.get("category", ""),
    )  # fmt: skip
