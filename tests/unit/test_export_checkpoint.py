"""Checkpoints in public form, opened in one step, with their tokenizer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from public_files import TINY, Files, seeded_state
from qwen_files import write_tokenizer
from safetensors.torch import load_file

from vera_mobile.assets import checkpoint_folder
from vera_mobile.errors import FileError, ModelError
from vera_mobile.export.checkpoint import open_checkpoint
from vera_mobile.image import Photo
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.vlm import VeraModel
from vera_mobile.retoucher import Auto, Param, Retoucher, Style

# long enough for a prompt of the param task in the small tokenizer of these tests
CONFIG = replace(TINY, language=replace(TINY.language, vocab_size=420, max_length=4096))
SECOND = "encoder_renderer.safetensors"


@pytest.fixture
def public(tmp_path: Path) -> Files:
    """A folder as a user downloads it: shards, config.json, tokenizer, and the second file."""
    model = VeraModel(CONFIG)
    model.load_state_dict(seeded_state(model.state_dict()))
    files = Files.of(model.eval(), tmp_path)
    files.shards = 2
    files.write()
    write_tokenizer(files.folder)
    shutil.copy(files.root / SECOND, files.folder / SECOND)
    return files


def test_public_folder_becomes_a_checkpoint_that_retouches(public: Files) -> None:
    before = sorted(public.folder.iterdir())
    photo = Photo.from_array(
        torch.arange(90 * 60 * 3).remainder(251).byte().reshape(90, 60, 3).numpy()
    )
    with open_checkpoint(public.folder, config=CONFIG) as folder:
        model = load_checkpoint(folder)
        assert {f.name for f in folder.iterdir()} >= {"tokenizer.json", "import.json"}
        retoucher = Retoucher.load(folder)
        for task in (Auto(), Style("Airy pink"), Param({"Exposure2012": 30})):
            look = retoucher.plan(photo, task)
            assert look.latents.shape == (3, 16)
    assert not folder.exists()
    assert sorted(public.folder.iterdir()) == before
    expected = seeded_state(VeraModel(CONFIG).state_dict())
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    # of the param task only lighting has a slider
    assert look.latents[0].any()
    assert not look.latents[1:].any()


def test_second_file_elsewhere_and_as_pth(public: Files) -> None:
    weights = load_file(public.folder / SECOND)
    (public.folder / SECOND).unlink()
    with open_checkpoint(
        public.folder, config=CONFIG, encoder_renderer=public.root / SECOND
    ) as folder:
        assert (folder / "model.safetensors").is_file()
    torch.save({"model_state_dict": weights}, public.folder / "encoder_renderer.pth")
    with open_checkpoint(public.folder, config=CONFIG) as folder:
        assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "match"),
    [
        (SECOND, FileError, r"no encoder_renderer\.pth or"),
        ("vocab.json", FileError, "has no tokenizer"),
        ("merges.txt", FileError, r"merges\.txt cannot be read"),
        ("added_tokens.json", ModelError, "lacks the special tokens"),
        ("model-00002-of-00002.safetensors", FileError, "lacks 1 of 2 shards"),
    ],
)
def test_a_missing_file_is_named(
    public: Files, name: str, kind: type[Exception], match: str
) -> None:
    (public.folder / name).unlink()
    with pytest.raises(kind, match=match), open_checkpoint(public.folder, config=CONFIG):
        pass


def test_weights_of_another_shape_are_refused(public: Files) -> None:
    with (
        pytest.raises(ModelError, match=r"not of the shape of vera-0\.5b"),
        open_checkpoint(public.folder),
    ):
        pass


def test_our_form_is_given_back_as_it_is(tmp_path: Path) -> None:
    nano = checkpoint_folder("nano")
    for given in ("nano", nano):
        with open_checkpoint(given) as folder:
            assert folder == nano
    assert (nano / "model.safetensors").is_file()
    with pytest.raises(FileError, match="is no checkpoint"), open_checkpoint(tmp_path):
        pass
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"), open_checkpoint(tmp_path):
        pass


def test_the_image_is_prepared_as_the_weights_were_trained(public: Files) -> None:
    """A wide photo is padded with black for public weights, not squeezed."""
    from vera_mobile.model.config import vera_nano
    from vera_mobile.model.pixels import vision_pixels

    white = Photo.from_array(torch.full((50, 100, 3), 255, dtype=torch.uint8).numpy())
    seen = vision_pixels(white, CONFIG)
    assert seen.shape == (1, 3, 64, 64)
    rows = seen[0].mean((0, 2))
    assert rows[:14].max() == 0.0
    assert rows[18:46].min() == 1.0
    assert vision_pixels(white, vera_nano()).min() == 1.0
