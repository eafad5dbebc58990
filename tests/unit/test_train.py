"""Data, words and the two stages: true text, seeded batches, resume to the same bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vera_mobile.assets import checkpoint_folder
from vera_mobile.develop.operators import develop
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.model.config import EncoderConfig, ModelConfig, RendererConfig, vera_nano
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train import data, plan, renderer
from vera_mobile.train.batches import Samples
from vera_mobile.train.loop import Run, StageConfig, learning_rate, read_config, step_rng
from vera_mobile.train.styles import AMOUNTS, STYLES, wording
from vera_mobile.train.words import describe, measure

SAMPLES = ("chelsea", "coffee")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    from skimage import data as skimage_data

    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        picture = getattr(skimage_data, SAMPLES[i % 2])()
        Image.fromarray(np.roll(picture, 30 * i, 1)).save(folder / f"{i:02d}.jpg")
    return folder


@pytest.fixture(scope="module")
def tiny() -> ModelConfig:
    base = vera_nano()
    return replace(
        base,
        vision=replace(base.vision, image_size=64),
        language=replace(base.language, layers=1, intermediate_size=64),
        renderer=RendererConfig(widths=(16, 16, 16), latent_size=256, residual=True),
        encoder=EncoderConfig(image_size=64, widths=(16, 16, 16, 16)),
    )


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "state.safetensors").read_bytes()).hexdigest()


def test_splits_follow_the_manifest_and_else_the_name(photos: Path, tmp_path: Path) -> None:
    counts = {}
    for split in ("train", "val", "test"):
        try:
            counts[split] = {p.path.name for p in data.list_photos(photos, split)}
        except FileError:
            counts[split] = set()
    assert sum(len(c) for c in counts.values()) == 12
    (tmp_path / "manifest.csv").write_text("file,split,tier\na.jpg,train,A\nb.jpg,train,A-\n")
    assert [p.path.name for p in data.list_photos(tmp_path, "train", ("A", "B"))] == ["a.jpg"]
    with pytest.raises(FileError, match="no photos"):
        data.list_photos(tmp_path, "test")


def test_degradations_are_whole_percent_and_always_do_something() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        for s in (data.degradation(rng), data.slider_set(rng)):
            assert s.shape == (38,)
            assert np.abs(s).max() <= 100
            assert np.array_equal(s, np.round(s))
    drawn = [data.degradation(np.random.default_rng(i)) for i in range(50)]
    assert all(np.abs(d).max() > 5 for d in drawn)


def test_the_baked_picture_is_near_the_exact_operators() -> None:
    picture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    sliders = torch.from_numpy(data.degradation(np.random.default_rng(5)))[None]
    exact = develop(picture.reshape(1, -1, 3), sliders).reshape(1, 32, 32, 3)
    # random colours, 17^3 trilinear: mean 0.003 measured
    assert (data.develop_picture(picture, sliders) - exact).abs().mean() < 0.01


@pytest.mark.parametrize("style", STYLES, ids=lambda s: s.name)
def test_each_style_moves_a_photo_the_way_that_its_words_say(style) -> None:
    from skimage import data as skimage_data

    photo = skimage_data.coffee().reshape(-1, 3)[::40] / 255.0
    if any(key in ("green", "blue") for key, _ in style.checks):
        photo = np.random.default_rng(0).random((4000, 3)) * 0.6 + 0.2
    before = measure(photo)
    x = torch.from_numpy(photo.astype(np.float32))[None]
    after = measure(develop(x, torch.from_numpy(style.vector())[None])[0].numpy())
    for key, sign in style.checks:
        assert sign * (after[key] - before[key]) > 0.3, (style.name, key)


def test_words_say_what_was_measured() -> None:
    rng = np.random.default_rng(0)
    photo = np.random.default_rng(1).random((2000, 3)) * 0.5 + 0.25
    x = torch.from_numpy(photo.astype(np.float32))[None]

    def text(**sliders: float) -> str:
        from vera_mobile.develop.sliders import vector

        bad = develop(x, torch.from_numpy(vector(sliders))[None])[0].numpy()
        return describe(measure(bad), measure(photo), "auto", rng)

    assert "too dark" in text(Exposure2012=-30)
    assert "too bright" in text(Exposure2012=25)
    assert "cool cast" in text(IncrementalTemperature=-50)
    assert "warm cast" in text(IncrementalTemperature=50)
    assert "pale colors" in text(Saturation=-50)
    plain = describe(measure(photo), measure(photo), "auto", rng)
    assert not any(w in plain for w in ("dark", "bright", "cast", "pale"))


def test_wordings_carry_their_amount() -> None:
    rng = np.random.default_rng(0)
    for style in STYLES:
        for amount in AMOUNTS:
            text = wording(style, amount, rng)
            assert any(w in text for w in style.wordings)


def test_configs_are_checked(tmp_path: Path) -> None:
    assert read_config(renderer.RendererConfig, "renderer-nano").steps > 0
    assert read_config(plan.PlanConfig, "plan-nano", {"steps": 3}).steps == 3
    (tmp_path / "c.toml").write_text("stepps = 3\n")
    with pytest.raises(InvalidArgument, match="stepps"):
        read_config(StageConfig, tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text('steps = "many"\n')
    with pytest.raises(InvalidArgument, match="steps"):
        read_config(StageConfig, tmp_path / "c.toml")
    with pytest.raises(FileError, match="plan-nano"):
        read_config(StageConfig, "none")
    with pytest.raises(InvalidArgument, match="steps"):
        StageConfig(steps=0)


def test_learning_rate_warms_up_and_cools_down() -> None:
    config = StageConfig(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(i, config) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.03


def test_batches_depend_on_seed_and_step_only(photos: Path, tiny: ModelConfig) -> None:
    pool = data.load_pool(data.list_photos(photos, "train"), 64)
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    config = plan.PlanConfig(steps=10, batch=2, pixels=64)
    first, second = (Samples(pool, vocabulary, config, 64)[7] for _ in range(2))
    assert torch.equal(first.before, second.before)
    assert first.answers == second.answers
    other = Samples(pool, vocabulary, config, 64)[8]
    assert not torch.equal(first.before, other.before)
    assert step_rng(1, 2).random() == step_rng(1, 2).random()


def test_masked_teacher_gives_zero_latents() -> None:
    teacher = renderer.SliderTeacher(8)
    out = teacher(torch.zeros(2, 38))
    assert out.abs().max() == 0


def test_stages_resume_to_the_same_bytes(photos: Path, tiny: ModelConfig, tmp_path: Path) -> None:
    """A run stopped at step 4 and resumed equals a run that was never stopped, in both stages."""
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    files = data.list_photos(photos, "train")
    pool = data.load_pool(files, 64)
    common: dict[str, Any] = {
        "batch": 2,
        "pixels": 64,
        "save_every": 2,
        "log_every": 2,
        "warmup": 2,
        "threads": 1,
    }

    class Killed(Exception):
        pass

    def kill(step: int, _: dict[str, float]) -> None:
        if step == 5:
            raise Killed

    first = renderer.RendererConfig(steps=6, **common)
    renderer.train_renderer(pool, tiny, first, tmp_path / "r1")
    with pytest.raises(Killed):
        renderer.train_renderer(pool, tiny, first, tmp_path / "r2", kill)
    renderer.train_renderer(pool, tiny, first, tmp_path / "r2")
    assert weights_hash(tmp_path / "r1") == weights_hash(tmp_path / "r2")
    log = [json.loads(line) for line in (tmp_path / "r1" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [2, 4, 6]

    second = plan.PlanConfig(steps=6, stage1=str(tmp_path / "r1"), **common)
    model = plan.train_plan(pool, tiny, vocabulary, second, tmp_path / "p1")
    with pytest.raises(Killed):
        plan.train_plan(pool, tiny, vocabulary, second, tmp_path / "p2", kill)
    plan.train_plan(pool, tiny, vocabulary, second, tmp_path / "p2")
    assert weights_hash(tmp_path / "p1") == weights_hash(tmp_path / "p2")

    tokenizer = checkpoint_folder("nano") / "tokenizer.json"
    plan.save_nano(model, tokenizer, tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_a_damaged_or_foreign_state_is_refused(tiny: ModelConfig, tmp_path: Path) -> None:
    pool = torch.zeros(1, 72, 72, 3, dtype=torch.uint8)
    config = renderer.RendererConfig(steps=1, batch=2, pixels=64)
    (tmp_path / "state.safetensors").write_bytes(b"\x08broken")
    with pytest.raises(FileError, match="no saved run"):
        renderer.train_renderer(pool, tiny, config, tmp_path)
    save_file({"model/x": torch.zeros(1), "step": torch.tensor(1)},
              str(tmp_path / "state.safetensors"))  # fmt: skip
    with pytest.raises(FileError, match="another model or stage"):
        renderer.train_renderer(pool, tiny, config, tmp_path)


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    """And changes no weight."""
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone()
    run = Run(tmp_path, StageConfig(steps=1), module)
    with pytest.raises(ModelError, match="step 1: the gradient is not finite"):
        run.step(0, module(torch.tensor([[1.0, float("inf")]])).sum())
    assert torch.equal(module.weight, before)


def test_plan_needs_stage_1(photos: Path, tiny: ModelConfig, tmp_path: Path) -> None:
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    config = plan.PlanConfig(steps=1, batch=1, stage1=str(tmp_path / "none"))
    with pytest.raises(FileError, match="vera train renderer"):
        plan.train_plan(torch.zeros(1, 72, 72, 3, dtype=torch.uint8), tiny, vocabulary, config,
                        tmp_path / "p")  # fmt: skip
