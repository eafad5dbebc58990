"""Vocabulary and prompts of vera-nano."""

from __future__ import annotations

import pytest

from vera_mobile.assets import checkpoint_folder
from vera_mobile.develop.sliders import SLIDERS
from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.tokens import RETOUCH, SPECIALS, Vocabulary, slider_pieces, slider_text


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
    prompt = vocabulary.style(f"warm {special} please")
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
        vocabulary.style(wish)


def test_long_wishes_are_cut_to_fit_the_context(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.style("blå øre " * 49).after) <= 65


def test_a_file_that_is_no_tokenizer(tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Vocabulary.load(tmp_path / "tokenizer.json")


def test_a_tokenizer_without_our_tokens(tmp_path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="lacks the special tokens"):
        Vocabulary.load(tmp_path / "tokenizer.json")
