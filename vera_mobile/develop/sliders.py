"""The 38 develop sliders: names, groups, limits, and how they are read from JSON and Lightroom XMP.

A slider value is a percentage in -100..100, 0 means "no change". `Exposure2012` is stored in XMP
in stops (-5..5); 100 % stands for 5 stops. All other sliders carry the same number in XMP.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat

HUES = ("Red", "Orange", "Yellow", "Green", "Aqua", "Blue", "Purple", "Magenta")
LIGHTING = (
    "Exposure2012",
    "Contrast2012",
    "Highlights2012",
    "Shadows2012",
    "Whites2012",
    "Blacks2012",
    "ParametricShadows",
    "ParametricDarks",
    "ParametricLights",
    "ParametricHighlights",
)
GLOBAL_COLOR = ("IncrementalTemperature", "IncrementalTint", "Vibrance", "Saturation")
SPECIFIC_COLOR = tuple(
    f"{kind}Adjustment{hue}" for kind in ("Hue", "Saturation", "Luminance") for hue in HUES
)
SLIDERS = LIGHTING + GLOBAL_COLOR + SPECIFIC_COLOR
GROUPS = ("lighting", "global_color", "specific_color")
GROUP_SLICES = {
    "lighting": slice(0, 10),
    "global_color": slice(10, 14),
    "specific_color": slice(14, 38),
}
INDEX = {name: i for i, name in enumerate(SLIDERS)}
LIMIT = 100.0
STOPS_AT_100 = 5.0
CAMERA_RAW_NS = "http://ns.adobe.com/camera-raw-settings/1.0/"
_XMP_MAX_BYTES = 8_000_000


def vector(sliders: Mapping[str, float]) -> np.ndarray:
    """Slider values as an array (38,) float32 in percent, in the order of `SLIDERS`.

    Raises InvalidArgument for an unknown name, a value that is not a number or not in -100..100.
    """
    out = np.zeros(len(SLIDERS), np.float32)
    for name, value in sliders.items():
        if name not in INDEX:
            raise InvalidArgument(
                f"slider {name!r} is unknown; the {len(SLIDERS)} known ones are: "
                + ", ".join(SLIDERS)
            )
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise InvalidArgument(
                f"slider {name} has the value {value!r}: use a number in -100..100"
            )
        number = float(value)
        if not math.isfinite(number) or abs(number) > LIMIT:
            raise InvalidArgument(f"slider {name} is {value}: allowed are -100..100 (percent)")
        out[INDEX[name]] = number
    return out


def named(values: np.ndarray) -> dict[str, int]:
    """The sliders that are not 0, by name, rounded to whole percent; `values`: (38,)."""
    return {n: round(float(v)) for n, v in zip(SLIDERS, values, strict=True) if round(float(v))}


def load(path: str | Path) -> dict[str, float]:
    """Slider values from a `.json` file ({"Exposure2012": 20, ...}) or a Lightroom `.xmp` preset.

    Raises FileError when the file cannot be read or parsed (with its line), UnsupportedFormat for
    another suffix or a preset without any of the 38 sliders, InvalidArgument for bad values.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".xmp"):
        raise UnsupportedFormat(f"{path}: sliders come as .json or .xmp, not {suffix or 'no type'}")
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise FileError(f"{path}: cannot be read ({e.strerror}); check the name") from e
    values = _parse_json(path, raw) if suffix == ".json" else _parse_xmp(path, raw)
    vector(values)
    return values


def _parse_json(path: Path, raw: bytes) -> dict[str, float]:
    try:
        data = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise FileError(f"{path}: is not UTF-8 text; write it as plain JSON") from e
    except json.JSONDecodeError as e:
        raise FileError(f"{path}:{e.lineno}: is not JSON ({e.msg})") from e
    if not isinstance(data, dict):
        raise FileError(f'{path}:1: must be an object like {{"Exposure2012": 20}}')
    return data


def _parse_xmp(path: Path, raw: bytes) -> dict[str, float]:
    """Reads crs attributes and elements; entity declarations are refused, they are never needed."""
    if len(raw) > _XMP_MAX_BYTES:
        raise UnsupportedFormat(f"{path}: {len(raw)} bytes; a preset has at most {_XMP_MAX_BYTES}")
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise UnsupportedFormat(f"{path}: declares XML entities; export the preset again")
    try:
        root = ET.fromstring(raw)
    except ET.ParseError as e:
        raise FileError(f"{path}:{e.position[0]}: is not XML ({e})") from e
    found: dict[str, str] = {}
    for element in root.iter():
        pairs = [*element.attrib.items(), (element.tag, (element.text or "").strip())]
        for key, value in pairs:
            name = re.sub(r"^\{" + re.escape(CAMERA_RAW_NS) + r"\}", "", key)
            if name != key and name in INDEX and value:
                found[name] = value
    if not found:
        raise UnsupportedFormat(f"{path}: holds none of the {len(SLIDERS)} develop sliders")
    return {name: _xmp_number(path, name, text) for name, text in found.items()}


def _xmp_number(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as e:
        raise FileError(f"{path}: {name} is {text!r}, not a number") from e
    return value * LIMIT / STOPS_AT_100 if name == "Exposure2012" else value
