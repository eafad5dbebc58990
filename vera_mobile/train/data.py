"""Photos in memory and the samples of the three tasks, made on the fly from a seed.

Inverse degradation: a good photo is made worse by the develop operators; the way back is the edit
to learn. The pixels of the loss go through the exact operators; the picture that the vision tower
sees goes through the same operators baked to a 17^3 table, which is 10 times faster.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import GROUP_SLICES, HUES, INDEX
from vera_mobile.errors import FileError, InvalidArgument

POOL_MARGIN = 1.125
SUFFIXES = (".jpg", ".jpeg", ".png")
SHIPPING_TIERS = ("A", "B")


@dataclass(frozen=True)
class PhotoFile:
    """One training photo: its path, split and licence tier ("" when there is no manifest)."""

    path: Path
    split: str
    tier: str


def list_photos(folder: str | Path, split: str, tiers: tuple[str, ...] = ()) -> list[PhotoFile]:
    """Photos of a split, sorted by name.

    With `manifest.csv` (columns file, split, tier) its split and tier are used; without one the
    split follows the sha256 of the file name: 80 % train, 8 % val, 12 % test.
    Raises FileError when the folder or the split holds no photo.
    """
    folder = Path(folder)
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        with manifest.open(newline="") as f:
            rows = [PhotoFile(folder / r["file"], r["split"], r["tier"]) for r in csv.DictReader(f)]
    else:
        files = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES]
        rows = [PhotoFile(p, _hashed_split(p.name), "") for p in files]
    rows = [r for r in rows if r.split == split and (not tiers or r.tier in (*tiers, ""))]
    if not rows:
        raise FileError(f"{folder}: no photos of split {split!r}; give a folder of JPEG or PNG")
    return sorted(rows, key=lambda r: r.path.name)


def _hashed_split(name: str) -> str:
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.8 else "val" if share < 0.88 else "test"


def load_square(path: Path, size: int) -> np.ndarray:
    """A photo squeezed to (size, size, 3) uint8 encoded sRGB, as the model sees it."""
    with Image.open(path) as im:
        im.draft("RGB", (size, size))
        return np.asarray(im.convert("RGB").resize((size, size), Image.Resampling.BOX))


def load_pool(photos: list[PhotoFile], size: int) -> Tensor:
    """All photos as (n, s, s, 3) uint8 with s = 1.125 size, room for random crops."""
    side = round(size * POOL_MARGIN)
    return torch.from_numpy(np.stack([load_square(p.path, side) for p in photos]))


def crop(pool: Tensor, index: int, size: int, rng: np.random.Generator) -> Tensor:
    """A random crop, mirrored half of the time: (size, size, 3) float in [0, 1]."""
    room = pool.shape[1] - size + 1
    y, x = (int(v) for v in rng.integers(0, room, 2))
    picture = pool[index, y : y + size, x : x + size].float() / 255.0
    return picture.flip(1) if rng.random() < 0.5 else picture


# ---- sliders -------------------------------------------------------------------------------------


def degradation(rng: np.random.Generator) -> np.ndarray:
    """Sliders (38,) that make a good photo look unretouched; correlated as cameras do it.

    Always a lighting fault or a colour fault, often both; specific colours in a third of the cases.
    """
    s = np.zeros(38, np.float32)
    light, color = ((1, 0), (0, 1), (1, 1), (1, 1))[rng.integers(4)]
    if light:
        _light_fault(s, rng)
    if color:
        _color_fault(s, rng)
    if rng.random() < 0.33:
        for hue in rng.choice(8, size=int(rng.integers(1, 3)), replace=False):
            _put(s, f"SaturationAdjustment{HUES[hue]}", _signed(rng, 20, 55))
            _put(s, f"LuminanceAdjustment{HUES[hue]}", float(rng.normal(0, 15)))
    return np.clip(np.round(s), -100, 100)


def _light_fault(s: np.ndarray, rng: np.random.Generator) -> None:
    kind = rng.random()
    if kind < 0.5:
        _put(s, "Exposure2012", -rng.uniform(10, 36))
        _put(s, "Shadows2012", -rng.uniform(0, 40))
    elif kind < 0.72:
        _put(s, "Exposure2012", rng.uniform(8, 20))
        _put(s, "Highlights2012", rng.uniform(0, 30))
    else:
        _put(s, "Contrast2012", -rng.uniform(30, 80))
        _put(s, "Blacks2012", rng.uniform(20, 80))
        _put(s, "Exposure2012", rng.uniform(-8, 6))
    if rng.random() < 0.4:
        _put(s, "Contrast2012", s[INDEX["Contrast2012"]] + _signed(rng, 10, 35))


def _color_fault(s: np.ndarray, rng: np.random.Generator) -> None:
    kind = rng.random()
    if kind < 0.75:
        _put(s, "IncrementalTemperature", _signed(rng, 18, 60))
        _put(s, "IncrementalTint", float(rng.normal(0, 14)))
    if kind > 0.5:
        _put(s, "Saturation", _signed(rng, 15, 50))
        _put(s, "Vibrance", float(rng.normal(0, 15)))


def _put(s: np.ndarray, name: str, value: float) -> None:
    s[INDEX[name]] = np.clip(value, -100, 100)


def _signed(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high)) * (1.0 if rng.random() < 0.5 else -1.0)


def slider_set(rng: np.random.Generator) -> np.ndarray:
    """Sliders (38,) of the param task: whole percent, drawn per group, each group on by chance."""
    s = np.zeros(38, np.float32)
    on = rng.random(3) < (0.75, 0.65, 0.5)
    if not on.any():
        on[rng.integers(3)] = True
    for i, (group, scale) in enumerate((("lighting", 32), ("global_color", 32),
                                        ("specific_color", 40))):  # fmt: skip
        if not on[i]:
            continue
        part = GROUP_SLICES[group]
        n = part.stop - part.start
        count = min(n, 1 + int(rng.geometric(0.4)))
        which = rng.choice(n, size=count, replace=False)
        s[part.start + which] = rng.normal(0, scale, count)
    s[INDEX["Exposure2012"]] *= 0.5
    return np.clip(np.round(s), -100, 100)


# ---- pixels --------------------------------------------------------------------------------------


def quantize8(x: Tensor) -> Tensor:
    """Rounded to 8 bits, still float in [0, 1]: what a camera's JPEG would hold."""
    return torch.round(x * 255.0) / 255.0


