"""The contact sheet: which photos it takes, what it shows, and the page in a browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import browse
from PIL import Image, ImageFont

from vera_mobile.errors import FileError
from vera_mobile.retoucher import Retoucher
from vera_mobile.train.data import PhotoFile
from vera_mobile.train.evaluation.baselines import corrections
from vera_mobile.train.evaluation.contact import (
    Case,
    Cell,
    Row,
    _wrapped,
    chosen,
    contact_page,
    contact_row,
    photo_cases,
    sheet,
    write_contact,
)
from vera_mobile.train.evaluation.pairs import Pair
from vera_mobile.train.evaluation.tasks import Tools, photo_rows

FIGURES = {"psnr_db": 21.25, "ciede2000_mean": 5.5, "ssim": 0.9125}
REPORT = {
    "auto": {"psnr_db": 24.0, "psnr_alone_db": 19.5, "psnr_gain_db": 4.5, "ciede2000_mean": 6.0,
             "ciede2000_alone": 9.5, "ssim": 0.93, "ssim_alone": 0.88, "n": 2},
    "auto_levels": {"psnr_db": 22.0, "psnr_gain_db": 2.5, "ciede2000_mean": 7.0, "n": 2},
    "param": {"psnr_db": 38.0},
    "int4": {"psnr_loss_db": 0.1, "psnr_db": 23.9, "psnr_gain_db": 4.4},
}  # fmt: skip
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='hacked=1'>"


def case(name: str) -> Case:
    return Case(name, Pair(name, Path(), Path()))


def rows(text: str = "Problems. Light: dark.\nPlan. Light: raise it.") -> list[Row]:
    def solid(code: int) -> np.ndarray:
        return np.full((60, 90, 3), (code, 40, 255 - code), np.uint8)

    cells = (Cell("degraded", solid(20), FIGURES), Cell("ours", solid(120), FIGURES),
             Cell("original", solid(200), {}), Cell("CLAHE", solid(90), FIGURES))  # fmt: skip
    return [Row(f"photo {i}", rank, text, cells) for i, rank in enumerate(("worst", "best"))]


def test_worst_median_best_and_random_ones_are_chosen_once() -> None:
    values = np.random.default_rng(3).permutation(40).astype(float)
    picks = chosen([(case(str(int(v))), float(v)) for v in values])
    by_rank: dict[str, list[int]] = {}
    for one, rank in picks:
        by_rank.setdefault(rank, []).append(int(one.name))
    assert by_rank["worst"] == [39, 38, 37]
    assert by_rank["best"] == [0, 1, 2]
    assert sorted(by_rank["median"]) == [19, 20, 21]
    assert len(by_rank["random"]) == 3
    assert len({one.name for one, _ in picks}) == len(picks) == 12
    few = chosen([(case("a"), 1.0), (case("b"), 2.0)])
    assert [(one.name, rank) for one, rank in few] == [("b", "worst"), ("a", "worst")]


def test_a_row_shows_what_was_measured(
    tmp_path: Path, picture: np.ndarray, torch_retoucher: Retoucher
) -> None:
    """Degradation, plan and figures are made anew: they must be the benchmark's."""
    Image.fromarray(picture).save(tmp_path / "a.png")
    file = PhotoFile(tmp_path / "a.png", "test", "A")
    tools = Tools(corrections(("auto_levels",), ()))
    measured = photo_rows(torch_retoucher, file, None, tools, ("auto",))
    cases = photo_cases([file], [measured])
    assert [value for _, value in cases] == [row["ciede2000_mean"] for row in measured["auto"]]
    row = contact_row(torch_retoucher, cases[1][0], "worst", tools)
    assert [cell.title for cell in row.cells] == ["degraded", "ours", "original", "auto-levels"]
    cells = {cell.title: cell for cell in row.cells}
    assert np.array_equal(cells["original"].picture, picture)
    assert cells["ours"].figures["ciede2000_mean"] == measured["auto"][1]["ciede2000_mean"]
    assert cells["degraded"].figures["psnr_db"] == measured["auto"][1]["psnr_alone_db"]
    assert cells["auto-levels"].figures["psnr_db"] == measured["auto_levels"][1]["psnr_db"]
    assert row.text


