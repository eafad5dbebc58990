"""Runs the functions of a package, operator by operator, in single floats or as half floats do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vera_mobile.errors import BundleError, InvalidArgument, UnsupportedFormat, VeraError
from vera_mobile.export.mil.arguments import Arguments
from vera_mobile.export.mil.operators import OPERATORS
from vera_mobile.export.mil.package import Function, Operation, Package, TensorType
from vera_mobile.export.mil.types import BY_NAME
from vera_mobile.export.mil.weights import CONSTANTS

Precision = Literal["fp32", "declared", "fp16"]
HALF_MAX = 65504.0
_AGAIN = "export the package again."


@dataclass(frozen=True)
class Overflow:
    """The first operator or input that does not fit half floats although what it read did.

    largest: its magnitude before rounding, infinite or NaN as it is.
    """

    place: str
    largest: float


class Session:
    """A package ready to run. Constants stay decoded and states keep what was written.

    precision: "fp32" computes all floats in 32 bits and rounds nothing; "declared" rounds every
    value that the program declares as fp16 after its operator; "fp16" rounds every value, as the
    Neural Engine does whatever is declared. Sums inside an operator are in 32 bits throughout, as
    the hardware's are at best. `overflow` is the first one since the session was made or reset;
    with "fp32" it says what halves would have done. One thread at a time.
    """

    overflow: Overflow | None

    def __init__(self, package: Package, *, precision: Precision = "fp32") -> None:
        if precision not in get_args(Precision):
            raise InvalidArgument(
                f"Precision '{precision}' is unknown: use {', '.join(get_args(Precision))}."
            )
        self.package = package
        self.precision = precision
        self.overflow = None
        self._constants: dict[tuple[Any, ...], Tensor | str] = {}
        self._states: dict[tuple[str, str], Tensor] = {}

    def reset(self) -> None:
        """States are zero again and no overflow has been seen; decoded constants stay."""
        self._states.clear()
        self.overflow = None

    @torch.inference_mode()
    def run(
        self, inputs: Mapping[str, np.ndarray], function: str | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a function (the default one if None), by name; floats as float32.

        Raises InvalidArgument for inputs that the package does not allow, UnsupportedFormat for an
        operator that is not known here, BundleError for a program that contradicts itself.
        """
        chosen = self.package.function(function)
        values: dict[str, Tensor | str] = dict(self._inputs(chosen, inputs))
        last_use = _last_uses(chosen)
        for index, operation in enumerate(chosen.operations):
            values.update(self._outputs(chosen, operation, values))
            for name in last_use[index]:
                values.pop(name, None)
        missing = [name for name in chosen.results if name not in values]
        if missing:
            raise BundleError(f"{self.package.path.name} does not compute '{missing[0]}'; {_AGAIN}")
        return {name: _tensor(values[name]).numpy() for name in chosen.results}

    def _inputs(
        self, function: Function, given: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[str, Tensor]]:
        if set(given) != set(function.inputs):
            raise InvalidArgument(
                f"Inputs {sorted(given)} not allowed: '{function.name}' of "
                f"{self.package.path.name} takes {sorted(function.inputs)}."
            )
        for name, feature in function.inputs.items():
            array = np.asarray(given[name])
            kind = BY_NAME[feature.kind]
            if not feature.allows(array.shape) or (array.dtype.kind == "f") != kind.is_float:
                raise InvalidArgument(
                    f"Input '{name}' of shape {array.shape} and type {array.dtype} not allowed: "
                    f"use {feature.kind} with (lowest, highest) sizes {feature.shapes}."
                )
            tensor = torch.from_numpy(np.ascontiguousarray(array)).to(kind.compute)
            declared = TensorType(kind, ())
            place = f"{self.package.path.name}, function '{function.name}', input '{name}'"
            self._watch(place, [], declared, tensor)
            yield name, self._rounded(tensor, declared)

    def _outputs(
        self, function: Function, operation: Operation, values: dict[str, Tensor | str]
    ) -> dict[str, Tensor | str]:
        if operation.is_constant:
            return {operation.outputs[0][0]: self._constant(operation, values)}
        if operation.kind in ("read_state", "write_state"):
            return self._state(function, operation, values)
        compute = OPERATORS.get(operation.kind)
        if compute is None:
            raise UnsupportedFormat(f"{operation.place}: this operator is not evaluated here.")
        arguments = self._arguments(operation, values)
        computed = _guarded(compute, arguments, operation)
        results = computed if isinstance(computed, tuple) else (computed,)
        if len(results) != len(operation.outputs):
            raise BundleError(
                f"{operation.place}: {len(results)} results for {len(operation.outputs)} outputs; "
                f"{_AGAIN}"
            )
        done: dict[str, Tensor | str] = {}
        for (name, declared), result in zip(operation.outputs, results, strict=True):
            _check_shape(operation, declared, result)
            self._watch(operation.place, arguments.tensors(), declared, result)
            done[name] = self._rounded(result, declared)
        return done

    def _arguments(self, operation: Operation, values: Mapping[str, Tensor | str]) -> Arguments:
        found: dict[str, list[Tensor | str]] = {}
        for parameter, bindings in operation.arguments.items():
            found[parameter] = [self._bound(operation, one, values) for one in bindings]
        return Arguments(operation.place, found, [declared for _, declared in operation.outputs])

    def _bound(
        self, operation: Operation, binding: Any, values: Mapping[str, Tensor | str]
    ) -> Tensor | str:
        if not isinstance(binding, str):
            return _as_tensor(self.package.value(binding))
        if binding not in values:
            raise BundleError(f"{operation.place}: reads '{binding}', which nothing computes.")
        return values[binding]

    def _constant(self, operation: Operation, values: Mapping[str, Tensor | str]) -> Tensor | str:
        key = _identity(operation)
        if key not in self._constants:
            decode = CONSTANTS.get(operation.kind)
            if decode is None:
                raise UnsupportedFormat(f"{operation.place}: this operator is not evaluated here.")
            computed = _guarded(decode, self._arguments(operation, values), operation)
            if not isinstance(computed, str):
                declared = operation.outputs[0][1]
                _check_shape(operation, declared, computed)
                computed = self._rounded(computed, declared)
            self._constants[key] = computed
        return self._constants[key]

    def _state(
        self, function: Function, operation: Operation, values: Mapping[str, Tensor | str]
    ) -> dict[str, Tensor | str]:
        (binding,) = operation.arguments["input"]
        feature = function.states.get(binding)
        if feature is None:
            raise BundleError(f"{operation.place}: '{binding}' is no state; {_AGAIN}")
        key = (function.name, binding)
        shape = tuple(low for low, _ in feature.shapes[0])
        if operation.kind == "read_state":
            if key not in self._states:
                self._states[key] = torch.zeros(shape)
            return {operation.outputs[0][0]: self._states[key]}
        data = _tensor(self._bound(operation, operation.arguments["data"][0], values))
        if tuple(data.shape) != shape:
            raise BundleError(f"{operation.place}: writes {tuple(data.shape)} to a {shape} state.")
        self._states[key] = self._rounded(data, TensorType(BY_NAME[feature.kind], ()))
        return {}

    def _is_half(self, declared: TensorType) -> bool:
        if declared.kind is None or not declared.kind.is_float:
            return False
        return self.precision != "declared" or declared.kind.name == "fp16"

    def _rounded(self, value: Tensor, declared: TensorType) -> Tensor:
        if declared.kind is not None and value.dtype != declared.kind.compute:
            value = value.to(declared.kind.compute)
        if self.precision != "fp32" and self._is_half(declared):
            return value.half().float()
        return value

    def _watch(
        self, place: str, read: Sequence[Tensor], declared: TensorType, value: Tensor
    ) -> None:
        if self.overflow is not None or not self._is_half(declared) or not value.numel():
            return
        largest = float(value.abs().max())
        if largest <= HALF_MAX:
            return
        if all(float(one.abs().max()) <= HALF_MAX for one in read if one.is_floating_point()):
            self.overflow = Overflow(place, largest)


