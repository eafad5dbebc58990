"""The .3dl files and HALD pictures: what is written is read back, and every fault is one error."""

import random

import numpy as np
import pytest

from vera_mobile.color.cube import read_cube, write_cube
from vera_mobile.color.lut import identity_lut
from vera_mobile.color.lut_files import hald_picture, lut_of_hald, read_3dl, write_3dl
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat, VeraError
from vera_mobile.image import Photo
from vera_mobile.image_hald import read_hald, write_hald

GRID = "0 1023\n"
ROWS = "".join(f"{4095 * (i >> 2)} {4095 * ((i >> 1) & 1)} {4095 * (i & 1)}\n" for i in range(8))


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.0, 1.0, (size, size, size, 3))


@pytest.mark.parametrize(("size", "bits"), [(2, 8), (9, 10), (17, 12), (24, 14), (33, 16)])
def test_3dl_round_trip_within_half_a_code(tmp_path, size, bits):
    path = tmp_path / "a.3dl"
    write_3dl(path, noise(size), bits=bits)
    got = read_3dl(path)
    # Measured 0.49999 codes; a table of 24 nodes has no Mesh line, and 14 bits are guessed.
    assert np.abs(got - noise(size)).max() * (2**bits - 1) <= 0.5 + 1e-9
    assert [p.name for p in tmp_path.iterdir()] == ["a.3dl"]


def test_3dl_blue_runs_fastest(tmp_path):
    write_3dl(tmp_path / "a.3dl", identity_lut(3), bits=10)
    lines = (tmp_path / "a.3dl").read_text().splitlines()
    assert lines[:3] == ["3DMESH", "Mesh 1 10", "0 512 1023"]
    assert lines[3:6] == ["0 0 0", "0 0 512", "0 0 1023"]
    assert len(lines) == 3 + 27


def test_3dl_values_outside_are_clamped(tmp_path):
    write_3dl(tmp_path / "a.3dl", identity_lut(2) * 3 - 1)
    np.testing.assert_array_equal(read_3dl(tmp_path / "a.3dl"), identity_lut(2))


def test_3dl_of_other_programs_is_read(tmp_path):
    path = tmp_path / "a.3dl"
    head = "\ufeff#Tokens required\n\n3DMESH\nMesh 1 12\n0  1024\t2047\n"
    nodes = [(r, g, b) for r in range(3) for g in range(3) for b in range(3)]
    rows = "".join(f"{2047 * r} {2047 * g} {2047 * b}\n" for r, g, b in nodes)
    text = f"{head}{rows}# end\nLUT8\ngamma 1.0\n"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    np.testing.assert_allclose(read_3dl(path), identity_lut(3) * 4094 / 4095, rtol=0, atol=1e-15)


