"""The trials of `vera quant sensitivity`: each layer in each scheme, all others in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.export.forms import DecoderForm, EmbedForm
from vera_mobile.export.photos_parity import Case
from vera_mobile.export.recipes import recipe
from vera_mobile.export.replay import Replayed, embeddings, record, replay_embedded
from vera_mobile.export.stages import build_part
from vera_mobile.image import Photo
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.calibrate import second_moments
from vera_mobile.quant.gptq import gptq
from vera_mobile.quant.rows import pack_rows, unpack_rows
from vera_mobile.quant.schemes import quantize_linears_, quantize_rows, scheme
from vera_mobile.quant.sensitivity import Cost
from vera_mobile.quant.simulate import (
    DynamicLinear,
    StaticConv,
    conv_ranges,
    dynamic_linear,
    replaced,
)
from vera_mobile.runtime import PROGRAMS, TorchPlanner

POINTS_SIDE = 64
INT8, INT4 = "int8w_int8dyn", "int4w_g32_int8dyn"
CALIBRATED = INT4 + " calibrated"
STATIC = "int8w_int8static"


@dataclass(frozen=True, eq=False)
class Trial:
    """Modules that take the places of a part's layers, by "part.layer", and their size."""

    part: str
    layer: str
    scheme: str
    weights: int
    size_bytes: int
    layers: dict[str, nn.Module]


@dataclass(frozen=True, eq=False)
class _Truth:
    """A photo in fp32: the decoder's input, what comes of it, and the colours of the photo."""

    pieces: tuple[np.ndarray, ...]
    embeds: Tensor
    replayed: Replayed
    points: Tensor
    colours: np.ndarray


