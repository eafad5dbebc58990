"""Every program of a bundle run on this machine, its inputs and outputs kept for another machine.

make_cases.py BUNDLE OUT.npz      OUT.npz: arrays `<call>.in<i>`, `<call>.out<i>`; `calls`: JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.bundle import Bundle
from vera_mobile.export.commands import sample_pixels
from vera_mobile.export.reference_form import reference_pairs
from vera_mobile.runtime import (
    ALL_LOGITS,
    REFERENCE,
    RENDERER_FILE,
    ExecuTorchPlanner,
    program_of,
)

STEPS = 6
PROMPT = 20  # ids after the image tokens, so that the prefill takes more than one kind of token
POINTS = 1000


class Recorder(ExecuTorchPlanner):
    """A planner that keeps what went in and out of each program."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.calls: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}

    def keep(self, inputs: tuple[np.ndarray, ...], outputs: list[np.ndarray], **facts: Any) -> None:
        """Appends a call; facts: see `replay.py`."""
        call = len(self.calls)
        for kind, values in (("in", inputs), ("out", outputs)):
            self.arrays |= {f"{call}.{kind}{i}": value.copy() for i, value in enumerate(values)}
        self.calls.append({"inputs": len(inputs), "outputs": len(outputs), **facts})

    def _run(self, name: str, *inputs: np.ndarray) -> list[np.ndarray]:
        outputs = super()._run(name, *inputs)
        file, method = program_of(self.bundle, name)
        entry = self.bundle.manifest.files[file]
        own = {operator.backend for operator in entry.operators} == {"libvera"}
        self.keep(inputs, outputs, program=name, file=entry.path, method=method, own=own)
        return outputs


def record(bundle: Bundle) -> Recorder:
    """A photo through vision, decoder (prefill, then STEPS tokens), head, reference and bake."""
    planner = Recorder(bundle)
    random = np.random.default_rng(6)
    photos = sample_pixels(planner.config, None, 1)
    image = planner.encode_image(photos)
    ids = random.integers(0, planner.config.language.vocab_size, (1, PROMPT))
    embeds = np.concatenate((image, planner.embed(ids)), axis=1)
    position, states = embeds.shape[1], []
    logits, hidden = planner.step(embeds, 0, ALL_LOGITS)
    for _ in range(STEPS):
        embeds = planner.embed(np.array([[int(logits.argmax())]]))
        logits, hidden = planner.step(embeds, position, ALL_LOGITS)
        states.append(hidden)
        position += 1
    latents = planner.head(np.stack(states[-3:]))
    if REFERENCE in bundle.manifest.files:
        planner.encode_reference(*reference_pairs(photos, planner.config)[0])
    points = random.random((POINTS, 3), np.float32)
    baked = planner.bake(points, latents)
    if RENDERER_FILE in bundle.manifest.files:
        path = bundle.manifest.files[RENDERER_FILE].path
        planner.keep((points, latents), [baked], program="bake", file=path, method="", own=True)
    return planner


def main() -> int:
    made = record(Bundle.open(sys.argv[1]))
    out = Path(sys.argv[2])
    temporary = out.with_suffix(".tmp.npz")
    arrays: dict[str, Any] = {"calls": np.array(json.dumps(made.calls)), **made.arrays}
    np.savez(temporary, **arrays)
    temporary.replace(out)
    print(f"{out}: {len(made.calls)} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
