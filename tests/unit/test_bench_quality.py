"""`vera bench quality` as people run it: its parts, its options and what it refuses."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Vera
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.cli import Console, build_parser
from vera_mobile.color.cube import write_cube
from vera_mobile.color.lut import identity_lut
from vera_mobile.commands import bench_quality as command

FIGURES = {"psnr_db", "ciede2000_mean", "ssim", "histogram_similarity", "histogram_cosine"}


class Heard(Console):
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.said: list[str] = []
        self.values: Any = None
        self.text: str | None = None

    def say(self, text: str = "", *, end: str = "\n") -> None:
        self.said.append(text)

    def result(self, values: Any, text: str | None = None) -> None:
        self.values, self.text = values, text


def bench(*flags: object) -> Heard:
    """What `vera bench quality FLAGS` says and gives, in one process."""
    words = ["bench", "quality", "--workers", "1", *(str(f) for f in flags)]
    args, heard = build_parser().parse_args(words), Heard()
    assert args.run(args, heard) == 0
    return heard


def made(folder: Path, picture: np.ndarray) -> Path:
    """A folder with two small photos of the test split."""
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.roll(picture, 60 * i, 1)[::2, ::2]).save(folder / f"{i}.png")
    (folder / "manifest.csv").write_text("file,split,tier\n0.png,test,A\n1.png,test,A\n")
    return folder


@pytest.fixture
def photos(tmp_path: Path, picture: np.ndarray) -> Path:
    return made(tmp_path / "photos", picture)


@pytest.fixture(scope="module")
def everything(
    tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray, nano_bundle: Path
) -> tuple[Heard, Path]:
    """One run with all that can be asked for, and the folder of its contact sheet."""
    folder = tmp_path_factory.mktemp("bench")
    write_cube(folder / "same.cube", identity_lut(2))
    small = picture[::4, ::4]
    for name, shown in (("input", small // 2), ("expertC", small)):
        (folder / "pairs" / name).mkdir(parents=True)
        Image.fromarray(shown).save(folder / "pairs" / name / "a.png")
    heard = bench(
        "--photos", made(folder / "photos", picture), "--limit", "1", "--int4", nano_bundle,
        "--pairs", folder / "pairs", "--peers", f"same={folder / 'same.cube'}",
        "--contact", folder / "sheet",
    )  # fmt: skip
    return heard, folder / "sheet"


def test_everything_is_measured(everything: tuple[Heard, Path]) -> None:
    report = everything[0].values
    for part in ("auto", "param", "good_photos", "reference", "auto_levels", "clahe", "gray_world"):
        assert report[part].keys() >= FIGURES, part
        assert all(np.isfinite(list(report[part].values()))), part
    assert report["reference"].keys() >= {"transfer_psnr_db", "transfer_ciede2000_mean"}
    assert {"psnr_gain_db", "ciede2000_alone", "ssim_alone"} <= report["auto"].keys()
    assert report["photos"] == {"n": 1}
    assert report["auto"]["n"] == report["int4"]["n"] == 2


def test_int4_is_the_difference_to_the_bundle(everything: tuple[Heard, Path]) -> None:
    report = everything[0].values
    loss = report["auto"]["psnr_db"] - report["int4"]["psnr_db"]
    assert report["int4"]["psnr_loss_db"] == pytest.approx(loss, abs=1e-4)
    assert 0 < abs(loss) < 5


def test_a_lut_that_changes_nothing_gains_nothing(everything: tuple[Heard, Path]) -> None:
    report = everything[0].values
    for prefix, auto in (("", "auto"), ("pairs_", "pairs")):
        same = report[f"{prefix}same"]
        assert same["psnr_db"] == report[auto]["psnr_alone_db"]
        assert same["psnr_gain_db"] == 0
        assert report[f"{prefix}auto_levels"]["psnr_gain_db"] != 0
    assert report["pairs"]["n"] == 1


def test_the_contact_sheet_shows_photos_and_pairs(everything: tuple[Heard, Path]) -> None:
    heard, sheet = everything
    assert {p.name for p in sheet.iterdir()} == {"contact.png", "contact.html"}
    assert [line for line in heard.said if str(sheet / "contact.png") in line]
    page = (sheet / "contact.html").read_text()
    assert len(re.findall("<article ", page)) == 3  # two degradations and a pair
    assert "0, degradation 2" in page
    assert f"{heard.values['auto']['psnr_db']:.2f}" in page


def test_lines_for_people(everything: tuple[Heard, Path]) -> None:
    heard = everything[0]
    value = heard.values["reference"]["psnr_db"]
    assert f"reference.{'psnr_db':<28} {value}" in (heard.text or "").splitlines()
    notes = [line for line in heard.said if line.startswith("LPIPS is left out: lpips needs")]
    assert len(notes) == (find_spec("pyiqa") is None)


def test_lpips_is_measured_where_it_can_be(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    place = "vera_mobile.train.evaluation.run._lpips"
    monkeypatch.setattr(place, lambda: lambda a, b: torch.tensor([0.25]))
    heard = bench("--photos", photos, "--limit", "1", "--no-int4")
    assert heard.values["auto"]["lpips"] == heard.values["clahe"]["lpips"] == 0.25
    assert not heard.said
    assert "int4" not in heard.values


def test_a_bundle_is_measured_with_its_reference_encoder(photos: Path, nano_bundle: Path) -> None:
    heard = bench("--photos", photos, "--limit", "1", "--bundle", nano_bundle)
    assert heard.values["reference"].keys() >= FIGURES
    assert "int4" not in heard.values
    assert not [line for line in heard.said if line.startswith("reference is left out")]


def test_a_bundle_without_the_encoder_says_so(photos: Path, bundle_copy: Path) -> None:
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    del manifest["files"]["reference"]
    (bundle_copy / "bundle.json").write_text(json.dumps(manifest))
    heard = bench("--photos", photos, "--limit", "1", "--bundle", bundle_copy)
    assert "reference" not in heard.values
    assert "int4" not in heard.values
    assert heard.values["auto"]["n"] == 2
    assert [line for line in heard.said if line.startswith("reference is left out")]


def exporter(bundle: Path, calls: list[list[str]]) -> Any:
    def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(words)
        shutil.copytree(bundle, words[words.index("--out") + 1])
        return subprocess.CompletedProcess(words, 0, "", "")

    return run


def test_a_small_checkpoint_is_exported_for_the_time_of_the_run(
    photos: Path, nano_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(command.subprocess, "run", exporter(nano_bundle, calls))
    report = bench("--photos", photos, "--limit", "1").values
    assert report["int4"]["n"] == 2
    (words,) = calls
    assert words[words.index("--checkpoint") + 1] == str(checkpoint_folder("nano"))
    assert words[words.index("--recipe") + 1] == "android-int4"
    assert not Path(words[words.index("--out") + 1]).exists()


def test_an_export_that_fails_says_how_to_go_on(
    vera: Vera, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "noise\nvera: no room\n")
    monkeypatch.setattr(command.subprocess, "run", lambda *a, **k: failed)
    done = vera("bench", "quality", "--photos", photos, "--limit", "1", "--workers", "1")
    assert done.code == 2
    assert "vera: no room" in done.err
    assert "--no-int4" in done.err


PLAIN = {"int4": None, "no_int4": False, "bundle": None, "photos": "photos"}


def test_when_int4_is_measured() -> None:
    def source(small: bool, **given: Any) -> str | None:
        args = argparse.Namespace(**(PLAIN | given))
        return command._int4_source(args, small)

    assert source(True) == "auto"
    assert source(False) is None
    assert source(False, int4="auto") == "auto"
    assert source(True, int4="x.bundle") == "x.bundle"
    assert source(True, no_int4=True) is None
    assert source(True, bundle="x.bundle") is None
    assert source(True, photos=None) is None


def test_weights_are_counted_by_the_config_alone(nano_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    folder.mkdir()
    shutil.copy(checkpoint_folder("nano") / "config.json", folder)
    assert command._parameters(folder) == command._parameters(nano_bundle)
    assert 5_000_000 < command._parameters(folder) < 12_000_000


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--photos is missing"),
        (("--photos", "PHOTOS", "--workers", "65"), "--workers is 65"),
        (("--photos", "PHOTOS", "--peers", "film"), "NAME="),
        (("--photos", "PHOTOS", "--peers", "film=none.cube"), "none.cube"),
        (("--photos", "PHOTOS", "--bundle", "x", "--int4", "y"), "--int4 compares"),
        (("--pairs", "PHOTOS", "--int4", "y"), "--int4 compares"),
        (("--photos", "PHOTOS", "--int4", "none.bundle"), "none.bundle"),
        (("--pairs", "PHOTOS"), "holds no pairs"),
        (("--photos", "PHOTOS", "--int4", "y", "--no-int4"), "not allowed with"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    vera: Vera, photos: Path, flags: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vera_mobile.retoucher.Retoucher.load", None)
    done = vera("bench", "quality", *(photos if f == "PHOTOS" else f for f in flags))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
