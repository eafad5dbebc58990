"""FastViTHD, the vision tower: photo in, image tokens out.

Written from the papers (FastViT, arXiv 2303.14189; FastVLM, arXiv 2412.13303) and the shapes of the
public checkpoint, in the re-parameterised form: one convolution where training used branches. So
the same classes train, load public weights and export.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import VisionConfig

ATTENTION_STAGES = (3, 4)
_IDENTITY_NOISE = 0.02
# GELU passes half of a small signal and all of a large one: between 1 and 2 keeps the size of a
# typical one from stage to stage (nano, 8 seeds: features of root mean square 0.2 to 5)
_GELU_GAIN = 1.7


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


def _depthwise(channels: int, kernel: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return _conv(channels, channels, kernel, stride=stride, groups=channels, bias=bias)


@torch.no_grad()
def _init_conv_(conv: nn.Conv2d, *, gain: float) -> None:
    """Normal weights that keep the second moment of the signal when gain is 1; zero bias."""
    fan_in = conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
    nn.init.normal_(conv.weight, std=gain / math.sqrt(fan_in))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


@torch.no_grad()
def _init_identity_(conv: nn.Conv2d) -> None:
    """Depthwise weights that pass the input through, with a little noise to start learning from."""
    nn.init.normal_(conv.weight, std=_IDENTITY_NOISE)
    centre = conv.kernel_size[0] // 2
    conv.weight[:, :, centre, centre] += 1.0
    nn.init.zeros_(cast(Tensor, conv.bias))


class ConvFFN(nn.Module):
    """7x7 depthwise convolution, batch norm, then a two-layer per-pixel MLP with GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = _depthwise(channels, 7, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = _conv(channels, hidden, 1)
        self.reduce = _conv(hidden, channels, 1)
        _init_conv_(self.depthwise, gain=1.0)
        _init_conv_(self.expand, gain=1.0)
        _init_conv_(self.reduce, gain=math.sqrt(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(x))
        return self.reduce(F.gelu(self.expand(x)))


class RepMixerBlock(nn.Module):
    """Token mixing by a 3x3 depthwise convolution (identity folded in), then a scaled ConvFFN."""

    def __init__(self, channels: int, hidden: int, layer_scale: float) -> None:
        super().__init__()
        self.mixer = _depthwise(channels, 3)
        self.ffn = ConvFFN(channels, hidden)
        self.ffn_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        _init_identity_(self.mixer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mixer(x)
        return x + self.ffn_scale * self.ffn(x)


class SelfAttention(nn.Module):
    """Multi-head attention over all positions; (B, N, C) in and out; no bias on q, k and v."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.heads = channels // head_dim
        self.scale = head_dim**-0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        for linear in (self.qkv, self.out):
            nn.init.trunc_normal_(linear.weight, std=channels**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, positions, channels = x.shape
        split = self.qkv(x).view(batch, positions, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        # written out: the fused operator lowers to a guarded softmax that no mobile backend fuses
        weights = torch.softmax((query * self.scale) @ key.transpose(-2, -1), dim=-1)
        return self.out((weights @ value).transpose(1, 2).reshape(batch, positions, channels))


class AttentionBlock(nn.Module):
    """Attention over all positions, then a ConvFFN, each scaled per channel and added."""

    def __init__(self, channels: int, hidden: int, head_dim: int, layer_scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.attention = SelfAttention(channels, head_dim)
        self.ffn = ConvFFN(channels, hidden)
        self.attention_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        self.ffn_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self.attention(self.norm(tokens)).transpose(1, 2).reshape(x.shape)
        x = x + self.attention_scale * mixed
        return x + self.ffn_scale * self.ffn(x)


class Downsample(nn.Module):
    """Halves the size: 7x7 grouped convolution of stride 2, GELU, 1x1 convolution, GELU.

    The groups are as many as both channel counts allow; depthwise where the count doubles.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.spatial = _conv(inputs, outputs, 7, stride=2, groups=math.gcd(inputs, outputs))
        self.pointwise = _conv(outputs, outputs, 1)
        _init_conv_(self.spatial, gain=_GELU_GAIN)
        _init_conv_(self.pointwise, gain=_GELU_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.pointwise(F.gelu(self.spatial(x))))


class Stage(nn.Module):
    """Down-sampling (not in the first stage), position encoding (attention stages), blocks."""

    def __init__(self, config: VisionConfig, index: int) -> None:
        super().__init__()
        channels = config.embed_dims[index]
        hidden = channels * config.mlp_ratio
        scale = config.layer_scale_init
        self.down: Downsample | None = None
        self.position: nn.Conv2d | None = None
        if index > 0:
            self.down = Downsample(config.embed_dims[index - 1], channels)
        if index in ATTENTION_STAGES:
            self.position = _depthwise(channels, 7)
            _init_identity_(self.position)
        self.blocks = nn.ModuleList(
            AttentionBlock(channels, hidden, config.attention_head_dim, scale)
            if index in ATTENTION_STAGES
            else RepMixerBlock(channels, hidden, scale)
            for _ in range(config.depths[index])
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.down is not None:
            x = self.down(x)
        if self.position is not None:
            x = self.position(x)
        for block in self.blocks:
            x = block(x)
        return x


class ExpandFeatures(nn.Module):
    """3x3 grouped convolution to the feature count, squeeze-and-excite, GELU."""

    def __init__(self, inputs: int, outputs: int, se_ratio: int) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, 3, groups=inputs)
        self.squeeze = _conv(outputs, outputs // se_ratio, 1)
        self.excite = _conv(outputs // se_ratio, outputs, 1)
        # the gates start at 0.5, which the gain makes up for
        _init_conv_(self.conv, gain=2.0 * _GELU_GAIN)
        _init_conv_(self.squeeze, gain=math.sqrt(2.0))
        _init_conv_(self.excite, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        pooled = F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return F.gelu(x * torch.sigmoid(self.excite(pooled)))


class VisionTower(nn.Module):
    """The image tokens of a photo: 64 x 64 pixels each, row by row from the top left."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        first = config.embed_dims[0]
        self.stem = nn.ModuleList(
            (_conv(3, first, 3, stride=2), _depthwise(first, 3, stride=2), _conv(first, first, 1))
        )
        self.stages = nn.ModuleList(Stage(config, index) for index in range(5))
        self.expand = ExpandFeatures(config.embed_dims[-1], config.feature_size, config.se_ratio)
        self.projection: nn.Parameter | None = None
        if config.unused_projection:
            shape = (config.feature_size, config.feature_size)
            # frozen: the forward pass never reads it, so it must not take part in an optimiser
            self.projection = nn.Parameter(torch.zeros(shape), requires_grad=False)
        for conv in self.stem:
            _init_conv_(cast(nn.Conv2d, conv), gain=_GELU_GAIN)

    def forward(self, pixels: Tensor) -> Tensor:
        """The features of each token.

        pixels: (B, 3, S, S) float, encoded sRGB in [0, 1] (mean 0, std 1: no normalisation), S the
        config's image_size. Returns (B, (S / 64)^2, feature_size) of the same dtype.
        Raises InvalidArgument for another shape.
        """
        size = self.config.image_size
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise InvalidArgument(
                f"Pixels of shape {tuple(pixels.shape)} not allowed: use (B, 3, {size}, {size})."
            )
        x = pixels
        for conv in self.stem:
            x = F.gelu(conv(x))
        for stage in self.stages:
            x = stage(x)
        return self.expand(x).flatten(2).transpose(1, 2)
