"""The parts of a model as Core ML packages."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.bundle import OperatorCount, TensorSpec
from vera_mobile.errors import InvalidArgument
from vera_mobile.export.built import BuiltPart
from vera_mobile.export.coreml.embed import embed_program
from vera_mobile.export.coreml.gpu import gpu_program
from vera_mobile.export.coreml.modules import Input, compress_, module_program
from vera_mobile.export.coreml.neural_engine import PREFILL_STEPS, neural_engine_program
from vera_mobile.export.coreml.weights import check_scheme
from vera_mobile.export.coreml.writer import load_coremltools, write_package
from vera_mobile.export.forms import BakeForm, VisionForm
from vera_mobile.export.mil.package import Package
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.stages import prefill_limit
from vera_mobile.model.config import LATENT_GROUPS, ModelConfig
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.schemes import Scheme, scheme
from vera_mobile.runtime import REFERENCE

PARTS = ("vision", "embed", "decoder", "head", "bake", REFERENCE)
LATTICE = 33
# the fields of a recipe that a part reads
_SCHEMES = {
    "vision": ("vision",),
    "embed": ("embedding",),
    "decoder": ("language", "logits"),
    "head": ("head", "renderer"),
    "bake": ("renderer",),
    REFERENCE: ("vision",),
}
_FLOAT = "float32"

_Program = tuple[Any, str, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def build(
    name: str,
    model: VeraModel,
    recipe: Recipe,
    calibration: np.ndarray | None,
    folder: Path,
) -> BuiltPart:
    """The part `name` (one of PARTS) as <name>.mlpackage in `folder`. The model is not changed.

    Needs iOS 18. A language scheme with palettes chooses the form for the Neural Engine (fixed
    shapes, cache as inputs and outputs), any other the one for the GPU (states). calibration is not
    used: activations stay in half floats. The same model and recipe give the same bytes. Raises
    InvalidArgument for an unknown part or a scheme that Core ML does not have.
    """
    builders: dict[str, Callable[[VeraModel, Recipe], _Program]] = {
        "vision": _vision,
        "embed": _embed,
        "decoder": _decoder,
        "head": _head,
        "bake": _bake,
        REFERENCE: _reference,
    }
    if name not in builders:
        raise InvalidArgument(f"Part '{name}' is unknown: use one of {', '.join(PARTS)}.")
    for field in _SCHEMES[name]:
        check_scheme(scheme(getattr(recipe, field)))
    load_coremltools()
    with torch.no_grad():
        program, quantization, inputs, outputs = builders[name](model, recipe)
        path = write_package(program, folder / f"{name}.mlpackage")
    counts: Counter[str] = Counter()
    for function in Package.open(path).functions.values():
        counts.update(function.operator_counts())
    operators = tuple(OperatorCount(kind, counts[kind], "coreml") for kind in sorted(counts))
    return BuiltPart(path, "coreml", quantization, inputs, outputs, operators)


class HeadForm(nn.Module):
    """hidden (1, 3, H), strengths (3,) -> latents (1, 3, L) and the LUT (N, N, N, 3) they bake to.

    The LUT is indexed [blue][green][red], encoded RGB in [0, 1], on an evenly spaced lattice.
    """

    points: Tensor

    def __init__(self, model: VeraModel) -> None:
        super().__init__()
        self.head = model.retouch_head
        self.renderer = model.renderer
        axis = torch.linspace(0, 1, LATTICE)
        blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")
        self.register_buffer("points", torch.stack((red, green, blue), -1).reshape(1, -1, 3))

    def forward(self, hidden: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.head(hidden)
        # the sum with zeros keeps the converter from working the first layer out for all points,
        # which would be kept in place of the layer: 4.6 MB of nano's 6 MB
        points = self.points + 0.0 * strengths
        colours = self.renderer(points, latents * strengths.reshape(1, -1, 1))
        return latents, colours.reshape(LATTICE, LATTICE, LATTICE, 3)


def _vision(model: VeraModel, recipe: Recipe) -> _Program:
    config = model.config
    size, used = config.vision.image_size, scheme(recipe.vision)
    form = _copy(VisionForm(model))
    program = module_program(
        form,
        [Input("pixels", torch.zeros(1, 3, size, size))],
        ["image_tokens"],
        half=used.weight_bits < 32,
    )
    compress_(program, lambda _: used)
    tokens = (1, config.vision.tokens, config.language.hidden_size)
    return (
        program,
        recipe.vision,
        (TensorSpec("pixels", _FLOAT, (1, 3, size, size)),),
        (TensorSpec("image_tokens", _FLOAT, tokens),),
    )


def _embed(model: VeraModel, recipe: Recipe) -> _Program:
    limit, hidden = prefill_limit(model.config), model.config.language.hidden_size
    return (
        embed_program(model.decoder, recipe.embedding, limit),
        recipe.embedding,
        (TensorSpec("ids", "int32", (1, f"1..{limit}")),),
        (TensorSpec("embeds", _FLOAT, (1, f"1..{limit}", hidden)),),
    )


def _decoder(model: VeraModel, recipe: Recipe) -> _Program:
    config = model.config.language
    if scheme(recipe.language).weight_bits == 32:
        raise InvalidArgument(
            "Scheme 'fp32' not allowed for the language on Core ML: use fp16 or fewer bits; its "
            "caches are half floats."
        )
    quantization = f"{recipe.language}, logits {recipe.logits}"
    outputs = (
        TensorSpec("logits", _FLOAT, (1, config.vocab_size)),
        TensorSpec("hidden", _FLOAT, (1, config.hidden_size)),
    )
    start = TensorSpec("start", "int32", (1,))
    if not scheme(recipe.language).palette:
        limit = prefill_limit(model.config)
        embeds = TensorSpec("embeds", _FLOAT, (1, f"1..{limit}", config.hidden_size))
        program = gpu_program(model.decoder, recipe.language, recipe.logits, limit)
        return program, quantization, (embeds, start), outputs
    cache = (config.layers, config.kv_heads, config.max_length, config.head_dim)
    new = (config.layers, config.kv_heads, f"1 or {PREFILL_STEPS}", config.head_dim)
    inputs = (
        TensorSpec("embeds", _FLOAT, (1, f"1 or {PREFILL_STEPS}", config.hidden_size)),
        start,
        TensorSpec("keys", "float16", cache),
        TensorSpec("values", "float16", cache),
        TensorSpec("count", "int32", (1,)),
    )
    program = neural_engine_program(model.decoder, recipe.language, recipe.logits)
    updates = (TensorSpec("new_keys", "float16", new), TensorSpec("new_values", "float16", new))
    return program, quantization, inputs, (*outputs, *updates)


def _head(model: VeraModel, recipe: Recipe) -> _Program:
    config = model.config
    hidden = torch.zeros(1, LATENT_GROUPS, config.language.hidden_size)
    program = module_program(
        _copy(HeadForm(model)),
        [Input("hidden", hidden), Input("strengths", torch.ones(LATENT_GROUPS))],
        ["latents", "lut"],
        half=_half(recipe),
    )
    renderer = _renderer_schemes(recipe)
    head = scheme(recipe.head)
    compress_(program, lambda name: renderer(name) if "renderer" in name else head)
    return (
        program,
        f"{recipe.head}, renderer {recipe.renderer}",
        (
            TensorSpec("hidden", _FLOAT, tuple(hidden.shape)),
            TensorSpec("strengths", _FLOAT, (LATENT_GROUPS,)),
        ),
        (_latents(config), TensorSpec("lut", _FLOAT, (LATTICE, LATTICE, LATTICE, 3))),
    )


def _bake(model: VeraModel, recipe: Recipe) -> _Program:
    limit = LATTICE**3
    latents = _latents(model.config)
    program = module_program(
        _copy(BakeForm(model.renderer)),
        [
            Input("points", torch.zeros(limit, 3), ((0, limit),)),
            Input("latents", torch.zeros(1, LATENT_GROUPS, model.config.renderer.latent_size)),
        ],
        ["colours"],
        half=_half(recipe),
    )
    compress_(program, _renderer_schemes(recipe))
    return (
        program,
        recipe.renderer,
        (TensorSpec("points", _FLOAT, (f"1..{limit}", 3)), latents),
        (TensorSpec("colours", _FLOAT, (f"1..{limit}", 3)),),
    )


def _reference(model: VeraModel, recipe: Recipe) -> _Program:
    size, used = model.config.encoder.image_size, scheme(recipe.vision)
    shape = (1, 3, size, size)
    program = module_program(
        _copy(model.reference_encoder),
        # two tensors: the exporter takes one that is given twice for one input
        [Input("before", torch.zeros(shape)), Input("after", torch.zeros(shape))],
        ["latents"],
        half=used.weight_bits < 32,
    )
    compress_(program, lambda _: used)
    inputs = tuple(TensorSpec(name, _FLOAT, shape) for name in ("before", "after"))
    return program, recipe.vision, inputs, (_latents(model.config),)


def _latents(config: ModelConfig) -> TensorSpec:
    return TensorSpec("latents", _FLOAT, (1, LATENT_GROUPS, config.renderer.latent_size))


def _half(recipe: Recipe) -> bool:
    return scheme(recipe.renderer).weight_bits < 32


def _renderer_schemes(recipe: Recipe) -> Callable[[str], Scheme | None]:
    used = scheme(recipe.renderer)

    def chosen(name: str) -> Scheme | None:
        # the layers that read and write colours keep their weights: 8 bits of them are visible
        return None if "layers_0_" in name or "out_" in name else used

    return chosen


def _copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).float().eval().requires_grad_(False)
