"""Small .mlpackages for tests, written operator by operator or converted from PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.export.coreml.modules import Input, module_program
from vera_mobile.export.coreml.writer import fresh_names, write_package
from vera_mobile.export.mil.package import Package
from vera_mobile.export.mil.session import Precision, Session

_TYPES = {"f": "fp32", "i": "int32"}


def written(
    folder: Path, inputs: Mapping[str, np.ndarray], body: Callable[..., Any], name: str = "p"
) -> Package:
    """A package whose function takes arrays like `inputs` and computes `body(**inputs)`.

    body gets values of the program and gives one or a list; outputs are called out_0, out_1 ...
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, types

    fresh_names()
    places = {
        key: mb.placeholder(value.shape, getattr(types, _TYPES[value.dtype.kind]))
        for key, value in inputs.items()
    }
    with Function(places, opset_version=ct.target.iOS18) as function:
        made = body(**function.inputs)
        results = list(made) if isinstance(made, (list, tuple)) else [made]
        for index, one in enumerate(results):
            one.name = f"out_{index}"
        function.set_outputs(results)
    program = Program()
    program.add_function("main", function)
    return Package.open(write_package(program, folder / f"{name}.mlpackage"))


def computed(
    folder: Path,
    inputs: Mapping[str, np.ndarray],
    body: Callable[..., Any],
    precision: Precision = "fp32",
) -> list[np.ndarray]:
    """The outputs of `written` on `inputs`."""
    outputs = Session(written(folder, inputs, body), precision=precision).run(inputs)
    return [outputs[f"out_{index}"] for index in range(len(outputs))]


def converted(folder: Path, module: Any, inputs: Sequence[Input], *, half: bool = False) -> Package:
    """A package of a PyTorch module with one output, called "out"."""
    program = module_program(module, inputs, ["out"], half=half)
    return Package.open(write_package(program, folder / "m.mlpackage"))


def f32(values: Any) -> np.ndarray:
    """Values as float32."""
    return np.array(values, np.float32)


def i32(values: Any) -> np.ndarray:
    """Values as int32."""
    return np.array(values, np.int32)


def u8(values: Any) -> np.ndarray:
    """Values as uint8."""
    return np.array(values, np.uint8)


def close(actual: np.ndarray, expected: Any, message: str = "") -> None:
    """Equal but for float32 sums in another order: at most 4e-7 measured at values of size 1."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6, err_msg=message)
