"""Folders of before/after pairs in the layouts that people have."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from vera_mobile.errors import FileError, VeraError
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.retoucher import Retoucher, Task
from vera_mobile.train.evaluation.pairs import (
    LONG_SIDE,
    list_pairs,
    load_pair,
    measured_pairs,
    pairs_summary,
)
from vera_mobile.train.evaluation.run import Settings


class Brightener:
    """Adds 20 to every code."""

    def plan(self, photo: Photo, task: Task) -> Look:
        return Look(np.zeros((3, 8), np.float32))

    def render(self, look: Look, photo: Photo) -> Photo:
        return photo.with_pixels(brighter(photo.pixels))


def brighter(pixels: np.ndarray, by: int = 20) -> np.ndarray:
    return np.clip(pixels.astype(int) + by, 0, 255).astype(np.uint8)


def put(picture: np.ndarray, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def names(folder: Path) -> list[tuple[str, str, str, str]]:
    return [(p.name, p.before.name, p.after.name, p.expert) for p in list_pairs(folder)]


@pytest.mark.parametrize("first", ["input", "raw", "Source", "original"])
@pytest.mark.parametrize("second", ["expertC", "expert_c", "c", "target", "target_a", "gt"])
def test_two_folders(tmp_path: Path, picture: np.ndarray, first: str, second: str) -> None:
    put(picture[:8, :8], tmp_path / first / "a.tif", tmp_path / first / "only.png")
    put(picture[:8, :8], tmp_path / second / "a.png", tmp_path / "other" / "a.png")
    assert names(tmp_path) == [("a", "a.tif", "a.png", "")]


def test_several_experts(tmp_path: Path, picture: np.ndarray) -> None:
    for folder in ("source", "target_a", "target_b", "target_c"):
        put(picture[:8, :8], *(tmp_path / folder / "480p" / f"{i}_0.png" for i in (1, 2)))
    found = list_pairs(tmp_path)
    assert len(found) == 6
    assert {p.expert for p in found} == {"target_a", "target_b", "target_c"}
    assert {p.name for p in found} == {"480p/1_0", "480p/2_0"}
    assert all(p.after.parent.parent.name == p.expert for p in found)


def test_names_that_say_it(tmp_path: Path, picture: np.ndarray) -> None:
    put(picture[:8, :8], tmp_path / "x_before.jpg", tmp_path / "x_after.png")
    put(picture[:8, :8], tmp_path / "sub" / "y-before.png", tmp_path / "sub" / "y-after.png")
    put(picture[:8, :8], tmp_path / "z_before.png", tmp_path / "after.png")
    assert [n for n, *_ in names(tmp_path)] == ["sub/y", "x"]


def test_a_folder_without_pairs_says_what_is_understood(
    tmp_path: Path, picture: np.ndarray
) -> None:
    put(picture[:8, :8], tmp_path / "input" / "a.png", tmp_path / "expertC" / "b.png")
    with pytest.raises(FileError, match="expertC"):
        list_pairs(tmp_path)
    with pytest.raises(FileError, match="is no folder"):
        list_pairs(tmp_path / "none")


def test_pictures_are_brought_to_one_size_in_srgb(tmp_path: Path, picture: np.ndarray) -> None:
    large = np.repeat(np.repeat(picture, 3, 0), 3, 1)  # 900 x 600
    put(large, tmp_path / "a_before.png")
    put(picture, tmp_path / "a_after.png")
    before, after = load_pair(list_pairs(tmp_path)[0])
    assert before.shape == after.shape == (341, LONG_SIDE, 3)
    assert before.dtype == after.dtype == np.uint8
    assert np.abs(before.astype(int) - after).mean() < 8
    wide = Photo.from_array(picture.astype(np.uint16) * 257)
    wide.save(tmp_path / "b_before.tif")
    put(picture, tmp_path / "b_after.png")
    before, after = load_pair(list_pairs(tmp_path)[1])
    assert np.array_equal(before, picture)
    assert np.array_equal(after, picture)


def test_a_cropped_or_unreadable_pair_is_named(tmp_path: Path, picture: np.ndarray) -> None:
    put(picture, tmp_path / "a_before.png")
    put(picture[:, :200], tmp_path / "a_after.png")
    with pytest.raises(FileError, match=r"a_before\.png is 300 x 200.*one frame"):
        load_pair(list_pairs(tmp_path)[0])
    (tmp_path / "a_after.png").write_bytes(b"no picture")
    with pytest.raises(VeraError, match=r"a_after\.png"):
        load_pair(list_pairs(tmp_path)[0])


def test_auto_and_baselines_are_measured_against_the_expert(
    tmp_path: Path, picture: np.ndarray
) -> None:
    dark = np.clip(picture // 2, 10, 200)  # no code is clipped by +20 or +40
    for folder, by in (("source", 0), ("target_a", 20), ("target_b", 40)):
        put(brighter(dark, by), tmp_path / folder / "1.png")
    pairs = list_pairs(tmp_path)
    settings = Settings(baselines=("auto_levels",))
    rows = measured_pairs(cast(Retoucher, Brightener()), pairs, settings=settings)
    report = pairs_summary(pairs, rows)
    assert set(report) == {"pairs", "pairs_auto_levels", "pairs[target_a]", "pairs[target_b]"}
    first, second = report["pairs[target_a]"], report["pairs[target_b]"]
    assert first["psnr_db"] == 60.0
    # an offset of 20 codes everywhere
    assert second["psnr_db"] == pytest.approx(20 * np.log10(255 / 20), abs=1e-3)
    assert second["psnr_alone_db"] == pytest.approx(20 * np.log10(255 / 40), abs=1e-3)
    assert report["pairs"]["psnr_db"] == pytest.approx((60 + second["psnr_db"]) / 2, abs=1e-3)
    assert report["pairs"]["n"] == report["pairs_auto_levels"]["n"] == 2
    levels = report["pairs_auto_levels"]
    gain = levels["psnr_db"] - report["pairs"]["psnr_alone_db"]
    assert levels["psnr_gain_db"] == pytest.approx(gain, abs=2e-4)
