"""The parity ladder: how far a bundle is from the checkpoint, stage by stage, and a self-check."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.bundle import Bundle
from vera_mobile.color.metrics import compare
from vera_mobile.errors import BundleError, InvalidArgument
from vera_mobile.export.differences import differences
from vera_mobile.export.reference_form import reference_pairs
from vera_mobile.look import Look
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.retoucher import LUT_SIZE
from vera_mobile.runtime import (
    ALL_LOGITS,
    REFERENCE,
    ExecuTorchPlanner,
    Planner,
    TorchPlanner,
    missing_delegates,
)

PARITY_NAME = "parity.json"
LATTICE_SIZE = 17
# what is compared right after a program that may be missing here
_STAGE_OF = {"vision": "image_tokens", "head": "latents"}


@dataclass(frozen=True, eq=False)
class ParityViews:
    """A photo as the model saw it and with both looks, each (S, S, 3) uint8 sRGB; its figures."""

    photo: np.ndarray
    reference: np.ndarray
    measured: np.ndarray
    row: dict[str, Any]


def verify_bundle(
    bundle: Bundle,
    model: VeraModel,
    photos: np.ndarray,
    *,
    steps: int = 32,
    write: bool = True,
    on_photo: Callable[[ParityViews], None] | None = None,
) -> dict[str, Any]:
    """How far the bundle is from its checkpoint; also written to parity.json in the bundle.

    photos: (n, 3, S, S) float32, encoded sRGB in [0, 1]; steps: tokens of the answer that are
    compared, each given the checkpoint's own answer before it (teacher forcing); on_photo: called
    with each photo's pictures, which are rendered only then. Returns per stage
    {max_abs, mean_abs, p99_abs, sqnr_db, cosine}, the worst photo's; token_agreement; the lattice's
    psnr_db and ciede2000; reference_psnr_db where the bundle has the reference encoder; `checks`
    (name, value, bound, passed), `passed` and, where programs cannot run here, `not_run` (program:
    delegate; the checkpoint's own parts stood in for them). Raises InvalidArgument for a model of
    another shape than the bundle's or for no photos.
    """
    if model.config.to_dict() != bundle.manifest.model:
        raise InvalidArgument(
            f"Checkpoint '{model.config.name}' has another shape than the bundle of "
            f"'{bundle.manifest.name}': give the checkpoint that was exported."
        )
    if photos.ndim != 4 or not len(photos):
        raise InvalidArgument(f"Photos of shape {photos.shape}: use (n, 3, S, S), n from 1.")
    reference = TorchPlanner(model)
    measured, missing = _measured(bundle, reference)
    vocabulary = Vocabulary.load(bundle.file("tokenizer"))
    rows = []
    for photo in photos:
        rows.append(compare_photo(reference, measured, photo, vocabulary, steps))
        if on_photo is not None:
            on_photo(_views(reference, measured, photo, rows[-1]))
    unseen = {_STAGE_OF.get(name) for name in missing}
    shown = [name for name in rows[0]["stages"] if name not in unseen]
    stages = {name: _worst([row[name] for row in rows]) for name in shown}
    pairs: dict[str, Any] = {}
    if REFERENCE in bundle.manifest.files and REFERENCE not in missing:
        stages["reference"], pairs = _compare_pairs(reference, measured, photos)
    report: dict[str, Any] = {
        "recipe": bundle.manifest.recipe,
        "photos": len(rows),
        "tokens": steps * len(rows),
        "stages": stages,
        "token_agreement": float(np.mean([row["agreement"] for row in rows])),
        "psnr_db": min(row["psnr_db"] for row in rows),
        "ciede2000_mean": max(row["ciede2000_mean"] for row in rows),
        **pairs,
    }
    if missing:
        report["not_run"] = missing
    bounds = bundle.manifest.tolerances.items()
    seen = {n: b for n, b in bounds if REFERENCE not in missing or not n.startswith(REFERENCE)}
    report["checks"] = _checks(report, seen)
    report["passed"] = all(check["passed"] for check in report["checks"])
    if write:
        _write_json(bundle.root / PARITY_NAME, report)
    return report


def _measured(bundle: Bundle, reference: Planner) -> tuple[Planner, dict[str, str]]:
    """What runs the bundle, and which programs the checkpoint stands in for (with the delegate)."""
    planner = bundle_planner(bundle)
    missing = missing_delegates(bundle) if isinstance(planner, ExecuTorchPlanner) else {}
    return StandInPlanner(bundle, reference, missing) if missing else planner, missing


class StandInPlanner(ExecuTorchPlanner):
    """A bundle, some of whose programs cannot run here: the checkpoint's own parts stand in for
    them, so that the others can be measured. missing: of `missing_delegates`."""

    def __init__(self, bundle: Bundle, reference: Planner, missing: Collection[str]) -> None:
        super().__init__(bundle)
        self._stand_in, self._missing = reference, missing

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        if "vision" in self._missing:
            return self._stand_in.encode_image(pixels)
        return super().encode_image(pixels)

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._stand_in.head(hidden) if "head" in self._missing else super().head(hidden)

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if REFERENCE in self._missing:
            return self._stand_in.encode_reference(before, after)
        return super().encode_reference(before, after)


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


def lattice(size: int = LATTICE_SIZE) -> np.ndarray:
    """Encoded RGB of an evenly spaced size^3 lattice, (size^3, 3) float32, red fastest."""
    axis = np.linspace(0, 1, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack((red, green, blue), axis=-1).reshape(-1, 3)


def compare_photo(
    reference: Planner, measured: Planner, photo: np.ndarray, vocabulary: Vocabulary, steps: int
) -> dict[str, Any]:
    """The figures of one photo (3, S, S): see `verify_bundle`; also both looks' latents."""
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
        "looks": (ref["latents"], got["latents"]),
        "psnr_db": min(colours["psnr_db"], 200.0),  # equal lattices: a number that JSON can hold
        "ciede2000_mean": colours["ciede2000_mean"],
    }


