"""Configs: what is refused and how, JSON round trip, the parameter budget."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig, vera_0_5b, vera_nano
from vera_mobile.model.vlm import PARTS, VeraModel, parameter_counts


@pytest.mark.parametrize("config", [vera_0_5b(), vera_nano()], ids=lambda config: config.name)
def test_json_round_trip_keeps_every_value(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_key_is_named_with_its_path():
    values = vera_nano().to_dict()
    values["vision"]["colour"] = 3
    with pytest.raises(InvalidArgument, match=r"vision\.colour.*image_size"):
        ModelConfig.from_dict(values)


def test_missing_key_is_named():
    values = vera_nano().to_dict()
    del values["language"]["layers"]
    with pytest.raises(InvalidArgument, match=r"language.*layers"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision", "image_size", "256"),
        ("vision", "image_size", True),
        ("vision", "embed_dims", 24),
        ("vision", "embed_dims", [24, 48, 96, 160, 25.5]),
        ("renderer", "residual", 1),
        ("language", "rope_theta", "1e4"),
    ],
)
def test_value_of_wrong_type_is_refused(part, key, value):
    values = vera_nano().to_dict()
    values[part][key] = value
    with pytest.raises(InvalidArgument, match=rf"{part}\.{key}"):
        ModelConfig.from_dict(values)


def test_whole_number_is_accepted_for_a_float():
    values = vera_nano().to_dict()
    values["language"]["rope_theta"] = 10000
    assert ModelConfig.from_dict(values) == vera_nano()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("vision", {"image_size": 100}),
        ("vision", {"image_size": 0}),
        ("vision", {"embed_dims": (24, 48, 96, 161, 256)}),
        ("vision", {"depths": (1, 1, 1, 1)}),
        ("vision", {"depths": (1, 1, 1, 1, 0)}),
        ("language", {"kv_heads": 3}),
        ("language", {"head_dim": 63}),
        ("language", {"rms_eps": 0.0}),
        ("renderer", {"widths": ()}),
        ("renderer", {"latent_size": -1}),
        ("encoder", {"widths": (16, 8, 64, 128)}),
        ("encoder", {"image_size": 100}),
    ],
)
def test_impossible_shape_is_refused_when_made(part, change):
    with pytest.raises(InvalidArgument, match=next(iter(change))):
        replace(getattr(vera_nano(), part), **change)


def test_photo_must_fit_the_context():
    nano = vera_nano()
    with pytest.raises(InvalidArgument, match="16 image tokens"):
        replace(nano, language=replace(nano.language, max_length=16))


def test_configs_are_frozen():
    with pytest.raises(FrozenInstanceError):
        vera_nano().vision.image_size = 512  # type: ignore[misc]


def test_nano_stays_in_its_parameter_budget():
    counts = parameter_counts(VeraModel(vera_nano()))
    assert counts["total"] <= 12_000_000, counts  # 7.67 M when written
    assert counts["total"] == sum(counts[part] for part in PARTS)


def test_public_shape_has_the_public_parameter_counts():
    with torch.device("meta"):
        counts = parameter_counts(VeraModel(vera_0_5b()))
    assert counts["decoder"] == 494_032_768  # Qwen2-0.5B as published
    assert counts["projector"] == 3_557_120
    assert counts["retouch_head"] == 9_042_432
    assert counts["renderer"] == 2_577_795


def test_image_tokens_of_both_shapes():
    assert (vera_nano().vision.tokens, vera_nano().vision.feature_size) == (16, 512)
    assert (vera_0_5b().vision.tokens, vera_0_5b().vision.feature_size) == (256, 3072)
