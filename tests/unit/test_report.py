"""The report page: what it shows, what it must never show, and how it works in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import browse, screen
from PIL import Image

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.report import (
    JPEG_QUALITY,
    LONG_SIDE,
    STAGES,
    ReportEntry,
    difference_map,
    write_report,
)

RED, BLUE = (200, 30, 30), (30, 30, 200)
HOSTILE = (
    "</script></style><script>window.hacked=1</script><img src=x onerror='hacked=1'>\"'&\x00\ud800"
)
VOID = {"meta", "img", "input", "rect", "path"}


def solid(colour: tuple[int, int, int], height: int = 60, width: int = 90) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def entry(**changes: Any) -> ReportEntry:
    plain = ReportEntry("coffee", "style", "airy pink", solid(RED), solid(BLUE))
    return replace(plain, **changes)


def write(path: Path, *entries: ReportEntry, **changes: Any) -> str:
    values: dict[str, Any] = {
        "title": "Report",
        "entries": entries,
        "device": {"machine": "host", "thermal_state": None},
        "bundle_info": {"name": "nano"},
        "command": "vera demo",
    }
    return write_report(path, **(values | changes)).read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags with attributes, and the text of the page; a wrongly nested tag is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def full_entry() -> ReportEntry:
    return entry(
        reference=solid((30, 30, 203)),
        text={"problem": "Flat.\n\nDull.", "plan": "More light."},
        timings_ms={name: 10.0 * (k + 1) for k, name in enumerate(STAGES)} | {"total": 1234.5},
        tokens_generated=25,
        peak_rss_mb=412.4,
        parity={"psnr_db": 46.214, "ciede2000_mean": 0.1841, "token_agreement": 0.99999},
        recovery={"psnr_db": (17.3, 24.9), "ssim": (0.91, None)},
        cube_file="looks/coffee.cube",
        output_file="coffee.jpg",
    )


def test_page_is_sound_html_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    page = Page(write(tmp_path / "r.html", full_entry(), full_entry()))
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    named = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert named <= set(identifiers)
    assert len(page.all("img")) == 2 * 3
    for image in page.all("img"):
        assert image["alt"]
        assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    assert not page.all("link")
    assert [a for _, a in page.tags if "src" in a] == page.all("img")
    targets = {a["href"] for a in page.all("a")}
    assert targets == {"#photo-1", "#photo-2", "./coffee.jpg", "./looks/coffee.cube"}
    assert all("style" not in a for _, a in page.tags)


def test_policy_forbids_all_but_the_pages_own_style_and_script(tmp_path: Path) -> None:
    source = write(tmp_path / "r.html", entry())
    policy = next(a["content"] for a in Page(source).all("meta") if "http-equiv" in a) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    bad = entry(
        name=HOSTILE,
        instruction=HOSTILE,
        text={HOSTILE: HOSTILE},
        timings_ms={HOSTILE: 1.0},
        output_file="javascript:alert(1)",
        cube_file=HOSTILE.replace("/", ""),
    )
    source = write(
        tmp_path / "r.html",
        bad,
        replace(bad, task="param"),
        title=HOSTILE,
        device={HOSTILE: HOSTILE},
        bundle_info={"name": HOSTILE, "files": {HOSTILE: {"quantization": HOSTILE}}},
        command=HOSTILE,
    )
    page = Page(source)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert len(page.all("img")) == 2 * 2
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert not re.search("[\x00-\x08\x7f-\x9f\ud800-\udfff]", source)
    # Title twice, device label and value, bundle, file and its scheme, command; then each photo.
    shown = HOSTILE.replace("\x00\ud800", "\ufffd\ufffd")
    assert page.text.count(shown) >= 8 + 2 * 5
    assert "./javascript%3Aalert%281%29" in {a["href"] for a in page.all("a")}


def test_missing_figures_are_not_measured_and_never_zero(tmp_path: Path) -> None:
    text = Page(write(tmp_path / "r.html", entry(parity={"psnr_db": None}))).text
    assert not re.search(r"\d\s(ms|dB|ΔE|MB|%|tokens/s)", text)
    # Summary 7, stages 8, sum 1, run 3, parity 5.
    assert text.count("not measured") == 7 + 8 + 1 + 3 + 5
    assert text.count("not recorded") == 1 + 3
    assert text.count("not written") == 2


def test_figures_carry_units_and_round_honestly(tmp_path: Path) -> None:
    bundle = {
        "size_bytes": 9_812_345,
        "sha256": "ab" * 32,
        "files": {"vision.pte": {"size_bytes": 3_200, "quantization": "int8w", "sha256": "c" * 64}},
    }
    text = Page(write(tmp_path / "r.html", full_entry(), bundle_info=bundle)).text
    text = text.replace("\u00a0", " ").replace("\u202f", " ")
    expected = "1 234 ms|360 ms|10.0 ms|2.8 %|22.2 %|46.21 dB|0.184 ΔE|99.9 %|412 MB|500.0 tokens/s"
    expected += "|9.8 MB|3.2 kB|abababababab|cccccccccccc|int8w|17.30 dB|24.90 dB|nearer|0.9100"
    assert [figure for figure in expected.split("|") if figure not in text] == []
    assert "100.0 %" not in text
    assert "a" * 13 not in text
    tiny = entry(timings_ms={"head": 0.0004, "decode": 5000.0}, parity={"ciede2000_mean": 1e-5})
    text = Page(write(tmp_path / "r.html", tiny)).text.replace("\u00a0", " ")
    assert [f for f in ("< 0.01 ms", "< 0.1 %", "< 0.001 ΔE") if f not in text] == []


def test_equal_pictures_have_infinite_psnr_and_a_black_map(tmp_path: Path) -> None:
    same = entry(reference=solid(BLUE), parity={"psnr_db": math.inf, "token_agreement": 1.0})
    page = Page(write(tmp_path / "r.html", same))
    text = page.text.replace("\u00a0", " ")
    assert "∞ (equal)" in text
    assert "100.0 % of the pixels are equal" in text
    assert decode(page.all("img")[2]).max() == 0


def test_vision_is_not_called_unmeasured_where_the_task_has_no_picture(tmp_path: Path) -> None:
    sliders = entry(task="param", instruction="Exposure2012 +12, Tint -5; Vibrance 0,5\nHue 3")
    page = Page(write(tmp_path / "r.html", sliders))
    assert page.text.count("not used by this task") == 1
    assert len(page.all("li")) == 4
    assert "Vibrance 0,5" in page.text


def decode(image: dict[str, str | None]) -> np.ndarray:
    data = base64.b64decode((image["src"] or "").partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_keep_their_pixels_and_the_long_side_is_bounded(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:480, 0:640].astype(np.float64)
    smooth = np.stack([rows / 2, columns / 3, 255 - rows / 2], axis=2).round().astype(np.uint8)
    large = np.repeat(np.repeat(smooth, 4, axis=0), 4, axis=1)
    page = Page(write(tmp_path / "r.html", entry(before=large, after=np.flip(large, axis=1))))
    before, after = (decode(image) for image in page.all("img"))
    assert before.shape == (960, LONG_SIDE, 3)
    assert page.all("img")[0]["width"] == str(LONG_SIDE)
    page = Page(write(tmp_path / "r.html", entry(before=smooth, after=np.flip(smooth, axis=1))))
    before, after = (decode(image) for image in page.all("img"))
    assert JPEG_QUALITY == 88
    # What a JPEG of quality 88 loses on this gradient: measured mean 0.59, maximum 4 of 255. A
    # swapped channel, a flip or a shift by a block of 8 pixels is beyond 2 on the mean.
    for shown, given in ((before, smooth), (after, np.flip(smooth, axis=1))):
        error = np.abs(shown.astype(int) - given)
        assert (error.mean() < 0.65, error.max() <= 4) == (True, True), (error.mean(), error.max())


def test_difference_map_keeps_a_single_wrong_pixel_of_a_large_picture() -> None:
    after = np.zeros((100, 3 * LONG_SIDE - 1, 3), dtype=np.uint8)
    reference = after.copy()
    reference[99, 3 * LONG_SIDE - 2, 1] = 3
    shown = difference_map(after, reference, 20)
    assert shown.shape == (34, LONG_SIDE, 3)
    assert shown[-1, -1].tolist() == [0, 60, 0]
    assert np.count_nonzero(shown) == 1


def test_difference_map_is_symmetric_and_clips() -> None:
    low, high = solid((0, 10, 255)), solid((12, 10, 0))
    assert difference_map(low, high, 20)[0, 0].tolist() == [240, 0, 255]
    np.testing.assert_array_equal(difference_map(low, high, 20), difference_map(high, low, 20))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "crop"}, "'crop' unknown: use one of ['auto', 'style', 'param']"),
        ({"before": solid(RED) / 255.0}, "before is float64"),
        ({"after": None}, "after is NoneType"),
        ({"after": solid(RED, 60, 91)}, "after has shape (60, 91, 3) but before has (60, 90, 3)"),
        ({"before": solid(RED)[..., 0]}, "give (H, W, 3)"),
        ({"before": solid(RED, 0, 5)}, "not empty"),
        ({"reference": solid(RED, 61, 90)}, "reference has shape"),
        ({"timings_ms": {"bake": math.nan}}, "timings_ms['bake'] is nan"),
        ({"timings_ms": {"bake": -1.0}}, "timings_ms['bake'] is -1.0"),
        ({"peak_rss_mb": math.inf}, "peak_rss_mb is inf"),
        ({"tokens_generated": -1}, "tokens_generated is -1"),
        ({"parity": {"psnr": 3.0}}, "key 'psnr' unknown: use ['psnr_db'"),
        ({"parity": {"token_agreement": 98.0}}, "['token_agreement'] is 98.0: use 0..1"),
        ({"parity": {"psnr_db": math.nan}}, "['psnr_db'] is nan"),
        ({"recovery": {"ssim": (0.5, 1.5)}}, "recovery['ssim'] is 1.5"),
        ({"cube_file": "../look.cube"}, "'../look.cube' not allowed"),
        ({"output_file": "/home/me/out.jpg"}, "relative to the page"),
        ({"output_file": "C:\\me\\out.jpg"}, "relative to the page"),
        ({"output_file": ""}, "relative to the page"),
    ],
)
def test_bad_entry_names_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        entry(**changes)
    assert "'coffee'" in str(caught.value)
    assert said in str(caught.value)


def test_no_entries_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="0 entries"):
        write(tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write(tmp_path / "absent" / "r.html", entry())
    (tmp_path / "r.html").mkdir()
    with pytest.raises(FileError, match=r"r\.html"):
        write(tmp_path / "r.html", entry())
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    when = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
    first = write(tmp_path / "a.html", full_entry(), when=when)
    assert first == write(tmp_path / "b.html", full_entry(), when=when)
    assert "4 May 2026, 03:02 UTC" in first
    assert 'datetime="2026-05-04T03:02:00+00:00"' in first


def test_bundle_is_shown_as_described(tmp_path: Path) -> None:
    file = {"path": "parts/vision.pte", "size_bytes": 3_210_000, "sha256": "c" * 64}
    files = {"vision": file | {"quantization": "int8w"}, "words": {"quantization": None}, "x": {}}
    info = {"name": "nano", "commit": "1234abc", "files": files, "limits": {"max_length": 98765}}
    text = Page(write(tmp_path / "r.html", entry(), bundle_info=info)).text
    table = text[text.index("Files of the bundle") : text.index("Summary")].split("\n")
    rows = [row.replace("\u00a0", " ") for row in table if row][2:]
    assert rows == [
        "parts/vision.pteint8w3.2 MBcccccccccccc",
        "wordsnonenot measurednot recorded",
        "xnot recordednot measurednot recorded",
    ]
    assert "1234abc" in text
    assert "98765" not in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from browse()


def slider(browser: Any) -> tuple[int, str, str]:
    """Value, clip of the picture "after" and the words for a screen reader of the first slider."""
    return tuple(
        browser.execute_script(
            "const r = document.querySelector('.compare input');"
            "return [+r.value, getComputedStyle(document.querySelector('.compare .after'))"
            ".clipPath, r.getAttribute('aria-valuetext')]"
        )
    )


def picture_box(browser: Any) -> dict[str, float]:
    return browser.execute_script(
        "const c = document.querySelector('.compare'); c.scrollIntoView({block: 'center'});"
        "return c.getBoundingClientRect().toJSON()"
    )


def test_slider_follows_the_keyboard(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    write(tmp_path / "r.html", entry())
    screen(browser, 1000, 800)
    browser.get((tmp_path / "r.html").as_uri())
    assert slider(browser) == (50, "inset(0px 0px 0px 50%)", "50 % before, 50 % after")
    control = browser.find_element("css selector", ".compare input")
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element == control:
            break
    assert browser.switch_to.active_element == control
    knob = "return getComputedStyle(document.querySelector('.line svg')).outlineStyle"
    assert browser.execute_script(knob) == "solid"
    control.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert slider(browser) == (52, "inset(0px 0px 0px 52%)", "52 % before, 48 % after")
    control.send_keys(Keys.HOME)
    assert slider(browser)[:2] == (0, "inset(0px 0px 0px 0%)")
    control.send_keys(Keys.END)
    assert slider(browser)[:2] == (100, "inset(0px 0px 0px 100%)")


def test_slider_follows_mouse_and_finger_and_the_pixels_change(
    tmp_path: Path, browser: Any
) -> None:
    write(tmp_path / "r.html", entry(before=solid(RED, 600, 900), after=solid(BLUE, 600, 900)))
    screen(browser, 390, 844)
    browser.get((tmp_path / "r.html").as_uri())
    box = picture_box(browser)
    middle = box["top"] + box["height"] / 2

    def touch(kind: str, share: float | None) -> None:
        points = [] if share is None else [{"x": box["left"] + share * box["width"], "y": middle}]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    touch("touchStart", 0.5)
    for share in (0.4, 0.3, 0.25):
        touch("touchMove", share)
    touch("touchEnd", None)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert slider(browser)[0] == pytest.approx(25, abs=1)  # one step of the slider
    assert sides(browser, box, 0.15, 0.35) == ("red", "blue")

    for kind, share in (("mousePressed", 0.75), ("mouseReleased", 0.75)):
        event = {"type": kind, "button": "left", "clickCount": 1, "y": middle}
        event["x"] = box["left"] + share * box["width"]
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    assert slider(browser)[0] == pytest.approx(75, abs=1)
    assert sides(browser, box, 0.65, 0.85) == ("red", "blue")
    assert sides(browser, box, 0.15, 0.35) == ("red", "red")


def sides(browser: Any, box: dict[str, float], *shares: float) -> tuple[str, ...]:
    shot = np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB"))
    row = shot[int(box["top"] + 0.8 * box["height"])]
    pixels = [row[int(box["left"] + share * box["width"])].astype(int) for share in shares]
    return tuple("red" if pixel[0] > pixel[2] else "blue" for pixel in pixels)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_page_never_scrolls_sideways(tmp_path: Path, browser: Any, width: int) -> None:
    long = "Q" * 300
    wide = replace(
        full_entry(), name=long, text={"plan": long}, timings_ms={long: 1e9}, output_file=long
    )
    device = {"machine": long, long: "x"}
    files = {long: {"quantization": long, "sha256": "a" * 64}}
    bundle = {"name": long, "files": files}
    path = tmp_path / "r.html"
    write(path, wide, full_entry(), title=long, device=device, bundle_info=bundle, command=long)
    screen(browser, width, 800)
    browser.get(path.as_uri())
    inside = browser.execute_script("return document.documentElement.scrollWidth")
    assert inside <= width
    spilt = browser.execute_script(
        "return [...document.querySelectorAll('.card')].filter(c => !c.classList.contains('scroll')"
        " && c.scrollWidth > c.clientWidth + 1).map(c => c.ariaLabel + c.textContent.slice(0, 40))"
    )
    assert spilt == []


def test_light_and_dark_follow_the_reader(tmp_path: Path, browser: Any) -> None:
    write(tmp_path / "r.html", entry())
    lightness = {}
    for scheme in ("light", "dark"):
        screen(browser, 1000, 800, scheme=scheme)
        browser.get((tmp_path / "r.html").as_uri())
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        )
        lightness[scheme] = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in colours]
    assert lightness["light"][0] > 600 > 200 > lightness["light"][1]
    assert lightness["dark"][0] < 200 < 600 < lightness["dark"][1]


def test_hostile_text_runs_nothing_and_no_request_leaves(tmp_path: Path, browser: Any) -> None:
    bad = entry(name=HOSTILE, instruction=HOSTILE, text={HOSTILE: HOSTILE})
    write(tmp_path / "r.html", bad, title=HOSTILE, command=HOSTILE)
    browser.get_log("browser")
    browser.get((tmp_path / "r.html").as_uri())
    assert browser.execute_script("return typeof window.hacked") == "undefined"
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('script').length") == 1
    refused = browser.execute_async_script(
        "const done = arguments[0];"
        "addEventListener('securitypolicyviolation', e => done(e.effectiveDirective));"
        "new Image().src = 'https://example.invalid/x.png'"
    )
    assert refused == "img-src"


def test_without_script_both_pictures_stand_side_by_side(tmp_path: Path, browser: Any) -> None:
    write(tmp_path / "r.html", entry(before=solid(RED, 600, 900), after=solid(BLUE, 600, 900)))
    screen(browser, 1000, 800)
    off = "Emulation.setScriptExecutionDisabled"
    browser.execute_cdp_cmd(off, {"value": True})
    try:
        browser.get((tmp_path / "r.html").as_uri())
        boxes = [browser.find_element("css selector", f".{side} img").rect for side in SIDES]
        shown = browser.find_element("css selector", ".compare input").is_displayed()
    finally:
        browser.execute_cdp_cmd(off, {"value": False})
    assert not shown
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]


SIDES = ("before", "after")
