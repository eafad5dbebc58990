"""Growing a checkpoint's measures, and the stage in which its retouch head learns to read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from tiny_training import SETTINGS, pool_of, settings, tiny_model, write_photos
from torch import Tensor

from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.language import DecoderLayer
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.measures import LEVELS, MEASURES
from vera_mobile.model.tokens import Vocabulary, build_tokenizer
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.simulate import rounded_rows
from vera_mobile.train.adapters import round_weights_
from vera_mobile.train.batches import Samples
from vera_mobile.train.grow import add_measures
from vera_mobile.train.measured import Drawn, shares_of
from vera_mobile.train.measures import EqualHead, MeasuresConfig, losses, make, train_measures
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


def states_of(
    folder: Path, prompts: list[tuple[list[int], list[int]]], rounded: bool = False
) -> Tensor:
    model, words = load_checkpoint(folder), Vocabulary.load(folder / "tokenizer.json")
    if rounded:
        round_weights_(model.decoder.layers)
    rows = [plan_row(words, p, [], False, 0) for p in prompts]
    laid = lay_out(rows, words.pad)
    assert laid.places is not None
    with torch.no_grad():
        return states_at(hidden_states(model, laid, None), laid.places)


def test_growing_keeps_what_was_there(old: Path, grown: Path) -> None:
    """All but 41 numbers of each of the tasks' tokens."""
    first, now = load_checkpoint(old), load_checkpoint(grown)
    words = Vocabulary.load(grown / "tokenizer.json")
    shape, size = now.config.language, first.config.language.vocab_size
    assert (shape.heads, shape.kv_heads) == (6, 3)
    assert shape.vocab_size == size + len(MEASURES) * LEVELS
    tasks = [words.special_ids[s] for s in ("<auto>", "<style>", "<param>")]
    for name, value in first.state_dict().items():
        kept = now.state_dict()[name][tuple(slice(0, n) for n in value.shape)]
        if name == "decoder.embedding.weight":
            gone = kept != value
            assert gone[tasks].sum(1).tolist() == [41, 41, 41]
            assert not gone.sum(1)[[i for i in range(size) if i not in tasks]].any()
        else:
            assert torch.equal(kept, value), name


def measured_prompts(words: Vocabulary, levels: np.ndarray) -> list[tuple[list[int], list[int]]]:
    auto, answer = (words.special_ids[s] for s in ("<auto>", "<answer>"))
    return [
        ([auto], [*(words.measures[m * LEVELS + v] for m, v in enumerate(row)), answer])
        for row in levels.tolist()
    ]


def test_a_linear_fit_of_the_last_state_reads_the_measures_in_4_bits_too(grown: Path) -> None:
    """The way that `grow` lays, with random weights everywhere else; R2 of an angle's cosine (0.99
    and more measured), of a fit to exact weights that is then given states of rounded ones."""
    words = Vocabulary.load(grown / "tokenizer.json")
    levels = np.random.default_rng(0).integers(0, LEVELS, (700, len(MEASURES)))
    prompts = measured_prompts(words, levels)
    exact, rounded = (states_of(grown, prompts, r)[:, 2].double() for r in (False, True))
    wanted = torch.from_numpy(np.cos(np.pi * (levels + 0.5) / LEVELS))
    ones = torch.ones(len(levels), 1, dtype=torch.float64)
    inputs = torch.cat([exact, ones], 1)
    fit = torch.linalg.lstsq(inputs[:600], wanted[:600], driver="gelsd").solution
    for states in (exact, rounded):
        found = torch.cat([states[600:], ones[600:]], 1) @ fit
        error = (found - wanted[600:]).square().mean(0) / wanted.var(0)
        assert float(error.max()) < 0.05, error


def added_by_the_way(folder: Path, prompts: list[tuple[list[int], list[int]]]) -> Tensor:
    """(k, 3): sizes of what the first layer's new heads add where retouch tokens are emitted."""
    words, model = Vocabulary.load(folder / "tokenizer.json"), load_checkpoint(folder)
    laid = lay_out([plan_row(words, p, [], False, 0) for p in prompts], words.pad)
    assert laid.places is not None
    last = cast(DecoderLayer, model.decoder.layers[0]).attention.o_proj
    heads: list[Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0]))
    with torch.no_grad():
        hidden_states(model, laid, None)
        return states_at(heads[0][..., 256:] @ last.weight[:, 256:].T, laid.places).norm(dim=2)


def test_the_measures_are_added_at_one_place_and_nothing_elsewhere(grown: Path) -> None:
    """Where nothing asks, and where nothing is to be found, the two new query heads cancel: before
    the look to 3.6e-4 of what is added after it, without measures to 1.3e-3 (measured)."""
    words = Vocabulary.load(grown / "tokenizer.json")
    levels = np.random.default_rng(1).integers(0, LEVELS, (8, 20))
    sizes = added_by_the_way(grown, measured_prompts(words, levels))
    without: list[tuple[list[int], list[int]]] = [
        (list(words.param({"Exposure2012": v}).before), []) for v in (35, -40)
    ]
    least = float(sizes[:, 2].min())
    assert float(sizes[:, 0].max()) < 2e-3 * least
    assert float(added_by_the_way(grown, without).max()) < 2e-3 * least, sizes


