"""The phones that we aim at and published measurements: benchmarks/targets.toml, published.toml.

Every figure has a source; a figure that no source gives is None, never 0.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vera_mobile.errors import FileError, InvalidArgument

CONFIDENCES = ("high", "medium", "low")
UNITS = ("cpu", "gpu", "npu")
_FIGURES = ("memory_gb_s", "npu_tops", "gpu_tflops", "ram_gb", "app_memory_mb",
            "storage_gb_s")  # fmt: skip
_WORDS = ("name", "chip", "units")
_MORE_WORDS = ("models",)


@dataclass(frozen=True)
class Figure:
    """A value with where it was read and how far it is to be trusted."""

    value: float
    source: str
    confidence: str


@dataclass(frozen=True)
class Phone:
    """A phone; memory_gb_s and storage_gb_s (read one after the other) in 1e9 bytes a second,
    npu_tops in 1e12 operations a second.

    models: how the system's own names for it begin ("iPhone17,1", "SM-S931").
    """

    key: str
    name: str
    chip: str
    units: tuple[str, ...]
    models: tuple[str, ...] = ()
    memory_gb_s: Figure | None = None
    npu_tops: Figure | None = None
    gpu_tflops: Figure | None = None
    ram_gb: Figure | None = None
    app_memory_mb: Figure | None = None
    storage_gb_s: Figure | None = None

    def peak_multiply_adds(self, unit: str) -> float | None:
        """Multiply-adds a second at most, or None where that is not published."""
        figure = {"npu": self.npu_tops, "gpu": self.gpu_tflops}.get(unit)
        return None if figure is None else figure.value * 1e12 / 2


@dataclass(frozen=True)
class Aim:
    """A target: `name` is at most `at_most` on `phones` (keys)."""

    name: str
    words: str
    at_most: float
    phones: tuple[str, ...]


@dataclass(frozen=True)
class StandIn:
    """A figure of this repository's host that is taken for a phone's `unit`, with an aim's name."""

    aim: str
    unit: str
    ms: float
    source: str


@dataclass(frozen=True)
class Targets:
    """All of targets.toml."""

    phones: Mapping[str, Phone]
    aims: tuple[Aim, ...]
    stage_aims_ms: Mapping[str, float]
    stand_ins: tuple[StandIn, ...] = ()

    def phone_of(self, device: Mapping[str, Any]) -> Phone | None:
        """The phone of a result's device, by its model or its name; None where it is another."""
        names = [str(device[k]) for k in ("model", "name") if device.get(k)]
        names += [name.partition(" ")[2] for name in names]  # "samsung SM-S931B", as Android says
        for phone in self.phones.values():
            if phone.name in names or any(n.startswith(m) for n in names for m in phone.models):
                return phone
        return None

    def phone(self, key: str) -> Phone:
        """The phone of that key. InvalidArgument that lists the known ones."""
        if key not in self.phones:
            raise InvalidArgument(f"Phone '{key}' is unknown: use one of {', '.join(self.phones)}.")
        return self.phones[key]


@dataclass(frozen=True)
class Measured:
    """Someone's measurement; see published.toml for what the figures mean."""

    name: str
    phone: str
    unit: str
    source: str
    memory_gb_s: float | None = None
    memory_source: str = ""
    decode_tok_s: float | None = None
    weight_mb: float | None = None
    weight_source: str = ""
    prefill_tok_s: float | None = None
    first_token_s: float | None = None
    multiply_adds_g: float | None = None
    multiply_adds_source: str = ""

    @property
    def bandwidth_share(self) -> float | None:
        """Share of the memory's bandwidth that decoding reached."""
        if self.decode_tok_s is None or self.weight_mb is None or self.memory_gb_s is None:
            return None
        return self.decode_tok_s * self.weight_mb / 1000 / self.memory_gb_s

    @property
    def multiply_adds_s(self) -> float | None:
        """Multiply-adds a second while reading the prompt (8-bit activations or wider)."""
        if self.multiply_adds_g is None:
            return None
        if self.prefill_tok_s is not None:
            return self.prefill_tok_s * self.multiply_adds_g * 1e9
        if self.first_token_s is not None:
            return self.multiply_adds_g * 1e9 / self.first_token_s
        return None


