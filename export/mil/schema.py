"""The part of Core ML's protobuf format that ML programs use, as message classes.

The fields and their numbers are those of the published format (Model.proto, FeatureTypes.proto and
MIL.proto of coremltools). The classes live in a pool of their own, so that they are there without
coremltools, whose import takes seconds, and do not clash with it where it is loaded too.
"""

from __future__ import annotations

import functools
from typing import Any

_PACKAGE = "vera.mil"
_SCALARS = {"int32": 5, "int64": 3, "uint64": 4, "bool": 8, "string": 9, "bytes": 12}
_SCALARS |= {"float": 2, "double": 1}
_MESSAGE = 11
_OPTIONAL, _REPEATED = 1, 3

# message -> its fields: "number name type", "*" marks a repeated one, "map" one with string keys;
# "?group" puts it into a oneof
_MESSAGES: dict[str, tuple[str, ...]] = {
    "Model": (
        "1 specificationVersion int32",
        "2 description ModelDescription",
        "502 mlProgram Program ?Type",
    ),
    "ModelDescription": (
        "1 input *FeatureDescription",
        "10 output *FeatureDescription",
        "13 state *FeatureDescription",
        "20 functions *FunctionDescription",
        "21 defaultFunctionName string",
    ),
    "FunctionDescription": (
        "1 name string",
        "2 input *FeatureDescription",
        "3 output *FeatureDescription",
        "6 state *FeatureDescription",
    ),
    "FeatureDescription": ("1 name string", "3 type FeatureType"),
    "FeatureType": (
        "5 multiArrayType ArrayFeatureType ?Type",
        "8 stateType StateFeatureType ?Type",
    ),
    "StateFeatureType": ("1 arrayType ArrayFeatureType",),
    "ArrayFeatureType": (
        "1 shape *int64",
        "2 dataType int32",
        "21 enumeratedShapes EnumeratedShapes ?flexibility",
        "31 shapeRange ShapeRange ?flexibility",
    ),
    "EnumeratedShapes": ("1 shapes *Shape",),
    "Shape": ("1 shape *int64",),
    "ShapeRange": ("1 sizeRanges *SizeRange",),
    "SizeRange": ("1 lowerBound uint64", "2 upperBound int64"),
    "Program": ("1 version int64", "2 functions map Function"),
    "Function": (
        "1 inputs *NamedValueType",
        "2 opset string",
        "3 block_specializations map Block",
    ),
    "Block": ("1 inputs *NamedValueType", "2 outputs *string", "3 operations *Operation"),
    "Operation": (
        "1 type string",
        "2 inputs map Argument",
        "3 outputs *NamedValueType",
        "4 blocks *Block",
        "5 attributes map Value",
    ),
    "Argument": ("1 arguments *Binding",),
    "Binding": ("1 name string ?binding", "2 value Value ?binding"),
    "NamedValueType": ("1 name string", "2 type ValueType"),
    "ValueType": (
        "1 tensorType TensorType ?type",
        "2 listType ListType ?type",
        "5 stateType StateType ?type",
    ),
    "TensorType": ("1 dataType int32", "2 rank int64", "3 dimensions *Dimension"),
    "ListType": ("1 type ValueType", "2 length Dimension"),
    "StateType": ("1 wrappedType ValueType",),
    "Dimension": (
        "1 constant ConstantDimension ?dimension",
        "2 unknown UnknownDimension ?dimension",
    ),
    "ConstantDimension": ("1 size uint64",),
    "UnknownDimension": ("1 variadic bool",),
    "Value": (
        "2 type ValueType",
        "3 immediateValue ImmediateValue ?value",
        "5 blobFileValue BlobFileValue ?value",
    ),
    "ImmediateValue": ("1 tensor TensorValue ?value", "3 list ListValue ?value"),
    "ListValue": ("1 values *Value",),
    "BlobFileValue": ("1 fileName string", "2 offset uint64"),
    "TensorValue": (
        "1 floats Floats ?value",
        "2 ints Ints ?value",
        "3 bools Bools ?value",
        "4 strings Strings ?value",
        "5 longInts LongInts ?value",
        "6 doubles Doubles ?value",
        "7 bytes Bytes ?value",
    ),
    "Floats": ("1 values *float",),
    "Ints": ("1 values *int32",),
    "Bools": ("1 values *bool",),
    "Strings": ("1 values *string",),
    "LongInts": ("1 values *int64",),
    "Doubles": ("1 values *double",),
    "Bytes": ("1 values bytes",),
}


@functools.cache
def model_class() -> Any:
    """The class of a model file's root message, `Model`; `Model.FromString(data)` reads one."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="vera_mil.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))


def _add_field(message: Any, words: list[str]) -> None:
    number, name, kind = int(words[0]), words[1], words[2]
    if kind == "map":
        entry_name = name.title().replace("_", "") + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, ["1", "key", "string"])
        _add_field(entry, ["2", "value", words[3]])
        message.field.add(
            name=name,
            number=number,
            label=_REPEATED,
            type=_MESSAGE,
            type_name=f".{_PACKAGE}.{message.name}.{entry_name}",
        )
        return
    label = _REPEATED if kind.startswith("*") else _OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    base = kind.removeprefix("*")
    if base in _SCALARS:
        field.type = _SCALARS[base]
    else:
        field.type, field.type_name = _MESSAGE, f".{_PACKAGE}.{base}"
    if words[-1].startswith("?"):
        field.oneof_index = _oneof(message, words[-1][1:])


def _oneof(message: Any, name: str) -> int:
    for index, group in enumerate(message.oneof_decl):
        if group.name == name:
            return index
    message.oneof_decl.add(name=name)
    return len(message.oneof_decl) - 1
