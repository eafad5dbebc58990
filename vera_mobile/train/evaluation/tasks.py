"""What is measured on one photo. Degradations, wishes and sliders are drawn from the file name: the
same in every run, on every machine, whatever else is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import HUES, named
from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.retoucher import Auto, Param, Reference, Retoucher, Sampling, Style, Task
from vera_mobile.train.data import PhotoFile, degradation, slider_set
from vera_mobile.train.evaluation.baselines import Correct
from vera_mobile.train.evaluation.figures import Figures, Lpips, Wanted
from vera_mobile.train.styles import STYLES, StyleConcept, wording
from vera_mobile.train.words import MIN_SHARE, Measures, measure

LONG_SIDE = 384
DEGRADATIONS = 2
STYLES_PER_PHOTO = 2
MOVED = 0.3  # a measurement that changes less has not moved; CIELAB units
SHOWN = 1.0  # what the exact sliders must change for a photo to show a style or an edit
DRAWS = 50  # of a reference edit, until one shows
PARTS = ("auto", "instant", "param", "style", "good", "reference")

Rows = dict[str, list[Figures]]


@dataclass(frozen=True)
class Tools:
    """What runs beside the model: corrections by name, and LPIPS where it is at hand."""

    corrections: dict[str, Correct]
    lpips: Lpips | None = None


def photo_rows(
    retoucher: Retoucher,
    file: PhotoFile,
    partner: PhotoFile | None,
    tools: Tools,
    parts: tuple[str, ...] = PARTS,
) -> Rows:
    """The rows of one photo, by part and by correction; `parts` may leave some out.

    partner: the photo that the reference task carries an edit over to; None where there is none.
    """
    original, rng = load_picture(file.path), photo_rng(file)
    wanted = Wanted(original, tools.lpips)
    rows: Rows = {}
    sets = [degradation(rng) for _ in range(DEGRADATIONS)]
    degraded = [developed(original, sliders) for sliders in sets]
    if "auto" in parts:
        for before in degraded:
            for name, row in pair_rows(retoucher, before, wanted, tools):
                rows.setdefault(name, []).append(row)
    if "instant" in parts:
        autos = [row["psnr_db"] for row in rows.get("auto", [])]
        autos = autos or [wanted.psnr_db(_retouch(retoucher, b, Auto())) for b in degraded]
        rows["instant"] = [
            _instant(retoucher, before, wanted, auto_db)
            for before, auto_db in zip(degraded, autos, strict=True)
        ]
    sliders = slider_set(rng)
    if "param" in parts:
        rows["param"] = [_param(retoucher, original, sliders, tools.lpips)]
    if "style" in parts:
        rows["style"] = [
            row for _ in range(STYLES_PER_PHOTO) for row in _style(retoucher, original, rng)
        ]
    if "good" in parts:
        rows["good"] = [wanted.figures(_retouch(retoucher, original, Auto()))]
    if "reference" in parts:
        other = load_picture(partner.path) if partner else None
        rng = photo_rng(file, "reference")
        rows["reference"] = list(_reference(retoucher, original, other, rng, tools.lpips))
    return rows


def pair_rows(
    retoucher: Retoucher, before: np.ndarray, wanted: Wanted, tools: Tools
) -> Iterator[tuple[str, Figures]]:
    """(name, row) of "auto" and of each correction on a photo whose good form is known."""
    alone = wanted.figures(before)
    auto = _gained(wanted.figures(_retouch(retoucher, before, Auto())), alone["psnr_db"])
    yield "auto", auto | {_alone(key): value for key, value in alone.items()}
    for name, correct in tools.corrections.items():
        out = correct(before)
        if "/" in name:  # one of many LUTs: only what chooses among them
            row = {"psnr_db": wanted.psnr_db(out), "ciede2000_mean": wanted.ciede2000_mean(out)}
        else:
            row = wanted.figures(out)
        yield name, _gained(row, alone["psnr_db"])


def _instant(retoucher: Retoucher, before: np.ndarray, wanted: Wanted, auto_db: float) -> Figures:
    """The look before the words; psnr_loss_db: what that costs beside `auto_db`, that of auto.

    Planned without words, which come after the look and cannot change it.
    """
    photo = Photo.from_array(before)
    look = retoucher.plan(photo, Auto(), instant=True, sampling=Sampling(max_tokens=0))
    figures = wanted.figures(retoucher.render(look, photo).pixels)
    row = _gained(figures, wanted.psnr_db(before))
    return {"psnr_loss_db": auto_db - row["psnr_db"]} | row


def _gained(row: Figures, alone_db: float) -> Figures:
    return {"psnr_db": row["psnr_db"], "psnr_gain_db": row["psnr_db"] - alone_db} | row


def _alone(key: str) -> str:
    """psnr_db -> psnr_alone_db, ciede2000_mean -> ciede2000_alone, ssim -> ssim_alone."""
    if key == "psnr_db":
        return "psnr_alone_db"
    return f"{key.removesuffix('_mean')}_alone"


def photo_rng(file: PhotoFile, part: str = "") -> np.random.Generator:
    """The generator of a photo (and of a part with draws of its own)."""
    digest = hashlib.sha256((file.path.name + part).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def load_picture(path: Path, long_side: int = LONG_SIDE) -> np.ndarray:
    """(H, W, 3) uint8 RGB, long side at most `long_side`. FileError names an unreadable file."""
    try:
        with Image.open(path) as im:
            picture = im.convert("RGB")
    except (OSError, SyntaxError) as e:
        raise FileError(f"{path}: is no readable photo ({e}); take it out of the folder") from e
    picture.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def developed(picture: np.ndarray, sliders: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with the sliders (38,) in percent applied exactly, rounded to 8 bits."""
    x = torch.from_numpy(picture.reshape(1, -1, 3).astype(np.float32) / 255)
    y = develop(x, torch.from_numpy(np.asarray(sliders, np.float32))[None])
    return np.round(y.numpy()[0] * 255).astype(np.uint8).reshape(picture.shape)


