"""Vera Mobile: photo retouching by a small vision-language model that runs on the phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Auto",
    "Look",
    "Param",
    "Photo",
    "Reference",
    "Retoucher",
    "Sampling",
    "Style",
    "VeraError",
]

if TYPE_CHECKING:
    from vera_mobile.errors import VeraError
    from vera_mobile.image import Photo
    from vera_mobile.look import Look
    from vera_mobile.retoucher import Auto, Param, Reference, Retoucher, Sampling, Style

_HOMES = {
    "Auto": "retoucher", "Param": "retoucher", "Retoucher": "retoucher", "Sampling": "retoucher",
    "Reference": "retoucher", "Style": "retoucher", "Look": "look", "Photo": "image",
    "VeraError": "errors",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """The public names, imported on first use: PyTorch takes seconds to load."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vera_mobile' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"vera_mobile.{_HOMES[name]}"), name)
