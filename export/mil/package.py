"""A saved .mlpackage as plain objects: functions, their operators, and values on demand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vera_mobile.errors import BundleError, FileError, UnsupportedFormat
from vera_mobile.export.mil.blobs import BlobFile
from vera_mobile.export.mil.schema import model_class
from vera_mobile.export.mil.types import (
    BY_FEATURE,
    BY_NAME,
    BY_NUMBER,
    STRING,
    ElementType,
    unpack,
)

_MODEL_PREFIX = "@model_path/"
_MANIFEST_MAX_BYTES = 2**20
_AGAIN = "copy or export the package again."


@dataclass(frozen=True)
class TensorType:
    """kind: None for text; shape: None for a dimension that is known at run time only."""

    kind: ElementType | None
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Feature:
    """An input, output or state of a function as the package describes it to an app.

    shapes: the allowed ones, each a (lowest, highest) per dimension; highest None: no limit; empty
    where the package does not say (outputs of flexible shape).
    """

    name: str
    kind: str
    shapes: tuple[tuple[tuple[int, int | None], ...], ...]

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be given."""
        return not self.shapes or any(
            len(one) == len(shape)
            and all(
                low <= size and (high is None or size <= high)
                for (low, high), size in zip(one, shape, strict=True)
            )
            for one in self.shapes
        )


@dataclass(frozen=True, eq=False)
class Operation:
    """kind: its operator; arguments: by parameter, each a name of a value or a stored value;
    outputs: names and types; place: where it stands, for messages."""

    kind: str
    name: str
    arguments: Mapping[str, tuple[Any, ...]]
    outputs: tuple[tuple[str, TensorType], ...]
    place: str

    @property
    def is_constant(self) -> bool:
        """True for what is the same in every call: const and constexpr_* operators."""
        return self.kind == "const" or self.kind.startswith("constexpr_")


@dataclass(frozen=True, eq=False)
class Function:
    """One entry point: features by name and the operators in the order in which they run."""

    name: str
    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]
    states: Mapping[str, Feature]
    operations: tuple[Operation, ...]
    results: tuple[str, ...]

    def operator_counts(self) -> dict[str, int]:
        """How often each operator that is no constant occurs, by name, sorted."""
        kinds = (one.kind for one in self.operations if not one.is_constant)
        return dict(sorted(Counter(kinds).items()))


class Package:
    """An opened package. Weights are mapped and read when they are asked for."""

    def __init__(
        self, path: Path, folder: Path, functions: dict[str, Function], default: str
    ) -> None:
        self.path = path
        self.functions = functions
        self.default = default
        self._folder = folder  # of the model file, which names weight files from there
        self._blobs: dict[str, BlobFile] = {}

    @classmethod
    def open(cls, path: str | Path) -> Package:
        """The package in folder `path`.

        Raises FileError where there is no such folder, BundleError for a damaged one,
        UnsupportedFormat for a model that is no ML program.
        """
        root = Path(path)
        model_path = _model_path(root)
        try:
            model = model_class().FromString(model_path.read_bytes())
        except (OSError, ValueError, RuntimeError) as error:
            raise BundleError(f"Model {model_path} cannot be read ({error}): {_AGAIN}") from error
        except Exception as error:  # protobuf's DecodeError has no public base but Exception
            raise BundleError(f"Model {model_path} is damaged ({error}): {_AGAIN}") from error
        if model.WhichOneof("Type") != "mlProgram":
            raise UnsupportedFormat(
                f"Model {model_path} is no ML program: convert it with a deployment target of "
                "iOS 15 or later."
            )
        functions = {
            name: _function(name, function, model.description, root.name)
            for name, function in sorted(model.mlProgram.functions.items())
        }
        if not functions:
            raise BundleError(f"Model {model_path} has no function: {_AGAIN}")
        default = model.description.defaultFunctionName or "main"
        first = default if default in functions else next(iter(functions))
        return cls(root, model_path.parent, functions, first)

    def function(self, name: str | None = None) -> Function:
        """The function called `name`, or the default one. BundleError that lists the known ones."""
        wanted = name or self.default
        if wanted not in self.functions:
            raise BundleError(
                f"{self.path.name} has no function '{wanted}': it has {', '.join(self.functions)}."
            )
        return self.functions[wanted]

    def value(self, stored: Any) -> np.ndarray | str:
        """A stored value: text, or an array of its type and shape (one element each below 8 bits).

        Raises BundleError where the file does not hold what the program says.
        """
        declared = tensor_type(stored.type)
        if declared.kind is None:
            return str(stored.immediateValue.tensor.strings.values[0])
        if None in declared.shape:
            raise BundleError(f"{self.path.name}: a stored value has no fixed shape; {_AGAIN}")
        shape = tuple(int(size or 0) for size in declared.shape)
        count = int(np.prod(shape, dtype=np.int64))
        if stored.WhichOneof("value") == "blobFileValue":
            blob = self._blob(stored.blobFileValue.fileName)
            return blob.read(stored.blobFileValue.offset, declared.kind, count).reshape(shape)
        return self._immediate(stored.immediateValue.tensor, declared.kind, count).reshape(shape)

    def _immediate(self, tensor: Any, kind: ElementType, count: int) -> np.ndarray:
        form = tensor.WhichOneof("value")
        if form is None:
            raise BundleError(f"{self.path.name}: a stored value is empty; {_AGAIN}")
        values = getattr(tensor, form).values
        if form == "bytes":
            if len(values) * 8 < count * kind.bits:
                raise BundleError(
                    f"{self.path.name}: a stored value has {len(values)} bytes for {count} "
                    f"{kind.name}; {_AGAIN}"
                )
            return unpack(values, kind, count)
        if len(values) != count:
            raise BundleError(
                f"{self.path.name}: a stored value has {len(values)} elements in place of "
                f"{count}; {_AGAIN}"
            )
        return np.array(values, kind.store)

    def _blob(self, name: str) -> BlobFile:
        if name not in self._blobs:
            relative = PurePosixPath(name.removeprefix(_MODEL_PREFIX))
            if relative.is_absolute() or ".." in relative.parts:
                raise BundleError(f"{self.path.name}: weight file '{name}' lies outside; {_AGAIN}")
            self._blobs[name] = BlobFile(self._folder / relative)
        return self._blobs[name]


