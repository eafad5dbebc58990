"""Two processes under torchrun (gloo, FSDP2) learn what one process learns from the same batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_training import (
    SETTINGS,
    largest_gap,
    moments,
    nano_words,
    pool_of,
    settings,
    stage1_run,
    tiny_model,
    write_model,
    write_photos,
)

from vera_mobile.errors import InvalidArgument
from vera_mobile.train import parallel, plan
from vera_mobile.train.loop import read_config, read_state

STEPS = 4
TIMEOUT_S = 300


class Stopped(Exception):
    pass


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "vera_mobile.cli", *arguments]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def unsmoothed(rows: list[dict[str, float]]) -> list[float]:
    """The losses of the steps from the log's running mean."""
    values = [r["loss"] for r in rows]
    pairs = pairwise(values)
    return [values[0], *((b - 0.95 * a) / 0.05 for a, b in pairs)]


def test_two_processes_go_on_with_the_run_of_one(tmp_path: Path) -> None:
    """From a state that one process saved at step 2, through steps 3 and 4: the same losses, the
    same gradients, and a checkpoint that one process can read."""
    photos = write_photos(tmp_path / "photos")
    stage1 = stage1_run(pool_of(photos), tmp_path / "renderer")
    more = {"steps": STEPS, "stage1": str(stage1), "vision_frozen": True, "bf16": False}
    config = read_config(plan.PlanConfig, "plan-nano", {**SETTINGS, **more})
    one, two = tmp_path / "one", tmp_path / "two"

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 2:
            raise Stopped

    whole = plan.train_plan(pool_of(photos), tiny_model(), nano_words(), config, one)
    with pytest.raises(Stopped):
        plan.train_plan(pool_of(photos), tiny_model(), nano_words(), config, two, stop)
    done = torchrun(
        "train", "plan", "--photos", str(photos), "--out", str(two),
        *settings(model=write_model(tmp_path), **more),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = rows(one), rows(two)
    assert [r["step"] for r in second] == [1, 2, 3, 4]
    # the log holds a running mean that starts anew at a resume: 0.95 of step 3, 0.05 of step 4
    losses = [unsmoothed(first)[2:], unsmoothed(second[2:])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # the log has 5 decimals
    assert largest_gap(moments(one), moments(two)) < 5e-5  # 6.3e-6 measured
    state = read_state(two / "state.safetensors")
    for name, value in whole.state_dict().items():
        assert torch.allclose(state[f"model/vera.{name}"], value, atol=1e-5), name
    assert (two / "model.safetensors").is_file()


@pytest.mark.full
@pytest.mark.parametrize("stage", ["renderer", "rl"])
def test_stages_of_one_process_refuse_torchrun(tmp_path: Path, stage: str) -> None:
    done = torchrun("train", stage, "--photos", str(tmp_path), "--out", str(tmp_path / "x"))
    assert done.returncode != 0
    assert f"vera train {stage} runs in one process, not in 2" in done.stderr
    assert "Traceback" not in done.stderr.split("vera:")[0]


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidArgument, match="finds no GPU"), parallel.group_of("cuda"):
        pass
