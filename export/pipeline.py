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
from dataclasses import replace
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
from vera_mobile.export.backends import backend
from vera_mobile.export.built import PLANS
from vera_mobile.export.delegates import check_toolchain
from vera_mobile.export.golden import golden_content
from vera_mobile.export.recipes import Recipe, small
from vera_mobile.export.stages import check_calibration, prefill_limit
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.load import CONFIG_FILE, load_checkpoint, read_config, save_checkpoint
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.native.bake import RendererWeights
from vera_mobile.native.renderer_file import write_renderer
from vera_mobile.runtime import BAKE_POINTS, REFERENCE, RENDERER_FILE

_STDERR_LINES = 8
# a fixed number, not the machine's: sums in other orders would move calibrated ranges
CORES = 2

Progress = Callable[[str, float], None]


def export_bundle(
    checkpoint: str | Path | VeraModel,
    tokenizer_path: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    calibration: np.ndarray | None = None,
    on_progress: Progress | None = None,
    commit: str | None = None,
    overwrite: bool = False,
) -> Bundle:
    """The bundle of a checkpoint, written to folder `out`.

    checkpoint: a folder with model.safetensors and config.json, or a model, which is not changed;
    tokenizer_path: a tokenizer.json; calibration: (n, 3, S, S) float32 photos, encoded sRGB in
    [0, 1], needed where `recipe.needs_calibration`; on_progress: called with what begins or ended
    (with its seconds and the peak memory of its process) and the share done (0..1), from another
    thread. The same arguments give the same bytes of every program.
    Raises InvalidArgument, ModelError for weights that are not finite, FileError. Cost: two
    processes, each with the weights of one part at a time in memory.
    """
    target = Path(out)
    if (target.exists() or target.is_symlink()) and not overwrite:
        raise InvalidArgument(
            f"{target} exists: choose another folder, or allow to replace it (overwrite)."
        )
    if not Path(tokenizer_path).is_file():
        raise FileError(f"Tokenizer {tokenizer_path} is missing: give a tokenizer.json.")
    check_toolchain(recipe)
    vocabulary = Vocabulary.load(tokenizer_path)
    with tempfile.TemporaryDirectory(prefix="vera-export-") as scratch:
        folder = Path(scratch)
        if isinstance(checkpoint, VeraModel):
            checkpoint = save_checkpoint(checkpoint, folder / "checkpoint")
        config = read_config(Path(checkpoint) / CONFIG_FILE)
        if recipe.needs_calibration:
            calibration = check_calibration(calibration, config, recipe)
        names = backend(recipe.backend).parts(recipe)
        _write_job(folder, Path(checkpoint), Path(tokenizer_path), recipe, calibration)
        cores = 1 if small(config) else CORES  # nano's steps are too short to be shared
        _run_workers(folder, _rounds(recipe, config, names), cores, on_progress)
        contents: dict[str, Content] = {}
        for name in names:
            contents |= _contents(folder, name, recipe)
        renderer = None
        if recipe.own_decoder:  # libvera is there, so it bakes too
            renderer = folder / "bake.safetensors"
            contents[RENDERER_FILE] = _renderer_content(Path(checkpoint), config, renderer)
        tokenizer = Path(tokenizer_path).read_bytes()
        contents["tokenizer"] = Content(tokenizer, FileEntry("tokenizer.json", "", 0, "tokenizer"))
        contents["golden"] = golden_content(folder, names, recipe, config, renderer=renderer)
        manifest = _manifest(config, recipe, vocabulary, commit)
        return write_bundle(target, manifest, contents, overwrite=overwrite)


