"""Exports stages in a process of its own: `python -m vera_mobile.export.worker FOLDER STAGE...`

Not for users; `pipeline` starts it. FOLDER holds the job (see `pipeline`); each program is written
there, and each event is one line of JSON on stdout. Stderr belongs to the native libraries, which
cannot be kept quiet.
"""

from __future__ import annotations

import json
import sys
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

    from vera_mobile.export.executorch import lower
    from vera_mobile.export.recipes import Recipe
    from vera_mobile.export.stages import build_part, capture
    from vera_mobile.model.load import load_checkpoint

    torch.set_num_threads(1)
    recipe = Recipe(**json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
    photos = folder / "calibration.npy"
    calibration = np.load(photos, allow_pickle=False) if photos.is_file() else None
    model = load_checkpoint(folder / "checkpoint")
    for name in names:
        _tell(stage=name, step="quantize")
        part = build_part(name, model, recipe, calibration)
        _tell(stage=name, step="capture")
        program = capture(part)
        _tell(stage=name, step="lower")
        lowered = lower(program)
        (folder / f"{name}.pte").write_bytes(lowered.data)
        facts = {
            "quantization": part.quantization,
            "inputs": [asdict(spec) for spec in part.input_specs],
            "outputs": [asdict(spec) for spec in part.output_specs],
            "operators": [asdict(operator) for operator in lowered.operators],
        }
        (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        _tell(stage=name, step="done")


def _tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
