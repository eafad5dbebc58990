"""Core ML export: one .mlpackage per part of the model, for iOS 18 and later."""

from __future__ import annotations

from vera_mobile.export.coreml.parts import PARTS, build
from vera_mobile.export.recipes import Recipe
from vera_mobile.model.config import ModelConfig
from vera_mobile.runtime import REFERENCE

__all__ = ["PARTS", "build", "parts", "plans_first", "weights"]

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


def plans_first(recipe: Recipe, config: ModelConfig) -> bool:
    """False: nothing of these packages is calibrated."""
    return False


def weights(name: str) -> tuple[str, ...]:
    """The parts of the model whose weights the package `name` holds."""
    return _WEIGHTS[name]
