"""The figures of `vera bench quality`: right on retouchers whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.color.metrics import ciede2000, psnr, ssim
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.retoucher import Param, Reference, Retoucher, Task
from vera_mobile.train import quality
from vera_mobile.train.data import slider_set
from vera_mobile.train.evaluation import tasks
from vera_mobile.train.evaluation.figures import Wanted, histogram, histogram_figures, lab_of
from vera_mobile.train.evaluation.run import int4_part, means, measured_photos
from vera_mobile.train.quality import LONG_SIDE, Settings, bench_quality, developed


class Known:
    """A retoucher that does nothing, or that develops what a param task asks for, exactly."""

    def __init__(self, develops: bool = False) -> None:
        self.develops = develops
        self.tasks: list[Task] = []

    def plan(self, photo: Photo, task: Task, **options: Any) -> Look:
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
    options = {"settings": Settings(baselines=())} | options
    return bench_quality(cast(Retoucher, known), photos, **options)


def described(tasks: list[Task]) -> list[object]:
    """Tasks that can be compared: a pair by its pixels."""
    return [
        [p.pixels.tobytes() for p in (task.before, task.after) if p is not None]
        if isinstance(task, Reference)
        else task
        for task in tasks
    ]


def test_doing_nothing_gains_nothing(photos: Path) -> None:
    report = bench(Known(), photos)
    assert report["photos"] == {"n": 2}
    assert report["auto"]["psnr_gain_db"] == 0
    assert report["auto"]["ciede2000_mean"] == report["auto"]["ciede2000_alone"] > 1
    assert report["auto"]["psnr_db"] == report["auto"]["psnr_alone_db"] < 40
    assert report["auto"]["ssim"] == report["auto"]["ssim_alone"] < 1
    assert report["param"]["psnr_db"] == report["param"]["psnr_alone_db"]
    assert report["good_photos"] == {
        "psnr_db": 60.0, "ciede2000_mean": 0.0, "histogram_similarity": 1.0,
        "histogram_cosine": 1.0, "ssim": 1.0, "n": 2,
    }  # fmt: skip
    assert report["style"]["direction_accuracy"] == 0
    assert report["reference"]["psnr_db"] == report["reference"]["psnr_alone_db"] < 50
    assert report["reference"]["transfer_psnr_db"] == report["reference"]["transfer_psnr_alone_db"]


def test_instant_is_measured_beside_auto_on_the_same_photos(photos: Path) -> None:
    """A retoucher that is exact when it may speak first and does nothing when it may not."""

    class Hasty(Known):
        instant = False

        def plan(self, photo: Photo, task: Task, **options: Any) -> Look:
            self.instant = options.get("instant", False)
            return super().plan(photo, task)

        def render(self, look: Look, photo: Photo) -> Photo:
            return photo if self.instant else photo.with_pixels(255 - photo.pixels)

    report = bench(Hasty(), photos)
    auto, instant = report["auto"], report["instant"]
    assert instant["n"] == auto["n"] == 2 * tasks.DEGRADATIONS
    assert instant["psnr_gain_db"] == 0
    assert instant["psnr_db"] == auto["psnr_alone_db"]
    assert instant["psnr_loss_db"] == pytest.approx(auto["psnr_db"] - instant["psnr_db"], abs=1e-3)
    assert instant["psnr_loss_db"] < -5  # a negative is far off


def test_developing_exactly_is_the_best_param_figure(photos: Path) -> None:
    report = bench(Known(develops=True), photos)
    assert report["param"]["psnr_db"] == 60.0
    assert report["param"]["ciede2000_mean"] == 0.0
    assert report["auto"]["psnr_gain_db"] == 0


class Copyist(Known):
    """Develops any photo by the sliders that the reference pair was made with."""

    def __init__(self, sliders: np.ndarray) -> None:
        super().__init__()
        self.sliders = sliders

    def render(self, look: Look, photo: Photo) -> Photo:
        return photo.with_pixels(developed(photo.pixels, self.sliders))


def test_reference_compares_with_the_same_edit_on_both_photos(
    picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, other = np.zeros(38, np.float32), np.ascontiguousarray(picture[::-1])
    edit[:4] = (20, 15, -10, 5)
    monkeypatch.setattr(tasks, "slider_set", lambda rng: edit)
    rng = np.random.default_rng(0)
    (row,) = tasks._reference(cast(Retoucher, Copyist(edit)), picture, other, rng, None)
    assert (row["psnr_db"], row["transfer_psnr_db"]) == (60.0, 60.0)
    assert row["psnr_alone_db"] < 40
    (row,) = tasks._reference(cast(Retoucher, Copyist(0 * edit)), picture, other, rng, None)
    assert row["psnr_db"] == row["psnr_alone_db"]
    (row,) = tasks._reference(cast(Retoucher, Copyist(edit)), picture, None, rng, None)
    assert "transfer_psnr_db" not in row
    monkeypatch.setattr(tasks, "slider_set", lambda rng: 0 * edit)  # an edit that never shows
    assert list(tasks._reference(cast(Retoucher, Copyist(edit)), picture, other, rng, None)) == []


def test_the_same_tasks_are_drawn_in_every_run(photos: Path) -> None:
    first, second = Known(), Known()
    assert bench(first, photos) == bench(second, photos)
    assert described(first.tasks) == described(second.tasks)
    limited = Known()
    assert bench(limited, photos, limit=1)["photos"] == {"n": 1}
    assert described(limited.tasks) == described(first.tasks)[: len(limited.tasks)]
    per_photo = 2 * quality.DEGRADATIONS + 1 + quality.STYLES_PER_PHOTO + 1 + 1
    assert len(limited.tasks) == per_photo


def test_a_part_is_the_same_measured_alone(photos: Path) -> None:
    whole = bench(Known(), photos)
    for part in quality.PARTS:
        settings = Settings(parts=(part,), baselines=())
        name = "good_photos" if part == "good" else part
        alone = bench(Known(), photos, settings=settings)
        assert alone == {name: whole[name], "photos": {"n": 2}}


def test_splits_and_progress(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    bench(Known(), photos, on_photo=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert bench(Known(), photos, split="val")["photos"] == {"n": 1}
    with pytest.raises(FileError, match="no photos"):
        bench(Known(), photos, split="train")


def test_figures_are_those_of_the_metrics(picture: np.ndarray) -> None:
    other = developed(picture, slider_set(np.random.default_rng(4)))
    found = Wanted(picture).figures(other)
    assert np.array_equal(lab_of(picture), rgb_to_lab(picture / 255.0))
    assert found["psnr_db"] == pytest.approx(psnr(other / 255, picture / 255), abs=1e-9)
    de = ciede2000(rgb_to_lab(other / 255.0), rgb_to_lab(picture / 255.0)).mean()
    assert found["ciede2000_mean"] == de
    assert found["ssim"] == pytest.approx(ssim(other / 255.0, picture / 255.0), abs=1e-9)


def test_histograms_tell_how_many_pixels_are_in_common() -> None:
    red, half = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    half[:2, :, 0] = 255
    same = histogram_figures(histogram(red), histogram(red))
    assert same == {"histogram_similarity": 1.0, "histogram_cosine": pytest.approx(1.0)}
    none = histogram_figures(histogram(red), histogram(np.zeros_like(red)))
    assert none == {"histogram_similarity": 0.0, "histogram_cosine": 0.0}
    some = histogram_figures(histogram(red), histogram(half))
    assert some["histogram_similarity"] == 0.5
    assert some["histogram_cosine"] == pytest.approx(np.sqrt(0.5))


def test_a_photo_too_small_for_ssim_has_the_other_figures() -> None:
    small, large = np.full((8, 40, 3), 90, np.uint8), np.full((12, 40, 3), 90, np.uint8)
    rows = [Wanted(p).figures(p) for p in (small, large, large)]
    assert "ssim" not in rows[0]
    assert means(rows)["ssim"] == 1.0
    assert means(rows)["n"] == 3


def test_lpips_is_one_more_figure(picture: np.ndarray) -> None:
    def metric(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert a.shape == b.shape == (1, 3, *picture.shape[:2])
        return (a - b).abs().mean()[None]

    found = Wanted(picture, metric).figures(255 - picture)
    expected = np.abs(255 - 2.0 * picture).mean() / 255
    assert found["lpips"] == pytest.approx(expected, abs=1e-6)


def test_int4_loss_is_what_the_bundle_lacks() -> None:
    checkpoint = {"psnr_db": 24.0, "psnr_gain_db": 4.0, "ciede2000_mean": 6.0, "n": 4}
    bundle = {"psnr_db": 23.75, "psnr_gain_db": 3.75, "ciede2000_mean": 6.5, "n": 4, "ssim": 0.9}
    part = int4_part(checkpoint, bundle)
    assert part["psnr_loss_db"] == 0.25
    assert part["ciede2000_mean"] == 6.5


@pytest.mark.full  # two processes that import PyTorch
def test_processes_give_the_same_rows_in_order(photos: Path) -> None:
    settings = Settings(parts=("good",), baselines=())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums depend on it in the last bits
    try:
        model = checkpoint_folder("nano")
        alone = measured_photos(model, photos, settings=settings)
        seen: list[tuple[int, int]] = []
        many = measured_photos(
            model, photos, settings=replace(settings, workers=2),
            on_photo=lambda *at: seen.append(at),
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert many == alone
    assert alone[0] != alone[1]
    assert seen == [(1, 2), (2, 2)]


def test_an_error_in_a_process_is_the_same_error(photos: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"not a picture")
    (tmp_path / "manifest.csv").write_text("file,split,tier\na.png,test,A\nb.png,test,A\n")
    settings = Settings(parts=("good",), baselines=(), workers=2)
    with pytest.raises(FileError, match=r"a\.png: is no readable photo"):
        measured_photos(checkpoint_folder("nano"), tmp_path, settings=settings)


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
            def plan(self, photo: Photo, task: Task, **options: Any) -> Look:
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
