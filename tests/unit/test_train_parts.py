"""Learning from a batch in parts, packed, with LoRA, with int4 weights: what must be the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import (
    SETTINGS,
    largest_gap,
    moments,
    nano_words,
    pool_of,
    stage1_run,
    tiny_model,
    write_photos,
)
from torch import Tensor, nn

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.quant.gptq import round_nearest
from vera_mobile.train import adapters, align, plan, rows
from vera_mobile.train.batches import Batch, Samples
from vera_mobile.train.renderer import RendererConfig, train_renderer
from vera_mobile.train.stage import load_stage1, take_weights_


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Tensor:
    return pool_of(write_photos(tmp_path_factory.mktemp("photos")))


@pytest.fixture(scope="module")
def stage1(pool: Tensor, tmp_path_factory) -> Path:
    return stage1_run(pool, tmp_path_factory.mktemp("runs") / "renderer")


def config(stage1: Path, **more) -> plan.PlanConfig:
    return plan.PlanConfig(**{"steps": 4, "bf16": False, "stage1": str(stage1), **SETTINGS, **more})


def ready(settings: plan.PlanConfig) -> tuple[plan.PlanModel, plan.StageModel]:
    """The model of a first step in evaluation mode, and stage 1."""
    stage = load_stage1(Path(settings.stage1), tiny_model())
    return plan.build(tiny_model(), nano_words(), settings, stage).eval(), stage


def batch_of(pool: Tensor, settings: plan.PlanConfig) -> Batch:
    return Samples(pool, nano_words(), settings, 64)[0]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_parts_of_a_batch_add_up_to_it(pool: Tensor, stage1: Path) -> None:
    settings = config(stage1, batch=4, psnr_weight=0.3)
    model, stage = ready(settings)
    batch, words = batch_of(pool, settings), nano_words()
    whole, figures = plan.losses(model, stage, words, batch, settings)
    whole.backward()
    expected = gradients(model)
    totals = plan.totals_of(stage, words, batch, 2)
    parts = [plan.losses(model, stage, words, batch.part(i, 2), settings, totals) for i in (0, 1)]
    total = parts[0][0] + parts[1][0]
    total.backward()
    # float32 sums in another order: 1.2e-7 (figures) and 1.1e-6 (gradients) measured
    assert total.item() == pytest.approx(whole.item(), rel=1e-6)
    added = {name: (parts[0][1][name] + parts[1][1][name]).item() for name in figures}
    assert added == pytest.approx({k: v.item() for k, v in figures.items()}, rel=1e-6)
    assert largest_gap(expected, gradients(model)) < 1e-5
    with pytest.raises(InvalidArgument, match="multiple of 3"):
        batch.part(0, 3)


def test_accumulated_steps_are_whole_steps(pool: Tensor, stage1: Path, tmp_path: Path) -> None:
    """2 x half a batch gives the steps of 1 x the batch, in plan and in align."""
    for parts in (1, 2):
        settings = config(stage1, batch=4, steps=2, vision_frozen=True, accumulate=parts)
        plan.train_plan(pool, tiny_model(), nano_words(), settings, tmp_path / f"p{parts}")
        chosen = align.AlignConfig(
            **{**SETTINGS, "batch": 4, "steps": 2}, accumulate=parts, bf16=False
        )
        align.train_align(pool, tiny_model(), nano_words(), chosen, tmp_path / f"a{parts}")
    # 6.2e-6 and 3.0e-7 measured
    assert largest_gap(moments(tmp_path / "p1"), moments(tmp_path / "p2")) < 5e-5
    assert largest_gap(moments(tmp_path / "a1"), moments(tmp_path / "a2")) < 5e-6


@pytest.mark.parametrize("length", [150, 300])
def test_packed_rows_give_the_same_losses(pool: Tensor, stage1: Path, length: int) -> None:
    settings = config(stage1, batch=3)
    model, stage = ready(settings)
    batch, words = batch_of(pool, settings), nano_words()
    plain, figures = plan.losses(model, stage, words, batch, settings)
    plain.backward()
    expected = gradients(model)
    packed, same = plan.losses(model, stage, words, batch, replace(settings, pack_tokens=length))
    packed.backward()
    # equal, and 1.0e-6 for gradients measured
    assert packed.item() == pytest.approx(plain.item(), rel=1e-6)
    assert {k: v.item() for k, v in same.items()} == pytest.approx(
        {k: v.item() for k, v in figures.items()}, rel=1e-6
    )
    assert largest_gap(expected, gradients(model)) < 1e-5


def test_packed_rows_hold_several_samples_and_their_images(pool: Tensor, stage1: Path) -> None:
    settings = config(stage1, batch=3)
    pictured, _ = plan.rows_of(nano_words(), batch_of(pool, settings), 1)
    laid = rows.lay_out(pictured, 0, 300)
    assert len(laid.ids) < len(pictured)
    assert int(laid.slots.sum()) == len(pictured)
    assert sorted(laid.order) == list(range(len(pictured)))
    for number in range(1, len(pictured) + 1):
        own = laid.positions[laid.segments == number]
        assert own.tolist() == list(range(len(pictured[number - 1].ids)))
    with pytest.raises(InvalidArgument, match="pack_tokens is 4"):
        rows.lay_out(pictured, 0, 4)


def test_a_packed_sample_does_not_see_its_neighbours() -> None:
    """Able to fail: without the block-diagonal mask the second sample's states change."""
    model = plan.PlanModel(tiny_model()).eval().vera
    first, second = ([5, 6, 7, 8], [9, 10, 11])

    def states(*samples: list[int]) -> Tensor:
        made = [rows.Row(s, [-100] * len(s), (0, 0), (len(s) - 1,)) for s in samples]
        laid = rows.lay_out(made, 0, 16)
        assert laid.places is not None
        return rows.states_at(rows.hidden_states(model, laid, None), laid.places)[-1]

    alone, beside, other = states(second), states(first, second), states([1, 2, 3, 4], second)
    assert torch.allclose(alone, beside, atol=1e-6)
    assert torch.allclose(beside, other, atol=1e-6)


