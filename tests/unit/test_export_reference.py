"""The reference encoder's exported form, the pairs it is tried on, and which bundles hold it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from vera_mobile.bundle import Bundle
from vera_mobile.export.pipeline import _manifest
from vera_mobile.export.recipes import RECIPES, holds_reference
from vera_mobile.export.reference_form import ReferenceForm, reference_pairs
from vera_mobile.export.stages import golden_inputs
from vera_mobile.model.config import vera_0_5b, vera_nano
from vera_mobile.model.tokens import Vocabulary, build_tokenizer
from vera_mobile.model.vlm import VeraModel


@pytest.fixture(scope="module")
def model() -> VeraModel:
    torch.manual_seed(0)
    made = VeraModel(vera_nano())
    with torch.no_grad():  # batch norms that do something
        for name, buffer in made.reference_encoder.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return made.eval()


def test_folding_batch_norms_changes_nothing(model: VeraModel) -> None:
    before, after = (torch.from_numpy(v) for v in golden_inputs("reference", model.config))
    with torch.no_grad():
        expected = model.reference_encoder(before, after)
        got = ReferenceForm(model)(before, after)
    # the same sums in float32 with other roundings: measured 4e-7 of the largest value
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
    assert any("norm" in name for name, _ in model.reference_encoder.named_parameters())


def test_pairs_are_a_fault_and_the_photo_without_it() -> None:
    config = vera_nano()
    side = config.vision.image_size
    photos = np.random.default_rng(0).random((5, 3, side, side), dtype=np.float32)
    pairs = reference_pairs(photos, config)
    assert len(pairs) == 5
    for before, after in pairs:
        for picture in (before, after):
            assert picture.shape == (1, 3, config.encoder.image_size, config.encoder.image_size)
            assert picture.dtype == np.float32
            assert 0 <= picture.min() <= picture.max() <= 1
            assert 0 not in picture.strides  # ExecuTorch refuses them
        assert not np.array_equal(before, after)
    again = reference_pairs(photos, config)
    assert all(np.array_equal(a, b) for one, two in zip(pairs, again, strict=True)
               for a, b in zip(one, two, strict=True))  # fmt: skip


def test_only_the_smallest_bundle_of_the_large_model_lacks_it() -> None:
    for name, used in RECIPES.items():
        assert holds_reference(used, vera_nano(), None)
        assert holds_reference(used, vera_0_5b(), None) == (name != "android-int4")
        assert holds_reference(used, vera_0_5b(), True)
        assert not holds_reference(used, vera_nano(), False)


def test_a_bundle_without_it_promises_nothing_of_it(tmp_path: Path) -> None:
    build = build_tokenizer(["warm"])
    path = tmp_path / "tokenizer.json"
    build.save(str(path))
    vocabulary = Vocabulary.load(path)
    used = RECIPES["android-int4"]
    assert "reference_psnr_db_min" in _manifest(vera_nano(), used, vocabulary, None).tolerances
    without = dataclasses.replace(used, reference=False)
    bounds = _manifest(vera_nano(), without, vocabulary, None).tolerances
    assert sorted(bounds) == ["ciede2000_mean_max", "psnr_db_min", "token_agreement_min"]


def test_the_shared_nano_bundle_reads_an_edit_off_a_pair(nano_bundle: Path) -> None:
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.export.commands import sample_pixels
    from vera_mobile.export.differences import sqnr_db
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.runtime import ExecuTorchPlanner, TorchPlanner

    trained = load_checkpoint(checkpoint_folder("nano"))
    planner = ExecuTorchPlanner(Bundle.open(nano_bundle))
    pairs = reference_pairs(sample_pixels(trained.config, None)[:2], trained.config)
    for pair in pairs:
        expected = TorchPlanner(trained).encode_reference(*pair)
        # 8 bits with static ranges: 26.6 dB was the worst of 8 pairs, 42 their mean
        assert sqnr_db(expected, planner.encode_reference(*pair)) > 20