def test_the_png_holds_every_picture_at_its_place() -> None:
    image = np.asarray(sheet(rows(), "nano"))
    found = {tuple(c) for c in image.reshape(-1, 3)[::7].tolist()}
    for code in (20, 120, 200, 90):
        assert (code, 40, 255 - code) in found
    columns = [np.flatnonzero((image == (code, 40, 255 - code)).all(2).any(0)).min()
               for code in (20, 120, 200, 90)]  # fmt: skip
    assert columns == sorted(columns)
    longer = np.asarray(sheet(rows("word " * 400), "nano"))
    assert longer.shape[0] > image.shape[0]
    assert longer.shape[1] == image.shape[1]


def test_words_are_wrapped_to_the_width() -> None:
    font = ImageFont.load_default(14)
    lines = _wrapped("one two three four five six\n\nseven", font, 80)
    assert " ".join(lines) == "one two three four five six seven"
    assert max(font.getlength(line) for line in lines) <= 80
    assert lines[-1] == "seven"


def test_the_page_shows_means_figures_and_words() -> None:
    page = contact_page(rows(), REPORT, "nano: auto", "vera bench quality")
    text = re.sub(r"<[^>]+>", " ", page[page.index("<body>") :])
    for part in ("left alone", "19.50", "4.50", "auto-levels", "21.2 dB · ΔE 5.50 · SSIM 0.912",
                 "Plan. Light: raise it.", "vera bench quality"):  # fmt: skip
        assert part in text, part
    assert "38.0" not in text
    assert "23.9" not in text  # a bundle's figures are no correction
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == 2 * 4
    first = Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert first.size == (90, 60)


def test_pairs_alone_have_their_means_too() -> None:
    report = {"pairs": REPORT["auto"], "pairs_auto_levels": REPORT["auto_levels"],
              "pairs[target_a]": REPORT["auto"]}  # fmt: skip
    page = contact_page(rows(), report, "nano", "x")
    assert len(re.findall(r'<th scope="row">', page)) == 3


def test_both_files_are_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    png, html = write_contact(tmp_path / "new" / "sheet", rows(), REPORT, "nano", "x")
    assert sorted(p.name for p in (tmp_path / "new" / "sheet").iterdir()) == [html.name, png.name]
    with Image.open(png) as image:
        image.load()
    with pytest.raises(FileError, match="no photos"):
        write_contact(tmp_path, [], REPORT, "nano", "x")
    with pytest.raises(FileError, match="cannot be made"):
        write_contact(png, rows(), REPORT, "nano", "x")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from browse()


def test_the_page_works_by_keyboard_and_stays_in_its_width(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    write_contact(tmp_path, rows(HOSTILE), REPORT, HOSTILE, HOSTILE)
    for scheme, width in (("light", 390), ("dark", 1280)):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get((tmp_path / "contact.html").as_uri())
        inside = browser.execute_script("return document.documentElement.scrollWidth")
        assert inside <= width
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", colour)[:3])) > 600) == (scheme == "light")
    assert browser.execute_script("return typeof window.hacked") == "undefined"
    assert browser.get_log("browser") == []
    button = browser.find_element("css selector", ".hold")
    for pressed in ("true", "false"):
        button.send_keys(Keys.ENTER)
        assert button.get_attribute("aria-pressed") == pressed
        held = browser.find_element("css selector", ".hold .held")
        assert held.is_displayed() == (pressed == "true")
    Select(browser.find_element("css selector", "select")).select_by_visible_text("best")
    shown = [a.is_displayed() for a in browser.find_elements("css selector", "article")]
    assert shown == [False, True]
