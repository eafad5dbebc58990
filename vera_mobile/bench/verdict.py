"""Regressions between two results of one device: beyond 5 % and beyond the noise of both.

Noise is the standard error of the difference of two medians, 1.2533 sigma / sqrt(n) each; sigma is
1.4826 x the median absolute deviation or, where that is 0, (p95 - median) / 1.645. Three of them
must be exceeded.

Beside times there is what no machine's load changes: the bundle's size, and the bytes and
multiply-adds that are counted in its graph. These may be compared across devices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vera_mobile.errors import InvalidArgument

LIMIT = 0.05
NOISE_STEPS = 3.0
REGRESSION, IMPROVEMENT, UNSURE, SAME = "regression", "improvement", "within noise", "same"
_OF_TOKENS = ("decode", "plan")  # their work depends on the text's length
_OF_PROMPT = ("prefill", "decode", "plan", "instant_look")


@dataclass(frozen=True)
class Change:
    """A figure before and after; ratio above 1 is slower or larger. noise: in the figure's unit."""

    name: str
    unit: str
    before: float
    after: float
    noise: float
    verdict: str

    @property
    def ratio(self) -> float:
        """After over before; infinite where before is 0 and after is not."""
        if self.before == 0:
            return 1.0 if self.after == 0 else math.inf
        return self.after / self.before


@dataclass(frozen=True)
class Verdict:
    """All changes, and what could not be compared with the reason."""

    changes: tuple[Change, ...]
    skipped: Mapping[str, str]

    @property
    def regressed(self) -> bool:
        """Whether one figure regressed."""
        return any(change.verdict == REGRESSION for change in self.changes)


def compare_results(before: Mapping[str, Any], after: Mapping[str, Any]) -> Verdict:
    """Stages, peak memory and file sizes of two checked results (see `results.check_result`).

    Raises InvalidArgument for results of different devices or units, or without a common stage.
    """
    for words, one, other in (
        ("devices", before["device"]["id"], after["device"]["id"]),
        ("units", before["unit"], after["unit"]),
    ):
        if one != other:
            raise InvalidArgument(
                f"The results are of different {words} ({one} and {other}): a regression can only "
                "be told on one."
            )
    changes, skipped = _stages(before, after)
    if not changes:
        raise InvalidArgument("The results have no stage in common: nothing can be compared.")
    changes.append(_bundle_size(before, after))
    peaks = [result["memory"].get("peak_mb") for result in (before, after)]
    if None in peaks:
        skipped["peak memory"] = "not taken"
    else:
        changes.append(_plain("peak memory", "MB", *peaks))
    return Verdict(tuple(changes), skipped)


def compare_steady(before: Mapping[str, Any], after: Mapping[str, Any]) -> Verdict:
    """Bundle size, bytes moved and multiply-adds of two checked results, of any devices.

    Raises InvalidArgument where the results have none of the counts in common.
    """
    changes, skipped = [], {}
    for name in dict.fromkeys([*before["stages"], *after["stages"]]):
        one, other = (result["stages"].get(name, {}) for result in (before, after))
        # a step reads as much of the cache as stands before it
        why = _other_case("decode" if name == "decode_per_token" else name, before, after)
        for figure, unit, scale in (("bytes_moved", "MB", 1e6), ("multiply_adds", "G", 1e9)):
            words = f"{name} {figure.replace('_', ' ')}"
            values = [row.get(figure) for row in (one, other)]
            if why or None in values:
                skipped[words] = why or "not counted in both"
            else:
                changes.append(_plain(words, unit, *(value / scale for value in values)))
    if not changes:
        raise InvalidArgument(
            "The results have no counts in common: make them by `vera bench run`."
        )
    return Verdict((_bundle_size(before, after), *changes), skipped)


def _bundle_size(before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    sizes = (result["bundle"]["size_bytes"] / 1e6 for result in (before, after))
    return _plain("bundle size", "MB", *sizes)


def _other_case(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Why a stage did other work in both results; "" where it did the same."""
    if name in _OF_TOKENS and before.get("tokens") != after.get("tokens"):
        return "the texts differ in length"
    if name in _OF_PROMPT and before.get("prompt_tokens") != after.get("prompt_tokens"):
        return "the prompts differ in length"
    return ""


def _stages(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[list[Change], dict[str, str]]:
    changes, skipped = [], {}
    for name in dict.fromkeys([*before["stages"], *after["stages"]]):
        one, other = (result["stages"].get(name) for result in (before, after))
        if one is None or other is None:
            skipped[name] = "only in one result"
        elif one.get("median_ms") is None or other.get("median_ms") is None:
            skipped[name] = "not taken"
        elif why := _other_case(name, before, after):
            skipped[name] = why
        else:
            noise = math.hypot(_error(one), _error(other))
            changes.append(_change(name, "ms", one["median_ms"], other["median_ms"], noise))
    return changes, skipped


def _error(row: Mapping[str, Any]) -> float:
    """Standard error of a median, milliseconds."""
    sigma = 1.4826 * (row.get("mad_ms") or 0.0)
    if sigma == 0 and row.get("p95_ms") is not None:
        sigma = max(row["p95_ms"] - row["median_ms"], 0.0) / 1.645
    return 1.2533 * sigma / math.sqrt(row.get("n") or 1)


def _plain(name: str, unit: str, before: float, after: float) -> Change:
    return _change(name, unit, before, after, 0.0)


def _change(name: str, unit: str, before: float, after: float, noise: float) -> Change:
    change = abs(after - before)
    if change <= LIMIT * before:
        verdict = SAME
    elif change <= NOISE_STEPS * noise:
        verdict = UNSURE
    else:
        verdict = REGRESSION if after > before else IMPROVEMENT
    return Change(name, unit, before, after, noise, verdict)