def test_checkpointing_changes_no_gradient(pool: Tensor, stage1: Path) -> None:
    results = []
    for on in (False, True):
        settings = config(stage1, checkpointing=on)
        model, stage = ready(settings)
        plan.losses(model, stage, nano_words(), batch_of(pool, settings), settings)[0].backward()
        results.append((set(model.state_dict()), gradients(model)))
    assert results[0][0] == results[1][0]
    for name, gradient in results[0][1].items():
        assert torch.allclose(gradient, results[1][1][name], atol=1e-6), name


def test_merged_lora_equals_what_it_was_merged_from() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8, bias=False))
    x = torch.randn(5, 64)
    plain = layers(x)
    names = set(layers.state_dict())
    adapters.add_lora_(layers, rank=4, alpha=8.0)
    assert torch.equal(layers(x), plain)
    learned = {k for k, p in layers.named_parameters() if p.requires_grad}
    assert learned == {f"{i}.lora_{k}" for i in (0, 2) for k in "ab"}
    optimizer = torch.optim.SGD([p for p in layers.parameters() if p.requires_grad], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layers(x).square().mean().backward()
        optimizer.step()
    with_pairs = layers(x)
    assert (with_pairs - plain).abs().max() > 1e-3
    adapters.merge_lora_(layers)
    assert set(layers.state_dict()) == names
    assert torch.allclose(layers(x), with_pairs, atol=1e-5)


def test_a_lora_run_changes_the_merged_decoder_only_by_its_pairs(
    pool: Tensor, stage1: Path, tmp_path: Path
) -> None:
    settings = config(stage1, steps=2, lora_rank=2)
    start, _ = ready(replace(settings, lora_rank=0))
    trained = plan.train_plan(pool, tiny_model(), nano_words(), settings, tmp_path)
    before = start.vera.decoder.layers.state_dict()
    after = trained.decoder.layers.state_dict()
    assert set(before) == set(after)
    gap = after["0.attention.q_proj.weight"] - before["0.attention.q_proj.weight"]
    assert 0 < int(torch.linalg.matrix_rank(gap, rtol=1e-3)) <= 2
    assert torch.equal(after["0.attention.q_proj.bias"], before["0.attention.q_proj.bias"])
    with pytest.raises(InvalidArgument, match="do not go together"):
        replace(settings, qat_from_step=1)


def test_rounded_weights_are_the_exporters_and_learn_straight_through() -> None:
    torch.manual_seed(0)
    inner = nn.Linear(64, 16)
    layer = nn.Sequential(inner)
    exact = inner.weight.detach().clone()
    x = torch.randn(3, 64)
    adapters.round_weights_(layer)
    adapters.round_weights_(layer)
    rounded = round_nearest(exact, bits=4, group_size=32).weight()
    assert not torch.allclose(rounded, exact, atol=1e-4)
    out = layer(x)
    assert torch.allclose(out, nn.functional.linear(x, rounded, inner.bias), atol=1e-6)
    out.sum().backward()
    assert inner.weight.grad is not None
    assert torch.allclose(inner.weight.grad, x.sum(0).expand(16, -1))
    assert torch.equal(inner.weight, exact)
    adapters.exact_weights_(layer)
    assert torch.allclose(layer(x), nn.functional.linear(x, exact, inner.bias), atol=1e-6)
    with pytest.raises(InvalidArgument, match="multiple of 32"):
        adapters.round_weights_(nn.Sequential(nn.Linear(20, 4)))


def test_the_int4_phase_starts_at_its_step(pool: Tensor, stage1: Path, tmp_path: Path) -> None:
    losses: dict[int, list[float]] = {}
    for start in (0, 2):
        seen = losses.setdefault(start, [])

        def note(_: int, figures: dict[str, float], seen: list[float] = seen) -> None:
            seen.append(figures["loss"])

        settings = config(stage1, steps=3, qat_from_step=start)
        plan.train_plan(pool, tiny_model(), nano_words(), settings, tmp_path / str(start), note)
    assert losses[0][:2] == losses[2][:2]
    assert losses[0][2] != losses[2][2]


def test_a_frozen_tower_stays_as_it_is(pool: Tensor, stage1: Path, tmp_path: Path) -> None:
    """Its batch norms too."""
    settings = config(stage1, steps=2, vision_frozen=True)
    start, _ = ready(settings)
    trained = plan.train_plan(pool, tiny_model(), nano_words(), settings, tmp_path / "p")
    for name, value in start.vera.vision.state_dict().items():
        assert torch.equal(trained.vision.state_dict()[name], value), name
    changed = trained.projector.up.weight - start.vera.projector.up.weight
    assert changed.abs().max() > 0


# ---- where a run starts from ---------------------------------------------------------------------


def test_plan_starts_from_a_run_or_a_checkpoint(pool: Tensor, stage1: Path, tmp_path: Path) -> None:
    words = nano_words()
    first = plan.train_plan(pool, tiny_model(), words, config(stage1, steps=2), tmp_path / "p")
    tokenizer = tmp_path / "tokenizer.json"
    words.tokenizer.save(str(tokenizer))
    plan.save_nano(first, tokenizer, tmp_path / "c")
    for folder, tolerance in ((tmp_path / "p", 0.0), (tmp_path / "c", 1e-3)):  # fp16 there
        model, _ = ready(config(stage1, init=str(folder)))
        for name, value in first.state_dict().items():
            gap = (model.vera.state_dict()[name].float() - value.float()).abs().max()
            assert gap <= tolerance * max(1.0, float(value.float().abs().max())), name
    probe = load_file(tmp_path / "p" / "state.safetensors")["model/image_probe.weight"]
    model, _ = ready(config(stage1, init=str(tmp_path / "p")))
    assert torch.equal(model.image_probe.weight, probe)
    with pytest.raises(FileError, match="holds no run and no checkpoint"):
        take_weights_(model, tmp_path)


def test_the_renderer_of_stage_1_counts_whatever_init_holds(
    pool: Tensor, stage1: Path, tmp_path: Path
) -> None:
    """The teacher's latents mean something to that renderer only."""
    settings = align.AlignConfig(**{**SETTINGS, "steps": 2}, bf16=False)
    align.train_align(pool, tiny_model(), nano_words(), settings, tmp_path / "a")
    model, stage = ready(config(stage1, init=str(tmp_path / "a")))
    wanted = stage.renderer.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in model.vera.renderer.state_dict().items())
    learned = load_file(tmp_path / "a" / "state.safetensors")["model/vera.projector.up.weight"]
    assert torch.equal(model.vera.projector.up.weight, learned)


