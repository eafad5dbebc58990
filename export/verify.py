"""The parity ladder: how far a bundle is from the checkpoint, stage by stage, and a self-check."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.bundle import Bundle, Content, FileEntry
from vera_mobile.color.metrics import compare
from vera_mobile.errors import BundleError, InvalidArgument
from vera_mobile.export.stages import STAGES, golden_inputs
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.native import load_torch_ops
from vera_mobile.runtime import (
    ALL_LOGITS,
    ExecuTorchPlanner,
    Planner,
    TorchPlanner,
    program_of,
    quiet_stderr,
)

PARITY_NAME = "parity.json"
LATTICE_SIZE = 17
_GOLDEN_VALUES = 64
# equal bytes where it was exported; other processors may round 8-bit activations to other codes,
# which stays below what 8 bits cost as a whole (38 dB on the head), a wrong program does not
_GOLDEN_SQNR_DB = 30.0


def verify_bundle(
    bundle: Bundle,
    model: VeraModel,
    photos: np.ndarray,
    *,
    steps: int = 32,
    write: bool = True,
) -> dict[str, Any]:
    """How far the bundle is from its checkpoint; also written to parity.json in the bundle.

    photos: (n, 3, S, S) float32, encoded sRGB in [0, 1]; steps: tokens of the answer that are
    compared, each given the checkpoint's own answer before it (teacher forcing). Returns per stage
    {max_abs, mean_abs, sqnr_db, cosine}, the worst photo's; token_agreement; the lattice's
    psnr_db and ciede2000; `checks` (name, value, bound, passed) and `passed`. Raises
    InvalidArgument for a model of another shape than the bundle's or for no photos.
    """
    if model.config.to_dict() != bundle.manifest.model:
        raise InvalidArgument(
            f"Checkpoint '{model.config.name}' has another shape than the bundle of "
            f"'{bundle.manifest.name}': give the checkpoint that was exported."
        )
    if photos.ndim != 4 or not len(photos):
        raise InvalidArgument(f"Photos of shape {photos.shape}: use (n, 3, S, S), n from 1.")
    reference, measured = TorchPlanner(model), bundle_planner(bundle)
    vocabulary = Vocabulary.load(bundle.file("tokenizer"))
    rows = [_compare_photo(reference, measured, photo, vocabulary, steps) for photo in photos]
    stages = {name: _worst([row[name] for row in rows]) for name in rows[0]["stages"]}
    report: dict[str, Any] = {
        "recipe": bundle.manifest.recipe,
        "photos": len(rows),
        "tokens": steps * len(rows),
        "stages": stages,
        "token_agreement": float(np.mean([row["agreement"] for row in rows])),
        "psnr_db": min(row["psnr_db"] for row in rows),
        "ciede2000_mean": max(row["ciede2000_mean"] for row in rows),
    }
    report["checks"] = _checks(report, bundle.manifest.tolerances)
    report["passed"] = all(check["passed"] for check in report["checks"])
    if write:
        _write_json(bundle.root / PARITY_NAME, report)
    return report


def bundle_planner(bundle: Bundle) -> Planner:
    """What runs the bundle's files here: ExecuTorch, the Core ML evaluator or ONNX Runtime."""
    config = ModelConfig.from_dict(bundle.manifest.model)
    kind = bundle.manifest.files["vision"].kind
    if kind == "coreml":
        from vera_mobile.export.mil.planner import MilPlanner

        return MilPlanner(bundle.root, config)
    if kind == "onnx":
        from vera_mobile.export.onnx_planner import OnnxPlanner

        return OnnxPlanner(bundle.root, config)
    return ExecuTorchPlanner(bundle)


def verify_self(bundle: Bundle) -> dict[str, Any]:
    """Whether the bundle is whole and runs here as it did where it was exported; no checkpoint.

    Every file is hashed, every program loaded and run on seeded inputs, its outputs held to be
    finite and near those recorded at export. Returns {programs: {name: {sqnr_db, passed}}, passed}.
    Raises BundleError for a damaged file or a program that does not run.
    """
    checked = Bundle.open(bundle.root)
    if "golden" not in checked.manifest.files:
        return {"programs": {}, "passed": True}
    config = ModelConfig.from_dict(checked.manifest.model)
    try:
        golden = json.loads(checked.file("golden").read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"golden.json is not valid JSON ({error}): export again.") from error
    programs = {}
    for name in STAGES:
        file, method = program_of(checked, name)
        outputs = _run_program(checked.file(file), method, _inputs(checked, name, config))
        recorded = golden.get(name, [])
        if len(recorded) != len(outputs):
            raise BundleError(f"golden.json lacks outputs of '{name}': export again.")
        pairs = zip(recorded, outputs, strict=True)
        sqnr = min(sqnr_db(np.array(was), _sample(now)) for was, now in pairs)
        finite = all(bool(np.isfinite(output).all()) for output in outputs)
        passed = finite and sqnr >= _GOLDEN_SQNR_DB
        programs[name] = {"sqnr_db": _finite(sqnr), "finite": finite, "passed": passed}
    return {"programs": programs, "passed": all(row["passed"] for row in programs.values())}


def golden_content(folder: Path, names: Sequence[str], config: ModelConfig) -> Content:
    """golden.json of the programs `names` in `folder`: 64 evenly spaced values of each output for
    `golden_inputs`."""
    own = "embed" not in names
    values = {}
    for name in STAGES:
        file, method = ("decoder", "embed") if own and name == "embed" else (name, "forward")
        inputs = golden_inputs(name, config)
        if name == "decoder" and not own:
            inputs = inputs[:2]
        outputs = _run_program(folder / f"{file}.pte", method, inputs)
        values[name] = [_sample(output).tolist() for output in outputs]
    text = json.dumps(values, sort_keys=True) + "\n"
    return Content(text.encode(), FileEntry("golden.json", "", 0, "golden"))


