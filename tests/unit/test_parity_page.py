"""`vera verify --report`: the ladder as a page that says what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from conftest import Vera

from vera_mobile.assets import checkpoint_folder
from vera_mobile.bundle import Bundle
from vera_mobile.export.golden import verify_self
from vera_mobile.export.parity_page import write_parity_page
from vera_mobile.export.samples import sample_photos
from vera_mobile.export.verify import ParityViews, verify_bundle
from vera_mobile.image import Photo
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.pixels import vision_pixels


def test_the_page_shows_stages_tolerances_and_pictures(nano_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(nano_bundle)
    model = load_checkpoint(checkpoint_folder("nano"))
    photo = vision_pixels(Photo.from_array(sample_photos()[0]), model.config)
    views: list[ParityViews] = []
    report = verify_bundle(bundle, model, photo, steps=2, write=False, on_photo=views.append)
    assert [view.photo.shape for view in views] == [(256, 256, 3)]
    assert not np.array_equal(views[0].photo, views[0].reference)
    own = verify_self(bundle)
    page = tmp_path / "parity.html"
    write_parity_page(page, bundle, own, report, views, "vera verify x --report y.html")
    text = page.read_text()
    for stage in ("Image tokens", "Logits", "Hidden states", "Latents", "Baked colours"):
        assert stage in text
    assert text.count("data:image/jpeg") == 4
    # two tokens are too few for the share that the recipe asks for
    missed = [check for check in report["checks"] if not check["passed"]]
    assert text.count("✗ missed") == len(missed) + (not report["passed"])
    assert f"{report['stages']['latents']['sqnr_db']:.1f} dB" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    own["programs"]["head"]["passed"] = own["passed"] = False
    write_parity_page(page, bundle, own, None, [], "")
    assert page.read_text().count("✗ missed") == 2


def test_without_a_checkpoint_the_page_says_so(
    vera: Vera, nano_bundle: Path, tmp_path: Path
) -> None:
    page = tmp_path / "self.html"
    assert vera("verify", nano_bundle, "--report", page).code == 0
    assert "No checkpoint was given" in page.read_text()


def test_a_page_must_be_html(vera: Vera, nano_bundle: Path, tmp_path: Path) -> None:
    outcome = vera("verify", nano_bundle, "--report", tmp_path / "page.pdf")
    assert outcome.code == 2
    assert "ends in .html" in outcome.err
