"""From a captured program to the bytes of a .pte file, on XNNPACK or another delegate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from vera_mobile.bundle import OperatorCount, TensorSpec
from vera_mobile.errors import InvalidArgument
from vera_mobile.export.built import PLANS, BuiltPart
from vera_mobile.export.delegates import DELEGATES, delegate_name
from vera_mobile.export.packed_form import PackedDecoderForm, PackedEmbedForm
from vera_mobile.export.packed_gptq import INPUTS_FILE, read_inputs, rounded_layers, save_inputs
from vera_mobile.export.recipes import Recipe, small, table_scheme
from vera_mobile.export.reference_form import reference_pairs
from vera_mobile.export.stages import (
    build_part,
    capture,
    check_calibration,
    golden_inputs,
    prefill_limit,
)
from vera_mobile.export.vision_form import PackedVisionForm, block_bits
from vera_mobile.export.vision_ranges import watch
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.packed import BLOCK, pack
from vera_mobile.quant.schemes import scheme
from vera_mobile.runtime import PROGRAMS, REFERENCE

_WEIGHTS = {
    "vision": ("vision", "projector"),
    "embed": ("decoder",),
    "decoder": ("decoder",),
    "head": ("retouch_head",),
    "bake": ("renderer",),
    REFERENCE: ("reference_encoder",),
    PLANS: ("vision", "projector", "decoder", "retouch_head"),
}
# what a graph holds beside operators: tuple access and memory planning
_NOT_OPERATORS = ("getitem", "alloc", "view", "executorch_call_delegate")


def parts(recipe: Recipe) -> tuple[str, ...]:
    """The programs of a bundle; with the own decoder its program also embeds, and libvera bakes
    from the renderer's file."""
    left_out = ("embed", "bake") if recipe.own_decoder else ()
    programs = tuple(name for name in PROGRAMS if name not in left_out)
    return (*programs, REFERENCE) if recipe.reference else programs


def weights(name: str) -> tuple[str, ...]:
    """The parts of the model whose weights the program `name` holds."""
    return _WEIGHTS[name]


def plans_first(recipe: Recipe, config: ModelConfig) -> bool:
    """Whether the decoder is rounded by what `prepare_plans` writes."""
    return recipe.own_decoder and recipe.gptq and small(config)


def prepare_plans(
    model: VeraModel,
    recipe: Recipe,
    calibration: np.ndarray | None,
    folder: Path,
    vocabulary: Vocabulary,
) -> None:
    """Answers to the calibration photos for the decoder's GPTQ; `build` finds them in `folder`."""
    photos = check_calibration(calibration, model.config, recipe)
    save_inputs(folder / INPUTS_FILE, model, vocabulary, photos)


