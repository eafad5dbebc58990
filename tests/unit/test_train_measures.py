"""Growing a checkpoint's measures, and the stage in which its retouch head learns to read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import SETTINGS, pool_of, settings, tiny_model, write_photos
from torch import Tensor

from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.measures import LEVELS, MEASURES
from vera_mobile.model.tokens import Vocabulary, build_tokenizer
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.grow import add_measures
from vera_mobile.train.measures import Axes, Made, MeasuresConfig, losses, make, train_measures
from vera_mobile.train.rows import hidden_states, lay_out, plan_row, states_at


def old_shape() -> ModelConfig:
    """The tiny model as it was before measures: 4 heads on 2, and no tokens of theirs."""
    tiny = tiny_model()
    return replace(tiny, language=replace(tiny.language, vocab_size=1105, heads=4, kv_heads=2))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["warm and bright, soft light"] * 3)
    shape = old_shape()
    language = replace(shape.language, vocab_size=tokenizer.get_vocab_size())
    model = VeraModel(replace(shape, language=language))
    torch.nn.init.normal_(model.renderer.out.weight, std=0.05)  # else no latent changes a look
    save_checkpoint(model, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def grown(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown")
    add_measures(old, folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return pool_of(write_photos(tmp_path_factory.mktemp("photos")))


def states_of(folder: Path, prompts: list[tuple[list[int], list[int]]]) -> Tensor:
    model, words = load_checkpoint(folder), Vocabulary.load(folder / "tokenizer.json")
    rows = [plan_row(words, p, [], False, 0) for p in prompts]
    laid = lay_out(rows, words.pad)
    assert laid.places is not None
    with torch.no_grad():
        return states_at(hidden_states(model, laid, None), laid.places)


def test_growing_keeps_what_was_there(old: Path, grown: Path) -> None:
    first, now = load_checkpoint(old), load_checkpoint(grown)
    shape, size = now.config.language, first.config.language.vocab_size
    assert (shape.heads, shape.kv_heads) == (6, 3)
    assert shape.vocab_size == size + len(MEASURES) * LEVELS
    for name, value in first.state_dict().items():
        kept = now.state_dict()[name][tuple(slice(0, n) for n in value.shape)]
        assert torch.equal(kept, value), name


def test_a_prompt_without_measures_means_what_it_meant(old: Path, grown: Path) -> None:
    """The new head looks at <param>, whose value is at a right angle to all that it passes: the
    states of the two models differ by 0.10 of their size (measured, random weights)."""
    words = Vocabulary.load(grown / "tokenizer.json")
    prompts: list[tuple[list[int], list[int]]] = [
        (list(words.param({"Exposure2012": v}).before), []) for v in (35, -40)
    ]
    before, after = states_of(old, prompts), states_of(grown, prompts)
    assert float((after - before).norm() / before.norm()) < 0.2


def test_a_linear_fit_of_the_states_reads_the_measures(grown: Path) -> None:
    """The way that `grow` lays, with random weights everywhere else; R2 of the level above 0.9
    (lowest measured: 0.97)."""
    words = Vocabulary.load(grown / "tokenizer.json")
    rng = np.random.default_rng(0)
    levels = rng.integers(0, LEVELS, (1100, len(MEASURES)))
    auto, answer = (words.special_ids[s] for s in ("<auto>", "<answer>"))
    prompts = [
        ([auto], [*(words.measures[m * LEVELS + v] for m, v in enumerate(row)), answer])
        for row in levels.tolist()
    ]
    states = states_of(grown, prompts).flatten(1).double()
    inputs = torch.cat([states, torch.ones(len(states), 1)], 1)
    wanted = torch.from_numpy(levels / LEVELS)
    fit = torch.linalg.lstsq(inputs[:1000], wanted[:1000], driver="gelsd").solution
    error = (inputs[1000:] @ fit - wanted[1000:]).square().mean(0) / wanted.var(0)
    assert float(error.max()) < 0.1, error


def test_what_cannot_grow_is_refused(grown: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has the measure tokens already"):
        add_measures(grown, tmp_path / "again")
    shape = old_shape()
    tokenizer = build_tokenizer(["warm"])
    narrow = replace(shape.language, vocab_size=tokenizer.get_vocab_size(), head_dim=32)
    save_checkpoint(VeraModel(replace(shape, language=narrow)), tmp_path / "narrow")
    tokenizer.save(str(tmp_path / "narrow" / "tokenizer.json"))
    with pytest.raises(ModelError, match="need 60 and 62"):
        add_measures(tmp_path / "narrow", tmp_path / "out")


def test_equal_axes_are_undone_exactly() -> None:
    """A head rewritten for equal axes gives what it gave, in float64 to 1e-9 of the largest latent;
    the axes' scales span 1e4."""
    torch.manual_seed(0)
    head = VeraModel(tiny_model()).retouch_head.eval().double()
    scales = torch.logspace(-2, 2, 768, dtype=torch.float64)
    states = (torch.randn(2000, 768, dtype=torch.float64) * scales + 1.0).view(-1, 3, 256)
    axes = Axes([Made(states, states, states)], 1e-9)
    with torch.no_grad():
        first = head(states[:50])
        axes.into_(head)
        equal = axes.equal(states)
        assert torch.allclose(head(equal[:50]), first, atol=1e-9 * float(first.abs().max()))
        axes.out_of_(head)
        assert torch.allclose(head(states[:50]), first, atol=1e-9 * float(first.abs().max()))
    assert float(equal.flatten(1).var(0).min()) > 0.99


