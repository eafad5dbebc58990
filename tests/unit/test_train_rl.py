"""Reinforcement learning: drawn answers, advantages, clipping, rewards, and a reward that rises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import (
    SETTINGS,
    nano_words,
    pool_of,
    stage1_run,
    state_hash,
    tiny_model,
    write_photos,
)
from torch import Tensor

from vera_mobile.errors import InvalidArgument
from vera_mobile.train import plan, rl, rl_draw
from vera_mobile.train.answers import answer_ids, is_well_formed
from vera_mobile.train.batches import Samples
from vera_mobile.train.rewards import (
    Drawn,
    RewardConfig,
    Rewards,
    form_of,
    histograms,
    overlong,
    similarity,
)
from vera_mobile.train.rl_report import compare
from vera_mobile.train.rollout import (
    Sampling,
    allowed_logits,
    generate,
    read_answers,
    ruled_out,
)
from vera_mobile.train.words import describe, measure

PROMPTS = [([1], [4]), ([1, 30, 31, 32], [4]), ([3, 600], [9, 4])]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Tensor:
    return pool_of(write_photos(tmp_path_factory.mktemp("photos")))


@pytest.fixture(scope="module")
def start(pool: Tensor, tmp_path_factory) -> Path:
    """A plan run of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    stage1 = stage1_run(pool, folder / "renderer")
    settings = plan.PlanConfig(**{"steps": 2, **SETTINGS, "stage1": str(stage1)})
    plan.train_plan(pool, tiny_model(), nano_words(), settings, folder / "plan")
    return folder / "plan"


def config(start: Path, **more) -> rl.RLConfig:
    chosen = {
        "steps": 3, "group": 4, "max_tokens": 12, "overlong": 4, "judged": 2, "scorer": "",
        "init": str(start), **SETTINGS, **more,
    }  # fmt: skip
    return rl.RLConfig(**chosen)


# ---- answers -------------------------------------------------------------------------------------


def test_drawn_probabilities_are_those_of_the_whole_row(start: Path) -> None:
    """The cached, left-padded batch and the plain forward pass say the same."""
    words, model = nano_words(), rl.build(tiny_model(), config(start)).eval()
    image = torch.randn(3, 1, 256, generator=torch.Generator().manual_seed(1)) * 0.1
    generator = torch.Generator().manual_seed(7)
    drawn = generate(model.vera, words, PROMPTS, image, Sampling(1.3, 9, each=2), generator)
    assert len(drawn) == 6
    assert drawn[0].tokens != drawn[1].tokens
    prompts = [p for p in PROMPTS for _ in range(2)]
    image = image.repeat_interleave(2, 0)
    with torch.no_grad():
        hidden, laid = read_answers(model.vera, words, prompts, [d.tokens for d in drawn], image)
        logits = allowed_logits(model.vera, hidden, ruled_out(model.vera, words))
    shares = torch.log_softmax(logits / 1.3, -1)
    for row, answer in enumerate(drawn):
        places = (laid.wanted[row] >= 0).nonzero()[:, 0]
        assert laid.wanted[row, places].tolist() == answer.tokens
        expected = shares[row, places, torch.tensor(answer.tokens)]
        assert torch.allclose(torch.tensor(answer.logp), expected, atol=1e-5)


