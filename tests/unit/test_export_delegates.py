"""Recipes for other delegates: what cannot be lowered says what lacks, the rest is labelled."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vera_mobile.bundle import Bundle, FileEntry, Manifest, OperatorCount
from vera_mobile.cli import main
from vera_mobile.errors import FileError
from vera_mobile.export.commands import parity_text, program_text
from vera_mobile.export.delegates import DELEGATES, check_toolchain, delegate_name
from vera_mobile.export.executorch import build, delegated, expected_file
from vera_mobile.export.golden import _not_run
from vera_mobile.export.recipes import BACKENDS, RECIPES, recipe
from vera_mobile.export.stages import golden_inputs
from vera_mobile.model.config import vera_nano
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import DELEGATE_IDENTIFIERS, missing_delegates

NPUS = {
    "android-qnn-int8": ("Qualcomm AI Engine Direct SDK", "QNN_SDK_ROOT is not set"),
    "android-mediatek-int8": ("NeuroPilot Express SDK", "mtk_converter"),
    "android-exynos-int8": ("Exynos AI LiteCore SDK", "EXYNOS_AI_LITECORE_ROOT"),
}


@pytest.fixture(scope="module")
def model() -> VeraModel:
    torch.manual_seed(0)
    return VeraModel(vera_nano()).eval()


@pytest.mark.parametrize("name", NPUS)
def test_a_missing_sdk_is_named_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    out = tmp_path / "bundle"
    # the checkpoint is not even looked for
    code = main(["export", "--checkpoint", "nowhere", "--recipe", name, "--out", str(out)])
    said = capsys.readouterr().err
    assert code == 2
    assert all(word in said for word in (name, *NPUS[name], "Without it use"))
    assert said.count("\n") == 1
    assert not out.exists()
    # its import would download the SDK
    assert "executorch.backends.qualcomm" not in sys.modules


def test_a_wrong_sdk_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    with pytest.raises(FileError, match="which has no libQnnHtp"):
        check_toolchain(recipe("android-qnn-int8"))
    library = tmp_path / "lib" / "x86_64-linux-clang" / "libQnnHtp.so"
    library.parent.mkdir(parents=True)
    library.touch()
    check_toolchain(recipe("android-qnn-int8"))


def test_what_the_wheel_lowers_needs_no_sdk() -> None:
    for name, used in RECIPES.items():
        if name not in NPUS:
            check_toolchain(used)


def test_every_delegate_has_a_recipe_and_a_name_in_the_runtime() -> None:
    assert set(DELEGATES) == set(DELEGATE_IDENTIFIERS)
    assert set(DELEGATES) < set(BACKENDS)
    assert {used.backend for used in RECIPES.values()} == set(BACKENDS)
    assert delegate_name("VulkanBackend") == "vulkan"
    assert delegate_name("XnnpackBackend") == "xnnpack"


@pytest.mark.parametrize("name", ["android-vulkan", "ios-coreml-pte"])
def test_a_lowered_part_is_whole_and_labelled(name: str, model: VeraModel, tmp_path: Path) -> None:
    used = recipe(name)
    assert delegated(used) == ("vision", "head", "reference")
    built = build("head", model, used, None, tmp_path)
    assert {operator.backend for operator in built.operators} == {used.backend}
    assert built.quantization == "fp16"
    with np.load(tmp_path / expected_file("head")) as kept:
        (expected,) = (kept[key] for key in kept)
    (hidden,) = golden_inputs("head", model.config)
    with torch.no_grad():
        assert np.array_equal(expected, model.retouch_head(torch.from_numpy(hidden)).numpy())
    # half floats: two bytes a weight
    weights = sum(p.numel() for p in model.retouch_head.parameters())
    assert 2 * weights < built.path.stat().st_size < 2.2 * weights + 20_000
    entry = FileEntry(
        built.path.name, "", built.path.stat().st_size, "executorch", backend=used.backend,
        inputs=built.inputs, outputs=built.outputs, operators=built.operators,
    )  # fmt: skip
    bundle = _bundle(tmp_path, {"head": entry})
    assert missing_delegates(bundle) == {"head": used.backend}
    row = _not_run(bundle, "head", used.backend)
    assert row["passed"] is None
    assert "not run on a device" in program_text("head", row)
    wrong = replace(entry, inputs=(replace(built.inputs[0], shape=(1, 3, 7)),))
    assert _not_run(_bundle(tmp_path, {"head": wrong}), "head", used.backend)["passed"] is False


def test_what_runs_here_is_not_missing(tmp_path: Path) -> None:
    operators = tuple(OperatorCount("add", 1, by) for by in ("xnnpack", "portable", "libvera"))
    entry = FileEntry("vision.pte", "", 0, "executorch", operators=operators)
    assert missing_delegates(_bundle(tmp_path, {"vision": entry})) == {}


def test_the_ladder_says_what_it_did_not_see() -> None:
    report = {"stages": {}, "checks": [], "not_run": {"vision": "vulkan"}}
    assert "NOT RUN: needs vulkan; the checkpoint's own stood in for it" in parity_text(report)


class _Unchecked(Bundle):
    """A bundle whose files are not hashed."""

    def file(self, name: str) -> Path:
        return self.root / self.manifest.files[name].path


def _bundle(root: Path, files: dict[str, FileEntry]) -> Bundle:
    made = Manifest("nano", vera_nano().to_dict(), "android-vulkan", "test", files=files)
    return _Unchecked(root, made)
