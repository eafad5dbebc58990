"""The exported forms run by PyTorch: what a recipe does to the results, without lowering."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.runtime import ANSWER_LOGITS, BAKE_POINTS, REFERENCE


class FormPlanner:
    """A `Planner` on modules with the signatures of `vera_mobile.export.forms`.

    modules: "vision", "embed", "decoder", "head", "bake" and, if wanted, "reference", quantized or
    not; the decoder's cache is its own, so two planners must not share one decoder. Inputs are not
    checked.
    """

    def __init__(self, modules: Mapping[str, nn.Module], config: ModelConfig) -> None:
        self.modules = dict(modules)
        self.config = config

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self.config.vision.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self.config.language.max_length

    def load(self) -> None:
        """Nothing to do: the modules are in memory."""

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        return self._run("vision", pixels)[0]

    def embed(self, ids: np.ndarray) -> np.ndarray:
        return self._run("embed", np.asarray(ids, np.int64))[0]

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, hidden = self._run("decoder", embeds, np.array([start], np.int64))
        return logits[0], hidden[0]

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._run("head", hidden[None])[0][0]

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if REFERENCE not in self.modules:
            raise InvalidArgument("These forms have no reference encoder: use the checkpoint.")
        return self._run(REFERENCE, before, after)[0][0]

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        parts = [
            self._run("bake", points[begin : begin + BAKE_POINTS], latents[None])[0]
            for begin in range(0, len(points), BAKE_POINTS)
        ]
        return np.concatenate(parts)

    @torch.no_grad()
    def _run(self, name: str, *inputs: np.ndarray) -> list[np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(value)) for value in inputs]
        outputs = self.modules[name](*tensors)
        kept = (outputs,) if isinstance(outputs, Tensor) else outputs
        # a copy: the module may hand out a view of its cache
        return [output.numpy().copy() for output in kept]
