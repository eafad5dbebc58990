"""`vera train`: the four stages one after the other, what they write and what they refuse."""

from __future__ import annotations

import builtins
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_files import write_photos as write_engine_photos
from tiny_training import (
    SETTINGS,
    nano_words,
    pool_of,
    settings,
    stage1_run,
    tiny_model,
    write_model,
    write_photos,
)

from vera_mobile.color.spaces import lab_to_rgb
from vera_mobile.errors import FileError, InvalidArgument, OutOfMemory
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train import align, plan, preflight, rl
from vera_mobile.train.batches import Samples, samples_of
from vera_mobile.train.board import GAP, sheet
from vera_mobile.train.decoupling import decoupling, moved
from vera_mobile.train.loop import StageConfig, read_config
from vera_mobile.train.renderer import RendererConfig
from vera_mobile.train.scorer import OwnScorer, ScorerShape, save_scorer
from vera_mobile.train.stage import model_config
from vera_mobile.train.words import measure


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def stage1(photos: Path, tmp_path_factory) -> Path:
    return stage1_run(pool_of(photos), tmp_path_factory.mktemp("runs") / "renderer")


def events(run: Path):
    """What TensorBoard would show of a run."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    found.Reload()
    return found


def write_scorer(folder: Path) -> Path:
    torch.manual_seed(0)
    return save_scorer(OwnScorer(ScorerShape(size=32, widths=(8, 8), hidden=16)), folder)


# ---- the line ------------------------------------------------------------------------------------


@pytest.mark.full
def test_the_whole_line(vera, photos: Path, tmp_path: Path) -> None:
    """renderer -> align -> plan -> rl from the command line, each from what the one before made."""
    pytest.importorskip("tensorboard")
    write_scorer(tmp_path / "scorer")
    common = ["--photos", photos]
    more = {"model": write_model(tmp_path), "tensorboard": True, "picture_every": 2, "steps": 4}

    def train(stage: str, *arguments: object, **extra: object) -> dict[str, float]:
        chosen = settings(**{**more, **extra})
        done = vera("train", stage, *common, *chosen, *arguments, "--out", tmp_path / stage)
        assert done.code == 0, done.err
        lines = (tmp_path / stage / "log.jsonl").read_text().splitlines()
        return json.loads(lines[-1])

    train("renderer")
    assert train("align")["text"] > 0
    train("plan", "--init", tmp_path / "align", stage1=tmp_path / "renderer")
    train("rl", "--init", tmp_path / "plan", scorer=tmp_path / "scorer", group=3, max_tokens=24,
          judged=2)  # fmt: skip
    for stage in ("align", "plan", "rl"):
        model = load_checkpoint(tmp_path / stage)
        assert model.config == tiny_model()
        about = json.loads((tmp_path / stage / "stage.json").read_text())
        assert about["stage"] == stage
        assert about["config"]["steps"] == 4
        seen = events(tmp_path / stage)
        assert seen.Tags()["images"]
        assert "lr" in seen.Tags()["scalars"]
    first, last = (load_checkpoint(tmp_path / s).state_dict() for s in ("plan", "rl"))
    changed = {k.partition(".")[0] for k in first if not torch.equal(first[k], last[k])}
    assert changed <= {"decoder", "retouch_head"}
    assert "decoder" in changed
    report = json.loads((tmp_path / "rl" / "report.json").read_text())
    assert report["photos"] == "held out"
    assert isinstance(report["score_rose"], bool)


def test_the_list_says_what_stages_need_and_make(vera) -> None:
    said = vera("train", "--list").out
    for stage in ("renderer", "align", "plan", "measures", "rl", "scorer"):
        assert f"{stage} " in said
    assert said.count("needs:") == said.count("makes:") == 6
    rows = json.loads(vera("train", "--list", "--json").out)
    assert set(rows) == {"renderer", "align", "plan", "measures", "rl", "scorer"}
    none = vera("train")
    assert none.code == 2
    assert "--list" in none.err


def test_a_finished_run_can_be_resumed_and_copied(
    vera, photos: Path, stage1: Path, tmp_path: Path
) -> None:
    """The stage's settings never overwrite the checkpoint's config.json, in the same folder."""
    model, run = write_model(tmp_path), tmp_path / "run"
    arguments = ["plan", "--photos", photos, *settings(model=model, steps=2, stage1=stage1),
                 "--out", run, "--checkpoint", tmp_path / "copy"]  # fmt: skip
    assert vera("train", *arguments).code == 0
    assert vera("train", *arguments).code == 0
    names = {"config.json", "model.safetensors", "tokenizer.json", "stage.json"}
    assert {p.name for p in (tmp_path / "copy").iterdir()} == names
    assert load_checkpoint(tmp_path / "copy").config.name == "tiny"
    chosen = read_config(plan.PlanConfig, "plan-nano", {"init": str(tmp_path / "copy")})
    assert model_config(chosen) == tiny_model()


def test_every_config_that_ships_is_one_of_its_stage() -> None:
    kinds = {"renderer": RendererConfig, "align": align.AlignConfig, "plan": plan.PlanConfig,
             "rl": rl.RLConfig}  # fmt: skip
    for stage, kind in kinds.items():
        for size in ("nano", "0.5b"):
            config: StageConfig = read_config(kind, f"{stage}-{size}")
            assert config.model == size
            assert model_config(config).name == f"vera-{size}"


# ---- what is shown -------------------------------------------------------------------------------


def test_pictures_stand_side_by_side() -> None:
    one, two = torch.zeros(2, 5, 6, 3), torch.ones(2, 5, 6, 3)
    two[..., 2] = 0.5
    made = sheet(one, two)
    assert made.shape == (2 * (5 + 2 * GAP), 2 * (6 + 2 * GAP), 3)
    assert made[GAP, GAP].tolist() == [0, 0, 0]
    assert made[GAP, 6 + 3 * GAP].tolist() == [255, 255, 128]
    assert made[0, 0].tolist() == [255, 255, 255]


def test_tensorboard_gets_scalars_and_pictures(
    vera, photos: Path, stage1: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    chosen = settings(model=write_model(tmp_path), steps=4, stage1=stage1, tensorboard=True,
                      picture_every=2)  # fmt: skip
    assert vera("train", "plan", "--photos", photos, *chosen, "--out", tmp_path / "p").code == 0
    seen = events(tmp_path / "p")
    assert [e.step for e in seen.Scalars("text")] == [1, 2, 3, 4]
    assert {"auto_psnr", "loss", "lr"} <= set(seen.Tags()["scalars"])
    shown = seen.Images("before / ours / target")
    assert [e.step for e in shown] == [2, 4]
    assert shown[0].encoded_image_string != shown[1].encoded_image_string


def test_a_missing_tensorboard_is_one_clear_error(
    vera, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest, **more):
        if "tensorboard" in name:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    chosen = settings(model=write_model(tmp_path), steps=2, tensorboard=True)
    done = vera("train", "renderer", "--photos", photos, *chosen, "--out", tmp_path / "r")
    assert done.code == 2
    assert "pip install 'vera-mobile[train]'" in done.err
    assert not (tmp_path / "r").exists()


# ---- what is refused before the first step -------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--set", "stage1=none"], "run `vera train renderer --out none` first"),
        (["plan", "--init", "none"], "none is no folder"),
        (["plan", "--set", "model=none"], "use nano, 0.5b or a config.json"),
        (["rl"], "--init RUN of `vera train plan`"),
        (["rl", "--init", "{stage1}", "--set", "scorer=none"], "Scorer 'none' is unknown"),
        (["renderer", "--set", "device=tpu"], "use one of cpu, cuda"),
        (["align", "--shards", "none"], "no finished shards"),
        (["plan", "--set", "stage1={stage1}"], "holds a run of another model or stage"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    vera, photos: Path, stage1: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    """The last case: stage 1 of the tiny model for a nano."""
    filled = [a.format(stage1=stage1) for a in arguments]
    done = vera("train", *filled, "--photos", photos, "--out", tmp_path / "run")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_nothing_to_learn_from_is_refused(vera, tmp_path: Path) -> None:
    done = vera("train", "plan", "--out", tmp_path / "p")
    assert done.code == 2
    assert "--photos DIR or --shards DIR" in done.err
    done = vera("train", "plan", "--photos", tmp_path, "--out", tmp_path / "p",
                *settings(steps=1, stage1="none"))  # fmt: skip
    assert done.code == 2


def test_what_a_run_takes_is_counted_and_held_against_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.Linear(20, 5))
    model[1].requires_grad_(False)
    needed = preflight.needs(model)
    assert needed.memory_bytes == 4 * (220 + 105) + 12 * 220
    assert needed.state_bytes == 4 * (220 + 105) + 8 * 220
    assert preflight.needs(model, 2).memory_bytes == needed.memory_bytes // 2
    preflight.check_room(needed, tmp_path / "not" / "there")
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(FileError, match="choose another --out"):
            preflight.check_room(needed, tmp_path)
    with pytest.raises(OutOfMemory, match="there are"):
        preflight.check_room(preflight.Needs(1 << 60, 8), tmp_path)


def test_the_0_5b_fits_what_the_estimate_says() -> None:
    with torch.device("meta"):
        model = VeraModel(model_config(StageConfig(model="0.5b")))
    needed = preflight.needs(model)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0.60e9 < learned < 0.66e9
    assert needed.memory_bytes == pytest.approx(16 * learned, rel=0.03)


# ---- the parts of stages -------------------------------------------------------------------------


def test_captions_are_true() -> None:
    rng = np.random.default_rng(0)

    def said(lightness: float, a: float = 0.0, b: float = 0.0, spread: float = 0.0) -> str:
        lab = np.tile([lightness, a, b], (500, 1)) + rng.normal(0, 1, (500, 3)) * [spread, 0, 0]
        return align.caption(measure(lab_to_rgb(lab).clip(0, 1)), rng)

    for _ in range(8):
        assert re.search("dark|low in light", said(20))
        assert re.search("bright|full of light", said(80))
        assert "warm cast" in said(55, b=20)
        assert "cool cast" in said(55, b=-20)
        assert "magenta cast" in said(55, a=20)
        assert "no cast" in said(55)
        assert re.search("flat|little", said(50, spread=1))
        assert re.search("strong contrast|high contrast", said(50, spread=32))
    assert len({said(55) for _ in range(20)}) > 4


def test_align_learns_to_describe(photos: Path, tmp_path: Path) -> None:
    """Cross-entropy falls well below that of a uniform guess, 8.3 nats of 4096 tokens."""
    config = align.AlignConfig(
        **{**SETTINGS, "steps": 25, "batch": 4, "lr": 3e-3}, decoder_frozen=False, bf16=False
    )
    seen: list[float] = []
    align.train_align(pool_of(photos), tiny_model(), nano_words(), config, tmp_path,
                      lambda _, figures: seen.append(figures["text"]))  # fmt: skip
    assert seen[0] > 8
    assert seen[-1] < seen[0] - 2


def test_decoupling_measures_what_each_group_moves() -> None:
    """An ideal renderer: the develop operators themselves. Light moves lightness, the hues move
    apart, and the distance to the exact move is nothing."""
    from vera_mobile.develop.operators import develop

    class Exact:
        def renderer(self, rgb: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
            return develop(rgb, latents.sum(1))

        def teacher(self, sliders: torch.Tensor) -> torch.Tensor:
            return spread_out(sliders)

    def spread_out(sliders: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(sliders), 3, 38)
        for i, part in enumerate((slice(0, 10), slice(10, 14), slice(14, 38))):
            out[:, i, part] = sliders[:, part]
        return out

    rng = np.random.default_rng(0)
    # calm colours: on strong ones more light is more colour too
    pixels = torch.from_numpy((0.35 + 0.3 * rng.random((2, 400, 3))).astype(np.float32))
    sliders = torch.zeros(2, 38)
    sliders[:, 0], sliders[:, 10], sliders[:, 22] = 20.0, 40.0, 60.0
    report = decoupling(Exact(), pixels, sliders)  # type: ignore[arg-type]
    assert set(report) == {"lighting", "global_color", "specific_color"}
    for row in report.values():
        assert row["error_ciede2000"] == pytest.approx(0.0, abs=1e-3)
        assert row["model"]["lightness"] == pytest.approx(row["exact"]["lightness"], abs=1e-3)
        assert row["model"]["lightness"] + row["model"]["colour"] > 1.0
    shares = {g: row["model"]["lightness_share"] for g, row in report.items()}
    assert shares["lighting"] > 0.5 > shares["global_color"]
    spreads = {g: row["model"]["hue_spread"] for g, row in report.items()}
    assert spreads["specific_color"] > 2 * spreads["lighting"]
    nothing = moved(pixels, pixels, np.ones((800, 8)))
    assert nothing["lightness"] == nothing["colour"] == 0


def test_stage_1_ends_with_the_report(stage1: Path) -> None:
    report = json.loads((stage1 / "report.json").read_text())["decoupling"]
    assert set(report) == {"lighting", "global_color", "specific_color"}
    assert report["lighting"]["exact"]["lightness"] > 0.5


# ---- shards --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    from vera_mobile.train.engine.build import build
    from vera_mobile.train.engine.config import EngineConfig

    folder = tmp_path_factory.mktemp("engine")
    photos = write_engine_photos(folder / "photos")
    build(EngineConfig(photos=str(photos), samples=12, per_shard=6, side=96, seed=3), folder / "s")
    return folder / "s"


def test_stages_learn_from_shards(vera, shards: Path, stage1: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path)
    chosen = settings(model=model, steps=2, stage1=stage1)
    done = vera("train", "plan", "--shards", shards, *chosen, "--out", tmp_path / "p")
    assert done.code == 0, done.err
    chosen = settings(model=model, steps=2)
    done = vera("train", "align", "--shards", shards, *chosen, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    config = rl.RLConfig(**{**SETTINGS, "steps": 1, "group": 2, "max_tokens": 8, "overlong": 2,
                            "scorer": "", "judged": 2, "init": str(tmp_path / "p"),
                            "shards": str(shards)})  # fmt: skip
    rl.train_rl(None, tiny_model(), nano_words(), config, tmp_path / "l")
    assert json.loads((tmp_path / "l" / "report.json").read_text())["photos"] == "train"


def test_shards_are_what_a_run_learns_from(shards: Path, photos: Path) -> None:
    words, pool = nano_words(), pool_of(photos)
    config = plan.PlanConfig(**{**SETTINGS, "steps": 2})
    assert type(samples_of(pool, words, config, 64)) is Samples
    given = plan.PlanConfig(**{**SETTINGS, "steps": 2}, shards=str(shards))
    first, again = (samples_of(None, words, given, 64)[1] for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    assert first.answers == again.answers
    assert not torch.equal(first.before, samples_of(None, words, given, 64)[0].before)
    with pytest.raises(InvalidArgument, match="give photos or shards"):
        samples_of(None, words, config, 64)
