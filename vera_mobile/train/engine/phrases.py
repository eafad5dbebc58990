"""The words of the answers: alternatives parted by "|", with places that the grammar fills.

{very}, {too}, {kind}, {by}, {far}, {more}: the degree, as an adverb or adjective that fits there;
{the}: the hue or region with its article, and verbs that follow its number; {share}: percent of the
pixels; {from}, {to}: neighbouring hues.
"""

from __future__ import annotations

DEGREES: dict[str, tuple[str, str, str]] = {
    "very": ("slightly|a little|somewhat", "clearly|visibly|quite", "very|really|extremely"),
    "too": ("slightly too|a little too|a touch too", "clearly too|noticeably too",
            "far too|much too"),
    "kind": ("slight|light|faint", "clear|visible|distinct", "strong|heavy|pronounced"),
    "by": ("slightly|a little|gently|a touch", "clearly|noticeably|by a good step",
           "strongly|a lot|by a large step"),
    "far": ("slightly|a little|a touch", "clearly|noticeably", "strongly|far"),
    "more": ("slightly|a little|a touch", "clearly|noticeably", "much|a lot|far"),
}  # fmt: skip
"""Words for slight, clear and strong, by the place that they fill in a phrase."""

PROBLEMS: dict[str, str] = {
    "exposure+": "the photo is {too} dark|it is {too} dark|the exposure is {too} low|"
    "the picture looks {very} underexposed",
    "exposure-": "the photo is {too} bright|it is {too} bright|the exposure is {too} high|"
    "the picture looks {very} overexposed",
    "contrast+": "the contrast is {too} flat|the tones look {very} flat|"
    "light and dark lie {too} close together",
    "contrast-": "the contrast is {too} harsh|the tones are {too} hard|"
    "light and dark lie {too} far apart",
    "shadows+": "the shadows are {very} blocked|the darkest parts are {too} deep|"
    "the shadows hide detail",
    "shadows-": "the blacks are {very} washed out|the darkest parts look grey|"
    "the deepest tones are {too} light",
    "highlights+": "the highlights are {very} dull|the brightest parts lack light",
    "highlights-": "the highlights are {very} glaring|the brightest parts are {too} bright",
    "white-": "about {share} % of the frame is blown to pure white|"
    "{share} % or so of the pixels are clipped at white",
    "black-": "about {share} % of the frame has gone to pure black|"
    "{share} % or so of the pixels are clipped at black",
    "temperature+": "there is a {kind} cool cast|the white balance is {too} cold|"
    "the colours are {too} blue|neutral tones lean {far} to blue",
    "temperature-": "there is a {kind} warm cast|the white balance is {too} warm|"
    "the colours are {too} yellow|neutral tones lean {far} to yellow",
    "tint+": "there is a {kind} green cast|the tint is {too} green|"
    "neutral tones lean {far} to green",
    "tint-": "there is a {kind} magenta cast|the tint is {too} pink|"
    "neutral tones lean {far} to magenta",
    "saturation+": "the colours are {too} pale|the colours look {very} washed out|"
    "the saturation is {too} low",
    "saturation-": "the colours are {too} strong|the colours look {very} overdone|"
    "the saturation is {too} high",
    "no colour-": "colour has crept into a photo without any|"
    "a tint lies on a photo that should have none",
    "colour+": "{the} {look} {very} dull|{the} {are} {too} pale|{the} {lack} colour",
    "colour-": "{the} {look} {very} loud|{the} {are} {too} strong in colour|"
    "{the} {stand} out too much",
    "light+": "{the} {are} {too} dark|{the} {look} {very} heavy",
    "light-": "{the} {are} {too} bright|{the} {look} {very} thin",
    "turn+": "{the} {lean} {far} to {from}|{the} {are} {very} off towards {from}",
}  # fmt: skip
PROBLEMS["turn-"] = PROBLEMS["turn+"]

