"""One sample of the data engine: drawn from (seed, split, number), measured on what is stored."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import GROUP_SLICES, GROUPS, INDEX, named
from vera_mobile.errors import FileError
from vera_mobile.image import Photo
from vera_mobile.train.data import degradation, slider_set
from vera_mobile.train.engine.cameras import camera_fault
from vera_mobile.train.engine.claims import claims, is_quiet
from vera_mobile.train.engine.config import SPLITS, VERSION, EngineConfig, Source, Sources
from vera_mobile.train.engine.grammar import Said, answer
from vera_mobile.train.engine.measures import PairMeasures, measure_pair
from vera_mobile.train.engine.presets import Preset, apply_cube
from vera_mobile.train.engine.wishes import concept_wish, preset_wish
from vera_mobile.train.styles import AMOUNTS, StyleConcept, draw
from vera_mobile.train.words import MIN_SHARE, measure

CHUNK_PIXELS = 1 << 16
DRAWN_PIXELS = 2000  # of a photo, for what the camera's fault depends on
TRIES = 6  # edits drawn for a photo until one shows; then the photo stands as good as it is
SHOWN = 1.0  # CIELAB units that a concept's directions must move to be asked for
USABLE_L = (8.0, 94.0)  # mean L* of a target that is still a photo

Files = dict[str, bytes]


@dataclass(frozen=True, eq=False)
class Edit:
    """A drawn edit: what was done, and the two pictures (H, W, 3) uint8 encoded sRGB.

    origin: "good", "camera", "blind", "transfer", "concept", "preset", "cube" or "sliders".
    sliders: (38,) percent of the edit or, in the auto task, of the fault that it undoes; None where
    no sliders make it. groups: factor of each of the three latents. good: the version in which
    hues and regions are looked for. wish: makes the instruction, once the pair is measured;
    details: what else is recorded.
    """

    origin: str
    before: np.ndarray
    after: np.ndarray
    sliders: np.ndarray | None
    groups: tuple[float, ...]
    good: str
    wish: Callable[[PairMeasures], str] | None = None
    details: dict[str, Any] | None = None


def sample_rng(config: EngineConfig, number: int) -> np.random.Generator:
    """The generator of one sample; splits do not share any."""
    return np.random.default_rng([config.seed, SPLITS.index(config.split), number])


def photo_order(config: EngineConfig, count: int, epoch: int) -> np.ndarray:
    """Order (count,) in which the photos come in one pass over them."""
    return np.random.default_rng([config.seed, SPLITS.index(config.split), 7, epoch]).permutation(
        count
    )


def make_sample(config: EngineConfig, sources: Sources, number: int) -> Files:
    """The files of sample `number` by their suffix: json, input.jpg, target.jpg (or .png).

    The task goes round with the number, so all tasks get equal parts. Everything that the text says
    is measured on the stored pictures, after they were encoded.
    """
    epoch, place = divmod(number, len(sources.photos))
    source = sources.photos[photo_order(config, len(sources.photos), epoch)[place]]
    task = config.tasks[(number + epoch) % len(config.tasks)]
    rng = sample_rng(config, number)
    picture = read_picture(source, config.side)
    for _ in range(TRIES):
        edit = draw_edit(task, picture, config, sources, rng)
        files, measured = _stored(edit, config, source)
        if _is_usable(edit, measured, task):
            break
    else:
        edit = _good(picture) if task == "auto" else _darker(picture)
        files, measured = _stored(edit, config, source)
    record = _record(edit, measured, task, config, source, rng) | {"number": number}
    files["json"] = json.dumps(record, ensure_ascii=False, sort_keys=True).encode()
    return files


def read_picture(source: Source, side: int) -> np.ndarray:
    """The photo (H, W, 3) uint8 encoded sRGB, upright, its longer side at most `side`."""
    photo = Photo.load(source.path)
    return np.floor(photo.to_srgb(max_side=side) * 255 + 0.5).astype(np.uint8)


def developed(picture: np.ndarray, sliders: np.ndarray) -> np.ndarray:
    """`picture` (H, W, 3) uint8 with the exact operators, rounded to 8 bits."""
    s = torch.from_numpy(np.asarray(sliders, np.float32))[None]
    flat = torch.from_numpy(picture.reshape(1, -1, 3).astype(np.float32) / 255)
    with torch.inference_mode():
        parts = [develop(part, s) for part in flat.split(CHUNK_PIXELS, 1)]
        codes = torch.round(torch.cat(parts, 1)[0] * 255).numpy()
    return codes.astype(np.uint8).reshape(picture.shape)


# ---- drawing an edit -----------------------------------------------------------------------------


def draw_edit(
    task: str,
    picture: np.ndarray,
    config: EngineConfig,
    sources: Sources,
    rng: np.random.Generator,
) -> Edit:
    """A random edit of the task on a good photo (H, W, 3) uint8."""
    if task == "param":
        sliders = slider_set(rng)
        return _forward("sliders", picture, sliders)
    if task == "style":
        if sources.presets and rng.random() < config.preset_share:
            return _preset(picture, sources.presets[rng.integers(len(sources.presets))], rng)
        return _concept(picture, draw(rng), float(rng.choice(list(AMOUNTS))), rng)
    kind = rng.random()
    if kind < config.good_share:
        return _good(picture)
    if sources.pairs and kind < config.good_share + config.transfer_share:
        transferred = _transfer(picture, sources, rng)
        if transferred is not None:
            return transferred
    return _fault(picture, config, rng)


def _good(picture: np.ndarray) -> Edit:
    return Edit("good", picture, picture, np.zeros(38, np.float32), (0.0, 0.0, 0.0), "after")


def _fault(picture: np.ndarray, config: EngineConfig, rng: np.random.Generator) -> Edit:
    after_scene = rng.random() < config.camera_share
    if after_scene:
        flat = picture.reshape(-1, 3)
        pixels = flat[rng.integers(0, len(flat), DRAWN_PIXELS)] / 255.0
        sliders = camera_fault(pixels, rng)
    else:
        sliders = degradation(rng)
    origin = "camera" if after_scene else "blind"
    return Edit(origin, developed(picture, sliders), picture, sliders, _groups_of(sliders), "after")


def _transfer(picture: np.ndarray, sources: Sources, rng: np.random.Generator) -> Edit | None:
    """The edit of the nearest pair; None where no pair is near. Groups are off now and then."""
    assert sources.pairs is not None
    pair, far = sources.pairs.nearest(picture)
    if pair is None:
        return None
    groups: tuple[float, ...] = (1.0, 1.0, 1.0)
    if rng.random() < 0.3:
        groups = tuple(float(rng.random() < 0.6) for _ in GROUPS)
    after = sources.pairs.lay_on(picture, pair, groups)
    details = {"pair": pair.name, "expert": pair.expert, "distance": round(far, 4)}
    return Edit("transfer", picture, after, None, groups, "before", None, details)


def _forward(origin: str, picture: np.ndarray, sliders: np.ndarray) -> Edit:
    whole = np.round(sliders)  # prompts and records hold whole percent
    return Edit(origin, picture, developed(picture, whole), whole, _groups_of(whole), "before")


def _concept(
    picture: np.ndarray, concept: StyleConcept, amount: float, rng: np.random.Generator
) -> Edit:
    edit = _forward("concept", picture, concept.vector(amount))
    text = concept_wish(concept, amount, rng)
    details = {"concept": concept.name, "amount": amount}
    if not _shows(concept, edit):
        details["shows"] = False
    return replace(edit, wish=lambda _: text, details=details)


def _shows(concept: StyleConcept, edit: Edit) -> bool:
    """True when the photo moves in all directions that the concept promises."""
    before, after = (measure(_thinned(p)) for p in (edit.before, edit.after))
    for key, sign in concept.checks:
        if before.get(f"{key.removesuffix('_L')}_share", 1.0) < MIN_SHARE:
            return False
        if sign * (after[key] - before[key]) <= SHOWN:
            return False
    return True


def _thinned(picture: np.ndarray) -> np.ndarray:
    flat = picture.reshape(-1, 3)
    return flat[:: max(1, len(flat) // 20000)] / 255.0


def _preset(picture: np.ndarray, preset: Preset, rng: np.random.Generator) -> Edit:
    wish = partial(_wish_of, preset, rng)
    details = {"style": {"file": preset.file, "licence": preset.licence, "source": preset.source}}
    if preset.sliders is not None:
        edit = _forward("preset", picture, preset.sliders)
        return replace(edit, wish=wish, details=details)
    assert preset.cube is not None
    after = np.floor(apply_cube(preset.cube, picture / 255.0) * 255 + 0.5).astype(np.uint8)
    return Edit("cube", picture, after, None, (1.0, 1.0, 1.0), "before", wish, details)


def _wish_of(preset: Preset, rng: np.random.Generator, m: PairMeasures) -> str:
    return preset_wish(preset.words, claims(m), rng)


def _darker(picture: np.ndarray) -> Edit:
    """What stands in where no drawn edit shows, as on a grey photo that draws hues again and again.

    It shows on any photo that is not black.
    """
    sliders = np.zeros(38, np.float32)
    sliders[INDEX["Exposure2012"]] = -15.0
    return replace(_forward("sliders", picture, sliders), wish=lambda _: "darker")


def _groups_of(sliders: np.ndarray) -> tuple[float, ...]:
    return tuple(float(np.abs(sliders[GROUP_SLICES[g]]).max() > 0) for g in GROUPS)


def _is_usable(edit: Edit, m: PairMeasures, task: str) -> bool:
    """False for an edit that leaves no photo, or that shows nothing although words ask for it."""
    if edit.origin == "good":
        return True
    if (edit.details or {}).get("shows") is False:
        return False
    low, high = USABLE_L
    return (task == "param" or bool(claims(m))) and all(
        low < x.mean < high for x in (m.before, m.after)
    )


# ---- what is stored ------------------------------------------------------------------------------


def encode(picture: np.ndarray, config: EngineConfig) -> bytes:
    """The picture (H, W, 3) uint8 as JPEG 4:4:4 or PNG, without metadata."""
    out = io.BytesIO()
    image = Image.fromarray(picture)
    if config.kind == "png":
        image.save(out, "PNG", compress_level=6)
    else:
        image.save(out, "JPEG", quality=config.quality, subsampling=0, optimize=True)
    return out.getvalue()


def decode(raw: bytes) -> np.ndarray:
    """The picture (H, W, 3) uint8 of stored bytes. FileError when they are damaged."""
    try:
        with Image.open(io.BytesIO(raw)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as e:
        raise FileError(f"a picture of the shard is damaged ({e}); build the shard again") from e


def _stored(edit: Edit, config: EngineConfig, source: Source) -> tuple[Files, PairMeasures]:
    before = encode(edit.before, config)
    after = before if edit.after is edit.before else encode(edit.after, config)
    measured = measure_pair(decode(before), decode(after), good=edit.good, category=source.category)
    return {f"input.{config.kind}": before, f"target.{config.kind}": after}, measured


def _said(edit: Edit, m: PairMeasures) -> list[Said]:
    """What is stated of each group. Without a statement a group is fine where it was not touched,
    or where nothing of it has moved."""
    stated = claims(m)
    gone = any(c.topic == "no colour" for c in stated)
    said = []
    for i, group in enumerate(GROUPS):
        untouched = edit.sliders is not None and edit.groups[i] == 0
        own = tuple(c for c in stated if c.group == group)
        said.append(Said(own, untouched or is_quiet(m, group), gone and i == 2))
    return said


def _record(
    edit: Edit,
    measured: PairMeasures,
    task: str,
    config: EngineConfig,
    source: Source,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The sample's JSON: see `Sample` in reader.py for the meaning of each entry."""
    said = _said(edit, measured)
    instruction = ""
    if task == "style":
        assert edit.wish is not None
        instruction = edit.wish(measured)
    elif task == "param":
        assert edit.sliders is not None
        instruction = ", ".join(f"{k} {v:+d}" for k, v in named(edit.sliders).items())
    spoken = answer(said, task, rng)
    return {
        "version": VERSION, "task": task, "origin": edit.origin, "split": config.split,
        "instruction": instruction, "answer": spoken.text, "full": spoken.labelled(),
        "brief": answer(said, task, rng, brief=True).text,
        "sliders": None if edit.sliders is None else named(edit.sliders),
        "groups": list(edit.groups),
        "claims": [asdict(c) for s in said for c in s.claims],
        "quiet": [g for g, s in zip(GROUPS, said, strict=True) if s.quiet and not s.claims],
        "good": edit.good, "details": edit.details or {},
        "photo": {"file": source.file, "tier": source.tier, "licence": source.licence,
                  "author": source.author, "source": source.origin,
                  "category": source.category},
    }  # fmt: skip
