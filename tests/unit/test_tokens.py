"""Vocabulary and prompts of vera-nano."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from vera_mobile.assets import checkpoint_folder
from vera_mobile.develop.sliders import SLIDERS
from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.measures import LEVELS, MEASURES, measure_pieces, measured_levels
from vera_mobile.model.tokens import (
    NANO,
    NANO_MEASURED,
    RETOUCH,
    SPECIALS,
    Vocabulary,
    add_measures_,
    build_tokenizer,
    slider_pieces,
    slider_text,
)

GREY = np.full((1, 3, 8, 8), 0.5, np.float32)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")


def test_size_and_special_tokens(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == 4096
    assert len(set(vocabulary.retouch)) == len(RETOUCH) == 3


@pytest.mark.parametrize("text", ["warm and bright", "Blå himmel ☀️", "a\nb  c", "100% café"])
def test_text_survives_encoding(vocabulary: Vocabulary, text: str) -> None:
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("special", SPECIALS)
def test_special_tokens_in_a_wish_are_plain_text(vocabulary: Vocabulary, special: str) -> None:
    prompt = vocabulary.style(f"warm {special} please", GREY)
    forbidden = {vocabulary.tokenizer.token_to_id(s) for s in SPECIALS}
    assert not forbidden & set(prompt.after[:-1])


def test_a_slider_value_is_two_tokens(vocabulary: Vocabulary) -> None:
    pieces = [
        vocabulary.tokenizer.id_to_token(i)
        for i in vocabulary.param({"Saturation": -7, "Exposure2012": 35}).before
    ]
    assert pieces == ["<param>", "Exposure2012+03", "5", "Saturation-00", "7", "<answer>"]


@pytest.mark.parametrize("name", SLIDERS)
def test_every_slider_and_value_is_spelled(vocabulary: Vocabulary, name: str) -> None:
    for value in (-100, -99, -10, -1, 1, 9, 10, 100):
        ids = vocabulary.param({name: value}).before
        assert len(ids) == 4, (name, value)
    assert slider_text({name: 0}) == ""


def test_slider_pieces_are_single_tokens(vocabulary: Vocabulary) -> None:
    for piece in slider_pieces():
        assert vocabulary.tokenizer.token_to_id(piece) is not None


@pytest.mark.parametrize("wish", ["", "   ", "x" * 401])
def test_bad_wishes_are_refused(vocabulary: Vocabulary, wish: str) -> None:
    with pytest.raises(InvalidArgument, match=r"1\.\.400"):
        vocabulary.style(wish, GREY)


def test_long_wishes_are_cut_to_fit_the_context(vocabulary: Vocabulary) -> None:
    prompt = vocabulary.style("blå øre " * 49, GREY)
    measured = len(MEASURES) if vocabulary.measures else 0
    assert len(prompt.after) <= 65 + measured


def test_a_file_that_is_no_tokenizer(tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Vocabulary.load(tmp_path / "tokenizer.json")


def test_a_tokenizer_without_our_tokens(tmp_path) -> None:
    from tokenizers import models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="lacks the special tokens"):
        Vocabulary.load(tmp_path / "tokenizer.json")


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return build_tokenizer(["warm and bright, soft light"])


@pytest.fixture(scope="module")
def measured(plain: Tokenizer) -> Vocabulary:
    tokenizer = Tokenizer.from_str(plain.to_str())
    add_measures_(tokenizer)
    return Vocabulary(tokenizer)


def test_measure_tokens_come_behind_all_others(plain: Tokenizer, measured: Vocabulary) -> None:
    size = plain.get_vocab_size()
    assert measured.measures == tuple(range(size, size + len(MEASURES) * LEVELS))
    assert all(measured.tokenizer.id_to_token(i) == plain.id_to_token(i) for i in range(size))
    assert measured.tokenizer.id_to_token(size + 70) == measure_pieces()[70]
    assert set(measured.measures) <= set(measured.prompt_only)


def test_the_measures_follow_the_image(plain: Tokenizer, measured: Vocabulary) -> None:
    seen = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    levels = measured_levels(seen)
    own = tuple(measured.measures[m * LEVELS + v] for m, v in enumerate(levels))
    old = Vocabulary(plain)
    assert (old.format, measured.format) == (NANO, NANO_MEASURED)
    assert measured.auto(seen).before == old.auto().before
    assert measured.auto(seen).after == own + old.auto().after
    assert measured.style("warm", seen).after == own + old.style("warm").after
    assert measured.param({"Saturation": -7}) == old.param({"Saturation": -7})
    assert old.auto(seen) == old.auto()


def test_a_measured_prompt_needs_its_picture(measured: Vocabulary) -> None:
    for ask in (measured.auto, lambda: measured.style("warm")):
        with pytest.raises(InvalidArgument, match="holds measures of the photo"):
            ask()


def test_a_measure_in_a_wish_is_plain_text(measured: Vocabulary) -> None:
    prompt = measured.style("warm <r0005=00> please", GREY)
    assert not set(measured.measures) & set(prompt.after[len(MEASURES) :])


def test_a_tokenizer_with_some_of_the_measures_is_refused(plain: Tokenizer) -> None:
    tokenizer = Tokenizer.from_str(plain.to_str())
    tokenizer.add_special_tokens(measure_pieces()[:5])
    with pytest.raises(ModelError, match=r"lacks 1275 of 1280 measure tokens, <r0005=05> first"):
        Vocabulary(tokenizer)