def _inputs(bundle: Bundle, name: str, config: ModelConfig) -> tuple[np.ndarray, ...]:
    """golden_inputs without the decoder's `wanted` where the program has none."""
    inputs = golden_inputs(name, config)
    if name == "decoder":
        return inputs[: len(bundle.manifest.files[name].inputs)]
    return inputs


def differences(reference: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """max_abs, mean_abs, sqnr_db (None when equal) and cosine of two arrays of one shape."""
    a, b = reference.astype(np.float64).ravel(), measured.astype(np.float64).ravel()
    gap = np.abs(a - b)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {
        "max_abs": float(gap.max()),
        "mean_abs": float(gap.mean()),
        "sqnr_db": _finite(sqnr_db(a, b)),
        "cosine": float(a @ b) / length if length else float(np.array_equal(a, b)),
    }


def sqnr_db(reference: np.ndarray, measured: np.ndarray) -> float:
    """Signal to quantization noise in dB: 10 log10(sum(reference^2) / sum(error^2))."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(reference, measured, dtype=np.float64)).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def lattice(size: int = LATTICE_SIZE) -> np.ndarray:
    """Encoded RGB of an evenly spaced size^3 lattice, (size^3, 3) float32, red fastest."""
    axis = np.linspace(0, 1, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack((red, green, blue), axis=-1).reshape(-1, 3)


def _compare_photo(
    reference: Planner, measured: Planner, photo: np.ndarray, vocabulary: Vocabulary, steps: int
) -> dict[str, Any]:
    answer, ref = _walk(reference, photo, vocabulary, steps, None)
    _, got = _walk(measured, photo, vocabulary, steps, answer)
    agreement = np.mean(ref["logits"].argmax(1) == got["logits"].argmax(1))
    size = LATTICE_SIZE
    pictures = [values["lattice"].reshape(size * size, size, 3) for values in (ref, got)]
    colours = compare(*pictures)
    row: dict[str, Any] = {name: differences(ref[name], got[name]) for name in ref}
    return {
        **row,
        "stages": list(ref),
        "agreement": agreement,
        "psnr_db": min(colours["psnr_db"], 200.0),  # equal lattices: a number that JSON can hold
        "ciede2000_mean": colours["ciede2000_mean"],
    }


def _walk(
    planner: Planner,
    photo: np.ndarray,
    vocabulary: Vocabulary,
    steps: int,
    answer: Sequence[int] | None,
) -> tuple[list[int], dict[str, np.ndarray]]:
    """The values of every stage for a photo; `answer` is followed, or the planner's own choice."""
    retouch, request = vocabulary.retouch, vocabulary.auto()
    image = planner.encode_image(photo[None])
    before, after = (planner.embed(np.array([ids])) for ids in (request.before, request.after))
    prompt = np.concatenate((before, image, after), axis=1)
    logits, hidden = planner.step(prompt, 0, ALL_LOGITS)
    rows, states, said = [logits], [], []
    position = prompt.shape[1]
    for index in range(steps + len(retouch)):
        # the state that emits a retouch token is the one before it is fed
        if index >= steps:
            states.append(hidden)
        choice = int(logits.argmax()) if answer is None else answer[min(index, steps - 1)]
        token = choice if index < steps else retouch[index - steps]
        said.append(token)
        logits, hidden = planner.step(planner.embed(np.array([[token]])), position, ALL_LOGITS)
        position += 1
        if index < steps - 1:
            rows.append(logits)
    latents = planner.head(np.stack(states))
    values = {
        "image_tokens": image,
        "logits": np.stack(rows),
        "hidden": np.stack(states),
        "latents": latents,
        "lattice": planner.bake(lattice(), latents),
    }
    return said[:steps], values


def _worst(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    def numbers(key: str) -> list[float]:
        return [value for row in rows if (value := row[key]) is not None]

    return {
        "max_abs": max(numbers("max_abs")),
        "mean_abs": max(numbers("mean_abs")),
        "sqnr_db": min(numbers("sqnr_db"), default=None),
        "cosine": min(numbers("cosine")),
    }


def _checks(report: dict[str, Any], tolerances: dict[str, float]) -> list[dict[str, Any]]:
    checks = []
    for name, bound in sorted(tolerances.items()):
        measure, _, kind = name.rpartition("_")
        if measure not in report or kind not in ("min", "max"):
            raise BundleError(
                f"Tolerance '{name}' is unknown: token_agreement_min, psnr_db_min and "
                "ciede2000_mean_max are known; export again."
            )
        value = report[measure]
        passed = value >= bound if kind == "min" else value <= bound
        checks.append({"name": name, "value": value, "bound": bound, "passed": bool(passed)})
    return checks


def _run_program(path: Path, method_name: str, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    import torch

    try:
        with quiet_stderr():
            from executorch.runtime import Runtime

            load_torch_ops()
            program = Runtime.get().load_program(path)
            method = program.load_method(method_name)
        if method is None:
            raise BundleError(f"Program {path.name} has no method '{method_name}': export again.")
        return [value.numpy() for value in method.execute([torch.from_numpy(v) for v in inputs])]
    except RuntimeError as error:
        raise BundleError(f"Program {path.name} does not run ({error}): export again.") from error


def _sample(output: np.ndarray) -> np.ndarray:
    flat = output.astype(np.float64).ravel()
    return flat[np.linspace(0, flat.size - 1, _GOLDEN_VALUES).astype(np.int64)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _write_json(path: Path, values: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)
