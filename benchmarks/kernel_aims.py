"""The aims of the kernels, read off a record of `kernels.py`: the worst row of each decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Record = dict[str, Any]


class Aim(NamedTuple):
    """`measured` gives the worst figure of a record, None where it was not measured."""

    text: str
    bound: float
    at_most: bool
    measured: Callable[[Record], float | None]

    def verdict(self, record: Record) -> dict[str, Any]:
        value = self.measured(record)
        holds = None
        if value is not None:
            holds = value <= self.bound if self.at_most else value >= self.bound
        return {"aim": self.text, "bound": self.bound, "measured": value, "holds": holds}


def _ratio(peer: str, *kinds: str, lut_size: int = 33) -> Callable[[Record], float | None]:
    """The smallest ratio to a peer over all sizes and threads of 33^3 photos."""

    def measured(record: Record) -> float | None:
        ratios = [
            row["ratio"]
            for row in record["rows"]
            if row["peer"] == peer
            and row["lut_size"] == lut_size
            and row["format"].split()[0] in kinds
            and "ratio" in row
        ]
        return min(ratios, default=None)

    return measured


def _of_bake(key: str) -> Callable[[Record], float | None]:
    return lambda record: record.get("bake", {}).get(key)


def _larger_lut(record: Record) -> float | None:
    ratio = _ratio("ours, 33^3", "8", "16", "float", lut_size=65)(record)
    return None if ratio is None else round(1 / ratio, 3)


AIMS = (
    Aim("8 bits: times pillow-simd (trilinear, bare)", 2.5, False, _ratio("pillow-simd", "8")),
    Aim("8 bits: times OpenColorIO (tetrahedral)", 4.0, False, _ratio("opencolorio", "8")),
    Aim("16 bits, float: times OpenColorIO", 3.5, False, _ratio("opencolorio", "16", "float")),
    Aim("16 bits, float planar: times FFmpeg", 2.0, False, _ratio("ffmpeg", "16", "float")),
    Aim("two threads: times one", 1.85, False, _ratio("ours, 1 thread", "8", "16", "float")),
    Aim("65^3: part of the time of 33^3", 1.3, True, _larger_lut),
    Aim("bake 33^3: times PyTorch eager", 4.0, False, _of_bake("ratio_vs_pytorch")),
    Aim("bake in int8: times our float32", 2.0, False, _of_bake("int8_ratio_vs_float32")),
    Aim("bake in int8: mean CIEDE2000", 0.2, True, _of_bake("int8_ciede2000_mean")),
    Aim("bake and render 12 MP: times the network", 300, False, _of_bake("photo_ratio")),
)


def verdicts(record: Record) -> list[dict[str, Any]]:
    """Each aim with what was measured; `holds` is None where it was not."""
    return [aim.verdict(record) for aim in AIMS]


def table(found: list[dict[str, Any]]) -> str:
    """One line an aim: what, bound, measured, holds or MISSED."""
    words = {True: "holds", False: "MISSED", None: "not measured"}
    lines = []
    for (text, bound, at_most, _), verdict in zip(AIMS, found, strict=True):
        value = verdict["measured"]
        sign = "<=" if at_most else ">="
        shown = "" if value is None else f"{value:.3g}"
        lines.append(f"{text:42} {sign} {bound:<5g} {shown:>8}  {words[verdict['holds']]}")
    return "\n".join(lines)
