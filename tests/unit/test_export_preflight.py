"""Bad checkpoints and too little room are refused before an export begins."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vera_mobile.assets import checkpoint_folder
from vera_mobile.errors import FileError, InvalidArgument, ModelError, OutOfMemory
from vera_mobile.export.preflight import bundle_bytes, check_before_export, estimate, part_sizes
from vera_mobile.export.recipes import RECIPES, recipe
from vera_mobile.model.config import vera_0_5b, vera_nano

Weights = dict[str, torch.Tensor]
NPUS = ("qnn", "mediatek", "exynos")
NORM = "decoder.norm.weight"
USAGE = namedtuple("USAGE", "total used free")
GB = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of nano to damage."""
    made = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_folder("nano"), made)
    return made


def refused(folder: Path, kind: type[Exception], match: str, name: str = "host-fp32") -> None:
    out = folder.parent / "made.bundle"
    with pytest.raises(kind, match=match):
        check_before_export(folder, name, out)
    assert not out.exists()


def changed(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


# the makers' NPUs need their SDKs: see test_export_delegates.py
@pytest.mark.parametrize("name", [n for n, r in RECIPES.items() if r.backend not in NPUS])
def test_a_good_checkpoint_passes(folder: Path, name: str) -> None:
    check_before_export(folder, name, folder.parent / "new" / "made.bundle")
    assert not (folder.parent / "new").exists()


def test_an_unknown_recipe_is_named(folder: Path) -> None:
    refused(folder, InvalidArgument, "'android-int3' is unknown", "android-int3")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    changed(folder, lambda weights: weights[NORM].__setitem__(3, value))
    refused(folder, ModelError, f"NaN or infinity in {NORM}")


def test_weights_of_a_wrong_shape(folder: Path) -> None:
    changed(folder, lambda weights: weights.update({NORM: weights[NORM][:-1].clone()}))
    refused(folder, ModelError, rf"{NORM} is \[255\] instead of \[256\]")


def test_weights_that_are_missing(folder: Path) -> None:
    changed(folder, lambda weights: weights.pop(NORM))
    refused(folder, ModelError, f"lacks 1 weights: {NORM}")


def test_a_file_that_was_cut_off(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(folder, FileError, "damaged")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(trace), "w")

    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Code()))
    refused(folder, ModelError, "Python pickle")
    assert not trace.exists()


def test_a_config_or_tokenizer_that_is_wrong(folder: Path) -> None:
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, ModelError, r"is not a tokenizer\.json")
    (folder / "tokenizer.json").unlink()
    refused(folder, FileError, r"tokenizer\.json is missing")
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "config.json").write_text(json.dumps({"language": {}}))
    refused(folder, ModelError, "does not fit this release")


def test_too_little_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: USAGE(GB, GB, 20_000_000))
    refused(folder, FileError, r"needs about \d+ MB on the disk of .*, and 20 MB are free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: USAGE(GB, 0, GB))
    check_before_export(folder, "host-fp32", folder.parent / "made.bundle")


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = "vera_mobile.model.import_check.available_memory"
    monkeypatch.setattr(room, lambda: GB // 2)
    refused(folder, OutOfMemory, "of vera-nano needs about .* of memory, and 500 MB are available")
    monkeypatch.setattr(room, lambda: None)  # a system that does not tell
    check_before_export(folder, "host-fp32", folder.parent / "made.bundle")


def test_public_form_needs_room_for_its_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 896}))
    free = 2 * estimate(vera_0_5b(), recipe("host-fp32")).scratch
    monkeypatch.setattr(shutil, "disk_usage", lambda place: USAGE(free, 0, free))
    monkeypatch.setattr("vera_mobile.model.import_check.available_memory", lambda: 100 * GB)
    check_before_export(tmp_path, "host-fp32", tmp_path / "made.bundle")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(free)
    refused(tmp_path, FileError, "on the disk of")


# ---- the estimates -------------------------------------------------------------------------------


def test_part_sizes_are_those_of_the_model() -> None:
    assert sum(part_sizes(vera_nano()).values()) == 6_626_237
    assert part_sizes(vera_0_5b())["decoder"] == 494_032_768


def test_fewer_bits_are_a_smaller_bundle() -> None:
    sizes = [
        bundle_bytes(vera_0_5b(), recipe(name))
        for name in ("android-int4", "android-int4-xnnpack", "host-fp32")
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.3 * sizes[2]


def test_estimates_hold_what_was_measured() -> None:
    """android-int4-xnnpack of nano: programs of 6.84 MB in all; workers of at most 512 MB, two at
    once."""
    needs = estimate(vera_nano(), recipe("android-int4-xnnpack"))
    assert 6_840_000 < needs.out < 2 * 6_840_000
    assert 2 * 512_000_000 < needs.memory < 2_000_000_000
