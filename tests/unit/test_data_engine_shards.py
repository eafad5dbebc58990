"""Shards: the same bytes on every build, resumed, checked; read back as samples and batches."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_files import write_photos, write_styles
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.cli import Console
from vera_mobile.commands import data as data_command
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train.batches import SamplesConfig
from vera_mobile.train.engine import build as build_module
from vera_mobile.train.engine import shards as shards_module
from vera_mobile.train.engine.build import build
from vera_mobile.train.engine.config import EngineConfig, fingerprint
from vera_mobile.train.engine.reader import Shards, ShardSamples
from vera_mobile.train.engine.shards import build_shard

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EngineConfig:
    root = tmp_path_factory.mktemp("engine")
    photos, styles = write_photos(root / "photos"), write_styles(root / "styles")
    return EngineConfig(str(photos), styles=str(styles), samples=23, per_shard=6, side=64)


@pytest.fixture(scope="module")
def built(config: EngineConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build(config, out)
    return out


def bytes_of(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.iterdir())}


# ---- building ------------------------------------------------------------------------------------


def test_a_shard_depends_on_seed_and_index_alone(
    config: EngineConfig, built: Path, tmp_path: Path
) -> None:
    """Built alone, first and elsewhere, it has the bytes of the whole build."""
    for index in (3, 1):
        entry = build_shard(config, index, tmp_path, fingerprint(config))
        name = f"train-0000{index}.tar"
        assert (tmp_path / name).read_bytes() == (built / name).read_bytes()
        assert entry["sha256"] == shards_module.sha256_file(built / name)
    assert entry["samples"] == 6
    other = build_shard(replace(config, seed=9), 1, tmp_path / "..", "x")
    assert other["sha256"] != entry["sha256"]


def test_the_tar_holds_nothing_of_the_machine(built: Path) -> None:
    with tarfile.open(built / "train-00000.tar") as tar:
        members = tar.getmembers()
    names = [m.name for m in members]
    assert names[:3] == ["00000000.input.jpg", "00000000.json", "00000000.target.jpg"]
    assert names == sorted(names)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "vera", "vera", 0o644)
    }
    assert str(built.parent).encode() not in (built / "train-00000.tar").read_bytes()


def test_the_index_counts_what_is_there(config: EngineConfig, built: Path) -> None:
    index = json.loads((built / "index-train.json").read_text())
    assert index["samples"] == 23
    assert [s["samples"] for s in index["shards"]] == [6, 6, 6, 5]
    assert sum(index["tasks"].values()) == sum(index["licences"].values()) == 23
    assert set(index["licences"]) == {"CC0 0", "CC0 1"}
    assert index["config"]["seed"] == config.seed
    for shard in index["shards"]:
        assert shards_module.sha256_file(built / shard["file"]) == shard["sha256"]


def test_webdataset_reads_the_shards(built: Path) -> None:
    import webdataset

    rows = list(webdataset.WebDataset(str(built / "train-00003.tar"), shardshuffle=False))
    assert [r["__key__"] for r in rows] == [f"{i:08d}" for i in range(18, 23)]
    assert {"json", "input.jpg", "target.jpg"} <= set(rows[0])


def test_a_build_goes_on_where_it_stopped(
    config: EngineConfig, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the third shard: two are kept, no half of one stays, the rest follows."""
    made: list[int] = []
    stops = [15]
    real = shards_module.make_sample

    def stopping(config: EngineConfig, sources: object, number: int) -> dict[str, bytes]:
        made.append(number)
        if number in stops:
            raise KeyboardInterrupt
        return real(config, sources, number)  # type: ignore[arg-type]

    monkeypatch.setattr(shards_module, "make_sample", stopping)
    with pytest.raises(KeyboardInterrupt):
        build(config, tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*")) == [
        "train-00000.json", "train-00000.tar", "train-00001.json", "train-00001.tar",
    ]  # fmt: skip
    with pytest.raises(InvalidArgument, match="no finished shards"):
        Shards(tmp_path)
    (tmp_path / ".train-00002.tar.0abc.part").write_bytes(b"left by a killed worker")
    made.clear()
    stops.clear()
    build(config, tmp_path)
    assert made == list(range(12, 23))
    assert bytes_of(tmp_path) == bytes_of(built)


