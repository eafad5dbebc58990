"""How the public files are read and ours is written: shards, index, .pth, damage."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from public_files import OPTIONS, Files, tiny_model
from safetensors import safe_open
from safetensors.torch import save_file

from vera_mobile.errors import FileError, ModelError

NORM = "model.norm.weight"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.of(tiny_model(), tmp_path)


def test_values_are_aligned_in_the_file(files):
    files.encoder |= {k: v.half() for k, v in files.encoder.items() if v.dim() == 1}
    files.write().run(replace(OPTIONS, renderer_from="encoder_renderer"))
    raw = (files.out / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    assert size % 8 == 0
    header = json.loads(raw[8 : 8 + size])
    widths = {"F32": 4, "F16": 2, "I64": 8}
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in entries} == set(widths)
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in entries)


def test_pth_gives_the_same_checkpoint(files):
    files.write().run()
    expected = (files.out / "model.safetensors").read_bytes()
    shutil.rmtree(files.out)
    for name, modern in (("new.pth", True), ("old.pth", False)):
        torch.save(
            {"model_state_dict": files.encoder, "epoch": 3},
            files.root / name,
            _use_new_zipfile_serialization=modern,
        )
        files.run(encoder_renderer=files.root / name)
        assert (files.out / "model.safetensors").read_bytes() == expected
        shutil.rmtree(files.out)


def test_pth_with_code_is_refused_and_not_run(files):
    mark = files.root / "ran"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (mark,)

    files.write()
    path = files.root / "bomb.pth"
    torch.save({"model_state_dict": files.encoder, "extra": Bomb()}, path)
    files.refused(ModelError, "code that would run", encoder_renderer=path)
    path.write_bytes(pickle.dumps(Bomb()))
    files.refused(ModelError, "code that would run", encoder_renderer=path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"state": {}}, r"hold \['state'\] and no table 'model_state_dict'"),
        ([1], "hold list and no table"),
        ({"model_state_dict": {"encoder.fc.bias": [1.0]}}, "'encoder.fc.bias'.* is list"),
        ({"model_state_dict": {"encoder.fc.bias": torch.zeros(2, dtype=torch.int8)}}, "int8"),
        ({"model_state_dict": {"a": torch.zeros(2).to_sparse()}}, "'a'.* only named dense tensors"),
        ({"model_state_dict": {"a": torch.zeros(2, device="meta")}}, "'a'.* only named dense"),
    ],
)
def test_pth_of_another_kind_is_refused(files, content, match):
    torch.save(content, files.root / "other.pth")
    files.write().refused(ModelError, match, encoder_renderer=files.root / "other.pth")


@pytest.mark.parametrize("keep", [0, 3, 2000, -100])
def test_truncated_pth_is_refused(files, keep):
    path = files.root / "cut.pth"
    torch.save({"model_state_dict": files.encoder}, path)
    path.write_bytes(path.read_bytes()[:keep])
    files.write().refused((FileError, ModelError), "damaged", encoder_renderer=path)


def test_missing_second_file_is_named(files):
    files.write().refused(FileError, "nowhere", encoder_renderer=files.root / "nowhere.pth")


def test_missing_shard_is_named(files):
    files.shards = 3
    files.write()
    (files.folder / "model-00002-of-00003.safetensors").unlink()
    files.refused(FileError, "lacks 1 of 3 shards: model-00002-of-00003.safetensors")


@pytest.mark.parametrize(
    "place", ["../vlm/model-00001-of-00002.safetensors", "/etc/passwd", "a\\b.safetensors", "x.bin"]
)
def test_shard_outside_of_the_folder_is_refused(files, place):
    files.shards, files.edit = 2, lambda places: places.update({NORM: place})
    files.write().refused(ModelError, "only names of .safetensors files in the same folder")


@pytest.mark.parametrize("change", ["moved", "unlisted", "absent"])
def test_index_that_disagrees_with_a_shard_is_refused(files, change):
    def edit(places: dict[str, str]) -> None:
        if change == "moved":
            other = {*places.values()} - {places[NORM]}
            places[NORM] = other.pop()
        elif change == "unlisted":
            del places[NORM]
        else:
            places["model.surplus"] = places[NORM]

    files.shards, files.edit = 2, edit
    name = "model.surplus" if change == "absent" else NORM
    files.write().refused(ModelError, f"disagree on 1 weights: {name}")


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', "{}", "[" * 100_000])
def test_index_that_is_none_is_refused(files, text):
    files.shards = 2
    files.write()
    (files.folder / "model.safetensors.index.json").write_text(text)
    files.refused(ModelError, "is no weight_map")


def test_two_sets_of_weights_and_shards_without_index_are_refused(files):
    files.shards = 2
    files.write()
    save_file(files.vlm, files.folder / "model.safetensors")
    files.refused(ModelError, "holds both")
    (files.folder / "model.safetensors").unlink()
    (files.folder / "model.safetensors.index.json").unlink()
    files.refused(FileError, "have no model.safetensors.index.json")


def test_folder_without_weights_is_refused(files):
    files.write()
    (files.folder / "model.safetensors").unlink()
    files.refused(FileError, "has no model.safetensors")
    (files.folder / "pytorch_model.bin").write_bytes(b"")
    files.refused(ModelError, "a Python pickle")
    shutil.rmtree(files.folder)
    files.refused(FileError, "is not a folder")


def test_truncated_shard_is_an_error_of_the_file(files):
    files.write()
    path = files.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    files.refused(FileError, "model.safetensors are damaged")


def test_file_is_read_by_the_library_of_the_format(files):
    files.write().run()
    with safe_open(files.out / "model.safetensors", framework="np") as file:
        assert len(file.keys()) == len(tiny_model().state_dict())
