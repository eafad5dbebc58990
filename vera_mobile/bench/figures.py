"""What the report page shows, as plain values: bars, rows and curves, every figure with words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vera_mobile.bench.aims import (
    Facts,
    estimate_words,
    estimates,
    in_unit,
    measured,
    megabytes,
    milliseconds,
    newest,
    plan_peak,
)
from vera_mobile.bench.project import PROGRAMS, Projection, Range
from vera_mobile.bench.targets import Aim, Figure, Phone, Published, Targets
from vera_mobile.page import NO_BREAK, number

MEASURED, PROJECTED = "measured", "projected"


def bar(label: str, kind: str, value: Range | float, top: float, words: str) -> dict[str, Any]:
    """A bar of a chart whose right end is `top`; kind: its pattern and legend; with its band."""
    middle = value.middle_ms if isinstance(value, Range) else value
    row: dict[str, Any] = {"label": label, "kind": kind, "words": words, "at": _share(middle, top)}
    row["band"] = None
    if isinstance(value, Range):
        low, high = _share(value.low_ms, top), _share(value.high_ms, top)
        row["band"] = {"from": low, "width": round(max(high - low, 0.4), 2)}
    return row


def look_charts(
    targets: Targets,
    published: Published,
    projections: Sequence[Projection],
    results: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One chart per phone: a look in hand, projected by unit, measured, the public app.

    All have one scale, so that phones can be compared; it ends where ours do, and a bar of a peer
    that is longer is cut and says so.
    """
    aim = next((aim for aim in targets.aims if aim.name == "auto_look_ms"), None)
    rows = {
        phone: [*_ours(phone, aim, projections, results), *_others(phone, published)]
        for phone in targets.phones.values()
    }
    ends = [
        value.high_ms if isinstance(value, Range) else value
        for values in rows.values()
        for _, kind, value in values
        if kind != "peer"
    ]
    top = max([*ends, aim.at_most if aim and aim.phones else 0.0, 1.0]) * 1.04
    charts = []
    for phone, values in rows.items():
        bars = [bar(label, kind, value, top, _said(value, top)) for label, kind, value in values]
        line = None
        if aim and phone.key in aim.phones:
            line = {"at": _share(aim.at_most, top), "words": milliseconds(aim.at_most)}
        charts.append({"name": phone.name, "note": phone.chip, "bars": bars, "aim": line})
    return charts


def _ours(
    phone: Phone,
    aim: Aim | None,
    projections: Sequence[Projection],
    results: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, Range | float]]:
    """Bars of a phone: label, kind, value."""
    values: list[tuple[str, str, Range | float]] = [
        (f"projected, {one.unit.upper()}", f"{PROJECTED} {one.unit}", one.auto)
        for one in projections
        if one.phone.key == phone.key and one.auto is not None
    ]
    for result in results:
        look = measured(aim, result) if aim else None
        if result["device"]["id"] == phone.key and look is not None:
            values.append((f"measured, {result['unit'].upper()}", MEASURED, look))
    return values


def _others(phone: Phone, published: Published) -> list[tuple[str, str, Range | float]]:
    found = [peer for peer in published.photos if peer.phone == phone.key]
    return [(peer.name, "peer", peer.seconds * 1000) for peer in found]


def _said(value: Range | float, top: float) -> str:
    cut = not isinstance(value, Range) and value > top
    return f"{_words(value)}{', longer than this scale' if cut else ''}"


def aim_rows(
    targets: Targets, results: Sequence[Mapping[str, Any]], facts: Facts
) -> list[dict[str, Any]]:
    """Aims with the host's figure, and by phone what was measured and what is expected, each None
    or empty where nothing was. results: of phones."""
    rows = []
    for aim in targets.aims:
        phones = []
        for phone in (targets.phones[key] for key in aim.phones):
            found = newest(results, aim, phone.key)
            phones.append(
                {
                    "name": phone.name,
                    MEASURED: None if found is None else _verdict(aim, measured(aim, found)),
                    "expected": [estimate_words(aim, e) for e in estimates(aim, phone, facts)],
                }
            )
        rows.append(
            {
                "aim": aim.words,
                "at_most": in_unit(aim, aim.at_most),
                "host": None if facts.host is None else in_unit(aim, measured(aim, facts.host)),
                "phones": phones,
            }
        )
    return rows