def retouched(retoucher: Retoucher, picture: np.ndarray, task: Task) -> tuple[Look, np.ndarray]:
    """The look and the 8-bit result, the user's way: plan, bake, render by the kernel."""
    photo = Photo.from_array(picture)
    look = retoucher.plan(photo, task)
    return look, retoucher.render(look, photo).pixels


def _retouch(retoucher: Retoucher, picture: np.ndarray, task: Task) -> np.ndarray:
    return retouched(retoucher, picture, task)[1]


def _param(
    retoucher: Retoucher, original: np.ndarray, sliders: np.ndarray, lpips: Lpips | None
) -> Figures:
    wanted = Wanted(developed(original, sliders), lpips)
    row = wanted.figures(_retouch(retoucher, original, Param(named(sliders))))
    return {"psnr_db": row["psnr_db"], "psnr_alone_db": wanted.psnr_db(original)} | row


def _reference(
    retoucher: Retoucher,
    original: np.ndarray,
    other: np.ndarray | None,
    rng: np.random.Generator,
    lpips: Lpips | None,
) -> Iterator[Figures]:
    """One row: the edit between `original` and its developed self, read by the reference encoder,
    rendered on `original` and carried over to `other`; each against the exact operators.

    Drawn until the edit shows on the photo: a photo without purples shows no edit of purples.
    """
    for _ in range(DRAWS):
        sliders = slider_set(rng)
        after = developed(original, sliders)
        wanted = Wanted(after, lpips)
        if wanted.ciede2000_mean(original) > SHOWN:
            break
    else:
        return
    photo = Photo.from_array(original)
    look = retoucher.plan(photo, Reference(photo, Photo.from_array(after)))
    row = wanted.figures(retoucher.render(look, photo).pixels)
    row = {"psnr_db": row["psnr_db"], "psnr_alone_db": wanted.psnr_db(original)} | row
    if other is not None:
        wanted = Wanted(developed(other, sliders))
        moved = retoucher.render(look, Photo.from_array(other)).pixels
        row["transfer_psnr_db"] = wanted.psnr_db(moved)
        row["transfer_psnr_alone_db"] = wanted.psnr_db(other)
        row["transfer_ciede2000_mean"] = wanted.ciede2000_mean(moved)
    yield row


def _style(retoucher: Retoucher, original: np.ndarray, rng: np.random.Generator) -> list[Figures]:
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