def _guarded(compute: Any, arguments: Arguments, operation: Operation) -> Any:
    try:
        return compute(arguments)
    except VeraError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise BundleError(f"{operation.place} cannot be computed ({error}): {_AGAIN}") from error


def _check_shape(operation: Operation, declared: TensorType, value: Tensor) -> None:
    fits = len(declared.shape) == value.dim() and all(
        said in (None, size) for said, size in zip(declared.shape, value.shape, strict=True)
    )
    if not fits:
        raise BundleError(
            f"{operation.place} gives {tuple(value.shape)} where the program says "
            f"{declared.shape}; {_AGAIN}"
        )


def _identity(operation: Operation) -> tuple[Any, ...]:
    """What tells one constant from another, also across functions that share a weight file."""
    parts: list[Any] = [operation.kind]
    for parameter, bindings in sorted(operation.arguments.items()):
        for one in bindings:
            if isinstance(one, str):  # the name of another constant, which its function owns
                parts += (operation.place, parameter, one)
            else:
                parts += (parameter, one.SerializeToString(deterministic=True))
    return tuple(parts)


def _last_uses(function: Function) -> list[list[str]]:
    """Per operator, the values that nothing reads after it."""
    last: dict[str, int] = {}
    for index, operation in enumerate(function.operations):
        for name, _ in operation.outputs:
            last[name] = index
        for bindings in operation.arguments.values():
            last.update((one, index) for one in bindings if isinstance(one, str))
    done: list[list[str]] = [[] for _ in function.operations]
    for name, index in last.items():
        if name not in function.results:
            done[index].append(name)
    return done


def _as_tensor(value: np.ndarray | str) -> Tensor | str:
    if isinstance(value, str):
        return value
    wide = {np.dtype("u2"): np.int32, np.dtype("u4"): np.int64, np.dtype("u8"): np.int64}
    target = np.float32 if value.dtype.kind == "f" else wide.get(value.dtype, value.dtype)
    # a copy: the file behind it may be mapped read-only
    return torch.from_numpy(np.array(value, target))


def _tensor(value: Tensor | str) -> Tensor:
    if isinstance(value, str):
        raise BundleError(f"The program uses text '{value}' as a tensor; {_AGAIN}")
    return value.contiguous()
