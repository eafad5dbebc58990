"""The bundled nano as Core ML packages against the checkpoint, the whole line, in half floats.

The packages are computed here operator by operator (vera_mobile.export.mil), so this holds the
conversion and the weights, not Apple's compiler.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from vera_mobile.assets import checkpoint_folder
from vera_mobile.export.coreml import build
from vera_mobile.export.differences import sqnr_db
from vera_mobile.export.mil.planner import MilPlanner
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.verify import lattice
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import Planner, TorchPlanner

STEPS = 24
SCHEMES = {
    "fp16": ("fp16", "fp16", "fp16", "fp16", "fp16", "fp16"),
    "ios-int4": ("int8w", "int4w_g32", "int8w", "int8w", "int8w", "int8w"),
    "ios-int8": ("int8w", "int8w", "int8w", "int8w", "int8w", "int8w"),
    "ios-ane": ("palette6", "palette6", "palette6", "int8w", "palette6", "fp16"),
}


@dataclass(frozen=True)
class Walk:
    """One photo through a planner, along the reference's own answer."""

    image: np.ndarray
    logits: np.ndarray
    latents: np.ndarray
    colours: np.ndarray
    answer: list[int]


@pytest.fixture(scope="module")
def model() -> VeraModel:
    return load_checkpoint(checkpoint_folder("nano"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """(1, 3, 256, 256): the middle of a photo of a cup."""
    from skimage import data

    middle = data.coffee()[72:328, 172:428].astype(np.float32) / 255
    return np.ascontiguousarray(middle.transpose(2, 0, 1)[None])


def walk(planner: Planner, pixels: np.ndarray, answer: list[int] | None) -> Walk:
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    prompt = vocabulary.auto(pixels)
    image = planner.encode_image(pixels)
    before, after = (planner.embed(np.array([ids])) for ids in (prompt.before, prompt.after))
    sequence = np.concatenate((before, image, after), axis=1)
    logits, hidden = planner.step(sequence, 0)
    rows, states, said, place = [], [], [], sequence.shape[1]
    for index in range(STEPS + 3):
        if index < STEPS:
            rows.append(logits)
            token = int(logits.argmax()) if answer is None else answer[index]
        else:
            states.append(hidden)
            token = vocabulary.retouch[index - STEPS]
        said.append(token)
        logits, hidden = planner.step(planner.embed(np.array([[token]])), place)
        place += 1
    latents = planner.head(np.stack(states))
    return Walk(image, np.stack(rows), latents, planner.bake(lattice(), latents), said)


@pytest.fixture(scope="module")
def reference(model: VeraModel, pixels: np.ndarray) -> Walk:
    return walk(TorchPlanner(model), pixels, None)


def packages(name: str, model: VeraModel, folder: Path) -> Path:
    fields = ("vision", "language", "logits", "embedding", "head", "renderer")
    recipe = cast(Recipe, SimpleNamespace(**dict(zip(fields, SCHEMES[name], strict=True))))
    for part in ("vision", "embed", "decoder", "head", "bake"):
        build(part, model, recipe, None, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "image_db", "logits_db", "latents_db", "largest"),
    [
        pytest.param("fp16", 55.5, 65, 58.5, 9e-4, marks=pytest.mark.full),
        ("ios-int4", 31, 32.5, 31.5, 4.7e-3),
        pytest.param("ios-int8", 31, 42, 44, 3.7e-3, marks=pytest.mark.full),
        pytest.param("ios-ane", 21, 35.5, 26.5, 1.55e-2, marks=pytest.mark.full),
    ],
)
def test_the_line_in_half_floats(
    name: str,
    image_db: float,
    logits_db: float,
    latents_db: float,
    largest: float,
    model: VeraModel,
    pixels: np.ndarray,
    reference: Walk,
    tmp_path: Path,
) -> None:
    """Bounds lie 1 to 2 dB (colours: a third) from what was measured on this photo.

    Measured: image tokens 57.3, 32.8, 32.8, 22.7 dB; logits 66.9, 34.1, 43.7, 37.1; latents 60.1,
    33.2, 45.8, 28.2; largest error of a colour 0.0007, 0.0035, 0.0028, 0.0116.
    """
    planner = MilPlanner(packages(name, model, tmp_path), model.config, precision="fp16")
    got = walk(planner, pixels, reference.answer)
    agreement = float(np.mean(got.logits.argmax(1) == reference.logits.argmax(1)))
    measured = {
        "image_db": sqnr_db(reference.image, got.image),
        "logits_db": sqnr_db(reference.logits, got.logits),
        "latents_db": sqnr_db(reference.latents, got.latents),
        "largest": float(np.abs(got.colours - reference.colours).max()),
        "agreement": agreement,
    }
    assert planner.overflows == {}, measured
    assert agreement == 1.0, measured
    assert measured["image_db"] > image_db, measured
    assert measured["logits_db"] > logits_db, measured
    assert measured["latents_db"] > latents_db, measured
    assert measured["largest"] < largest, measured
