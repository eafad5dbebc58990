"""Samples as rows of tokens: padded one by one, or several packed into each row.

A packed row has a block-diagonal causal mask and positions that start anew with each sample, so
every sample is computed as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.language import Decoder, DecoderLayer
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One sample: ids, the token wanted after each of them (IGNORED: not learned), where the image
    tokens stand (first, count), and the places whose states are read (retouch tokens or none)."""

    ids: list[int]
    wanted: list[int]
    image: tuple[int, int]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Sequences:
    """Rows as tensors: ids, positions, segments (0: padding, else a number per sample) and wanted
    next tokens, each (R, T); slots: (R, T) bool, where image tokens stand; order: the samples as
    they stand in the rows; places: (B, k) flat places in R * T, by sample, or None."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    wanted: Tensor
    slots: Tensor
    order: list[int]
    places: Tensor | None
    packed: bool

    def to(self, device: torch.device) -> Sequences:
        """The same rows on a device."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            segments=self.segments.to(device),
            wanted=self.wanted.to(device),
            slots=self.slots.to(device),
            places=None if self.places is None else self.places.to(device),
        )


def plan_row(
    vocabulary: Vocabulary,
    prompt: tuple[list[int], list[int]],
    answer: list[int],
    learn: bool,
    image_tokens: int,
) -> Row:
    """A sample of the plan stage: prompt, room for the image, answer, two retouch tokens."""
    before, after = prompt
    retouch = list(vocabulary.retouch)
    start = before + [vocabulary.pad] * image_tokens + after
    said = answer if learn else [IGNORED] * len(answer)
    # an answer without text must not teach that the look may come before the words
    emitted = retouch if answer else [IGNORED, *retouch[1:]]
    last = len(start) + len(answer) - 1
    return Row(
        start + answer + retouch[:2],
        [IGNORED] * (len(start) - 1) + said + emitted,
        (len(before), image_tokens),
        (last, last + 1, last + 2),
    )


def text_row(
    vocabulary: Vocabulary, prompt: tuple[list[int], list[int]], answer: list[int], image: int
) -> Row:
    """A sample whose answer is text alone, up to the token that ends it."""
    before, after = prompt
    start = before + [vocabulary.pad] * image + after
    return Row(
        start + answer,
        [IGNORED] * (len(start) - 1) + [*answer, vocabulary.end[-1]],
        (len(before), image),
        (),
    )


def lay_out(rows: Sequence[Row], pad: int, length: int = 0) -> Sequences:
    """The rows as tensors. length 0: one sample a row, padded to the longest; above 0: as many
    samples as fit `length` tokens, first fit. InvalidArgument for a sample longer than `length`."""
    shelves = _shelves([len(r.ids) for r in rows], length)
    width = max(sum(len(rows[i].ids) for i in shelf) for shelf in shelves)
    shape = (len(shelves), width)
    ids, positions = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    segments = torch.zeros_like(positions)
    wanted, slots = torch.full(shape, IGNORED), torch.zeros(shape, dtype=torch.bool)
    places: dict[int, list[int]] = {}
    for r, shelf in enumerate(shelves):
        at = 0
        for i in shelf:
            row, n = rows[i], len(rows[i].ids)
            ids[r, at : at + n] = torch.tensor(row.ids)
            wanted[r, at : at + n] = torch.tensor(row.wanted)
            positions[r, at : at + n] = torch.arange(n)
            segments[r, at : at + n] = i + 1
            first, count = row.image
            slots[r, at + first : at + first + count] = True
            places[i] = [r * width + at + p for p in row.places]
            at += n
    found = torch.tensor([places[i] for i in range(len(rows))]) if rows[0].places else None
    order = [i for shelf in shelves for i in shelf]
    return Sequences(ids, positions, segments, wanted, slots, order, found, length > 0)


def _shelves(lengths: Sequence[int], limit: int) -> list[list[int]]:
    if not limit:
        return [[i] for i in range(len(lengths))]
    if max(lengths) > limit:
        raise InvalidArgument(f"pack_tokens is {limit}: a sample has {max(lengths)} tokens")
    shelves: list[list[int]] = []
    room: list[int] = []
    for i, n in enumerate(lengths):
        k = next((k for k, free in enumerate(room) if free >= n), len(shelves))
        if k == len(shelves):
            shelves.append([])
            room.append(limit)
        shelves[k].append(i)
        room[k] -= n
    return shelves


def hidden_states(model: VeraModel, rows: Sequences, image: Tensor | None) -> Tensor:
    """The decoder's states (R, T, H); image: (B, t, H) tokens by sample, or None."""
    embeds = model.decoder.embed(rows.ids)
    if image is not None:
        tokens = image[torch.tensor(rows.order, device=image.device)].to(embeds.dtype)
        embeds = embeds.masked_scatter(rows.slots[:, :, None], tokens)
    if not rows.packed:
        return model.decoder(embeds, rows.segments > 0)
    return packed_states(model.decoder, embeds, rows.positions, rows.segments)


def packed_states(decoder: Decoder, embeds: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
    """As Decoder.forward, for rows that hold several samples: each place sees those before it with
    its own segment number. Padding (segment 0) sees padding."""
    longest = int(positions.max()) + 1
    if longest > decoder.config.max_length:
        raise InvalidArgument(
            f"a sample of {longest} tokens: this model reads up to {decoder.config.max_length}"
        )
    length = embeds.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=embeds.device).tril()
    mask = (causal & (segments[:, :, None] == segments[:, None, :]))[:, None]
    rope = (decoder.cosines[positions][:, None], decoder.sines[positions][:, None])
    x = embeds
    for layer in decoder.layers:
        x = cast(DecoderLayer, layer)(x, rope, mask)
    return decoder.norm(x)


def text_loss(model: VeraModel, hidden: Tensor, wanted: Tensor) -> Tensor:
    """Summed cross-entropy of all wanted tokens."""
    learned = wanted >= 0
    logits = model.decoder.logits(hidden[learned]).float()
    return F.cross_entropy(logits, wanted[learned], reduction="sum")


def states_at(hidden: Tensor, places: Tensor) -> Tensor:
    """The float32 states (B, k, H) at flat places (B, k) of (R, T, H)."""
    return hidden.flatten(0, 1)[places].float()


def learned_tokens(rows: Sequence[Row]) -> int:
    """How many tokens of the rows are learned."""
    return sum(w >= 0 for row in rows for w in row.wanted)


def checkpoint_layers_(modules: Sequence[nn.Module]) -> None:
    """Activation checkpointing: each module keeps its input only and is computed anew in the
    backward pass. The names of weights stay as they are."""
    from functools import partial

    from torch.utils.checkpoint import checkpoint

    for module in modules:
        again = partial(checkpoint, module.forward, use_reentrant=False)
        module.forward = again
