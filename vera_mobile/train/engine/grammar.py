"""Statements in words: a small grammar with many ways to say each thing, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vera_mobile.develop.sliders import GROUPS
from vera_mobile.train.answers import GROUP_WORDS
from vera_mobile.train.engine.claims import Claim, next_hue
from vera_mobile.train.engine.phrases import (
    DEGREES,
    FINE,
    GONE,
    HUE_NAMES,
    KEEP,
    LABELS,
    OPENINGS,
    PLANS,
    PROBLEMS,
    REGION_NAMES,
    SINGULAR,
    SMALL_FLAW,
    SMALL_STEP,
    STEPS,
    VERBS,
)

T = TypeVar("T")
BRIEF_CLAIMS = 2
REDRAWS = 5


@dataclass(frozen=True)
class Said:
    """What is said of one group: its statements, and whether "it is fine" holds when none is.

    colourless: the edit leaves no colour, so that single hues are past.
    """

    claims: tuple[Claim, ...]
    quiet: bool
    colourless: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer in words: the whole text, and its clauses by group; no problems but in auto."""

    text: str
    problems: tuple[str, ...]
    plans: tuple[str, ...]

    def labelled(self) -> str:
        """The clauses in the one form that `train.answers` reads: Light, Color and Hues."""
        lines = []
        for opening, clauses in (("Problems.", self.problems), ("Plan.", self.plans)):
            if clauses:
                said = [f"{k}: {c}." for k, c in zip(GROUP_WORDS, clauses, strict=True)]
                lines.append(" ".join([opening, *said]))
        return "\n".join(lines)


def answer(said: Sequence[Said], task: str, rng: np.random.Generator, *, brief: bool = False
           ) -> Answer:  # fmt: skip
    """Problems (auto only) and plan, group by group in the order of `GROUPS`.

    The text has one of three forms: labelled lines, flowing sentences, one line a group. brief: at
    most two statements a group, in their shorter wordings; the text is the labelled form.
    """
    voice = _Voice(rng, brief)
    plans = tuple(voice.plans(g, s) for g, s in zip(GROUPS, said, strict=True))
    problems: tuple[str, ...] = ()
    if task == "auto":
        problems = tuple(voice.problems(g, s) for g, s in zip(GROUPS, said, strict=True))
    if brief:
        return Answer(Answer("", problems, plans).labelled(), problems, plans)
    return Answer(voice.text(problems, plans), problems, plans)


def phrase(claim: Claim, table: dict[str, str], rng: np.random.Generator) -> str:
    """One statement in words, drawn from `PROBLEMS` or `PLANS`."""
    return _Voice(rng).phrase(claim, table)


class _Voice:
    """Draws words; every draw comes from one generator, so a text is known from its seed."""

    def __init__(self, rng: np.random.Generator, brief: bool = False) -> None:
        self.rng, self.brief = rng, brief

    def pick(self, choices: str) -> str:
        options = choices.split("|")
        if self.brief:
            options = sorted(options, key=len)[: (len(options) + 1) // 2]
        return self.pick_whole(options)

    def pick_whole(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chosen(self, said: Said) -> tuple[Claim, ...]:
        return said.claims[:BRIEF_CLAIMS] if self.brief else said.claims

    def problems(self, group: str, said: Said) -> str:
        if said.claims:
            return self.joined(self.phrases(said, PROBLEMS))
        return self.pick((FINE if said.quiet else SMALL_FLAW)[group])

    def plans(self, group: str, said: Said) -> str:
        if said.claims:
            return self.joined(self.phrases(said, PLANS))
        if said.colourless:
            return self.pick(GONE)
        return self.pick((KEEP if said.quiet else SMALL_STEP)[group])

    def phrases(self, said: Said, table: dict[str, str]) -> list[str]:
        """The statements in words, no two with the same beginning where that can be had."""
        out: list[str] = []
        for claim in self.chosen(said):
            for _ in range(REDRAWS):
                text = self.phrase(claim, table)
                if all(text.split()[:2] != other.split()[:2] for other in out):
                    break
            out.append(text)
        return out

    def joined(self, clauses: list[str]) -> str:
        if len(clauses) == 1:
            return clauses[0]
        last = self.pick_whole((" and ", ", and ", "; "))
        return ", ".join(clauses[:-1]) + last + clauses[-1]

    def phrase(self, claim: Claim, table: dict[str, str]) -> str:
        key = f"{claim.kind}{'+' if claim.up else '-'}"
        text = self.pick(table[key])
        name = ""
        if claim.what:
            name = HUE_NAMES.get(claim.what) or self.pick(REGION_NAMES[claim.what])
        for slot, words in DEGREES.items():
            if f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", self.pick(words[claim.degree]))
        for verb, third in VERBS.items():
            text = text.replace(f"{{{verb}}}", third if name in SINGULAR else verb)
        if claim.kind == "turn":
            text = text.replace("{to}", next_hue(claim.what, claim.up))
            text = text.replace("{from}", next_hue(claim.what, not claim.up))
        text = text.replace("{share}", f"{abs(claim.amount) * 100:.0f}")
        return text.replace("{the}", f"the {name}")

    def text(self, problems: Sequence[str], plans: Sequence[str]) -> str:
        form = int(self.rng.integers(3))
        first, second = self.pick_whole(OPENINGS)
        labels = self.pick_whole(LABELS)
        if form == 1:
            steps = self.pick_whole(STEPS).split("|")
            plans = [f"{step}{c}" for step, c in zip(steps, plans, strict=True)]
        parts = [self.frame(form, first, labels, problems)] if problems else []
        return "\n".join([*parts, self.frame(form, second, labels, plans)])

    def frame(self, form: int, opening: str, labels: Sequence[str], clauses: Sequence[str]) -> str:
        if form == 0:
            lines = [f"{label}: {c}." for label, c in zip(labels, clauses, strict=True)]
            return f"{opening} {' '.join(lines)}"
        if form == 1:
            return f"{opening} {' '.join(f'{_capital(c)}.' for c in clauses)}"
        lines = [f"- {label}: {c}" for label, c in zip(labels, clauses, strict=True)]
        return opening.rstrip(".") + ":\n" + "\n".join(lines)


def _capital(text: str) -> str:
    return re.sub(r"^\w", lambda m: m[0].upper(), text)
