"""The C++ reader of .cube files against Python's: the same numbers, the same files refused."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vera_mobile import native
from vera_mobile.color.cube import read_cube, write_cube
from vera_mobile.errors import FileError
from vera_mobile.native.sdk import CError


class CLook(ctypes.Structure):
    """vera_baked_look."""

    _fields_ = (
        ("curves", ctypes.POINTER(ctypes.c_float)),
        ("curve_size", ctypes.c_int32),
        ("lut", ctypes.POINTER(ctypes.c_float)),
        ("lut_size", ctypes.c_int32),
    )


def core_read(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Title, curves (3, K) and LUT (N, N, N, 3) as the core reads them."""
    library, error, cube = native.library(), CError(), ctypes.c_void_p()
    library.vera_cube_look.restype = ctypes.POINTER(CLook)
    library.vera_cube_title.restype = ctypes.c_char_p
    library.vera_cube_close.restype = None
    library.vera_cube_open(str(path).encode(), ctypes.byref(cube), ctypes.byref(error))
    error.check()
    try:
        look = library.vera_cube_look(cube).contents
        size = look.lut_size
        curves = np.ctypeslib.as_array(look.curves, (3, look.curve_size)).copy()
        lut = np.ctypeslib.as_array(look.lut, (size, size, size, 3)).copy()
        return library.vera_cube_title(cube).decode(), curves, lut
    finally:
        library.vera_cube_close(cube)


def assert_same(path: Path) -> None:
    """To the bit; -0 counts as 0."""
    cube = read_cube(path, with_curves=True)
    curves, lut = cube.look()
    title, core_curves, core_lut = core_read(path)
    assert title == cube.title
    np.testing.assert_array_equal(core_curves, curves.astype(np.float32))
    np.testing.assert_array_equal(core_lut, lut.astype(np.float32))


def assert_same_or_both_refuse(path: Path) -> None:
    """The same numbers where Python's reader takes the file, a FileError of both where not."""
    try:
        read_cube(path, with_curves=True)
    except FileError:
        with pytest.raises(FileError):
            core_read(path)
    else:
        assert_same(path)


@pytest.mark.parametrize("size", [2, 17, 33, 65])
def test_written_luts(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.cube"
    lut = np.random.default_rng(size).uniform(-0.5, 1.5, (size, size, size, 3))
    write_cube(path, lut, title="airy  pink é 柔", comments=["made by a test"])
    assert_same(path)


@pytest.mark.parametrize("size", [2, 3, 1024, 4096, 4097, 65536])
@pytest.mark.parametrize("with_lut", [False, True])
def test_curves(tmp_path: Path, size: int, with_lut: bool) -> None:
    rng = np.random.default_rng(size)
    path = tmp_path / "a.cube"
    lut = rng.random((3, 3, 3, 3)) if with_lut else None
    write_cube(path, lut, curves=rng.uniform(-0.5, 1.5, (3, size)))
    assert_same(path)


@pytest.mark.parametrize(
    "head",
    [
        "LUT_1D_SIZE 5\nLUT_1D_INPUT_RANGE -.3 1.7",
        "LUT_1D_SIZE 5\nDOMAIN_MIN -1 0 .1\nDOMAIN_MAX .9 1e1 1.0000001",
        "LUT_1D_SIZE 9\nLUT_1D_INPUT_RANGE 0.1 0.7\nLUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 0.05 1.3",
        "LUT_3D_SIZE 3\nDOMAIN_MIN .1 .2 .3\nDOMAIN_MAX 1.1 1.5 3",
        "LUT_3D_INPUT_RANGE 1e-320 2e-320\nLUT_3D_SIZE 2",
        "LUT_3D_SIZE 2\nLUT_1D_INPUT_RANGE 5 4",
    ],
)
def test_domains(tmp_path: Path, head: str) -> None:
    words = head.split()
    sizes = {name: int(words[words.index(name) + 1]) for name in words if name.endswith("SIZE")}
    count = sizes.get("LUT_1D_SIZE", 0) + sizes.get("LUT_3D_SIZE", 0) ** 3
    rows = np.random.default_rng(5).uniform(-0.2, 1.2, (count, 3))
    path = tmp_path / "a.cube"
    path.write_text(head + "\n" + "".join(f"{r!r} {g!r} {b!r}\n" for r, g, b in rows.tolist()))
    assert_same(path)


_NUMBER = st.one_of(
    st.floats(-60000, 60000).map(repr),
    st.from_regex(
        r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?", fullmatch=True
    ),
    st.sampled_from(
        ["1e-400", "2.4703282292062328e-324", "0e99999999", "1e-99999999", "0x1", "1_0"]
    ),
)


@settings(max_examples=300, deadline=None)
@given(numbers=st.lists(_NUMBER, min_size=6, max_size=6))
def test_numbers_of_any_form(tmp_path_factory: pytest.TempPathFactory, numbers: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.cube"
    path.write_text(f"LUT_1D_SIZE 2\n{' '.join(numbers[:3])}\n{' '.join(numbers[3:])}\n")
    assert_same_or_both_refuse(path)


_LINES = st.sampled_from(
    [
        "", " ", "# c", 'TITLE "a"', "TITLE\u00a0\"b\"", "TITLE", 'TITLE "a" b', "LUT_3D_SIZE 2",
        "LUT_3D_SIZE 002", "LUT_3D_SIZE 1", "LUT_1D_SIZE 2", "LUT_1D_SIZE\t3 ", "LUT_1D_SIZE 0x2",
        "DOMAIN_MIN 0 0 0", "DOMAIN_MIN 0 0 2", "DOMAIN_MAX 2 1 1", "LUT_1D_INPUT_RANGE 0 2",
        "LUT_3D_INPUT_RANGE 1 2", "0 0 0", "\u30000.5 1\u2003.25", "1 1", "lut_3d_size 2", "é 1 2",
        "\u0661 0 0", "\x00 0 0", "# " + "é" * 1021, "# " + "é" * 1022, "\ufeff0 0 0",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    lines=st.lists(_LINES, max_size=8),
    rows=st.integers(0, 12),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    start=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff", b"#\xf0\x9f\n"]),
)
def test_the_same_files_are_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], rows: int, end: str, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.cube"
    path.write_bytes(start + end.join([*lines, *["1 .5 .25"] * rows]).encode())
    assert_same_or_both_refuse(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [("0 0 nan", "2: 'nan' is not a finite decimal number"), ("0 0", "2: 2 values where 3")],
)
def test_messages_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "bad.cube"
    path.write_text(f"LUT_3D_SIZE 2\n{row}\n")
    for read in (read_cube, core_read):
        with pytest.raises(FileError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}:{message}")
