"""What a bundle's programs gave where it was exported, to tell on another machine that they still
do: no checkpoint needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.bundle import Bundle, Content, FileEntry
from vera_mobile.errors import BundleError, FileError
from vera_mobile.executorch_runtime import load_program
from vera_mobile.export.differences import finite_or_none, sqnr_db
from vera_mobile.export.executorch import expected_file
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.stages import STAGES, golden_inputs
from vera_mobile.model.config import ModelConfig
from vera_mobile.native import load_torch_ops
from vera_mobile.native.bake import NativeRenderer
from vera_mobile.runtime import (
    ALL_LOGITS,
    REFERENCE,
    RENDERER_FILE,
    Planner,
    missing_delegates,
    program_of,
    quiet_stderr,
)

_VALUES = 64
# equal bytes where it was exported; other processors may round 8-bit activations to other codes,
# which stays below what 8 bits cost as a whole (38 dB on the head), a wrong program does not
_SQNR_DB = 30.0


def golden_content(
    folder: Path,
    names: Sequence[str],
    recipe: Recipe,
    config: ModelConfig,
    *,
    renderer: Path | None = None,
) -> Content:
    """golden.json of the parts `names` in `folder`: 64 evenly spaced values of each output for
    `golden_inputs`, by stage; of a program for a delegate what PyTorch gives in float32. renderer:
    the weights that libvera bakes with, if it does."""
    planner = _other_planner(recipe.backend, folder, config)
    own = "embed" not in names
    values = {}
    for name in STAGES:
        if name == REFERENCE and name not in names:
            continue
        inputs = golden_inputs(name, config)
        expected = folder / expected_file(name)
        if expected.is_file():  # a delegate that no runtime here has
            with np.load(expected, allow_pickle=False) as kept:
                outputs = [kept[key] for key in kept]
        elif planner is not None:
            outputs = _planned(planner, name, inputs)
        elif renderer is not None and name == "bake":
            outputs = _run_renderer(renderer, *inputs)
        else:
            file, method = ("decoder", "embed") if own and name == "embed" else (name, "forward")
            given = inputs[:2] if name == "decoder" and not own else inputs
            outputs = _run_program(folder / f"{file}.pte", method, given)
        values[name] = [_sample(output).tolist() for output in outputs]
    text = json.dumps(values, sort_keys=True) + "\n"
    return Content(text.encode(), FileEntry("golden.json", "", 0, "golden"))


def verify_self(bundle: Bundle) -> dict[str, Any]:
    """Whether the bundle is whole and runs here as it did where it was exported; no checkpoint.

    Every file is hashed, every program loaded and run on seeded inputs (Core ML packages in our
    evaluator, ONNX graphs in ONNX Runtime, a renderer file in libvera), its outputs held to be
    finite and near those recorded at export. A program for a delegate that is not here is only
    opened, its inputs and outputs held to the manifest's: passed is None, and `not_run` says why.
    Returns {programs: {name: {sqnr_db, finite, passed, [not_run]}}, passed}. Raises BundleError for
    a damaged file, a program that does not run, and for a bundle without recorded outputs.
    """
    checked = Bundle.open(bundle.root)
    config = ModelConfig.from_dict(checked.manifest.model)
    golden = _recorded(checked)
    planner = _other_planner(checked.manifest.files["vision"].backend or "", checked.root, config)
    missing = missing_delegates(checked)
    programs: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        if name == REFERENCE and name not in checked.manifest.files:
            continue
        if name in missing:
            programs[name] = _not_run(checked, name, missing[name])
            continue
        inputs = golden_inputs(name, config)
        if planner is not None:
            outputs = _planned(planner, name, inputs)
        elif name == "bake" and RENDERER_FILE in checked.manifest.files:
            outputs = _run_renderer(checked.file(RENDERER_FILE), *inputs)
        else:
            file, method = program_of(checked, name)
            # the decoder of some recipes has no input `wanted`
            taken = len(checked.manifest.files[file].inputs) if name == "decoder" else len(inputs)
            outputs = _run_program(checked.file(file), method, inputs[:taken])
        programs[name] = _verdict(name, golden.get(name, []), outputs)
    passed = all(row["passed"] is not False for row in programs.values())
    return {"programs": programs, "passed": passed}


def _not_run(bundle: Bundle, name: str, delegate: str) -> dict[str, Any]:
    """The row of a program that cannot run here; False where its file does not fit the manifest."""
    entry = bundle.manifest.files[name]
    try:
        meta = load_program(bundle.file(name)).method_meta("forward")
        shapes = [tuple(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())]
        shapes += [tuple(meta.output_tensor_meta(i).sizes()) for i in range(meta.num_outputs())]
    except RuntimeError as error:
        raise BundleError(f"Program '{name}' cannot be opened ({error}): export again.") from error
    fits = shapes == [spec.shape for spec in (*entry.inputs, *entry.outputs)]
    text = f"needs the {delegate} delegate, which is not here: not run on a device"
    return {"sqnr_db": None, "finite": None, "passed": None if fits else False, "not_run": text}


def _verdict(name: str, recorded: Sequence[Any], outputs: Sequence[np.ndarray]) -> dict[str, Any]:
    if len(recorded) != len(outputs):
        raise BundleError(f"golden.json lacks outputs of '{name}': export again.")
    pairs = zip(recorded, outputs, strict=True)
    sqnr = min(sqnr_db(np.array(was), _sample(now)) for was, now in pairs)
    finite = all(bool(np.isfinite(output).all()) for output in outputs)
    passed = finite and sqnr >= _SQNR_DB
    return {"sqnr_db": finite_or_none(sqnr), "finite": finite, "passed": passed}


def _recorded(bundle: Bundle) -> dict[str, Any]:
    if "golden" not in bundle.manifest.files:
        raise BundleError(f"{bundle.root} has no golden.json: export again with this release.")
    try:
        return dict(json.loads(bundle.file("golden").read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise BundleError(f"golden.json is not valid JSON ({error}): export again.") from error


def _other_planner(backend: str, folder: Path, config: ModelConfig) -> Planner | None:
    """What runs the parts that are no ExecuTorch programs."""
    if backend == "coreml":
        from vera_mobile.export.mil.planner import MilPlanner

        return MilPlanner(folder, config)
    if backend == "onnx":
        from vera_mobile.export.onnx_planner import OnnxPlanner

        return OnnxPlanner(folder, config)
    return None


def _planned(planner: Planner, name: str, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    first = inputs[0]
    if name == "vision":
        return [planner.encode_image(first)]
    if name == "embed":
        return [planner.embed(first)]
    if name == "decoder":
        return list(planner.step(first, 0, ALL_LOGITS))
    if name == "head":
        return [planner.head(first[0])]
    if name == REFERENCE:
        return [planner.encode_reference(*inputs)]
    return [planner.bake(first, inputs[1][0])]


def _run_renderer(path: Path, points: np.ndarray, latents: np.ndarray) -> list[np.ndarray]:
    try:
        return [NativeRenderer.from_file(path).colours(points, latents[0])]
    except FileError as error:
        raise BundleError(str(error)) from error


def _run_program(path: Path, method_name: str, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    import torch

    try:
        with quiet_stderr():
            load_torch_ops()
            program = load_program(path)
            method = program.load_method(method_name)
        return [value.numpy() for value in method.call([torch.from_numpy(v) for v in inputs])]
    except RuntimeError as error:
        raise BundleError(f"Program {path.name} does not run ({error}): export again.") from error


def _sample(output: np.ndarray) -> np.ndarray:
    flat = output.astype(np.float64).ravel()
    return flat[np.linspace(0, flat.size - 1, _VALUES).astype(np.int64)]
