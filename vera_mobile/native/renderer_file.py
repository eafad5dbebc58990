"""The per-pixel network as one file, `bake.safetensors` of a bundle: written once, read without
PyTorch.

Tensors have the names of `vera_mobile.model.renderer.Renderer`'s state dict (layers.0.weight, ...),
all float32 or all float16. The metadata says what the numbers are for:
  format "vera-renderer", version "1", output "sigmoid" or "residual", norm_epsilon, and precision,
  in which the products are meant to be computed ("float32" or "int8").
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.files import replacing
from vera_mobile.native.bake import PRECISIONS, NativeRenderer, Precision, RendererWeights

__all__ = ("load_renderer", "read_renderer", "write_renderer")

FORMAT = {"format": "vera-renderer", "version": "1"}
OUTPUTS = ("sigmoid", "residual")
Storage = Literal["float32", "float16"]


def write_renderer(
    path: str | Path,
    weights: RendererWeights,
    *,
    precision: Precision = "float32",
    storage: Storage = "float32",
) -> None:
    """Writes the weights through a temporary name; an older file is replaced whole.

    precision: how the reader is to compute. storage: of the file; float16 halves it.

    Raises InvalidArgument for weights that do not fit each other or are not finite, FileError.
    """
    if storage not in ("float32", "float16"):
        raise InvalidArgument(f"Storage {storage!r} not known: use float32 or float16.")
    NativeRenderer(weights, precision=precision)  # checks all shapes and values
    state = {name: np.asarray(value, storage) for name, value in weights.to_state().items()}
    facts = FORMAT | {
        "output": OUTPUTS[weights.residual],
        "norm_epsilon": repr(weights.norm_epsilon),
        "precision": precision,
    }
    with replacing(path) as stream:
        stream.write(save(state, facts))


def read_renderer(path: str | Path) -> tuple[RendererWeights, Precision]:
    """The weights that `write_renderer` wrote, as float32, and the precision that it names.

    Raises FileError for a missing or damaged file and for one of another format or version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"{path} is no readable safetensors file ({error}): export again."
        ) from error
    if {key: facts.get(key) for key in FORMAT} != FORMAT:
        raise FileError(
            f"{path} is {facts.get('format')!r} version {facts.get('version')!r}: "
            "'vera-renderer' version '1' is read; export again with this release."
        )
    try:
        output, precision = OUTPUTS.index(facts["output"]), facts["precision"]
        epsilon = float(facts["norm_epsilon"])
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}")
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: its metadata is damaged ({error}): export again.") from error
    try:
        weights = RendererWeights.from_state(state, residual=bool(output), norm_epsilon=epsilon)
    except InvalidArgument as error:
        raise FileError(f"{path}: {error}") from error
    return weights, precision


def load_renderer(path: str | Path, *, precision: Precision | None = None) -> NativeRenderer:
    """The network of a file, ready to bake. precision: instead of the one that the file names.

    Raises FileError for a missing or damaged file, InvalidArgument for an unknown precision.
    """
    weights, named = read_renderer(path)
    if precision is not None and precision not in PRECISIONS:
        raise InvalidArgument(f"Precision {precision!r} not known: use {' or '.join(PRECISIONS)}.")
    try:
        return NativeRenderer(weights, precision=precision or named)
    except InvalidArgument as error:
        raise FileError(f"{path}: {error} Export again.") from error