def tensor_type(declared: Any) -> TensorType:
    """The type of a value or, for a state, of what it holds."""
    if declared.WhichOneof("type") == "stateType":
        declared = declared.stateType.wrappedType
    if declared.WhichOneof("type") != "tensorType":
        raise UnsupportedFormat("The program uses lists or dictionaries: only tensors are known.")
    tensor = declared.tensorType
    if tensor.dataType == STRING:
        return TensorType(None, ())
    if tensor.dataType not in BY_NUMBER:
        raise UnsupportedFormat(f"The program uses element type {tensor.dataType}: unknown here.")
    shape = tuple(
        int(one.constant.size) if one.WhichOneof("dimension") == "constant" else None
        for one in tensor.dimensions
    )
    return TensorType(BY_NUMBER[tensor.dataType], shape)


def _model_path(root: Path) -> Path:
    if not root.is_dir():
        raise FileError(f"{root} is not a folder: give the path of an .mlpackage.")
    manifest = root / "Manifest.json"
    try:
        if manifest.stat().st_size > _MANIFEST_MAX_BYTES:
            raise ValueError("it is too large")
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        entry = entries["itemInfoEntries"][entries["rootModelIdentifier"]]
        relative = PurePosixPath(entry["path"])
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"'{relative}' lies outside")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{manifest} does not name the model ({type(error).__name__}: {error}): {_AGAIN}"
        ) from error
    return root / "Data" / relative


def _function(name: str, function: Any, description: Any, package: str) -> Function:
    block = function.block_specializations.get(function.opset)
    if block is None:
        raise BundleError(f"{package}: function '{name}' has no operators; {_AGAIN}")
    described = next((one for one in description.functions if one.name == name), description)
    return Function(
        name,
        {one.name: _feature(one) for one in described.input},
        {one.name: _feature(one) for one in described.output},
        {one.name: _feature(one) for one in described.state},
        tuple(
            _operation(one, f"{package}, function '{name}', operator {index}")
            for index, one in enumerate(block.operations)
        ),
        tuple(block.outputs),
    )


def _operation(stored: Any, where: str) -> Operation:
    label = stored.attributes["name"].immediateValue.tensor.strings.values
    name = label[0] if label else ""
    place = f"{where}: {stored.type} '{name}'"
    if stored.blocks:
        raise UnsupportedFormat(f"{place}: operators with blocks of their own are not evaluated.")
    arguments: dict[str, tuple[Any, ...]] = {
        parameter: tuple(
            one.name if one.WhichOneof("binding") == "name" else one.value
            for one in argument.arguments
        )
        for parameter, argument in stored.inputs.items()
    }
    # const and the older constexpr operators keep their values as attributes
    for parameter, value in stored.attributes.items():
        if parameter != "name":
            arguments[parameter] = (value,)
    try:
        outputs = tuple((one.name, tensor_type(one.type)) for one in stored.outputs)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(f"{place}: {error}") from error
    return Operation(stored.type, name, arguments, outputs, place)


def _feature(described: Any) -> Feature:
    kind = described.type.WhichOneof("Type")
    if kind is None:
        raise UnsupportedFormat(
            f"Feature '{described.name}' is no array: images and dictionaries are not evaluated."
        )
    array = described.type.multiArrayType
    if kind == "stateType":
        array = described.type.stateType.arrayType
    element = BY_FEATURE.get(array.dataType)
    if element is None or element not in BY_NAME:
        raise UnsupportedFormat(
            f"Feature '{described.name}' has element type {array.dataType}: fp16, fp32, int32 and "
            "int8 are evaluated."
        )
    return Feature(described.name, element, _shapes(array))


def _shapes(array: Any) -> tuple[tuple[tuple[int, int | None], ...], ...]:
    flexibility = array.WhichOneof("flexibility")
    if flexibility == "shapeRange":
        ranges = array.shapeRange.sizeRanges
        # an upper bound below 0 means none
        return (
            tuple(
                (one.lowerBound, one.upperBound if one.upperBound >= 0 else None) for one in ranges
            ),
        )
    listed = [tuple(array.shape)] if array.shape else []
    if flexibility == "enumeratedShapes":
        listed = [tuple(one.shape) for one in array.enumeratedShapes.shapes]
    return tuple(tuple((size, size) for size in one) for one in listed)
