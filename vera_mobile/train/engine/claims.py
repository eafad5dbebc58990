"""What may be said of an edit: statements that hold on the measured photos, free of conflicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vera_mobile.develop.sliders import GROUPS, HUES
from vera_mobile.train.engine.measures import Light, PairMeasures, Patch

LIGHTING, GLOBAL, SPECIFIC = GROUPS
MAX_PER_GROUP = 3

# limits from which a statement is made, and from which it is "clear" and "strong"
EXPOSURE = (2.5, 7.0, 15.0)  # mean L*
CONTRAST = (0.12, 0.30, 0.60)  # log of the ratio of the spreads of L*
ENDS = (4.0, 9.0, 16.0)  # L* of a 5 % or 95 % quantile beyond what the mean moved
CAST = (2.0, 5.0, 11.0)  # a* or b* of near neutral pixels
CAST_ALL = 3.0  # the same over all pixels, where too few are neutral
COLOUR = (0.12, 0.30, 0.60)  # log of the ratio of mean chroma
HUE_COLOUR = (0.14, 0.30, 0.60)  # beyond the ratio of the whole photo
HUE_LIGHT = (4.0, 8.0, 14.0)  # L* beyond what the whole photo moved
HUE_TURN = (9.0, 16.0, 28.0)  # degrees
CLIPPED = (0.01, 0.03, 0.08)  # share of pixels
BLOCKED_BELOW, GREY_ABOVE, GLARING_ABOVE, DULL_BELOW = 20.0, 6.0, 80.0, 88.0
HUE_MIN_SHARE, HUE_MIN_CHROMA = 0.05, 10.0
COLOURLESS = 2.0  # mean chroma of a photo without colour
CALM_CAST = 3.0  # a stronger cast makes turns of hue doubtful

CONFLICTS = (
    ("contrast+", "shadows+"), ("contrast+", "highlights-"),
    ("contrast-", "shadows-"), ("contrast-", "highlights+"),
)  # fmt: skip
REGION_HUES = {"sky": ("blue", "aqua"), "foliage": ("green", "yellow"), "skin": ("orange", "red")}


@dataclass(frozen=True)
class Claim:
    """One statement: in its group, the topic rises (`up`) from the photo before to the one after.

    topic: "exposure", "contrast", "shadows", "highlights", "white", "black", "temperature", "tint",
    "saturation", "no colour", or "colour", "light" or "turn" of a hue or region ("colour:green").
    degree: 0 slight, 1 clear, 2 strong. amount: the measured change in the unit of its limits.
    """

    group: str
    topic: str
    up: bool
    degree: int
    amount: float

    @property
    def key(self) -> str:
        """Topic and direction, "contrast+"."""
        return f"{self.topic}{'+' if self.up else '-'}"

    @property
    def kind(self) -> str:
        """The topic without its hue or region."""
        return self.topic.partition(":")[0]

    @property
    def what(self) -> str:
        """The hue or region that the topic names, or ""."""
        return self.topic.partition(":")[2]


def claims(m: PairMeasures) -> list[Claim]:
    """All that is said about the pair: at most three statements a group, the largest first."""
    found = [*_light(m.before, m.after), *_global(m), *_specific(m)]
    kept: list[Claim] = []
    for group in GROUPS:
        own = [(weight, c) for weight, c in found if c.group == group]
        for _, claim in sorted(own, key=lambda pair: -pair[0]):
            said = [c for c in kept if c.group == group]
            if len(said) < MAX_PER_GROUP and not any(_clash(claim, c) for c in said):
                kept.append(claim)
    return kept


def is_quiet(m: PairMeasures, group: str) -> bool:
    """True when nothing of a group has moved so far that "it is fine" would be untrue."""
    if group == LIGHTING:
        b, a = m.before, m.after
        ends = max(abs(a.low - b.low), abs(a.high - b.high))
        return abs(a.mean - b.mean) < EXPOSURE[0] and ends < 5.0 and _log(b.spread, a.spread) < 0.12
    if group == GLOBAL:
        shift = max(map(abs, (*(m.cast or (0.0, 0.0)), *m.mean_ab)))
        return shift < 2.5 and (_log(*m.colour.chroma) < 0.12 or max(m.colour.chroma) < COLOURLESS)
    shown = [p for p in m.hues.values() if p.share >= HUE_MIN_SHARE]
    overall = np.log(max(m.colour.pure[1], 1e-3) / max(m.colour.pure[0], 1e-3))
    moved = m.after.mean - m.before.mean
    return all(
        abs(np.log(max(p.pure[1], 1e-3) / max(p.pure[0], 1e-3)) - overall) < 0.25
        and abs(p.light[1] - p.light[0] - moved) < 6.0
        and (abs(p.turn[1]) < 8.0 or min(p.pure) < HUE_MIN_CHROMA)
        for p in shown
    )


def _clash(a: Claim, b: Claim) -> bool:
    pair = {a.key, b.key}
    if any(pair == set(c) for c in CONFLICTS) or a.topic == b.topic:
        return True
    for region, other in ((a.what, b.what), (b.what, a.what)):
        if other in REGION_HUES.get(region, ()) and a.kind == b.kind:
            return True  # the same thing twice, or two things that seem to disagree
    return "no colour" in (a.topic, b.topic)


def _made(
    group: str, topic: str, change: float, limits: tuple[float, float, float]
) -> Iterator[tuple[float, Claim]]:
    size = abs(change)
    if size > limits[0]:
        degree = 0 if size < limits[1] else 1 if size < limits[2] else 2
        yield size / limits[0], Claim(group, topic, change > 0, degree, round(float(change), 5))


def _light(b: Light, a: Light) -> Iterator[tuple[float, Claim]]:
    moved = a.mean - b.mean
    yield from _made(LIGHTING, "exposure", moved, EXPOSURE)
    contrast = float(np.log(max(a.spread, 1e-3) / max(b.spread, 1e-3)))
    yield from _made(LIGHTING, "contrast", contrast, CONTRAST)
    low, high = a.low - b.low, a.high - b.high
    opened = low > ENDS[0] and b.low < BLOCKED_BELOW
    deepened = low < -ENDS[0] and b.low > GREY_ABOVE
    if opened or deepened:
        yield from _made(LIGHTING, "shadows", _beyond(low, moved), ENDS)
    tamed = high < -ENDS[0] and b.high > GLARING_ABOVE
    lifted = high > ENDS[0] and b.high < DULL_BELOW
    if tamed or lifted:
        yield from _made(LIGHTING, "highlights", _beyond(high, moved), ENDS)
    for topic, was, now in (("white", b.white, a.white), ("black", b.black, a.black)):
        if now < 0.5 * was:
            yield from _made(LIGHTING, topic, -was, CLIPPED)


def _beyond(change: float, moved: float) -> float:
    """The part of a change that the movement of the mean does not explain; 0 when it turns sign."""
    rest = change - moved
    return rest if rest * change > 0 else 0.0


def _global(m: PairMeasures) -> Iterator[tuple[float, Claim]]:
    became, was = m.colour.chroma[1], m.colour.chroma[0]
    if became < COLOURLESS < was / 2:
        ratio = float(np.log(max(became, 1e-3) / was))
        yield 99.0, Claim(GLOBAL, "no colour", False, 2, round(ratio, 3))
        return
    for topic, axis in (("temperature", 1), ("tint", 0)):
        if m.cast is None:
            change = m.mean_ab[axis]
            yield from _made(GLOBAL, topic, change, (CAST_ALL, *CAST[1:]))
        elif abs(m.mean_ab[axis]) > 1.0 and m.mean_ab[axis] * m.cast[axis] > 0:
            yield from _made(GLOBAL, topic, m.cast[axis], CAST)
    yield from _made(GLOBAL, "saturation", _agreed(m.colour, 0.0, 0.0), COLOUR)


def _agreed(patch: Patch, overall: float, overall_pure: float) -> float:
    """Log ratio of chroma beyond the whole photo's, the smaller of seen and cast-free.

    0 when these, or the plain changes, do not all point the same way.
    """
    plain = [float(np.log(max(p[1], 1e-3) / max(p[0], 1e-3))) for p in (patch.chroma, patch.pure)]
    rest = [plain[0] - overall, plain[1] - overall_pure]
    signs = {np.sign(v) for v in (*plain, *rest)}
    if len(signs) > 1 or min(map(abs, plain)) < 0.04:
        return 0.0
    return min(rest, key=abs)


def _specific(m: PairMeasures) -> Iterator[tuple[float, Claim]]:
    if min(m.colour.chroma) < COLOURLESS:
        return
    overall, pure = (
        float(np.log(max(p[1], 1e-3) / max(p[0], 1e-3))) for p in (m.colour.chroma, m.colour.pure)
    )
    moved = m.after.mean - m.before.mean
    calm = max(map(abs, m.cast or m.mean_ab)) < CALM_CAST
    patches = {name: p for name, p in m.hues.items() if p.share >= HUE_MIN_SHARE}
    for name, patch in (*m.regions.items(), *patches.items()):
        lead = 1.15 if name in m.regions else 1.0  # a region says more than a hue
        made = [*_made(SPECIFIC, f"colour:{name}", _agreed(patch, overall, pure), HUE_COLOUR)]
        change = patch.light[1] - patch.light[0]
        if abs(change) > 3.0:
            made += _made(SPECIFIC, f"light:{name}", _beyond(change, moved), HUE_LIGHT)
        if calm and name in patches and min(patch.chroma) > HUE_MIN_CHROMA:
            same = patch.turn[0] * patch.turn[1] > 0
            turn = min(patch.turn, key=abs) if same else 0.0
            made += _made(SPECIFIC, f"turn:{name}", turn, HUE_TURN)
        yield from ((lead * weight, claim) for weight, claim in made)


def _log(before: float, after: float) -> float:
    return abs(float(np.log(max(after, 1e-3) / max(before, 1e-3))))


def next_hue(hue: str, up: bool) -> str:
    """The hue that a turn of `hue` leads to: up goes from red by yellow to green, and round."""
    names = [h.lower() for h in HUES]
    return names[(names.index(hue) + (1 if up else -1)) % len(names)]
