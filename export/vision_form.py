"""The vision tower in the form of our own kernel: codes of 8 bits, images of half floats.

The codes of a pixel have a step of their own, except those of a block's hidden values, whose range
comes from photos. A factor per channel, folded into the weights' columns, moves rounding error
between codes and weights; photos tell where the sum of both is least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.export import vision_ops
from vera_mobile.export.vision_pack import ROWS, pack_rows
from vera_mobile.export.vision_ranges import Seen
from vera_mobile.model.vision import (
    AttentionBlock,
    ConvFFN,
    Downsample,
    ExpandFeatures,
    RepMixerBlock,
    Stage,
    VisionTower,
)
from vera_mobile.model.vlm import VeraModel

_SPREADS = tuple(i / 10 for i in range(11))
# what other photos may have beyond those seen: of hidden values, and of a block's input, whose 16
# bits have room
_FIXED_ROOM, _WORD_ROOM = 1.25, 8.0
# the range of one pixel's values, in that of all pixels of all photos
_PIXEL_RANGE = 0.3
_MOST_TAPS = 65000  # the sizes of a channel's taps, added, which keeps sums below 32 bits


Bits = Callable[[str], int]


class _Product(nn.Module):
    """A packed matrix with the factors of its input (inverses) and of its outputs."""

    weights: Tensor
    inverses: Tensor
    outputs: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        bits: int,
        seen: Seen | None = None,
        *,
        scale: Tensor | None = None,
        fixed: bool = False,
    ) -> None:
        """weight: (rows, columns); seen: None for an input that is not multiplied; scale: (rows,)
        factor of the result; fixed: codes have the steps 1 / inverses and the zero `zero`."""
        super().__init__()
        matrix = weight.detach().float().flatten(1)
        _check_multiple(*matrix.shape)
        steps, self.zero = torch.ones(matrix.shape[1]), 0
        importance = None
        if seen is not None:
            steps, self.zero = _steps(matrix, seen, fixed)
            importance = seen.square / steps.square()
        packed, scales = pack_rows(matrix * steps, bits, importance)
        factor = torch.ones(len(matrix)) if scale is None else scale.detach().float().flatten()
        offset = torch.zeros(len(matrix)) if bias is None else bias.detach().float()
        self.register_buffer("weights", packed)
        self.register_buffer("inverses", 1 / steps)
        self.register_buffer("outputs", torch.stack((scales * factor, offset * factor)))


def _steps(matrix: Tensor, seen: Seen, fixed: bool) -> tuple[Tensor, int]:
    """The step of each column's codes (where not fixed: up to a factor), and their common zero.

    Of several spreads of the columns' steps, from all alike to each as wide as its range, the one
    whose expected squared error is least: of the codes, step^2 / 12 times the squared weights; of
    the weights of a row, their own step^2 / 12 times the mean square of the codes.
    """
    room = _FIXED_ROOM if fixed else 1.0
    low, high = seen.low.clamp_max(0) * room, seen.high.clamp_min(0) * room
    width = (high - low).clamp_min(1e-6)
    best: tuple[float, Tensor, int] | None = None
    for spread in _SPREADS:
        profile = (width / width.max()).clamp_min(1e-4) ** spread
        below, above = (-low / profile).max(), (high / profile).max()
        whole = (below + above).clamp_min(1e-6)
        step = profile * whole / 255
        typical = step if fixed else step * _PIXEL_RANGE
        rounding = (typical.square() * matrix.square().sum(0)).sum()
        weight_steps = (matrix * step).abs().amax(1) / 127
        codes = (seen.square / step.square()).sum()
        error = float(rounding + weight_steps.square().sum() * codes)
        if best is None or error < best[0]:
            best = (error, step, int(torch.round(255 * below / whole)))
    assert best is not None
    return best[1], best[2]


def _check_multiple(*sizes: int) -> None:
    if any(size % 16 for size in sizes):
        raise InvalidArgument(
            f"A vision layer of {' x '.join(map(str, sizes))} channels not allowed: the own kernel "
            "needs multiples of 16; use a recipe whose vision tower is XNNPACK's."
        )


def _filter(conv: nn.Conv2d) -> Tensor:
    """A convolution per channel as (parts * (kernel^2 + 1), inputs)."""
    parts = conv.out_channels // conv.in_channels
    if conv.groups != conv.in_channels or parts * conv.in_channels != conv.out_channels:
        raise InvalidArgument(
            f"A vision layer of {conv.in_channels} to {conv.out_channels} channels in "
            f"{conv.groups} groups not allowed: the own kernel takes one input per group; use a "
            "recipe whose vision tower is XNNPACK's."
        )
    _check_multiple(conv.in_channels)
    taps = conv.weight.detach().float().view(conv.in_channels, parts, -1).permute(1, 2, 0)
    bias = cast(Tensor, conv.bias).detach().float().view(conv.in_channels, parts).t()
    return torch.cat((taps.reshape(-1, conv.in_channels), bias)).contiguous()


def _order(conv: nn.Conv2d) -> Tensor:
    """Output channels of `conv` in the order in which the kernel gives them: by part."""
    parts = conv.out_channels // conv.in_channels
    return torch.arange(conv.out_channels).view(conv.in_channels, parts).t().flatten()


class _Stem(nn.Module):
    conv: Tensor
    depthwise: Tensor

    def __init__(self, tower: VisionTower, seen: dict[str, Seen], bits: Bits) -> None:
        super().__init__()
        first, second, third = (cast(nn.Conv2d, conv) for conv in tower.stem)
        _check_multiple(first.out_channels)
        taps = first.weight.detach().float().permute(2, 3, 1, 0).reshape(27, -1)
        bias = cast(Tensor, first.bias).detach().float()[None]
        self.register_buffer("conv", torch.cat((taps, bias)).contiguous())
        self.register_buffer("depthwise", _filter(second))
        self.pointwise = _Product(third.weight, third.bias, bits("stem.2"), seen["stem.2"])

    def forward(self, pixels: Tensor) -> Tensor:
        p = self.pointwise
        return torch.ops.vera.vision_stem(
            pixels, self.conv, self.depthwise, p.weights, p.inverses, p.outputs
        )


class _Down(nn.Module):
    spatial: Tensor

    def __init__(self, down: Downsample, name: str, seen: dict[str, Seen], bits: Bits) -> None:
        super().__init__()
        order, pointwise = _order(down.spatial), down.pointwise
        self.register_buffer("spatial", _filter(down.spatial))
        name = f"{name}.pointwise"
        weight = pointwise.weight.flatten(1)[:, order]
        self.pointwise = _Product(weight, pointwise.bias, bits(name), seen[name].ordered(order))

    def forward(self, x: Tensor) -> Tensor:
        p = self.pointwise
        return torch.ops.vera.vision_down(x, self.spatial, p.weights, p.inverses, p.outputs)


class _Depthwise(nn.Module):
    filter: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("filter", _filter(conv))

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.vera.vision_depthwise(x, self.filter)


class _Block(nn.Module):
    """Mixer (or none), 7x7 convolution, MLP, scale and addition."""

    mixer: Tensor
    codes: Tensor
    taps: Tensor

    def __init__(
        self,
        mixer: nn.Conv2d | None,
        ffn: ConvFFN,
        scale: Tensor,
        name: str,
        seen: dict[str, Seen],
        bits: Bits,
    ) -> None:
        super().__init__()
        channels = ffn.depthwise.in_channels
        self.register_buffer("mixer", torch.zeros(0, channels) if mixer is None else _filter(mixer))
        expand, reduce = f"{name}.expand", f"{name}.reduce"
        self.expand = _Product(ffn.expand.weight, ffn.expand.bias, bits(expand), seen[expand])
        self.reduce = _Product(
            ffn.reduce.weight, ffn.reduce.bias, bits(reduce), seen[reduce], scale=scale, fixed=True
        )
        weight, bias = _folded(ffn)
        tap_steps = weight.abs().sum((1, 2)).clamp_min(1e-20) / _MOST_TAPS
        range_ = seen[f"{name}.depthwise"]
        words = torch.maximum(range_.high, -range_.low).clamp_min(1e-6) * _WORD_ROOM / 32767
        inverses = self.expand.inverses
        self.register_buffer(
            "codes", torch.stack((1 / words, words * tap_steps * inverses, bias * inverses))
        )
        self.register_buffer("taps", _packed_taps(torch.round(weight / tap_steps[:, None, None])))

    def forward(self, x: Tensor) -> Tensor:
        up, down = self.expand, self.reduce
        return torch.ops.vera.vision_block(
            x, self.mixer, self.codes, self.taps, up.weights, up.outputs, down.weights,
            down.inverses, down.outputs, down.zero,
        )  # fmt: skip


def _folded(ffn: ConvFFN) -> tuple[Tensor, Tensor]:
    """The 7x7 convolution (C, 7, 7) with its batch norm, and its bias (C,)."""
    norm = ffn.norm
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight.detach().float() * torch.rsqrt(variance.float() + norm.eps)
    weight = ffn.depthwise.weight.detach().float()[:, 0] * gain[:, None, None]
    return weight, norm.bias.detach().float() - mean.float() * gain


def _packed_taps(taps: Tensor) -> Tensor:
    """(C, 7, 7) whole numbers as int16 (C / 16, 28, 32), see vera_vision_block."""
    padded = F.pad(taps.clamp(-32767, 32767), (0, 1)).view(-1, 16, 7, 4, 2)
    return padded.permute(0, 2, 3, 1, 4).reshape(-1, 28, 32).to(torch.int16).contiguous()


class _Attention(nn.Module):
    norm: Tensor

    def __init__(self, block: AttentionBlock, name: str, bits: Bits) -> None:
        super().__init__()
        attention = block.attention
        channels = attention.out.in_features
        self.register_buffer(
            "norm", torch.stack((block.norm.weight, block.norm.bias)).detach().float()
        )
        self.qkv = _Product(attention.qkv.weight, None, bits(f"{name}.qkv"))
        self.out = _Product(
            attention.out.weight,
            attention.out.bias,
            bits(f"{name}.out"),
            scale=block.attention_scale,
        )
        self.head_dim, self.eps = channels // attention.heads, block.norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.vera.vision_attention(
            x, self.norm, self.qkv.weights, self.qkv.outputs, self.out.weights, self.out.outputs,
            self.head_dim, self.eps,
        )  # fmt: skip


class _Tokens(nn.Module):
    expand: Tensor

    def __init__(self, model: VeraModel, seen: dict[str, Seen], bits: Bits) -> None:
        super().__init__()
        last: ExpandFeatures = model.vision.expand
        projector, order = model.projector, _order(last.conv)
        self.register_buffer("expand", _filter(last.conv))
        # rows and columns of zeros up to a whole block change nothing: ReLU keeps them zero
        extra = -last.squeeze.out_channels % ROWS
        squeeze, excite = last.squeeze.weight.flatten(1), last.excite.weight.flatten(1)
        self.squeeze = _Product(
            F.pad(squeeze[:, order], (0, 0, 0, extra)),
            F.pad(cast(Tensor, last.squeeze.bias), (0, extra)),
            bits("expand.squeeze"),
        )
        self.excite = _Product(
            F.pad(excite[order], (0, extra)),
            cast(Tensor, last.excite.bias)[order],
            bits("expand.excite"),
        )
        self.up = _Product(
            projector.up.weight[:, order],
            projector.up.bias,
            bits("projector.up"),
            seen["projector.up"].ordered(order),
        )
        self.out = _Product(projector.out.weight, projector.out.bias, bits("projector.out"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.vera.vision_tokens(
            x, self.expand, self.squeeze.weights, self.squeeze.outputs, self.excite.weights,
            self.excite.outputs, self.up.weights, self.up.inverses, self.up.outputs,
            self.out.weights, self.out.outputs,
        )  # fmt: skip


def block_bits(bits: int) -> Bits:
    """`bits` for the products of the blocks of the last three stages, where nearly all weights are,
    but 4 where those are 6 for the last stage's attention; 8 for all others.

    nano, SQNR of its image tokens, mean of 24 photos: 32.8 dB with 8 bits, 32.1 with 6 throughout,
    31.7 with the 4; the first stages in 6 bits too would take 3 dB more, the projector as many.
    """
    late = tuple(f"stages.{stage}.blocks." for stage in (2, 3, 4))

    def of(name: str) -> int:
        if not name.startswith(late):
            return 8
        return 4 if bits == 6 and name.startswith("stages.4") and "attention" in name else bits

    return of


class PackedVisionForm(nn.Module):
    """pixels (1, 3, S, S) in [0, 1] -> image tokens (1, T, H), through libvera's vision kernel.

    seen: what `watch` gave; bits: 8, 6 or 4 for a product's name ("stages.2.blocks.0.ffn.expand").
    Raises InvalidArgument for channel counts that the kernel does not take.
    """

    def __init__(
        self, model: VeraModel, seen: dict[str, Seen], bits: Bits = lambda name: 8
    ) -> None:
        super().__init__()
        vision_ops.register()
        layers: list[nn.Module] = [_Stem(model.vision, seen, bits)]
        for index, stage in enumerate(model.vision.stages):
            layers += _stage_layers(cast(Stage, stage), f"stages.{index}", seen, bits)
        self.layers = nn.Sequential(*layers, _Tokens(model, seen, bits))
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return cast(Tensor, self.layers(pixels))


def _stage_layers(
    stage: Stage, name: str, seen: dict[str, Seen], bits: Bits
) -> Iterator[nn.Module]:
    if stage.down is not None:
        yield _Down(stage.down, f"{name}.down", seen, bits)
    if stage.position is not None:
        yield _Depthwise(stage.position)
    for i, block in enumerate(stage.blocks):
        at = f"{name}.blocks.{i}"
        if isinstance(block, AttentionBlock):
            yield _Attention(block, f"{at}.attention", bits)
            yield _Block(None, block.ffn, block.ffn_scale, f"{at}.ffn", seen, bits)
        else:
            mixed = cast(RepMixerBlock, block)
            yield _Block(mixed.mixer, mixed.ffn, mixed.ffn_scale, f"{at}.ffn", seen, bits)
