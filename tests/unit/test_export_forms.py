"""The exported forms compute what the model computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.forms import DecoderForm, EmbedRowsForm
from vera_mobile.export.recipes import recipe
from vera_mobile.export.stages import STAGES, build_part, capture, golden_inputs
from vera_mobile.model.config import LanguageConfig, vera_nano
from vera_mobile.model.language import Decoder
from vera_mobile.model.vlm import VeraModel

# float32 sums in another order; measured 3e-7 at outputs of size 0.6
SUM_ORDER = 5e-6


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    config = LanguageConfig(
        vocab_size=64,
        hidden_size=32,
        layers=2,
        heads=6,
        kv_heads=2,
        head_dim=8,
        intermediate_size=48,
        max_length=24,
        rope_theta=1e4,
    )
    made = Decoder(config).eval()
    for parameter in made.parameters():  # biases start at 0 and would hide a mixed-up order
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(9,), (1,) * 9, (4, 1, 3, 1)])
def test_decoder_form_is_the_decoder(decoder: Decoder, cuts: tuple[int, ...]) -> None:
    form = DecoderForm(decoder)
    embeds = torch.randn(1, 9, 32)
    hidden = decoder(embeds)[:, -1]
    start = 0
    for count in cuts:
        logits, last = form(embeds[:, start : start + count], torch.tensor([start]))
        start += count
    assert (last - hidden).abs().max() < SUM_ORDER
    assert (logits - decoder.logits(hidden)).abs().max() < SUM_ORDER


@torch.no_grad()
def test_a_second_generation_does_not_see_the_first(decoder: Decoder) -> None:
    used, fresh = DecoderForm(decoder), DecoderForm(decoder)
    used(torch.randn(1, 20, 32), torch.tensor([0]))
    embeds = torch.randn(1, 5, 32)
    for got, expected in zip(
        used(embeds, torch.tensor([0])), fresh(embeds, torch.tensor([0])), strict=True
    ):
        assert torch.equal(got, expected)


def test_embedding_rows_keep_eight_bits(decoder: Decoder) -> None:
    ids = torch.arange(64).unsqueeze(0)
    expected = decoder.embed(ids)
    gap = (EmbedRowsForm(decoder)(ids) - expected).abs()
    assert (gap <= expected.abs().amax(-1, keepdim=True) / 254 + 1e-6).all()


def test_capture_changes_no_weight_and_runs_at_other_lengths() -> None:
    torch.manual_seed(0)
    model = VeraModel(vera_nano()).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    part = build_part("decoder", model, recipe("android-int4"))
    program = capture(part).module()
    for count in (1, 3, 256):
        logits, hidden = program(torch.randn(1, count, 256), torch.tensor([0]))
        assert logits.shape == (1, 4096)
        assert hidden.shape == (1, 256)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_calibration_photos_are_needed_and_checked() -> None:
    model = VeraModel(vera_nano()).eval()
    for photos in (None, np.zeros((0, 3, 256, 256)), np.full((1, 3, 256, 256), 2.0)):
        with pytest.raises(InvalidArgument, match="Calibration photos"):
            build_part("vision", model, recipe("android-int4"), photos)


@pytest.mark.parametrize("name", STAGES)
def test_golden_inputs_are_the_same_each_time(name: str) -> None:
    first, second = golden_inputs(name, vera_nano()), golden_inputs(name, vera_nano())
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
