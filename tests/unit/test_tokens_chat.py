"""Prompts of the public 0.5B model: text, ids, and the tokenizer's files.

VERA_TOKENIZER=DIR, the folder of the public checkpoint (or any Qwen2 tokenizer with its added
tokens), turns the comparison of the true ids on.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qwen_files import ADDED, write_tokenizer
from tokenizers import Tokenizer

from vera_mobile.develop.sliders import SLIDERS
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.model.config import ModelConfig, vera_0_5b, vera_nano
from vera_mobile.model.import_tokenizer import read_tokenizer
from vera_mobile.model.tokens import CHAT, NANO, RETOUCH, Prompt, Vocabulary

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "chat_prompts.json").read_text(encoding="utf-8")
)
VARIABLE = "VERA_TOKENIZER"
IMAGE = -200

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
WISHES = ("I want a Dreamy  bright pink style.", " 柔和的光, it's blå — 100%\n\nné", "e\u0301")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(made)
    return made


def load(folder: Path, config: ModelConfig | None = None) -> Vocabulary:
    return Vocabulary(Tokenizer.from_str(read_tokenizer(folder, config or vera_0_5b())))


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> Vocabulary:
    return load(folder)


def text_of(vocabulary: Vocabulary, prompt: Prompt) -> str:
    parts = [
        vocabulary.tokenizer.decode(list(ids), skip_special_tokens=False)
        for ids in (prompt.before, prompt.after)
    ]
    return ("<image>" if prompt.has_image else "").join(parts)


def test_auto_prompt_is_the_public_text(vocabulary: Vocabulary) -> None:
    assert text_of(vocabulary, vocabulary.auto()) == (
        SYSTEM + "<image>\n<Auto_Retouch_Task>\nNow, you are acting as a Retouch Agent. When I "
        "provide an image, please state the problems found in the image (from 3 aspects: lighting, "
        "global_color, specific color), and give the solution and retouch tokens." + ANSWER
    )


def test_style_prompt_holds_the_wish_as_written(vocabulary: Vocabulary) -> None:
    assert text_of(vocabulary, vocabulary.style(WISHES[0])) == (
        SYSTEM + "<image>\n<Style_Retouch_Task>\nNow, you are acting as a Retouch Agent. I will "
        "provide an image and an instruction, please give me a retouch plan and retouch tokens.\n"
        " Instruction: I want a Dreamy  bright pink style." + ANSWER
    )


def test_param_prompt_lists_all_sliders_as_shares(vocabulary: Vocabulary) -> None:
    prompt = vocabulary.param({"Exposure2012": 30, "Saturation": -7, "HueAdjustmentRed": 33.3})
    text = text_of(vocabulary, prompt)
    assert not prompt.has_image
    begin = (
        SYSTEM + "<Professional_Retouch_Task>\nNow, you are acting as a Retouch Agent. I will "
        "provide an image and an professional instruction (plain text description or retouch "
        "operator parameters range from -1.0 to 1.0), please give me a retouch plan and retouch "
        "tokens.\n Instruction: {'Light Adjustment': {'Exposure2012': 0.3, 'Contrast2012': 0.0, "
    )
    assert text.startswith(begin)
    assert "'Saturation': -0.07}, 'Specific Color Adjustment': {'HueAdjustmentRed': 0.333, " in text
    assert text.endswith("'LuminanceAdjustmentMagenta': 0.0}}" + ANSWER)
    assert [name for name in SLIDERS if f"'{name}': " not in text] == []


@pytest.mark.parametrize(
    ("sliders", "groups"),
    [
        ({}, (0, 0, 0)),
        ({"Blacks2012": -1}, (1, 0, 0)),
        ({"Vibrance": 5, "HueAdjustmentBlue": 9}, (0, 1, 1)),
        ({"Vibrance": 0.04}, (0, 0, 0)),
    ],
)
def test_groups_without_sliders_are_left_off(
    vocabulary: Vocabulary, sliders: dict[str, float], groups: tuple[int, int, int]
) -> None:
    assert vocabulary.param(sliders).groups == groups
    assert vocabulary.auto().groups == (1, 1, 1)


def test_each_special_token_is_one_id(vocabulary: Vocabulary, folder: Path) -> None:
    added = json.loads((folder / "added_tokens.json").read_text())
    assert vocabulary.retouch == tuple(added[t] for t in RETOUCH)
    assert vocabulary.end == (added["<|endoftext|>"], added["<|im_end|>"])
    assert vocabulary.auto().before[0] == added["<|im_start|>"]
    assert added["<Auto_Retouch_Task>"] in vocabulary.auto().after
    last = [i for i in vocabulary.auto().after if i in added.values()]
    assert last == [added[t] for t in ("<Auto_Retouch_Task>", "<|im_end|>", "<|im_start|>")]


@pytest.mark.parametrize("wish", WISHES)
def test_the_converted_tokenizer_equals_the_reference_one(
    vocabulary: Vocabulary, folder: Path, wish: str
) -> None:
    """Against the tokenizer that the public scripts use, pieces around the image apart."""
    transformers = pytest.importorskip("transformers")
    added = json.loads((folder / "added_tokens.json").read_text())
    reference = transformers.Qwen2Tokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        added_tokens_decoder={
            i: transformers.AddedToken(t, special=True, normalized=False) for t, i in added.items()
        },
    )
    prompt = vocabulary.style(wish)
    before, after = CHAT.style.split("{image}")
    assert list(prompt.before) == reference(before).input_ids
    assert list(prompt.after) == reference(after.replace("{text}", wish)).input_ids


@pytest.mark.parametrize("mark", [*ADDED, "<image>", "<<image>>", "<<|im_end|><|im_end|>>"])
def test_special_tokens_in_a_wish_are_plain_text(vocabulary: Vocabulary, mark: str) -> None:
    plain = vocabulary.style("warm  please")
    prompt = vocabulary.style(f"warm {mark} please")
    special = set(vocabulary.tokenizer.get_added_tokens_decoder())
    assert [i for i in prompt.after if i in special] == [i for i in plain.after if i in special]
    assert "<image>" not in text_of(vocabulary, prompt).split("<image>", 1)[1]


def test_doubled_marks_are_spelled_out_for_nano_too() -> None:
    from vera_mobile.assets import checkpoint_folder

    nano = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    assert nano.format is NANO
    assert nano.special_ids["<auto>"] not in nano.style("warm <<auto>> please").after


def test_an_answer_is_read_in_lines(vocabulary: Vocabulary) -> None:
    start, end = (
        vocabulary.tokenizer.token_to_id(t)
        for t in ("<problem_light_start>", "<problem_light_end>")
    )
    one, two = vocabulary.encode("too dark"), vocabulary.encode("brighten it")
    assert vocabulary.decode([start, *one, end, start, *two, end]) == "too dark\nbrighten it"
    assert vocabulary.decode([start, *one]) == "too dark"


def test_how_the_family_is_decoded() -> None:
    assert (CHAT.temperature, CHAT.top_p) == (0.2, 0.8)
    assert (NANO.temperature, NANO.top_p, NANO.max_tokens) == (0.0, 0.8, 120)


@pytest.mark.parametrize("wish", ["", " \n", "x" * 401])
def test_bad_wishes_are_refused(vocabulary: Vocabulary, wish: str) -> None:
    with pytest.raises(InvalidArgument, match=r"1\.\.400"):
        vocabulary.style(wish)


@pytest.mark.parametrize("sliders", [{"Glow": 1}, {"Vibrance": 101}, {"Vibrance": float("nan")}])
def test_bad_sliders_are_refused(vocabulary: Vocabulary, sliders: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=r"known ones|-100\.\.100"):
        vocabulary.param(sliders)


def test_array_and_table_of_sliders_are_one_prompt(vocabulary: Vocabulary) -> None:
    values = np.zeros(38, np.float32)
    values[SLIDERS.index("Vibrance")] = 12
    assert vocabulary.param(values) == vocabulary.param({"Vibrance": 12})


# ---- the tokenizer's files -----------------------------------------------------------------------


def test_settings_win_over_added_tokens(tmp_path: Path) -> None:
    added = write_tokenizer(tmp_path)
    table = {str(i): {"content": t, "special": t in RETOUCH} for t, i in added.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": table}))
    (tmp_path / "added_tokens.json").unlink()
    vocabulary = load(tmp_path)
    special = {
        t.content for t in vocabulary.tokenizer.get_added_tokens_decoder().values() if t.special
    }
    assert special == set(RETOUCH)
    assert vocabulary.retouch == tuple(added[t] for t in RETOUCH)


def test_a_ready_tokenizer_is_taken_as_it_is(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(read_tokenizer(folder, vera_0_5b()))
    assert load(tmp_path).auto() == load(folder).auto()


def test_files_that_are_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no tokenizer\.json and no vocab\.json"):
        read_tokenizer(tmp_path, vera_0_5b())
    added = write_tokenizer(tmp_path)
    small = replace(vera_nano(), language=replace(vera_nano().language, vocab_size=300))
    with pytest.raises(ModelError, match=rf"id {max(added.values())}, the model .* 300 embeddings"):
        read_tokenizer(tmp_path, small)
    (tmp_path / "added_tokens.json").write_text(json.dumps({t: i + 1 for t, i in added.items()}))
    with pytest.raises(ModelError, match="is its place after"):
        load(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nonlyone\n")
    with pytest.raises(ModelError, match=r"merges\.txt:2: 'onlyone' is no pair"):
        load(tmp_path)
    (tmp_path / "merges.txt").write_text("a qqqq\n")
    with pytest.raises(ModelError, match="does not fit"):
        load(tmp_path)
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(ModelError, match="is no table"):
        load(tmp_path)


# ---- the true ids --------------------------------------------------------------------------------


def test_goldens_have_the_public_frame() -> None:
    """What holds of the committed ids whatever the vocabulary: tokens, and the image's place."""
    ids, prompts = GOLDEN["tokens"], GOLDEN["prompts"]
    assert [ids[t] for t in RETOUCH] == [151646, 151647, 151648]
    for task, prompt in prompts.items():
        assert prompt[0] == ids["<|im_start|>"]
        assert prompt.count(ids["<|im_end|>"]) == 2, task
        assert (prompt.index(IMAGE) if task != "param" else -1) == (14 if task != "param" else -1)
        assert prompt.count(IMAGE) == (task != "param")


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no tokenizer")
@pytest.mark.parametrize("task", ["auto", "style", "param"])
def test_true_ids(task: str) -> None:
    vocabulary = load(Path(os.environ[VARIABLE]))
    prompts = {
        "auto": vocabulary.auto,
        "style": lambda: vocabulary.style("airy pink"),
        "param": lambda: vocabulary.param(
            {"Exposure2012": 30, "IncrementalTemperature": -40, "Saturation": 30}
        ),
    }
    prompt = prompts[task]()
    image = [IMAGE] if prompt.has_image else []
    assert [*prompt.before, *image, *prompt.after] == GOLDEN["prompts"][task]
