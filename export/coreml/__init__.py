"""Core ML export: one .mlpackage per part of the model, for iOS 18 and later."""

from __future__ import annotations

from vera_mobile.export.coreml.parts import PARTS, build

__all__ = ["PARTS", "build"]
