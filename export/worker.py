"""Exports stages in a process of its own: `worker.py FOLDER THREADS STAGE...`, run with -m.

Not for users; `pipeline` starts it. FOLDER holds the job (see `pipeline`); each program is written
there, and each event is one line of JSON on stdout. Stderr belongs to the native libraries, which
cannot be kept quiet.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.errors import VeraError

if TYPE_CHECKING:
    from vera_mobile.export.built import BuiltPart


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 after an `error` event."""
    folder, threads, names = Path(arguments[0]), int(arguments[1]), arguments[2:]
    try:
        _export(folder, threads, names)
    except VeraError as error:
        _tell(error=str(error), code=error.code)
        return 1
    return 0


def _export(folder: Path, threads: int, names: list[str]) -> None:
    import torch

    from vera_mobile.export.backends import backend
    from vera_mobile.export.built import PLANS
    from vera_mobile.export.recipes import Recipe
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.model.tokens import Vocabulary

    torch.set_num_threads(threads)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe = Recipe(**job["recipe"])
    photos = folder / "calibration.npy"
    calibration = np.load(photos, allow_pickle=False) if photos.is_file() else None
    chosen = backend(recipe.backend)
    for name in names:
        started = time.monotonic()
        _tell(stage=name, step="begin", seconds=0.0, peak_mb=_peak_mb())
        model = load_checkpoint(job["checkpoint"], only=chosen.weights(name))
        if name == PLANS:
            vocabulary = Vocabulary.load(job["tokenizer"])
            chosen.prepare_plans(model, recipe, calibration, folder, vocabulary)
        else:
            built = chosen.build(name, model, recipe, calibration, folder)
            _write_facts(folder / f"{name}.json", built)
        del model
        seconds = time.monotonic() - started
        _tell(stage=name, step="done", seconds=seconds, peak_mb=_peak_mb())


def _write_facts(path: Path, built: BuiltPart) -> None:
    facts = {
        "path": built.path.name,
        "kind": built.kind,
        "quantization": built.quantization,
        "inputs": [asdict(spec) for spec in built.inputs],
        "outputs": [asdict(spec) for spec in built.outputs],
        "operators": [asdict(operator) for operator in built.operators],
    }
    path.write_text(json.dumps(facts), encoding="utf-8")


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
