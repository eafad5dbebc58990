"""The backends by name: each builds the parts of a model as files of its runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

import numpy as np

from vera_mobile.export.built import BuiltPart
from vera_mobile.export.recipes import Recipe
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel


class Backend(Protocol):
    """What pipeline and worker need of a backend's module."""

    def parts(self, recipe: Recipe) -> tuple[str, ...]:
        """The parts of a bundle."""

    def plans_first(self, recipe: Recipe, config: ModelConfig) -> bool:
        """Whether the module's `prepare_plans` has to run, once, before the parts."""

    def weights(self, name: str) -> tuple[str, ...]:
        """The parts of the model (vera_mobile.model.vlm.PARTS) whose weights a part holds."""

    def prepare_plans(
        self,
        model: VeraModel,
        recipe: Recipe,
        calibration: np.ndarray | None,
        folder: Path,
        vocabulary: Vocabulary,
    ) -> None:
        """Plans the calibration photos with the checkpoint; `build` finds it in `folder`."""

    def build(
        self,
        name: str,
        model: VeraModel,
        recipe: Recipe,
        calibration: np.ndarray | None,
        folder: Path,
    ) -> BuiltPart:
        """Writes the part `name` into `folder`."""


def backend(name: str) -> Backend:
    """The module of the backend that a recipe names."""
    if name == "coreml":
        from vera_mobile.export import coreml as module
    elif name == "onnx":
        from vera_mobile.export import onnx as module
    else:
        from vera_mobile.export import executorch as module
    return cast(Backend, module)
