"""How near a bundle's photos and texts are to its checkpoint's, on photos that neither has seen.

`vera verify` compares every stage on a few photos; this compares what a user gets, on many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vera_mobile.color.metrics import compare
from vera_mobile.develop.sliders import named
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.export.differences import sqnr_db
from vera_mobile.export.listen import GREEDY, ListeningPlanner
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.retoucher import Auto, Param, Retoucher, Style, Task
from vera_mobile.runtime import Planner
from vera_mobile.train.data import degradation, slider_set
from vera_mobile.train.quality import developed
from vera_mobile.train.styles import STYLES, wording

KINDS = ("auto", "style", "param")
LONG_SIDE = 1024
PSNR_CAP_DB = 60.0  # equal photos have no PSNR; above this nobody sees a difference in 8 bits


@dataclass(frozen=True, eq=False)
class Case:
    """A photo and what to do with it. kind: one of KINDS; picture: (H, W, 3) uint8 sRGB."""

    name: str
    kind: str
    task: Task
    picture: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """What a planner made of a case: its look, its most likely token at each step of the text (the
    first retouch token included) and the finished photo, (H, W, 3) uint8."""

    look: Look
    choices: tuple[int, ...]
    pixels: np.ndarray


def photo_cases(files: Sequence[Path], *, long_side: int = LONG_SIDE) -> Iterator[Case]:
    """One case per file, loaded as it is asked for: auto, style and param in turn.

    long_side: larger photos are made smaller, in pixels.
    Auto gets a photo with a fault, as it is made for; the fault, the wish and the sliders follow
    the place in the list: the same list gives the same cases. Raises FileError for a file that is
    no photo.
    """
    for index, file in enumerate(files):
        yield case_of(file.name, _load(file, long_side), index)


def case_of(name: str, picture: np.ndarray, index: int) -> Case:
    """The case of one photo, (H, W, 3) uint8 sRGB, at this place of a list; see `photo_cases`."""
    rng = np.random.default_rng(index)
    kind = KINDS[index % len(KINDS)]
    task: Task = Auto()
    if kind == "auto":
        picture = developed(picture, degradation(rng))
    elif kind == "style":
        task = Style(wording(STYLES[rng.integers(len(STYLES))], 1.0, rng))
    else:
        task = Param(named(slider_set(rng)))
    return Case(name, kind, task, picture)


def answer(
    planner: Planner, vocabulary: Vocabulary, case: Case, said: Sequence[int] = ()
) -> Answer:
    """The planner's own greedy answer to a case or, with `said`, what it makes of that text."""
    heard = ListeningPlanner(planner, said)
    retoucher = Retoucher(heard, vocabulary)
    photo = Photo.from_array(case.picture)
    look = retoucher.plan(photo, case.task, sampling=GREEDY)
    pixels = retoucher.render(look, photo).pixels
    return Answer(look, tuple(heard.choices[: len(look.tokens) + 1]), pixels)


