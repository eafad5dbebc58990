"""The model's parts in the form that is exported: same weights, same results, fewer operators."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.model.config import LanguageConfig
from vera_mobile.model.language import Attention, Decoder, DecoderLayer, RMSNorm, rope_tables
from vera_mobile.model.renderer import Renderer
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.schemes import quantize_rows

# not -inf: XNNPACK's softmax turns a row's -inf minus -inf into NaN
_MASKED = -1e9


class VisionForm(nn.Module):
    """pixels (1, 3, S, S) in [0, 1] -> image tokens (1, T, H): tower and projector."""

    def __init__(self, model: VeraModel) -> None:
        super().__init__()
        self.vision = model.vision
        self.projector = model.projector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.projector(self.vision(pixels))


class EmbedForm(nn.Module):
    """ids (1, n) int64 -> embeddings (1, n, H)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.weight = nn.Parameter(decoder.embedding.weight.detach().clone(), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class EmbedRowsForm(nn.Module):
    """EmbedForm with rows of 8 bits and a scale per row; portable operators only."""

    rows: Tensor
    scales: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        rows, scales = quantize_rows(decoder.embedding.weight)
        self.register_buffer("rows", rows)
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor) -> Tensor:
        flat = ids.view(-1)
        values = self.rows.index_select(0, flat).to(torch.float32)
        return (values * self.scales.index_select(0, flat)).unsqueeze(0)


class _LayerForm(nn.Module):
    """A decoder layer with joined projections: 4 matrix products in place of 7.

    Query heads are reordered so that the heads that share a key head lie `kv_heads` apart; then
    grouping them is a split and a concatenation, which keep the number of steps free. (A reshape
    of the transposed heads fixes it at export.)
    """

    def __init__(self, layer: DecoderLayer, config: LanguageConfig) -> None:
        super().__init__()
        attention, mlp = layer.attention, layer.mlp
        self.config = config
        self.groups = config.heads // config.kv_heads
        self.attention_norm: RMSNorm = layer.attention_norm
        self.mlp_norm: RMSNorm = layer.mlp_norm
        order = _head_order(config)
        self.qkv = _stack_linears(attention, order)
        self.o_proj = nn.Linear(len(order), config.hidden_size, bias=False)
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        with torch.no_grad():
            self.o_proj.weight.copy_(attention.o_proj.weight[:, order])
            self.gate_up.weight.copy_(torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)))
            self.down.weight.copy_(mlp.down_proj.weight)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        positions: Tensor,
        mask: Tensor,
        cache: tuple[Tensor, Tensor],
    ) -> Tensor:
        x = x + self.o_proj(self._attend(self.attention_norm(x), rope, positions, mask, cache))
        inner = self.config.intermediate_size
        gate, up = self.gate_up(self.mlp_norm(x)).split([inner, inner], -1)
        return x + self.down(F.silu(gate) * up)

    def _attend(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        positions: Tensor,
        mask: Tensor,
        cache: tuple[Tensor, Tensor],
    ) -> Tensor:
        kv, size, steps = self.config.kv_heads, self.config.head_dim, x.shape[1]
        joined = self.qkv(x).view(1, steps, -1, size).transpose(1, 2)
        query, key, value = joined.split([self.config.heads, kv, kv], 1)
        query, key = _rotate(query, *rope), _rotate(key, *rope)
        keys, values = cache
        keys.index_copy_(2, positions, key)
        values.index_copy_(2, positions, value)
        grouped = torch.cat(query.split(kv, 1), 2).view(kv, self.groups * steps, size)
        scores = torch.bmm(grouped, keys.view(kv, -1, size).transpose(1, 2)) * size**-0.5 + mask
        mixed = torch.bmm(torch.softmax(scores, -1), values.view(kv, -1, size))
        mixed = mixed.view(1, kv, self.groups * steps, size)
        parts = [mixed[:, :, g * steps : (g + 1) * steps] for g in range(self.groups)]
        return torch.cat([part.transpose(1, 2).reshape(1, steps, -1) for part in parts], -1)


class DecoderForm(nn.Module):
    """embeds (1, n, H), start (1,) int64 -> logits (1, V) and hidden state (1, H) of the last.

    The cache is part of the program: buffers `keys_<layer>` and `values_<layer>` of
    (1, kv_heads, max_length, head_dim), written in place. Positions past the current one are
    masked, so what an earlier generation left there is never seen.
    """

    cosines: Tensor
    sines: Tensor
    slots: Tensor

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        config = decoder.config
        self.groups = config.heads // config.kv_heads
        self.layers = nn.ModuleList(
            _LayerForm(cast(DecoderLayer, layer), config) for layer in decoder.layers
        )
        self.norm = decoder.norm
        self.logits = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        with torch.no_grad():
            self.logits.weight.copy_(decoder.embedding.weight)
        cosines, sines = rope_tables(config)
        self.register_buffer("cosines", cosines)
        self.register_buffer("sines", sines)
        self.register_buffer("slots", torch.arange(config.max_length))
        shape = (1, config.kv_heads, config.max_length, config.head_dim)
        for index in range(config.layers):
            self.register_buffer(f"keys_{index}", torch.zeros(shape))
            self.register_buffer(f"values_{index}", torch.zeros(shape))

    def forward(self, embeds: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        positions = start + torch.arange(embeds.shape[1])
        rope = (self.cosines[positions], self.sines[positions])
        hidden_from_view = self.slots.unsqueeze(0) > positions.unsqueeze(1)
        mask = torch.cat([hidden_from_view.float() * _MASKED] * self.groups, 0)
        x = embeds
        for index, layer in enumerate(self.layers):
            cache = (getattr(self, f"keys_{index}"), getattr(self, f"values_{index}"))
            x = layer(x, rope, positions, mask, cache)
        last = self.norm(x[:, -1:])
        return self.logits(last)[:, 0], last[:, 0]


class BakeForm(nn.Module):
    """points (P, 3) encoded RGB in [0, 1], latents (1, 3, L) -> edited points (P, 3)."""

    def __init__(self, renderer: Renderer) -> None:
        super().__init__()
        self.renderer = renderer

    def forward(self, points: Tensor, latents: Tensor) -> Tensor:
        return self.renderer(points.unsqueeze(0), latents).squeeze(0)


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cosines + torch.cat((-x[..., half:], x[..., :half]), -1) * sines


def _head_order(config: LanguageConfig) -> Tensor:
    """Rows of the query projection in the order (head within its group, key head, value)."""
    rows = torch.arange(config.heads * config.head_dim)
    return rows.view(config.kv_heads, -1, config.head_dim).transpose(0, 1).reshape(-1)


def _stack_linears(attention: Attention, order: Tensor) -> nn.Linear:
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat((query.weight[order], key.weight, value.weight))
    bias = torch.cat((query.bias[order], key.bias, value.bias))
    joined = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        joined.weight.copy_(weight)
        joined.bias.copy_(bias)
    return joined