def test_a_frozen_renderer_keeps_its_weights(pool: Tensor, stage1: Path, tmp_path: Path) -> None:
    settings = plan.PlanConfig(**{**SETTINGS, "steps": 2}, stage1=str(stage1))
    made = plan.train_plan(pool, tiny_model(), nano_words(), settings, tmp_path / "p")
    tokenizer = tmp_path / "tokenizer.json"
    nano_words().tokenizer.save(str(tokenizer))
    plan.save_nano(made, tokenizer, tmp_path / "c")
    frozen = RendererConfig(
        **{**SETTINGS, "steps": 2}, init=str(tmp_path / "c"), renderer_frozen=True
    )
    again = train_renderer(pool, tiny_model(), frozen, tmp_path / "r")
    for name, value in made.renderer.state_dict().items():
        # the checkpoint holds half floats
        assert torch.allclose(again.renderer.state_dict()[name], value, atol=1e-3), name
        assert torch.equal(again.renderer.state_dict()[name], value.half().float()), name
    start = made.reference_encoder.state_dict()["out.weight"]
    assert (again.reference_encoder.state_dict()["out.weight"] - start).abs().max() > 1e-3


def test_psnr_weight_adds_the_log_of_the_auto_error(pool: Tensor, stage1: Path) -> None:
    settings = config(stage1)
    model, stage = ready(settings)
    batch, words = batch_of(pool, settings), nano_words()
    values = {
        w: plan.losses(model, stage, words, batch, replace(settings, psnr_weight=w))
        for w in (0.0, 1.0)
    }
    added = values[1.0][0].item() - values[0.0][0].item()
    # the figure is clamped to what can be seen; the loss adds 1e-4 to the error of each photo
    out = torch.rand(2, 8, 3, generator=torch.Generator().manual_seed(0))
    error = (out * 0.5).square().mean((1, 2))
    assert plan.log_error(out * 0.5 + 1, torch.ones_like(out)).item() == pytest.approx(
        float(np.log10(error.numpy() + 1e-4).mean()), rel=1e-5
    )
    assert -5 < added < 0
    psnr = values[0.0][1]["auto_psnr"].item()
    assert added == pytest.approx(-psnr / 10, abs=0.6)
