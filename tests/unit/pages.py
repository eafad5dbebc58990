"""Pages in headless Chromium, for tests of HTML."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image


def browse() -> Iterator[Any]:
    """A browser, closed at the end: `yield from browse()` in a fixture. Skips without chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no chromium on this machine: the page is not tried in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromedriver = shutil.which("chromedriver")
    if chromedriver is None:
        pytest.fail("chromium without chromedriver: install the package chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--enable-unsafe-swiftshader",  # WebGL without a GPU
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


def screen(browser: Any, width: int, height: int, *, scheme: str = "light") -> None:
    """Sets the window's size in CSS pixels and the colour scheme, "light" or "dark"."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shot(browser: Any) -> np.ndarray:
    """What the window shows, (H, W, 3) uint8."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    return np.asarray(picture.convert("RGB"))


def wider_than_the_window(browser: Any) -> list[str]:
    """Elements that stick out to the right, those in a scrolling box aside, and the page's width
    where something else, as a long line of text, makes it wider than the window."""
    return browser.execute_script(
        "const out = []; const width = document.documentElement.clientWidth;"
        "for (const e of document.querySelectorAll('body *')) {"
        " if (e.closest('.scroll, svg, .compare')) continue;"
        " if (e.getBoundingClientRect().right > width + 1) out.push(e.outerHTML.slice(0, 80)); }"
        "const whole = document.documentElement.scrollWidth;"
        "if (whole > width + 1) out.push(`the page: ${whole} px`);"
        "return out"
    )


def lowest_contrast(browser: Any) -> float:
    """The lowest WCAG contrast of the page's text against the background behind it."""
    return float(
        browser.execute_script(
            "const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);"
            "const light = c => { const [r, g, b] = rgb(c).slice(0, 3).map(v => { v /= 255;"
            " return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });"
            " return 0.2126 * r + 0.7152 * g + 0.0722 * b; };"
            "const behind = e => { for (; e; e = e.parentElement) {"
            " const c = getComputedStyle(e).backgroundColor; const v = rgb(c);"
            " if (v.length < 4 || v[3] > 0.5) return c; } return 'rgb(255, 255, 255)'; };"
            "let worst = 21; for (const e of document.querySelectorAll('body *')) {"
            " const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());"
            " if (!own || e.closest('.compare, script, style')) continue;"
            " const s = getComputedStyle(e); const svg = e.closest('svg');"
            " const ink = light(svg ? s.fill : s.color);"
            " const ground = light(behind(svg ? svg.parentElement : e));"
            " const [low, high] = [Math.min(ink, ground), Math.max(ink, ground)];"
            " worst = Math.min(worst, (high + 0.05) / (low + 0.05));"
            "} return worst"
        )
    )
