"""Finished photos and texts of two planners: equal ones, and one that is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vera_mobile.assets import checkpoint_folder
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.export.calibration import calibration_cases, decoder_inputs, model_order
from vera_mobile.export.form_planner import FormPlanner
from vera_mobile.export.photos_parity import (
    KINDS,
    Case,
    answer,
    case_of,
    parity_on_photos,
    parity_table,
    photo_cases,
)
from vera_mobile.export.recipes import recipe
from vera_mobile.export.replay import record, replay
from vera_mobile.export.stages import STAGES, build_part
from vera_mobile.image import Photo
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.gptq import round_nearest
from vera_mobile.runtime import TorchPlanner


def picture() -> np.ndarray:
    """(48, 64, 3) uint8 with structure."""
    y, x = np.mgrid[0:48, 0:64]
    planes = (3 * x + y, 200 - 2 * y, (x * y) // 16 + 30)
    return np.stack([np.clip(plane, 0, 255) for plane in planes], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> VeraModel:
    return load_checkpoint(checkpoint_folder("nano"))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case_of(f"made {i}", picture(), i) for i in range(3)]


def modules(model: VeraModel) -> dict[str, nn.Module]:
    return {name: build_part(name, model, recipe("host-fp32")).module for name in STAGES}


def test_the_exported_forms_in_float_are_the_checkpoint(
    model: VeraModel, vocabulary: Vocabulary, cases: list[Case]
) -> None:
    measured = FormPlanner(modules(model), model.config)
    found = parity_on_photos(TorchPlanner(model), measured, vocabulary, cases)
    figures = found["all"]
    assert figures["photos"] == 3
    assert [row["task"] for row in found["cases"]] == list(KINDS)
    assert figures["token_agreement"] == figures["text_prefix"] == figures["texts_equal"] == 1.0
    assert figures["text_same_place"] == 1.0
    # the same sums in another order: 8-bit codes may differ by one here and there
    assert figures["psnr_db_min"] > 59
    assert figures["ciede2000_mean"] < 0.01
    assert figures["latent_sqnr_db"] > 100
    assert len(parity_table(found).splitlines()) == 1 + len(figures)


def test_a_form_that_is_off_is_found(
    model: VeraModel, vocabulary: Vocabulary, cases: list[Case]
) -> None:
    parts = modules(model)
    torch.manual_seed(4)
    with torch.no_grad():
        for layer in parts["decoder"].modules():
            if isinstance(layer, nn.Linear):
                layer.weight += 0.15 * layer.weight.std() * torch.randn_like(layer.weight)
    measured = FormPlanner(parts, model.config)
    done: list[int] = []
    found = parity_on_photos(TorchPlanner(model), measured, vocabulary, cases, on_case=done.append)[
        "all"
    ]
    assert done == [1, 2, 3]
    assert found["token_agreement"] < 1
    assert found["texts_equal"] < 1
    assert found["text_prefix"] <= found["text_same_place"] <= 1
    assert found["psnr_db_min"] <= found["psnr_db_p5"] <= found["psnr_db_mean"] < 59
    assert found["latent_sqnr_db"] < 30


def test_a_replay_is_the_generation_in_one_pass(
    model: VeraModel, vocabulary: Vocabulary, cases: list[Case]
) -> None:
    parts = modules(model)
    for case in cases:
        wanted = answer(TorchPlanner(model), vocabulary, case)
        script = record(TorchPlanner(model), vocabulary, Photo.from_array(case.picture), case.task)
        got = replay(parts, script)
        assert tuple(got.logits.argmax(-1).tolist()) == wanted.choices
        assert script.answer[:-1] == wanted.look.tokens
        np.testing.assert_allclose(got.latents.numpy(), wanted.look.latents, atol=1e-5)


def test_a_given_text_is_followed(
    model: VeraModel, vocabulary: Vocabulary, cases: list[Case]
) -> None:
    said = (*vocabulary.encode("warm light"), vocabulary.retouch[0])
    got = answer(TorchPlanner(model), vocabulary, cases[0], said)
    assert got.look.tokens == said[:-1]
    assert len(got.choices) == len(said)
    own = answer(TorchPlanner(model), vocabulary, cases[0])
    assert not np.array_equal(own.look.latents, got.look.latents)


def test_the_same_place_gives_the_same_case_and_each_task_has_a_third(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for file in files:
        Image.fromarray(picture()).save(file)
    first, second = (list(photo_cases(files, long_side=32)) for _ in range(2))
    assert [case.kind for case in first] == 2 * list(KINDS)
    for a, b in zip(first, second, strict=True):
        assert a.task == b.task
        assert np.array_equal(a.picture, b.picture)
        assert a.picture.shape == (24, 32, 3)
    assert not np.array_equal(first[0].picture, first[3].picture)  # another fault


def test_what_cannot_be_measured_is_refused(
    model: VeraModel, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    planner = TorchPlanner(model)
    with pytest.raises(InvalidArgument, match="no photos"):
        parity_on_photos(planner, planner, vocabulary, [])
    broken = tmp_path / "a.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(FileError, match=r"a\.jpg"):
        list(photo_cases([broken]))


def test_calibration_sees_all_tasks(model: VeraModel, vocabulary: Vocabulary) -> None:
    cases = calibration_cases([picture()])
    assert [case.kind for case in cases] == list(KINDS)
    inputs = decoder_inputs(model, vocabulary, cases)
    tokens, hidden = model.config.vision.tokens, model.config.language.hidden_size
    for case, (embeds, start) in zip(cases, inputs, strict=True):
        assert embeds.shape[0] == 1
        assert embeds.shape[2] == hidden
        assert start.tolist() == [0]
        if case.kind != "param":
            assert embeds.shape[1] > tokens


def test_rounded_layers_go_back_to_the_order_of_the_checkpoint(model: VeraModel) -> None:
    form, config = modules(model)["decoder"], model.config.language

    def weight(name: str) -> torch.Tensor:
        return model.decoder.get_parameter(f"layers.1.attention.{name}.weight")

    joined = torch.cat([weight(name) for name in ("q_proj", "k_proj", "v_proj")])
    for name, plain in (("qkv", joined), ("o_proj", weight("o_proj"))):
        own = form.get_parameter(f"layers.1.{name}.weight")
        assert not torch.equal(own, plain)
        back = model_order(name, round_nearest(own, bits=4, group_size=32), config)
        wanted = round_nearest(plain, bits=4, group_size=32)
        assert torch.equal(back.codes, wanted.codes)
        assert torch.equal(back.scales, wanted.scales)
