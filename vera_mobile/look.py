"""A look: what a plan decided. Three latents, the text, a strength per group; baked to render."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.color.cube import write_cube
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.files import replacing

GROUPS = ("lighting", "global_color", "specific_color")
MAX_STRENGTH = 1.5
LUT_SIZES = (17, 65)
CURVE_KNOTS = 65
WARP = 0.5  # share of the lattice that follows the curvature; the rest stays uniform

Evaluate = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(points (N, 3) float32 encoded RGB, latents (3, L) float32) -> (N, 3) encoded RGB in [0, 1]."""


@dataclass(frozen=True, eq=False)
class BakedLook:
    """Curves and LUT that the render kernel reads.

    curves: (3, K) float32, input curve per channel, monotone from 0 to 1.
    lut: (N, N, N, 3) float32 indexed [blue][green][red], encoded RGB in [0, 1].
    """

    curves: np.ndarray
    lut: np.ndarray


@dataclass(frozen=True, eq=False)
class Look:
    """A planned edit; independent of the photo's size.

    latents: (3, L) float32 in the order of `GROUPS`; text: the plan in words; strengths in 0..1.5.
    """

    latents: np.ndarray
    text: str = ""
    lighting: float = 1.0
    global_color: float = 1.0
    specific_color: float = 1.0
    timings_ms: dict[str, float] = field(default_factory=dict)
    tokens: tuple[int, ...] = ()
    evaluate: Evaluate | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for group in GROUPS:
            check_strength(group, getattr(self, group))
        shape = np.shape(self.latents)
        if len(shape) != 2 or shape[0] != 3 or not np.isfinite(self.latents).all():
            raise InvalidArgument(f"latents {shape}: use finite values of shape (3, latent size)")

    def with_strengths(self, **strengths: float) -> Look:
        """The same look with other group strengths: lighting, global_color, specific_color."""
        unknown = sorted(set(strengths) - set(GROUPS))
        if unknown:
            raise InvalidArgument(f"strengths {unknown} are unknown; known are {list(GROUPS)}")
        return replace(self, **strengths)  # type: ignore[arg-type]

    def bake(self, size: int = 33) -> BakedLook:
        """Curves and LUT of this look. size: 17..65 nodes per axis. InvalidArgument otherwise."""
        low, high = LUT_SIZES
        if not low <= size <= high:
            raise InvalidArgument(
                f"LUT size {size} not allowed: use {low}..{high}; 33 suits photos"
            )
        curves = _fit_curves(self._colours)
        knots = np.linspace(0, 1, curves.shape[1])
        nodes = [np.interp(np.linspace(0, 1, size), c, knots) for c in curves.astype(np.float64)]
        lut = self._colours(_grid(*nodes)).reshape(size, size, size, 3)
        return BakedLook(curves, np.ascontiguousarray(lut, np.float32))

    def save_cube(self, path: str | Path, size: int = 33, *, strength: float = 1.0) -> Path:
        """Writes the look as a 3-D `.cube` (uniform lattice, encoded RGB) and returns its path."""
        check_strength("strength", strength)
        low, high = LUT_SIZES
        if not low <= size <= high:
            raise InvalidArgument(
                f"LUT size {size} not allowed: use {low}..{high}; 33 suits photos"
            )
        points = _grid(*[np.linspace(0, 1, size)] * 3)
        out = np.clip(points + strength * (self._colours(points) - points), 0, 1)
        write_cube(path, out.reshape(size, size, size, 3), title="Vera Mobile look")
        return Path(path)

    def to_json(self) -> str:
        """The look as JSON; latents as base64 of little-endian float32."""
        data = np.ascontiguousarray(self.latents, "<f4").tobytes()
        record: dict[str, Any] = {"format": "vera-look", "version": 1, "text": self.text}
        record |= {g: getattr(self, g) for g in GROUPS}
        record["latent_size"] = int(self.latents.shape[1])
        record["latents"] = base64.b64encode(data).decode()
        return json.dumps(record, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, evaluate: Evaluate | None = None) -> Look:
        """The look that `to_json` wrote. FileError when the text is no look."""
        try:
            record = json.loads(text)
            if record["format"] != "vera-look" or record["version"] != 1:
                raise ValueError(f"format {record['format']} version {record['version']}")
            raw = base64.b64decode(record["latents"], validate=True)
            latents = np.frombuffer(raw, "<f4").reshape(3, int(record["latent_size"]))
            strengths = {g: float(record[g]) for g in GROUPS}
            words = str(record["text"])
        except (ValueError, KeyError, TypeError) as e:
            raise FileError(f"this is not a look of version 1 ({e}); save it again") from e
        look = cls(latents.copy(), words, evaluate=evaluate)
        return look.with_strengths(**strengths)

    def save(self, path: str | Path) -> None:
        """Writes `to_json` to a file through a temporary name."""
        with replacing(path) as stream:
            stream.write(self.to_json().encode())

    def _colours(self, points: np.ndarray) -> np.ndarray:
        if self.evaluate is None:
            raise InvalidArgument("this look has no renderer: get it from Retoucher.look_from_json")
        scale = np.array([[getattr(self, g)] for g in GROUPS], np.float32)
        latents = np.asarray(self.latents, np.float32) * scale
        return np.clip(self.evaluate(np.ascontiguousarray(points, np.float32), latents), 0, 1)


def check_strength(name: str, value: float) -> None:
    """InvalidArgument unless `value` is a number in 0..1.5."""
    if (
        not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not (0 <= value <= MAX_STRENGTH)
    ):
        raise InvalidArgument(f"{name} is {value}: allowed are 0..{MAX_STRENGTH} (1 is as planned)")


def _grid(r: np.ndarray, g: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Lattice points (n^3, 3) float32, red fastest."""
    blue, green, red = np.meshgrid(b, g, r, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(-1, 3).astype(np.float32)


def _fit_curves(colours: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Input curves (3, 65) that put more lattice nodes where the look bends more.

    Node density follows sqrt(|f''|), which spreads the largest error of linear interpolation
    evenly (de Boor 1973); half of the density stays uniform. Measured along nine lines per channel.
    """
    knots = np.linspace(0, 1, CURVE_KNOTS)
    fixed = (0.15, 0.5, 0.85)
    lines = []
    for channel in range(3):
        for p in fixed:
            for q in fixed:
                line = np.empty((CURVE_KNOTS, 3))
                line[:, channel] = knots
                line[:, (channel + 1) % 3], line[:, (channel + 2) % 3] = p, q
                lines.append(line)
    values = colours(np.concatenate(lines)).astype(np.float64)
    values = values.reshape(3, len(fixed) ** 2, CURVE_KNOTS, 3)
    bend = np.zeros((3, CURVE_KNOTS))
    bend[:, 1:-1] = np.abs(np.diff(values, 2, axis=2)).mean((1, 3))
    density = np.sqrt(bend)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(density, ((0, 0), (2, 2)), mode="edge")
    density = np.stack([np.convolve(row, kernel, "valid") for row in padded])
    total = density.sum(1, keepdims=True)
    even = np.full_like(density, 1 / CURVE_KNOTS)
    share = np.where(total > 1e-6, density / np.maximum(total, 1e-6), even)
    share = WARP * share + (1 - WARP) * even
    steps = 0.5 * (share[:, 1:] + share[:, :-1])
    curves = np.concatenate([np.zeros((3, 1)), np.cumsum(steps, 1)], 1)
    return (curves / curves[:, -1:]).astype(np.float32)
