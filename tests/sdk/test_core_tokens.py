"""Tokenizer and prompts of the C++ core against the `tokenizers` library and model/tokens.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from core_client import CoreBundle, CoreRetoucher
from empty_bundles import KINDS, config_of, tokenizer_text, write_empty_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from vera_mobile.develop.sliders import SLIDERS
from vera_mobile.errors import InvalidArgument
from vera_mobile.model.tokens import Prompt, Vocabulary
from vera_mobile.retoucher import Auto, Param, Style
from vera_mobile.runtime import Planner

ROOT = Path(__file__).parents[2]


@dataclass
class Pair:
    """The same tokenizer in both languages."""

    kind: str
    core: CoreRetoucher
    python: Vocabulary


@pytest.fixture(scope="module", params=KINDS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("tokens")
    text = tokenizer_text(request.param, folder / "files")
    bundle = write_empty_bundle(folder / "bundle", config_of(request.param), text)
    core = CoreRetoucher(CoreBundle(bundle), cast(Planner, None))
    yield Pair(request.param, core, Vocabulary(Tokenizer.from_str(text)))
    core.close()
    core.bundle.close()


WRITTEN = (
    "golden hour",
    "I want a Dreamy  bright pink style.",
    "warm and bright",
    "Make it 20% darker!",
    " 柔和的光, it's blå — 100%\n\nné",
    "e\u0301",
    "don't we'LL you'Re I'M 'ſt 'Sx",
    "a\r\n\r\n  b \t c",
    "İstanbul ΑΣ ΑΣΣ. ΟΔΥΣΣΕΥΣ",
    "👩‍👩‍👧‍👦🏳️‍🌈 ok",
    "한국어 각 각",
    "١٢٣ ४५ Ⅷ ² ½ 𝟘",
    "  leading",
    "trailing  ",
    "<auto>style <<auto>> <|im_start|>system<|im_end|> <r0005=00> <image>",
    "Exposure2012+03",
    "Exposure2012+035 Exposure2012+1 HueAdjustmentRed-10",
    "\u00a0\u2003\u3000x\u200b",
    "",
    "\u0085 \x1c",
    "ﬁ ﬃ Å Å ﾊﾞ が か\u3099",
    "\u1e9b\u0323",
    "q\u0307\u0323 q\u0323\u0307",
    "\U0001d15e \u0958 \u2126",
    "'",
    "ab" * 300,
    "\n",
    "  \n  x",
    "...!!!\n\n",
    "don’t",
)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
RANDOM = st.text(LETTERS, max_size=60)
ODD = st.lists(
    st.sampled_from([*"'sStTdDmMlLrRvVeE ſK\n\r\t09aZé-<>.+_", "\u0301", "\u0323", "か", "\u3099",
                     "Σ", "Α", "İ", "\u00ad", " ", "\u2028", "<auto>", "<|im_end|>", "Vibrance+01",
                     "ㅎ", "\u1112", "\u1161", "\u11ab", "각", "😀", "\u200d", "\u0345", "½", "२"]),
    max_size=30,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_written_texts_have_the_same_ids(pair: Pair, text: str) -> None:
    check(pair, text)


@settings(max_examples=1000, deadline=None)
@given(text=st.one_of(RANDOM, ODD))
def test_any_text_has_the_same_ids(pair: Pair, text: str) -> None:
    check(pair, text)


def check(pair: Pair, text: str) -> None:
    ids = pair.core.encode(text)
    assert ids == pair.python.encode(text)
    assert pair.core.decode(ids) == pair.python.decode(ids)


def test_every_character_has_the_same_ids(pair: Pair) -> None:
    """Between letters and beside digits and marks, so that the splitting shows."""
    for begin in range(1, 0x110000, 256):
        codes = [c for c in range(begin, begin + 256) if c < 0x110000 and not 0xD800 <= c < 0xE000]
        text = "".join(f"a{chr(c)}b {chr(c)}{chr(c)}1" for c in codes)
        assert pair.core.encode(text) == pair.python.encode(text), hex(begin)


@settings(max_examples=1500, deadline=None)
@given(numbers=st.lists(st.integers(0, 2**16), max_size=12))
def test_any_ids_have_the_same_text(pair: Pair, numbers: list[int]) -> None:
    """Halves of characters, special tokens and ids of nothing among them."""
    ids = [n % (len(pair.python) + 3) for n in numbers]
    assert pair.core.decode(ids) == pair.python.decode(ids)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=24))
def test_bytes_that_are_no_utf8_have_the_same_text(pair: Pair, data: bytes) -> None:
    spelled = Tokenizer.from_str(pair.python.tokenizer.to_str())
    alphabet = byte_characters()
    ids = [spelled.token_to_id(alphabet[b]) for b in data]
    assert pair.core.decode(ids) == pair.python.decode(ids)


def byte_characters() -> dict[int, str]:
    """How byte-level tokenizers spell each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out = {b: chr(b) for b in plain}
    rest = [b for b in range(256) if b not in out]
    return out | {b: chr(256 + i) for i, b in enumerate(rest)}


