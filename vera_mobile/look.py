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
from vera_mobile.native.sdk import curve_points, fit_curves, lattice_axes

GROUPS = ("lighting", "global_color", "specific_color")
MAX_STRENGTH = 1.5
LUT_SIZES = (17, 65)

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
        """Curves and LUT of this look. size: 17..65 nodes per axis. InvalidArgument otherwise.

        The curves put more nodes of the LUT where the look bends more (kernels/sdk/look.h).
        """
        low, high = LUT_SIZES
        if not low <= size <= high:
            raise InvalidArgument(
                f"LUT size {size} not allowed: use {low}..{high}; 33 suits photos"
            )
        curves = fit_curves(self._colours(curve_points()))
        lut = self._colours(_grid(*lattice_axes(curves, size))).reshape(size, size, size, 3)
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