def _compare_pairs(
    reference: Planner, measured: Planner, photos: np.ndarray
) -> tuple[dict[str, float | None], dict[str, float]]:
    """The latents read off each photo with and without a fault, the worst pair's differences; and
    the PSNR of the lattices that they bake, as `reference_psnr_db`."""
    rows, psnr, size = [], [], LATTICE_SIZE
    for pair in reference_pairs(photos, reference.config):
        wanted, got = (planner.encode_reference(*pair) for planner in (reference, measured))
        rows.append(differences(wanted, got))
        # both by the checkpoint's renderer: what the encoder alone changes
        pictures = [
            reference.bake(lattice(), latents).reshape(size * size, size, 3)
            for latents in (wanted, got)
        ]
        psnr.append(min(compare(*pictures)["psnr_db"], 200.0))
    return _worst(rows), {"reference_psnr_db": min(psnr)}


def _views(
    reference: Planner, measured: Planner, photo: np.ndarray, row: dict[str, Any]
) -> ParityViews:
    from vera_mobile import native

    picture = np.round(photo.transpose(1, 2, 0) * 255).astype(np.uint8)
    rendered = []
    for planner, latents in zip((reference, measured), row["looks"], strict=True):
        baked = Look(latents, evaluate=planner.bake).bake(LUT_SIZE)
        rendered.append(native.render(picture, baked.curves, baked.lut))
    return ParityViews(picture, rendered[0], rendered[1], row)


def _walk(
    planner: Planner,
    photo: np.ndarray,
    vocabulary: Vocabulary,
    steps: int,
    answer: Sequence[int] | None,
) -> tuple[list[int], dict[str, np.ndarray]]:
    """The values of every stage for a photo; `answer` is followed, or the planner's own choice."""
    retouch, request = vocabulary.retouch, vocabulary.auto(photo)
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
        "p99_abs": max(numbers("p99_abs")),
        "sqnr_db": min(numbers("sqnr_db"), default=None),
        "cosine": min(numbers("cosine")),
    }


def _checks(report: dict[str, Any], tolerances: dict[str, float]) -> list[dict[str, Any]]:
    checks = []
    for name, bound in sorted(tolerances.items()):
        measure, _, kind = name.rpartition("_")
        if measure not in report or kind not in ("min", "max"):
            raise BundleError(
                f"Tolerance '{name}' is unknown: token_agreement_min, psnr_db_min, "
                "ciede2000_mean_max and, with a reference encoder, reference_psnr_db_min are "
                "known; export again."
            )
        value = report[measure]
        passed = value >= bound if kind == "min" else value <= bound
        checks.append({"name": name, "value": value, "bound": bound, "passed": bool(passed)})
    return checks


def _write_json(path: Path, values: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)
