"""A bundle: the folder that a phone loads. Model programs, tokenizer and the manifest of all of it.

Nothing of a bundle is trusted before it was checked: paths stay inside the folder, and size and
SHA-256 of a file are compared with the manifest right before the file is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vera_mobile.errors import BundleError, BundleVersionError, FileError, InvalidArgument

FORMAT_VERSION = 1
MANIFEST_NAME = "bundle.json"
_MANIFEST_MAX_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a program; a dimension is a number or a range such as "1..256"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OperatorCount:
    """How often a program holds an operator, and the backend that runs these."""

    name: str
    count: int
    backend: str


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of one file; path is relative to the bundle, with forward slashes."""

    path: str
    sha256: str
    size_bytes: int
    kind: str
    quantization: str | None = None
    backend: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    operators: tuple[OperatorCount, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Contents of bundle.json.

    model: the model config as a dict; recipe: its name; created_by: version of the library;
    commit: of the source, or None; tokenizer: token id by special token's name; tolerances: bounds
    that `vera verify` holds the bundle to; limits: max_length (tokens), prefill_tokens (per step),
    bake_points (per call).
    """

    name: str
    model: dict[str, Any]
    recipe: str
    created_by: str
    commit: str | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    tokenizer: dict[str, int] = field(default_factory=dict)
    tolerances: dict[str, float] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest as JSON text, keys sorted, so that equal manifests are equal bytes."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, source: str = MANIFEST_NAME) -> Manifest:
        """The manifest that `to_json` wrote; source: its name for messages.

        Raises BundleError for broken JSON, an unknown or missing key or a wrong type, and
        BundleVersionError for a format_version above FORMAT_VERSION.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{source} is not valid JSON ({error}): export again.") from error
        if not isinstance(values, dict):
            raise BundleError(
                f"{source} holds a {type(values).__name__}: an object is needed; export again."
            )
        _check_version(values.get("format_version"), source)
        return _parse(Manifest, values, source)


@dataclass(frozen=True)
class Content:
    """A file to be written into a bundle: its bytes, or the path to copy, and what it is.

    `entry` is the manifest's entry; its sha256 and size_bytes are filled in by `write_bundle`.
    """

    data: bytes | Path
    entry: FileEntry


class Bundle:
    """An opened, checked bundle. Threads may share it; it holds no open file."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._verified: dict[str, tuple[int, ...]] = {}

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """The bundle in folder `path`, every file of it checked (size and SHA-256).

        Files that the manifest does not name are ignored. Raises BundleError for the first defect,
        BundleVersionError for a bundle of a newer release, FileError where there is no such folder.
        Cost: reads the whole bundle once.
        """
        root = Path(path)
        if not root.is_dir():
            raise FileError(f"{root} is not a folder: give the folder that holds {MANIFEST_NAME}.")
        manifest = Manifest.from_json(_read_manifest(root / MANIFEST_NAME))
        bundle = cls(root.resolve(), manifest)
        for name in manifest.files:
            bundle.file(name)
        return bundle

    def file(self, name: str) -> Path:
        """The path of the file that the manifest lists as `name`, to be used at once.

        It is hashed again when it changed on disk since the last check. Raises BundleError when it
        is missing, leads out of the bundle or differs from the manifest, InvalidArgument for a name
        that the manifest lacks.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            known = ", ".join(sorted(self.manifest.files)) or "none"
            raise InvalidArgument(f"Bundle file '{name}' is unknown: this bundle has {known}.")
        path = _inside(self.root, entry.path, name)
        stamp = _stamp(path, entry, name)
        if self._verified.get(name) != stamp:
            _check_hash(path, entry, name)
            self._verified[name] = stamp
        return path


def write_bundle(
    out: str | Path,
    manifest: Manifest,
    contents: Mapping[str, Content],
    *,
    overwrite: bool = False,
) -> Bundle:
    """The bundle written to folder `out`, complete or not at all.

    manifest: all but `files`, which are made from contents (file by name). Built in a folder beside
    `out` that takes its place at the end. Raises InvalidArgument when `out` exists and overwrite is
    False, or when it exists and is no bundle; FileError when it cannot be written.
    """
    out = Path(out)
    _check_target(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.new.", dir=out.parent))
    except OSError as error:
        raise FileError(f"Bundle {out} cannot be written ({error}): choose another folder.") from (
            error
        )
    try:
        files = {name: _store(building, name, content) for name, content in contents.items()}
        text = replace(manifest, files=files).to_json()
        (building / MANIFEST_NAME).write_text(text, encoding="utf-8")
        building.chmod(0o755)
        Bundle.open(building)
        _take_place(building, out)
    except OSError as error:
        raise FileError(f"Bundle {out} cannot be written ({error}): free some space.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Bundle.open(out)


def describe(bundle: Bundle) -> dict[str, Any]:
    """The bundle's contents as plain JSON values, for `vera inspect`: sizes in bytes, quantization,
    shapes, and operators with the backend that runs each; operator totals per backend."""
    manifest = bundle.manifest
    per_backend: dict[str, int] = {}
    for entry in manifest.files.values():
        for operator in entry.operators:
            per_backend[operator.backend] = per_backend.get(operator.backend, 0) + operator.count
    plain: dict[str, Any] = json.loads(manifest.to_json())
    plain["size_bytes"] = sum(entry.size_bytes for entry in manifest.files.values())
    plain["operators_by_backend"] = dict(sorted(per_backend.items()))
    return plain


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file as 64 hex digits; memory stays at 1 MiB. Raises FileError."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error}): check the file.") from error
    return digest.hexdigest()


def _refuse_constant(value: str) -> float:
    raise ValueError(f"the number {value} is not allowed")


def _check_version(version: Any, source: str) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(
            f"{source}: format_version is {version!r}: a number from 1 to {FORMAT_VERSION} is "
            "needed; export again."
        )
    if version > FORMAT_VERSION:
        raise BundleVersionError(
            f"{source}: format_version {version} is newer than {FORMAT_VERSION}, the newest that "
            "this release reads: update vera-mobile or export again with this release."
        )


def _parse(kind: type[T], values: Any, where: str) -> T:
    if not isinstance(values, dict):
        raise BundleError(f"{where} is {values!r}: an object is needed; export again.")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise BundleError(
            f"{where} has the unknown key '{unknown[0]}': format {FORMAT_VERSION} knows "
            f"{', '.join(hints)}; export again."
        )
    converted = {
        key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()
    }
    try:
        return kind(**converted)
    except TypeError as error:
        missing = ", ".join(key for key in hints if key not in values)
        raise BundleError(f"{where} lacks one of {missing}: export again.") from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin in (tuple, dict):
        wanted = "a list" if origin is tuple else "an object"
        raise BundleError(f"{where} is {value!r}: {wanted} is needed; export again.")
    if kind is Any:
        return value
    if hasattr(kind, "__dataclass_fields__"):
        return _parse(kind, value, where)
    allowed = arguments if origin is UnionType or isinstance(kind, UnionType) else (kind,)
    accepted = allowed + ((int,) if float in allowed else ())
    if type(value) not in accepted:  # exact: true is no number
        names = " or ".join("null" if one is NoneType else one.__name__ for one in allowed)
        raise BundleError(f"{where} is {value!r}: {names} is needed; export again.")
    return float(value) if allowed == (float,) else value


def _read_manifest(path: Path) -> bytes:
    if not path.is_file():
        raise BundleError(f"{path} is missing: give a folder that `vera export` wrote.")
    try:
        size = path.stat().st_size
        if size > _MANIFEST_MAX_BYTES:
            raise BundleError(
                f"{path} has {size} bytes: at most {_MANIFEST_MAX_BYTES} are allowed; export again."
            )
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error}): check the file.") from error