def test_what_cannot_grow_is_refused(grown: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has the measure tokens already"):
        add_measures(grown, tmp_path / "again")
    shape = old_shape()
    tokenizer = build_tokenizer(["warm"])
    narrow = replace(shape.language, vocab_size=tokenizer.get_vocab_size(), head_dim=32)
    save_checkpoint(VeraModel(replace(shape, language=narrow)), tmp_path / "narrow")
    tokenizer.save(str(tmp_path / "narrow" / "tokenizer.json"))
    with pytest.raises(ModelError, match="need 41 and 42"):
        add_measures(tmp_path / "narrow", tmp_path / "out")


def test_equal_axes_are_undone() -> None:
    """A head rewritten for equal axes gives what it gave, in float64 to 1e-9 of the largest latent;
    the axes' scales span 1e4."""
    torch.manual_seed(0)
    head = VeraModel(tiny_model()).retouch_head.eval().double()
    scales = torch.logspace(-2, 2, 768, dtype=torch.float64)
    states = (torch.randn(2000, 768, dtype=torch.float64) * scales + 1.0).view(-1, 3, 256)
    equal = EqualHead(head).double()
    with torch.no_grad():
        first = head(states[:50])
        equal.equalize_(states, 1e-9)
        assert torch.allclose(
            equal.finish_()(states[:50]), first, atol=1e-9 * float(first.abs().max())
        )


def test_the_head_learns_on_what_8_bits_leave(old: Path) -> None:
    """Its first layer's weights take 255 values a row and its inputs 256 a sample, and gradients
    reach the exact weights."""
    torch.manual_seed(0)
    head = EqualHead(load_checkpoint(old).retouch_head.requires_grad_(True))
    states = torch.randn(400, 3, 256)
    head.equalize_(states, 1e-4)
    latents = head(states)
    latents.square().sum().backward()
    gradient = head.head.first.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    weight = head.plain()[0].detach()
    step = weight.abs().amax(1, keepdim=True) / 127
    flat = rounded_rows(states.flatten(1)).view_as(states)
    head.finish_().first.weight.data.copy_((weight / step).round() * step)
    with torch.no_grad():
        now = head.head(flat)
    assert torch.allclose(now, latents, atol=1e-3 * float(latents.detach().abs().max()))


def test_the_stage_learns_words_and_the_head_alone(
    grown: Path, pool: Tensor, tmp_path: Path
) -> None:
    config = MeasuresConfig(
        steps=6, init=str(grown), made=4, lr=2e-3, no_text_share=0.2, words_steps=2, own_words=2,
        rounded=2, **SETTINGS,
    )  # fmt: skip
    words = Vocabulary.load(grown / "tokenizer.json")
    shape = load_checkpoint(grown).config
    seen: list[dict[str, float]] = []
    works: list[str] = []
    vera = train_measures(
        pool, shape, words, config, tmp_path / "run", lambda step, values: seen.append(values),
        on_work=lambda what, done, of: works.append(what),
    )  # fmt: skip
    assert list(dict.fromkeys(works)) == ["samples", "states", "words", "own answers"]
    first = load_checkpoint(grown).state_dict()
    changed = {k for k, v in vera.state_dict().items() if not torch.equal(v, first[k])}
    assert all(name.startswith(("retouch_head.", "decoder.layers.")) for name in changed)
    assert any(name.startswith("retouch_head.") for name in changed)
    now = vera.state_dict()
    attention = "decoder.layers.0.attention."
    assert f"{attention}q_proj.weight" in changed
    for name, kept in (("q_proj.weight", slice(256, None)), ("k_proj.weight", slice(128, None)),
                       ("v_proj.weight", slice(128, None))):  # fmt: skip
        assert torch.equal(now[attention + name][kept], first[attention + name][kept])
    out = attention + "o_proj.weight"
    assert torch.equal(now[out][:, 256:], first[out][:, 256:])
    assert len(seen) == 6
    assert set(seen[0]) == {"loss", "auto_psnr", "alone_psnr", "style_psnr", "param_psnr"}
    again = train_measures(pool, shape, words, config, tmp_path / "run")
    assert torch.equal(vera.retouch_head.first.weight, again.retouch_head.first.weight)


def test_words_are_learned_from_true_answers_and_good_photos_at_their_share() -> None:
    """Sample 0 has another's words, 1 none; of the others 2 and 3 are good, 4 is not."""
    before, target = torch.zeros(5, 4, 3, dtype=torch.uint8), torch.zeros(5, 4, 3).byte()
    target[4] = 9
    true, answers = [False, True, True, True, True], [[7], [], [7], [7], [7]]
    drawn = Drawn([([1], [2])] * 5, answers, true, None, before, target)
    assert np.allclose(shares_of(drawn, None), [0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert np.allclose(shares_of(drawn, 0.4), [0, 0, 0.2, 0.2, 0.6])
    assert np.allclose(shares_of(drawn.part([0, 2, 3]), 0.4), [0, 0.5, 0.5])


def test_the_loss_falls_on_few_samples(grown: Path, pool: Tensor) -> None:
    config = MeasuresConfig(
        steps=40, init=str(grown), made=6, rounded=2, **{**SETTINGS, "batch": 6}
    )
    vera, words = load_checkpoint(grown), Vocabulary.load(grown / "tokenizer.json")
    vera.requires_grad_(False)
    vera.retouch_head.requires_grad_(True)
    counted: list[tuple[str, int, int]] = []

    def work(what: str, done: int, of: int) -> None:
        counted.append((what, done, of))

    made = make(vera, words, Samples(pool, words, config, 64), config, work)
    assert counted[0] == ("samples", 6, 6)
    assert [len(m.states) for m in made] == [6, 6, 6]
    assert [m.known is None for m in made] == [True, True, False]
    head = EqualHead(vera.retouch_head)
    head.equalize_(torch.cat([m.states for m in made]), config.least_variance)
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    history = []
    for step in range(40):
        loss, _ = losses(vera, head, made, config, step % 2)  # two steps' samples and pixels
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
    with pytest.raises(InvalidArgument, match="rounded is 0"):
        MeasuresConfig(rounded=0)
    with pytest.raises(InvalidArgument, match="words_good is 1"):
        MeasuresConfig(words_good=1.0)


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
