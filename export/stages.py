"""The stages of an export: quantize, capture. Each takes a part and gives a new one back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from vera_mobile.bundle import TensorSpec
from vera_mobile.errors import InvalidArgument
from vera_mobile.export.forms import BakeForm, DecoderForm, EmbedForm, EmbedRowsForm, VisionForm
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.reference_form import ReferenceForm, reference_pairs, worth_8_bits
from vera_mobile.model.config import LATENT_GROUPS, ModelConfig
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.schemes import quantize_linears_, scheme
from vera_mobile.runtime import ALL_LOGITS, BAKE_POINTS, PREFILL_TOKENS, PROGRAMS, REFERENCE

STAGES = (*PROGRAMS, REFERENCE)


@dataclass(frozen=True)
class Part:
    """A part of the model on its way into a program: module, example inputs, dynamic dimensions,
    and what the manifest says of it."""

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    dynamic: tuple[dict[int, Any] | None, ...]
    quantization: str
    input_specs: tuple[TensorSpec, ...]
    output_specs: tuple[TensorSpec, ...]


def prefill_limit(config: ModelConfig) -> int:
    """The most tokens that one call of the decoder or embed program takes."""
    return min(PREFILL_TOKENS, config.language.max_length)


def build_part(
    name: str, model: VeraModel, recipe: Recipe, calibration: np.ndarray | None = None
) -> Part:
    """The part `name` (one of STAGES) of a model, quantized as the recipe says.

    The model is not changed. calibration: (n, 3, S, S) float32 photos, encoded sRGB in [0, 1];
    needed by "vision" and "reference" with static ranges, else InvalidArgument.
    """
    builders = {
        "vision": _vision,
        "embed": _embed,
        "decoder": _decoder,
        "head": _head,
        "bake": _bake,
        REFERENCE: _reference,
    }
    with torch.no_grad():
        return builders[name](model, recipe, calibration)


def capture(part: Part) -> ExportedProgram:
    """The part as a torch.export program, its dynamic dimensions free."""
    with torch.no_grad():
        return export(part.module, part.inputs, dynamic_shapes=part.dynamic, strict=False)


def golden_inputs(name: str, config: ModelConfig) -> tuple[np.ndarray, ...]:
    """Seeded inputs for a program, equal on every machine: float32 in [0, 1] for pixels and points,
    standard normal for the rest; ids and positions int64."""
    random = np.random.Generator(np.random.PCG64(STAGES.index(name)))
    hidden, size = config.language.hidden_size, config.vision.image_size
    look = (1, LATENT_GROUPS, config.renderer.latent_size)
    pair = (2, 1, 3, config.encoder.image_size, config.encoder.image_size)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    if name == "vision":
        return (random.random((1, 3, size, size), dtype=np.float32),)
    if name == "embed":
        return (random.integers(0, config.language.vocab_size, (1, 7)),)
    if name == "decoder":
        embeds = normal(1, 7, hidden) * np.float32(0.02)
        return (embeds, np.zeros(1, np.int64), np.full(1, ALL_LOGITS, np.int64))
    if name == "head":
        return (normal(1, LATENT_GROUPS, hidden),)
    if name == REFERENCE:
        before, after = random.random(pair, dtype=np.float32)
        return (before, after)
    return (random.random((BAKE_POINTS, 3), dtype=np.float32), normal(*look))


def _copy_of(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module).float().eval()
    return copied.requires_grad_(False)


def _examples(name: str, model: VeraModel) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(value) for value in golden_inputs(name, model.config))


def _vision(model: VeraModel, recipe: Recipe, calibration: np.ndarray | None) -> Part:
    config = model.config
    module = _copy_of(VisionForm(model))
    inputs = _examples("vision", model)
    if scheme(recipe.vision).activations == "static":
        photos = check_calibration(calibration, config, recipe)
        samples = [(photo[None],) for photo in photos]
        module = _quantize_static(module, inputs, samples, _worth_8_bits)
    size, hidden = config.vision.image_size, config.language.hidden_size
    return Part(
        "vision",
        module,
        inputs,
        (None,),
        recipe.vision,
        (TensorSpec("pixels", "float32", (1, 3, size, size)),),
        (TensorSpec("image_tokens", "float32", (1, config.vision.tokens, hidden)),),
    )


def _embed(model: VeraModel, recipe: Recipe, _: np.ndarray | None) -> Part:
    decoder = _decoder_copy(model)
    form = EmbedRowsForm if scheme(recipe.embedding).weight_bits == 8 else EmbedForm
    limit, hidden = prefill_limit(model.config), model.config.language.hidden_size
    return Part(
        "embed",
        form(decoder).eval(),
        _examples("embed", model),
        ({1: Dim("n", min=1, max=limit)},),
        recipe.embedding,
        (TensorSpec("ids", "int64", (1, f"1..{limit}")),),
        (TensorSpec("embeds", "float32", (1, f"1..{limit}", hidden)),),
    )


def _decoder(model: VeraModel, recipe: Recipe, _: np.ndarray | None) -> Part:
    form = DecoderForm(_decoder_copy(model)).eval().requires_grad_(False)
    quantize_linears_(form, scheme(recipe.language), only=lambda name: name != "logits")
    quantize_linears_(form, scheme(recipe.logits), only=lambda name: name == "logits")
    config = model.config.language
    limit = prefill_limit(model.config)
    return Part(
        "decoder",
        form,
        _examples("decoder", model)[:2],
        ({1: Dim("n", min=1, max=limit)}, None),
        f"{recipe.language}, logits {recipe.logits}",
        (
            TensorSpec("embeds", "float32", (1, f"1..{limit}", config.hidden_size)),
            TensorSpec("start", "int64", (1,)),
        ),
        (
            TensorSpec("logits", "float32", (1, config.vocab_size)),
            TensorSpec("hidden", "float32", (1, config.hidden_size)),
        ),
    )


def _head(model: VeraModel, recipe: Recipe, _: np.ndarray | None) -> Part:
    module = _copy_of(model.retouch_head)
    quantize_linears_(module, scheme(recipe.head))
    hidden, latent = model.config.language.hidden_size, model.config.renderer.latent_size
    return Part(
        "head",
        module,
        _examples("head", model),
        (None,),
        recipe.head,
        (TensorSpec("hidden", "float32", (1, LATENT_GROUPS, hidden)),),
        (TensorSpec("latents", "float32", (1, LATENT_GROUPS, latent)),),
    )


def _bake(model: VeraModel, recipe: Recipe, _: np.ndarray | None) -> Part:
    module = _copy_of(BakeForm(model.renderer))
    # the layers that read and write colours stay in float: 8 bits of input range are visible bands
    wide = ("renderer.layers.0", "renderer.out")
    quantize_linears_(module, scheme(recipe.renderer), only=lambda name: name not in wide)
    latent = model.config.renderer.latent_size
    return Part(
        "bake",
        module,
        _examples("bake", model),
        (None, None),
        recipe.renderer,
        (
            TensorSpec("points", "float32", (BAKE_POINTS, 3)),
            TensorSpec("latents", "float32", (1, LATENT_GROUPS, latent)),
        ),
        (TensorSpec("points", "float32", (BAKE_POINTS, 3)),),
    )


def _reference(model: VeraModel, recipe: Recipe, calibration: np.ndarray | None) -> Part:
    config = model.config
    module: nn.Module = ReferenceForm(model).eval().requires_grad_(False)
    inputs = _examples(REFERENCE, model)
    if scheme(recipe.vision).activations == "static":
        photos = check_calibration(calibration, config, recipe)
        module = _quantize_static(module, inputs, reference_pairs(photos, config), worth_8_bits)
    shape = tuple(inputs[0].shape)
    return Part(
        REFERENCE,
        module,
        inputs,
        (None, None),
        recipe.vision,
        (TensorSpec("before", "float32", shape), TensorSpec("after", "float32", shape)),
        (TensorSpec("latents", "float32", (1, LATENT_GROUPS, config.renderer.latent_size)),),
    )


def _decoder_copy(model: VeraModel) -> Any:
    return _copy_of(model.decoder)


def check_calibration(photos: np.ndarray | None, config: ModelConfig, recipe: Recipe) -> np.ndarray:
    """The photos as contiguous float32, or InvalidArgument (see `build_part`)."""
    size = config.vision.image_size
    if photos is None or photos.ndim != 4 or not len(photos) or photos.shape[1:] != (3, size, size):
        seen = "none" if photos is None else f"shape {photos.shape}"
        raise InvalidArgument(
            f"Calibration photos: {seen} not allowed with recipe '{recipe.name}': give "
            f"(n, 3, {size}, {size}) float32 in [0, 1], n from 1; 16 varied photos suffice."
        )
    if not np.isfinite(photos).all() or photos.min() < 0 or photos.max() > 1:
        raise InvalidArgument(
            f"Calibration photos hold values {photos.min()}..{photos.max()}: use 0..1, finite."
        )
    return np.ascontiguousarray(photos, np.float32)


def _quantize_static(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    samples: Sequence[tuple[np.ndarray, ...]],
    worth_8_bits: Callable[[Any], bool],
) -> nn.Module:
    """8-bit weights per channel; activations of convolutions in 8 bits with the ranges seen on the
    samples, those of linear layers with the range of each call: attention's ranges differ too much
    between photos (nano on 8 photos: 23 to 29 dB static, 32 to 37 dB per call)."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    for operator, dynamic in (
        (torch.ops.aten.conv2d.default, False),
        (torch.ops.aten.linear.default, True),
    ):
        settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
        quantizer.set_operator_type(operator, settings)
    quantizer.set_filter_function(worth_8_bits)
    captured = export(module, inputs, strict=False).module()
    prepared = prepare_pt2e(captured, quantizer)
    for sample in samples:
        prepared(*(torch.from_numpy(value) for value in sample))
    return convert_pt2e(prepared)


def _worth_8_bits(node: Any) -> bool:
    """False for grouped convolutions, for those that read the photo and for those that write the
    residual stream after a down-sampling (as many channels in as out).

    Their channels differ too much in range for one activation scale, and they hold 13 % of the
    weights of nano. SQNR of its image tokens over 8 photos, trained weights: 19 to 25 dB with the
    down-sampling in 8 bits, 28 to 35 dB with it in float.
    """
    if node.target != torch.ops.aten.conv2d.default:
        return True
    groups = node.args[6] if len(node.args) > 6 else 1
    outputs, inputs = node.args[1].meta["val"].shape[:2]
    return groups == 1 and inputs != 3 and inputs != outputs
