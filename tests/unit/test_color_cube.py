"""The .cube files: what is written is read back, and every fault is named with file and line."""

import resource

import numpy as np
import pytest

from vera_mobile.color.cube import read_cube, write_cube
from vera_mobile.color.lut import identity_lut
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat

HEAD = "LUT_3D_SIZE 2\n"
ROWS = "".join(f"{i & 1} {(i >> 1) & 1} {i >> 2}\n" for i in range(8))


@pytest.mark.parametrize("size", [2, 17, 33])
def test_round_trip_within_the_ninth_decimal(tmp_path, size):
    lut = np.random.default_rng(0).uniform(-0.5, 1.5, (size, size, size, 3))
    path = tmp_path / "a.cube"
    write_cube(path, lut, title="airy  pink", comments=["made by a test", ""])
    cube = read_cube(path)
    # Nine decimals: half a unit of the last, measured 5.0e-10.
    np.testing.assert_allclose(cube.lut, lut, rtol=0, atol=5.1e-10)
    assert cube.title == "airy  pink"
    assert (cube.domain_min, cube.domain_max) == ((0, 0, 0), (1, 1, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["a.cube"]


def test_red_runs_fastest(tmp_path):
    write_cube(tmp_path / "a.cube", identity_lut(3))
    lines = (tmp_path / "a.cube").read_text().splitlines()
    assert lines[0] == "LUT_3D_SIZE 3"
    assert lines[3:6] == [
        "0.000000000 0.000000000 0.000000000",
        "0.500000000 0.000000000 0.000000000",
        "1.000000000 0.000000000 0.000000000",
    ]
    assert len(lines) == 3 + 27


def test_other_programs_style_is_read(tmp_path):
    path = tmp_path / "a.cube"
    rows = ROWS.replace(" ", "\t  ").replace("0\n", ".0\n").replace("1\n", "1e0\n")
    text = f'\ufeff# Resolve\n\n TITLE\t"x # y"\nLUT_3D_INPUT_RANGE 0 2.0\n{HEAD}#c\n{rows}\n'
    path.write_bytes(text.replace("\n", "\r\n").encode())
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.lut, identity_lut(2))
    assert cube.title == "x # y"
    assert cube.domain_max == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "without LUT_3D_SIZE"),
        ("0 0 0\n", 1, "before LUT_3D_SIZE"),
        (HEAD + ROWS[:-6], 8, "after 7 of 8 entries"),
        (HEAD + ROWS + "0 0 0\n", 10, "more than the 8 entries"),
        (HEAD + "0 0\n", 2, "2 values where 3"),
        (HEAD + "0 0 nan\n", 2, "'nan' is not a finite"),
        (HEAD + "0 -inf 0\n", 2, "'-inf' is not a finite"),
        (HEAD + "0 0 1e999\n", 2, "too large"),
        (HEAD + "0 0 1_0\n", 2, "'1_0' is not a finite"),
        (HEAD + "0,0 0 0\n", 2, "'0,0' is not a finite"),
        (HEAD + "# c\n" + HEAD, 3, "given twice"),
        (HEAD + ROWS + 'TITLE "late"\n', 10, "after the first table entry"),
        ("LUT_3D_SIZE 1\n", 1, "LUT size 1 not allowed: use 2..129"),
        ("LUT_3D_SIZE 130\n", 1, "LUT size 130 not allowed: use 2..129"),
        ("LUT_3D_SIZE 2.5\n", 1, "one whole number"),
        ("TITLE airy\n", 1, "double quotes"),
        ("GAMMA 2\n", 1, "unknown keyword 'GAMMA'"),
        (HEAD + "DOMAIN_MIN 0 0\n", 2, "2 values where 3"),
        (HEAD + "DOMAIN_MAX 1 0 1\n" + ROWS, 10, "must be below"),
        ("x" * 5000, 1, "not a .cube file"),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, line, message):
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(FileError) as error:
        read_cube(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert message in str(error.value)


def test_one_dimensional_tables_are_unsupported(tmp_path):
    path = tmp_path / "a.cube"
    path.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    with pytest.raises(UnsupportedFormat, match="1-D table"):
        read_cube(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_cube(tmp_path / "none.cube")
    with pytest.raises(FileError, match="does not exist"):
        write_cube(tmp_path / "none" / "a.cube", identity_lut(2))
    with pytest.raises(FileError, match="is a folder"):
        write_cube(tmp_path, identity_lut(2))


def test_writer_refuses_bad_tables_and_text(tmp_path):
    path = tmp_path / "a.cube"
    with pytest.raises(InvalidArgument, match="finite"):
        write_cube(path, np.full((2, 2, 2, 3), np.inf))
    with pytest.raises(InvalidArgument, match=r"2\.\.129"):
        write_cube(path, np.zeros((130, 130, 130, 3), np.float16))
    with pytest.raises(InvalidArgument, match="quotes"):
        write_cube(path, identity_lut(2), title='a"b')
    with pytest.raises(InvalidArgument, match="one line"):
        write_cube(path, identity_lut(2), comments=["a\nLUT_3D_SIZE 5"])
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.cube"
    write_cube(path, identity_lut(2))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(FileError, match="Cannot write"):
            write_cube(path, identity_lut(17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.cube"]