@dataclass(frozen=True)
class Peer:
    """A whole photo in somebody else's app. phone: a key of the targets, or a name."""

    name: str
    phone: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Published:
    """All of published.toml."""

    measured: tuple[Measured, ...]
    photos: tuple[Peer, ...]


def benchmarks_folder() -> Path:
    """The folder `benchmarks` of the source tree. FileError outside of one."""
    folder = Path(__file__).parents[2] / "benchmarks"
    if not (folder / "targets.toml").is_file():
        raise FileError(
            f"{folder} is missing: the tables of phones are part of the source tree; give them "
            "with --targets and --published."
        )
    return folder


def load_targets(path: str | Path) -> Targets:
    """Raises FileError that names the file and the entry that is not as described."""
    record = _toml(Path(path), {"phones", "aims", "stage_aims_ms", "stand_ins"})
    phones = {key: _phone(key, entry, str(path)) for key, entry in record.get("phones", {}).items()}
    aims = tuple(_made(Aim, entry, f"{path}: aim") for entry in record.get("aims", []))
    for aim in aims:
        unknown = sorted(set(aim.phones) - phones.keys())
        if unknown:
            raise FileError(f"{path}: aim '{aim.name}' names unknown phones {unknown}.")
    stages = {key: float(value) for key, value in record.get("stage_aims_ms", {}).items()}
    found = tuple(_made(StandIn, e, f"{path}: stand-in") for e in record.get("stand_ins", []))
    for one in found:
        if one.aim not in {aim.name for aim in aims} or not one.source:
            raise FileError(f"{path}: stand-in for '{one.aim}': it needs the name of an aim here "
                            "and a source.")  # fmt: skip
    return Targets(phones, aims, stages, found)


def load_published(path: str | Path) -> Published:
    """Raises FileError that names the file and the entry that is not as described."""
    record = _toml(Path(path), {"measured", "photo"})
    measured = [_made(Measured, entry, f"{path}: measured") for entry in record.get("measured", [])]
    for one in measured:
        if one.unit not in UNITS or not one.source:
            raise FileError(f"{path}: '{one.name}' needs a unit of {UNITS} and a source.")
    peers = [_made(Peer, entry, f"{path}: photo") for entry in record.get("photo", [])]
    return Published(tuple(measured), tuple(peers))


def _toml(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        record = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read ({error}).") from error
    unknown = sorted(set(record) - known)
    if unknown:
        raise FileError(f"{path} has the unknown key '{unknown[0]}': known are {sorted(known)}.")
    return record


def _phone(key: str, entry: dict[str, Any], path: str) -> Phone:
    where = f"{path}: phone '{key}'"
    unknown = sorted(set(entry) - {*_FIGURES, *_WORDS, *_MORE_WORDS})
    if unknown or not all(word in entry for word in _WORDS):
        raise FileError(f"{where}: needs {_WORDS} and knows {_FIGURES}; unknown: {unknown}.")
    figures = {name: _figure(entry[name], f"{where}.{name}") for name in _FIGURES if name in entry}
    models = tuple(entry.get("models", ()))
    return Phone(key, entry["name"], entry["chip"], tuple(entry["units"]), models, **figures)


def _figure(entry: Any, where: str) -> Figure:
    figure = _made(Figure, entry, where)
    if not figure.source or figure.confidence not in CONFIDENCES:
        raise FileError(f"{where}: needs a source and a confidence of {CONFIDENCES}.")
    if not (math.isfinite(figure.value) and figure.value > 0):
        raise FileError(f"{where} is {figure.value}: leave out what is not known.")
    return figure


def _made(kind: Any, entry: Any, where: str) -> Any:
    names = {field.name for field in fields(kind)}
    if not isinstance(entry, dict) or set(entry) - names:
        raise FileError(f"{where}: {entry!r} is not allowed: known keys are {sorted(names)}.")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    for name, value in values.items():
        if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0):
            raise FileError(f"{where}: {name} is {value}: leave out what is not known.")
    try:
        return kind(**values)
    except TypeError as error:
        raise FileError(f"{where}: {error}.") from error
