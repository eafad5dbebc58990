"""What runs beside the model: plain corrections, LUT files, folders of them, commands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from vera_mobile.color.cube import write_cube
from vera_mobile.color.lut import apply_lut, identity_lut
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.train.evaluation.baselines import (
    BASELINES,
    Peer,
    auto_levels,
    baselines_here,
    check_peers,
    clahe,
    cube_correction,
    gray_world,
)
from vera_mobile.train.evaluation.figures import Wanted, lab_of
from vera_mobile.train.evaluation.run import summary

INVERT = """
import sys
from PIL import Image, ImageOps
ImageOps.invert(Image.open(sys.argv[1])).save(sys.argv[2])
"""


def dull(picture: np.ndarray) -> np.ndarray:
    """Flat, dark, with a blue cast."""
    return np.clip(picture * (0.35, 0.4, 0.55) + 30, 0, 255).astype(np.uint8)


def test_every_baseline_keeps_the_form(picture: np.ndarray) -> None:
    for name in baselines_here():
        out = BASELINES[name](picture)
        assert (out.shape, out.dtype) == (picture.shape, np.uint8), name
        assert not np.array_equal(out, picture), name
    assert baselines_here() == ("auto_levels", "clahe", "gray_world")


def test_auto_levels_fills_the_range(picture: np.ndarray) -> None:
    out = auto_levels(dull(picture))
    assert out.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert out.max(axis=(0, 1)).min() >= 254  # Pillow cuts the last digit off
    wanted = np.asarray(ImageOps.autocontrast(Image.fromarray(dull(picture))))
    assert np.array_equal(out, wanted)


def test_clahe_raises_local_contrast(picture: np.ndarray) -> None:
    assert lab_of(clahe(dull(picture)))[..., 0].std() > lab_of(dull(picture))[..., 0].std()


def test_gray_world_balances_and_exposes() -> None:
    rng = np.random.default_rng(0)
    cast = np.clip(rng.normal(80, 12, (60, 60, 3)) * (1.2, 1.0, 0.7), 0, 255).astype(np.uint8)
    lab = lab_of(gray_world(cast)).reshape(-1, 3).mean(0)
    assert np.abs(lab[1:]).max() < 2 < np.abs(lab_of(cast).reshape(-1, 3).mean(0)[1:]).max()
    # middle grey, 18 % of white, is L* 49.5
    assert lab[0] == pytest.approx(49.5, abs=1)
    black = np.zeros((4, 4, 3), np.uint8)
    assert gray_world(black).max() == 0


def test_a_cube_is_applied_with_its_domain(picture: np.ndarray, tmp_path: Path) -> None:
    table = identity_lut(17) ** 1.6
    write_cube(tmp_path / "a.cube", table)
    out = cube_correction(tmp_path / "a.cube")(picture)
    wanted = apply_lut(picture / 255.0, table) * 255
    # the kernel is float32: only what is within 1e-4 of a halfway code may differ (measured: none)
    assert np.abs(out - wanted).max() <= 0.5 + 1e-4
    lines = ["LUT_3D_SIZE 2", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 2 2 2"]
    corners = [f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)]
    (tmp_path / "b.cube").write_text("\n".join(lines + corners) + "\n")
    half = cube_correction(tmp_path / "b.cube")(picture)
    assert np.abs(half - picture / 2).max() <= 0.51


def test_a_command_reads_and_writes_pictures(picture: np.ndarray) -> None:
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(INVERT)} {{in}} {{out}}"
    (correct,) = Peer.parse(f"inverse={line}").corrections().values()
    assert np.array_equal(correct(picture), 255 - picture)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('out of luck')", "out of luck"),
        ("pass", "left no picture"),
        ("from PIL import Image; import sys; Image.new('RGB', (3, 3)).save(sys.argv[2])", "size"),
    ],
)
def test_a_command_that_fails_is_named(picture: np.ndarray, code: str, said: str) -> None:
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {{in}} {{out}}"
    (correct,) = Peer.parse(f"bad={line}").corrections().values()
    with pytest.raises(ModelError, match=f"Peer bad.*{said}"):
        correct(picture)


def test_a_program_that_is_not_there_is_named(picture: np.ndarray) -> None:
    (correct,) = Peer.parse("none=no-such-program {in} {out}").corrections().values()
    with pytest.raises(ModelError, match="no-such-program"):
        correct(picture)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("film", InvalidArgument, "NAME="),
        ("film=", InvalidArgument, "NAME="),
        ("Film=x.cube", InvalidArgument, "small letters"),
        ("auto=x.cube", InvalidArgument, "none of auto"),
        ("clahe=x.cube", InvalidArgument, "clahe"),
        ("film=missing.cube", FileError, "missing.cube is no .cube file"),
    ],
)
def test_a_wrong_peer_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Peer.parse(text)


def test_peers_are_read_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"holds no \.cube"):
        check_peers([Peer("film", str(tmp_path))])
    (tmp_path / "bad.cube").write_text("LUT_3D_SIZE two\n")
    with pytest.raises(FileError, match=r"bad\.cube:1"):
        check_peers([Peer("film", str(tmp_path))])
    write_cube(tmp_path / "bad.cube", identity_lut(2))
    check_peers([Peer("film", str(tmp_path))])
    with pytest.raises(InvalidArgument, match="twice"):
        check_peers([Peer("film", str(tmp_path)), Peer("film", str(tmp_path / "bad.cube"))])


def test_of_a_folder_the_best_for_each_and_the_best_for_all(
    picture: np.ndarray, tmp_path: Path
) -> None:
    """Three photos: two want the dark LUT, one the bright; the dark one is the best of all."""
    power = {"dark": 1.6, "bright": 0.6}
    for name, value in power.items():
        write_cube(tmp_path / f"{name}.cube", identity_lut(17) ** value)
    corrections = Peer("film", str(tmp_path)).corrections()
    assert sorted(corrections) == ["film/bright", "film/dark"]
    rows: list[dict[str, Any]] = []
    for kind in ("dark", "dark", "bright"):
        wanted = Wanted(np.round((picture / 255) ** power[kind] * 255).astype(np.uint8))
        rows.append({n: [{"psnr_db": wanted.psnr_db(c(picture))}] for n, c in corrections.items()})
    report = summary(rows)
    dark = [row["film/dark"][0]["psnr_db"] for row in rows]
    best = [max(row[n][0]["psnr_db"] for n in row) for row in rows]
    fixed = report["film_fixed"]
    assert fixed["psnr_db"] == fixed["psnr_db[dark]"] == pytest.approx(np.mean(dark), abs=1e-3)
    assert fixed["psnr_db[bright]"] < fixed["psnr_db[dark]"]
    assert report["film_best"]["psnr_db"] == pytest.approx(np.mean(best), abs=1e-3)
    assert report["film_best"]["psnr_db"] > fixed["psnr_db"] + 3
    assert not [name for name in report if "/" in name]