def answer_blocks(vocabulary: int) -> Tensor:
    """Blocks of 16 token ids that answers use: all of a small vocabulary; of a large one the first
    32,768 ids and the last 320.

    A byte-level BPE numbers its tokens by how often their text occurs, and the tokens that were
    added for chat and retouching come last.
    """
    blocks = torch.arange(-(-vocabulary // BLOCK), dtype=torch.int32)
    frequent, added = 32768 // BLOCK, 320 // BLOCK
    if len(blocks) <= frequent + added:
        return blocks
    return torch.cat((blocks[:frequent], blocks[-added:]))


def build(
    name: str,
    model: VeraModel,
    recipe: Recipe,
    calibration: np.ndarray | None,
    folder: Path,
) -> BuiltPart:
    """Quantizes, captures and lowers the part `name` to folder/<name>.pte."""
    path = folder / f"{name}.pte"
    if recipe.own_decoder and name == "decoder":
        return _build_packed(model, recipe, path)
    if recipe.own_vision and name == "vision":
        return _build_vision(model, recipe, calibration, path)
    if name in delegated(recipe):
        return _build_delegated(name, model, recipe, calibration, path)
    part = build_part(name, model, recipe, calibration)
    operators = lower(capture(part), path)
    return BuiltPart(
        path, "executorch", part.quantization, part.input_specs, part.output_specs, operators
    )


def _build_packed(model: VeraModel, recipe: Recipe, path: Path) -> BuiltPart:
    """The own decoder: method `forward`, and method `embed` on the same table."""
    from executorch.exir import EdgeCompileConfig, to_edge

    config, limit = model.config.language, prefill_limit(model.config)
    if config.head_dim % 32 or config.hidden_size % 32 or config.intermediate_size % 32:
        raise InvalidArgument(
            f"Recipe '{recipe.name}' not allowed for heads of {config.head_dim}, width "
            f"{config.hidden_size} and feed-forward {config.intermediate_size}: its kernel needs "
            "multiples of 32; use android-int4-xnnpack."
        )
    embedding, width = table_scheme(recipe, model.config), config.hidden_size
    used = scheme(embedding)
    table = pack(model.decoder.embedding.weight, used.weight_bits, used.group_size or 32)
    language, more = scheme(recipe.language), {}
    calibrated = path.with_name(INPUTS_FILE)
    if calibrated.is_file():
        more["rounded"] = rounded_layers(model.decoder, language, read_inputs(calibrated))
    blocks = answer_blocks(config.vocab_size)
    forms = {
        "forward": PackedDecoderForm(model.decoder, table, language, blocks, **more),
        "embed": PackedEmbedForm(table),
    }
    inputs = {
        "forward": tuple(torch.from_numpy(v) for v in golden_inputs("decoder", model.config)),
        "embed": tuple(torch.from_numpy(v) for v in golden_inputs("embed", model.config)),
    }
    steps = {1: Dim("n", min=1, max=limit)}
    dynamic: dict[str, tuple[Any, ...]] = {"forward": (steps, None, None), "embed": (steps,)}
    with torch.no_grad():
        programs = {
            name: export(form, inputs[name], dynamic_shapes=dynamic[name], strict=False)
            for name, form in forms.items()
        }
    edge = to_edge(programs, compile_config=EdgeCompileConfig(_check_ir_validity=False))
    operators = _write(edge, path)
    return BuiltPart(
        path,
        "executorch",
        f"{recipe.language}{' by GPTQ' if more else ''}, table {embedding}",
        (
            TensorSpec("embeds", "float32", (1, f"1..{limit}", width)),
            TensorSpec("start", "int64", (1,)),
            TensorSpec("wanted", "int64", (1,)),
        ),
        (
            TensorSpec("logits", "float32", (1, config.vocab_size)),
            TensorSpec("hidden", "float32", (1, width)),
        ),
        operators,
    )


def _build_vision(
    model: VeraModel, recipe: Recipe, calibration: np.ndarray | None, path: Path
) -> BuiltPart:
    """The own vision tower with the projector."""
    from executorch.exir import EdgeCompileConfig, to_edge

    config, bits = model.config, recipe.vision_block_bits
    photos = check_calibration(calibration, config, recipe)
    inputs = tuple(torch.from_numpy(v) for v in golden_inputs("vision", config))
    with torch.no_grad():
        form = PackedVisionForm(model, watch(model, photos), block_bits(bits))
        program = export(form, inputs, strict=False)
    edge = to_edge(program, compile_config=EdgeCompileConfig(_check_ir_validity=False))
    size, hidden = config.vision.image_size, config.language.hidden_size
    return BuiltPart(
        path,
        "executorch",
        recipe.vision if bits == 8 else f"{recipe.vision}, late blocks {bits} bits",
        (TensorSpec("pixels", "float32", (1, 3, size, size)),),
        (TensorSpec("image_tokens", "float32", (1, config.vision.tokens, hidden)),),
        _write(edge, path),
    )


def delegated(recipe: Recipe) -> tuple[str, ...]:
    """The programs that the recipe's delegate takes."""
    chosen = DELEGATES.get(recipe.backend)
    return chosen.parts if chosen else ()


def expected_file(name: str) -> str:
    """Where a delegated part leaves what it should give for `golden_inputs`: a .npz file."""
    return f"{name}.expected.npz"


def _build_delegated(
    name: str, model: VeraModel, recipe: Recipe, calibration: np.ndarray | None, path: Path
) -> BuiltPart:
    """The part by the recipe's delegate, and its results in PyTorch: no runtime here has it."""
    part = build_part(name, model, replace(recipe, vision="fp32", head="fp32"))
    used = recipe.head if name == "head" else recipe.vision
    samples: list[tuple[np.ndarray, ...]] = []
    if scheme(used).activations == "static":
        photos = check_calibration(calibration, model.config, recipe)
        samples = [(photo[None],) for photo in photos]
        if name == REFERENCE:
            samples = list(reference_pairs(photos, model.config))
    with torch.no_grad():
        expected = part.module(*part.inputs)
        edge = DELEGATES[recipe.backend].lower(part, samples)
    np.savez(path.with_name(expected_file(name)), expected.numpy())
    specs = (part.input_specs, part.output_specs)
    return BuiltPart(path, "executorch", used, *specs, _write(edge, path))


def lower(program: ExportedProgram, path: Path) -> tuple[OperatorCount, ...]:
    """The program for ExecuTorch, written to `path`; the operators in it.

    What XNNPACK takes is handed to it, the rest is portable.

    One partitioner for float and quantized operators together: with quantized linear layers in
    partitions of their own a nano decoder has 64 in place of 39, lowers in 38 s in place of 25 s
    and takes 0.78 ms a token in place of 0.25 ms (2 cores).
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(
        program,
        partitioner=[XnnpackPartitioner()],
        # torchao's group-wise operators are outside of the core set that is checked for
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    return _write(edge, path)


def _write(edge: Any, path: Path) -> tuple[OperatorCount, ...]:
    from executorch.exir import ExecutorchBackendConfig

    # a cache line: the decoder's kernel reads the packed weights in pieces of 64 bytes
    manager = edge.to_executorch(ExecutorchBackendConfig(constant_tensor_alignment=64))
    with path.open("wb") as file:
        manager.write_to_file(file)
    counts: Counter[tuple[str, str]] = Counter()
    for name in manager.methods:
        _count(manager.exported_program(name).graph_module, counts)
    return tuple(OperatorCount(name, counts[(by, name)], by) for by, name in sorted(counts))


def _count(graph_module: Any, counts: Counter[tuple[str, str]]) -> None:
    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        if _name(node.target) == "executorch_call_delegate":
            delegate = getattr(graph_module, node.args[0].target)
            inner = delegate.original_module.graph_module.graph
            names = [_name(one.target) for one in inner.nodes if one.op == "call_function"]
            by = delegate_name(delegate.backend_id)
            counts.update((by, name) for name in names if name not in _NOT_OPERATORS)
        elif _name(node.target) not in _NOT_OPERATORS:
            name = _name(node.target)
            counts[("libvera" if name.startswith("vera::") else "portable", name)] += 1


def _name(target: Any) -> str:
    schema = getattr(target, "_schema", None)
    if schema is None:
        return str(getattr(target, "__name__", target))
    overload = getattr(schema, "overload_name", "")
    return f"{schema.name}.{overload}" if overload else str(schema.name)