def test_the_stage_learns_the_head_alone(grown: Path, pool: Tensor, tmp_path: Path) -> None:
    config = MeasuresConfig(
        steps=6, init=str(grown), made=4, lr=2e-3, no_text_share=0.5, **SETTINGS
    )
    words = Vocabulary.load(grown / "tokenizer.json")
    shape = load_checkpoint(grown).config
    seen: list[dict[str, float]] = []
    vera = train_measures(
        pool, shape, words, config, tmp_path / "run", lambda step, values: seen.append(values)
    )
    first = load_checkpoint(grown).state_dict()
    changed = {k for k, v in vera.state_dict().items() if not torch.equal(v, first[k])}
    assert changed
    assert all(name.startswith("retouch_head.") for name in changed)
    assert len(seen) == 6
    assert set(seen[0]) == {"loss", "auto_psnr", "alone_psnr", "style_psnr", "param_psnr"}
    again = train_measures(pool, shape, words, config, tmp_path / "run")
    assert torch.equal(vera.retouch_head.first.weight, again.retouch_head.first.weight)


def test_the_loss_falls_on_few_samples(grown: Path, pool: Tensor) -> None:
    from vera_mobile.train.batches import Samples

    config = MeasuresConfig(steps=40, init=str(grown), made=6, **{**SETTINGS, "batch": 6})
    vera, words = load_checkpoint(grown), Vocabulary.load(grown / "tokenizer.json")
    counted: list[int] = []
    made = make(vera, Samples(pool, words, config, 64), 6, counted.append)
    assert counted == [6]
    assert [len(m.states) for m in made] == [6, 6, 6]
    first = load_checkpoint(grown).retouch_head
    vera.requires_grad_(False)
    vera.retouch_head.requires_grad_(True)
    optimizer = torch.optim.Adam(vera.retouch_head.parameters(), 1e-3)
    history = []
    for step in range(40):
        loss, _ = losses(vera, first, made, config, step % 2)  # two steps' samples and pixels
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-4:]) < np.mean(history[:4])


def test_the_stage_says_what_it_lacks(old: Path, pool: Tensor, tmp_path: Path) -> None:
    words, shape = Vocabulary.load(old / "tokenizer.json"), load_checkpoint(old).config
    config = MeasuresConfig(init=str(old), **SETTINGS)
    with pytest.raises(InvalidArgument, match="has measure tokens"):
        train_measures(pool, shape, words, config, tmp_path)
    with pytest.raises(InvalidArgument, match="--photos"):
        train_measures(None, shape, words, config, tmp_path)
    with pytest.raises(InvalidArgument, match="made is 1"):
        MeasuresConfig(made=1, batch=2)


def test_from_the_command_line(vera, old: Path, tmp_path: Path) -> None:
    """An init without measure tokens grows them; the run's folder is a checkpoint to go on from."""
    photos = write_photos(tmp_path / "photos")
    done = vera("train", "measures", "--photos", photos, "--init", old, "--out", tmp_path / "run",
                *settings(steps=2, made=2))  # fmt: skip
    assert done.code == 0, done.err
    assert Vocabulary.load(tmp_path / "run" / "tokenizer.json").measures
    again = vera("train", "measures", "--photos", photos, "--init", tmp_path / "run",
                 "--out", tmp_path / "next", *settings(steps=2, made=2))  # fmt: skip
    assert again.code == 0, again.err
    assert not (tmp_path / "next" / "grown").exists()
