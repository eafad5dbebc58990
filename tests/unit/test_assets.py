"""The bundled checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

from vera_mobile.assets import CHECKPOINTS, checkpoint_folder
from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.measures import MEASURES
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import parameter_counts
from vera_mobile.retoucher import Auto, Retoucher


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_bundled_checkpoint_fits_its_tokenizer_and_the_budget(name: str) -> None:
    model = load_checkpoint(checkpoint_folder(name))
    words = Vocabulary.load(checkpoint_folder(name) / "tokenizer.json")
    assert len(words) == model.config.language.vocab_size
    assert bool(words.measures) == (name == "nano-measured")
    assert parameter_counts(model)["total"] <= 12_000_000


def test_nano_measured_reads_the_photos_measures() -> None:
    """A photo at 45 % of its codes: the words ask for more light, and the render has it (mean code
    43.9 before, 88.5 after, 98.6 of the photo itself)."""
    from skimage import data

    photo = data.coffee()[::2, ::2]
    dark = np.ascontiguousarray((photo * 0.45).astype(np.uint8))
    retoucher = Retoucher.load(checkpoint_folder("nano-measured"))
    words = Vocabulary.load(checkpoint_folder("nano-measured") / "tokenizer.json")
    seen = np.full((1, 3, 8, 8), 0.5, np.float32)
    assert len(words.auto(seen).after) == len(MEASURES) + 1
    look = retoucher.plan(Photo.from_array(dark), Auto())
    assert "raise the exposure" in look.text
    done = retoucher.render(look, Photo.from_array(dark)).pixels
    assert dark.mean() + 20 < done.mean() < photo.mean() + 20


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(FileError, match="nano, nano-measured"):
        checkpoint_folder("micro")
