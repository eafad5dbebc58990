"""The readers of .cube, .3dl and HALD files on bytes of any kind, with atheris (libFuzzer).

Run by kernels/fuzz.sh. A reader may return a table or raise a VeraError; a table must be finite, of
an allowed size, and come back the same after it is written and read again. All else is a finding.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

from vera_mobile import image_hald
from vera_mobile.color import cube, lut_files
from vera_mobile.errors import VeraError

FOLDER = Path(tempfile.gettempdir()) / "vera-luts-fuzz"  # one run at a time


def check(lut: np.ndarray) -> None:
    size = len(lut)
    assert lut.shape == (size, size, size, 3), lut.shape
    assert 2 <= size <= 129, size
    assert np.isfinite(lut).all()


def fuzz_cube(path: Path) -> None:
    read = cube.read_cube(path, with_curves=True)
    check(read.lut)
    curves, lut = read.look()
    assert curves.shape[0] == 3, curves.shape
    assert curves.min() >= 0, curves
    assert curves.max() <= 1, curves
    assert lut is read.lut
    again = FOLDER / "again.cube"
    cube.write_cube(again, read.lut, curves=read.curves)
    second = cube.read_cube(again, with_curves=True)
    # nine decimals are written
    np.testing.assert_allclose(second.lut, read.lut, rtol=1e-12, atol=1e-9)
    if read.curves is not None:
        np.testing.assert_allclose(second.curves, read.curves, rtol=1e-12, atol=1e-9)


def fuzz_3dl(path: Path) -> None:
    lut = lut_files.read_3dl(path)
    check(lut)
    again = FOLDER / "again.3dl"
    lut_files.write_3dl(again, lut, bits=16)
    np.testing.assert_allclose(lut_files.read_3dl(again, bits=16), lut, rtol=0, atol=0.51 / 65535)


def fuzz_hald(path: Path) -> None:
    lut = image_hald.read_hald(path)
    check(lut)
    again = FOLDER / "again.png"
    image_hald.write_hald(again, lut, level=round(len(lut) ** 0.5), bits=16)
    np.testing.assert_allclose(image_hald.read_hald(again), lut, rtol=0, atol=0.51 / 65535)


KINDS = (("look.cube", fuzz_cube), ("look.3dl", fuzz_3dl), ("look.png", fuzz_hald))


def one_input(data: bytes) -> None:
    """The first byte chooses the reader, the rest is the file."""
    if not data:
        return
    name, fuzz = KINDS[data[0] % len(KINDS)]
    path = FOLDER / name
    path.write_bytes(data[1:])
    try:
        fuzz(path)
    except VeraError as error:
        if not str(error):
            raise AssertionError("an error without words") from error


def write_seeds(folder: Path) -> None:
    """Small valid files, so that the fuzzer need not find the formats first."""
    folder.mkdir(parents=True, exist_ok=True)
    lut = np.random.default_rng(1).random((2, 2, 2, 3))
    cube.write_cube(FOLDER / "seed.cube", lut, title="seed", comments=["a comment"])
    cube.write_cube(FOLDER / "shaper.cube", lut, curves=np.eye(3))
    lut_files.write_3dl(FOLDER / "seed.3dl", np.tile(lut[:1, :1, :1], (3, 3, 3, 1)), bits=10)
    image_hald.write_hald(FOLDER / "seed.png", lut, level=2, bits=8)
    seeds = {"seed.cube": 0, "shaper.cube": 0, "seed.3dl": 1, "seed.png": 2}
    for name, kind in seeds.items():
        (folder / name).write_bytes(bytes([kind]) + (FOLDER / name).read_bytes())


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    corpus = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is not None:
        write_seeds(Path(corpus))
    atheris.instrument_all()  # an editable install has a loader that instrument_imports cannot see
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
