"""The 38 sliders: identity, direction, monotony, gradients, and the readers of JSON and XMP."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vera_mobile.color.spaces import linear_to_srgb, rgb_to_lab, srgb_to_linear
from vera_mobile.develop import sliders as sl
from vera_mobile.develop.operators import (
    band_weights,
    develop,
    hue_chroma,
    mask_groups,
    to_encoded,
    to_linear,
)
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat


@pytest.fixture
def colours() -> torch.Tensor:
    return torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(3))


def one(name: str, value: float) -> torch.Tensor:
    return torch.from_numpy(sl.vector({name: value}))[None]


def test_there_are_38_sliders_in_three_groups() -> None:
    assert len(sl.SLIDERS) == len(set(sl.SLIDERS)) == 38
    assert [len(sl.SLIDERS[sl.GROUP_SLICES[g]]) for g in sl.GROUPS] == [10, 4, 24]


def test_zero_sliders_are_the_identity(colours: torch.Tensor) -> None:
    # float32 sRGB decoding and encoding: 1.2e-7 measured
    assert (develop(colours, torch.zeros(1, 38)) - colours).abs().max() < 1e-6


def test_transfer_functions_equal_the_float64_truth() -> None:
    x = np.linspace(0, 1, 1001)
    t = torch.from_numpy(x)
    assert np.allclose(to_linear(t).numpy(), srgb_to_linear(x), atol=1e-12)
    assert np.allclose(to_encoded(t).numpy(), linear_to_srgb(x), atol=1e-12)


@pytest.mark.parametrize("name", sl.SLIDERS)
@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_every_slider_moves_something_and_stays_in_range(
    name: str, value: float, colours: torch.Tensor
) -> None:
    out = develop(colours, one(name, value))
    assert out.min() >= 0
    assert out.max() <= 1
    assert (out - colours).abs().max() > 0.01


def test_exposure_is_monotone_in_the_slider(colours: torch.Tensor) -> None:
    steps = torch.stack([one("Exposure2012", float(v))[0] for v in range(-100, 101, 5)])
    out = develop(colours[:, :500].expand(len(steps), -1, -1), steps)
    assert (out[1:] - out[:-1]).min() >= -1e-6


@pytest.mark.parametrize("name", sl.LIGHTING)
@pytest.mark.parametrize("value", [-100.0, -40.0, 40.0, 100.0])
def test_tone_keeps_the_order_of_greys(name: str, value: float) -> None:
    greys = torch.linspace(0, 1, 512)[None, :, None].expand(1, -1, 3)
    out = develop(greys, one(name, value))
    assert (out[:, 1:] - out[:, :-1]).min() >= -1e-6
    # greys stay grey up to float32 rounding
    assert (out.amax(-1) - out.amin(-1)).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [
        ("Exposure2012", 0, 1),
        ("Shadows2012", 0, 1),
        ("Blacks2012", 0, 1),
        ("IncrementalTemperature", 2, 1),
        ("IncrementalTint", 1, 1),
    ],
)
def test_sliders_move_lab_the_way_their_names_say(
    name: str, axis: int, sign: int, colours: torch.Tensor
) -> None:
    before = rgb_to_lab(colours[0].double().numpy())[:, axis].mean()
    for value in (-60.0, 60.0):
        after = rgb_to_lab(develop(colours, one(name, value))[0].double().numpy())[:, axis].mean()
        assert (after - before) * sign * np.sign(value) > 0.3


def test_saturation_at_minus_100_is_grey(colours: torch.Tensor) -> None:
    out = develop(colours, one("Saturation", -100))
    assert (out.amax(-1) - out.amin(-1)).max() < 1e-5


def test_hue_bands_leave_greys_and_other_hues_alone() -> None:
    green = torch.tensor([[[0.2, 0.7, 0.2]]])
    grey = torch.tensor([[[0.4, 0.4, 0.4]]])
    edit = one("SaturationAdjustmentBlue", 100)
    assert (develop(green, edit) - green).abs().max() < 1e-6
    assert (develop(grey, edit) - grey).abs().max() < 1e-6


def test_band_weights_add_up_to_one() -> None:
    hue = torch.linspace(0, 359.9, 721)[:, None]
    weights = band_weights(hue)
    assert torch.allclose(weights.sum(-1), torch.ones(721), atol=1e-5)
    assert weights.min() >= 0


def test_hue_angles_of_the_primaries() -> None:
    primaries = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    hue = hue_chroma(primaries)[2].flatten()
    assert torch.allclose(hue, torch.tensor([0.0, 60, 120, 240]), atol=1e-3)


def test_gradients_are_finite_everywhere() -> None:
    rgb = torch.tensor([[[0.0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]]], requires_grad=True)
    values = torch.full((1, 38), 5.0, requires_grad=True)
    develop(rgb, values).sum().backward()
    assert rgb.grad is not None
    assert values.grad is not None
    assert torch.isfinite(rgb.grad).all()
    assert torch.isfinite(values.grad).all()


def test_masked_groups_are_zero() -> None:
    out = mask_groups(torch.ones(1, 38), torch.tensor([[1.0, 0.0, 1.0]]))
    assert out[0, :10].eq(1).all()
    assert out[0, 10:14].eq(0).all()
    assert out[0, 14:].eq(1).all()


def test_unknown_slider_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="Exposure2012"):
        sl.vector({"Exposure": 1})


@pytest.mark.parametrize("value", [101, -100.5, float("nan"), float("inf"), "12", True, None])
def test_bad_values_are_refused(value: object) -> None:
    with pytest.raises(InvalidArgument):
        sl.vector({"Exposure2012": value})  # type: ignore[dict-item]


def test_json_sliders(tmp_path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"Exposure2012": 20, "Saturation": -5}))
    assert sl.load(file) == {"Exposure2012": 20, "Saturation": -5}


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.50"
 crs:Contrast2012="-12" crs:Sharpness="40"><crs:HueAdjustmentRed>7</crs:HueAdjustmentRed>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_preset_exposure_is_in_stops(tmp_path) -> None:
    file = tmp_path / "p.xmp"
    file.write_text(XMP)
    assert sl.load(file) == {"Exposure2012": 10.0, "Contrast2012": -12.0, "HueAdjustmentRed": 7.0}


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.json", '{"Exposure2012": 20', FileError, "a.json:1"),
        ("a.json", "[1]", FileError, "object"),
        ("a.json", '{"Exposure2012": 200}', InvalidArgument, "-100..100"),
        ("a.txt", "", UnsupportedFormat, "json"),
        ("a.xmp", "<x>", FileError, "a.xmp:1"),
        ("a.xmp", "<x/>", UnsupportedFormat, "none of the 38"),
        ("a.xmp", '<!DOCTYPE x [<!ENTITY a "b">]><x/>', UnsupportedFormat, "entities"),
        ("a.xmp", XMP.replace("-12", "strong"), FileError, "Contrast2012"),
    ],
)
def test_bad_slider_files_give_one_clear_error(tmp_path, name, text, error, words) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(error, match=words):
        sl.load(file)


def test_missing_slider_file(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        sl.load(tmp_path / "none.json")