def _verdict(aim: Aim, value: float | None) -> str | None:
    if value is None:
        return None
    return f"{in_unit(aim, value)}: {'held' if value <= aim.at_most else 'missed'}"


def stage_rows(
    targets: Targets, key: str, projections: Sequence[Projection], host: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Stages of a phone: our aim, projections by unit, and the host's figure beside."""
    mine = [one for one in projections if one.phone.key == key]
    by_unit = {one.unit: {stage.stage: stage for stage in one.stages} for one in mine}
    rows = []
    for stage in ("prepare", *PROGRAMS, "render_2mp", "render_12mp", "render_48mp"):
        counts = next((found[stage] for found in by_unit.values() if stage in found), None)
        rows.append(
            {
                "stage": stage_words(stage),
                "aim": milliseconds(targets.stage_aims_ms.get(stage)),
                "units": [
                    _words(found[stage].projected)
                    if stage in found and found[stage].projected
                    else None
                    for found in by_unit.values()
                ],
                "needed": megabytes(counts.least_bytes / 1e6) if counts else None,
                "adds": f"{number(counts.multiply_adds / 1e9, 2)}{NO_BREAK}G" if counts else None,
                "roofline": milliseconds(counts.roofline_ms) if counts else None,
                "host": milliseconds(host["stages"].get(stage, {}).get("median_ms"))
                if host
                else None,
            }
        )
    return rows


def stage_words(stage: str) -> str:
    """A stage's name as people read it: "render 12 MP"."""
    return re.sub(r"(\d+)mp$", rf"\1{NO_BREAK}MP", stage.replace("_", " "))


def memory_charts(
    targets: Targets, results: Sequence[Mapping[str, Any]], facts: Facts
) -> list[dict[str, Any]]:
    """Per phone: the app's limit where one is known, the peak of the phone's results, and what the
    model alone is expected to hold, beside our aim.

    The aim is that of `peak_app_memory_mb`, shown for all phones.
    """
    aim = next((one for one in targets.aims if one.name == "peak_app_memory_mb"), None)
    charts = []
    for phone in targets.phones.values():
        limit = phone.app_memory_mb
        mine = [(r["unit"], plan_peak(r)) for r in results if r["device"]["id"] == phone.key]
        own = [(unit, peak) for unit, peak in mine if peak is not None]
        expected = [one.middle for one in estimates(aim, phone, facts)] if aim and not own else []
        if limit is None and not own:
            continue
        values = [limit.value if limit else 0.0, *(peak for _, peak in own), *expected]
        top = max([*values, aim.at_most if aim else 0.0]) * 1.04
        bars = [
            bar(f"measured, {unit.upper()}", MEASURED, peak, top, megabytes(peak) or "")
            for unit, peak in own
        ]
        for held in expected:
            text = f"{megabytes(held)}, without the app's own"
            bars.append(bar("model, expected", f"{PROJECTED} cpu", held, top, text))
        if limit:
            bars.append(bar("app limit", "limit", limit.value, top, _limit_words(limit)))
        line = aim and {"at": _share(aim.at_most, top), "words": megabytes(aim.at_most)}
        charts.append({"name": phone.name, "note": phone.chip, "bars": bars, "aim": line})
    return charts


def curves(results: Sequence[Mapping[str, Any]], figure: str) -> list[dict[str, Any]]:
    """History of a stage's median by commit: a curve per device, unit, model and recipe."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result["stages"].get(figure, {}).get("median_ms") is not None:
            groups.setdefault(_kind(result), []).append(result)
    out = []
    for kind, found in groups.items():
        values = [result["stages"][figure]["median_ms"] for result in found]
        labels = [_label(result) for result in found]
        out.append(curve(f"{stage_words(figure)}: {kind}", values, labels))
    return out


def _label(result: Mapping[str, Any]) -> str:
    note = f" ({result['note']})" if result.get("note") else ""
    return f"{(result.get('commit') or 'unknown')[:8]}, {result['date'][:10]}{note}"


def heat(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plan after plan, cold first, of the newest result of each kind with two plans or more."""
    newest = {_kind(result): result for result in results if len(result["in_a_row_ms"]) > 1}
    return [
        curve(
            f"{kind}, {_label(result)}",
            result["in_a_row_ms"],
            [f"photo {i}" for i in range(1, len(result["in_a_row_ms"]) + 1)],
        )
        | {"note": heat_words(result)}
        for kind, result in newest.items()
    ]


def heat_words(result: Mapping[str, Any]) -> str:
    """What became of speed and temperature over the photos in a row; cold is the second photo, for
    the first one also loads. "hot" is the mean of the last three; a host is not said to be hot."""
    row = result["in_a_row_ms"]
    parts = []
    if len(row) >= 6 and row[1] > 0:
        change = 100 * (sum(row[-3:]) / 3 / row[1] - 1)
        what = "Hot against cold" if result["kind"] == "phone" else "Last three against the second"
        parts.append(f"{what}: {'+' if change > 0 else ''}{number(change, 0)}{NO_BREAK}%")
    for what, unit in (("celsius", f"{NO_BREAK}°C"), ("state", "")):
        ends = result["thermal"].get(what) or {}
        told = [ends.get("before"), ends.get("after")]
        if None not in told:
            parts.append(f"{told[0]}{unit} before, {told[1]}{unit} after")
    return "; ".join(parts) or "No temperature was told."


def curve(name: str, values: Sequence[float], labels: Sequence[str]) -> dict[str, Any]:
    """Points in a box of 100 x 40 units, the highest value at the top, 0 at the bottom."""
    top = max(values) * 1.1 or 1.0
    step = 100 / max(len(values) - 1, 1)
    points = [
        {
            "x": round(i * step, 2),
            "y": round(40 - 40 * value / top, 2),
            "words": milliseconds(value),
            "label": label,
        }
        for i, (value, label) in enumerate(zip(values, labels, strict=True))
    ]
    line = " ".join(f"{p['x']},{p['y']}" for p in points)
    scale = milliseconds(max(values))
    return {"name": name, "points": points, "line": line, "note": None, "scale": scale}


def peers(folder: Path) -> list[dict[str, Any]]:
    """Tables of the JSON files that the benchmark scripts leave: ratios and figures at the top."""
    out = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            record = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict) or record.get("format") == "vera-bench":
            continue
        rows = [*_scalars(record), *_ratios(record.get("rows"))]
        if rows:
            out.append({"name": file.name, "rows": rows})
    return out


