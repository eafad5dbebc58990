"""What is run on a phone, and how its own file becomes a result of this release."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vera_mobile.bench.results import check_result
from vera_mobile.bench.targets import UNITS
from vera_mobile.bundle import Bundle
from vera_mobile.errors import FileError, InvalidArgument

APP = "ai.vera.demo"
REFUSAL = "vera-bench-refusal"
MAX_BYTES = 2**24
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Case:
    """repeats: warm runs a stage; in_a_row: photos one after the other, for heat; cool_down_s: the
    most that is waited before each unit; timeout_s: the most that a unit may take."""

    bundle: Path
    units: tuple[str, ...] = UNITS
    repeats: int = 9
    in_a_row: int = 10
    cool_down_s: float = 180.0
    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("repeats", self.repeats, 3, 1000), ("in a row", self.in_a_row, 2, 100),
            ("cool down", self.cool_down_s, 0, 3600), ("time limit", self.timeout_s, 1, 86_400),
        ):  # fmt: skip
            if not low <= value <= high:
                raise InvalidArgument(f"{name} is {value}: use {low}..{high}.")
        if not _NAME.fullmatch(self.name):
            raise InvalidArgument(
                f"The bundle's folder is named {self.name!r}: on a phone use letters, digits, dots "
                "and dashes."
            )
        Bundle.open(self.bundle)

    @property
    def name(self) -> str:
        """The bundle's name on the phone."""
        return self.bundle.resolve().name


@dataclass(frozen=True)
class Sample:
    """One look at the phone. seconds: since the app was started; None: not told."""

    seconds: float
    memory_mb: float | None = None
    celsius: float | None = None
    state: str | None = None

    def plain(self) -> dict[str, float | str | None]:
        """As it stands in a result."""
        return {"seconds": round(self.seconds, 1), "memory_mb": self.memory_mb,
                "celsius": self.celsius, "state": self.state}  # fmt: skip


@dataclass
class Outcome:
    """Results by unit, and units that the phone refused, with its reason."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def take(self, unit: str, record: dict[str, Any]) -> None:
        """A checked result or a refusal of `unit`."""
        if record.get("format") == REFUSAL:
            self.refused[unit] = str(record.get("reason", "no reason was given"))
        else:
            self.results[unit] = record


def new_file() -> str:
    """A name for a result that no run before had."""
    return f"bench-{secrets.token_hex(6)}.json"


class Phone(Protocol):
    """A phone on the cable."""

    def install(self, app: Path) -> None:
        """Installs the demo app."""

    def push(self, case: Case) -> None:
        """Brings the bundle onto the phone."""

    def run(self, case: Case, unit: str) -> dict[str, Any]:
        """A checked result, or a refusal."""


def read_result(raw: bytes, source: str, unit: str) -> dict[str, Any]:
    """The file of an app: a checked result of a phone for `unit`, or a refusal. FileError."""
    if len(raw) > MAX_BYTES:
        raise FileError(f"{source} has {len(raw)} bytes: a result has at most {MAX_BYTES}.")
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{source} is no JSON ({error}): run the benchmark again.") from error
    if isinstance(record, dict) and record.get("format") == REFUSAL:
        return record
    checked = check_result(record, source)
    if (checked["kind"], checked["unit"]) != ("phone", unit):
        raise FileError(
            f"{source} is of a {checked['kind']}'s {checked['unit']}: a phone's {unit} was asked."
        )
    return checked


def completed(
    record: dict[str, Any], device: Mapping[str, Any], samples: list[Sample]
) -> dict[str, Any]:
    """The result with what only the cable tells: the device's facts where the app gave none, heat
    before and after, and the highest memory that was seen. What the app measured stays."""
    out = dict(record)
    given = record["device"]
    out["device"] = {**device, **{k: v for k, v in given.items() if v is not None}}
    if not samples:
        return out
    out["thermal"] = _thermal(record["thermal"], samples)
    seen = [s.memory_mb for s in samples if s.memory_mb is not None]
    peaks = [*seen, *([record["memory"]["peak_mb"]] if record["memory"].get("peak_mb") else [])]
    out["memory"] = {**record["memory"], "peak_mb": max(peaks, default=None)}
    out["samples"] = [sample.plain() for sample in samples]
    return out


def _thermal(given: Mapping[str, Any], samples: list[Sample]) -> dict[str, Any]:
    ends = {"before": samples[0], "after": samples[-1]}
    out: dict[str, Any] = {}
    for what in ("state", "celsius"):
        own = given.get(what) or {}
        out[what] = {
            when: getattr(sample, what) if getattr(sample, what) is not None else own.get(when)
            for when, sample in ends.items()
        }
    return out