# ---- prompts -------------------------------------------------------------------------------------


def seen_by(pair: Pair, seed: int = 0) -> np.ndarray:
    side = config_of(pair.kind).vision.image_size
    noise = np.random.default_rng(seed).beta(2, 3, (1, 3, side, side))
    return noise.astype(np.float32)


def expect(got: tuple[list[int], int, tuple[float, ...]], wanted: Prompt) -> None:
    ids, image_at, groups = got
    assert ids == [*wanted.before, *wanted.after]
    assert image_at == (len(wanted.before) if wanted.has_image else -1)
    assert groups == wanted.groups


@pytest.mark.parametrize("seed", range(4))
def test_auto_prompts_are_equal(pair: Pair, seed: int) -> None:
    seen = seen_by(pair, seed)
    expect(pair.core.prompt(Auto(), seen), pair.python.auto(seen))


def test_measures_of_odd_pictures_are_equal(pair: Pair) -> None:
    seen = seen_by(pair)
    for value in (0.0, 1.0, 0.5, 127.4999 / 255, 127.5 / 255, -3.0, 7.0, np.nan, np.inf):
        seen[:, :, ::2] = value
        expect(pair.core.prompt(Auto(), seen), pair.python.auto(seen))


@settings(max_examples=150, deadline=None)
@given(wish=st.one_of(RANDOM, ODD))
def test_style_prompts_are_equal(pair: Pair, wish: str) -> None:
    seen = seen_by(pair)
    try:
        wanted = pair.python.style(wish, seen)
    except InvalidArgument:
        with pytest.raises(InvalidArgument, match=r"use 1\.\.400"):
            pair.core.prompt(Style(wish), seen)
    else:
        expect(pair.core.prompt(Style(wish), seen), wanted)


@pytest.mark.parametrize("wish", [w for w in WRITTEN if w.strip() and "\x1c" not in w][:24])
def test_style_prompts_of_written_wishes_are_equal(pair: Pair, wish: str) -> None:
    seen = seen_by(pair)
    text = wish[:400]
    expect(pair.core.prompt(Style(text), seen), pair.python.style(text, seen))


PERCENT = st.one_of(
    st.floats(-100, 100, width=32), st.integers(-100, 100), st.sampled_from([-0.0, 0.05, 0.5, -0.5])
)


@settings(max_examples=150, deadline=None)
@given(values=st.dictionaries(st.sampled_from(SLIDERS), PERCENT, max_size=38))
def test_param_prompts_are_equal(pair: Pair, values: dict[str, float]) -> None:
    expect(pair.core.prompt(Param(values), None), pair.python.param(values))


def test_unicode_tables_are_those_of_the_library() -> None:
    script = ROOT / "kernels/sdk/unicode_tables.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)
