"""Quality of a checkpoint or bundle on photos it never saw, for `vera bench quality`.

Every photo goes the user's way: plan, bake, render by the kernel, 8-bit pixels; degradations,
wishes and sliders are drawn from the file name: the same in every run, on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vera_mobile.color.metrics import ciede2000, psnr
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import HUES, named
from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.retoucher import Auto, Param, Retoucher, Style, Task
from vera_mobile.train.data import PhotoFile, degradation, list_photos, slider_set
from vera_mobile.train.styles import STYLES, StyleConcept, wording
from vera_mobile.train.words import MIN_SHARE, Measures, measure

LONG_SIDE = 384
DEGRADATIONS = 2
STYLES_PER_PHOTO = 2
MOVED = 0.3  # a measurement that changes less has not moved; CIELAB units
SHOWN = 1.0  # what the exact sliders must change for a photo to show a style

Report = dict[str, dict[str, float]]


def bench_quality(
    retoucher: Retoucher,
    photos: str | Path,
    *,
    split: str = "test",
    limit: int = 0,
    on_photo: Callable[[int, int], None] | None = None,
) -> Report:
    """Means over a split: auto, param, style and good photos; `limit` > 0 takes only so many.

    psnr_*: dB on 8-bit pixels, per photo and then averaged; ciede2000_*: mean over pixels, then
    over photos; direction_accuracy: share of measured directions that the words ask for.
    """
    files = list_photos(photos, split)
    files = files[:limit] if limit else files
    rows: dict[str, list[dict[str, float]]] = {"auto": [], "param": [], "style": [], "good": []}
    for i, file in enumerate(files):
        original = _load(file)
        rng = _rng(file)
        for _ in range(DEGRADATIONS):
            rows["auto"].append(_auto(retoucher, original, degradation(rng)))
        rows["param"].append(_param(retoucher, original, slider_set(rng)))
        for _ in range(STYLES_PER_PHOTO):
            rows["style"] += _style(retoucher, original, rng)
        rows["good"].append(_good(retoucher, original))
        if on_photo:
            on_photo(i + 1, len(files))
    return _summary(rows, len(files))


def _rng(file: PhotoFile) -> np.random.Generator:
    digest = hashlib.sha256(file.path.name.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _load(file: PhotoFile) -> np.ndarray:
    try:
        with Image.open(file.path) as im:
            picture = im.convert("RGB")
    except (OSError, SyntaxError) as e:
        raise FileError(
            f"{file.path}: is no readable photo ({e}); take it out of the folder"
        ) from e
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def developed(picture: np.ndarray, sliders: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with the sliders (38,) in percent applied exactly, rounded to 8 bits."""
    x = torch.from_numpy(picture.reshape(1, -1, 3).astype(np.float32) / 255)
    y = develop(x, torch.from_numpy(np.asarray(sliders, np.float32))[None])
    return np.round(y.numpy()[0] * 255).astype(np.uint8).reshape(picture.shape)


def _retouch(retoucher: Retoucher, picture: np.ndarray, task: Task) -> np.ndarray:
    photo = Photo.from_array(picture)
    return retoucher.render(retoucher.plan(photo, task), photo).pixels


def _errors(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    x, y = a / 255.0, b / 255.0
    return min(float(psnr(x, y)), 60.0), float(ciede2000(rgb_to_lab(x), rgb_to_lab(y)).mean())


def _auto(retoucher: Retoucher, original: np.ndarray, sliders: np.ndarray) -> dict[str, float]:
    degraded = developed(original, sliders)
    alone_psnr, alone_de = _errors(degraded, original)
    out_psnr, out_de = _errors(_retouch(retoucher, degraded, Auto()), original)
    return {"psnr_db": out_psnr, "psnr_alone_db": alone_psnr, "psnr_gain_db": out_psnr - alone_psnr,
            "ciede2000_mean": out_de, "ciede2000_alone": alone_de}  # fmt: skip


def _param(retoucher: Retoucher, original: np.ndarray, sliders: np.ndarray) -> dict[str, float]:
    target = developed(original, sliders)
    out = _retouch(retoucher, original, Param(named(sliders)))
    value, de = _errors(out, target)
    alone, _ = _errors(original, target)
    return {"psnr_db": value, "psnr_alone_db": alone, "ciede2000_mean": de}


def _good(retoucher: Retoucher, original: np.ndarray) -> dict[str, float]:
    value, de = _errors(_retouch(retoucher, original, Auto()), original)
    return {"psnr_db": value, "ciede2000_mean": de}


def _style(
    retoucher: Retoucher, original: np.ndarray, rng: np.random.Generator
) -> list[dict[str, float]]:
    """One row per direction that the drawn concept asks for.

    Drawn among the concepts whose exact sliders move this photo in all of their directions: a
    photo without greens cannot show lush greens.
    """
    before = _measured(original)
    order = [STYLES[i] for i in rng.permutation(len(STYLES))]
    concept = next((s for s in order if _can_show(s, original, before)), None)
    if concept is None:
        return []
    after = _measured(_retouch(retoucher, original, Style(wording(concept, 1.0, rng))))
    index = float(STYLES.index(concept))
    return [
        {
            "direction_accuracy": float(sign * (after[key] - before[key]) > MOVED),
            "concept": index,
        }
        for key, sign in concept.checks
    ]


def _measured(picture: np.ndarray) -> Measures:
    pixels = picture.reshape(-1, 3)
    return measure(pixels[:: max(1, len(pixels) // 20000)] / 255.0)


def _can_show(concept: StyleConcept, original: np.ndarray, before: Measures) -> bool:
    hues = {h.lower() for h in HUES}
    for key, _ in concept.checks:
        hue = key.removesuffix("_L")
        if hue in hues and before[f"{hue}_share"] < MIN_SHARE:
            return False
    target = _measured(developed(original, concept.vector()))
    return all(sign * (target[key] - before[key]) > SHOWN for key, sign in concept.checks)


def _summary(rows: dict[str, list[dict[str, float]]], photos: int) -> Report:
    names = {"auto": "auto", "param": "param", "style": "style", "good": "good_photos"}
    report: Report = {}
    for key, name in names.items():
        table = rows[key]
        report[name] = {
            k: round(float(np.mean([r[k] for r in table])), 4) for k in table[0] if k != "concept"
        }
        report[name]["n"] = len(table)
    for i, style in enumerate(STYLES):
        hits = [r["direction_accuracy"] for r in rows["style"] if r["concept"] == i]
        if hits:
            report["style"][f"accuracy[{style.name}]"] = round(float(np.mean(hits)), 4)
    report["photos"] = {"n": photos}
    return report
