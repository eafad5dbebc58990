"""Core ML export: one .mlpackage per part of the model, for iOS 18 and later."""

from __future__ import annotations

from vera_mobile.export.coreml.parts import PARTS, build
from vera_mobile.export.recipes import Recipe
from vera_mobile.runtime import REFERENCE

__all__ = ["PARTS", "build", "parts", "weights"]

_WEIGHTS = {
    "vision": ("vision", "projector"),
    "embed": ("decoder",),
    "decoder": ("decoder",),
    "head": ("retouch_head", "renderer"),
    "bake": ("renderer",),
    REFERENCE: ("reference_encoder",),
}


def parts(recipe: Recipe) -> tuple[str, ...]:
    """The packages of a bundle."""
    return tuple(name for name in PARTS if recipe.reference or name != REFERENCE)


def weights(name: str) -> tuple[str, ...]:
    """The parts of the model whose weights the package `name` holds."""
    return _WEIGHTS[name]
