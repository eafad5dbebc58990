"""What else could be done with a photo: plain corrections, and LUTs or programs of other people."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from vera_mobile.color.cube import read_cube
from vera_mobile.color.spaces import RGB_TO_XYZ, linear_to_srgb, srgb_to_linear
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.native import render

Correct = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 encoded sRGB -> the same shape and type."""

MIDDLE_GREY = 0.18
MAX_GAIN = 4.0  # of the exposure, either way: two stops
PEER_TIMEOUT_S = 120
RESERVED = ("auto", "param", "style", "good_photos", "reference", "int4", "photos", "pairs")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CURVE_KNOTS = 4096


def auto_levels(picture: np.ndarray) -> np.ndarray:
    """Each channel stretched to 0..255: Pillow's `ImageOps.autocontrast` with its defaults."""
    return np.asarray(ImageOps.autocontrast(Image.fromarray(picture)))


def clahe(picture: np.ndarray) -> np.ndarray:
    """Local histogram equalisation: scikit-image's `equalize_adapthist` with its defaults (HSV
    value, tiles of an eighth, clip limit 0.01)."""
    from skimage.exposure import equalize_adapthist

    return np.round(np.asarray(equalize_adapthist(picture)) * 255).astype(np.uint8)


def gray_world(picture: np.ndarray) -> np.ndarray:
    """Gray-world white balance (Buchsbaum 1980), then the exposure that brings the log-average
    luminance to middle grey (Reinhard et al. 2002); in linear light, clipped at white."""
    linear = srgb_to_linear(picture / 255.0)
    means = linear.reshape(-1, 3).mean(0)
    linear = linear * (means.mean() / np.maximum(means, 1e-4))
    luminance = linear @ RGB_TO_XYZ[1]
    average = float(np.exp(np.log(luminance + 1e-4).mean()))
    gain = np.clip(MIDDLE_GREY / average, 1 / MAX_GAIN, MAX_GAIN)
    return np.round(linear_to_srgb(np.clip(linear * gain, 0, 1)) * 255).astype(np.uint8)


BASELINES: dict[str, Correct] = {
    "auto_levels": auto_levels,
    "clahe": clahe,
    "gray_world": gray_world,
}


def baselines_here() -> tuple[str, ...]:
    """Names of the baselines that this installation can run; clahe needs scikit-image."""
    return tuple(n for n in BASELINES if n != "clahe" or find_spec("skimage") is not None)


# ---- peers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """Something to compare with: a name, and a .cube file, a folder of them, or a command.

    A command holds {in} and {out}: paths of PNG files, called once for every picture.
    """

    name: str
    what: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in (*RESERVED, *BASELINES):
            raise InvalidArgument(
                f"Peer name {self.name!r} not allowed: use small letters, digits and _, and none "
                f"of {', '.join((*RESERVED, *BASELINES))}."
            )
        if not self.is_command and not Path(self.what).exists():
            raise FileError(
                f"Peer {self.name}: {self.what} is no .cube file and no folder; a command must "
                "hold {in} and {out}."
            )

    @classmethod
    def parse(cls, text: str) -> Peer:
        """From NAME=CUBE, NAME=FOLDER or NAME=COMMAND. Raises InvalidArgument, FileError."""
        name, sign, what = text.partition("=")
        if not sign or not what.strip():
            raise InvalidArgument(f"Peer {text!r}: write NAME=CUBE_FILE_OR_FOLDER or NAME=COMMAND.")
        return cls(name.strip(), what.strip())

    @property
    def is_command(self) -> bool:
        """True where `what` is a command line."""
        return "{in}" in self.what and "{out}" in self.what

    @property
    def is_folder(self) -> bool:
        """True where `what` is a folder of .cube files."""
        return not self.is_command and Path(self.what).is_dir()

    def corrections(self) -> dict[str, Correct]:
        """What to run, by the name of the row: the peer's, or name/cube for each of a folder.

        Raises FileError for a cube that cannot be read and for a folder without one.
        """
        if self.is_command:
            return {self.name: command_correction(self.name, self.what)}
        path = Path(self.what)
        if not self.is_folder:
            return {self.name: cube_correction(path)}
        cubes = sorted(p for p in path.rglob("*") if p.suffix.lower() == ".cube")
        if not cubes:
            raise FileError(f"Peer {self.name}: {path} holds no .cube file; name another folder.")
        return {f"{self.name}/{p.relative_to(path).with_suffix('')}": cube_correction(p)
                for p in cubes}  # fmt: skip


def cube_correction(path: Path) -> Correct:
    """A .cube file applied by the render kernel, in 8 bits."""
    cube = read_cube(path)
    low, high = np.array(cube.domain_min), np.array(cube.domain_max)
    knots = np.linspace(0, 1, _CURVE_KNOTS)[None]
    curves = np.clip((knots - low[:, None]) / (high - low)[:, None], 0, 1)
    table = np.clip(cube.lut, 0, 1).astype(np.float32)
    return lambda picture: cast(
        np.ndarray, render(picture, curves.astype(np.float32), table, threads=1)
    )


def command_correction(name: str, command: str) -> Correct:
    """A program that reads the PNG {in} and writes {out}, run without a shell."""
    words = shlex.split(command)

    def correct(picture: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="vera-peer-") as folder:
            given, made = Path(folder, "in.png"), Path(folder, "out.png")
            Image.fromarray(picture).save(given)
            places = {"{in}": str(given), "{out}": str(made)}
            _run(name, [_filled(word, places) for word in words])
            return _read(name, made, picture.shape)

    return correct


def _filled(word: str, places: dict[str, str]) -> str:
    for mark, path in places.items():
        word = word.replace(mark, path)
    return word


def _run(name: str, words: Sequence[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PEER_TIMEOUT_S,
                              check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise ModelError(f"Peer {name}: `{words[0]}` did not run ({e}).") from e
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise ModelError(f"Peer {name}: `{words[0]}` ended with code {done.returncode}: {last}")


def _read(name: str, file: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with Image.open(file) as im:
            out = np.asarray(im.convert("RGB"))
    except (OSError, SyntaxError) as e:
        raise ModelError(f"Peer {name} left no picture at {{out}} ({e}).") from e
    if out.shape != shape:
        raise ModelError(f"Peer {name} made {out.shape} of a picture of {shape}: keep the size.")
    return out


@cache
def corrections(names: tuple[str, ...], peers: tuple[Peer, ...]) -> dict[str, Correct]:
    """All that run beside the model, by the name of the row; files are read once a process."""
    found = {name: BASELINES[name] for name in names}
    for peer in peers:
        found |= peer.corrections()
    return found


def check_peers(peers: Iterable[Peer]) -> None:
    """Reads every file of the peers once. Raises what they raise, and for a name used twice."""
    seen: set[str] = set()
    for peer in peers:
        if peer.name in seen:
            raise InvalidArgument(f"Peer name {peer.name!r} is used twice: give each its own.")
        seen.add(peer.name)
        peer.corrections()
