"""The .cube files: what is written is read back, and every fault is named with file and line."""

import resource

import numpy as np
import pytest

from vera_mobile.color.cube import read_cube, write_cube
from vera_mobile.color.lut import apply_look, apply_lut, identity_lut
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


SHAPER = "LUT_1D_SIZE 3\nLUT_3D_SIZE 2\n"
SHAPER_ROWS = "0 0 0\n.5 .4 .3\n1 1 1\n"


def shaped(tmp_path, text):
    path = tmp_path / "shaped.cube"
    path.write_text(text)
    return read_cube(path, with_curves=True)


@pytest.mark.parametrize("size", [2, 3, 4096, 65536])
def test_curves_round_trip_alone_and_before_a_lut(tmp_path, size):
    rng = np.random.default_rng(1)
    curves, lut = rng.uniform(-0.5, 1.5, (3, size)), rng.random((3, 3, 3, 3))
    path = tmp_path / "a.cube"
    write_cube(path, None, curves=curves, title="1D")
    alone = read_cube(path, with_curves=True)
    assert alone.curves is not None
    np.testing.assert_allclose(alone.curves, curves, rtol=0, atol=5.1e-10)
    np.testing.assert_array_equal(alone.lut, identity_lut(2))
    write_cube(path, lut, curves=curves)
    both = read_cube(path, with_curves=True)
    assert both.curves is not None
    np.testing.assert_allclose(both.curves, curves, rtol=0, atol=5.1e-10)
    np.testing.assert_allclose(both.lut, lut, rtol=0, atol=5.1e-10)
    with pytest.raises(UnsupportedFormat, match="1-D table"):
        read_cube(path)


def test_a_shaper_in_the_style_of_resolve_is_read(tmp_path):
    head = "LUT_1D_SIZE 3\nLUT_1D_INPUT_RANGE -1 3\nLUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 0 2\n"
    cube = shaped(tmp_path, head + SHAPER_ROWS + ROWS)
    np.testing.assert_array_equal(cube.curves[:, 1], [0.5, 0.4, 0.3])
    np.testing.assert_array_equal(cube.lut, identity_lut(2))
    assert (cube.curve_min, cube.curve_max) == ((-1.0,) * 3, (3.0,) * 3)
    assert (cube.domain_min, cube.domain_max) == ((0.0,) * 3, (2.0,) * 3)


def test_a_look_of_a_file_does_what_the_file_says(tmp_path):
    """Curves and LUT for the render kernel, against the file's own definition, domains included."""
    rng = np.random.default_rng(2)
    table = "".join(f"{r:.6f} {g:.6f} {b:.6f}\n" for r, g, b in rng.random((27, 3)))
    head = "LUT_1D_SIZE 3\nLUT_1D_INPUT_RANGE 0 2\nLUT_3D_SIZE 3\nLUT_3D_INPUT_RANGE 0.1 0.9\n"
    cube = shaped(tmp_path, head + SHAPER_ROWS + table)
    rgb = rng.random((500, 3))
    places = np.array([0.0, 1.0, 2.0])
    after = np.stack([np.interp(rgb[:, c], places, cube.curves[c]) for c in range(3)], -1)
    wanted = apply_lut((after - 0.1) / 0.8, cube.lut)
    # None of the colours lies in a step of 1/4096 in which a curve bends: all are exact.
    np.testing.assert_allclose(apply_look(rgb, *cube.look()), wanted, rtol=0, atol=1e-9)
    plain = shaped(tmp_path, SHAPER.replace("3D_SIZE 2", "3D_SIZE 3") + SHAPER_ROWS + table)
    curves, lut = plain.look()
    np.testing.assert_array_equal(curves, plain.curves)
    np.testing.assert_array_equal(lut, plain.lut)
    wide = shaped(tmp_path, "LUT_3D_SIZE 3\nDOMAIN_MAX 2 2 2\n" + table)
    expected = apply_lut(rgb / 2, wide.lut)
    np.testing.assert_allclose(apply_look(rgb, *wide.look()), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (SHAPER + SHAPER_ROWS + ROWS + "0 0 0\n", 14, "more than the 11 entries"),
        (SHAPER + SHAPER_ROWS, 5, "after 3 of 11 entries"),
        ("LUT_1D_SIZE 1\n", 1, "LUT size 1 not allowed: use 2..65536"),
        ("LUT_1D_SIZE 65537\n", 1, "LUT size 65537 not allowed"),
        (SHAPER + "LUT_1D_INPUT_RANGE 1 0\n" + SHAPER_ROWS + ROWS, 14, "must be below"),
        (SHAPER + "DOMAIN_MIN 0 0 0\n" + SHAPER_ROWS + ROWS, 14, "files of one table"),
    ],
)
def test_faults_of_shapers_name_file_and_line(tmp_path, text, line, message):
    with pytest.raises(FileError) as error:
        shaped(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'shaped.cube'}:{line}: ")
    assert message in str(error.value)


def test_writer_refuses_bad_curves(tmp_path):
    for bad in (np.zeros((3, 1)), np.zeros((2, 5)), np.zeros(3), np.full((3, 4), np.nan)):
        with pytest.raises(InvalidArgument, match="urves"):
            write_cube(tmp_path / "a.cube", None, curves=bad)
    with pytest.raises(InvalidArgument, match="neither"):
        write_cube(tmp_path / "a.cube", None)
    assert not list(tmp_path.iterdir())
