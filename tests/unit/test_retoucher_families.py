"""What depends on the family of the weights: ends of answers, groups, and looks from references.

The planners here are scripted, or nano's own reference encoder: no bundle is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from qwen_files import write_tokenizer
from tokenizers import Tokenizer

from vera_mobile.assets import checkpoint_folder
from vera_mobile.cli import main
from vera_mobile.color.metrics import psnr
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import vector
from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.image import Photo
from vera_mobile.model.config import vera_0_5b, vera_nano
from vera_mobile.model.import_tokenizer import read_tokenizer
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.match import FITTED, LIMIT, sliders_towards
from vera_mobile.model.pixels import LONGEST_EDGE, reference_pixels, vision_pixels
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.retoucher import Auto, Param, Reference, Retoucher, Sampling
from vera_mobile.runtime import Planner, TorchPlanner


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Vocabulary(Tokenizer.from_str(read_tokenizer(folder, vera_0_5b())))


class Answering:
    """Answers with the given tokens; the hidden state of step k is k + 1 everywhere."""

    def __init__(self, answer: list[int], rows: int) -> None:
        self.config = vera_nano()
        self.max_length = 2048
        self.answer, self.rows, self.steps = answer, rows, 0

    def embed(self, ids: np.ndarray) -> np.ndarray:
        return np.zeros((1, ids.shape[1], 8), np.float32)

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        return np.zeros((1, 16, 8), np.float32)

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros(self.rows, np.float32)
        logits[self.rows - 3 :] = 99  # rows that stand for no token
        if self.steps < len(self.answer):
            logits[self.answer[self.steps]] = 50
        self.steps += 1
        return logits, np.full(8, self.steps, np.float32)

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return hidden


GREEDY = Sampling(temperature=0.0)


def answered(vocabulary: Vocabulary, answer: list[int]) -> Answering:
    return Answering(answer, len(vocabulary) + 3)


@pytest.fixture
def grey() -> Photo:
    return Photo.from_array(np.full((6, 8, 3), 90, np.uint8))


@pytest.mark.parametrize("end", [0, 1])
def test_an_answer_that_ends_early_still_gives_a_look(
    chat: Vocabulary, grey: Photo, end: int
) -> None:
    text = chat.encode("brighten it")
    planner = answered(chat, [*text, chat.end[end]])
    look = Retoucher(cast(Planner, planner), chat).plan(grey, sampling=GREEDY)
    assert (look.tokens, look.text) == (tuple(text), "brighten it")
    assert look.latents[:, 0].tolist() == [len(text) + 1, len(text) + 2, len(text) + 3]


def test_groups_without_sliders_are_left_off_in_the_look(chat: Vocabulary, grey: Photo) -> None:
    planner = answered(chat, [*chat.encode("less blue"), *chat.retouch])
    retoucher = Retoucher(cast(Planner, planner), chat)
    look = retoucher.plan(grey, Param({"SaturationAdjustmentBlue": -20}), sampling=GREEDY)
    assert not look.latents[:2].any()
    assert look.latents[2].all()


def test_the_family_says_how_it_is_decoded(chat: Vocabulary, grey: Photo) -> None:
    """At the published temperature of 0.2 a token 0.1 below the best is drawn in some seeds."""
    one, two = chat.encode("warm")[0], chat.encode("soft")[0]

    class Even(Answering):
        def step(
            self, embeds: np.ndarray, start: int, wanted: int = 1
        ) -> tuple[np.ndarray, np.ndarray]:
            logits, state = super().step(embeds, start)
            if self.steps == 1:
                logits[:] = -50
                logits[[one, two]] = 1.0, 0.9
            return logits, state

    def first(sampling: Sampling) -> int:
        planner = Even([0, *chat.retouch], len(chat) + 3)
        return Retoucher(cast(Planner, planner), chat).plan(grey, sampling=sampling).tokens[0]

    assert {first(Sampling(seed=seed)) for seed in range(12)} == {one, two}
    assert {first(Sampling(temperature=0.0, seed=seed)) for seed in range(4)} == {one}
    assert first(Sampling(seed=3)) == first(Sampling(seed=3))


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    nano = checkpoint_folder("nano")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((nano / name).read_bytes())
    with pytest.raises(Exception, match=r"tokenizer\.json is missing"):
        Retoucher.load(tmp_path)
    tokenizer = Tokenizer.from_file(str(nano / "tokenizer.json"))
    tokenizer.add_tokens([f"more{i}" for i in range(3)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="4099 tokens, the model 4096 embeddings"):
        Retoucher.load(tmp_path)


# ---- what the model sees -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 200), (90, 140), (64, 64), (37, 91), (800, 101)], ids=str)
def test_pixels_equal_the_public_preparation(size: tuple[int, int]) -> None:
    """Against the same steps in Pillow and the image processor that the public scripts use."""
    transformers = pytest.importorskip("transformers")
    edges = {"height": 1024, "width": 1024}
    processor = transformers.CLIPImageProcessor(
        crop_size=edges, image_mean=[0.0] * 3, image_std=[1.0] * 3, size={"shortest_edge": 1024}
    )
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    scale = 512 / min(size)
    width, height = (512 if edge == min(size) else int(edge * scale) for edge in size)
    scaled = image.resize((width, height), Image.Resampling.LANCZOS)
    side = max(width, height)
    square = Image.new("RGB", (side, side), (0, 0, 0))
    square.paste(scaled, ((side - width) // 2, (side - height) // 2))
    expected = processor.preprocess(square, return_tensors="np")["pixel_values"]
    seen = vision_pixels(Photo.from_array(np.asarray(image)), vera_0_5b())
    # the same codes; the division by 255 may differ in the last bit
    assert np.abs(seen - expected).max() < 1e-6


def test_very_wide_photos_stay_small() -> None:
    """Short edge at 512 would make 1 x 4000 a square of 2 million pixels a side."""
    photo = Photo.from_array(np.full((1, 4000, 3), 200, np.uint8))
    seen = vision_pixels(photo, vera_0_5b())
    assert seen.shape == (1, 3, 1024, 1024)
    assert LONGEST_EDGE == 4096
    assert 0 < (seen[0, 0].max(1) > 0).sum() < 8


def test_nano_sees_the_whole_square() -> None:
    photo = Photo.from_array(np.full((50, 100, 3), 255, np.uint8))
    assert vision_pixels(photo, vera_nano()).min() == 1.0
    assert reference_pixels(photo, vera_nano()).shape == (1, 3, 128, 128)
    assert reference_pixels(photo, vera_0_5b()).shape == (1, 3, 512, 512)


# ---- references ----------------------------------------------------------------------------------


class Encoding(TorchPlanner):
    """Nano in PyTorch with its reference encoder."""

    def __init__(self) -> None:
        model = load_checkpoint(checkpoint_folder("nano"))
        super().__init__(model)
        self._encoder = model.reference_encoder
        self.seen: tuple[np.ndarray, np.ndarray] | None = None

    @torch.inference_mode()
    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        self.seen = before, after
        pair = (torch.from_numpy(before), torch.from_numpy(after))
        return cast(np.ndarray, self._encoder(*pair)[0].numpy())


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding()


@pytest.fixture(scope="module")
def nano(encoding: Encoding) -> Retoucher:
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    return Retoucher(encoding, vocabulary)


def developed(pixels: np.ndarray, sliders: Mapping[str, float]) -> np.ndarray:
    rgb = torch.from_numpy(pixels.astype(np.float32) / 255).reshape(1, -1, 3)
    edited = develop(rgb, torch.from_numpy(vector(sliders))[None]).numpy()
    return np.round(np.clip(edited, 0, 1) * 255).astype(np.uint8).reshape(pixels.shape)


@pytest.fixture(scope="module")
def cup() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.coffee()[::3, ::3])


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.chelsea()[::2, ::2])


FAULT = {"Exposure2012": -25, "Contrast2012": -20, "IncrementalTemperature": 30}


def test_a_pair_is_done_again_on_another_photo(
    nano: Retoucher, cup: np.ndarray, cat: np.ndarray
) -> None:
    faulty = Photo.from_array(developed(cat, FAULT))
    pair = Reference(Photo.from_array(developed(cup, FAULT)), Photo.from_array(cup))
    look = nano.plan(faulty, pair)
    assert look.text == ""
    assert set(look.timings_ms) == {"prepare", "reference"}
    done = nano.render(look, faulty).pixels
    before, after = (psnr(x / 255, cat / 255) for x in (faulty.pixels, done))
    assert after > before + 3, (before, after)


def test_the_pair_may_have_two_sizes_but_one_frame(nano: Retoucher, cup: np.ndarray) -> None:
    small = Photo.from_array(np.ascontiguousarray(developed(cup, FAULT)[::2, ::2]))
    look = nano.plan(small, Reference(small, Photo.from_array(cup)))
    assert np.isfinite(look.latents).all()
    with pytest.raises(InvalidArgument, match="same frame before and after"):
        Reference(small, Photo.from_array(np.ascontiguousarray(cup[:, : cup.shape[1] // 2])))


def test_one_picture_moves_the_colours_towards_it(
    nano: Retoucher, cup: np.ndarray, cat: np.ndarray
) -> None:
    photo, wanted = Photo.from_array(cup), Photo.from_array(cat)
    look = nano.plan(photo, Reference(None, wanted))
    done = nano.render(look, photo).pixels
    assert {"prepare", "reference", "decode"} <= set(look.timings_ms)

    def mean(pixels: np.ndarray) -> np.ndarray:
        return rgb_to_lab(pixels.reshape(-1, 3) / 255).mean(0)

    before, after = (np.linalg.norm(mean(x) - mean(cat)) for x in (cup, done))
    assert after < 0.9 * before, (before, after)


def test_colours_of_known_sliders_are_found_again(cup: np.ndarray) -> None:
    """Other sliders may do the same to the distribution of the colours: that one is compared."""
    known = {"Exposure2012": 20, "IncrementalTemperature": -30, "Saturation": 25}
    wanted = developed(cup, known)
    seen, goal = (reference_pixels(Photo.from_array(x), vera_nano()) for x in (cup, wanted))
    found = sliders_towards(seen, goal)
    assert set(found) == set(FITTED)

    def described(pixels: np.ndarray) -> np.ndarray:
        lab = rgb_to_lab(pixels.reshape(-1, 3) / 255)
        return np.concatenate([np.percentile(lab[:, 0], (10, 50, 90)), lab.mean(0)])

    before, after = (
        np.linalg.norm(described(x) - described(wanted)) for x in (cup, developed(cup, found))
    )
    assert after < 0.1 * before, (before, after, found)  # measured: 0.03
    far = sliders_towards(seen, np.ones_like(seen))
    assert max(map(abs, far.values())) <= LIMIT


def test_the_same_picture_twice_is_refused(nano: Retoucher, cup: np.ndarray) -> None:
    photo = Photo.from_array(cup)
    for task in (Reference(photo, photo), Reference(None, photo)):
        with pytest.raises(InvalidArgument, match="same picture twice"):
            nano.plan(photo, task)


@pytest.fixture
def files(tmp_path: Path, cup: np.ndarray, cat: np.ndarray) -> Path:
    for name, pixels in (("a", developed(cup, FAULT)), ("b", cup), ("p", developed(cat, FAULT))):
        Photo.from_array(pixels).save(tmp_path / f"{name}.png")
    Photo.from_array(np.ascontiguousarray(cup[:, :40])).save(tmp_path / "narrow.png")
    return tmp_path


@pytest.mark.parametrize("names", [("a", "b"), ("b",)])
def test_the_command_takes_a_reference(
    files: Path, nano: Retoucher, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr("vera_mobile.commands.retouch._load", lambda bundle: nano)
    given = [str(files / f"{name}.png") for name in names]
    code = main(
        ["retouch", str(files / "p.png"), "--out", str(files / "out"), "--reference", *given]
    )
    assert code == 0
    assert (files / "out" / "p-vera.png").is_file()


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("a.png", "a.png"), "twice"),
        (("a.png", "b.png", "p.png"), "has 3 files"),
        (("gone.png", "b.png"), "gone.png"),
        (("gone.png",), "gone.png"),
        (("narrow.png", "b.png"), "same frame"),
    ],
)
def test_the_command_refuses_bad_references(
    files: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], match: str
) -> None:
    given = [str(files / name) for name in names]
    code = main(
        ["retouch", str(files / "p.png"), "--out", str(files / "out"), "--reference", *given]
    )
    assert code == 2
    assert match in capsys.readouterr().err
    assert not (files / "out").exists()


def test_the_result_never_replaces_a_reference(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = [files / "p.png", "--out", files / "b.png", "--overwrite"]
    given += ["--reference", files / "a.png", files / "b.png"]
    assert main(["retouch", *map(str, given)]) == 2
    assert "is an input and is never replaced" in capsys.readouterr().err


def test_auto_is_still_the_default(nano: Retoucher, cup: np.ndarray) -> None:
    photo = Photo.from_array(cup)
    assert nano.plan(photo).tokens == nano.plan(photo, Auto()).tokens
