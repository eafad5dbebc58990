"""The model's parts as ONNX graphs want them: same weights, same results, every shape a constant.

Weights of matrix products are stored (inputs, outputs), so that a graph reads them as they are;
what follows a convolution or a product linearly (batch norm, layer scale) is folded into it.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vera_mobile.export.forms import BakeForm, EmbedForm, VisionForm
from vera_mobile.export.reference_form import ReferenceForm
from vera_mobile.export.verify import lattice
from vera_mobile.model.config import LanguageConfig
from vera_mobile.model.language import Attention, Decoder, DecoderLayer, rope_tables
from vera_mobile.model.vision import AttentionBlock, ConvFFN, RepMixerBlock
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.schemes import quantize_rows
from vera_mobile.runtime import PREFILL_TOKENS

LUT_SIZE = 33
# hides a position from attention: exp gives exactly 0, and half floats can hold it
MASKED = -1e4


class Product(nn.Module):
    """x @ weight + bias with weight (inputs, outputs): a linear layer without a transposition."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        product = torch.matmul(x, self.weight)
        return product if self.bias is None else product + self.bias


class EmbedRowsForm(nn.Module):
    """ids (1, n) int32 -> embeddings (1, n, H); rows of 8 bits and a scale per row."""

    rows: Tensor
    scales: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        rows, scales = quantize_rows(decoder.embedding.weight)
        self.register_buffer("rows", rows)
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.rows).to(torch.float32)
        return rows * F.embedding(ids, self.scales)


class _LayerForm(nn.Module):
    """A decoder layer that takes the cache as input and gives the new keys and values back."""

    def __init__(self, layer: DecoderLayer, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.attention_norm = layer.attention_norm
        self.attention: Attention = layer.attention
        self.mlp_norm = layer.mlp_norm
        self.mlp = layer.mlp

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self._attend(self.attention_norm(x), rope, mask, past)
        x = x + self.attention.o_proj(mixed)
        return x + self.mlp(self.mlp_norm(x)), key, value

    def _attend(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = _turned(self._heads(self.attention.q_proj(x)), rope)
        key = _turned(self._heads(self.attention.k_proj(x)), rope)
        value = self._heads(self.attention.v_proj(x))
        keys, values = (torch.cat(pair, 2) for pair in zip(past, (key, value), strict=True))
        # (key head, query head of its group, n, d): the product repeats a key head for its group
        grouped = query.squeeze(0).unflatten(0, (self.config.kv_heads, -1))
        scores = torch.matmul(grouped, keys.transpose(0, 1).transpose(2, 3))
        weights = torch.softmax(scores * self.config.head_dim**-0.5 + mask, -1)
        mixed = torch.matmul(weights, values.transpose(0, 1))
        return mixed.flatten(0, 1).transpose(0, 1).flatten(1).unsqueeze(0), key, value

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.config.head_dim)).transpose(1, 2)


class DecoderForm(nn.Module):
    """Logits and hidden state of one position of n new ones, and what to add to the cache.

    embeds (1, n, H); positions (n,) int32, consecutive; last (1,) int32, which of the n; then keys
    and values of each layer, (1, kv_heads, max_length, head_dim), of which those before
    positions[0] are seen. Returns logits (1, V), hidden state (1, H), then new keys and values of
    each layer, (1, kv_heads, n, head_dim), for the caller to write at `positions`.
    """

    cosines: Tensor
    sines: Tensor
    slots: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        config = decoder.config
        copied = copy.deepcopy(decoder.layers)
        self.layers = nn.ModuleList(
            _LayerForm(cast(DecoderLayer, layer), config) for layer in copied
        )
        self.norm = copy.deepcopy(decoder.norm)
        self.logits = nn.Linear(1, 1, bias=False)
        self.logits.weight = decoder.embedding.weight
        transpose_linears_(self)
        half = config.head_dim // 2
        # rows for the padding of a call too, which may lie past the last position
        longer = dataclasses.replace(config, max_length=config.max_length + PREFILL_TOKENS)
        cosines, sines = rope_tables(longer)
        self.register_buffer("cosines", cosines[:, :half].contiguous())
        self.register_buffer("sines", sines[:, :half].contiguous())
        self.register_buffer("slots", torch.arange(config.max_length, dtype=torch.int32)[None])

    def forward(
        self, embeds: Tensor, positions: Tensor, last: Tensor, *cache: Tensor
    ) -> tuple[Tensor, ...]:
        rope = (F.embedding(positions, self.cosines), F.embedding(positions, self.sines))
        column = positions.unsqueeze(1)
        # slots from the first new position on hold what an earlier generation left there; the
        # second term is always true and gives each new position its row
        stale = (self.slots >= positions[:1]) & (column >= 0)
        later = positions.unsqueeze(0) > column
        mask = torch.cat((stale, later), 1).to(torch.float32) * MASKED
        x, new = embeds, []
        for index, layer in enumerate(self.layers):
            x, key, value = layer(x, rope, mask, (cache[2 * index], cache[2 * index + 1]))
            new += [key, value]
        state = self.norm(F.embedding(last, x.squeeze(0)))
        return self.logits(state), state, *new


