"""Our aims beside what was measured, here and on phones, and what is expected of a phone.

What is expected has a formula with a letter (`FORMULAS`); a figure that nothing gives is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vera_mobile.bench.counts import count_render
from vera_mobile.bench.project import Efficiency, Projection, Range
from vera_mobile.bench.targets import Aim, Phone, StandIn
from vera_mobile.page import NO_BREAK, number

FORMULAS = {
    "A": "the stages from vision to bake added up, each max(bytes / (e x B), multiply-adds / R); "
    "preparing the photo comes on top, and on an NPU the work is taken to be this bundle's",
    "B": "both photos do the same work, and only the first may have to wait for the load; what "
    "heat does is not known",
    "C": "a floor: bytes / (e x B), each pixel read and written once; what the look-ups cost on "
    "top is not known, for nobody published a renderer to fit to",
    "D": "the most that a plan holds on the host, less what Python and its libraries hold before "
    "it; what an app holds itself comes on top",
    "E": "bundle / S + the warm load of the host, which checks and maps the files; at best both "
    "run at once",
    "F": "the size of the files",
    "G": "our kernel on one thread of the host, with vectors of 128 bits, which phones have; their "
    "cores are taken to be no slower",
}
LETTERS = (
    "B and S are the phone's memory and storage rates (`benchmarks/targets.toml`); e, the share of "
    "B that is reached, and R, multiply-adds a second, are fitted to measurements that others "
    "published (`benchmarks/published.toml`): the band takes the best and the worst of them"
)
# stages whose medians make an aim; "look in hand" is when the look can be shown
_TIMES = {
    "auto_look_ms": ("plan", "bake"),
    "instant_look_ms": ("instant_look", "bake"),
    "render_2mp_gpu_ms": ("render_2mp",),
    "render_12mp_cpu_ms": ("render_12mp",),
    "render_12mp_gpu_ms": ("render_12mp",),
}
_PIXELS = {"render_2mp_gpu_ms": 2_000_000, "render_12mp_cpu_ms": 12_000_000,
           "render_12mp_gpu_ms": 12_000_000}  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """What is expected of a phone, in the aim's unit. by: the unit that works, or "".

    low and high are equal where there is no band; floor: not less than that, no more is known.
    """

    by: str
    formula: str
    middle: float
    low: float
    high: float
    floor: bool = False


@dataclass(frozen=True)
class Facts:
    """What estimates are made of. bundle: as `describe` gives it; host: its newest result here;
    stand_ins: host figures that are taken for a phone's."""

    projections: Sequence[Projection]
    efficiency: Efficiency
    bundle: Mapping[str, Any] | None
    host: Mapping[str, Any] | None
    stand_ins: Sequence[StandIn] = ()


def milliseconds(value: float | None) -> str | None:
    """Three digits or so; from 10 s on in seconds."""
    if value is None:
        return None
    if value >= 10_000:
        return f"{number(value / 1000, 1)}{NO_BREAK}s"
    return f"{number(value, 2 if value < 10 else 1 if value < 100 else 0)}{NO_BREAK}ms"


def megabytes(value: float | None) -> str | None:
    """Whole megabytes."""
    return None if value is None else f"{number(value, 0)}{NO_BREAK}MB"


def in_unit(aim: Aim, value: float | None) -> str | None:
    """A value in the unit that the aim's name ends in: _mb, _ms, or a ratio."""
    if aim.name.endswith("_mb"):
        return megabytes(value)
    if aim.name.endswith("_ms"):
        return milliseconds(value)
    return None if value is None else f"{number(value, 2)}{NO_BREAK}×"


def measured(aim: Aim, result: Mapping[str, Any]) -> float | None:
    """What a result says of an aim; None where it was not taken, or on another unit."""
    unit = next((unit for unit in ("cpu", "gpu", "npu") if f"_{unit}_" in aim.name), None)
    if unit not in (None, result["unit"]):
        return None
    if aim.name == "bundle_mb":
        return float(result["bundle"]["size_bytes"]) / 1e6
    if aim.name == "peak_app_memory_mb":
        return plan_peak(result)
    if aim.name == "second_over_first":
        first, *others = result["in_a_row_ms"] or [None]
        return others[0] / first if others and first else None
    if aim.name == "cold_start_ms":
        return _figure(result, "load", "cold_ms")
    times = [_figure(result, stage, "median_ms") for stage in _TIMES.get(aim.name, ())]
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None


def newest(results: Sequence[Mapping[str, Any]], aim: Aim, phone: str) -> Mapping[str, Any] | None:
    """The newest result of a phone (its key) that says something of an aim."""
    own = [r for r in results if r["device"]["id"] == phone and measured(aim, r) is not None]
    return own[-1] if own else None