def pick_pixels(picture: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """`count` random pixels (count, 3) of a picture (H, W, 3)."""
    flat = picture.reshape(-1, 3)
    return flat[torch.from_numpy(rng.integers(0, len(flat), count))]


def lattice(size: int) -> Tensor:
    """Grid of encoded RGB (size^3, 3), red fastest."""
    axis = torch.linspace(0, 1, size)
    b, g, r = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([r, g, b], -1).reshape(-1, 3)


def develop_picture(picture: Tensor, sliders: Tensor, size: int = 17) -> Tensor:
    """Pictures (B, H, W, 3) developed through a baked table (trilinear): fast, for model input.

    sliders: (B, 38) percent. The table's error is far below the noise that training adds.
    """
    table = develop(lattice(size)[None].expand(len(sliders), -1, -1), sliders)
    volume = table.view(-1, size, size, size, 3).permute(0, 4, 1, 2, 3)
    grid = (picture * 2 - 1)[:, None]
    out = F.grid_sample(volume, grid, align_corners=True, padding_mode="border")
    return out[:, :, 0].permute(0, 2, 3, 1)


def check_size(value: int, name: str, low: int, high: int) -> None:
    """InvalidArgument unless low <= value <= high."""
    if not low <= value <= high:
        raise InvalidArgument(f"{name} is {value}: allowed are {low}..{high}")
