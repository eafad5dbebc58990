"""Benchmark results: one form for this machine and for phones, kept as JSON by device and commit.

    {"format": "vera-bench", "schema": 1, "kind": "host" | "phone",
     "date": ISO 8601 with zone, "commit": of the source or null,
     "device": {"id", "name", "os", "cores", "ram_bytes"}, "unit": "cpu" | "gpu" | "npu",
     "bundle": {"name", "recipe", "size_bytes", "sha256" (of the manifest), "commit"},
     "files": {path: size_bytes},
     "thermal": {"state": {"before", "after"}, "celsius": {"before", "after"}},
     "settings": {...}, "prompt_tokens", "tokens",
     "stages": {name: {"cold_ms", "median_ms", "p95_ms", "mad_ms", "n", "peak_mb",
                       "bytes_moved", "multiply_adds"}},
     "memory": {"before_load_mb", "peak_mb"}, "in_a_row_ms": [plan after plan]}

A figure that was not taken is null, never 0. cold_ms: the first run; the others are warm. mad_ms:
median absolute deviation. peak_mb: the most that the process held during the stage (phones: PSS or
phys_footprint). bytes_moved and multiply_adds are counted in the exported graph.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.errors import FileError
from vera_mobile.files import replacing

FORMAT, SCHEMA = "vera-bench", 1
KINDS, UNITS = ("host", "phone"), ("cpu", "gpu", "npu")
STAGE_FIGURES = (
    "cold_ms", "median_ms", "p95_ms", "mad_ms", "n", "peak_mb", "bytes_moved", "multiply_adds",
)  # fmt: skip
_MAX_BYTES = 2**24
_REQUIRED = {
    "date": str, "device": dict, "unit": str, "bundle": dict, "files": dict, "thermal": dict,
    "stages": dict, "memory": dict, "in_a_row_ms": list,
}  # fmt: skip


def stage_figures(values_ms: Sequence[float], **others: float | None) -> dict[str, float | None]:
    """A row of "stages": warm times in milliseconds summed up, and further figures by name."""
    row: dict[str, float | None] = dict.fromkeys(STAGE_FIGURES)
    if values_ms:
        values = np.asarray(values_ms, np.float64)
        middle = float(np.median(values))
        row["median_ms"] = round(middle, 3)
        row["p95_ms"] = round(float(np.quantile(values, 0.95)), 3)
        row["mad_ms"] = round(float(np.median(np.abs(values - middle))), 3)
        row["n"] = len(values)
    return row | others


def slug(name: str) -> str:
    """A device's name as a folder name: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "unknown"


def source_commit() -> str | None:
    """The commit of the source tree that this runs from, or None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def check_result(record: Any, source: str) -> dict[str, Any]:
    """The record itself. FileError that names `source` for another format, a newer schema, a
    missing or wrong key and a figure that is no finite number from 0."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise FileError(f"{source} is no benchmark result: make one with `vera bench run --out`.")
    if record.get("schema") != SCHEMA:
        raise FileError(
            f"{source} has schema {record.get('schema')!r}: this release reads {SCHEMA}; make the "
            "result again or update vera-mobile."
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(record.get(key), kind):
            raise FileError(f"{source}: '{key}' is {record.get(key)!r}: {kind.__name__} is needed.")
    for key, allowed in (("kind", KINDS), ("unit", UNITS)):
        if record.get(key) not in allowed:
            raise FileError(f"{source}: '{key}' is {record.get(key)!r}: use one of {allowed}.")
    for name in ("id", "name"):
        if not isinstance(record["device"].get(name), str):
            raise FileError(f"{source}: device '{name}' is missing.")
    _check_stages(record["stages"], source)
    return record


def load_result(path: str | Path) -> dict[str, Any]:
    """A checked result file. Raises FileError."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read as JSON ({error}).") from error
    return check_result(record, str(path))


def load_history(folder: str | Path) -> list[dict[str, Any]]:
    """All results below `folder` (one folder per device), oldest first. [] where there is none."""
    files = sorted(Path(folder).glob("*/*.json"))
    return sorted((load_result(file) for file in files), key=lambda one: str(one["date"]))


def save_result(record: Mapping[str, Any], path: str | Path) -> Path:
    """Writes a checked result, whole or not at all."""
    checked = check_result(dict(record), "The result")
    with replacing(path) as stream:
        stream.write((json.dumps(checked, indent=1, allow_nan=False) + "\n").encode())
    return Path(path)


def history_path(folder: str | Path, record: Mapping[str, Any]) -> Path:
    """<folder>/<device>/<date>-<commit>-<recipe>-<model>-<unit>.json; makes the device's folder."""
    home = Path(folder) / record["device"]["id"]
    home.mkdir(parents=True, exist_ok=True)
    day, commit = str(record["date"])[:10], (record.get("commit") or "unknown")[:8]
    bundle = record["bundle"]
    parts = (day, commit, bundle.get("name"), bundle.get("recipe"), record["unit"])
    return home / f"{'-'.join(slug(str(part)) for part in parts)}.json"


def _check_stages(stages: Mapping[str, Any], source: str) -> None:
    for stage, row in stages.items():
        if not isinstance(row, dict) or set(row) - set(STAGE_FIGURES):
            raise FileError(
                f"{source}: stage '{stage}' is {row!r}: known figures are {STAGE_FIGURES}."
            )
        for name, value in row.items():
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (fits and math.isfinite(value) and value >= 0):
                raise FileError(
                    f"{source}: {stage}.{name} is {value!r}: use a number from 0, or null for a "
                    "figure that was not taken."
                )
