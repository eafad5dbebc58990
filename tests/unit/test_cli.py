"""The `vera` command as people and programs use it; bad input is in test_cli_bad_input.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Vera, files_in
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.cli import build_parser
from vera_mobile.color.cube import read_cube
from vera_mobile.image import Photo
from vera_mobile.model.config import ModelConfig, vera_nano
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.vlm import VeraModel
from vera_mobile.retoucher import Auto, Param, Retoucher, Style

SLIDERS = {"Exposure2012": 20, "Vibrance": 40}
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
 crs:Exposure2012="+1.00" crs:Vibrance="+40"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def folder(tmp_path: Path, picture: np.ndarray) -> Path:
    """A folder with a.png, b.png and the sliders in both forms."""
    made = tmp_path / "in"
    made.mkdir()
    Image.fromarray(picture).save(made / "a.png")
    Image.fromarray(255 - picture).save(made / "b.png")
    (made / "p.json").write_text(json.dumps(SLIDERS))
    (made / "p.xmp").write_text(XMP)
    return made


@pytest.fixture
def retouch(vera: Vera, nano_bundle: Path, retoucher: Retoucher) -> Vera:
    return lambda *arguments: vera("retouch", "--bundle", nano_bundle, *arguments)


def expected(retoucher: Retoucher, file: Path, task: Any, **strengths: float) -> np.ndarray:
    photo = Photo.load(file)
    strength = strengths.pop("strength", 1.0)
    look = retoucher.plan(photo, task).with_strengths(**strengths)
    return retoucher.render(look, photo, strength=strength).pixels


# ---- retouch -------------------------------------------------------------------------------------


def test_auto_writes_beside_the_photo(retouch: Vera, folder: Path, retoucher: Retoucher) -> None:
    before = files_in(folder)
    done = retouch(folder / "a.png")
    assert (done.code, done.out) == (0, f"{folder / 'a-vera.png'}\n")
    pixels = Photo.load(folder / "a-vera.png").pixels
    assert np.array_equal(pixels, expected(retoucher, folder / "a.png", Auto()))
    assert done.err.strip() == retoucher.plan(Photo.load(folder / "a.png")).text
    after = files_in(folder)
    assert after.keys() - before.keys() == {"a-vera.png"}
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("option", "value", "task"),
    [
        ("--style", "airy pink", Style("airy pink")),
        ("--params", "p.json", Param(SLIDERS)),
        ("--params", "p.xmp", Param(SLIDERS)),
    ],
)
def test_tasks_into_a_new_folder(
    retouch: Vera, folder: Path, retoucher: Retoucher, option: str, value: str, task: Any
) -> None:
    given = folder / value if option == "--params" else value
    done = retouch(option, given, "--out", folder / "deep" / "out", folder / "a.png")
    assert done.code == 0, done.err
    pixels = Photo.load(folder / "deep" / "out" / "a-vera.png").pixels
    assert np.array_equal(pixels, expected(retoucher, folder / "a.png", task))


def test_strengths_reach_the_look(retouch: Vera, folder: Path, retoucher: Retoucher) -> None:
    names = {"strength": 0.5, "lighting": 0.0, "global_color": 1.5, "specific_color": 0.25}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in names.items()]
    assert retouch(*flags, "--params", folder / "p.json", folder / "a.png").code == 0
    pixels = Photo.load(folder / "a-vera.png").pixels
    assert np.array_equal(pixels, expected(retoucher, folder / "a.png", Param(SLIDERS), **names))


def test_strength_0_is_the_input(retouch: Vera, folder: Path, picture: np.ndarray) -> None:
    assert retouch("--strength", "0", "--out", folder / "same.tif", folder / "a.png").code == 0
    out = Photo.load(folder / "same.tif")
    assert out.format == "TIFF"
    assert np.array_equal(out.pixels, picture)


def test_seed_and_temperature_repeat(retouch: Vera, folder: Path) -> None:
    for name in ("1.png", "2.png"):
        flags = ("--temperature", "0.9", "--seed", "5", "--out", folder / name)
        assert retouch(*flags, folder / "a.png").code == 0
    assert (folder / "1.png").read_bytes() == (folder / "2.png").read_bytes()


def test_cube_and_look_are_saved(retouch: Vera, folder: Path, retoucher: Retoucher) -> None:
    flags = ("--save-cube", "--save-look", "--lighting", "0.5", "--strength", "0.5")
    assert retouch(*flags, "--params", folder / "p.json", folder / "a.png").code == 0
    look = retoucher.look_from_json((folder / "a-vera.look.json").read_text())
    assert look.lighting == 0.5
    photo = Photo.load(folder / "a.png")
    again = retoucher.render(look, photo, strength=0.5).pixels
    assert np.array_equal(again, Photo.load(folder / "a-vera.png").pixels)
    look.save_cube(folder / "again.cube", strength=0.5)
    cube = read_cube(folder / "a-vera.cube")
    assert np.array_equal(cube.lut, read_cube(folder / "again.cube").lut)


def test_json_is_one_document(retouch: Vera, folder: Path) -> None:
    flags = ("--json", "--save-cube", "--save-look", "--out", folder / "out")
    done = retouch(*flags, folder / "a.png", folder / "b.png")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["failed"] == []
    assert [Path(row["photo"]).name for row in report["done"]] == ["a.png", "b.png"]
    for row in report["done"]:
        assert all(Path(row[key]).is_file() for key in ("photo", "out", "cube", "look"))
        assert {"vision", "prefill", "decode", "head"} <= row["timings_ms"].keys()
        assert row["text"] is not None
        assert row["notes"] == []


def test_one_bad_photo_does_not_stop_the_others(retouch: Vera, folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    out = folder / "out"
    done = retouch("--out", out, folder / "a.png", folder / "bad.jpg", folder / "b.png")
    assert done.code == 2
    assert files_in(out).keys() == {"a-vera.png", "b-vera.png"}
    assert done.out.splitlines() == [str(out / "a-vera.png"), str(out / "b-vera.png")]
    first, last = done.err.splitlines()
    assert first == "vera: 1 of 3 photos failed:"
    assert str(folder / "bad.jpg") in last
    report = json.loads(
        retouch("--json", "--overwrite", "--out", out, folder / "a.png", folder / "bad.jpg").out
    )
    assert [Path(row["photo"]).name for row in report["failed"]] == ["bad.jpg"]
    assert len(report["done"]) == 1


def test_results_are_replaced_only_with_overwrite(retouch: Vera, folder: Path) -> None:
    for name in ("a-vera.png", "a-vera.cube", "a-vera.look.json"):
        (folder / name).write_text("precious")
        before = files_in(folder)
        done = retouch("--save-cube", "--save-look", folder / "a.png", folder / "b.png")
        assert done.code == 2
        assert f"{name} exists" in done.err
        assert files_in(folder) == before
        (folder / name).unlink()
    (folder / "a-vera.png").write_text("old")
    assert retouch("--overwrite", folder / "a.png").code == 0
    assert Photo.load(folder / "a-vera.png").width == 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("--out", "a.png", "a.png"),
        ("--out", "sub/../a.png", "a.png"),
        ("a.png", "a-vera.png"),
        ("--save-look", "--params", "a-vera.look.json", "a.png"),
    ],
    ids=["same", "detour", "another-input", "params"],
)
def test_an_input_is_never_replaced(
    retouch: Vera, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (folder / "sub").mkdir()
    (folder / "a-vera.png").write_bytes((folder / "b.png").read_bytes())
    (folder / "a-vera.look.json").write_text(json.dumps(SLIDERS))
    before = files_in(folder)
    monkeypatch.chdir(folder)
    done = retouch("--overwrite", *arguments)
    assert done.code == 2
    assert "is an input" in done.err
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [("a.png", "a.png"), ("--out", "out", "a.png", "sub/a.png"), ("--save-cube", "a.png", "a.tif")],
    ids=["twice", "same-name", "same-cube"],
)
def test_results_that_collide_are_refused(
    retouch: Vera, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (folder / "sub").mkdir()
    for name in ("sub/a.png", "a.tif"):
        Image.open(folder / "b.png").save(folder / name)
    before = files_in(folder)
    monkeypatch.chdir(folder)
    done = retouch("--overwrite", *arguments)
    assert done.code == 2
    assert "would both write" in done.err
    assert files_in(folder) == before


def _grey(picture: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    grey = Image.fromarray(picture).convert("L")
    return grey, np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def _cmyk(picture: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    inks = 255 - picture
    return Image.fromarray(np.dstack([inks, np.zeros_like(inks[..., :1])]), "CMYK"), picture


def _one(picture: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    return Image.fromarray(picture[:1, :1]), picture[:1, :1]


@pytest.mark.parametrize(
    ("make", "note"), [(_grey, "Grey converted"), (_cmyk, "CMYK converted"), (_one, "")]
)
def test_unusual_photos_give_the_right_picture(
    retouch: Vera,
    folder: Path,
    picture: np.ndarray,
    make: Callable[[np.ndarray], tuple[Image.Image, np.ndarray]],
    note: str,
) -> None:
    image, rgb = make(picture)
    image.save(folder / "odd.tif")
    done = retouch("--strength", "0", "--out", folder / "odd.png", folder / "odd.tif")
    assert done.code == 0, done.err
    assert note in done.err
    assert np.array_equal(Photo.load(folder / "odd.png").pixels, rgb)


# ---- bundles -------------------------------------------------------------------------------------


def test_inspect_tells_what_is_in_a_bundle(vera: Vera, nano_bundle: Path) -> None:
    text = vera("inspect", nano_bundle)
    assert text.code == 0
    words = ("vera-nano", "android-int4", "decoder.pte", "int4w_g32_int8dyn", "xnnpack")
    assert all(word in text.out for word in words)
    report = json.loads(vera("inspect", "--json", nano_bundle).out)
    stored = sum(entry["size_bytes"] for entry in report["files"].values())
    assert (
        stored
        == report["size_bytes"]
        == sum((nano_bundle / entry["path"]).stat().st_size for entry in report["files"].values())
    )
    assert report["operators_by_backend"]["xnnpack"] > 0


def test_verify_of_a_whole_bundle(vera: Vera, nano_bundle: Path) -> None:
    done = vera("verify", nano_bundle)
    assert (done.code, done.out.splitlines()[-1]) == (0, "passed")
    report = json.loads(vera("verify", "--json", nano_bundle).out)
    assert report["passed"]
    assert report["self"]["programs"].keys() == {
        "vision", "embed", "decoder", "head", "reference", "bake",
    }  # fmt: skip


def test_verify_against_the_checkpoint_finds_a_missed_tolerance(
    vera: Vera, bundle_copy: Path
) -> None:
    """Bounds that any bundle meets, then one that none does: independent of nano's quality."""
    file = bundle_copy / "bundle.json"
    manifest = json.loads(file.read_text())
    for bound, code, last in ((-1000.0, 0, "passed"), (1000.0, 1, "FAILED")):
        file.write_text(json.dumps(manifest | {"tolerances": {"psnr_db_min": bound}}))
        done = vera("verify", bundle_copy, "--checkpoint", "nano")
        assert (done.code, done.out.splitlines()[-1]) == (code, last)
    assert "MISSED" in done.out
    assert json.loads((bundle_copy / "parity.json").read_text())["passed"] is False


