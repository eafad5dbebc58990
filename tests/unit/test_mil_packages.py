"""Packages as files: quantized constants, states, functions, shapes, half floats, damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_packages import computed, f32, written

from vera_mobile.errors import BundleError, FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.export.coreml.writer import fresh_names, write_package
from vera_mobile.export.mil.package import Package
from vera_mobile.export.mil.session import HALF_MAX, Session
from vera_mobile.export.mil.types import BY_NAME, unpack

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def mb() -> Any:
    from coremltools.converters.mil.mil import Builder

    return Builder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """x (2, 64) -> x times a (96, 64) matrix, plus a bias; both in the weight file."""
    weight, bias = normal(96, 64), normal(96)
    return written(
        tmp_path_factory.mktemp("plain"),
        {"x": normal(2, 64)},
        lambda x: mb().linear(x=x, weight=weight, bias=bias, name="product"),
    )


@pytest.fixture
def copy(plain: Package, tmp_path: Path) -> Path:
    """A package to damage."""
    return Path(shutil.copytree(plain.path, tmp_path / "copy.mlpackage"))


def weight_file(package: Path) -> Path:
    return package / "Data/com.apple.CoreML/weights/weight.bin"


def model_file(package: Path) -> Path:
    return package / "Data/com.apple.CoreML/model.mlmodel"


# --- constants as coremltools compresses them, against what it says that they are


def compressed(package: Path, config: Any, how: str) -> Any:
    import coremltools as ct
    import coremltools.optimize.coreml as optimize

    settings = optimize.OptimizationConfig(global_config=config)
    model = ct.models.MLModel(str(package), skip_model_load=True)
    return getattr(optimize, how)(model, settings)


def dense_weights(model: Any) -> list[np.ndarray]:
    """The constants that coremltools itself decodes from a compressed model."""
    program = model._mil_program
    found = []
    for operation in program.functions["main"].operations:
        if operation.op_type.startswith("constexpr_"):
            found.append(operation.materialized_val_inference())
    return found


def linear_settings(**values: Any) -> Any:
    import coremltools.optimize.coreml as optimize

    return optimize.OpLinearQuantizerConfig(weight_threshold=16, **values)


def palette_settings(**values: Any) -> Any:
    import coremltools.optimize.coreml as optimize

    return optimize.OpPalettizerConfig(weight_threshold=16, mode="uniform", **values)


def pruning_settings(**values: Any) -> Any:
    import coremltools.optimize.coreml as optimize

    return optimize.OpMagnitudePrunerConfig(weight_threshold=16, **values)


CASES: list[tuple[str, Callable[[], Any], str]] = [
    ("int8 per row", lambda: linear_settings(dtype="int8"), "linear_quantize_weights"),
    (
        "int4 in blocks of 16",
        lambda: linear_settings(dtype="int4", granularity="per_block", block_size=16),
        "linear_quantize_weights",
    ),
    (
        "uint8 with zero point",
        lambda: linear_settings(mode="linear", dtype="uint8"),
        "linear_quantize_weights",
    ),
    ("palette of 4 bits", lambda: palette_settings(nbits=4), "palettize_weights"),
    (
        "palettes of 6 bits by group",
        lambda: palette_settings(nbits=6, granularity="per_grouped_channel", group_size=8),
        "palettize_weights",
    ),
    ("palette of 3 bits", lambda: palette_settings(nbits=3), "palettize_weights"),
    ("palette of 1 bit", lambda: palette_settings(nbits=1), "palettize_weights"),
    ("sparse", lambda: pruning_settings(target_sparsity=0.6), "prune_weights"),
]


@pytest.mark.parametrize(("name", "config", "how"), CASES, ids=[case[0] for case in CASES])
def test_compressed_constants_are_what_coremltools_means(
    plain: Package, tmp_path: Path, name: str, config: Callable[[], Any], how: str
) -> None:
    model = compressed(plain.path, config(), how)
    model.save(str(tmp_path / "c.mlpackage"))
    session = Session(Package.open(tmp_path / "c.mlpackage"))
    (weight,) = (one for one in dense_weights(model) if one.ndim == 2)
    eye = np.eye(64, dtype=np.float32)
    rows = [session.run({"x": pair})["out_0"] for pair in eye.reshape(32, 2, 64)]
    bias = session.run({"x": np.zeros((2, 64), np.float32)})["out_0"][0]
    kinds = [one.kind for one in session.package.function().operations]
    assert any(kind.startswith("constexpr_") for kind in kinds)
    np.testing.assert_allclose(np.concatenate(rows) - bias, weight.T, atol=1e-5)


def test_packed_bits_start_at_the_lowest() -> None:
    assert unpack(b"\x21\x43", BY_NAME["uint4"], 4).tolist() == [1, 2, 3, 4]
    assert unpack(b"\xf8\x07", BY_NAME["int4"], 3).tolist() == [-8, -1, 7]
    six = sum(value << (6 * place) for place, value in enumerate((1, 63, 0, 42)))
    assert unpack(six.to_bytes(3, "little"), BY_NAME["uint6"], 4).tolist() == [1, 63, 0, 42]
    assert unpack(b"\x05", BY_NAME["uint1"], 8).tolist() == [1, 0, 1, 0, 0, 0, 0, 0]


# --- states, functions, shapes


def stateful(folder: Path) -> Package:
    """Adds x to a state of (2, 3) and gives the sum back; a second function reads it only."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, Function, Program, types

    fresh_names()
    program = Program()
    for name in ("add", "read"):
        inputs = {
            "x": Builder.placeholder((2, 3), types.fp32),
            "total": Builder.state_tensor_placeholder((2, 3), types.fp16),
        }
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            total = Builder.read_state(input=function.inputs["total"])
            x = Builder.cast(x=function.inputs["x"], dtype="fp16")
            if name == "add":
                total = Builder.coreml_update_state(
                    state=function.inputs["total"], value=Builder.add(x=total, y=x)
                )
            # the input is used, or the converter drops it
            gone = Builder.mul(x=x, y=np.float16(0))
            out = Builder.cast(x=Builder.add(x=total, y=gone), dtype="fp32", name="sum")
            function.set_outputs([out])
        program.add_function(name, function)
    program.default_function_name = "add"
    program.export_as_multifunction = True
    return Package.open(write_package(program, folder / "s.mlpackage"))


