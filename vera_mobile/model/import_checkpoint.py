"""From the public files to a checkpoint folder of ours, one weight at a time."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vera_mobile.errors import FileError, InvalidArgument, ModelError, VeraError
from vera_mobile.model.config import ModelConfig, vera_0_5b
from vera_mobile.model.import_check import (
    PublicFiles,
    check_room,
    check_tied_head,
    differing_renderer,
    match,
    tied_by,
)
from vera_mobile.model.import_config import HF_CONFIG, check_settings, read_hf_config
from vera_mobile.model.import_sources import Stored, named, open_encoder_renderer, open_vlm
from vera_mobile.model.import_tokenizer import TOKENIZER_FILE, has_tokenizer, read_tokenizer
from vera_mobile.model.import_write import TensorPlace, write_safetensors
from vera_mobile.model.load import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_dtype,
    config_text,
    dtype_name,
    read_config,
)
from vera_mobile.model.public_names import ENCODER_RENDERER, SOURCES, VLM
from vera_mobile.model.vlm import VeraModel

REPORT_FILE = "import.json"
Progress = Callable[[int, int], None]  # bytes of weights done, bytes in all

_OURS = {CONFIG_FILE, WEIGHTS_FILE, REPORT_FILE, TOKENIZER_FILE}
_PIECE = 1 << 22  # values converted at a time: 16 MiB of float32
_SCALES = re.compile(r"(^|[._])norms?(\.\d+)?\.weight$|running_var$")


@dataclass(frozen=True)
class ImportOptions:
    """config: the shape (None: that of the 0.5B model); dtype: float32, float16 or bfloat16 for all
    weights (None: each as it is stored); renderer_from: "vlm" or "encoder_renderer" where the two
    files may differ (None: they must agree, and the VLM's is taken); allow_missing,
    allow_left_over: shell patterns on our or the public names; overwrite: replace a checkpoint.
    """

    config: ModelConfig | None = None
    dtype: torch.dtype | None = None
    renderer_from: str | None = None
    allow_missing: tuple[str, ...] = ()
    allow_left_over: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.dtype is not None:
            check_dtype(self.dtype)
        if self.renderer_from not in (None, *SOURCES):
            raise InvalidArgument(
                f"Renderer source '{self.renderer_from}' is unknown: use {' or '.join(SOURCES)}."
            )


@dataclass(frozen=True)
class ImportReport:
    """What an import did; also in the checkpoint folder as import.json.

    loaded: how many weights came from the files; missing: our names of those that they lack,
    written as zeros (scales and variances of norms as ones); left_over: public names without a
    place in the model; renderer_differs: our names of the weights for which `renderer_from`
    decided; size_bytes: of all weights; tokenizer: whether the public folder's came along.
    """

    config: str
    dtype: str
    files: tuple[str, ...]
    size_bytes: int
    loaded: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    renderer_from: str
    renderer_differs: tuple[str, ...]
    tokenizer: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def import_checkpoint(
    vlm: str | Path,
    out: str | Path,
    *,
    encoder_renderer: str | Path | None = None,
    options: ImportOptions | None = None,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Writes the checkpoint folder `out` that `load_checkpoint` reads, whole or not at all.

    vlm: the Hugging Face folder, whose tokenizer comes along where it has one; encoder_renderer:
    .safetensors or .pth. One weight is in memory at a time, mapped from its file. What can be known
    from names, shapes and sizes is checked before any value is read. Raises FileError (files,
    disk), ModelError (names, shapes, values, pickles), InvalidArgument (arguments, existing `out`),
    OutOfMemory.
    """
    options = options or ImportOptions()
    sources = [Path(vlm), *([Path(encoder_renderer)] if encoder_renderer is not None else [])]
    target = Path(out)
    _check_target(target, sources, options.overwrite)
    stored = {VLM: open_vlm(sources[0])}
    if encoder_renderer is not None:
        stored[ENCODER_RENDERER] = open_encoder_renderer(sources[1])
    files = PublicFiles.of(stored)
    job = _Job.of(files, _hf_config(sources[0], options), options)
    check_room(target, job.size_bytes, job.weights.values())
    tokenizer = read_tokenizer(sources[0], job.config) if has_tokenizer(sources[0]) else None
    check_tied_head(files, tied=job.tied)
    differing = differing_renderer(files, strict=options.renderer_from is None)
    report = job.report(stored, differing, tokenizer=tokenizer is not None)
    with _building(target) as building:
        job.write(building / WEIGHTS_FILE, on_progress)
        (building / CONFIG_FILE).write_text(config_text(job.config), encoding="utf-8")
        if tokenizer is not None:
            (building / TOKENIZER_FILE).write_text(tokenizer, encoding="utf-8")
        (building / REPORT_FILE).write_text(
            json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8"
        )
    return report


@dataclass(frozen=True)
class _Job:
    """Where each weight comes from and how it is written, all names and shapes checked."""

    config: ModelConfig
    options: ImportOptions
    tied: bool
    weights: Stored
    places: tuple[TensorPlace, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    @staticmethod
    def of(files: PublicFiles, hf: dict[str, Any] | None, options: ImportOptions) -> _Job:
        config = options.config or vera_0_5b()
        weights = files.chosen(options.renderer_from or VLM)
        check_settings(config, {key: entry.shape for key, entry in weights.items()}, hf)
        with torch.device("meta"):
            expected = VeraModel(config).state_dict()
        unmatched = match(
            files,
            expected,
            allow_missing=options.allow_missing,
            allow_left_over=options.allow_left_over,
        )
        places = []
        for key, tensor in expected.items():
            dtype = tensor.dtype
            if dtype.is_floating_point:
                kept = weights[key].dtype if key in weights else torch.float32
                dtype = options.dtype or kept
            places.append(TensorPlace(key, tuple(tensor.shape), dtype))
        return _Job(
            config,
            options,
            tied_by(hf),
            weights,
            tuple(places),
            unmatched.missing,
            unmatched.left_over,
        )

    @property
    def size_bytes(self) -> int:
        return sum(place.size_bytes for place in self.places)

    def report(
        self, stored: dict[str, Stored], differing: tuple[str, ...], *, tokenizer: bool
    ) -> ImportReport:
        names = {entry.file.name for entries in stored.values() for entry in entries.values()}
        return ImportReport(
            config=self.config.name,
            dtype=dtype_name(self.options.dtype) if self.options.dtype else "as stored",
            files=tuple(sorted(names)),
            size_bytes=self.size_bytes,
            loaded=len(self.places) - len(self.missing),
            missing=self.missing,
            left_over=self.left_over,
            renderer_from=self.options.renderer_from or VLM,
            renderer_differs=differing,
            tokenizer=tokenizer,
        )

    def write(self, path: Path, on_progress: Progress | None) -> None:
        """Streams all weights to `path`; ModelError names all that are not finite."""
        bad: list[str] = []
        done, total = 0, self.size_bytes

        def pieces(place: TensorPlace) -> Iterator[Tensor]:
            nonlocal done
            for piece in self._values(place):
                converted = piece.to(place.dtype)
                if not bool(torch.isfinite(converted).all()) and place.name not in bad:
                    bad.append(place.name)
                yield converted
                done += converted.numel() * place.dtype.itemsize
                if on_progress is not None:
                    on_progress(done, total)

        with path.open("wb") as stream:
            write_safetensors(stream, self.places, pieces)
        if bad:
            names = named(
                f"{self.weights[key].name} (stored as {dtype_name(self.weights[key].dtype)})"
                for key in sorted(bad)
            )
            raise ModelError(
                f"{len(bad)} weights hold NaN or infinity in the type to write: {names}. Download "
                "the files again, or choose a type of larger range (--dtype)."
            )

    def _values(self, place: TensorPlace) -> Iterator[Tensor]:
        if place.name in self.weights:
            yield from self.weights[place.name].read().reshape(-1).split(_PIECE)
            return
        count = torch.Size(place.shape).numel()
        value = 1.0 if _SCALES.search(place.name) else 0.0
        for begin in range(0, count, _PIECE):
            yield torch.full((min(_PIECE, count - begin),), value)


def _hf_config(folder: Path, options: ImportOptions) -> dict[str, Any] | None:
    if options.config is not None and not (folder / HF_CONFIG).exists():
        return None
    return read_hf_config(folder)


def _check_target(out: Path, sources: Sequence[Path], overwrite: bool) -> None:
    place = out.resolve()
    for source in (source.resolve() for source in sources):
        if place == source or place in source.parents:
            raise InvalidArgument(
                f"Checkpoint {out} would replace the public files in it: choose another folder."
            )
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise InvalidArgument(
            f"{out} exists: choose another folder, or allow to replace it (--overwrite)."
        )
    if not out.is_dir() or out.is_symlink():
        raise InvalidArgument(f"{out} is no folder: only a checkpoint is ever replaced.")
    content = {entry.name for entry in out.iterdir()}
    others = sorted(content - _OURS)
    if others:
        raise InvalidArgument(
            f"{out} holds more than a checkpoint ({named(others)}): choose another folder, or move "
            "these away."
        )
    if content:
        _check_own_config(out)


def _check_own_config(out: Path) -> None:
    try:
        read_config(out / CONFIG_FILE)
    except VeraError as error:
        raise InvalidArgument(
            f"{out} is not a checkpoint of this library, and only such a one is ever replaced: "
            "choose another folder."
        ) from error


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the block ends well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.new.", dir=out.parent))
        try:
            yield building
            building.chmod(0o755)
            _take_place(building, out)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise FileError(
            f"Checkpoint {out} cannot be written ({error}): choose a folder with room and write "
            "permission."
        ) from error


def _take_place(building: Path, out: Path) -> None:
    if not out.exists():
        os.replace(building, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    os.replace(out, old / out.name)
    try:
        os.replace(building, out)
    except OSError:
        os.replace(old / out.name, out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
