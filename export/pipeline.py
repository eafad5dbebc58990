"""A checkpoint and a recipe in, a bundle out: the only place where stages are strung together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile import errors
from vera_mobile.bundle import (
    Bundle,
    Content,
    FileEntry,
    Manifest,
    OperatorCount,
    TensorSpec,
    write_bundle,
)
from vera_mobile.errors import FileError, InternalError, InvalidArgument
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.stages import STAGES, check_calibration, prefill_limit
from vera_mobile.export.verify import golden_content
from vera_mobile.model.load import save_checkpoint
from vera_mobile.model.tokens import SPECIALS, Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import BAKE_POINTS

# alike in work at nano size; Python holds one core, so stages in one process cannot overlap
_WORKERS: tuple[tuple[str, ...], ...] = (("decoder",), ("vision", "head", "bake", "embed"))
_STDERR_LINES = 8

Progress = Callable[[str, float], None]


def export_bundle(
    model: VeraModel,
    tokenizer_path: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    calibration: np.ndarray | None = None,
    on_progress: Progress | None = None,
    commit: str | None = None,
    overwrite: bool = False,
) -> Bundle:
    """The bundle of a model, written to folder `out`. The model is not changed.

    tokenizer_path: a tokenizer.json; calibration: (n, 3, S, S) float32 photos, encoded sRGB in
    [0, 1], needed where `recipe.needs_calibration`; on_progress: called with what begins and the
    share done (0..1), from another thread. The same arguments give the same bytes of every program.
    Raises InvalidArgument, ModelError for weights that are not finite, FileError. Cost: two
    processes, about half a minute for vera_nano on two cores.
    """
    target = Path(out)
    if (target.exists() or target.is_symlink()) and not overwrite:
        raise InvalidArgument(
            f"{target} exists: choose another folder, or allow to replace it (overwrite)."
        )
    if not Path(tokenizer_path).is_file():
        raise FileError(f"Tokenizer {tokenizer_path} is missing: give a tokenizer.json.")
    vocabulary = Vocabulary.load(tokenizer_path)
    if recipe.needs_calibration:
        calibration = check_calibration(calibration, model.config, recipe)
    with tempfile.TemporaryDirectory(prefix="vera-export-") as scratch:
        folder = Path(scratch)
        _write_job(folder, model, recipe, calibration)
        _run_workers(folder, on_progress)
        contents = {name: _program(folder, name, recipe) for name in STAGES}
        tokenizer = Path(tokenizer_path).read_bytes()
        contents["tokenizer"] = Content(tokenizer, FileEntry("tokenizer.json", "", 0, "tokenizer"))
        contents["golden"] = golden_content(folder, model.config)
        return write_bundle(
            target, _manifest(model, recipe, vocabulary, commit), contents, overwrite=overwrite
        )


def _write_job(
    folder: Path, model: VeraModel, recipe: Recipe, calibration: np.ndarray | None
) -> None:
    save_checkpoint(model, folder / "checkpoint")
    facts = {**recipe.__dict__, "tolerances": dict(recipe.tolerances)}
    (folder / "recipe.json").write_text(json.dumps(facts), encoding="utf-8")
    if calibration is not None:
        np.save(folder / "calibration.npy", calibration, allow_pickle=False)


def _run_workers(folder: Path, on_progress: Progress | None) -> None:
    finished: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        if event["step"] == "done":
            finished.append(event["stage"])
        if on_progress is not None:
            on_progress(f"{event['step']} {event['stage']}", len(finished) / len(STAGES))

    with ExitStack() as stack:
        processes = [stack.enter_context(_start(folder, names)) for names in _WORKERS]
        with ThreadPoolExecutor(len(processes)) as threads:
            jobs = [
                threads.submit(_follow, process, folder, names, listen)
                for process, names in zip(processes, _WORKERS, strict=True)
            ]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                # a failed worker must not leave the other one at work
                for process in processes:
                    process.kill()
                raise


def _start(folder: Path, names: Sequence[str]) -> subprocess.Popen[str]:
    paths = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vera_mobile.export.worker", str(folder), *names]
    with (folder / f"{names[0]}.log").open("w") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )


def _follow(
    process: subprocess.Popen[str],
    folder: Path,
    names: Sequence[str],
    listen: Callable[[dict[str, Any]], None],
) -> None:
    for line in process.stdout or ():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if "error" in event:
            raise _error_of(event["code"])(event["error"])
        listen(event)
    if process.wait() != 0:
        lines = (folder / f"{names[0]}.log").read_text(errors="replace").splitlines()
        raise InternalError(
            f"Export of {', '.join(names)} stopped with exit code {process.returncode}: please "
            "report this with these lines:\n" + "\n".join(lines[-_STDERR_LINES:])
        )


def _error_of(code: int) -> type[errors.VeraError]:
    kinds = {kind.code: kind for kind in errors.VeraError.__subclasses__()}
    return kinds.get(code, errors.InternalError)


def _program(folder: Path, name: str, recipe: Recipe) -> Content:
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))

    def specs(values: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(v["name"], v["dtype"], tuple(v["shape"])) for v in values)

    entry = FileEntry(
        path=f"{name}.pte",
        sha256="",
        size_bytes=0,
        kind="executorch",
        quantization=facts["quantization"],
        backend=recipe.backend,
        inputs=specs(facts["inputs"]),
        outputs=specs(facts["outputs"]),
        operators=tuple(OperatorCount(**value) for value in facts["operators"]),
    )
    return Content(folder / f"{name}.pte", entry)


def _manifest(
    model: VeraModel, recipe: Recipe, vocabulary: Vocabulary, commit: str | None
) -> Manifest:
    try:
        release = version("vera-mobile")
    except PackageNotFoundError:
        release = "unknown"
    ids = {token: vocabulary.tokenizer.token_to_id(token) for token in SPECIALS}
    return Manifest(
        name=model.config.name,
        model=model.config.to_dict(),
        recipe=recipe.name,
        created_by=f"vera-mobile {release}",
        commit=commit,
        tokenizer=ids,
        tolerances=dict(recipe.tolerances),
        limits={
            "max_length": model.config.language.max_length,
            "prefill_tokens": prefill_limit(model.config),
            "bake_points": BAKE_POINTS,
        },
    )