PLANS: dict[str, str] = {
    "exposure+": "raise the exposure {by}|brighten the photo {by}|lift the overall light {by}",
    "exposure-": "lower the exposure {by}|darken the photo {by}|bring the overall light down {by}",
    "contrast+": "add contrast {by}|spread the tones {by}|give it {more} more contrast",
    "contrast-": "soften the contrast {by}|bring the tones {more} closer together|"
    "reduce the contrast {by}",
    "shadows+": "open the shadows {by}|lift the darkest parts {by}|bring light into the shadows",
    "shadows-": "deepen the blacks {by}|set the darkest tones {more} lower|anchor the shadows",
    "highlights+": "lift the highlights {by}|let the brightest parts shine {more} more",
    "highlights-": "hold back the highlights {by}|bring the brightest parts down {by}",
    "white-": "bring down what is blown|take the clipped whites off the limit",
    "black-": "bring up what is clipped in the blacks|take the clipped blacks off the limit",
    "temperature+": "warm the white balance {by}|move the colours {by} towards yellow|"
    "make it {more} warmer",
    "temperature-": "cool the white balance {by}|move the colours {by} towards blue|"
    "make it {more} cooler",
    "tint+": "shift the tint {by} to magenta|take the green out {by}|"
    "move the tint {by} towards pink",
    "tint-": "shift the tint {by} to green|take the magenta out {by}|"
    "move the tint {by} towards green",
    "saturation+": "add saturation {by}|strengthen the colours {by}|make the colours {more} richer",
    "saturation-": "reduce the saturation {by}|calm the colours {by}|mute the colours {by}",
    "no colour-": "take all colour out|turn it to black and white|go monochrome",
    "colour+": "enrich {the} {by}|give {the} more colour|strengthen {the} {by}",
    "colour-": "calm {the} {by}|take some colour out of {the}|mute {the} {by}",
    "light+": "brighten {the} {by}|lift {the} {by}",
    "light-": "darken {the} {by}|bring {the} down {by}",
    "turn+": "turn {the} {by} towards {to}|let {the} lean {far} to {to}",
}  # fmt: skip
PLANS["turn-"] = PLANS["turn+"]

HUE_NAMES = {
    "red": "reds", "orange": "oranges", "yellow": "yellows", "green": "greens", "aqua": "aquas",
    "blue": "blues", "purple": "purples", "magenta": "magentas",
}  # fmt: skip
REGION_NAMES = {"sky": "sky", "foliage": "foliage|greenery", "skin": "skin|skin tones"}
SINGULAR = ("sky", "foliage", "greenery", "skin")
VERBS = {"look": "looks", "are": "is", "lack": "lacks", "stand": "stands", "lean": "leans"}

FINE = {
    "lighting": "the light is fine|the light looks right|the tones sit well|the exposure is right",
    "global_color": "the overall colour is fine|the white balance looks right|"
    "the colours are balanced",
    "specific_color": "no single colour stands out|the single colours are fine|"
    "each hue looks right",
}  # fmt: skip
KEEP = {
    "lighting": "leave the light as it is|keep the light|do not touch the tones",
    "global_color": "leave the overall colour as it is|keep the colours|"
    "do not touch the white balance",
    "specific_color": "leave the single colours alone|keep each hue as it is|"
    "do not touch single hues",
}  # fmt: skip
GONE = "the single colours go with it|nothing is left to do for single hues"
SMALL_FLAW = {
    "lighting": "the light needs a fine adjustment|the tones are not quite settled",
    "global_color": "the overall colour needs a fine adjustment|"
    "the colour balance is not quite settled",
    "specific_color": "single colours need a fine adjustment|the hues are not quite settled",
}  # fmt: skip
SMALL_STEP = {
    "lighting": "adjust the light in small steps|fine-tune the tones",
    "global_color": "adjust the overall colour in small steps|fine-tune the colour balance",
    "specific_color": "adjust the single colours in small steps|fine-tune the hues",
}  # fmt: skip
LABELS = (
    ("Light", "Colour", "Single colours"), ("Lighting", "Global colour", "Specific colour"),
    ("Tones", "Overall colour", "Hues"),
)  # fmt: skip
OPENINGS = (("Problems.", "Plan."), ("What is wrong.", "What to do."),
            ("What I see.", "What I would do."), ("Findings.", "Retouch."))  # fmt: skip
STEPS = ("First, |Then |Finally, ", "To begin with, |Next, |At the end, ", "||", "||")
