"""The Qwen2-style decoder (arXiv 2407.10671), for training and for step-by-step generation."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LanguageConfig

_INIT_STD = 0.02


def rope_tables(
    config: LanguageConfig, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding (arXiv 2104.09864), half-rotation layout.

    Returns two float32 tensors (max_length, head_dim), with the angles of the first half repeated
    in the second.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=device)
    frequencies = config.rope_theta ** (-exponents / config.head_dim)
    positions = torch.arange(config.max_length, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cosines + turned * sines


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class LayerCache(nn.Module):
    """Keys and values of one layer: two buffers (1, kv_heads, max_length, head_dim)."""

    key: Tensor
    value: Tensor

    def __init__(self, config: LanguageConfig, dtype: torch.dtype) -> None:
        super().__init__()
        shape = (1, config.kv_heads, config.max_length, config.head_dim)
        self.register_buffer("key", torch.zeros(shape, dtype=dtype), persistent=False)
        self.register_buffer("value", torch.zeros(shape, dtype=dtype), persistent=False)

    def write_(self, positions: Tensor, key: Tensor, value: Tensor) -> None:
        """positions: (n,) int64; key and value: (1, kv_heads, n, head_dim), kept detached."""
        self.key.index_copy_(2, positions, key.detach())
        self.value.index_copy_(2, positions, value.detach())


class KVCache(nn.Module):
    """Keys and values of one conversation, of fixed size, changed in place by `Decoder.step`.

    One pair of buffers per layer and not one for all: an exported write to a slice of a joint
    buffer copies the whole buffer once per layer. Not for use by two threads at a time.
    """

    def __init__(self, config: LanguageConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.layers = nn.ModuleList(LayerCache(config, dtype) for _ in range(config.layers))

    @property
    def size_bytes(self) -> int:
        """Memory of all buffers."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    def clear_(self) -> None:
        """Forget everything. Only needed for privacy: a step never reads past its own position."""
        for buffer in self.buffers():
            buffer.zero_()


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; biases on q, k and v only."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.kv_heads = config.kv_heads
        self.groups = config.heads // config.kv_heads
        query_size = config.heads * config.head_dim
        kv_size = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size)
        self.k_proj = nn.Linear(config.hidden_size, kv_size)
        self.v_proj = nn.Linear(config.hidden_size, kv_size)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)

    def _project(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        def heads(values: Tensor) -> Tensor:
            return values.unflatten(2, (-1, self.head_dim)).transpose(1, 2)

        query, key, value = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        return _rotate(query, *rope), _rotate(key, *rope), value

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        query, key, value = self._project(x, rope)
        mixed = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(self.groups, 1),
            value.repeat_interleave(self.groups, 1),
            attn_mask=mask,
            is_causal=mask is None,
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def step(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        positions: Tensor,
        mask: Tensor,
        cache: LayerCache,
    ) -> Tensor:
        """x: (1, n, hidden); mask: (n, max_length), 0 where a position may look, -inf elsewhere."""
        query, key, value = self._project(x, rope)
        cache.write_(positions, key, value)
        # heads that share a key head become rows of one product, so the cache is never repeated;
        # rank 3, because a product of rank 4 exports with a copy of each side
        query = query.contiguous().view(self.kv_heads, -1, self.head_dim) * self.head_dim**-0.5
        scores = torch.bmm(query, cache.key.flatten(0, 1).transpose(1, 2))
        scores = scores.unflatten(1, (self.groups, x.shape[1])) + mask
        weights = torch.softmax(scores, dim=-1).flatten(1, 2)
        mixed = torch.bmm(weights, cache.value.flatten(0, 1)).unflatten(
            1, (self.groups, x.shape[1])
        )
        return self.o_proj(mixed.permute(2, 0, 1, 3).flatten(1).unsqueeze(0))


class MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and MLP, each on the normalised input and added to it."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask)
        return x + self.mlp(self.mlp_norm(x))

    def step(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        positions: Tensor,
        mask: Tensor,
        cache: LayerCache,
    ) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), rope, positions, mask, cache)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    """The language model: embeddings in, final hidden states out, logits on request."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_eps)
        cosines, sines = rope_tables(config)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self._init_weights_()

    @torch.no_grad()
    def _init_weights_(self) -> None:
        """Normal weights of std 0.02; those that add to the residual stream shrink with depth."""
        residual_std = _INIT_STD / (2 * self.config.layers) ** 0.5
        nn.init.normal_(self.embedding.weight, std=_INIT_STD)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                adds = name.endswith(("o_proj", "down_proj"))
                nn.init.normal_(module.weight, std=residual_std if adds else _INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def embed(self, ids: Tensor) -> Tensor:
        """ids: (B, T) int64 in [0, vocab_size) -> embeddings (B, T, hidden_size)."""
        return self.embedding(ids)

    def forward(self, embeds: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """The hidden states after the final norm, each position seeing itself and those before.

        embeds: (B, T, hidden_size), T up to max_length, positions counted from 0; padding_mask:
        (B, T) bool, True for tokens and False for padding, needed only for padding that comes
        before tokens (causality hides padding at the end). States at padding are finite and
        meaningless. Returns (B, T, hidden_size). Raises InvalidArgument for a T above max_length.
        """
        length = embeds.shape[1]
        if length > self.config.max_length:
            raise InvalidArgument(
                f"{length} tokens not allowed: use at most {self.config.max_length} (max_length)."
            )
        rope = (self.cosines[:length], self.sines[:length])
        mask = None if padding_mask is None else _causal_mask(padding_mask)
        x = embeds
        for layer in self.layers:
            x = layer(x, rope, mask)
        return self.norm(x)

    def step(self, embeds: Tensor, start: Tensor, cache: KVCache) -> Tensor:
        """The hidden states of the next n positions, given all that `cache` holds before `start`.

        embeds: (1, n, hidden_size); start: int64 scalar or (1,), the position of embeds[:, 0];
        start + n may not pass max_length (not checked here: start is data to an exported program).
        The keys and values of the n positions are written to `cache`, over what was there, so going
        back to an earlier start is allowed. For generation only: no gradient flows through the
        cache. Returns (1, n, hidden_size).
        """
        positions = start.reshape(1) + torch.arange(embeds.shape[1], device=embeds.device)
        rope = (self.cosines[positions], self.sines[positions])
        reachable = torch.arange(cache.max_length, device=embeds.device)
        hidden_from_view = reachable.unsqueeze(0) > positions.unsqueeze(1)
        mask = torch.zeros((), dtype=embeds.dtype, device=embeds.device)
        mask = mask.masked_fill(hidden_from_view, float("-inf"))
        x = embeds
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = cast(DecoderLayer, layer).step(
                x, rope, positions, mask, cast(LayerCache, layer_cache)
            )
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: (..., hidden_size) -> logits (..., vocab_size); the embedding is the head."""
        return F.linear(hidden, self.embedding.weight)

    def reset_rope_(self) -> None:
        """Recompute the rotary tables, for a decoder that was built on the meta device."""
        weight = self.embedding.weight
        cosines, sines = rope_tables(self.config, weight.device)
        self.cosines, self.sines = cosines.to(weight.dtype), sines.to(weight.dtype)


def _causal_mask(padding_mask: Tensor) -> Tensor:
    """(B, T) bool -> (B, 1, T, T) bool, True where the row's position may look at the column's."""
    length = padding_mask.shape[1]
    ones = torch.ones(length, length, dtype=torch.bool, device=padding_mask.device)
    # every position sees itself: a row without any True would divide 0 by 0
    own = ones.tril().triu()
    return (ones.tril() & padding_mask[:, None, None, :]) | own
