"""The figures of `vera bench quality`: right on retouchers whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.retoucher import Param, Retoucher, Task
from vera_mobile.train import quality
from vera_mobile.train.quality import LONG_SIDE, bench_quality, developed


class Known:
    """A retoucher that does nothing, or that develops what a param task asks for, exactly."""

    def __init__(self, develops: bool = False) -> None:
        self.develops = develops
        self.tasks: list[Task] = []

    def plan(self, photo: Photo, task: Task) -> Look:
        self.tasks.append(task)
        return Look(np.zeros((3, 8), np.float32))

    def render(self, look: Look, photo: Photo) -> Photo:
        task = self.tasks[-1]
        if not self.develops or not isinstance(task, Param):
            return photo
        from vera_mobile.develop.sliders import vector

        return photo.with_pixels(developed(photo.pixels, vector(task.sliders)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray) -> Path:
    made = tmp_path_factory.mktemp("photos")
    for i in range(3):
        Image.fromarray(np.roll(picture, 40 * i, axis=1)).save(made / f"{i}.png")
    (made / "manifest.csv").write_text("file,split,tier\n0.png,test,A\n1.png,test,A\n2.png,val,A\n")
    return made


def bench(known: Known, photos: Path, **options: Any) -> quality.Report:
    return bench_quality(cast(Retoucher, known), photos, **options)


def test_doing_nothing_gains_nothing(photos: Path) -> None:
    report = bench(Known(), photos)
    assert report["photos"] == {"n": 2}
    assert report["auto"]["psnr_gain_db"] == 0
    assert report["auto"]["ciede2000_mean"] == report["auto"]["ciede2000_alone"] > 1
    assert report["auto"]["psnr_db"] == report["auto"]["psnr_alone_db"] < 40
    assert report["param"]["psnr_db"] == report["param"]["psnr_alone_db"]
    assert report["good_photos"] == {"psnr_db": 60.0, "ciede2000_mean": 0.0, "n": 2}
    assert report["style"]["direction_accuracy"] == 0


def test_developing_exactly_is_the_best_param_figure(photos: Path) -> None:
    report = bench(Known(develops=True), photos)
    assert report["param"]["psnr_db"] == 60.0
    assert report["param"]["ciede2000_mean"] == 0.0
    assert report["auto"]["psnr_gain_db"] == 0


def test_the_same_tasks_are_drawn_in_every_run(photos: Path) -> None:
    first, second = Known(), Known()
    assert bench(first, photos) == bench(second, photos)
    assert first.tasks == second.tasks
    limited = Known()
    assert bench(limited, photos, limit=1)["photos"] == {"n": 1}
    assert limited.tasks == first.tasks[: len(limited.tasks)]
    per_photo = quality.DEGRADATIONS + 1 + quality.STYLES_PER_PHOTO + 1
    assert len(limited.tasks) == per_photo


def test_splits_and_progress(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    bench(Known(), photos, on_photo=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert bench(Known(), photos, split="val")["photos"] == {"n": 1}
    with pytest.raises(FileError, match="no photos"):
        bench(Known(), photos, split="train")


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_any_kind_of_photo_is_measured(tmp_path: Path, picture: np.ndarray, mode: str) -> None:
    """Grey photos too, which can show few styles."""
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.fromarray(picture).convert(mode).save(tmp_path / name)
    (tmp_path / "manifest.csv").write_text(f"file,split,tier\n{name},test,A\n")
    report = bench(Known(), tmp_path)
    assert report["style"]["n"] >= quality.STYLES_PER_PHOTO


def test_photos_are_measured_at_their_size_or_384(tmp_path: Path, picture: np.ndarray) -> None:
    for side, expected in ((600, LONG_SIDE), (100, 100)):
        Image.fromarray(picture).resize((side, side)).save(tmp_path / "a.png")
        sizes: list[int] = []

        class Sized(Known):
            def plan(self, photo: Photo, task: Task) -> Look:
                sizes.append(photo.width)  # noqa: B023 - used within the round
                return super().plan(photo, task)

        (tmp_path / "manifest.csv").write_text("file,split,tier\na.png,test,A\n")
        bench(Sized(), tmp_path)
        assert set(sizes) == {expected}


def test_an_unreadable_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (tmp_path / "manifest.csv").write_text("file,split,tier\na.png,test,A\n")
    with pytest.raises(FileError, match=r"a\.png"):
        bench(Known(), tmp_path)


def test_developed_rounds_to_8_bits_and_keeps_the_shape(picture: np.ndarray) -> None:
    assert np.array_equal(developed(picture, np.zeros(38)), picture)
    brighter = np.zeros(38)
    brighter[0] = 20
    out = developed(picture, brighter)
    assert (out.shape, out.dtype) == (picture.shape, np.uint8)
    assert out.mean() > picture.mean() + 5