@pytest.mark.parametrize("harm", ["changed", "no json", "no tar"])
def test_a_harmed_shard_is_built_again(
    config: EngineConfig, built: Path, tmp_path: Path, harm: str
) -> None:
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(built, out)
    tar = out / "train-00002.tar"
    if harm == "changed":
        raw = bytearray(tar.read_bytes())
        raw[2000] ^= 1
        tar.write_bytes(raw)
        with pytest.raises(FileError, match="was changed"):
            Shards(out, verify=True)
    else:
        tar.with_suffix(".json" if harm == "no json" else ".tar").unlink()
    kept = (out / "train-00001.tar").stat().st_mtime_ns
    build(config, out)
    assert bytes_of(out) == bytes_of(built)
    assert (out / "train-00001.tar").stat().st_mtime_ns == kept


def test_other_settings_in_the_folder_are_refused(config: EngineConfig, built: Path) -> None:
    before = bytes_of(built)
    with pytest.raises(InvalidArgument, match="other settings"):
        build(replace(config, seed=2), built)
    with pytest.raises(InvalidArgument, match="other settings"):
        build(replace(config, samples=12), built)
    assert bytes_of(built) == before


def test_splits_have_their_own_shards(config: EngineConfig, built: Path, tmp_path: Path) -> None:
    val = replace(config, split="val", samples=4)
    build(replace(config, samples=6), tmp_path)
    build(val, tmp_path)
    assert {p.name for p in tmp_path.glob("*.tar")} == {"train-00000.tar", "val-00000.tar"}
    files = [{s.record["photo"]["file"] for s in Shards(tmp_path, split)}
             for split in ("train", "val")]  # fmt: skip
    assert not files[0] & files[1]
    assert {s.record["split"] for s in Shards(tmp_path, "val")} == {"val"}