def _parts(relative: str, name: str) -> tuple[str, ...]:
    """The parts of a path of the manifest; BundleError for one that may lead elsewhere."""
    pure = PurePosixPath(relative)
    # backslashes and colons are path syntax on other systems, where this bundle may be opened too
    strange = pure.is_absolute() or ".." in pure.parts or set(relative) & set("\\:\0")
    if strange or not pure.parts:
        raise BundleError(
            f"Bundle file '{name}' has the path {relative!r}: a relative path inside the bundle is "
            "needed. Do not use this bundle; export again."
        )
    return pure.parts


def _inside(root: Path, relative: str, name: str) -> Path:
    """The checked path of a file; root is resolved already."""
    path = root.joinpath(*_parts(relative, name))
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BundleError(
            f"Bundle file '{name}' ({relative}) is missing or unreadable: copy the bundle again."
        ) from error
    if not real.is_relative_to(root):
        raise BundleError(
            f"Bundle file '{name}' ({relative}) is a link out of the bundle: only files inside are "
            "allowed. Do not use this bundle; export again."
        )
    return real


def _stamp(path: Path, entry: FileEntry, name: str) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise BundleError(f"Bundle file '{name}' cannot be read ({error}).") from error
    if not path.is_file():
        raise BundleError(f"Bundle file '{name}' ({entry.path}) is no file: copy the bundle again.")
    if found.st_size != entry.size_bytes:
        raise BundleError(
            f"Bundle file '{name}' ({entry.path}) has {found.st_size} bytes: the manifest says "
            f"{entry.size_bytes}. Copy the bundle again."
        )
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _check_hash(path: Path, entry: FileEntry, name: str) -> None:
    found = sha256_of(path)
    if found != entry.sha256:
        raise BundleError(
            f"Bundle file '{name}' ({entry.path}) was changed: its SHA-256 is {found[:16]}..., the "
            f"manifest says {entry.sha256[:16]}.... Copy the bundle again."
        )


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise InvalidArgument(
            f"{out} exists: choose another folder, or allow to replace it (overwrite)."
        )
    if not (out / MANIFEST_NAME).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InvalidArgument(
            f"{out} exists and is not a bundle: only a bundle is ever replaced; choose another "
            "folder."
        )


def _store(folder: Path, name: str, content: Content) -> FileEntry:
    target = folder.joinpath(*_parts(content.entry.path, name))
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content.data, Path):
        shutil.copyfile(content.data, target)
    else:
        target.write_bytes(content.data)
    return replace(content.entry, sha256=sha256_of(target), size_bytes=target.stat().st_size)


def _take_place(building: Path, out: Path) -> None:
    if not out.exists():
        os.replace(building, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    os.replace(out, old / "bundle")
    try:
        os.replace(building, out)
    except OSError:
        os.replace(old / "bundle", out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
