"""The reference encoder in the form that is exported, and pairs of photos to try it on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vera_mobile.develop.sliders import vector
from vera_mobile.export.samples import FAULTS
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.reference_encoder import ConvNorm
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.quality import developed

Pair = tuple[np.ndarray, np.ndarray]


class ReferenceForm(nn.Module):
    """before, after (1, 3, E, E) in [0, 1] -> latents (1, 3, L); batch norms are folded into the
    convolutions before them."""

    def __init__(self, model: VeraModel) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(model.reference_encoder).float().eval()
        with torch.no_grad():
            for module in list(self.encoder.modules()):
                if isinstance(module, ConvNorm):
                    module.conv = fuse_conv_bn_eval(module.conv, module.norm)
                    module.norm = nn.Identity()  # type: ignore[assignment]

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return self.encoder(before, after)


def worth_8_bits(node: Any) -> bool:
    """False for the convolution that reads the photos and for those that write a map of weights:
    a handful of values, which scale everything after them."""
    if node.target != torch.ops.aten.conv2d.default:
        return True
    outputs, inputs = node.args[1].meta["val"].shape[:2]
    return bool(inputs != 6 and outputs != 1)


def reference_pairs(photos: np.ndarray, config: ModelConfig) -> list[Pair]:
    """Each photo with a fault and without: before and after, (1, 3, E, E) float32 in [0, 1].

    photos: (n, 3, S, S) float32, encoded sRGB in [0, 1]; scaled to the encoder's side.
    """
    size = config.encoder.image_size
    small = F.interpolate(torch.from_numpy(photos), (size, size), mode="area").numpy()
    pairs = []
    for index, photo in enumerate(small):
        picture = np.round(photo.transpose(1, 2, 0) * 255).astype(np.uint8)
        faulty = developed(picture, vector(FAULTS[index % len(FAULTS)]))
        pairs.append((_planar(faulty), _planar(picture)))
    return pairs


def _planar(picture: np.ndarray) -> np.ndarray:
    values = picture.astype(np.float32) / np.float32(255)
    return np.stack([values.transpose(2, 0, 1)])  # not [None]: ExecuTorch refuses strides of 0