def parity_on_photos(
    reference: Planner,
    measured: Planner,
    vocabulary: Vocabulary,
    cases: Iterator[Case] | Sequence[Case],
    *,
    on_case: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """How far `measured` is from `reference` (fp32) over the cases, for all and for each task.

    Every photo goes the user's way: greedy text, look, 33^3 table, render kernel, 8 bits. Returns
    {"all" and each task: figures, "cases": one row per photo}. Figures, means over photos unless
    said: psnr_db_{mean, p5, min} (at most 60) and ciede2000_{mean, max} of the photos when each
    side writes its own text; same_text_psnr_db and same_text_ciede2000 when both follow the
    reference's text, latent_sqnr_db with it (of the
    mean share of noise); token_agreement: share of all tokens of the
    reference's answers that the measured side finds most likely too, given the reference's tokens
    before it (teacher forcing); text_prefix: share of them that it writes by itself before its
    first other token; text_same_place: share of them that its own text holds at the same place;
    texts_equal: share of answers that are equal to the last token.
    Raises InvalidArgument for no cases.
    """
    rows = []
    for done, case in enumerate(cases, 1):
        rows.append(compare_case(answer(reference, vocabulary, case), measured, vocabulary, case))
        on_case(done)
    if not rows:
        raise InvalidArgument("Parity of no photos: give at least one photo.")
    kinds = [kind for kind in KINDS if any(row["task"] == kind for row in rows)]
    parts = {kind: _summary([row for row in rows if row["task"] == kind]) for kind in kinds}
    return {"all": _summary(rows), **parts, "cases": rows}


def compare_case(
    wanted: Answer, measured: Planner, vocabulary: Vocabulary, case: Case
) -> dict[str, Any]:
    """The row of one photo: `wanted` is the reference's answer to it; see `parity_on_photos`."""
    said = (*wanted.look.tokens, vocabulary.retouch[0])
    same_text = answer(measured, vocabulary, case, said)
    equal = [a == b for a, b in zip(same_text.choices, wanted.choices, strict=True)]
    # up to its first other token the measured side writes what it was forced to: no second run
    own = same_text if all(equal) else answer(measured, vocabulary, case)
    own_said = (*own.look.tokens, vocabulary.retouch[0])
    prefix = next(
        (i for i, (a, b) in enumerate(zip(own_said, said, strict=False)) if a != b), len(said)
    )
    return {
        "photo": case.name,
        "task": case.kind,
        "tokens": len(said),
        "tokens_agreed": sum(equal),
        "tokens_before_first_other": prefix,
        "tokens_same_place": sum(a == b for a, b in zip(own_said, said, strict=False)),
        "text_equal": own_said == said,
        "latent_noise": 10 ** (-sqnr_db(wanted.look.latents, same_text.look.latents) / 10),
        **_distance("", wanted.pixels, own.pixels),
        **_distance("same_text_", wanted.pixels, same_text.pixels),
    }


def parity_table(found: dict[str, Any]) -> str:
    """The figures of `parity_on_photos` as lines for people: one column for all and each task."""
    columns = [key for key in ("all", *KINDS) if key in found]
    lines = [f"{'':<24}" + "".join(f"{column:>12}" for column in columns)]
    for name in found["all"]:
        cells = [found[column][name] for column in columns]
        form = "{:>12d}" if isinstance(cells[0], int) else "{:>12.4f}"
        lines.append(f"{name:<24}" + "".join(form.format(cell) for cell in cells))
    return "\n".join(lines)


def _distance(prefix: str, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    found = compare(a, b)
    return {
        f"{prefix}psnr_db": min(found["psnr_db"], PSNR_CAP_DB),
        f"{prefix}ciede2000": found["ciede2000_mean"],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, float | int]:
    def values(key: str) -> np.ndarray:
        return np.array([row[key] for row in rows], np.float64)

    psnr, tokens = values("psnr_db"), values("tokens").sum()
    return {
        "photos": len(rows),
        "psnr_db_mean": float(psnr.mean()),
        "psnr_db_p5": float(np.percentile(psnr, 5)),
        "psnr_db_min": float(psnr.min()),
        "ciede2000_mean": float(values("ciede2000").mean()),
        "ciede2000_max": float(values("ciede2000").max()),
        "same_text_psnr_db": float(values("same_text_psnr_db").mean()),
        "same_text_ciede2000": float(values("same_text_ciede2000").mean()),
        "latent_sqnr_db": -10 * math.log10(max(float(values("latent_noise").mean()), 1e-20)),
        "tokens": int(tokens),
        "token_agreement": float(values("tokens_agreed").sum() / tokens),
        "text_prefix": float(values("tokens_before_first_other").sum() / tokens),
        "text_same_place": float(values("tokens_same_place").sum() / tokens),
        "texts_equal": float(values("text_equal").mean()),
    }


def _load(file: Path, long_side: int) -> np.ndarray:
    try:
        with Image.open(file) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise FileError(
            f"{file}: is no readable photo ({error}); take it out of the folder."
        ) from error
    picture.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return np.asarray(picture)