def test_verify_of_a_changed_file(vera: Vera, bundle_copy: Path) -> None:
    raw = bytearray((bundle_copy / "head.pte").read_bytes())
    raw[-9] ^= 1
    (bundle_copy / "head.pte").write_bytes(raw)
    done = vera("verify", bundle_copy)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("vera: Bundle file 'head'")


def test_list_recipes(vera: Vera) -> None:
    done = vera("export", "--list-recipes")
    assert done.code == 0
    listed = json.loads(vera("export", "--list-recipes", "--json").out)
    names = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
    assert names == list(listed)
    assert {"android-int4", "ios-int4", "npu-onnx-int8"} <= set(names)
    assert "Neural Engine" in listed["ios-ane"]["runs_on"]


def tiny_config() -> ModelConfig:
    nano = vera_nano()
    return replace(
        nano,
        name="tiny",
        vision=replace(
            nano.vision, image_size=128, embed_dims=(16, 32, 32, 32, 64), depths=(1, 1, 1, 1, 1)
        ),
        language=replace(
            nano.language, hidden_size=64, layers=1, head_dim=16, intermediate_size=64
        ),
        renderer=replace(nano.renderer, widths=(16, 16), latent_size=64),
    )


def test_export_writes_a_verified_bundle(vera: Vera, tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = save_checkpoint(VeraModel(tiny_config()).eval(), tmp_path / "tiny")
    tokenizer = (checkpoint_folder("nano") / "tokenizer.json").read_bytes()
    (checkpoint / "tokenizer.json").write_bytes(tokenizer)
    before = files_in(checkpoint)
    out = tmp_path / "tiny.bundle"
    flags = ("--checkpoint", checkpoint, "--recipe", "host-fp32", "--out", out)
    done = vera("export", *flags, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["parity"]["passed"]
    assert report["bundle"]["recipe"] == "host-fp32"
    assert files_in(checkpoint) == before
    written = files_in(out)
    again = vera("export", *flags)
    assert again.code == 2
    assert "exists" in again.err
    assert files_in(out) == written


# ---- bench and train -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small photos to train on and one to test on."""
    from skimage import data

    made = tmp_path_factory.mktemp("photos")
    coffee = data.coffee()[::2, ::2]
    rows = ["file,split,tier"]
    for i in range(13):
        Image.fromarray(np.roll(coffee, 20 * i, axis=1)).save(made / f"{i:02d}.jpg")
        rows.append(f"{i:02d}.jpg,{'test' if i == 12 else 'train'},A")
    (made / "manifest.csv").write_text("\n".join(rows) + "\n")
    return made


def test_bench_quality_gives_its_figures(vera: Vera, photos: Path, nano_bundle: Path) -> None:
    flags = ("--photos", photos, "--limit", "1", "--json")
    done = vera("bench", "quality", "--bundle", nano_bundle, *flags)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    for part, key in (
        ("auto", "psnr_gain_db"),
        ("auto", "ciede2000_mean"),
        ("auto", "ciede2000_alone"),
        ("param", "psnr_db"),
        ("style", "direction_accuracy"),
        ("good_photos", "ciede2000_mean"),
    ):
        assert np.isfinite(report[part][key]), (part, key)
    text = vera("bench", "quality", "--bundle", nano_bundle, *flags[:-1]).out
    assert f"auto.{'psnr_gain_db':<28} {report['auto']['psnr_gain_db']}" in text


def test_bench_run_gives_times_of_every_stage(
    vera: Vera, nano_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vera_mobile.measure.RENDER_MEGAPIXELS", (1,))
    done = vera("bench", "run", "--bundle", nano_bundle, "--repeats", "3", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    stages = {"prepare", "vision", "prefill", "decode", "head", "plan", "bake", "render_1mp"}
    assert stages <= report["stages"].keys()
    for row in report["stages"].values():
        assert row["n"] == 3
        assert 0 < row["median_ms"] <= row["p95_ms"]
    assert report["bundle"]["recipe"] == "android-int4"


SETTINGS = ("batch=2", "warmup=1", "save_every=1", "log_every=1", "pixels=64", "threads=1")


def train(vera: Vera, stage: str, photos: Path, out: Path, *settings: str) -> None:
    flags = [flag for pair in (*SETTINGS, *settings) for flag in ("--set", pair)]
    done = vera("train", stage, "--photos", photos, "--out", out, *flags)
    assert done.code == 0, done.err
    assert "12 photos" in done.err


def steps_logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_both_stages_train_and_resume(vera: Vera, photos: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "renderer", tmp_path / "plan"
    threads = torch.get_num_threads()
    train(vera, "renderer", photos, first, "steps=1")
    train(vera, "renderer", photos, first, "steps=2")
    assert steps_logged(first) == [1, 2]
    assert json.loads((first / "config.json").read_text())["steps"] == 2
    train(vera, "plan", photos, second, "steps=1", f"stage1={first}")
    train(vera, "plan", photos, second, "steps=2", f"stage1={first}")
    assert steps_logged(second) == [1, 2]
    torch.set_num_threads(threads)
    model = load_checkpoint(second)
    assert model.config.to_dict() == vera_nano().to_dict()


# ---- the command itself --------------------------------------------------------------------------


def commands(parser: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All parsers below `parser` that run something."""
    found: dict[tuple[str, ...], Any] = {}
    for action in parser._actions:
        if hasattr(action, "_name_parser_map"):
            for name, child in action.choices.items():
                found |= commands(child, (*path, name))
    return found or {path: parser}


def test_every_command_shows_an_example(vera: Vera) -> None:
    found = commands(build_parser())
    expected = {("retouch",), ("export",), ("verify",), ("inspect",), ("demo",),
                ("bench", "quality"), ("train", "renderer"), ("train", "plan")}  # fmt: skip
    assert expected <= found.keys()
    for path in found:
        shown = vera(*path, "--help")
        assert shown.code == 0
        assert f"example: vera {' '.join(path)} " in f"{' '.join(shown.out.split())} ", path


def test_version(vera: Vera) -> None:
    done = vera("--version")
    assert (done.code, done.out.split()[0]) == (0, "vera-mobile")


def test_as_a_process(folder: Path, nano_bundle: Path) -> None:
    """Descriptors included: the native libraries print past Python's streams."""

    def vera(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vera_mobile.cli", *(str(a) for a in arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = vera("retouch", "--json", "--bundle", nano_bundle, folder / "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["done"]) == 1
    (folder / "bad.jpg").write_bytes(b"")
    done = vera("retouch", "--bundle", nano_bundle, folder / "bad.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vera: ")
    assert len(done.stderr.splitlines()) == 1
