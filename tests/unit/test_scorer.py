"""Aesthetic scorers: ours, its training and its bundled weights, and the published ones."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vera_mobile.cli import Console
from vera_mobile.commands import train_scorer as command
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.train.data import PhotoFile
from vera_mobile.train.iqa import load_metric, without_network
from vera_mobile.train.loop import read_config
from vera_mobile.train.quality import developed
from vera_mobile.train.scorer import (
    OwnScorer,
    PublishedScorer,
    ScorerShape,
    known_scorers,
    load_scorer,
    save_scorer,
)
from vera_mobile.train.scorer_train import (
    ScorerConfig,
    ranking_accuracy,
    ranking_loss,
    train_scorer,
)

SMALL = ScorerShape(size=16, widths=(8, 8), tones=8, chroma=4, hidden=16)
ASSET = Path(command.__file__).parents[1] / "assets" / "scorer"


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Three real photos, (H, W, 3) uint8."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [np.asarray(p)[::2, ::2] for p in (data.coffee(), *load_sample_images().images)]


def batch(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor(picture[None]).float() / 255


def edit(**sliders: float) -> np.ndarray:
    from vera_mobile.develop.sliders import vector

    return vector(sliders)


# ---- ours ----------------------------------------------------------------------------------------


def test_pictures_of_any_size_give_one_score_each() -> None:
    scorer = OwnScorer(SMALL).eval()
    for size in ((16, 16), (37, 90), (5, 3), (1, 1)):
        scores = scorer(torch.rand(4, *size, 3))
        assert (scores.shape, scores.dtype) == ((4,), torch.float32)
        assert torch.isfinite(scores).all()
    for shape in ((3, 8, 8), (0, 8, 8, 3), (2, 3, 8, 8)):
        with pytest.raises(InvalidArgument, match="shape"):
            scorer(torch.zeros(shape))


def test_a_score_depends_on_its_own_picture_only() -> None:
    scorer = OwnScorer(SMALL).eval()
    pictures = torch.rand(3, 20, 24, 3)
    alone = torch.cat([scorer(p[None]) for p in pictures])
    # convolutions of another batch size sum in another order; measured 2e-7
    assert torch.allclose(scorer(pictures), alone, atol=1e-5)


def test_the_score_can_be_a_reward_that_is_followed() -> None:
    scorer = OwnScorer(SMALL).eval()
    pictures = torch.rand(2, 24, 24, 3, requires_grad=True)
    scorer(pictures).sum().backward()
    assert pictures.grad is not None
    assert torch.isfinite(pictures.grad).all()
    assert (pictures.grad != 0).float().mean() > 0.5


def test_saved_and_loaded_it_scores_the_same(tmp_path: Path) -> None:
    scorer = OwnScorer(SMALL).eval()
    save_scorer(scorer, tmp_path / "new" / "scorer")
    again = load_scorer(str(tmp_path / "new" / "scorer"))
    pictures = torch.rand(2, 30, 20, 3)
    assert torch.equal(again(pictures), scorer(pictures))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("config.json", b"no json"),
        ("config.json", b'{"format": "vera-scorer", "version": 2, "shape": {}}'),
        (
            "config.json",
            b'{"format": "vera-scorer", "version": 1, "shape": {"widths": [8], "x": 1}}',
        ),
        ("model.safetensors", b"cut"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    save_scorer(OwnScorer(SMALL), tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=f"{tmp_path.name}: is no scorer"):
        load_scorer(str(tmp_path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=", ".join(known_scorers())):
        load_scorer("beauty")
    with pytest.raises(InvalidArgument, match="4096"):
        ScorerShape(size=1)


def test_the_bundled_one_is_small_and_puts_originals_first(photos: list[np.ndarray]) -> None:
    scorer = load_scorer()
    assert isinstance(scorer, OwnScorer)
    assert sum(p.numel() for p in scorer.parameters()) < 300_000
    assert sum(f.stat().st_size for f in ASSET.rglob("*")) < 2**20
    for photo in photos:
        top = scorer(batch(photo)).item()
        for sliders in (
            edit(Exposure2012=-45, Shadows2012=-30),
            edit(Contrast2012=-85, Blacks2012=80),
            edit(IncrementalTemperature=80),
            edit(Saturation=-80, Exposure2012=25),
        ):
            assert top > scorer(batch(developed(photo, sliders))).item()


def test_its_accuracy_is_written_beside_it() -> None:
    found = json.loads((ASSET / "accuracy.json").read_text())
    assert found["split"] == "test"
    assert found["photos"] >= 100
    assert 0.8 < found["half"] <= found["degraded"] <= 1


# ---- training ------------------------------------------------------------------------------------


def pool(photos: list[np.ndarray]) -> torch.Tensor:
    side = round(SMALL.size * 1.125)
    small = [np.asarray(Image.fromarray(p).resize((side, side))) for p in photos]
    return torch.from_numpy(np.stack(small))


def config(**changes: Any) -> ScorerConfig:
    plain = {"steps": 4, "batch": 4, "warmup": 1, "save_every": 2, "log_every": 2}
    return ScorerConfig(**plain | changes)


def test_training_lowers_the_loss_and_ranks(photos: list[np.ndarray], tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    train_scorer(
        pool(photos), config(steps=40, batch=8, lr=5e-3), tmp_path,
        lambda step, values: seen.append(values), SMALL,
    )  # fmt: skip
    first, last = (np.mean([v["loss"] for v in part]) for part in (seen[:10], seen[-10:]))
    assert last < 0.8 * first
    assert np.mean([v["right"] for v in seen[-10:]]) > 0.75


def test_a_stopped_run_goes_on_to_the_same_weights(
    photos: list[np.ndarray], tmp_path: Path
) -> None:
    whole = train_scorer(pool(photos), config(), tmp_path / "whole", shape=SMALL)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_scorer(pool(photos), config(), tmp_path / "cut", stop, SMALL)
    again = train_scorer(pool(photos), config(), tmp_path / "cut", shape=SMALL)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_the_loss_wants_the_margin(photos: list[np.ndarray]) -> None:
    """Equal scores cost the margins' softplus, whatever the pictures."""
    scorer = OwnScorer(SMALL)
    torch.nn.init.zeros_(scorer.last[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(scorer.last[-1].bias)  # type: ignore[arg-type]
    settings = config(margin=2.0)
    loss, values = ranking_loss(scorer, pool(photos), settings, np.random.default_rng(0))
    assert loss.item() == pytest.approx(np.log1p(np.exp(2)) + 2 * np.log1p(np.exp(1)), abs=1e-5)
    assert values["right"] == 0


class Lightness:
    """Likes bright pictures."""

    name = "lightness"

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((1, 2, 3))


def test_accuracy_counts_the_pairs_that_are_right(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    files = [PhotoFile(tmp_path / "a.png", "test", "A")]
    made = iter([edit(Exposure2012=20), edit(Exposure2012=-20)])
    place = "vera_mobile.train.scorer_train"
    monkeypatch.setattr(f"{place}.degradation", lambda rng: next(made))
    monkeypatch.setattr(f"{place}.slider_set", lambda rng: edit(Exposure2012=-20))
    seen: list[int] = []
    found = ranking_accuracy(Lightness(), files, seen.append)
    assert found == {"degraded": 0.5, "half": 0.5, "edited": 1.0, "photos": 1}
    assert seen == [1]


def test_the_command_trains_measures_and_writes(
    tmp_path: Path, photos: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["file,split,tier"]
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{i}.jpg")
        lines.append(f"{i}.jpg,{'test' if i == 2 else 'train'},A")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    out = tmp_path / "run"
    settings = ["steps=2", "batch=2", "warmup=1", "save_every=1", "log_every=1", "threads=0"]
    flags = [flag for pair in settings for flag in ("--set", pair)]
    args = parser.parse_args(
        ["scorer", "--photos", str(tmp_path), "--out", str(out), "--json", *flags]
    )
    assert args.run(args, Console(as_json=True)) == 0
    said = capsys.readouterr()
    assert "2 photos" in said.err
    report = json.loads(said.out)
    beside = json.loads((out / "scorer" / "accuracy.json").read_text())
    assert beside == {"split": "test", **{k: v for k, v in report.items() if k != "scorer"}}
    assert beside["photos"] == 1
    assert isinstance(load_scorer(report["scorer"]), OwnScorer)


def test_the_config_file_is_read() -> None:
    assert read_config(ScorerConfig, "scorer").threads == 1


# ---- published -----------------------------------------------------------------------------------


def fake_pyiqa(monkeypatch: pytest.MonkeyPatch, create: Any) -> None:
    module = types.ModuleType("pyiqa")
    module.create_metric = create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ModelError, match="pip install pyiqa"):
        load_scorer("laion")


@pytest.mark.parametrize(
    "download",
    [
        lambda: urllib.request.urlopen("https://example.invalid/weights/aes.pth"),
        lambda: socket.create_connection(("example.invalid", 443)),
        lambda: socket.socket().connect(("203.0.113.1", 443)),
    ],
)
def test_weights_are_never_downloaded(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    """Whatever way a library takes, and though it swallows all errors that it knows."""

    def create(name: str, device: str) -> Any:
        try:
            return download()
        except Exception:
            return "a metric without weights"

    fake_pyiqa(monkeypatch, create)
    with pytest.raises(ModelError, match=r"weights are not on this machine.*/pyiqa"):
        load_metric("laion_aes")


def test_the_network_is_refused_only_while_a_metric_loads() -> None:
    with without_network("x"):
        pass
    assert socket.getaddrinfo("127.0.0.1", 9)
    with pytest.raises(ModelError, match=r"example\.invalid"), without_network("x"):
        socket.getaddrinfo("example.invalid", 443)


def test_a_metric_that_breaks_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, device: str) -> Any:
        raise RuntimeError("unexpected key in state_dict")

    fake_pyiqa(monkeypatch, create)
    with pytest.raises(ModelError, match=r"liqe: .*unexpected key"):
        load_scorer("liqe")


@pytest.mark.parametrize("name", ["laion", "qalign", "liqe"])
def test_published_scorers_see_one_picture_at_a_time(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[tuple[str, tuple[int, ...], dict[str, Any]]] = []

    def create(metric: str, device: str) -> Any:
        def score(x: torch.Tensor, **options: Any) -> torch.Tensor:
            asked.append((metric, tuple(x.shape), options))
            return x.mean().reshape(1, 1)

        return score

    fake_pyiqa(monkeypatch, create)
    scorer = load_scorer(name)
    assert isinstance(scorer, PublishedScorer)
    pictures = torch.rand(2, 100, 150, 3)
    scores = scorer(pictures)
    assert scores.shape == (2,)
    assert torch.allclose(scores, pictures.mean((1, 2, 3)), atol=0.01)
    size = (224, 336) if name == "liqe" else (100, 150)
    metric = {"laion": "laion_aes"}.get(name, name)
    options = {"task_": "aesthetic"} if name == "qalign" else {}
    assert asked == [(metric, (1, 3, *size), options)] * 2
