"""Reasoning text that is true: measured on the pixels before and after, then put in words."""

from __future__ import annotations

import numpy as np
import torch

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import band_weights, hue_chroma
from vera_mobile.develop.sliders import HUES

Measures = dict[str, float]
HUE_WORDS = ("reds", "oranges", "yellows", "greens", "aquas", "blues", "purples", "magentas")
MIN_SHARE = 0.04


def measure(rgb: np.ndarray) -> Measures:
    """Statistics of a photo or a sample of its pixels.

    rgb: (N, 3) float, encoded sRGB in [0, 1]. Returns CIELAB means (L, a, b), mean chroma C, spread
    and 5 %/95 % quantiles of L, and per hue band its share, chroma (`green`) and L (`green_L`).
    """
    lab = rgb_to_lab(np.asarray(rgb, np.float64))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    low, high = np.quantile(lab[:, 0], (0.05, 0.95))
    out = {
        "L": lab[:, 0].mean(), "a": lab[:, 1].mean(), "b": lab[:, 2].mean(), "C": chroma.mean(),
        "spread": lab[:, 0].std(), "low": low, "high": high,
    }  # fmt: skip
    x = torch.from_numpy(np.asarray(rgb, np.float32))
    _, _, hue, c = hue_chroma(x)
    weights = (band_weights(hue) * (c > 0.06)).numpy()
    for i, name in enumerate(HUES):
        w = weights[:, i]
        total = max(float(w.sum()), 1e-6)
        key = name.lower()
        out[f"{key}_share"] = float(w.mean())
        out[key] = float((w * chroma).sum()) / total
        out[f"{key}_L"] = float((w * lab[:, 0]).sum()) / total
    return {k: float(v) for k, v in out.items()}


ADVERBS = ("slightly", "clearly", "strongly")
ADJECTIVES = ("slight", "clear", "strong")


def _amount(size: float, small: float, big: float) -> int:
    return 0 if size < small else 1 if size < big else 2


def _light(b: Measures, a: Measures) -> tuple[list[str], list[str]]:
    problem, plan = [], []
    dl = a["L"] - b["L"]
    if abs(dl) > 2.5:
        how = _amount(abs(dl), 7, 15)
        problem.append(
            f"{('slightly', 'clearly', 'far')[how]} too {'dark' if dl > 0 else 'bright'}"
        )
        plan.append(f"{'raise' if dl > 0 else 'lower'} the exposure {ADVERBS[how]}")
    ratio = a["spread"] / max(b["spread"], 1e-3)
    if ratio > 1.12 or ratio < 0.89:
        problem.append("flat contrast" if ratio > 1 else "harsh contrast")
        plan.append("add contrast" if ratio > 1 else "soften the contrast")
    drift = (a["low"] - b["low"]) - dl
    if abs(drift) > 4:
        problem.append("blocked shadows" if drift > 0 else "washed out blacks")
        plan.append("open the shadows" if drift > 0 else "deepen the blacks")
    return problem, plan


def _color(b: Measures, a: Measures) -> tuple[list[str], list[str]]:
    problem, plan = [], []
    for axis, plus, minus, more, less in (
        ("b", "cool cast", "warm cast", "warm the white balance", "cool the white balance"),
        ("a", "green cast", "magenta cast", "shift the tint to magenta", "shift the tint to green"),
    ):
        d = a[axis] - b[axis]
        if abs(d) > 2:
            how = _amount(abs(d), 5, 11)
            problem.append(f"{ADJECTIVES[how]} {plus if d > 0 else minus}")
            plan.append(f"{more if d > 0 else less} {ADVERBS[how]}")
    ratio = a["C"] / max(b["C"], 1e-3)
    if ratio > 1.12 or ratio < 0.89:
        problem.append("pale colors" if ratio > 1 else "too strong colors")
        plan.append("add saturation" if ratio > 1 else "reduce the saturation")
    return problem, plan


def _hues(b: Measures, a: Measures) -> tuple[list[str], list[str]]:
    overall = a["C"] / max(b["C"], 1e-3)
    found = []
    for name, word in zip(HUES, HUE_WORDS, strict=True):
        key = name.lower()
        if min(b[f"{key}_share"], a[f"{key}_share"]) < MIN_SHARE:
            continue
        ratio = a[key] / max(b[key], 1e-3) / overall
        if ratio > 1.15 or ratio < 0.87:
            found.append((abs(np.log(ratio)), word, ratio > 1))
    found.sort(reverse=True)
    problem = [f"{'dull' if up else 'loud'} {word}" for _, word, up in found[:2]]
    plan = [f"{'enrich' if up else 'calm'} the {word}" for _, word, up in found[:2]]
    return problem, plan


_OPEN = (("Problems.", "Plan."), ("What is wrong.", "What to do."), ("I see.", "I will."))
_NONE = ("fine", "looks right", "no problem")
_KEEP = ("keep it", "leave it", "no change")


def describe(before: Measures, after: Measures, task: str, rng: np.random.Generator) -> str:
    """The answer text of one sample: problems (auto only) and plan, for the three groups."""
    opening = _OPEN[rng.integers(len(_OPEN))]
    groups = [f(before, after) for f in (_light, _color, _hues)]
    joiner = (", ", " and ", "; ")[rng.integers(3)]

    def lines(part: int, nothing: tuple[str, ...]) -> str:
        said = [joiner.join(g[part]) or str(rng.choice(nothing)) for g in groups]
        return " ".join(
            f"{name}: {text}." for name, text in zip(("Light", "Color", "Hues"), said, strict=True)
        )

    plan = f"{opening[1]} {lines(1, _KEEP)}"
    return plan if task != "auto" else f"{opening[0]} {lines(0, _NONE)}\n{plan}"
