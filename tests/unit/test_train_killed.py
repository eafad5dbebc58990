"""A run that is killed with SIGKILL goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_training import (
    pool_of,
    settings,
    stage1_run,
    state_hash,
    write_model,
    write_photos,
)

from vera_mobile.train.loop import read_state

PATIENCE_S = 240


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def killed_once_saved(arguments: list[str], run: Path) -> int:
    """Starts `vera train ARGUMENTS`, kills it and its helpers when a state is there; returns the
    step of that state."""
    code = "import sys; from vera_mobile.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    file, deadline = run / "state.safetensors", time.monotonic() + PATIENCE_S
    try:
        while not file.is_file():
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < deadline, "no state was saved"
            time.sleep(0.002)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    return int(read_state(file)["step"])


def arguments_of(stage: str, photos: Path, folder: Path, **more: object) -> list[str]:
    model = write_model(folder)
    chosen = settings(model=model, **more)
    return [stage, "--photos", str(photos), *chosen]


def check(vera, arguments: list[str], folder: Path, steps: int) -> None:
    run = folder / "killed"
    reached = killed_once_saved([*arguments, "--out", str(run)], run)
    assert 0 < reached < steps
    assert vera("train", *arguments, "--out", run).code == 0
    assert int(read_state(run / "state.safetensors")["step"]) == steps
    assert vera("train", *arguments, "--out", folder / "whole").code == 0
    assert state_hash(run) == state_hash(folder / "whole")


def test_the_renderer_stage(vera, photos: Path, tmp_path: Path) -> None:
    check(vera, arguments_of("renderer", photos, tmp_path, steps=40), tmp_path, 40)


@pytest.mark.full
@pytest.mark.parametrize("stage", ["align", "plan", "rl"])
def test_the_other_stages(vera, photos: Path, tmp_path: Path, stage: str) -> None:
    stage1 = stage1_run(pool_of(photos), tmp_path / "renderer")
    more: dict[str, object] = {"steps": 12}
    if stage != "align":
        more["stage1"] = stage1
    if stage == "rl":
        start = tmp_path / "plan"
        given = arguments_of("plan", photos, tmp_path, steps=2, stage1=stage1)
        assert vera("train", *given, "--out", start).code == 0
        more = {"steps": 8, "init": start, "scorer": "''", "group": 2, "max_tokens": 20,
                "judged": 2, "save_every": 2}  # fmt: skip
    check(vera, arguments_of(stage, photos, tmp_path, **more), tmp_path, int(str(more["steps"])))
