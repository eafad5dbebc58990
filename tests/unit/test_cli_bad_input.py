"""Bad input: one message, exit code 2, nothing half-written, the input as it was."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, Vera, files_in
from image_makers import chunk
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.retoucher import Retoucher

LONGEST_MESSAGE = 1200  # the one that lists all 38 sliders has 870 characters


@pytest.fixture
def folder(
    tmp_path: Path,
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    nano_bundle: Path,
    retoucher: Retoucher,
) -> Path:
    """The current folder: a good photo, and the bundle as a link."""
    made = tmp_path / "in"
    made.mkdir()
    Image.fromarray(picture).save(made / "good.png")
    (made / "vera.bundle").symlink_to(nano_bundle)
    monkeypatch.chdir(made)
    return made


def check_refused(done: Outcome, *words: str) -> None:
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("vera: ")
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    assert len(done.err) < LONGEST_MESSAGE
    for word in words:
        assert word in done.err


# ---- photos --------------------------------------------------------------------------------------


def _missing(_: Path) -> None:
    """Nothing is made."""


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    Image.open("good.png").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("Dear diary, today I retouched a photo.")


def _frames(path: Path) -> None:
    frames = [Image.fromarray(np.full((9, 9, 3), v, np.uint8)) for v in (1, 99, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _huge(path: Path) -> None:
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x\x9c"))


def _directory(path: Path) -> None:
    path.mkdir()


def _heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def _unreadable_link(path: Path) -> None:
    path.symlink_to(path)


PHOTOS: tuple[tuple[Callable[[Path], None], str, str], ...] = (
    (_missing, "none.jpg", "No such file"),
    (_empty, "empty.jpg", "empty"),
    (_truncated, "half.jpg", "damaged or cut off"),
    (_truncated, "half.png", "damaged or cut off"),
    (_text, "text.jpg", "not a picture"),
    (_frames, "moving.gif", "GIF"),
    (_frames, "moving.png", "3 frames"),
    (_frames, "moving.webp", "3 frames"),
    (_huge, "huge.png", "20000 x 20000"),
    (_directory, "folder.jpg", "folder"),
    (_heic, "phone.jpg", "HEIC"),
    (_heic, "phone.heic", "HEIC"),
    (_unreadable_link, "loop.jpg", "Cannot open"),
)


@pytest.mark.parametrize(("make", "name", "word"), PHOTOS, ids=[p[1] for p in PHOTOS])
def test_bad_photos(
    vera: Vera, folder: Path, make: Callable[[Path], None], name: str, word: str
) -> None:
    make(folder / name)
    before = files_in(folder)
    done = vera("retouch", "--bundle", "vera.bundle", "--save-cube", "--save-look", name)
    check_refused(done, name, word)
    assert files_in(folder) == before


# ---- arguments -----------------------------------------------------------------------------------

RETOUCH = ("retouch", "--bundle", "vera.bundle", "good.png")
TRAIN = ("train", "renderer", "--photos", "photos", "--out", "run")
ARGUMENTS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((), "COMMAND"),
    (("paint",), "paint"),
    (("retouch",), "PHOTO"),
    ((*RETOUCH, "--brightness", "1"), "--brightness"),
    ((*RETOUCH, "--strength", "2"), "0..1.5"),
    ((*RETOUCH, "--strength", "nan"), "0..1.5"),
    ((*RETOUCH, "--strength", "strong"), "strong"),
    ((*RETOUCH, "--lighting", "-1"), "--lighting"),
    ((*RETOUCH, "--temperature", "3"), "0..2"),
    ((*RETOUCH, "--seed", "-1"), "seed"),
    ((*RETOUCH, "--seed", "x"), "--seed"),
    ((*RETOUCH, "--style", ""), "1..400"),
    ((*RETOUCH, "--style", "w" * 401), "1..400"),
    ((*RETOUCH, "--style", "a", "--params", "p.json"), "not allowed with"),
    ((*RETOUCH, "--params", "none.json"), "none.json"),
    ((*RETOUCH, "--params", "good.png"), ".xmp"),
    ((*RETOUCH, "--params", "unknown.json"), "Exposure2012"),
    ((*RETOUCH, "--params", "far.json"), "-100..100"),
    ((*RETOUCH, "--params", "word.json"), "'much'"),
    ((*RETOUCH, "--params", "list.json"), "list.json:1"),
    ((*RETOUCH, "--params", "broken.json"), "broken.json:2"),
    ((*RETOUCH, "--params", "broken.xmp"), "broken.xmp:1"),
    ((*RETOUCH, "--params", "other.xmp"), "none of the 38"),
    ((*RETOUCH, "--out", "x.bmp"), ".bmp"),
    ((*RETOUCH, "--out", "good.png/below"), "good.png/below"),
    ((*RETOUCH, "good.png", "--out", "one.png"), "one file for 2 photos"),
    (("retouch", "--bundle", "photos", "good.png"), "neither a bundle"),
    (("retouch", "--bundle", "pickle", "good.png"), "pickle"),
    (("retouch", "--bundle", "none", "good.png"), "none"),
    (("inspect", "none"), "none"),
    (("inspect", "photos"), "bundle.json"),
    (("inspect",), "BUNDLE"),
    (("verify", "none"), "none"),
    (("verify", "vera.bundle", "--checkpoint", "none"), "nano"),
    (("export", "--recipe", "android-int5", "--out", "o"), "android-int4"),
    (("export",), "--out"),
    (("export", "--checkpoint", "none", "--out", "o"), "none"),
    (("export", "--checkpoint", "pickle", "--out", "o"), "pickle"),
    (("export", "--out", "vera.bundle"), "exists"),
    (("export", "--photos", "photos", "--out", "o"), "no photos"),
    (("bench", "quality", "--photos", "photos"), "no photos"),
    (("bench", "quality", "--photos", "none"), "no photos"),
    (("bench", "quality", "--photos", "photos", "--limit", "-1"), "--limit"),
    (("bench", "quality", "--photos", "bad"), "00.jpg"),
    (("bench", "run", "--bundle", "photos"), "bundle.json"),
    (("bench", "run", "--bundle", "vera.bundle", "--repeats", "0"), "--repeats"),
    (("bench", "speed"), "speed"),
    ((*TRAIN, "--set", "nonsense"), "KEY=VALUE"),
    ((*TRAIN, "--set", "stepps=3"), "stepps"),
    ((*TRAIN, "--set", "steps=many"), "steps"),
    ((*TRAIN, "--set", "steps=0"), "steps"),
    ((*TRAIN, "--config", "none"), "renderer-nano"),
    ((*TRAIN, "--config", "unknown.toml"), "stepps"),
    ((*TRAIN, "--config", "broken.toml"), "broken.toml"),
    (TRAIN, "no photos"),
    (("train", "sharpen"), "sharpen"),
    (("demo", "--photo", "none.jpg", "--out", "demo"), "none.jpg"),
)


@pytest.fixture
def inputs(folder: Path) -> Path:
    """Files that the cases name."""
    (folder / "photos").mkdir()
    texts = {
        "p.json": "{}",
        "unknown.json": '{"Brightness": 3}',
        "far.json": '{"Exposure2012": 101}',
        "word.json": '{"Exposure2012": "much"}',
        "list.json": "[1, 2]",
        "broken.json": '{"Exposure2012": 1,\n oops}',
        "broken.xmp": "<x><y></x>",
        "other.xmp": "<x/>",
        "unknown.toml": "stepps = 3\n",
        "broken.toml": "steps = = 3\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "bad").mkdir()
    (folder / "bad" / "00.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (folder / "bad" / "manifest.csv").write_text("file,split,tier\n00.jpg,test,A\n")
    pickled = folder / "pickle"
    shutil.copytree(checkpoint_folder("nano"), pickled)
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04\x95cos\nsystem\n.")
    return folder


@pytest.mark.parametrize(
    ("arguments", "word"), ARGUMENTS, ids=["-".join(a)[:60] or "nothing" for a, _ in ARGUMENTS]
)
def test_bad_arguments(vera: Vera, inputs: Path, arguments: tuple[str, ...], word: str) -> None:
    before = files_in(inputs)
    check_refused(vera(*arguments), word)
    assert files_in(inputs) == before


def test_a_pickle_under_the_name_of_safetensors_is_refused(vera: Vera, inputs: Path) -> None:
    (inputs / "pickle" / "pytorch_model.bin").rename(inputs / "pickle" / "model.safetensors")
    check_refused(vera("retouch", "--bundle", "pickle", "good.png"), "pickle, which can run code")


def test_a_damaged_bundle_is_named_by_every_command(vera: Vera, bundle_copy: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(bundle_copy.parent / "a.png")
    (bundle_copy / "head.pte").unlink()
    for arguments in (
        ("inspect", bundle_copy),
        ("verify", bundle_copy),
        ("retouch", "--bundle", bundle_copy, bundle_copy.parent / "a.png"),
    ):
        check_refused(vera(*arguments), "'head'", "missing")


def test_a_manifest_of_a_later_release_says_update(vera: Vera, bundle_copy: Path) -> None:
    file = bundle_copy / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 2}))
    check_refused(vera("inspect", bundle_copy), "update vera-mobile")


def test_training_photos_that_cannot_be_read_are_named(vera: Vera, inputs: Path) -> None:
    manifest = inputs / "bad" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("test", "train"))
    done = vera("train", "renderer", "--photos", "bad", "--out", "run")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert "00.jpg" in done.err.splitlines()[-1]
    assert not (inputs / "run").exists()


def test_a_full_or_forbidden_place_is_one_message(
    vera: Vera, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file cannot be opened for writing, whatever the reason of the system."""
    import vera_mobile.files

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vera_mobile.files, "open", refuse, raising=False)
    before = files_in(folder)
    done = vera(*RETOUCH)
    assert (done.code, done.out) == (2, "")
    message = done.err.splitlines()[-1]  # the text of the plan comes first
    assert message.startswith("vera: ")
    assert "good-vera.png: No space left on device" in message
    assert files_in(folder) == before


def test_an_interrupt_leaves_nothing(
    vera: Vera, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Retoucher, "render", interrupt)
    before = files_in(folder)
    done = vera(*RETOUCH)
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("vera: stopped")
    assert files_in(folder) == before
