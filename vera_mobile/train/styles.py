"""The styles that training teaches: wordings, sliders, and what must move on the photo.

`checks` name a measurement of `words.measure` and the sign of its change; `vera bench quality` uses
them for `style.direction_accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vera_mobile.develop.sliders import vector


@dataclass(frozen=True)
class StyleConcept:
    """One look: how people ask for it, the sliders at normal amount, the measured directions."""

    name: str
    wordings: tuple[str, ...]
    sliders: dict[str, float]
    checks: tuple[tuple[str, int], ...]

    def vector(self, amount: float = 1.0) -> np.ndarray:
        """Sliders (38,) float32 in percent at `amount`, clipped to -100..100."""
        return np.clip(vector(self.sliders) * amount, -100, 100)


AMOUNTS: dict[float, tuple[str, ...]] = {
    0.5: ("slightly", "a little", "a touch", "subtle", "gently"),
    1.0: ("", "", "", "please make it", "i want it", "make it", "give it a look that is"),
    1.5: ("very", "much", "strongly", "really", "extremely"),
}


def _style(name: str, words: str, checks: str, **sliders: float) -> StyleConcept:
    pairs = tuple((c[1:], 1 if c[0] == "+" else -1) for c in checks.split())
    return StyleConcept(name, tuple(w.strip() for w in words.split("|")), sliders, pairs)


STYLES: tuple[StyleConcept, ...] = (
    _style(
        "warm",
        "warm|warm|warm|warmer|warm tones|sunny and warm|cosy|warm light",
        "+b",
        IncrementalTemperature=42,
    ),
    _style(
        "cool",
        "cool|cool|cool|cooler|cold|cool tones|bluish|cold light|icy",
        "-b",
        IncrementalTemperature=-42,
    ),
    _style(
        "bright",
        "bright|brighter|lighter|more exposure|light and bright|brighten it",
        "+L",
        Exposure2012=14,
        Shadows2012=15,
    ),
    _style("dark", "dark|darker|less exposure|low key|darken it", "-L", Exposure2012=-14),
    _style(
        "moody",
        "moody|dark and moody|dramatic and dark|brooding",
        "-L -C",
        Exposure2012=-12,
        Contrast2012=22,
        Saturation=-22,
        Highlights2012=-25,
    ),
    _style(
        "contrasty",
        "contrasty|more contrast|punchy|crisp contrast|high contrast|bold contrast",
        "+spread",
        Contrast2012=55,
        Blacks2012=-25,
        Whites2012=15,
    ),
    _style(
        "soft",
        "soft|softer|low contrast|less contrast|gentle and soft|dreamy",
        "-spread",
        Contrast2012=-50,
        Blacks2012=30,
        Highlights2012=-30,
    ),
    _style(
        "faded",
        "faded|matte|faded film|washed out film|faded matte look",
        "+low -C",
        Blacks2012=80,
        Contrast2012=-22,
        Saturation=-20,
    ),
    _style(
        "vivid",
        "vivid|vibrant|more colour|more color|colourful|saturated|rich colours",
        "+C",
        Vibrance=55,
        Saturation=22,
    ),
    _style(
        "muted",
        "muted|desaturated|less colour|less color|subdued colours|pale colours",
        "-C",
        Saturation=-42,
        Vibrance=-10,
    ),
    _style(
        "black and white",
        "black and white|monochrome|greyscale|b&w|no colour",
        "-C",
        Saturation=-100,
        Contrast2012=15,
    ),
    _style(
        "pink tint",
        "pink|pinkish|magenta tint|rosy|rose tones",
        "+a",
        IncrementalTint=38,
        Exposure2012=3,
    ),
    _style("green tint", "green tint|greenish|matrix green|green tones", "-a", IncrementalTint=-38),
    _style(
        "airy pink",
        "airy pink|light airy and pink|soft pink and airy|airy rose",
        "+L +a",
        Exposure2012=14,
        IncrementalTint=28,
        Contrast2012=-20,
        Shadows2012=20,
    ),
    _style(
        "airy",
        "airy|light and airy|bright and airy|high key|fresh and airy",
        "+L",
        Exposure2012=17,
        Contrast2012=-28,
        Shadows2012=30,
        Saturation=-8,
    ),
    _style(
        "golden hour",
        "golden hour|golden|sunset glow|golden light|honey tones",
        "+b +C",
        IncrementalTemperature=45,
        IncrementalTint=8,
        Vibrance=25,
        SaturationAdjustmentOrange=25,
        SaturationAdjustmentYellow=20,
    ),
    _style(
        "winter",
        "winter|wintry|cold winter|frosty|nordic winter",
        "-b",
        IncrementalTemperature=-38,
        Saturation=-15,
        Exposure2012=5,
    ),
    _style(
        "vintage",
        "vintage|retro|old photo|nostalgic|70s film|analog film",
        "+low -C",
        IncrementalTemperature=28,
        Blacks2012=60,
        Contrast2012=-15,
        Saturation=-18,
    ),
    _style(
        "cinematic",
        "cinematic|teal and orange|movie look|film still|hollywood",
        "+spread",
        Contrast2012=32,
        Shadows2012=-15,
        HueAdjustmentBlue=-45,
        SaturationAdjustmentOrange=30,
        SaturationAdjustmentAqua=25,
        HueAdjustmentGreen=35,
        Blacks2012=-10,
    ),
    _style(
        "open shadows",
        "open shadows|lift the shadows|brighter shadows|see into the shadows",
        "+low",
        Shadows2012=85,
        ParametricShadows=40,
    ),
    _style(
        "recover highlights",
        "recover highlights|tame the highlights|darker highlights|less bright sky",
        "-high",
        Highlights2012=-85,
        ParametricHighlights=-35,
        Whites2012=-20,
    ),
    _style(
        "lush greens",
        "lush greens|greener plants|fresh greens|vivid foliage|richer greens",
        "+green",
        SaturationAdjustmentGreen=60,
        SaturationAdjustmentYellow=30,
        LuminanceAdjustmentGreen=8,
    ),
    _style(
        "deep blue sky",
        "deep blue sky|bluer sky|richer blues|dramatic blue sky|deeper blues",
        "-blue_L",
        SaturationAdjustmentBlue=60,
        SaturationAdjustmentAqua=35,
        LuminanceAdjustmentBlue=-35,
    ),
    _style(
        "autumn",
        "autumn|autumn colours|fall colors|autumnal|october woods",
        "+a",
        HueAdjustmentGreen=-80,
        HueAdjustmentYellow=-45,
        IncrementalTemperature=14,
        SaturationAdjustmentOrange=20,
        IncrementalTint=10,
    ),
    _style(
        "soft skin",
        "soft skin|glowing skin|brighter skin|flattering portrait|portrait glow",
        "+orange_L",
        LuminanceAdjustmentOrange=45,
        LuminanceAdjustmentRed=25,
        SaturationAdjustmentOrange=-12,
        Shadows2012=12,
    ),
    _style(
        "night blue",
        "night blue|moonlight|day for night|midnight blue",
        "-L -b",
        Exposure2012=-18,
        IncrementalTemperature=-42,
        Saturation=-15,
        Contrast2012=10,
    ),
)
ASKED_OFTEN = {"warm": 8.0, "cool": 8.0}
"""How much more often than the others a style is drawn in training; the others count 1."""

BY_NAME = {s.name: s for s in STYLES}


def draw(rng: np.random.Generator) -> StyleConcept:
    """A random style; what people ask for most comes more often."""
    weights = np.array([ASKED_OFTEN.get(s.name, 1.0) for s in STYLES])
    return STYLES[rng.choice(len(STYLES), p=weights / weights.sum())]


def wording(concept: StyleConcept, amount: float, rng: np.random.Generator) -> str:
    """One way to ask for `concept` at `amount` (0.5, 1.0 or 1.5)."""
    lead = str(rng.choice(AMOUNTS[amount]))
    return f"{lead} {rng.choice(concept.wordings)}".strip()
