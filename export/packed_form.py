"""The decoder in the form of our own kernel: packed weights, one operator per layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from vera_mobile.export import decoder_ops
from vera_mobile.model.language import Decoder, DecoderLayer, rope_tables
from vera_mobile.quant.gptq import Rounded
from vera_mobile.quant.packed import PackedMatrix, pack, pack_codes
from vera_mobile.quant.schemes import Scheme

Importance = Callable[[str], Tensor | None]


class _Matrix(nn.Module):
    weights: Tensor
    scales: Tensor

    def __init__(self, packed: PackedMatrix) -> None:
        super().__init__()
        self.register_buffer("weights", packed.weights)
        self.register_buffer("scales", packed.scales)


class _PackedLayer(nn.Module):
    attention_norm: Tensor
    mlp_norm: Tensor
    qkv_bias: Tensor
    keys: Tensor
    values: Tensor

    def __init__(
        self,
        layer: DecoderLayer,
        decoder: Decoder,
        used: Scheme,
        importance: Importance,
        rounded: Callable[[str], Rounded | None],
    ) -> None:
        super().__init__()
        attention, mlp, config = layer.attention, layer.mlp, decoder.config

        def packed(name: str, *weights: Tensor) -> _Matrix:
            given = rounded(name)
            if given is not None:
                return _Matrix(pack_codes(given.codes, given.scales))
            joined = torch.cat([weight.detach().float() for weight in weights])
            group = used.group_size or 32
            return _Matrix(pack(joined, used.weight_bits, group, importance(name)))

        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        self.qkv = packed("qkv", query.weight, key.weight, value.weight)
        self.output = packed("output", attention.o_proj.weight)
        self.gate_up = packed("gate_up", mlp.gate_proj.weight, mlp.up_proj.weight)
        self.down = packed("down", mlp.down_proj.weight)
        floats = {
            "attention_norm": layer.attention_norm.weight,
            "mlp_norm": layer.mlp_norm.weight,
            "qkv_bias": torch.cat((query.bias, key.bias, value.bias)),
        }
        for name, value_ in floats.items():
            self.register_buffer(name, value_.detach().float().clone())
        length, size = cache_length(config.max_length), config.head_dim
        half = torch.float16
        self.register_buffer(
            "keys", torch.zeros(config.kv_heads, length // 16, size, 16, dtype=half)
        )
        self.register_buffer("values", torch.zeros(config.kv_heads, length, size, dtype=half))
        self.eps = config.rms_eps

    def forward(self, x: Tensor, start: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        return torch.ops.vera.decoder_layer(
            x, start, self.attention_norm, self.qkv.weights, self.qkv.scales, self.qkv_bias,
            self.output.weights, self.output.scales, self.mlp_norm, self.gate_up.weights,
            self.gate_up.scales, self.down.weights, self.down.scales, cosines, sines, self.keys,
            self.values, self.eps,
        )  # fmt: skip


class PackedDecoderForm(nn.Module):
    """embeds (1, n, H), start (1,) int64, wanted (1,) int64 -> logits (1, V), hidden (1, H).

    Both of the last position. wanted: 0 no logits (zeros), 1 those of `blocks` (others are -inf),
    2 all. The cache (half floats) is part of the program. blocks: (k,) int32 numbers of the blocks
    of 16 token ids that answers use. importance: of the inputs of a layer's matrix, see `pack`;
    rounded: its 4-bit weights where they are rounded already.
    """

    norm: Tensor
    cosines: Tensor
    sines: Tensor
    blocks: Tensor

    def __init__(
        self,
        decoder: Decoder,
        table: PackedMatrix,
        used: Scheme,
        blocks: Tensor,
        importance: Callable[[int, str], Tensor | None] = lambda layer, name: None,
        rounded: Callable[[int, str], Rounded | None] = lambda layer, name: None,
    ) -> None:
        super().__init__()
        decoder_ops.register()
        config = decoder.config
        self.layers = nn.ModuleList(
            _PackedLayer(
                cast(DecoderLayer, layer),
                decoder,
                used,
                functools.partial(importance, i),
                functools.partial(rounded, i),
            )
            for i, layer in enumerate(decoder.layers)
        )
        self.table = _Matrix(table)
        self.rows, self.eps = table.rows, config.rms_eps
        cosines, sines = rope_tables(config)
        extra = cache_length(config.max_length) - len(cosines)
        self.register_buffer("cosines", nn.functional.pad(cosines, (0, 0, 0, extra)))
        self.register_buffer("sines", nn.functional.pad(sines, (0, 0, 0, extra)))
        self.register_buffer("norm", decoder.norm.weight.detach().float().clone())
        self.register_buffer("blocks", blocks.to(torch.int32))

    def forward(self, embeds: Tensor, start: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        x = embeds
        for layer in self.layers:
            x = layer(x, start, self.cosines, self.sines)
        hidden = torch.ops.vera.last_norm(x, self.norm, self.eps)
        logits = torch.ops.vera.logits(
            hidden, wanted, self.table.weights, self.table.scales, self.blocks, self.rows
        )
        return logits, hidden


class PackedEmbedForm(nn.Module):
    """ids (1, n) int64 -> embeddings (1, n, H), from the table that the logits use too."""

    def __init__(self, table: PackedMatrix) -> None:
        super().__init__()
        decoder_ops.register()
        self.table = _Matrix(table)
        self.rows = table.rows

    def forward(self, ids: Tensor) -> Tensor:
        return torch.ops.vera.embed(ids, self.table.weights, self.table.scales, self.rows)


def cache_length(max_length: int) -> int:
    """Positions of the cache: a multiple of 16."""
    return -(-max_length // 16) * 16