class LookForm(nn.Module):
    """hidden states (1, 3, H), strengths (3,) -> latents (1, 3, L), LUT (33, 33, 33, 3).

    The latents are those of the head; the LUT is [blue][green][red], encoded RGB in [0, 1], of the
    latents times the strength of their group (0 switches a group off).
    """

    points: Tensor

    def __init__(self, model: VeraModel) -> None:
        super().__init__()
        self.head = copy.deepcopy(model.retouch_head)
        self.renderer = copy.deepcopy(model.renderer)
        transpose_linears_(self)
        self.register_buffer("points", torch.from_numpy(lattice(LUT_SIZE))[None])

    def forward(self, hidden: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.head(hidden)
        lut = self.renderer(self.points, latents * strengths.reshape(1, -1, 1))
        return latents, lut.reshape(LUT_SIZE, LUT_SIZE, LUT_SIZE, 3)


def vision_form(model: VeraModel) -> nn.Module:
    """VisionForm with batch norms and layer scales folded into the layers before them."""
    form = copy.deepcopy(VisionForm(model)).eval()
    with torch.no_grad():
        for module in list(form.modules()):
            if isinstance(module, ConvFFN):
                module.depthwise = fuse_conv_bn_eval(module.depthwise, module.norm)
                module.norm = nn.Identity()  # type: ignore[assignment]
            if isinstance(module, (RepMixerBlock, AttentionBlock)):
                _fold_scales_(module)
    return transpose_linears_(form)


def reference_form(model: VeraModel) -> nn.Module:
    """before, after (1, 3, E, E) -> latents (1, 3, L)."""
    return transpose_linears_(ReferenceForm(model))


def head_form(model: VeraModel) -> nn.Module:
    """hidden states (1, 3, H) -> latents (1, 3, L)."""
    return transpose_linears_(copy.deepcopy(model.retouch_head))


def bake_form(model: VeraModel) -> nn.Module:
    """points (P, 3), latents (1, 3, L) -> edited points (P, 3)."""
    return transpose_linears_(BakeForm(copy.deepcopy(model.renderer)))


def embed_form(model: VeraModel, *, rows_of_8_bits: bool) -> nn.Module:
    """ids (1, n) int32 -> embeddings (1, n, H)."""
    return EmbedRowsForm(model.decoder) if rows_of_8_bits else EmbedForm(model.decoder)


def transpose_linears_(module: nn.Module) -> nn.Module:
    """Every linear layer below `module` becomes a Product, in place; returns `module`."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Product(child))
        else:
            transpose_linears_(child)
    return module


def _fold_scales_(block: RepMixerBlock | AttentionBlock) -> None:
    """x + scale * f(x) becomes x + f'(x): the scale goes into the last layer of f."""
    _scale_outputs_(block.ffn.reduce, block.ffn_scale)
    if isinstance(block, AttentionBlock):
        _scale_outputs_(block.attention.out, block.attention_scale)
        block.attention_scale = nn.Parameter(torch.ones(()), requires_grad=False)
    block.ffn_scale = nn.Parameter(torch.ones(()), requires_grad=False)


def _scale_outputs_(layer: nn.Conv2d | nn.Linear, scale: Tensor) -> None:
    flat = scale.reshape(-1)
    layer.weight.mul_(flat.reshape(-1, *[1] * (layer.weight.dim() - 1)))
    if layer.bias is not None:
        layer.bias.mul_(flat)


def _turned(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding in the half-rotation layout, from tables of half the head's size."""
    cosines, sines = rope
    first, second = x.split(x.shape[-1] // 2, -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), -1)