def plan_peak(result: Mapping[str, Any]) -> float | None:
    """Of a plan where it was taken: a 48 MP photo on a host says nothing about a phone."""
    peak = _figure(result, "plan", "peak_mb")
    return peak if peak is not None else result["memory"].get("peak_mb")


def note_of(result: Mapping[str, Any]) -> str:
    """The note of whoever made a result, as a sentence with a blank before it; "" without one."""
    note = result.get("note")
    return f" Note: {note.rstrip('.')}." if note else ""


def estimates(aim: Aim, phone: Phone, facts: Facts) -> list[Estimate]:
    """What is expected of a phone, one for each unit that it can be told of."""
    mine = [one for one in facts.projections if one.phone.key == phone.key]
    if aim.name in ("auto_look_ms", "instant_look_ms"):
        return [
            _banded(one.unit, "A", total)
            for one in mine
            if (total := one.auto if aim.name == "auto_look_ms" else one.instant) is not None
        ]
    if aim.name == "second_over_first":
        return [Estimate("", "B", 1.0, 1.0, 1.0)] if mine else []
    if aim.name in _PIXELS:
        likely = [Estimate(one.unit, "G", one.ms, one.ms, one.ms)
                  for one in facts.stand_ins if one.aim == aim.name]  # fmt: skip
        floor = _floor(aim, phone, facts.efficiency)
        return [*likely, *(one for one in floor if one.by not in {e.by for e in likely})]
    if aim.name == "cold_start_ms":
        cold = _cold_start(phone, facts)
        return [] if cold is None else [cold]
    if aim.name == "peak_app_memory_mb":
        held = _model_memory(facts.host)
        return [] if held is None else [Estimate("", "D", held, held, held)]
    if aim.name == "bundle_mb" and facts.bundle:
        size = facts.bundle["size_bytes"] / 1e6
        return [Estimate("", "F", size, size, size)]
    return []


def held(low: float, middle: float, high: float, at_most: float) -> str:
    """Whether an estimate holds an aim, in words."""
    if low == high:
        return "held" if middle <= at_most else "missed"
    if high <= at_most:
        return "held over the whole band"
    if low > at_most:
        return "missed over the whole band"
    return "held in the middle" if middle <= at_most else "missed in the middle"


def estimate_words(aim: Aim, one: Estimate) -> str:
    """An estimate with its band, whether it holds the aim, and its formula."""
    low, middle, high = (in_unit(aim, value) for value in (one.low, one.middle, one.high))
    text = f"{middle}" if one.low == one.high else f"{middle} ({low} to {high})"
    verdict = held(one.low, one.middle, one.high, aim.at_most)
    if one.floor:
        text = f"at least {text}"
        verdict = "missed" if one.low > aim.at_most else "not known"
    unit = f"{one.by.upper()} " if one.by else ""
    return f"{unit}{text}: {verdict} [{one.formula}]"


def _figure(result: Mapping[str, Any], stage: str, figure: str) -> float | None:
    value = result["stages"].get(stage, {}).get(figure)
    return None if value is None else float(value)


def _banded(unit: str, formula: str, total: Range) -> Estimate:
    return Estimate(unit, formula, total.middle_ms, total.low_ms, total.high_ms)


def _floor(aim: Aim, phone: Phone, efficiency: Efficiency) -> list[Estimate]:
    if phone.memory_gb_s is None:
        return []
    share, bus = efficiency.bandwidth, phone.memory_gb_s.value * 1e6  # bytes a millisecond
    least = count_render(_PIXELS[aim.name]).bytes_moved / bus
    middle, low, high = (least / s for s in (share.middle, share.best, share.worst))
    unit = "gpu" if "_gpu_" in aim.name else "cpu"
    return [Estimate(unit, "C", middle, low, high, floor=True)]


def _cold_start(phone: Phone, facts: Facts) -> Estimate | None:
    warm = None if facts.host is None else _figure(facts.host, "load", "median_ms")
    if phone.storage_gb_s is None or facts.bundle is None or warm is None:
        return None
    read = facts.bundle["size_bytes"] / (phone.storage_gb_s.value * 1e6)
    return Estimate("", "E", read + warm, max(read, warm), read + warm)


def _model_memory(host: Mapping[str, Any] | None) -> float | None:
    if host is None:
        return None
    peak, before = _figure(host, "plan", "peak_mb"), host["memory"].get("before_load_mb")
    return None if peak is None or before is None else peak - before
