"""`vera import`: what people and programs read, and the exit codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from public_files import TINY, Files, tiny_model
from safetensors.torch import load_file

from vera_mobile.cli import Console
from vera_mobile.commands.import_ import add
from vera_mobile.errors import ModelError
from vera_mobile.model.load import config_text


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files.of(tiny_model(), tmp_path).write()
    (tmp_path / "tiny.json").write_text(config_text(TINY))
    return made


def _run(files: Files, *more: str) -> int:
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    second = ["--encoder-renderer", str(files.root / "encoder_renderer.safetensors")]
    config = ["--config", str(files.root / "tiny.json")]
    where = ["--vlm", str(files.folder), "--out", str(files.out)]
    args = parser.parse_args(["import", *where, *second, *config, *more])
    return int(args.run(args, Console(as_json=args.json)))


def test_report_for_people(files, capsys):
    files.encoder["decoder.out_layer.bias"][0] += 1.0
    files.vlm["model.surplus"] = torch.zeros(1)
    del files.vlm["model.norm.weight"]
    files.write()
    more = ["--renderer-from", "encoder-renderer", "--allow-left-over", "model.*"]
    assert _run(files, "--dtype", "fp16", "--allow-missing", "decoder.norm.*", *more) == 0
    text = capsys.readouterr().out
    assert "tiny, " in text
    assert "float16, from encoder_renderer.safetensors, model.safetensors" in text
    assert "missing, written as zeros (1):\n  decoder.norm.weight" in text
    assert "left over (1):\n  model.surplus" in text
    assert "differs, taken from encoder_renderer (1):\n  renderer.out.bias" in text
    found = load_file(files.out / "model.safetensors")
    assert {value.dtype for value in found.values()} == {torch.float16, torch.int64}


def test_report_for_programs(files, capsys):
    assert _run(files, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((files.out / "import.json").read_text())
    assert report["dtype"] == "as stored"
    assert report["missing"] == []


def test_refusal_names_the_flag(files):
    del files.vlm["model.norm.weight"]
    files.write()
    with pytest.raises(ModelError, match="--allow-missing"):
        _run(files)
    assert _run(files, "--allow-missing", "model.norm.weight") == 0
