"""Styles of a folder: Lightroom presets (.xmp), film looks (.cube), and what may be said of them.

A preset's name is a wish ("kodak gold 200") only where our operators cover what makes the preset:
not for file codes, nor where a tone curve, colour grading or a raw temperature does the main work.
"""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vera_mobile.color.cube import Cube, read_cube
from vera_mobile.color.lut import apply_lut
from vera_mobile.develop.sliders import CAMERA_RAW_NS, INDEX, load, vector
from vera_mobile.errors import FileError, UnsupportedFormat

SUFFIXES = (".xmp", ".cube")
GRADED_FROM = 10  # saturation of a colour grade that is a look of its own
VARIANT = re.compile(r"^([+-]\d.*|v?\d{1,3}|var\d*)$")
TOOLS = ("exposure", "vignette", "grain", "sharpen", "default", "contrast", "adj")


@dataclass(frozen=True, eq=False)
class Preset:
    """A look from a file: sliders (38,) float32 in percent, or a table; exactly one of both.

    words: what it may be called in a wish, lower case, "" where its name says nothing true.
    """

    file: str
    words: str
    licence: str
    source: str
    sliders: np.ndarray | None = None
    cube: Cube | None = None


def read_presets(folder: str | Path) -> tuple[list[Preset], list[str]]:
    """Presets of a folder and its sub-folders in the order of their names, and what was left out.

    With a `manifest.csv` (columns file, licence, source) its licences are carried. Left out, with
    the reason: presets without any of the 38 sliders, 1-D tables, other kinds of file. Errors:
    FileError for a missing folder, a damaged file, or when nothing usable is left.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"{folder}: is no folder; name one with .xmp presets or .cube tables")
    known = _manifest(folder)
    presets, left_out = [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        name = path.relative_to(folder).as_posix()
        row = known.get(name, {})
        try:
            preset = _read(path, name, row.get("licence", ""), row.get("source", ""))
        except UnsupportedFormat as e:
            left_out.append(str(e))
            continue
        if preset is None:
            left_out.append(f"{name}: changes no slider")
        else:
            presets.append(preset)
    if not presets:
        raise FileError(f"{folder}: holds no usable .xmp preset or .cube table")
    return presets, left_out


def apply_cube(cube: Cube, rgb: np.ndarray) -> np.ndarray:
    """Encoded RGB (..., 3) in [0, 1] through a table, tetrahedral, its domain kept to."""
    low, high = np.array(cube.domain_min), np.array(cube.domain_max)
    return np.clip(apply_lut((rgb - low) / (high - low), cube.lut), 0.0, 1.0)


def _manifest(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / "manifest.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as f:
        return {row["file"]: row for row in csv.DictReader(f) if row.get("file")}


def _read(path: Path, name: str, licence: str, source: str) -> Preset | None:
    if path.suffix.lower() == ".cube":
        return Preset(name, preset_words(path.stem), licence, source, cube=read_cube(path))
    sliders = vector(load(path))
    traits = _crs(path)
    if _is_monochrome(traits):
        sliders[INDEX["Saturation"]] = -100.0  # the mixer of greys is not among the 38
    if not np.abs(sliders).max() >= 1:
        return None
    try:
        words = "" if _does_more(traits) else preset_words(path.stem)
    except ValueError as e:
        raise FileError(f"{path}: a curve or a colour grade is not made of numbers ({e})") from e
    return Preset(name, words, licence, source, sliders=sliders)


def preset_words(stem: str) -> str:
    """What a file name says as a wish, "12_Golden_Hour" -> "golden hour"; "" for a code.

    Codes are all in lower case with underscores ("cam_v003"), or hold no word of four letters.
    Leading numbers, packs ("pack_-_Kind_-_Name": the last part counts) and trailing variants go.
    """
    parts = stem.split("_-_")
    name = parts[-1]
    if "_" in name and name == name.lower():
        return ""
    tokens = [t for t in re.split(r"[_\s]+|(?<=[a-zA-Z])-(?=[A-Z])", name) if t]
    while tokens and re.fullmatch(r"\d{1,2}", tokens[0]):
        tokens.pop(0)
    while len(tokens) > 1 and VARIANT.match(tokens[-1]) and not tokens[-1].isdigit():
        tokens.pop()
    words = " ".join(tokens).lower().replace("+", " and ")
    words = re.sub(r"[^a-z0-9' -]+", " ", words)
    words = re.sub(r"\s+", " ", words).strip(" -")
    usable = re.search(r"[a-z]{4}", words) and not words.startswith(TOOLS)
    return words if usable else ""


def _crs(path: Path) -> dict[str, str]:
    """Attributes and plain elements of the camera raw name space; `load` has checked the file."""
    out: dict[str, str] = {}
    prefix = f"{{{CAMERA_RAW_NS}}}"
    for element in ET.fromstring(path.read_bytes()).iter():
        for key, value in (*element.attrib.items(), (element.tag, element.text or "")):
            if key.startswith(prefix) and value.strip():
                out[key.removeprefix(prefix)] = value.strip()
        if element.tag.startswith(f"{prefix}ToneCurve"):
            points = [p.text or "" for p in element.iter() if p is not element]
            out[element.tag.removeprefix(prefix)] = ";".join(p for p in points if "," in p)
    return out


def _is_monochrome(traits: dict[str, str]) -> bool:
    treatment = traits.get("Treatment", "").lower()
    return traits.get("ConvertToGrayscale") == "True" or treatment.startswith(("mono", "black"))


def _does_more(traits: dict[str, str]) -> bool:
    """True where a tone curve, a colour grade or a raw temperature makes much of the look."""
    splits = [v for k, v in traits.items() if re.fullmatch(r"SplitToning\w+Saturation", k)]
    if "Temperature" in traits or any(float(v) for v in splits):
        return True
    grades = [v for k, v in traits.items() if k.startswith("ColorGrade") and k.endswith("Sat")]
    if any(abs(float(v)) > GRADED_FROM for v in grades):
        return True
    curves = [v for k, v in traits.items() if re.fullmatch(r"ToneCurve(PV2012)?\w*", k)]
    return any(_bends(points) for points in curves)


def _bends(points: str) -> bool:
    pairs = [[float(v) for v in p.split(",")] for p in points.split(";") if p.count(",") == 1]
    return any(abs(x - y) > 3 for x, y in pairs)
