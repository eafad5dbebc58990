"""What the Python library makes of one photo and one bundle, for the SDKs to be compared with.

    make_case.py --bundle BUNDLE --out FOLDER

Writes photo.rgb (raw RGB8), prepared.f32 (the picture that the vision tower sees, (3, S, S)
float32), look.json (the look of the task auto) and case.json: for each task text, token ids and
SHA-256 of the latents, of the curves and the LUT of a bake, of the rendered photo, of the look as
JSON and of its .cube file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from vera_mobile.image import Photo
from vera_mobile.look import GROUPS, Look
from vera_mobile.model.pixels import vision_pixels
from vera_mobile.retoucher import LUT_SIZE, Auto, Param, Retoucher, Style, Task

WIDTH = 640
STRENGTHS = ((1.0, 1.0, 1.0), (1.0, 0.5, 0.8))
MIXES = (1.0, 0.6)
SLIDERS = {"Exposure2012": 10, "IncrementalTemperature": 25}
WISH = "golden hour"
TASKS: dict[str, tuple[Task, bool]] = {
    "auto": (Auto(), False),
    "style": (Style(WISH), False),
    "param": (Param(SLIDERS), False),
    "auto-instant": (Auto(), True),
}


def sha256(values: np.ndarray | bytes) -> str:
    """Of the bytes of an array as they lie in memory, little-endian."""
    raw = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(raw).hexdigest()


def case_photo() -> Photo:
    """A chelsea cat of 640 pixels width, sRGB."""
    image = Image.fromarray(data.chelsea())
    size = (WIDTH, round(image.height * WIDTH / image.width))
    return Photo.from_array(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))


def look_facts(retoucher: Retoucher, photo: Photo, look: Look) -> list[dict[str, Any]]:
    """One entry for each of STRENGTHS."""
    facts = []
    for strengths in STRENGTHS:
        part = look.with_strengths(**dict(zip(GROUPS, strengths, strict=True)))
        baked = retoucher.bake(part, LUT_SIZE)
        with tempfile.TemporaryDirectory() as folder:
            cube = part.save_cube(Path(folder) / "look.cube", LUT_SIZE).read_bytes()
        rendered = {
            str(mix): sha256(retoucher.render(part, photo, strength=mix).pixels) for mix in MIXES
        }
        facts.append(
            {
                "strengths": strengths,
                "curves_sha256": sha256(baked.curves),
                "lut_sha256": sha256(baked.lut),
                "rendered_sha256": rendered,
                "json_sha256": sha256(part.to_json().encode()),
                "cube_sha256": sha256(cube),
            }
        )
    return facts


def make_case(bundle: Path, out: Path) -> dict[str, Any]:
    """Writes the files and returns the content of case.json."""
    retoucher, photo = Retoucher.load(bundle), case_photo()
    out.mkdir(parents=True, exist_ok=True)
    (out / "photo.rgb").write_bytes(photo.pixels.tobytes())
    seen = vision_pixels(photo, retoucher._planner.config)
    (out / "prepared.f32").write_bytes(seen.astype("<f4").tobytes())
    tasks = {}
    for name, (task, instant) in TASKS.items():
        look = retoucher.plan(photo, task, instant=instant)
        if name == "auto":
            (out / "look.json").write_text(look.to_json(), encoding="utf-8")
        tasks[name] = {
            "text": look.text,
            "tokens": list(look.tokens),
            "latents_sha256": sha256(look.latents.astype("<f4")),
            "looks": look_facts(retoucher, photo, look),
        }
    case = {
        "photo": {"width": photo.width, "height": photo.height, "format": "RGB8"},
        "prepared": {"size": seen.shape[-1], "sha256": sha256(seen)},
        "lut_size": LUT_SIZE,
        "wish": WISH,
        "sliders": SLIDERS,
        "tasks": tasks,
    }
    text = json.dumps(case, indent=1, ensure_ascii=False) + "\n"
    (out / "case.json").write_text(text, encoding="utf-8")
    return case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    make_case(arguments.bundle, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
