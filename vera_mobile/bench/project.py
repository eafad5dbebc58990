"""Projections: what a bundle's counts would take on a phone, and how far such guesses are off.

    roofline  = max(bytes / B, multiply-adds / P)      B, P: the phone's peaks, P where published
    projected = max(bytes / (e B), multiply-adds / R)  e, R: fitted to published measurements

bytes are those that must be read at least once (weights and key/value cache); activations are taken
to stay in caches. e, the share of the bandwidth that decoding reaches, is fitted over all phones;
R, the multiply-adds a second of prompt reading, per unit (cpu, gpu, npu), as measured on the phones
of the list and not scaled to the target's. Both by geometric mean; the band takes the best and the
worst published one. A projection is no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vera_mobile.bench.counts import Count
from vera_mobile.bench.targets import UNITS, Measured, Phone
from vera_mobile.errors import InvalidArgument

FORMULA = (
    "projected = max(bytes / (e x B), multiply-adds / R); roofline = max(bytes / B, "
    "multiply-adds / P)"
)
PROGRAMS = ("vision", "prefill", "decode", "head", "bake")
INSTANT_STEPS = 2  # the prompt's last state emits the first retouch token; two steps follow


@dataclass(frozen=True)
class Fit:
    """A factor: geometric mean, best and worst of `samples` (name -> value).

    errors: name -> predicted time over measured time, less 1, when the sample is left out and
    predicted by the others; empty for a single sample.
    """

    samples: Mapping[str, float]

    @property
    def middle(self) -> float:
        """Geometric mean."""
        return _geometric_mean(list(self.samples.values()))

    @property
    def best(self) -> float:
        """The fastest one published."""
        return max(self.samples.values())

    @property
    def worst(self) -> float:
        """The slowest one published."""
        return min(self.samples.values())

    @property
    def errors(self) -> dict[str, float]:
        """Leave-one-out: time predicted from the other samples over the measured one, less 1."""
        if len(self.samples) < 2:
            return {}
        out = {}
        for name, value in self.samples.items():
            others = [v for other, v in self.samples.items() if other != name]
            out[name] = value / _geometric_mean(others) - 1
        return out

    @property
    def typical_error(self) -> float | None:
        """Geometric mean of max(predicted / measured, measured / predicted), less 1."""
        if not self.errors:
            return None
        return (
            math.exp(sum(abs(math.log1p(e)) for e in self.errors.values()) / len(self.errors)) - 1
        )


@dataclass(frozen=True)
class Efficiency:
    """The fitted factors: e over all phones, R by unit (absent where nothing is published)."""

    bandwidth: Fit
    rates: Mapping[str, Fit]


@dataclass(frozen=True)
class Range:
    """Milliseconds: the middle, and the band that the published measurements span."""

    middle_ms: float
    low_ms: float
    high_ms: float

    def __add__(self, other: Range) -> Range:
        return Range(
            self.middle_ms + other.middle_ms,
            self.low_ms + other.low_ms,
            self.high_ms + other.high_ms,
        )


@dataclass(frozen=True)
class StageProjection:
    """One stage on one unit; projected None where nothing published applies to it."""

    stage: str
    bytes_moved: int
    least_bytes: int
    multiply_adds: int
    roofline_ms: float | None
    projected: Range | None
    bound_by: str | None


@dataclass(frozen=True)
class Projection:
    """A bundle on a phone's unit. auto: vision to bake with the whole text; instant: look first."""

    phone: Phone
    unit: str
    stages: tuple[StageProjection, ...]
    auto: Range | None
    instant: Range | None


def fit(measured: Sequence[Measured]) -> Efficiency:
    """The factors of published measurements. InvalidArgument where none gives a bandwidth share."""
    shares = {_label(m): m.bandwidth_share for m in measured if m.bandwidth_share is not None}
    if not shares:
        raise InvalidArgument("No published measurement has decode_tok_s, weight_mb, memory_gb_s.")
    rates = {}
    for unit in UNITS:
        found = {
            _label(m): m.multiply_adds_s
            for m in measured
            if m.unit == unit and m.multiply_adds_s is not None
        }
        if found:
            rates[unit] = Fit(found)
    return Efficiency(Fit(shares), rates)


def project(
    counts: Mapping[str, Count], phone: Phone, unit: str, efficiency: Efficiency
) -> Projection:
    """Projections of all counted stages. counts: as `count_bundle` gives them.

    Raises InvalidArgument for a unit that the phone does not have.
    """
    if unit not in phone.units:
        raise InvalidArgument(f"{phone.name} has no unit '{unit}': use {', '.join(phone.units)}.")
    stages = tuple(_stage(stage, count, phone, unit, efficiency) for stage, count in counts.items())
    by_name = {stage.stage: stage.projected for stage in stages}
    auto = _sum([by_name.get(name) for name in PROGRAMS])
    token = by_name.get("decode_per_token")
    first = None if token is None else _times(token, INSTANT_STEPS)
    rest = [by_name.get(name) for name in ("vision", "prefill", "head", "bake")]
    return Projection(phone, unit, stages, auto, _sum([*rest, first]))


def least_bytes(count: Count) -> int:
    """What must be read at least once: weights and key/value cache."""
    return count.weight_bytes + count.state_bytes


def _stage(
    stage: str, count: Count, phone: Phone, unit: str, efficiency: Efficiency
) -> StageProjection:
    # the render kernel reads and writes pixels, no weights: all its bytes are needed
    needed = count.bytes_moved if stage.startswith("render") else least_bytes(count)
    roofline = _slower(
        _milliseconds(needed, phone.memory_gb_s.value * 1e9 if phone.memory_gb_s else None),
        _milliseconds(count.multiply_adds, phone.peak_multiply_adds(unit)),
    )
    # loading waits for the storage, and no one published a renderer that could be compared
    modelled = stage in PROGRAMS or stage == "decode_per_token"
    projected, bound = None, None
    if modelled and phone.memory_gb_s is not None and unit in efficiency.rates:
        share, rate = efficiency.bandwidth, efficiency.rates[unit]
        bus = phone.memory_gb_s.value * 1e9
        memory = [needed / (bus * s) * 1000 for s in (share.middle, share.best, share.worst)]
        compute = [count.multiply_adds / r * 1000 for r in (rate.middle, rate.best, rate.worst)]
        slower = [max(pair) for pair in zip(memory, compute, strict=True)]
        projected = Range(*slower)
        bound = "memory" if memory[0] >= compute[0] else "compute"
    return StageProjection(
        stage, count.bytes_moved, needed, count.multiply_adds,
        roofline if stage != "load" else None, projected, bound,
    )  # fmt: skip


def _milliseconds(amount: float, rate: float | None) -> float | None:
    return None if rate is None else amount / rate * 1000


def _slower(*times: float | None) -> float | None:
    known = [time for time in times if time is not None]
    return max(known) if known else None


def _sum(parts: Sequence[Range | None]) -> Range | None:
    total = Range(0.0, 0.0, 0.0)
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _times(part: Range, count: int) -> Range:
    return Range(part.middle_ms * count, part.low_ms * count, part.high_ms * count)


def _label(measured: Measured) -> str:
    return f"{measured.name} on {measured.phone}"


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values))