def test_states_last_from_call_to_call_and_belong_to_a_function(tmp_path: Path) -> None:
    session = Session(stateful(tmp_path))
    x = np.ones((2, 3), np.float32)
    assert session.run({"x": x})["sum"].max() == 1
    assert session.run({"x": 2 * x})["sum"].min() == 3
    assert session.run({"x": x}, "read")["sum"].max() == 0
    session.reset()
    assert session.run({"x": x})["sum"].max() == 1
    with pytest.raises(BundleError, match="has no function 'reed': it has add, read"):
        session.run({"x": x}, "reed")


def test_inputs_that_the_package_does_not_allow(plain: Package) -> None:
    session = Session(plain)
    for wrong, match in (
        ({"x": normal(2, 63)}, r"shape \(2, 63\)"),
        ({"x": np.zeros((2, 64), np.int32)}, "type int32"),
        ({"y": normal(2, 64)}, r"takes \['x'\]"),
        ({}, r"takes \['x'\]"),
    ):
        with pytest.raises(InvalidArgument, match=match):
            session.run(wrong)
    with pytest.raises(InvalidArgument, match="Precision 'fp8' is unknown: use fp32"):
        Session(plain, precision="fp8")


def test_flexible_sizes_within_their_range(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, Function, Program, get_new_symbol, types

    fresh_names()
    inputs = {"x": Builder.placeholder((get_new_symbol(), 4), types.fp32)}
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        turned = Builder.reshape(x=function.inputs["x"], shape=[-1, 2, 2])
        function.set_outputs([Builder.reduce_sum(x=turned, axes=[1], name="out")])
    function.set_input_types((ct.TensorType("x", ct.Shape((ct.RangeDim(1, 5), 4))),))
    program = Program()
    program.add_function("main", function)
    session = Session(Package.open(write_package(program, tmp_path / "f.mlpackage")))
    for count in (1, 5):
        x = normal(count, 4)
        expected = x.reshape(count, 2, 2).sum(1)
        np.testing.assert_allclose(session.run({"x": x})["out"], expected, atol=1e-6)
    with pytest.raises(InvalidArgument, match=r"\(6, 4\).*\(1, 5\)"):
        session.run({"x": normal(6, 4)})


# --- half floats


def chain(x: Any) -> Any:
    """x + 1, in half floats as declared, then times 2 in single floats."""
    half = mb().add(x=mb().cast(x=x, dtype="fp16"), y=np.float16(1))
    return mb().mul(x=mb().cast(x=half, dtype="fp32"), y=np.float32(2))


def test_rounding_follows_the_precision(tmp_path: Path) -> None:
    x = f32([1 / 3, 1e-4, 2000.3])
    exact, declared, every = (
        computed(tmp_path, {"x": x}, chain, precision)[0]
        for precision in ("fp32", "declared", "fp16")
    )
    np.testing.assert_allclose(exact, 2 * (x + 1), rtol=1e-7)
    half = (x.astype(np.float16) + np.float16(1)).astype(np.float32)
    np.testing.assert_array_equal(declared, 2 * half)
    np.testing.assert_array_equal(every, (2 * half).astype(np.float16).astype(np.float32))
    assert np.abs(every - exact).max() > 0.1


def squares(x: Any) -> Any:
    product = mb().mul(x=x, y=x, name="too_large")
    return mb().add(x=product, y=product, name="after_it")


def test_the_first_overflow_is_named(tmp_path: Path) -> None:
    package = written(tmp_path, {"x": f32([1])}, squares)
    for precision in ("fp32", "fp16"):
        session = Session(package, precision=precision)
        session.run({"x": f32([100])})
        assert session.overflow is None
        output = session.run({"x": f32([300])})["out_0"]
        assert session.overflow is not None
        assert "too_large" in session.overflow.place
        assert session.overflow.largest == 90_000 > HALF_MAX
        assert np.isinf(output).all() == (precision == "fp16")
        session.reset()
        assert session.overflow is None


# --- the same bytes, and damage


def test_a_program_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    weight = normal(16, 8)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        written(folder, {"x": normal(1, 8)}, lambda x: mb().linear(x=x, weight=weight))
    one, two = (sorted((tmp_path / name).rglob("*")) for name in ("one", "two"))
    files = [(a, b) for a, b in zip(one, two, strict=True) if a.is_file()]
    assert len(files) == 3
    assert all(a.read_bytes() == b.read_bytes() for a, b in files)


def test_a_missing_package_and_other_models(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(FileError, match="is not a folder"):
        Package.open(tmp_path / "none.mlpackage")
    model_file(copy).write_bytes(b"")
    with pytest.raises(UnsupportedFormat, match="no ML program"):
        Package.open(copy)


def test_damaged_packages_are_bundle_errors(copy: Path) -> None:
    model, weights, manifest = model_file(copy), weight_file(copy), copy / "Manifest.json"
    x = {"x": normal(2, 64)}

    def opened_and_run() -> None:
        Session(Package.open(copy)).run(x)

    opened_and_run()
    whole = {path: path.read_bytes() for path in (model, weights, manifest)}

    def damaged(path: Path, data: bytes, match: str) -> None:
        path.write_bytes(data)
        with pytest.raises(BundleError, match=match):
            opened_and_run()
        path.write_bytes(whole[path])

    damaged(weights, whole[weights][:-100], "a blob ends at byte")
    damaged(weights, whole[weights][:20], "too few for a header")
    damaged(weights, whole[weights][:64] + bytes(64) + whole[weights][128:], "no record at byte")
    damaged(weights, b"\1\0\0\0\7" + whole[weights][5:], "storage version 7")
    damaged(model, whole[model][: len(whole[model]) // 2], "is damaged")
    damaged(model, whole[model].replace(b"weight.bin", b"../../evil"), "lies outside")
    damaged(manifest, b"{", "does not name the model")
    entries = json.loads(whole[manifest])
    entries["itemInfoEntries"][entries["rootModelIdentifier"]]["path"] = "../../elsewhere"
    damaged(manifest, json.dumps(entries).encode(), "lies outside")
    weights.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        opened_and_run()


def test_a_program_that_contradicts_itself(copy: Path) -> None:
    """A result of another shape than declared: an error of ours or theirs, never a wrong number."""
    from vera_mobile.export.mil.schema import model_class

    model = model_class().FromString(model_file(copy).read_bytes())
    block = model.mlProgram.functions["main"].block_specializations["CoreML8"]
    block.operations[-1].outputs[0].type.tensorType.dimensions[1].constant.size = 95
    model_file(copy).write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"gives \(2, 96\) where the program says \(2, 95\)"):
        Session(Package.open(copy)).run({"x": normal(2, 64)})