class Bench:
    """A model's forms in fp32 and what they make of some photos; trials are measured against it.

    cases: what to measure on; calibration: what to calibrate with, which should be other photos.
    """

    def __init__(
        self,
        model: VeraModel,
        vocabulary: Vocabulary,
        cases: Sequence[Case],
        calibration: Sequence[Case],
    ) -> None:
        plain = recipe("host-fp32")
        self._parts = nn.ModuleDict({n: build_part(n, model, plain).module for n in PROGRAMS})
        self._planner, self._vocabulary = TorchPlanner(model), vocabulary
        self._truths = [self._truth(case) for case in cases]
        self._scripts = [self._record(case) for case in calibration]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The forms by name, with what a trial has replaced."""
        return dict(self._parts.items())

    def trials(self) -> list[Trial]:
        """All trials, part by part."""
        with torch.no_grad():
            return [
                *self._vision_trials(),
                *_embed_trials(cast(EmbedForm, self.modules["embed"])),
                *self._decoder_trials(),
                *_linear_trials("head", self.modules["head"], self._head_moments()),
                *_linear_trials("bake", self.modules["bake"], {}),
            ]

    def cost(self, trial: Trial) -> Cost:
        """What a trial costs over the photos."""
        with torch.no_grad(), replaced(self._parts, trial.layers):
            rows = [self._compare(truth, trial.part) for truth in self._truths]
        noise, error, difference = (float(np.mean([row[i] for row in rows])) for i in range(3))
        divergence, agreed, tokens = (sum(row[i] for row in rows) for i in range(3, 6))
        return Cost(
            trial.part,
            trial.layer,
            trial.scheme,
            trial.weights,
            trial.size_bytes,
            _decibels(noise),
            divergence / tokens,
            agreed / tokens,
            _decibels(error),
            difference,
        )

    def _record(self, case: Case) -> Any:
        return record(self._planner, self._vocabulary, Photo.from_array(case.picture), case.task)

    def _truth(self, case: Case) -> _Truth:
        script = self._record(case)
        embeds = embeddings(self.modules, script)
        replayed = replay_embedded(self.modules, embeds, len(script.answer))
        small = Photo.from_array(case.picture).to_srgb(size=(POINTS_SIDE, POINTS_SIDE))
        points = torch.from_numpy(np.ascontiguousarray(small.reshape(-1, 3), np.float32))
        with torch.no_grad():
            colours = self.modules["bake"](points, replayed.latents[None]).numpy()
        return _Truth(script.pieces, embeds, replayed, points, colours)

    def _compare(self, truth: _Truth, part: str) -> tuple[float, float, float, float, int, int]:
        wanted = truth.replayed
        got = wanted if part == "bake" else self._replay(truth, part)
        colours = self.modules["bake"](truth.points, got.latents[None]).numpy()
        gap = (got.latents - wanted.latents).square().sum() / wanted.latents.square().sum()
        labs = (rgb_to_lab(values.astype(np.float64)) for values in (truth.colours, colours))
        logs = [values.logits.double().log_softmax(-1) for values in (got, wanted)]
        divergence = F.kl_div(logs[0], logs[1], log_target=True, reduction="sum")
        agreed = (got.logits.argmax(-1) == wanted.logits.argmax(-1)).sum()
        return (
            float(gap),
            float(np.square(colours - truth.colours, dtype=np.float64).mean()),
            float(ciede2000(*labs).mean()),
            float(divergence),
            int(agreed),
            len(wanted.logits),
        )

    def _replay(self, truth: _Truth, part: str) -> Replayed:
        wanted = truth.replayed
        if part == "head":
            return replace(wanted, latents=self.modules["head"](wanted.hidden[None])[0])
        embeds = truth.embeds
        if part in ("vision", "embed"):
            parts, begin = [], 0
            for piece in truth.pieces:
                own = piece.ndim == (4 if part == "vision" else 2)
                count = self._length(piece)
                kept = embeds[:, begin : begin + count]
                parts.append(self.modules[part](torch.from_numpy(piece)) if own else kept)
                begin += count
            embeds = torch.cat(parts, 1)
        return replay_embedded(self.modules, embeds, len(wanted.logits))

    def _length(self, piece: np.ndarray) -> int:
        return piece.shape[1] if piece.ndim == 2 else self._planner.config.vision.tokens

    def _pixels(self) -> list[tuple[Tensor, ...]]:
        pieces = [piece for script in self._scripts for piece in script.pieces]
        return [(torch.from_numpy(piece),) for piece in pieces if piece.ndim == 4]

    def _vision_trials(self) -> Iterator[Trial]:
        """Convolutions of one kind in one stage together, in static 8 bits; linear layers."""
        form = self.modules["vision"]
        ranges = conv_ranges(form, self._pixels())
        groups: dict[str, dict[str, nn.Conv2d]] = {}
        for name, layer in form.named_modules():
            if isinstance(layer, nn.Conv2d):
                groups.setdefault(_conv_group(name, layer), {})[name] = layer
        for group, convs in groups.items():
            weights = sum(conv.weight.numel() for conv in convs.values())
            size = weights + 4 * sum(conv.out_channels for conv in convs.values())
            layers: dict[str, nn.Module] = {
                f"vision.{name}": StaticConv(conv, *ranges[name]) for name, conv in convs.items()
            }
            yield Trial("vision", group, STATIC, weights, size, layers)
        names = [name for name, layer in form.named_modules() if isinstance(layer, nn.Linear)]
        for name in names:
            yield _linear_trial("vision", name, form.get_submodule(name), INT8, None)

    def _decoder_trials(self) -> Iterator[Trial]:
        form = cast(DecoderForm, self.modules["decoder"])
        # the form computes the logits of the last position only: too little to calibrate them with
        names = [n for n, m in form.named_modules() if isinstance(m, nn.Linear) and n != "logits"]
        start = torch.zeros(1, dtype=torch.int64)
        inputs = [(embeddings(self.modules, script), start) for script in self._scripts]
        yield from _linear_trials("decoder", form, second_moments(form, inputs, names))

    def _head_moments(self) -> dict[str, Tensor]:
        form = self.modules["head"]
        names = [name for name, layer in form.named_modules() if isinstance(layer, nn.Linear)]
        inputs = []
        for script in self._scripts:
            embeds = embeddings(self.modules, script)
            hidden = replay_embedded(self.modules, embeds, len(script.answer)).hidden
            inputs.append((hidden[None],))
        return second_moments(form, inputs, names)


def run_trials(
    bench: Bench, *, on_trial: Callable[[int, int], None] = lambda done, total: None
) -> list[Cost]:
    """The costs of all trials. on_trial: called with trials done and their number."""
    trials = bench.trials()
    costs = []
    for trial in trials:
        costs.append(bench.cost(trial))
        on_trial(len(costs), len(trials))
    return costs


def _embed_trials(form: EmbedForm) -> Iterator[Trial]:
    table = form.weight.detach()
    rows, scales = quantize_rows(table)
    packed = pack_rows(table)
    size8 = rows.numel() + 4 * scales.numel()
    for name, size, weight in (
        ("int8w", size8, rows.float() * scales),
        ("int4w_g32", packed.size_bytes, unpack_rows(packed)),
    ):
        yield Trial("embed", "table", name, table.numel(), size, {"embed": _table(weight)})


def _table(weight: Tensor) -> nn.Module:
    return nn.Embedding.from_pretrained(weight)


def _linear_trials(part: str, form: nn.Module, moments: dict[str, Tensor]) -> Iterator[Trial]:
    for name, layer in form.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        yield _linear_trial(part, name, layer, INT8, None)
        yield _half_trial(part, name, layer)
        if layer.in_features % scheme(INT4).group_size:
            continue
        yield _linear_trial(part, name, layer, INT4, None)
        if name in moments:
            yield _linear_trial(part, name, layer, CALIBRATED, moments[name])


def _linear_trial(
    part: str, name: str, layer: nn.Module, used: str, moments: Tensor | None
) -> Trial:
    plain = cast(nn.Linear, layer)
    chosen = scheme(used.removesuffix(" calibrated"))
    group = chosen.group_size
    weights = plain.weight.numel()
    # 8 bits: a float32 scale per row; groups: a bfloat16 scale each
    size = weights * chosen.weight_bits // 8
    size += 2 * weights // group if group else 4 * plain.out_features
    if moments is None:
        box = nn.Sequential(nn.Linear(plain.in_features, plain.out_features, bias=False))
        box[0].weight = nn.Parameter(plain.weight.detach().clone(), requires_grad=False)
        quantize_linears_(box, chosen)
        made: nn.Module = DynamicLinear(box[0].weight.dequantize().detach(), plain.bias)
    else:
        rounded = gptq(plain.weight, moments, bits=chosen.weight_bits, group_size=group)
        made = dynamic_linear(plain, rounded)
    return Trial(part, name, used, weights, size, {f"{part}.{name}": made})


def _half_trial(part: str, name: str, layer: nn.Linear) -> Trial:
    made = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    made.weight = nn.Parameter(layer.weight.detach().half().float(), requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().half().float(), requires_grad=False)
    weights = layer.weight.numel()
    return Trial(part, name, "fp16", weights, 2 * weights, {f"{part}.{name}": made})


def _conv_group(name: str, conv: nn.Conv2d) -> str:
    """Stem, stage or expansion, and whether the convolutions are grouped, as in
    "stages.2 grouped"; the down-sampling of a stage apart."""
    words = name.removeprefix("vision.").split(".")
    place = ".".join(words[:2]) if words[0] == "stages" else words[0]
    if "down" in words:
        place += " down"
    return f"{place} {'grouped' if conv.groups > 1 else 'pointwise'}"


def _decibels(noise: float) -> float | None:
    return -10 * math.log10(noise) if noise > 0 else None