def _scalars(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key.replace("_", " "), number(value, 2) if isinstance(value, float) else str(value))
        for key, value in record.items()
        if isinstance(value, (int, float, str)) and not isinstance(value, bool)
    ]


def _ratios(rows: Any) -> list[tuple[str, str]]:
    """Of kernels.json: each row that has a peer, as "ours is x times as fast"."""
    found = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and row.get("peer") and isinstance(row.get("ratio"), float):
            name = f"{row['peer']} over ours, {row.get('case', '')}"
            found.append((name, number(row["ratio"], 2)))
    return found


def figure_words(figure: Figure | None, unit: str) -> str:
    """A sourced figure with its confidence."""
    if figure is None:
        return "not published"
    value = f"{figure.value:,g}".replace(",", "\u202f")
    return f"{value}{NO_BREAK}{unit} ({figure.confidence})"


def _limit_words(limit: Figure) -> str:
    return f"{megabytes(limit.value)} ({limit.confidence} confidence)"


def _words(value: Range | float | None) -> str:
    if isinstance(value, Range):
        low, high = milliseconds(value.low_ms), milliseconds(value.high_ms)
        return f"{milliseconds(value.middle_ms)} ({low} to {high})"
    return milliseconds(value) or ""


def _kind(result: Mapping[str, Any]) -> str:
    bundle = result["bundle"]
    parts = (
        result["device"]["name"],
        result["unit"].upper(),
        bundle.get("name"),
        bundle.get("recipe"),
    )
    return ", ".join(str(part) for part in parts)


def _share(value: float, top: float) -> float:
    return round(100 * min(value, top) / top, 2) if math.isfinite(value) else 100.0