def test_a_full_disk_is_seen_before_the_work(
    config: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(build_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FileError, match="MB free, this build needs"):
        build(config, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- reading -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")


def test_samples_come_back_as_they_were_made(config: EngineConfig, built: Path) -> None:
    shards = Shards(built, verify=True)
    assert len(shards) == 23
    assert [s.key for s in shards] == [f"{i:08d}" for i in range(23)]
    sample = shards[7]
    with tarfile.open(built / "train-00001.tar") as tar:
        stored = json.load(tar.extractfile("00000007.json"))  # type: ignore[arg-type]
        image = Image.open(tar.extractfile("00000007.target.jpg"))  # type: ignore[arg-type]
        assert np.array_equal(sample.target, np.asarray(image))
    assert sample.record == stored
    assert sample.answer == stored["answer"]


def test_batches_are_what_the_plan_stage_takes(built: Path, vocabulary: Vocabulary) -> None:
    settings = SamplesConfig(batch=2, pixels=50, foreign_text_share=0.0, no_text_share=0.0)
    shards = Shards(built)
    samples = ShardSamples(shards, vocabulary, settings, 64)
    batch, again, other = samples[3], samples[3], samples[4]
    assert batch.pictures.shape == (4, 64, 64, 3)
    assert batch.before.shape == batch.target.shape == (6, 50, 3)
    assert batch.sliders.shape == (6, 38)
    assert torch.equal(batch.pictures, again.pictures)
    assert batch.answers == again.answers
    assert not torch.equal(batch.before, other.before)
    assert not torch.equal(samples.draw(3, 1).before, batch.before)
    briefs = {s.brief for s in shards}
    assert all(any(b.startswith(vocabulary.decode(a)) for b in briefs) for a in batch.answers)
    auto = vocabulary.auto(batch.pictures[0].numpy().transpose(2, 0, 1))
    assert batch.prompts[0] == (list(auto.before), list(auto.after))
    assert batch.prompts[4] == (list(vocabulary.param(batch.sliders[4].numpy()).before), [])
    assert samples.pool.dtype == torch.uint8


def test_pixels_of_both_sides_are_of_one_place(
    config: EngineConfig, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    """A good photo has the same pixels before and after."""
    build(replace(config, samples=3, good_share=1.0), tmp_path)
    samples = ShardSamples(Shards(tmp_path), vocabulary, SamplesConfig(batch=1, pixels=40), 64)
    batch = samples[0]
    assert torch.equal(batch.before[0], batch.target[0])
    assert not torch.equal(batch.before[1], batch.target[1])


def test_edits_without_sliders_can_be_left_out(built: Path) -> None:
    shards = Shards(built)
    known = shards.of_task("style", known_sliders=True)
    assert {i for i in shards.of_task("style") if i not in known} == {
        i for i, (_, row) in enumerate(shards.rows) if row["origin"] == "cube"
    }
    assert all(shards[i].sliders is not None for i in known)


def test_a_build_without_a_task_is_named(
    config: EngineConfig, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    build(replace(config, samples=4, tasks=("auto",)), tmp_path)
    with pytest.raises(InvalidArgument, match="no style samples"):
        ShardSamples(Shards(tmp_path), vocabulary, SamplesConfig(), 64)


# ---- the command ---------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    data_command.add(parser.add_subparsers())
    args = parser.parse_args(["data", *map(str, arguments)])
    return int(args.run(args, Console(as_json=args.json)))


def test_the_command_builds_and_shows(
    config: EngineConfig, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    options = ("--photos", config.photos, "--styles", config.styles, "--samples", 23,
               "--per-shard", 6, "--side", 64)  # fmt: skip
    assert run("build", *options, "--out", out, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["samples"] == 23
    assert "9 photos, 6 presets, 0 pairs" in said.err
    assert "left out: 2 presets" in said.err
    tars = {n: b for n, b in bytes_of(built).items() if n.endswith(".tar")}
    assert {n: b for n, b in bytes_of(out).items() if n.endswith(".tar")} == tars
    assert run("show", out / "train-00001.tar", "--out", tmp_path / "sheets", "--count", 3) == 0
    sheet = Image.open(tmp_path / "sheets" / "train-00001-sheet.png")
    assert sheet.width > 1000
    assert capsys.readouterr().out.strip().endswith("train-00001-sheet.png")
    assert run("show", out, "--out", tmp_path, "--count", 2, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 2


def test_settings_by_name_are_checked(config: EngineConfig, tmp_path: Path) -> None:
    options = ("build", "--photos", config.photos, "--out", tmp_path / "o")
    for wrong, told in (("gud_share=1", "unknown"), ("seed=a", "int"), ("good_share=7", "0..1")):
        with pytest.raises(InvalidArgument, match=told):
            run(*options, "--set", wrong)
    with pytest.raises(InvalidArgument, match="--workers"):
        run(*options, "--workers", 0)
    with pytest.raises(InvalidArgument, match="no finished shards"):
        run("show", tmp_path)


# ---- several processes ---------------------------------------------------------------------------

BUILD = """
import sys
from vera_mobile.train.engine.build import build
from vera_mobile.train.engine.config import EngineConfig
if __name__ == "__main__":
    build(EngineConfig.from_json(sys.argv[1]), sys.argv[2], workers=2)
"""


@pytest.mark.full
def test_two_processes_killed_and_run_again_make_the_same_shards(
    config: EngineConfig, built: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(BUILD)
    out = tmp_path / "out"
    command = [sys.executable, str(tmp_path / "run.py"), config.to_json(), str(out)]
    first = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 120
    while not list(out.glob("*.json")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert list(out.glob("*.json"))
    assert not (out / "index-train.json").exists()
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    assert bytes_of(out) == bytes_of(built)
