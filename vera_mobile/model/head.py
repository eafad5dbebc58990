"""From the hidden states at the three retouch tokens to the three latents of a look."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LATENT_GROUPS


class RetouchHead(nn.Module):
    """Three linear layers over all three states at once, so that the groups know of each other."""

    def __init__(self, hidden_size: int, latent_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.latent_size = latent_size
        inputs = LATENT_GROUPS * hidden_size
        middle = inputs // 2
        self.first = nn.Linear(inputs, middle)
        self.first_norm = nn.LayerNorm(middle)
        self.second = nn.Linear(middle, middle)
        self.second_norm = nn.LayerNorm(middle)
        self.out = nn.Linear(middle, LATENT_GROUPS * latent_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """The latents of the look.

        hidden: (B, 3, hidden_size), the decoder's final states at the steps that emit the lighting,
        global colour and specific colour token. Returns (B, 3, latent_size), unbounded.
        Raises InvalidArgument for another shape.
        """
        if hidden.dim() != 3 or tuple(hidden.shape[1:]) != (LATENT_GROUPS, self.hidden_size):
            raise InvalidArgument(
                f"Hidden states of shape {tuple(hidden.shape)} not allowed: "
                f"use (B, {LATENT_GROUPS}, {self.hidden_size})."
            )
        x = F.gelu(self.first_norm(self.first(hidden.flatten(1))))
        x = F.gelu(self.second_norm(self.second(x)))
        return self.out(x).unflatten(1, (LATENT_GROUPS, self.latent_size))