def test_answers_depend_on_the_seed_only(start: Path) -> None:
    words, model = nano_words(), rl.build(tiny_model(), config(start)).eval()
    tokens = [
        [a.tokens for a in generate(model.vera, words, PROMPTS, None, Sampling(1.0, 9),
                                    torch.Generator().manual_seed(seed))]
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert tokens[0] == tokens[1] != tokens[2]


def test_forced_answers_always_end_in_a_look(start: Path) -> None:
    words, model = nano_words(), rl.build(tiny_model(), config(start)).eval()
    for answer in generate(model.vera, words, PROMPTS, None, Sampling(0.0, 9, forced=True)):
        assert answer.tokens[-3:] == list(words.retouch)
        assert answer.ended
        assert not set(answer.tokens[:-3]) & {*words.retouch, *words.prompt_only}


def test_greedy_answers_are_the_retouchers() -> None:
    """The bundled model says the same words through both ways of decoding."""
    import numpy as np

    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.image import Photo
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.retoucher import Retoucher, Style

    model, words = load_checkpoint(checkpoint_folder("nano")), nano_words()
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    look = Retoucher.load(checkpoint_folder("nano")).plan(Photo.from_array(pixels), Style("warm"))
    prompt = words.style("warm")
    with torch.no_grad():
        image = model.encode_image(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    answer = generate(model, words, [(list(prompt.before), list(prompt.after))], image,
                      Sampling(0.0, 120, forced=True))[0]  # fmt: skip
    assert answer.tokens[:-3] == list(look.tokens)


def test_what_is_well_formed() -> None:
    words = nano_words()
    import numpy as np

    rng = np.random.default_rng(0)
    before, after = rng.random((400, 3)) * 0.4, rng.random((400, 3))
    retouch = list(words.retouch)
    for task in ("auto", "style", "param"):
        ids = answer_ids(words, describe(measure(before), measure(after), task, rng))
        assert form_of(words, ids + retouch, task) == 1.0
        other = "style" if task == "auto" else "auto"
        assert form_of(words, ids + retouch, other) == 0.5
        assert form_of(words, ids, task) == 0.0
        assert form_of(words, ids + retouch[::-1], task) == 0.0
        assert form_of(words, ids + retouch[:1] + retouch, task) == 0.0
        assert not is_well_formed(words, [*ids[:5], *retouch], task)


# ---- rewards and losses --------------------------------------------------------------------------


def test_similarity_of_equal_and_opposite_photos() -> None:
    photo = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
    assert similarity(photo, photo).tolist() == pytest.approx([1.0, 1.0])
    black, white = torch.zeros(1, 50, 3), torch.ones(1, 50, 3)
    assert similarity(black, white).item() == pytest.approx(0.0)
    assert histograms(photo).sum(1).tolist() == pytest.approx([1.0, 1.0])
    # half of the pixels black, half white against all black: L1 0.5, cosine 1 / sqrt(2)
    half = torch.cat([black[:, :25], white[:, :25]], 1)
    assert similarity(half, black).item() == pytest.approx(0.5 * 0.5 + 0.5 * 2**-0.5)


def test_long_answers_lose() -> None:
    lengths, ended = torch.tensor([5, 8, 10, 12, 12]), torch.tensor([True] * 4 + [False])
    assert overlong(lengths, ended, 12, 4).tolist() == pytest.approx([0.0, 0.0, -0.5, -1.0, -1.0])


def judged(out: Tensor, target: Tensor, pictures: Tensor, tokens: list[int]) -> Drawn:
    before = torch.full_like(out, 0.5)
    shown = torch.full_like(pictures, 0.5)
    count = len(out)
    return Drawn(nano_words(), ["auto"] * count, [tokens] * count, [True] * count, before, target,
                 out, (shown, pictures))  # fmt: skip


def test_looks_count_only_where_likeness_is_held() -> None:
    """The guard: the scorer loves white, and white is far from the target."""

    def bright(pictures: Tensor) -> Tensor:
        return 20 * pictures.mean((1, 2, 3))

    target = torch.full((2, 10, 3), 0.55)
    out = torch.stack([torch.full((10, 3), 0.54), torch.ones(10, 3)])
    pictures = torch.stack([torch.full((4, 4, 3), 0.54), torch.ones(4, 4, 3)])
    drawn = judged(out, target, pictures, list(nano_words().retouch))
    rewards = Rewards(RewardConfig(), bright)(drawn)  # type: ignore[arg-type]
    assert rewards["aesthetic"][0] == pytest.approx(torch.sigmoid(torch.tensor(0.8)).item())
    assert rewards["aesthetic"][1] == 0
    assert rewards["reward"][0] > rewards["reward"][1]
    loose = Rewards(RewardConfig(similarity_slack=1.0), bright)(drawn)  # type: ignore[arg-type]
    assert loose["aesthetic"][1] > loose["aesthetic"][0]
    without = judged(out, target, pictures, [10, 11])
    assert Rewards(RewardConfig(), bright)(without)["reward"].tolist() == [0.0, 0.0]  # type: ignore[arg-type]


def test_advantages_compare_within_a_group() -> None:
    rewards = torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0])
    found = rl.advantages(rewards, 3)
    assert found.tolist() == pytest.approx([-1.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def test_the_upper_clip_is_wider() -> None:
    old = torch.zeros(4)
    logp = torch.tensor([1.5, 0.5, 1.25, 1.1]).log()
    advantage = torch.tensor([1.0, -1.0, 1.0, 1.0])
    got = rl.clipped_objective(logp, old, advantage, 0.2, 0.28)
    # a good token counts up to 1.28, a bad one down to 0.8; between nothing is cut
    assert got.tolist() == pytest.approx([1.28, -0.8, 1.25, 1.1])


def test_groups_without_a_difference_are_drawn_anew(pool: Tensor, start: Path) -> None:
    settings = config(start, attempts=3)
    model = rl.build(tiny_model(), settings).eval()
    samples = Samples(pool, nano_words(), settings, 64)
    calls = []

    def reward(drawn: Drawn) -> dict[str, Tensor]:
        calls.append(len(drawn.tokens))
        # the first draw has no difference, the second in its first group only
        values = torch.zeros(len(drawn.tokens))
        if len(calls) > 2:
            values[0] = 1.0
        return {"reward": values}

    kept, figures = rl.with_signal(model.vera, samples, settings, reward, 0)
    assert len(calls) == 2 * 3  # with and without a picture, three attempts
    assert len(kept) == 4
    assert all(len(d.prompts) == 4 and d.advantage.any() for d in kept)
    assert figures["groups_kept"] == pytest.approx(4 / 18)
    assert sum(len(d.prompts) for d in rl_draw.joined(kept, 5)) == 16


def test_micro_batches_add_up(pool: Tensor, start: Path) -> None:
    gradients = []
    for micro in (64, 3):
        settings = config(start, micro=micro, kl_weight=0.1)
        model = rl.build(tiny_model(), settings).eval()
        reference = rl.build(tiny_model(), settings).eval().vera
        with torch.no_grad():
            reference.decoder.embedding.weight.mul_(1.2)
        samples = Samples(pool, nano_words(), settings, 64)
        rewards = Rewards(settings.rewards(), None)
        draws, _ = rl.with_signal(model.vera, samples, settings, rewards, 0)
        for loss in rl.step_losses(model.vera, nano_words(), draws, settings, reference):
            loss.backward()
        found = model.vera.decoder.embedding.weight.grad
        assert found is not None
        gradients.append(found.clone())
    gap = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert gradients[0].abs().max() > 0
    assert gap < 1e-4


def test_the_reward_of_a_toy_goal_rises(pool: Tensor, start: Path, tmp_path: Path) -> None:
    """The goal: tokens of even number. By chance half of them are; without learning it stays so."""

    def even(drawn: Drawn) -> dict[str, Tensor]:
        shares = [sum(t % 2 == 0 for t in row) / len(row) for row in drawn.tokens]
        return {"reward": torch.tensor(shares)}

    def rewards(lr: float) -> list[float]:
        seen: list[float] = []
        settings = config(start, steps=6, lr=lr, warmup=0, pixel_weight=0.0, group=8, attempts=1,
                          updates=3, save_every=6)  # fmt: skip
        rl.train_rl(pool, tiny_model(), nano_words(), settings, tmp_path / str(lr),
                    lambda _, figures: seen.append(figures["reward"]), reward=even)  # fmt: skip
        return seen

    learned, still = rewards(2e-2), rewards(1e-9)
    assert abs(still[-1] - still[0]) < 0.1
    assert learned[0] == pytest.approx(still[0])
    assert sum(learned[-2:]) / 2 > still[0] + 0.3  # 0.50 to 0.95 measured


def test_latents_learn_through_the_renderer(pool: Tensor, start: Path) -> None:
    """With no policy gradient at all the head still learns, from answers that end in a look."""
    settings = config(start, pixel_weight=1.0)
    model = rl.build(tiny_model(), settings).eval()
    samples = Samples(pool, nano_words(), settings, 64)
    draws = rl_draw.draw_group(model.vera, samples, settings, 0, 0)
    for draw in draws:
        draw.advantage = torch.zeros(len(draw.prompts))
    words = nano_words()
    for loss in rl.step_losses(model.vera, words, draws, settings, None):
        loss.backward()
    assert model.vera.retouch_head.out.weight.grad is None  # no drawn answer ends in a look
    for draw in draws:
        tokens = [[*t[:5], *words.retouch] for t in draw.judged.tokens]
        draw.judged = replace(draw.judged, tokens=tokens)
        draw.logp = [[0.0] * len(t) for t in tokens]
        draw.has_look = torch.ones(len(tokens), dtype=torch.bool)
    for loss in rl.step_losses(model.vera, words, draws, settings, None):
        loss.backward()
    learned = model.vera.retouch_head.out.weight
    assert learned.grad is not None
    assert learned.grad.abs().max() > 0
    assert all(p.grad is None for p in model.vera.renderer.parameters())


def test_a_run_resumes_and_reports(pool: Tensor, start: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(step: int, _: dict[str, float]) -> None:
        if step == 2:
            raise Killed

    settings = config(start, steps=3, save_every=1, group=2, max_tokens=8)
    rl.train_rl(pool, tiny_model(), nano_words(), settings, tmp_path / "a")
    with pytest.raises(Killed):
        rl.train_rl(pool, tiny_model(), nano_words(), settings, tmp_path / "b", kill)
    rl.train_rl(pool, tiny_model(), nano_words(), settings, tmp_path / "b")
    assert state_hash(tmp_path / "a") == state_hash(tmp_path / "b")
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["photos"] == "train"
    assert report["start"] == json.loads((tmp_path / "b" / "report.json").read_text())["start"]
    assert set(report["start"]) >= {"similarity", "similarity_alone", "auto_psnr_db", "well_formed"}


def test_the_report_tells_hacking() -> None:
    start = {"score": 0.1, "similarity": 0.90, "well_formed": 1.0}
    hacked = compare(start, {"score": 0.9, "similarity": 0.80, "well_formed": 1.0})
    assert hacked["score_rose"]
    assert not hacked["similarity_held"]
    honest = compare(start, {"score": 0.2, "similarity": 0.90, "well_formed": 1.0})
    assert honest["score_rose"]
    assert honest["similarity_held"]
    assert not compare(start, start)["score_rose"]


def test_rl_settings_are_checked(start: Path) -> None:
    for wrong in ({"group": 1}, {"max_tokens": 3}, {"temperature": 0.0}, {"micro": 0}):
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            config(start, **wrong)
    with pytest.raises(InvalidArgument, match="--init"):
        rl.build(tiny_model(), rl.RLConfig())