def test_3dl_bits_are_guessed_or_given(tmp_path):
    path = tmp_path / "a.3dl"
    path.write_text(GRID + ROWS.replace("4095", "1000"))
    np.testing.assert_allclose(read_3dl(path).max(), 1000 / 1023)
    np.testing.assert_allclose(read_3dl(path, bits=12).max(), 1000 / 4095)
    with pytest.raises(FileError, match="1000 does not fit into 8 bits"):
        read_3dl(path, bits=8)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "before the grid"),
        ("# only\n", 1, "before the grid"),
        ("0\n", 1, "a grid of 1 values"),
        ("0 " * 130 + "\n", 1, "a grid of 130 values"),
        ("1 1023\n", 1, "begin with 0"),
        ("0 0\n", 1, "begin with 0"),
        ("0 -5\n", 1, "'-5' is not a code"),
        ("0 1e3\n", 1, "'1e3' is not a code"),
        ("0 9999999\n", 1, "is not a code"),
        ("Mesh 5 12\n" + GRID, 2, "Mesh asks for 33"),
        ("Mesh 8 12\n", 1, "Mesh needs"),
        ("Mesh 1 11\n", 1, "Mesh needs"),
        ("Mesh 1\n", 1, "Mesh needs"),
        ("Mesh 1 12\nMesh 1 12\n", 2, "once, before the grid"),
        (GRID + "0 0\n", 2, "2 values where 3"),
        (GRID + "0 0 nan\n", 2, "'nan' is not a code"),
        (GRID + "0 0 99999999\n", 2, "is not a code"),
        (GRID + ROWS[:-15], 8, "after 7 of 8 entries"),
        (GRID + ROWS + "0 0 0\n", 10, "more than the 8 entries"),
        (GRID + ROWS.replace("4095", "70000"), 9, "70000 does not fit into 16 bits"),
        ("0" * 5000, 1, "longer than 4096"),
        ("LUT_3D_SIZE 2\n", 1, "'LUT_3D_SIZE' is not a code"),
    ],
)
def test_3dl_faults_are_named_with_line(tmp_path, text, line, message):
    path = tmp_path / "bad.3dl"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_3dl(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("text", ["0 100 1023\n", GRID + ROWS + "gamma 2.2\n"])
def test_3dl_with_more_than_a_table_is_refused(tmp_path, text):
    (tmp_path / "a.3dl").write_text(text)
    with pytest.raises(UnsupportedFormat):
        read_3dl(tmp_path / "a.3dl")


def test_3dl_arguments_are_checked(tmp_path):
    with pytest.raises(FileError, match="Cannot read"):
        read_3dl(tmp_path / "missing.3dl")
    with pytest.raises(InvalidArgument, match="9 bits"):
        read_3dl(tmp_path / "missing.3dl", bits=9)
    with pytest.raises(InvalidArgument, match="9 bits"):
        write_3dl(tmp_path / "a.3dl", identity_lut(2), bits=9)
    with pytest.raises(InvalidArgument, match="shape"):
        write_3dl(tmp_path / "a.3dl", np.zeros((2, 2, 3)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("level", "bits"), [(2, 8), (3, 16), (8, 16)])
def test_hald_round_trip_within_half_a_code(tmp_path, level, bits):
    lut = noise(level**2)
    path = tmp_path / "a.png"
    write_hald(path, lut, level=level, bits=bits)
    got = read_hald(path)
    # Half a code of rounding; measured 0.49999.
    assert np.abs(got - lut).max() * (2**bits - 1) <= 0.5 + 1e-9


def test_hald_red_runs_along_the_rows():
    picture = hald_picture(identity_lut(4), level=2, bits=8)
    assert picture.shape == (8, 8, 3)
    assert picture[0, :4].tolist() == [[0, 0, 0], [85, 0, 0], [170, 0, 0], [255, 0, 0]]
    assert picture[0, 4].tolist() == [0, 85, 0]
    assert picture[2, 0].tolist() == [0, 0, 85]


def test_hald_of_another_size_is_interpolated():
    # An affine table is the same on every lattice.
    lut = identity_lut(33)[..., ::-1] * 0.5 + 0.25
    got = lut_of_hald(hald_picture(lut, level=5))
    np.testing.assert_allclose(got, identity_lut(25)[..., ::-1] * 0.5 + 0.25, rtol=0, atol=1e-5)


def test_hald_faults_are_named(tmp_path):
    def saved(shape: tuple[int, ...]) -> str:
        Photo.from_array(np.zeros(shape, np.uint8)).save(tmp_path / "p.png")
        return str(tmp_path / "p.png")

    with pytest.raises(FileError, match="must be square"):
        read_hald(saved((8, 9, 3)))
    with pytest.raises(FileError, match="10 x 10 is no HALD"):
        read_hald(saved((10, 10, 3)))
    with pytest.raises(FileError):
        read_hald(tmp_path / "missing.png")
    Photo.from_array(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "p.jpg")
    with pytest.raises(UnsupportedFormat, match="JPEG"):
        read_hald(tmp_path / "p.jpg")
    with pytest.raises(UnsupportedFormat, match=r"\.jpg"):
        write_hald(tmp_path / "q.jpg", identity_lut(4), level=2)
    for level, bits in ((1, 8), (12, 8), (2, 12)):
        with pytest.raises(InvalidArgument):
            hald_picture(identity_lut(4), level=level, bits=bits)
    with pytest.raises(InvalidArgument, match="float64"):
        lut_of_hald(np.zeros((8, 8, 3)))


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with a few bytes changed, removed, doubled or cut off; the same for the same seed."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) or 1)
        kind = rng.randrange(5)
        if kind == 0 and out:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at:at] = rng.choice(
                [b"\n", b" ", b"-", b"nan", b"1e999", b"\0", b"\xff\xfe", b"9" * 30]
            )
        elif kind == 2:
            del out[at : at + rng.randint(1, 30)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randint(1, 60)]
        else:
            del out[at:]
    return bytes(out)


@pytest.mark.parametrize("kind", ["cube", "3dl", "png"])
def test_damaged_files_give_a_table_or_one_clear_error(tmp_path, kind):
    """Any other exception, or a table that is not finite, fails."""
    path = tmp_path / f"a.{kind}"
    lut = noise(4)
    {
        "cube": lambda: write_cube(path, lut, title="x"),
        "3dl": lambda: write_3dl(path, noise(3)),
        "png": lambda: write_hald(path, lut, level=2, bits=8),
    }[kind]()
    read = {"cube": lambda p: read_cube(p).lut, "3dl": read_3dl, "png": read_hald}[kind]
    data, refusals, tables = path.read_bytes(), [], []
    for seed in range(400):
        path.write_bytes(mutated(data, seed))
        try:
            tables.append(read(path))
        except VeraError as error:
            refusals.append(str(error))
    assert all(message and "\n" not in message for message in refusals)
    assert all(table.ndim == 4 and np.isfinite(table).all() for table in tables)
    assert len(refusals) > 40  # so that both ways are really taken
    assert tables or kind == "png"
