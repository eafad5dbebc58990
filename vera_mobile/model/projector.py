"""From vision features to the decoder's embedding space."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """Two-layer MLP with GELU, applied to each image token."""

    def __init__(self, feature_size: int, hidden_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(feature_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        nn.init.trunc_normal_(self.up.weight, std=(2.0 / feature_size) ** 0.5)
        # near the scale of token embeddings: larger image tokens would drown what layers add
        nn.init.trunc_normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, T, feature_size) -> image tokens (B, T, hidden_size)."""
        return self.out(F.gelu(self.up(features)))
