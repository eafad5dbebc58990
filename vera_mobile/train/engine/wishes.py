"""Instructions of the style task: wishes in many wordings, of names and measured directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vera_mobile.train.engine.claims import Claim, next_hue
from vera_mobile.train.engine.phrases import DEGREES, HUE_NAMES, REGION_NAMES
from vera_mobile.train.styles import StyleConcept, wording

COMPARED = {
    "exposure+": "brighter|lighter", "exposure-": "darker",
    "contrast+": "punchier|more contrasty", "contrast-": "softer|less contrasty",
    "temperature+": "warmer", "temperature-": "cooler|colder",
    "tint+": "pinker|rosier", "tint-": "greener in tint",
    "saturation+": "more colourful|more vivid|richer in colour",
    "saturation-": "more muted|less colourful|paler",
}  # fmt: skip
"""Wishes that take a degree: "slightly brighter"."""

WITH = {
    "shadows+": "open shadows|lifted shadows", "shadows-": "deep blacks|darker shadows",
    "highlights+": "brighter highlights", "highlights-": "calmer highlights|held back highlights",
    "colour+": "richer {name}|stronger {name}", "colour-": "calmer {name}|muted {name}",
    "light+": "brighter {name}|lighter {name}", "light-": "darker {name}|deeper {name}",
    "turn+": "{name} that lean to {to}|{name} shifted towards {to}",
}  # fmt: skip
WITH["turn-"] = WITH["turn+"]
MONOCHROME = "black and white|monochrome|in black and white|without colour"

ASKED = (
    "{}", "{}", "make it {}", "please make it {}", "make this photo {}", "i want it {}",
    "could you make it {}?", "i would like the picture {}", "turn this into something {}",
    "it should be {}", "can this be {}?",
)  # fmt: skip
GIVEN = ("{}", "give it {}", "i want {}", "i would like {}", "please give me {}", "{} please",
         "could you give this photo {}?")  # fmt: skip
NAMED = (
    "{}", "{} look", "{} style", "give it a {} look", "in the style of {}", "make it look like {}",
    "i want the {} look", "apply a {} look please", "edit this as {}", "something like {}",
)  # fmt: skip
LOOSE = (
    "{}, please", "i am after this: {}", "the look i want: {}", "please retouch: {}", "style: {}",
    "what i have in mind: {}", "retouch towards {}",
)  # fmt: skip
AMOUNT_AFTER = {
    0.5: ("{}, but only a little", "{}, just a touch", "{}, but keep it subtle", "{}, slightly"),
    1.0: ("{}",),
    1.5: ("{}, and strongly so", "{}, very much", "{}, a strong version", "{}, go far"),
}
MAX_DIRECTIONS = 3


def preset_wish(name: str, claims: Sequence[Claim], rng: np.random.Generator) -> str:
    """A wish for a preset: by its name ("" for none), by what was measured, or by both.

    claims: what holds on the photo and its target; nothing else is said of a direction. Without a
    name there must be one at least.
    """
    told = directions(claims, rng)
    kind = rng.random()
    if name and (kind < 0.45 or not told):
        text = _one(NAMED, rng).format(name)
    elif name and kind < 0.75:
        text = f"{_one(NAMED, rng).format(name)}, {told}"
    elif told.startswith("with "):
        text = _one(GIVEN, rng).format(told.removeprefix("with "))
    else:
        text = _one(ASKED, rng).format(told)
    return _written(text, rng)


def concept_wish(concept: StyleConcept, amount: float, rng: np.random.Generator) -> str:
    """A built-in concept at an amount of `AMOUNTS`: by `styles.wording`, or in a sentence."""
    if rng.random() < 0.5:
        return _written(wording(concept, amount, rng), rng)
    said = _one(AMOUNT_AFTER[amount], rng).format(_one(concept.wordings, rng))
    return _written(_one(LOOSE, rng).format(said) if rng.random() < 0.6 else said, rng)


def directions(claims: Sequence[Claim], rng: np.random.Generator) -> str:
    """Up to three of the statements as one wish: "slightly warmer and softer, with deep blacks"."""
    usable = [c for c in claims if _key(c) in COMPARED or _key(c) in WITH or c.kind == "no colour"]
    count = min(len(usable), int(rng.integers(1, MAX_DIRECTIONS + 1)))
    # the first of a group is the largest; a wish names what is seen at once
    picked = sorted(rng.choice(len(usable), size=count, replace=False)) if usable else []
    plain, accompanied = [], []
    for claim in (usable[i] for i in picked):
        if claim.kind == "no colour":
            plain.append(_one(MONOCHROME.split("|"), rng))
        elif _key(claim) in COMPARED:
            plain.append(_compared(claim, rng))
        else:
            accompanied.append(_accompanied(claim, rng))
    said = " and ".join([", ".join(plain[:-1]), plain[-1]] if len(plain) > 1 else plain)
    if accompanied:
        said += (", " if said else "") + "with " + " and ".join(accompanied)
    return said


def _key(claim: Claim) -> str:
    return f"{claim.kind}{'+' if claim.up else '-'}"


def _compared(claim: Claim, rng: np.random.Generator) -> str:
    words = _one(COMPARED[_key(claim)].split("|"), rng)
    degree = _one(DEGREES["more"][claim.degree].split("|"), rng)
    return f"{degree} {words}" if rng.random() < 0.5 else words


def _accompanied(claim: Claim, rng: np.random.Generator) -> str:
    text = _one(WITH[_key(claim)].split("|"), rng)
    name = HUE_NAMES.get(claim.what) or _one(REGION_NAMES.get(claim.what, "").split("|"), rng)
    if claim.kind == "turn":
        text = text.replace("{to}", next_hue(claim.what, claim.up))
    return text.replace("{name}", name)


def _written(text: str, rng: np.random.Generator) -> str:
    """As people type: mostly plain, sometimes with a capital and a full stop."""
    if rng.random() < 0.7:
        return text
    text = text[0].upper() + text[1:]
    return text if text.endswith("?") or rng.random() < 0.5 else f"{text}."


def _one(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
