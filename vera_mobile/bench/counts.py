"""Bytes moved and multiply-adds of each stage, counted in a bundle's own programs.

ExecuTorch programs are read here; other kinds through the entry point group
`vera_mobile.counters`, whose functions take (bundle, case) and give a `Counted`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from vera_mobile.bundle import Bundle
from vera_mobile.errors import InvalidArgument
from vera_mobile.native.sdk import CURVE_POINTS
from vera_mobile.runtime import REFERENCE

COUNTERS = "vera_mobile.counters"
LUT_SIZE = 33
BAKE_POINTS = (CURVE_POINTS, LUT_SIZE**3)  # that `Look.bake` asks for, in this order
FORCED = 2  # steps of the first two retouch tokens, after the text
MEGAPIXELS = (2, 12, 48)
RENDER_MULTIPLY_ADDS = 18  # per pixel: 3 curves, 4 corners x 3 channels, 3 to mix with the photo


@dataclass(frozen=True)
class Count:
    """What one run of a program costs.

    weight_bytes: constants that are read; state_bytes: the key/value cache; activation_bytes:
    inputs and outputs of every operator, as if nothing stayed in a cache.
    """

    weight_bytes: int = 0
    activation_bytes: int = 0
    state_bytes: int = 0
    multiply_adds: int = 0

    @property
    def bytes_moved(self) -> int:
        """All bytes, an upper bound of what goes through memory."""
        return self.weight_bytes + self.activation_bytes + self.state_bytes

    def __add__(self, other: Count) -> Count:
        return Count(
            self.weight_bytes + other.weight_bytes,
            self.activation_bytes + other.activation_bytes,
            self.state_bytes + other.state_bytes,
            self.multiply_adds + other.multiply_adds,
        )

    def __mul__(self, times: int) -> Count:
        return Count(
            self.weight_bytes * times,
            self.activation_bytes * times,
            self.state_bytes * times,
            self.multiply_adds * times,
        )


@dataclass(frozen=True)
class Case:
    """A plan: tokens of the prompt (image included) and of the text."""

    prompt_tokens: int
    answer_tokens: int = 120


@dataclass(frozen=True)
class Counted:
    """Counts by stage, and operators that no rule knows: their multiply-adds are missing."""

    stages: Mapping[str, Count]
    unknown: Mapping[str, int] = field(default_factory=dict)


def count_bundle(bundle: Bundle, case: Case) -> Counted:
    """Counts of load, vision, prefill, decode, decode_per_token, head, bake and render_*mp.

    decode_per_token is the mean over the answer. Raises InvalidArgument for a kind of program that
    no installed part counts, BundleError for a damaged one.
    """
    vision = bundle.manifest.files.get("vision")
    kind = vision.kind if vision else "none"
    if kind == "executorch":
        from vera_mobile.bench.count_pte import count_programs

        counted = count_programs(bundle, case)
    else:
        found = {point.name: point for point in entry_points(group=COUNTERS)}
        if kind not in found:
            raise InvalidArgument(
                f"{bundle.root} has programs of kind '{kind}': known are executorch"
                f"{''.join(f', {name}' for name in sorted(found))}."
            )
        counted = found[kind].load()(bundle, case)
    stages = {"load": Count(weight_bytes=_model_bytes(bundle)), **counted.stages}
    stages |= {f"render_{size}mp": count_render(size * 10**6) for size in MEGAPIXELS}
    return Counted(stages, counted.unknown)


def bake_calls(points_per_call: int) -> int:
    """Runs of the bake program for one look: the curves' lines, then the lattice."""
    return sum(math.ceil(points / points_per_call) for points in BAKE_POINTS)


def count_render(pixels: int) -> Count:
    """The render kernel on 8-bit RGB: each pixel read and written once, and the LUT.

    Not in any program of the bundle: the count is of the kernel's arithmetic (three curves, four
    corners of a tetrahedron for three channels, the mix with the photo).
    """
    lut = LUT_SIZE**3 * 3 * 4
    return Count(lut, 6 * pixels, 0, RENDER_MULTIPLY_ADDS * pixels)


def _model_bytes(bundle: Bundle) -> int:
    others = ("golden", "tokenizer", REFERENCE)  # the reference encoder is mapped when it is needed
    return sum(e.size_bytes for n, e in bundle.manifest.files.items() if n not in others)
