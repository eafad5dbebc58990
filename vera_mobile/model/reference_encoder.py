"""The latents of an edit, read off a photo before and after it: the teacher of the latent space."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LATENT_GROUPS, EncoderConfig


class SpatialAttention(nn.Module):
    """Scales each position by what its largest and its mean channel say."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.conv(summary))


class ChannelAttention(nn.Module):
    """Scales each channel by what the means of all channels say (squeeze and excite)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * scale.unsqueeze(-1).unsqueeze(-1)


class MixedAttention(nn.Module):
    """Channel attention, then spatial attention (CBAM, arXiv 1807.06521)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.spatial(x * scale)


class ConvNorm(nn.Module):
    """Convolution with bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, self.conv.bias))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Block(nn.Module):
    """Two 3x3 convolutions plus the shortcut, then attention where there is one, then ReLU."""

    def __init__(self, inputs: int, outputs: int, attention: nn.Module | None) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.first = ConvNorm(inputs, outputs, 3, stride=stride)
        self.second = ConvNorm(outputs, outputs, 3)
        self.shortcut: ConvNorm | None = None
        if inputs != outputs:
            self.shortcut = ConvNorm(inputs, outputs, 1, stride=stride)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        x = self.second(self.first(x)) + kept
        if self.attention is not None:
            x = self.attention(x)
        return F.relu(x)


class ReferenceEncoder(nn.Module):
    """ResNet-18-like (arXiv 1512.03385) on both photos at once, with attention on the way."""

    def __init__(self, config: EncoderConfig, latent_size: int) -> None:
        super().__init__()
        self.config = config
        self.latent_size = latent_size
        one, two, three, four = config.widths
        ratio = config.reduction
        self.stem = ConvNorm(6, one, 7, stride=2)
        self.blocks = nn.ModuleList(
            (
                Block(one, one, SpatialAttention()),
                Block(one, one, SpatialAttention()),
                Block(one, two, MixedAttention(two, ratio)),
                Block(two, two, None),
                Block(two, three, MixedAttention(three, ratio)),
                Block(three, three, None),
                Block(three, four, ChannelAttention(four, ratio)),
                Block(four, four, None),
            )
        )
        self.out = nn.Linear(four, LATENT_GROUPS * latent_size)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """The latents that turn `before` into `after`.

        before, after: (B, 3, S, S) float, encoded sRGB in [0, 1], the same crop of one photo; S is
        the config's image_size. Returns (B, 3, latent_size).
        Raises InvalidArgument for another shape or two different ones.
        """
        size = self.config.image_size
        if before.shape != after.shape or tuple(before.shape[1:]) != (3, size, size):
            raise InvalidArgument(
                f"Photos of shapes {tuple(before.shape)} and {tuple(after.shape)} not allowed: "
                f"use (B, 3, {size}, {size}) for both."
            )
        x = 2.0 * torch.cat((before, after), dim=1) - 1.0
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean((2, 3))).unflatten(1, (LATENT_GROUPS, self.latent_size))
