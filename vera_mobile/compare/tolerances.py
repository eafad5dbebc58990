"""Bounds that a photo must hold, from a bundle's manifest or from flags, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vera_mobile.compare.figures import Figures
from vera_mobile.errors import BundleError, InvalidArgument

KINDS = ("min", "max")
FIGURES = (
    "psnr_db",
    "ssim",
    "ciede2000_mean",
    "ciede2000_p99",
    "ciede2000_max",
    "max_difference",
    "banding_share",
    "text_agreement",
)
BOUNDS = {
    "psnr_db": "min",
    "ssim": "min",
    "ciede2000_mean": "max",
    "ciede2000_p99": "max",
    "ciede2000_max": "max",
    "max_difference": "max",
    "banding_share": "max",
    "text_agreement": "min",
}
"""Which side of each figure is bounded; a bound is called <figure>_<min or max>."""
_OF_OTHER_CHECKS = ("token_agreement_min", "reference_psnr_db_min", "_sqnr_db_min")


@dataclass(frozen=True)
class Check:
    """One figure against its bound. value None: the figure could not be taken, so it fails."""

    name: str
    value: float | None
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the bound holds."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.name.endswith("_min") else self.value <= self.bound

    @property
    def strain(self) -> float:
        """How near the bound is: 0 is ideal, 1 is at the bound, above it is missed."""
        if self.value is None:
            return math.inf
        over, under = (
            (self.bound, self.value) if self.name.endswith("_min") else (self.value, self.bound)
        )
        if over == under:
            return 1.0
        if math.isinf(under):
            return 0.0
        return over / under if under > 0 else math.inf


def bound_names() -> tuple[str, ...]:
    """All names that a bound may have."""
    return tuple(f"{figure}_{kind}" for figure, kind in BOUNDS.items())


def photo_bounds(tolerances: Mapping[str, float], source: str) -> dict[str, float]:
    """Those of a manifest's tolerances that are about photos; of a photo's text none are.

    token_agreement_min, reference_psnr_db_min (of colours that two photos give) and
    <stage>_sqnr_db_min are left to `vera verify`. Raises BundleError for an
    unknown name or where none is left.
    """
    bounds = {}
    for name, bound in tolerances.items():
        if name in bound_names():
            bounds[name] = float(bound)
        elif not name.endswith(_OF_OTHER_CHECKS):
            raise BundleError(
                f"{source}: tolerance '{name}' is unknown: known are {', '.join(bound_names())}."
            )
    if not bounds:
        raise BundleError(
            f"{source} has no tolerance for photos: give bounds such as --psnr-db-min 38."
        )
    return bounds


def check_bounds(bounds: Mapping[str, float]) -> None:
    """InvalidArgument for an unknown name, a bound that is not finite or no bound at all."""
    if not bounds:
        raise InvalidArgument(
            "No tolerance is given: name a bundle (--bundle) or bounds such as --psnr-db-min 38."
        )
    for name, bound in bounds.items():
        if name not in bound_names():
            raise InvalidArgument(
                f"Tolerance '{name}' is unknown: use one of {', '.join(bound_names())}."
            )
        if not math.isfinite(bound):
            raise InvalidArgument(f"Tolerance {name} is {bound}: use a finite number.")


def judge(figures: Figures, bounds: Mapping[str, float]) -> tuple[Check, ...]:
    """Every bound against its figure; a bound on text holds only photos that have text."""
    checks = []
    for name, bound in bounds.items():
        figure = name.rpartition("_")[0]
        value = getattr(figures, figure)
        if figure == "text_agreement" and value is None:
            continue
        if figure == "ssim" and value is None:  # a picture too small for one window
            continue
        checks.append(Check(name, value, bound))
    return tuple(checks)
