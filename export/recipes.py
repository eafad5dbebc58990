"""Settings of an export, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vera_mobile.errors import InvalidArgument
from vera_mobile.quant.schemes import scheme


@dataclass(frozen=True)
class Recipe:
    """One scheme per part (see vera_mobile.quant.schemes), the backend, and what parity must hold.

    tolerances: token_agreement_min (share of equal next tokens), psnr_db_min and
    ciede2000_mean_max (baked lattice against the checkpoint's), and <stage>_sqnr_db_min.
    """

    name: str
    description: str
    vision: str
    language: str
    logits: str
    embedding: str
    head: str
    renderer: str
    backend: str
    tolerances: Mapping[str, float]

    def __post_init__(self) -> None:
        for part in ("vision", "language", "logits", "embedding", "head", "renderer"):
            scheme(getattr(self, part))
        if self.backend != "xnnpack":
            raise InvalidArgument(f"Backend '{self.backend}' is unknown: use xnnpack.")

    @property
    def needs_calibration(self) -> bool:
        """True when a part has static ranges, which come from photos."""
        return scheme(self.vision).activations == "static"


_QUANTIZED_TOLERANCES: Mapping[str, float] = MappingProxyType(
    {"token_agreement_min": 0.9, "psnr_db_min": 38.0, "ciede2000_mean_max": 1.0}
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="host-fp32",
            description="Everything in 32-bit float: the reference on ExecuTorch.",
            vision="fp32",
            language="fp32",
            logits="fp32",
            embedding="fp32",
            head="fp32",
            renderer="fp32",
            backend="xnnpack",
            tolerances=MappingProxyType(
                {"token_agreement_min": 1.0, "psnr_db_min": 80.0, "ciede2000_mean_max": 0.01}
            ),
        ),
        Recipe(
            name="android-int4",
            description="Language 4 bits in groups of 32, everything else 8 bits.",
            vision="int8w_int8static",
            language="int4w_g32_int8dyn",
            logits="int8w_int8dyn",
            embedding="int8w",
            head="int8w_int8dyn",
            renderer="int8w_int8dyn",
            backend="xnnpack",
            tolerances=_QUANTIZED_TOLERANCES,
        ),
        Recipe(
            name="android-int8",
            description="Everything 8 bits: nearer to the checkpoint than android-int4, larger.",
            vision="int8w_int8static",
            language="int8w_int8dyn",
            logits="int8w_int8dyn",
            embedding="int8w",
            head="int8w_int8dyn",
            renderer="int8w_int8dyn",
            backend="xnnpack",
            tolerances=_QUANTIZED_TOLERANCES,
        ),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises InvalidArgument that lists the known ones."""
    if name not in RECIPES:
        raise InvalidArgument(f"Recipe '{name}' is unknown: use one of {', '.join(RECIPES)}.")
    return RECIPES[name]
