"""Exports stages in a process of its own: `python -m vera_mobile.export.worker FOLDER STAGE...`

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
from typing import Any

import numpy as np

from vera_mobile.errors import VeraError


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 after an `error` event."""
    folder, names = Path(arguments[0]), arguments[1:]
    try:
        _export(folder, names)
    except VeraError as error:
        _tell(error=str(error), code=error.code)
        return 1
    return 0


def _export(folder: Path, names: list[str]) -> None:
    import torch

    from vera_mobile.export.backends import backend
    from vera_mobile.export.recipes import Recipe
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.model.tokens import Vocabulary

    torch.set_num_threads(1)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe = Recipe(**job["recipe"])
    photos = folder / "calibration.npy"
    calibration = np.load(photos, allow_pickle=False) if photos.is_file() else None
    chosen = backend(recipe.backend)
    # ranges of a decoder come from prompts and answers
    more = {"vocabulary": Vocabulary.load(job["tokenizer"])} if recipe.backend == "onnx" else {}
    for name in names:
        started = time.monotonic()
        _tell(stage=name, step="begin", seconds=0.0, peak_mb=_peak_mb())
        model = load_checkpoint(job["checkpoint"], only=chosen.weights(name))
        built = chosen.build(name, model, recipe, calibration, folder, **more)
        facts = {
            "path": built.path.name,
            "kind": built.kind,
            "quantization": built.quantization,
            "inputs": [asdict(spec) for spec in built.inputs],
            "outputs": [asdict(spec) for spec in built.outputs],
            "operators": [asdict(operator) for operator in built.operators],
        }
        (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        del model
        seconds = time.monotonic() - started
        _tell(stage=name, step="done", seconds=seconds, peak_mb=_peak_mb())


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
