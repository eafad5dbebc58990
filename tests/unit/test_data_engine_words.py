"""What the data engine says is true: every clause is read back and measured again, here."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from engine_files import landscape, write_photos, write_styles

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import band_weights, hue_chroma
from vera_mobile.develop.sliders import GROUPS, HUES
from vera_mobile.train.engine import phrases
from vera_mobile.train.engine.claims import CONFLICTS, Claim, claims
from vera_mobile.train.engine.config import EngineConfig
from vera_mobile.train.engine.grammar import Said, answer
from vera_mobile.train.engine.measures import measure_pair
from vera_mobile.train.engine.reader import Sample, Shards
from vera_mobile.train.engine.regions import find_regions
from vera_mobile.train.engine.wishes import directions, preset_wish

SAMPLES = 204  # a third of each task


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    from vera_mobile.train.engine.build import build

    root = tmp_path_factory.mktemp("engine")
    config = EngineConfig(
        str(write_photos(root / "photos")), styles=str(write_styles(root / "styles")),
        samples=SAMPLES, per_shard=SAMPLES, side=112, seed=5,
    )  # fmt: skip
    build(config, root / "shards")
    shards = Shards(root / "shards")
    return list(shards)


# ---- an own reading of the sentences, and own measurements ---------------------------------------


class Pair:
    """The two stored pictures of a sample in CIELAB, at full size."""

    def __init__(self, sample: Sample) -> None:
        self.codes = (sample.before, sample.target)
        self.labs = [rgb_to_lab(p / 255.0) for p in self.codes]
        self.good = 1 if sample.record["good"] == "after" else 0
        self.category = sample.record["photo"]["category"]
        lab = self.labs[self.good]
        self.neutral = np.hypot(lab[..., 1], lab[..., 2]) < 12

    def light(self, number: Callable[[np.ndarray], float]) -> float:
        """Change of a figure of L*."""
        return number(self.labs[1][..., 0]) - number(self.labs[0][..., 0])

    def cast(self, axis: int) -> float:
        """Change of a* (1) or b* (2) where the good photo is near neutral, or everywhere."""
        change = self.labs[1][..., axis] - self.labs[0][..., axis]
        return float(change[self.neutral].mean() if self.neutral.mean() > 0.03 else change.mean())

    def chroma(self, weights: np.ndarray | None = None) -> tuple[float, float]:
        first, second = (
            float(np.average(np.hypot(x[..., 1], x[..., 2]), weights=weights)) for x in self.labs
        )
        return first, second

    def of(self, name: str) -> np.ndarray:
        """Weights (H, W) of the hue or region of that name."""
        hues = {plural: hue for hue, plural in phrases.HUE_NAMES.items()}
        if name in hues:
            import torch

            rgb = torch.from_numpy(self.codes[self.good].astype(np.float32) / 255)
            _, _, hue, chroma = hue_chroma(rgb)
            index = [h.lower() for h in HUES].index(hues[name])
            return (band_weights(hue)[..., index] * (chroma[..., 0] > 0.06)).numpy()
        region = next(r for r, names in phrases.REGION_NAMES.items() if name in names.split("|"))
        mask = find_regions(self.labs[self.good], self.category).get(region)
        assert mask is not None, f"no {region} here"
        return mask.astype(float)

    def clipped(self, white: bool) -> tuple[float, float]:
        shares = [
            float((p.min(-1) >= 254).mean() if white else (p.max(-1) <= 1).mean())
            for p in self.codes
        ]
        return shares[0], shares[1]


def _sign(up: bool, value: float, least: float) -> bool:
    return value > least if up else value < -least


def _light(up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    return lambda p, m: _sign(up, p.light(np.mean), 2.0)


def _spread(up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    return lambda p, m: _sign(up, float(np.log(p.labs[1][..., 0].std() / p.labs[0][..., 0].std())),
                              0.08)  # fmt: skip


def _end(q: float, up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    return lambda p, m: _sign(up, p.light(lambda v: float(np.quantile(v, q))), 2.0)


def _cast(axis: int, up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    return lambda p, m: _sign(up, p.cast(axis), 1.5)


def _colour(up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    def check(p: Pair, m: re.Match[str]) -> bool:
        b, a = p.chroma(p.of(m["what"]) if "what" in m.groupdict() else None)
        return _sign(up, float(np.log(a / b)), 0.03)

    return check


def _patch_light(up: bool) -> Callable[[Pair, re.Match[str]], bool]:
    def check(p: Pair, m: re.Match[str]) -> bool:
        w = p.of(m["what"])
        b, a = (float(np.average(x[..., 0], weights=w)) for x in p.labs)
        return _sign(up, a - b, 2.0)

    return check


def _turn(named: str) -> Callable[[Pair, re.Match[str]], bool]:
    """Hue angles move towards `to` (or away from `from`)."""

    def check(p: Pair, m: re.Match[str]) -> bool:
        names = [h.lower() for h in HUES]
        own = next(h for h, plural in phrases.HUE_NAMES.items() if plural == m["what"])
        step = (names.index(m["other"]) - names.index(own)) % 8
        assert step in (1, 7)
        up = (step == 1) == (named == "to")
        w = p.of(m["what"])
        angles = [
            np.degrees(np.arctan2(np.average(x[..., 2], weights=w),
                                  np.average(x[..., 1], weights=w))) for x in p.labs
        ]  # fmt: skip
        return _sign(up, float((angles[1] - angles[0] + 180) % 360 - 180), 3.0)

    return check


def _clipped(white: bool) -> Callable[[Pair, re.Match[str]], bool]:
    def check(p: Pair, m: re.Match[str]) -> bool:
        b, a = p.clipped(white)
        right = abs(b * 100 - float(m["share"])) <= 0.51 if "share" in m.groupdict() else True
        return b >= 0.01 and a < 0.5 * b and right

    return check


WHAT, WHAT2 = "the (?P<what>[a-z ]+?)", "the (?P<what2>[a-z ]+?)"
PROBLEM_RULES: list[tuple[str, Callable[[Pair, re.Match[str]], bool]]] = [
    (r"(the photo|it) is .*too dark|exposure is .*too low|picture looks .*underexposed",
     _light(True)),
    (r"(the photo|it) is .*too bright|exposure is .*too high|picture looks .*overexposed",
     _light(False)),
    (r"contrast is .*too flat|the tones look .*flat|lie .*too close together", _spread(True)),
    (r"contrast is .*too harsh|the tones are .*too hard|lie .*too far apart", _spread(False)),
    (r"the shadows are .*blocked|darkest parts are .*too deep|shadows hide detail",
     _end(0.05, True)),
    (r"blacks are .*washed out|darkest parts look grey|deepest tones are .*too light",
     _end(0.05, False)),
    (r"highlights are .*dull|brightest parts lack light", _end(0.95, True)),
    (r"highlights are .*glaring|brightest parts are .*too bright", _end(0.95, False)),
    (r"about (?P<share>\d+) % of the frame is blown|(?P<other>\d+) % or so .*at white",
     lambda p, m: _share(p, m, True)),
    (r"about (?P<share>\d+) % of the frame has gone|(?P<other>\d+) % or so .*at black",
     lambda p, m: _share(p, m, False)),
    (r"cool cast|white balance is .*too cold|colours are .*too blue|tones lean .*to blue$",
     _cast(2, True)),
    (r"warm cast|white balance is .*too warm|colours are .*too yellow|tones lean .*to yellow$",
     _cast(2, False)),
    (r"green cast|tint is .*too green|tones lean .*to green$", _cast(1, True)),
    (r"magenta cast|tint is .*too pink|tones lean .*to magenta$", _cast(1, False)),
    (r"the colours are .*too pale|colours look .*washed out|saturation is .*too low",
     _colour(True)),
    (r"the colours are .*too strong|colours look .*overdone|saturation is .*too high",
     _colour(False)),
    (r"colour has crept|tint lies on", lambda p, m: p.chroma()[1] < 3 < p.chroma()[0]),
    (rf"{WHAT} (?:leans?|is|are) .*(?:to|off towards) (?P<other>\w+)$", _turn("from")),
    (rf"{WHAT} (?:looks? .*dull|(?:are|is) .*too pale|lacks? colour)$", _colour(True)),
    (rf"{WHAT} (?:looks? .*loud|(?:are|is) .*too strong in colour|stands? out too much)$",
     _colour(False)),
    (rf"{WHAT} (?:(?:are|is) .*too dark|looks? .*heavy)$", _patch_light(True)),
    (rf"{WHAT} (?:(?:are|is) .*too bright|looks? .*thin)$", _patch_light(False)),
]  # fmt: skip
PLAN_RULES: list[tuple[str, Callable[[Pair, re.Match[str]], bool]]] = [
    (r"raise the exposure|brighten the photo|lift the overall light", _light(True)),
    (r"lower the exposure|darken the photo|bring the overall light down", _light(False)),
    (r"add contrast|spread the tones|more contrast$", _spread(True)),
    (r"soften the contrast|tones .*closer together|reduce the contrast", _spread(False)),
    (r"open the shadows|lift the darkest parts|light into the shadows", _end(0.05, True)),
    (r"deepen the blacks|darkest tones .*lower|anchor the shadows", _end(0.05, False)),
    (r"lift the highlights|brightest parts shine", _end(0.95, True)),
    (r"hold back the highlights|brightest parts down", _end(0.95, False)),
    (r"what is blown|clipped whites", _clipped(True)),
    (r"clipped in the blacks|clipped blacks", _clipped(False)),
    (r"warm the white balance|the colours .*towards yellow|it .*warmer$", _cast(2, True)),
    (r"cool the white balance|the colours .*towards blue|it .*cooler$", _cast(2, False)),
    (r"tint .*to magenta|take the green out|tint .*towards pink", _cast(1, True)),
    (r"tint .*to green|take the magenta out|tint .*towards green", _cast(1, False)),
    (r"add saturation|strengthen the colours|make the colours .*richer", _colour(True)),
    (r"reduce the saturation|calm the colours|mute the colours", _colour(False)),
    (r"take all colour out$|to black and white|go monochrome",
     lambda p, m: p.chroma()[1] < 3 < p.chroma()[0]),
    (rf"(?:turn|let) {WHAT} (?:[a-z ]+ )?(?:towards|to) (?P<other>\w+)$", _turn("to")),
    (rf"(?:enrich|strengthen) {WHAT}(?: DEGREE)?$|give {WHAT2} more colour$",
     lambda p, m: _either(_colour, True, p, m)),
    (rf"(?:calm|mute) {WHAT}(?: DEGREE)?$|take some colour out of {WHAT2}$",
     lambda p, m: _either(_colour, False, p, m)),
    (rf"(?:brighten|lift) {WHAT}(?: DEGREE)?$", _patch_light(True)),
    (rf"(?:darken {WHAT}(?: DEGREE)?|bring {WHAT2} down(?: DEGREE)?)$",
     lambda p, m: _either(_patch_light, False, p, m)),
]  # fmt: skip
DEGREE = "(?:" + "|".join("|".join(words) for words in phrases.DEGREES.values()) + ")"


class _Named(dict[str, str]):
    """What a match names as `what`, for rules with two places for it."""

    def groupdict(self) -> dict[str, str]:
        return self


def _either(
    made: Callable[[bool], Callable[..., bool]], up: bool, p: Pair, m: re.Match[str]
) -> bool:
    return made(up)(p, _Named(what=m["what"] or m["what2"]))


def _share(p: Pair, m: re.Match[str], white: bool) -> bool:
    return _clipped(white)(p, _Named(share=m["share"] or m["other"]))  # type: ignore[arg-type]


def _clauses(text: str) -> list[tuple[str, int, str]]:
    """(section, group, clause) of a labelled answer."""
    found = []
    for line in text.splitlines():
        section = line.split(".")[0]
        parts = re.fullmatch(r"\w+\. Light: (.*)\. Color: (.*)\. Hues: (.*)\.", line)
        assert parts, line
        for group, said in enumerate(parts.groups()):
            clauses = re.split(r"; |, and |, (?!but)| and (?!dark lie|white)", said)
            found += [(section, group, clause) for clause in clauses]
    return found


def _rules(section: str) -> list[tuple[str, Callable[[Pair, re.Match[str]], bool]]]:
    return PROBLEM_RULES if section == "Problems" else PLAN_RULES


UNMOVED = {
    clause
    for table in (phrases.FINE, phrases.KEEP, phrases.SMALL_FLAW, phrases.SMALL_STEP)
    for options in table.values()
    for clause in options.split("|")
} | set(phrases.GONE.split("|"))


def false_clauses(sample: Sample, text: str) -> tuple[list[str], int]:
    """Clauses that do not hold or that no rule reads, and how many were measured."""
    pair, wrong, measured = Pair(sample), [], 0
    for section, _, clause in _clauses(text):
        if clause in UNMOVED:
            continue
        hits = [
            (check, m) for pattern, check in _rules(section)
            if (m := re.search(pattern.replace("DEGREE", DEGREE), clause))
        ]  # fmt: skip
        if not hits:
            wrong.append(f"{sample.key}: nobody reads {clause!r}")
        elif not hits[0][0](pair, hits[0][1]):
            wrong.append(f"{sample.key}: {section}: {clause!r} does not hold")
        measured += 1
    return wrong, measured


def test_every_clause_of_200_samples_holds_when_measured_again(samples: list[Sample]) -> None:
    wrong: list[str] = []
    measured = 0
    for sample in samples:
        for text in (sample.full, sample.brief):
            found, count = false_clauses(sample, text)
            wrong += found
            measured += count
    assert len(samples) >= 200
    assert measured > 400
    assert not wrong, f"{len(wrong)} of {measured}:\n" + "\n".join(wrong[:20])


def test_the_check_finds_a_text_of_another_photo(samples: list[Sample]) -> None:
    """The measure above can fail: texts of other samples do not hold."""
    wrong = [
        false_clauses(a, b.full)[0]
        for a, b in zip(samples, samples[3:] + samples[:3], strict=True)
        if a.task == b.task == "auto" and b.record["claims"] and "sky" not in b.full
        and "foliage" not in b.full and "green" not in b.full
    ]  # fmt: skip
    assert sum(map(bool, wrong)) > len(wrong) / 2


def test_free_text_says_what_the_labelled_one_says(samples: list[Sample]) -> None:
    for sample in samples:
        for _, _, clause in _clauses(sample.full):
            assert clause.lower() in sample.answer.lower()


def test_quiet_groups_have_not_moved(samples: list[Sample]) -> None:
    for sample in samples:
        quiet, pair = sample.record["quiet"], Pair(sample)
        if "lighting" in quiet and sample.groups[0]:
            assert abs(pair.light(np.mean)) < 3.0
        if "global_color" in quiet and sample.groups[1]:
            assert abs(pair.cast(2)) < 3.5
            assert abs(pair.cast(1)) < 3.5


def test_nothing_is_said_twice_or_against_itself(samples: list[Sample]) -> None:
    for sample in samples:
        made = [Claim(**c) for c in sample.record["claims"]]
        topics = [c.topic for c in made]
        assert len(set(topics)) == len(topics)
        keys = {c.key for c in made}
        assert not any(set(pair) <= keys for pair in CONFLICTS)
        assert all(sum(c.group == g for c in made) <= 3 for g in GROUPS)


def test_wishes_name_measured_directions_only(samples: list[Sample]) -> None:
    opposite = {"brighter": "exposure-", "lighter": "exposure-", "darker": "exposure+",
                "warmer": "temperature-", "cooler": "temperature+", "more vivid": "saturation-",
                "more muted": "saturation+", "softer": "contrast+"}  # fmt: skip
    checked = 0
    for sample in samples:
        if sample.record["origin"] not in ("preset", "cube"):
            continue
        keys = {Claim(**c).key for c in sample.record["claims"]}
        for word, key in opposite.items():
            if re.search(rf"{word}( and|,|\.|\?|$)", sample.instruction):
                checked += 1
                assert key not in keys, sample.instruction
    assert checked >= 5


def _claim(topic: str, up: bool, degree: int = 1) -> Claim:
    group = GROUPS[2] if ":" in topic else GROUPS[1] if topic in (
        "temperature", "tint", "saturation", "no colour") else GROUPS[0]  # fmt: skip
    return Claim(group, topic, up, degree, 0.05)


def test_one_finding_has_hundreds_of_wordings() -> None:
    found = [_claim("exposure", True), _claim("contrast", True), _claim("temperature", False),
             _claim("colour:green", True)]  # fmt: skip
    said = [Said(tuple(c for c in found if c.group == g), False) for g in GROUPS]
    texts = {answer(said, "auto", np.random.default_rng(i)).text for i in range(400)}
    assert len(texts) > 380
    wishes = {preset_wish("amber film", found, np.random.default_rng(i)) for i in range(300)}
    assert len(wishes) > 150


@pytest.mark.parametrize("table", ["PROBLEMS", "PLANS"])
def test_every_phrase_is_filled(table: str) -> None:
    """No place is left open, for any statement, degree, hue or region."""
    from vera_mobile.train.engine.grammar import phrase

    for key in getattr(phrases, table):
        kind, up = key[:-1], key[-1] == "+"
        names = ["sky", "skin", "foliage", "green", "red"] if kind in ("colour", "light") else (
            ["green", "red", "magenta"] if kind == "turn" else [""])  # fmt: skip
        for name in names:
            for degree in range(3):
                claim = _claim(f"{kind}:{name}" if name else kind, up, degree)
                for seed in range(12):
                    text = phrase(claim, getattr(phrases, table), np.random.default_rng(seed))
                    assert "{" not in text
                    assert "|" not in text
                    assert text == " ".join(text.split())


def test_a_wish_without_findings_is_empty_and_a_name_helps() -> None:
    rng = np.random.default_rng(0)
    assert directions([], rng) == ""
    assert "amber film" in preset_wish("amber film", [], rng).lower()


# ---- measurements and regions --------------------------------------------------------------------


def test_the_same_picture_has_nothing_to_say() -> None:
    picture = landscape()
    assert claims(measure_pair(picture, picture)) == []


def test_regions_follow_their_rules() -> None:
    lab = rgb_to_lab(landscape() / 255.0)
    found = find_regions(lab)
    assert set(found) == {"sky", "foliage"}
    half = len(lab) // 2
    assert found["sky"][:half].mean() > 0.9
    assert found["sky"][half:].sum() == 0
    assert found["foliage"][half:].mean() > 0.3
    assert "sky" not in find_regions(lab[::-1])  # blue at the bottom is water
    assert "foliage" not in find_regions(lab, "food")
    flat = np.broadcast_to(lab[half + 30 :].mean((0, 1)), lab.shape)
    assert "foliage" not in find_regions(flat)  # a green wall
    face = np.full((100, 100, 3), (30.0, 0.0, 0.0))
    face[25:75, 35:65] = (65.0, 14.0, 18.0)
    assert set(find_regions(face, "people")) == {"skin"}
    assert find_regions(face, "") == {}
    assert find_regions(np.full((100, 100, 3), (65.0, 14.0, 18.0)), "people") == {}  # a wall
