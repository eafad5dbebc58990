"""What a backend hands back for one part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vera_mobile.bundle import OperatorCount, TensorSpec

PLANS = "plans"  # a stage before the parts: the checkpoint's plans of the calibration photos


@dataclass(frozen=True)
class BuiltPart:
    """A part as written for its runtime.

    path: a file, or a folder such as an .mlpackage, in the folder that the backend was given; kind:
    of the manifest ("executorch", "coreml", "onnx"); quantization: its schemes, for people.
    """

    path: Path
    kind: str
    quantization: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorCount, ...]
