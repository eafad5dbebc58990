"""ONNX files for NPU toolchains: float32, or 8 bits by QuantizeLinear/DequantizeLinear pairs.

`build` writes one part. Parts are vision, embed, head, bake and reference as in a bundle; decoder,
a folder of two graphs over one file of weights; and look, which is head and bake joined: three
hidden states and three strengths in, latents and a 33^3 LUT out.

The decoder has two graphs of fixed shapes, prefill.onnx (up to 256 tokens a call) and step.onnx
(one), and not one with a free length: compilers for NPUs (QNN, SNPE, Vitis AI, OpenVINO's NPU
plug-in) plan memory ahead and want constant shapes, and TensorRT optimises best for them. Both hold
the same nodes with the same ranges and read weights.data, so that a compiler can share the weights
between them too. The cache is an input; the new keys and values are outputs, which the caller
writes to it: nothing scatters or works in place, and only n positions leave the accelerator. No
input is a 64-bit integer. A call with fewer tokens has padding behind them; `last` says for which
row the logits are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.export.built import PLANS, BuiltPart
from vera_mobile.export.onnx import graphs
from vera_mobile.export.onnx.quantize import quantize
from vera_mobile.export.onnx.samples import PLANS_FILE, Plan, plan_photos, read_plans, save_plans
from vera_mobile.export.onnx.sources import PARTS, Source, Sources
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.stages import check_calibration, prefill_limit
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import REFERENCE

if TYPE_CHECKING:
    import onnx

__all__ = [
    "KIND",
    "PARTS",
    "PREFILL",
    "STEP",
    "WEIGHTS",
    "build",
    "parts",
    "plans_first",
    "prepare_plans",
    "weights",
]

KIND = "onnx"
PREFILL, STEP, WEIGHTS = "prefill.onnx", "step.onnx", "weights.data"
_GRAPH = "model.onnx"
_WEIGHTS = {
    PLANS: ("vision", "projector", "decoder", "retouch_head"),
    "vision": ("vision", "projector"),
    "embed": ("decoder",),
    "decoder": ("decoder",),
    "head": ("retouch_head",),
    "bake": ("renderer",),
    "look": ("retouch_head", "renderer"),
    REFERENCE: ("reference_encoder",),
}


def parts(recipe: Recipe) -> tuple[str, ...]:
    """The parts of a bundle: `look` joins head and bake, so that a phone has one call for both."""
    return tuple(name for name in PARTS if recipe.reference or name != REFERENCE)


def plans_first(recipe: Recipe, config: ModelConfig) -> bool:
    """Whether the parts need the plans that `prepare_plans` writes."""
    return recipe.needs_calibration


def weights(name: str) -> tuple[str, ...]:
    """The parts of the model whose weights the part, or PLANS, needs."""
    return _WEIGHTS[name]


def prepare_plans(
    model: VeraModel,
    recipe: Recipe,
    calibration: np.ndarray | None,
    folder: Path,
    vocabulary: Vocabulary,
) -> None:
    """Plans the calibration photos with the checkpoint's prompts; `build` finds it in `folder`."""
    photos = check_calibration(calibration, model.config, recipe)
    save_plans(folder / PLANS_FILE, plan_photos(model, photos, vocabulary))


def build(
    name: str,
    model: VeraModel,
    recipe: Recipe,
    calibration: np.ndarray | None,
    folder: Path,
    *,
    plans: Sequence[Plan] | None = None,
) -> BuiltPart:
    """Part `name` (one of PARTS) of a model, written into `folder`; the model is not changed.

    calibration: (n, 3, S, S) float32 photos, encoded sRGB in [0, 1], needed by a part with static
    ranges. plans: of `samples.plan_photos`, for several parts to share; without them those that
    `prepare_plans` left in `folder`, else they are made with the bare prompt. A part is
    <name>.onnx; decoder, and what holds more than 1 GB, is a folder <name> with its weights in
    weights.data. The same arguments give the same bytes. Raises InvalidArgument, FileError.
    """
    if name not in PARTS:
        raise InvalidArgument(f"Part '{name}' is unknown: use one of {', '.join(PARTS)}.")
    if plans is None and (folder / PLANS_FILE).is_file():
        plans = read_plans(folder / PLANS_FILE)
    source = Sources(model, recipe, calibration, plans).of(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as scratch:
            raw = Path(scratch) / f"{name}.onnx"
            graphs.capture(source, raw)
            source = replace(source, form=None, inputs=())  # 2 GB of the 0.5B decoder, in the file
            done = Path(scratch) / "done" / name
            done.mkdir(parents=True)
            write = _write_decoder if name == "decoder" else _write_single
            graph = write(source, raw, done, model.config)
            path = _take_place(done, folder / name)
    except OSError as error:
        raise FileError(
            f"Part '{name}' cannot be written to {folder} ({error}): check space and permissions."
        ) from error
    return BuiltPart(
        path,
        KIND,
        source.quantization,
        graphs.specs(graph.graph.input),
        graphs.specs(graph.graph.output),
        graphs.operators(graph),
    )


def _write_single(source: Source, raw: Path, folder: Path, config: ModelConfig) -> onnx.ModelProto:
    """Writes model.onnx, with weights.data for large weights."""
    made = _quantized(source, raw)
    graphs.name_dimensions_(made, {("ids", 1): "n"})
    large = graphs.weight_bytes(made) > graphs.INLINE_LIMIT
    return graphs.save(made, folder / _GRAPH, WEIGHTS if large else None)


def _write_decoder(source: Source, raw: Path, folder: Path, config: ModelConfig) -> onnx.ModelProto:
    """Writes prefill.onnx and step.onnx over weights.data; returns the first."""
    import onnx

    graphs.save(_quantized(source, raw), folder / _GRAPH, WEIGHTS)
    for name, tokens in ((STEP, 1), (PREFILL, prefill_limit(config))):
        graph = onnx.load(folder / _GRAPH, load_external_data=False)
        graphs.fix_dimensions_(graph, {("embeds", 1): tokens, ("last", 0): 1})
        onnx.save(graph, folder / name)
        graphs.check(folder / name)
    (folder / _GRAPH).unlink()
    return graph


def _quantized(source: Source, raw: Path) -> onnx.ModelProto:
    """The graph in `raw`, with its weights, quantized as the source says."""
    import onnx

    if source.wanted is None:
        return onnx.load(raw)
    return quantize(raw, source.feeds(), source.wanted, source.weights_only)


def _take_place(done: Path, target: Path) -> Path:
    """Moves a finished part to its name: a lone graph becomes <target>.onnx."""
    files = sorted(done.iterdir())
    if [file.name for file in files] == [_GRAPH]:
        path = target.with_name(f"{target.name}.onnx")
        os.replace(files[0], path)
        return path
    if target.exists():
        shutil.rmtree(target)
    os.replace(done, target)
    return target
