"""Quality of a checkpoint or bundle on photos it never saw, for `vera bench quality`.

Every photo goes the user's way: plan, bake, render by the kernel, 8-bit pixels; degradations,
wishes and sliders are drawn from the file name: the same in every run, on every machine.
"""

from __future__ import annotations

from vera_mobile.train.evaluation.run import Report, Settings, bench_quality
from vera_mobile.train.evaluation.tasks import (
    DEGRADATIONS,
    LONG_SIDE,
    PARTS,
    STYLES_PER_PHOTO,
    developed,
)

__all__ = [
    "DEGRADATIONS",
    "LONG_SIDE",
    "PARTS",
    "STYLES_PER_PHOTO",
    "Report",
    "Settings",
    "bench_quality",
    "developed",
]