def _write_job(
    folder: Path, checkpoint: Path, tokenizer: Path, recipe: Recipe, calibration: np.ndarray | None
) -> None:
    facts = {**recipe.__dict__, "tolerances": dict(recipe.tolerances)}
    job = {
        "checkpoint": str(checkpoint.resolve()),
        "tokenizer": str(tokenizer.resolve()),
        "recipe": facts,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    if calibration is not None:
        np.save(folder / "calibration.npy", calibration, allow_pickle=False)


def _rounds(
    recipe: Recipe, config: ModelConfig, names: Sequence[str]
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """The stages of each process, the processes of each round.

    Two processes alike in work: Python holds one core, so stages in one cannot overlap. Where parts
    are calibrated with whole plans, these are made once, before them, with both cores.
    """
    second = tuple(name for name in names if name != "decoder")
    builds = (("decoder",), second)
    if backend(recipe.backend).plans_first(recipe, config):
        return (((PLANS,),), builds)
    return (builds,)


def _run_workers(
    folder: Path,
    rounds: Sequence[Sequence[Sequence[str]]],
    cores: int,
    on_progress: Progress | None,
) -> None:
    finished: list[str] = []
    total = sum(len(names) for workers in rounds for names in workers)

    def listen(event: dict[str, Any]) -> None:
        text = f"{event['stage']} begins"
        if event["step"] == "done":
            finished.append(event["stage"])
            text = f"{event['stage']} took {event['seconds']:.0f} s, {event['peak_mb']:.0f} MB"
        if on_progress is not None:
            on_progress(text, len(finished) / total)

    for workers in rounds:
        _run_round(folder, workers, max(1, cores // len(workers)), listen)


def _run_round(
    folder: Path,
    workers: Sequence[Sequence[str]],
    threads: int,
    listen: Callable[[dict[str, Any]], None],
) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(_start(folder, names, threads)) for names in workers]
        with ThreadPoolExecutor(len(processes)) as pool:
            jobs = [
                pool.submit(_follow, process, folder, names, listen)
                for process, names in zip(processes, workers, strict=True)
            ]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                # a failed worker must not leave the other one at work
                for process in processes:
                    process.kill()
                raise


def _start(folder: Path, names: Sequence[str], threads: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": str(threads),
    }
    module = "vera_mobile.export.worker"
    command = [sys.executable, "-m", module, str(folder), str(threads), *names]
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


def _contents(folder: Path, name: str, recipe: Recipe) -> dict[str, Content]:
    """The files of a part by their name in the manifest: the part's own name for its first file."""
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))

    def specs(values: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(v["name"], v["dtype"], tuple(v["shape"])) for v in values)

    path = folder / facts["path"]
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    contents = {}
    for index, file in enumerate(files):
        entry = FileEntry(file.relative_to(folder).as_posix(), "", 0, facts["kind"])
        if index == 0:
            entry = replace(
                entry,
                quantization=facts["quantization"],
                backend=recipe.backend,
                inputs=specs(facts["inputs"]),
                outputs=specs(facts["outputs"]),
                operators=tuple(OperatorCount(**value) for value in facts["operators"]),
            )
        contents[name if index == 0 else entry.path] = Content(file, entry)
    return contents


def _renderer_content(checkpoint: Path, config: ModelConfig, path: Path) -> Content:
    """The renderer's weights as libvera reads them: half floats, which move colours by a mean
    CIEDE2000 of 0.008; products in float32, as 8 bits save only 8 ms of a plan at 0.5B."""
    state = load_checkpoint(checkpoint, only=("renderer",)).renderer.state_dict()
    weights = RendererWeights.from_state(state, residual=config.renderer.residual)
    write_renderer(path, weights, storage="float16")
    return Content(path, FileEntry(path.name, "", 0, "weights", quantization="fp16"))


def _manifest(
    config: ModelConfig, recipe: Recipe, vocabulary: Vocabulary, commit: str | None
) -> Manifest:
    try:
        release = version("vera-mobile")
    except PackageNotFoundError:
        release = "unknown"
    return Manifest(
        name=config.name,
        model=config.to_dict(),
        recipe=recipe.name,
        created_by=f"vera-mobile {release}",
        commit=commit,
        tokenizer=dict(vocabulary.special_ids),
        tolerances={
            name: bound
            for name, bound in recipe.tolerances.items()
            if recipe.reference or not name.startswith(REFERENCE)
        },
        limits={
            "max_length": config.language.max_length,
            "prefill_tokens": prefill_limit(config),
            "bake_points": BAKE_POINTS,
        },
    )
