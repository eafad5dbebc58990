"""Benchmark results: one form for this machine and for phones, kept as JSON by device and commit.

The form stands in `result.schema.json` beside this file, with what each figure means; the apps on
Android and iOS write it too. A figure that was not taken is null, never 0. Other keys are kept.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
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
GOLDEN_MOST = 1  # codes that a replayed golden case may be off
_MAX_BYTES = 2**24
_SHA256 = re.compile("[0-9a-f]{64}")
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
    if not isinstance(record.get("note", ""), str):
        raise FileError(f"{source}: 'note' is {record['note']!r}: text is needed.")
    for name in ("id", "name"):
        if not isinstance(record["device"].get(name), str):
            raise FileError(f"{source}: device '{name}' is missing.")
    _check_times(record, source)
    _check_stages(record["stages"], source)
    _check_golden(record.get("golden", []), source)
    return record


def golden_misses(record: Mapping[str, Any]) -> list[str]:
    """Golden cases of a checked result that are further off than `GOLDEN_MOST`, in words."""
    return [
        f"{case['name']}: up to {case['max_difference']} codes off, allowed are {GOLDEN_MOST}"
        for case in record.get("golden", [])
        if case["max_difference"] > GOLDEN_MOST
    ]


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
    home = Path(folder) / slug(record["device"]["id"])
    home.mkdir(parents=True, exist_ok=True)
    day, commit = str(record["date"])[:10], (record.get("commit") or "unknown")[:8]
    bundle = record["bundle"]
    parts = (day, commit, bundle.get("name"), bundle.get("recipe"), record["unit"])
    return home / f"{'-'.join(slug(str(part)) for part in parts)}.json"


def _check_times(record: Mapping[str, Any], source: str) -> None:
    try:
        datetime.fromisoformat(record["date"])
    except ValueError as error:
        raise FileError(f"{source}: 'date' is {record['date']!r}: use ISO 8601.") from error
    for value in record["in_a_row_ms"]:
        if not _is_figure(value):
            raise FileError(f"{source}: in_a_row_ms holds {value!r}: use numbers from 0.")


def _is_figure(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


def _check_golden(cases: Any, source: str) -> None:
    for case in cases if isinstance(cases, list) else [cases]:
        fits = (
            isinstance(case, dict)
            and isinstance(case.get("name"), str)
            and _SHA256.fullmatch(str(case.get("sha256")))
            and type(case.get("max_difference")) is int
            and case["max_difference"] >= 0
        )
        if not fits:
            raise FileError(
                f"{source}: golden case {case!r}: it needs a name, the sha256 of the rendered "
                "bytes and max_difference in whole codes."
            )


def _check_stages(stages: Mapping[str, Any], source: str) -> None:
    for stage, row in stages.items():
        if not isinstance(row, dict) or set(row) - set(STAGE_FIGURES):
            raise FileError(
                f"{source}: stage '{stage}' is {row!r}: known figures are {STAGE_FIGURES}."
            )
        for name, value in row.items():
            if value is not None and not _is_figure(value):
                raise FileError(
                    f"{source}: {stage}.{name} is {value!r}: use a number from 0, or null for a "
                    "figure that was not taken."
                )
