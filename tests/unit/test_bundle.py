"""A bundle is read only when it is whole, and each defect gives one clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vera_mobile.bundle import (
    Bundle,
    Content,
    FileEntry,
    Manifest,
    OperatorCount,
    TensorSpec,
    describe,
    write_bundle,
)
from vera_mobile.errors import BundleError, BundleVersionError, FileError, InvalidArgument


def _write(out: Path, data: bytes = b"program", *, overwrite: bool = False) -> Bundle:
    manifest = Manifest(
        name="tiny",
        model={"name": "tiny"},
        recipe="host-fp32",
        created_by="test",
        tokenizer={"<pad>": 0},
        tolerances={"psnr_db_min": 40.0},
        limits={"max_length": 8},
    )
    entry = FileEntry(
        path="parts/vision.pte",
        sha256="",
        size_bytes=0,
        kind="executorch",
        quantization="fp32",
        backend="xnnpack",
        inputs=(TensorSpec("pixels", "float32", (1, "1..4")),),
        operators=(OperatorCount("aten::add", 2, "xnnpack"), OperatorCount("aten::cat", 1, "p")),
    )
    golden = Content(b"{}", FileEntry("golden.json", "", 0, "golden"))
    contents = {"vision": Content(data, entry), "golden": golden}
    return write_bundle(out, manifest, contents, overwrite=overwrite)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path / "b")
    return tmp_path / "b"


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "bundle.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


def _edit_entry(folder: Path, **changes: Any) -> None:
    files = json.loads((folder / "bundle.json").read_text())["files"]
    files["vision"].update(changes)
    _edit(folder, files=files)


def test_round_trip(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.file("vision").read_bytes() == b"program"
    assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest
    assert bundle.manifest.files["vision"].inputs[0].shape == (1, "1..4")


def test_describe_sums_sizes_and_backends(folder: Path) -> None:
    facts = describe(Bundle.open(folder))
    assert facts["size_bytes"] == len(b"program") + len(b"{}")
    assert facts["operators_by_backend"] == {"p": 1, "xnnpack": 2}


def test_extra_file_is_ignored(folder: Path) -> None:
    (folder / "parity.json").write_text("{}")
    assert Bundle.open(folder).manifest.name == "tiny"


def test_changed_byte(folder: Path) -> None:
    (folder / "parts/vision.pte").write_bytes(b"Program")
    with pytest.raises(BundleError, match=r"vision.*was changed.*SHA-256"):
        Bundle.open(folder)


def test_change_after_opening_is_seen_before_use(folder: Path) -> None:
    bundle = Bundle.open(folder)
    bundle.file("vision")
    other = folder / "other"
    other.write_bytes(b"Program")
    os.replace(other, folder / "parts/vision.pte")
    with pytest.raises(BundleError, match="was changed"):
        bundle.file("vision")


def test_truncated_file(folder: Path) -> None:
    (folder / "parts/vision.pte").write_bytes(b"prog")
    with pytest.raises(BundleError, match="has 4 bytes: the manifest says 7"):
        Bundle.open(folder)


def test_missing_file(folder: Path) -> None:
    (folder / "parts/vision.pte").unlink()
    with pytest.raises(BundleError, match=r"'vision'.*missing"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [2, 99])
def test_future_version(folder: Path, version: int) -> None:
    _edit(folder, format_version=version, key_of_the_future=1)
    with pytest.raises(BundleVersionError, match=f"format_version {version} is newer than 1"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [0, True, "1", None, 1.0])
def test_bad_version(folder: Path, version: object) -> None:
    _edit(folder, format_version=version)
    with pytest.raises(BundleError, match="format_version"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "path", ["../b/parts/vision.pte", "parts/../../x", "/etc/hostname", "", "a\\b", "C:x", "."]
)
def test_escaping_path(folder: Path, path: str) -> None:
    _edit_entry(folder, path=path)
    with pytest.raises(BundleError, match="relative path inside the bundle"):
        Bundle.open(folder)


def test_symlink_out_of_the_bundle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"program")
    (folder / "parts/vision.pte").unlink()
    (folder / "parts/vision.pte").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="link out of the bundle"):
        Bundle.open(folder)


def test_symlinked_folder_out_of_the_bundle(folder: Path, tmp_path: Path) -> None:
    (folder / "parts").rename(tmp_path / "parts")
    (folder / "parts").symlink_to(tmp_path / "parts")
    with pytest.raises(BundleError, match="link out of the bundle"):
        Bundle.open(folder)


def test_file_that_is_a_folder(folder: Path) -> None:
    _edit_entry(folder, path="parts")
    with pytest.raises(BundleError, match="is no file"):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["{", "", "[]", '"x"', '{"format_version": NaN}', "\x00"])
def test_broken_json(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": 3}, "name is 3"),
        ({"files": []}, "files is"),
        ({"limits": {"max_length": "8"}}, "limits.max_length"),
        ({"limits": {"max_length": True}}, "limits.max_length"),
        ({"tolerances": {"x": None}}, "tolerances.x"),
        ({"commit": 1}, "str or null"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_wrong_type_or_key(folder: Path, changes: dict[str, Any], place: str) -> None:
    _edit(folder, **changes)
    with pytest.raises(BundleError, match=place):
        Bundle.open(folder)


def test_wrong_type_inside_an_entry(folder: Path) -> None:
    _edit_entry(folder, inputs=[{"name": "x", "dtype": "float32", "shape": [1.5]}])
    with pytest.raises(BundleError, match=r"files\.vision\.inputs\[0\]\.shape\[0\] is 1\.5"):
        Bundle.open(folder)


def test_missing_key(folder: Path) -> None:
    values = json.loads((folder / "bundle.json").read_text())
    del values["recipe"]
    (folder / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="lacks one of recipe"):
        Bundle.open(folder)


def test_missing_manifest_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is missing"):
        Bundle.open(tmp_path)
    with pytest.raises(FileError, match="is not a folder"):
        Bundle.open(tmp_path / "none")


def test_unknown_name_lists_the_known(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="golden, vision"):
        Bundle.open(folder).file("head")


def test_existing_bundle_is_replaced_only_when_asked(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="exists"):
        _write(folder, b"other")
    assert Bundle.open(folder).file("vision").read_bytes() == b"program"
    bundle = _write(folder, b"other", overwrite=True)
    assert bundle.file("vision").read_bytes() == b"other"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/keep.jpg").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="is not a bundle"):
        _write(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos/keep.jpg").read_bytes() == b"x"


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    manifest = Manifest(name="t", model={}, recipe="r", created_by="c")
    escaping = Content(b"x", FileEntry("../x", "", 0, "k"))
    with pytest.raises(BundleError, match="relative path inside"):
        write_bundle(tmp_path / "out", manifest, {"x": escaping})
    assert list(tmp_path.iterdir()) == []
