"""Opening a bundle: the C++ core gives the same verdict as the Python library."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_client import CoreBundle
from empty_bundles import config_of, tokenizer_text, write_empty_bundle

from vera_mobile.bundle import Bundle
from vera_mobile.errors import BundleError, BundleVersionError, FileError, InvalidArgument
from vera_mobile.model.config import ModelConfig


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    text = tokenizer_text("nano", folder / "files")
    return write_empty_bundle(folder / "nano.bundle", config_of("nano"), text)


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy.bundle"))


def verdict(open_it: Callable[[Path], Any], folder: Path) -> str:
    try:
        open_it(folder)
    except (BundleError, BundleVersionError, FileError, InvalidArgument) as error:
        return type(error).__name__
    return "fine"


def python_opens(folder: Path) -> None:
    bundle = Bundle.open(folder)
    try:
        ModelConfig.from_dict(bundle.manifest.model)  # as the runtime does next
    except InvalidArgument as error:
        raise BundleError(str(error)) from error


Record = dict[str, Any]


def at(path: str, value: Any) -> Callable[[Record], None]:
    """Sets a key of the manifest, given as "files.tokenizer.path"."""

    def change(record: Record) -> None:
        *parents, last = path.split(".")
        for key in parents:
            record = record[key]
        if value is None and last in record:
            del record[last]
        else:
            record[last] = value

    return change


def twice(record: Record) -> None:
    record["files"]["other"] = dict(record["files"]["tokenizer"])


ENTRY = "files.tokenizer."
TENSOR = {"name": "a", "dtype": "float32", "shape": [1, "1..4"]}
MANIFESTS: dict[str, tuple[Callable[[Record], None], str]] = {
    "as it is": (at("name", "vera-nano"), "fine"),
    "a file twice": (twice, "fine"),
    "no commit": (at("commit", None), "fine"),
    "commit": (at("commit", "abc"), "fine"),
    "newer": (at("format_version", 2), "BundleVersionError"),
    "much newer": (at("format_version", 2**40), "BundleVersionError"),
    "version 0": (at("format_version", 0), "BundleError"),
    "version -1": (at("format_version", -1), "BundleError"),
    "version 1.0": (at("format_version", 1.0), "BundleError"),
    "version true": (at("format_version", True), "BundleError"),
    "version text": (at("format_version", "1"), "BundleError"),
    "no version": (at("format_version", None), "BundleError"),
    "unknown key": (at("extra", 1), "BundleError"),
    "no name": (at("name", None), "BundleError"),
    "name is a number": (at("name", 3), "BundleError"),
    "files is a list": (at("files", []), "BundleError"),
    "no model": (at("model", None), "BundleError"),
    "model is text": (at("model", "nano"), "BundleError"),
    "no image size": (at("model.vision.image_size", None), "BundleError"),
    "image size of 100": (at("model.vision.image_size", 100), "BundleError"),
    "image size of 0": (at("model.vision.image_size", 0), "BundleError"),
    "image size true": (at("model.vision.image_size", True), "BundleError"),
    "too few positions": (at("model.language.max_length", 16), "BundleError"),
    "hidden size is text": (at("model.language.hidden_size", "256"), "BundleError"),
    "no vocabulary": (at("model.language.vocab_size", -5), "BundleError"),
    "projection is text": (at("model.vision.unused_projection", "no"), "BundleError"),
    "entry is text": (at("files.tokenizer", "x"), "BundleError"),
    "entry without kind": (at(ENTRY + "kind", None), "BundleError"),
    "entry with more": (at(ENTRY + "more", 1), "BundleError"),
    "size is text": (at(ENTRY + "size_bytes", "5"), "BundleError"),
    "size true": (at(ENTRY + "size_bytes", True), "BundleError"),
    "size a real": (at(ENTRY + "size_bytes", 5.0), "BundleError"),
    "size of 3": (at(ENTRY + "size_bytes", 3), "BundleError"),
    "size of -3": (at(ENTRY + "size_bytes", -3), "BundleError"),
    "other hash": (at(ENTRY + "sha256", "0" * 64), "BundleError"),
    "no hash": (at(ENTRY + "sha256", ""), "BundleError"),
    "inputs": (at(ENTRY + "inputs", [TENSOR]), "fine"),
    "inputs of text": (at(ENTRY + "inputs", ["a"]), "BundleError"),
    "an input with more": (at(ENTRY + "inputs", [TENSOR | {"x": 1}]), "BundleError"),
    "an input's shape": (at(ENTRY + "inputs", [TENSOR | {"shape": [1.5]}]), "BundleError"),
    "operators": (at(ENTRY + "operators", [{"name": "a", "count": 1, "backend": "b"}]), "fine"),
    "an operator less": (at(ENTRY + "operators", [{"name": "a"}]), "BundleError"),
    "tolerance": (at("tolerances", {"a": 1}), "fine"),
    "tolerance text": (at("tolerances", {"a": "1"}), "BundleError"),
    "limits text": (at("limits", {"prefill_tokens": "1"}), "BundleError"),
    "limits real": (at("limits", {"prefill_tokens": 1.5}), "BundleError"),
    "token ids text": (at("tokenizer", {"<pad>": "0"}), "BundleError"),
    "parent": (at(ENTRY + "path", "../copy.bundle/tokenizer.json"), "BundleError"),
    "parent within": (at(ENTRY + "path", "a/../tokenizer.json"), "BundleError"),
    "absolute": (at(ENTRY + "path", "/etc/hostname"), "BundleError"),
    "backslash": (at(ENTRY + "path", "..\\tokenizer.json"), "BundleError"),
    "drive": (at(ENTRY + "path", "c:tokenizer.json"), "BundleError"),
    "zero byte": (at(ENTRY + "path", "tokenizer.json\0x"), "BundleError"),
    "empty path": (at(ENTRY + "path", ""), "BundleError"),
    "dot": (at(ENTRY + "path", "."), "BundleError"),
    "dots and slashes": (at(ENTRY + "path", ".//./tokenizer.json"), "fine"),
    "a missing file": (at(ENTRY + "path", "none.json"), "BundleError"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_have_the_same_verdict(copy: Path, name: str) -> None:
    change, wanted = MANIFESTS[name]
    file = copy / "bundle.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    assert verdict(python_opens, copy) == wanted
    assert verdict(CoreBundle, copy) == wanted


TEXTS = {
    "empty": b"", "text": b"hello", "list": b"[1]", "number": b"1", "cut": b'{"name": "a',
    "not utf-8": b'{"name": "\xff"}', "NaN": b'{"format_version": NaN}', "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 3000 + b"1" + b"}" * 3000, "comma": b'{"format_version": 1,}',
    "two values": b"{} {}", "infinity": b'{"format_version": Infinity}',
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_broken_json_has_the_same_verdict(copy: Path, name: str) -> None:
    (copy / "bundle.json").write_bytes(TEXTS[name])
    assert verdict(python_opens, copy) == verdict(CoreBundle, copy) == "BundleError"


def changed_byte(folder: Path) -> None:
    file = folder / "tokenizer.json"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-1])


def longer(folder: Path) -> None:
    with open(folder / "tokenizer.json", "ab") as stream:
        stream.write(b" ")


def folder_instead(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()


def link_out(folder: Path) -> None:
    target = folder.parent / "elsewhere.json"
    shutil.move(folder / "tokenizer.json", target)
    os.symlink(target, folder / "tokenizer.json")


def link_in(folder: Path) -> None:
    shutil.move(folder / "tokenizer.json", folder / "real.json")
    os.symlink("real.json", folder / "tokenizer.json")


def link_to_itself(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.symlink("tokenizer.json", folder / "tokenizer.json")


def no_manifest(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def huge_manifest(folder: Path) -> None:
    with open(folder / "bundle.json", "ab") as stream:
        stream.truncate(16 * 2**20 + 1)


DAMAGE = (changed_byte, cut, longer, folder_instead, link_out, link_to_itself, no_manifest,
          huge_manifest)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders_have_the_same_verdict(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    assert verdict(python_opens, copy) == verdict(CoreBundle, copy) == "BundleError"


def test_a_link_within_is_fine(copy: Path) -> None:
    link_in(copy)
    assert verdict(python_opens, copy) == verdict(CoreBundle, copy) == "fine"


def test_no_folder_is_a_file_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path / "file"):
        assert verdict(python_opens, path) == verdict(CoreBundle, path) == "FileError"


def test_a_bundle_tells_what_it_is(nano_bundle: Path) -> None:
    core, python = CoreBundle(nano_bundle), Bundle.open(nano_bundle)
    config = ModelConfig.from_dict(python.manifest.model)
    info, files = core.info, python.manifest.files.values()
    assert info.image_size == config.vision.image_size
    assert info.image_tokens == config.vision.tokens
    assert info.hidden_size == config.language.hidden_size
    assert info.vocab_size == config.language.vocab_size
    assert info.latent_size == config.renderer.latent_size
    assert info.size_bytes == sum(entry.size_bytes for entry in files)
    assert core.text("manifest") == (nano_bundle / "bundle.json").read_text()
    assert core.text("recipe") == python.manifest.recipe
    assert core.program("embed") == (str(python.file("decoder")), "embed")
    assert core.program("head") == (str(python.file("head")), "forward")
    assert core.program("renderer") == (str(python.file("renderer")), None)
    with pytest.raises(InvalidArgument, match="decoder, golden, head"):
        core.program("bake")
    core.close()
