"""Core ML export: one .mlpackage per part of the model, for iOS 18 and later."""

from __future__ import annotations

from vera_mobile.export.coreml.parts import PARTS, build
from vera_mobile.export.recipes import Recipe

__all__ = ["PARTS", "build", "parts", "weights"]

_WEIGHTS = {
    "vision": ("vision", "projector"),
    "embed": ("decoder",),
    "decoder": ("decoder",),
    "head": ("retouch_head", "renderer"),
    "bake": ("renderer",),
    "encoder": ("reference_encoder",),
}


def parts(recipe: Recipe) -> tuple[str, ...]:
    """The packages of a bundle."""
    return PARTS


def weights(name: str) -> tuple[str, ...]:
    """The parts of the model whose weights the package `name` holds."""
    return _WEIGHTS[name]
