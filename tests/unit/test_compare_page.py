"""The page of `vera compare`: sound, self-contained, and working in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import browse, lowest_contrast, screen, shot, wider_than_the_window
from PIL import Image

from vera_mobile.compare.page import figure_text, write_compare_page
from vera_mobile.compare.pairs import pair_up
from vera_mobile.compare.run import Outcome, compare_sides
from vera_mobile.errors import FileError

RED, BLUE = (200, 30, 30), (30, 30, 200)
HOSTILE = "<img src=x onerror=window.hacked=1>\"'&"


def put(folder: Path, name: str, rgb: np.ndarray, text: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(folder / f"{name}.png")
    if text is not None:
        (folder / f"{name}.look.json").write_text(f'{{"text": "{text}"}}')


def solid(colour: tuple[int, int, int], height: int = 400, width: int = 600) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Four photos: far with texts, banded, equal, and one that is missing."""
    folder = tmp_path_factory.mktemp("sides")
    one, two = folder / "one", folder / "two"
    put(one, "far", solid(RED), "warm evening light")
    put(two, "far", solid(BLUE), "cool evening light")
    ramp = (80 + np.arange(600) / 4).astype(np.uint8)
    smooth = np.repeat(np.repeat(ramp[None, :, None], 400, 0), 3, 2)
    put(one, "sky", smooth)
    put(two, "sky", smooth // 6 * 6)
    put(one, "equal", smooth)
    put(two, "equal", smooth)
    put(one, "gone", smooth)
    bounds = {"psnr_db_min": 30.0, "ciede2000_mean_max": 2.0, "banding_share_max": 0.001}
    return compare_sides(pair_up(one, two), bounds)


def write(path: Path, outcome: Outcome, **changes: Any) -> str:
    values: dict[str, Any] = {
        "title": "phone beside golden",
        "bounds_from": "given as flags",
        "command": "vera compare",
    }
    write_compare_page(path, outcome, **(values | changes))
    return path.read_text("utf-8")


def test_page_says_what_missed_what(tmp_path: Path, outcome: Outcome) -> None:
    page = write(tmp_path / "c.html", outcome)
    text = re.sub(r"<[^>]+>", " ", page.split("</style>")[1]).replace("\u00a0", " ")
    assert [row.verdict for row in outcome.rows] == ["passed", "failed", "failed", "failed"]
    assert set(outcome.views) == {"far", "sky", "equal"}
    for said in (
        "at least 30 dB",
        "the candidate does not have this photo",
        "∞ (equal)",
        "All pixels are equal.",
        "warm evening light",
        "cool evening light",
        "66.6 %",
    ):
        assert said in text, said
    assert text.count("✓ passed") == 2  # the table and the article
    assert "Largest difference 170.0 of 255 steps, at column 0, row 0" in text


def test_page_holds_all_it_needs(tmp_path: Path, outcome: Outcome) -> None:
    page = write(tmp_path / "c.html", outcome, title=HOSTILE, command=HOSTILE, bounds_from=HOSTILE)
    assert "<img src=x" not in page
    assert page.count("<script>") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "/*{" not in page
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="', page))


def test_page_is_the_same_twice_and_whole_or_not_there(tmp_path: Path, outcome: Outcome) -> None:
    when = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
    first = write(tmp_path / "a.html", outcome, when=when)
    assert first == write(tmp_path / "b.html", outcome, when=when)
    with pytest.raises(FileError):
        write(tmp_path / "none" / "c.html", outcome)


def test_figures_round_honestly() -> None:
    assert figure_text("text_agreement", 0.99999) == "99.9\u00a0%"
    assert figure_text("banding_share", 1e-7) == "<\u00a00.001\u00a0%"
    assert figure_text("ssim", None) is None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from browse()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_page_fits_and_can_be_read(
    tmp_path: Path, browser: Any, outcome: Outcome, scheme: str, width: int
) -> None:
    write(tmp_path / "c.html", outcome)
    screen(browser, width, 900, scheme=scheme)
    browser.get((tmp_path / "c.html").as_uri())
    assert wider_than_the_window(browser) == []
    # WCAG 2 asks for 4.5 of text of this size
    assert lowest_contrast(browser) >= 4.5
    assert browser.get_log("browser") == []
    dark = shot(browser)[5, 5].mean() < 60
    assert dark == (scheme == "dark")


def test_slider_divides_reference_and_candidate(
    tmp_path: Path, browser: Any, outcome: Outcome
) -> None:
    from selenium.webdriver.common.keys import Keys

    write(tmp_path / "c.html", outcome)
    screen(browser, 1000, 800)
    browser.get((tmp_path / "c.html").as_uri())
    box = browser.execute_script(
        "const c = document.querySelector(\"[alt='far, reference']\").closest('.compare');"
        "c.scrollIntoView({block: 'center'}); c.querySelector('input').focus();"
        "return c.getBoundingClientRect().toJSON()"
    )
    control = browser.switch_to.active_element

    def colour(share: float) -> str:
        x, y = box["left"] + share * box["width"], box["top"] + 0.8 * box["height"]
        pixel = shot(browser)[int(y), int(x)].astype(int)
        return "red" if pixel[0] > pixel[2] else "blue"

    assert (colour(0.4), colour(0.6)) == ("red", "blue")
    control.send_keys(Keys.HOME)
    assert (colour(0.1), colour(0.9)) == ("blue", "blue")
    control.send_keys(Keys.END)
    assert (colour(0.1), colour(0.9)) == ("red", "red")
    assert control.get_attribute("aria-valuetext") == "100 % reference, 0 % candidate"


def test_only_failed_photos_can_be_shown(tmp_path: Path, browser: Any, outcome: Outcome) -> None:
    write(tmp_path / "c.html", outcome)
    screen(browser, 1000, 800)
    browser.get((tmp_path / "c.html").as_uri())
    names = "return [...document.querySelectorAll('tbody tr')].filter(r => r.offsetHeight)" \
            ".map(r => r.querySelector('bdi').textContent)"  # fmt: skip
    assert browser.execute_script(names) == ["equal", "far", "gone", "sky"]
    browser.find_element("id", "only-failed").click()
    assert browser.execute_script(names) == ["far", "gone", "sky"]
