"""`vera compare`: figures that agree with the plain metrics, verdicts, files and exit codes."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Vera
from PIL import Image

from vera_mobile.bundle import Manifest, write_bundle
from vera_mobile.color import metrics
from vera_mobile.compare import figures as figures_module
from vera_mobile.compare.banding import banding_map
from vera_mobile.compare.figures import Codes, codes_of, measure_pair, text_agreement
from vera_mobile.compare.pairs import pair_up, text_of
from vera_mobile.compare.run import compare_sides
from vera_mobile.compare.tolerances import check_bounds, judge, photo_bounds
from vera_mobile.errors import BundleError, FileError, InvalidArgument
from vera_mobile.export.recipes import RECIPES
from vera_mobile.image import Photo
from vera_mobile.page import printable


def noisy(seed: int, height: int = 50, width: int = 70, dtype: type = np.uint8) -> np.ndarray:
    peak = int(np.iinfo(dtype).max)
    return np.random.default_rng(seed).integers(0, peak + 1, (height, width, 3)).astype(dtype)


def nudged(rgb: np.ndarray, seed: int = 1) -> np.ndarray:
    """Each value moved by -3..3 codes of 8 bits, most of them by none."""
    step = np.random.default_rng(seed).integers(-3, 4, rgb.shape)
    step *= np.random.default_rng(seed + 1).random(rgb.shape) < 0.2
    scale = 1 if rgb.dtype == np.uint8 else 257
    moved = rgb.astype(np.int64) + step * scale
    return np.clip(moved, 0, np.iinfo(rgb.dtype).max).astype(rgb.dtype)


def save(folder: Path, name: str, rgb: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return path


def sky(height: int = 64, width: int = 256, steps: int = 1) -> np.ndarray:
    """A gradient of a quarter code a pixel, quantized to every `steps`-th code."""
    ramp = 100 + np.arange(width) / 4
    row = (np.rint(ramp / steps) * steps).astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2)


# ---- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("strip", [1 << 21, 70 * 7])
def test_figures_are_those_of_the_plain_metrics(
    dtype: type, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "STRIP_PIXELS", strip)
    a = noisy(0, dtype=dtype)
    b = nudged(a)
    got, plain = measure_pair(Codes(a, b)), metrics.compare(a, b)
    peak = np.iinfo(dtype).max
    assert got.psnr_db == pytest.approx(plain["psnr_db"], abs=1e-9)
    assert got.ssim == pytest.approx(metrics.ssim(a, b, peak), abs=1e-9)
    for key in ("ciede2000_mean", "ciede2000_p99", "ciede2000_max"):
        # float32 lists on both sides, summed in another order
        assert getattr(got, key) == pytest.approx(plain[key], rel=1e-5), key
    assert got.max_difference == pytest.approx(plain["max_code_difference"] * 255 / peak)
    assert got.max_at == plain["max_code_at"]
    assert got.equal_share == np.mean(np.all(a == b, axis=2))


def test_equal_pictures_are_equal_in_every_figure() -> None:
    got = measure_pair(Codes(noisy(3), noisy(3)), ("warm light", "warm light"))
    assert got.psnr_db == math.inf
    assert (got.ciede2000_max, got.max_difference, got.banding_share) == (0, 0, 0)
    assert (got.equal_share, got.text_agreement) == (1, 1)
    assert got.ssim == pytest.approx(1)


def test_a_picture_smaller_than_a_window_has_no_ssim() -> None:
    got = measure_pair(Codes(noisy(3, 10, 90), nudged(noisy(3, 10, 90))))
    assert got.ssim is None
    assert judge(got, {"ssim_min": 0.9, "psnr_db_min": 10.0})[0].name == "psnr_db_min"


def test_eight_and_sixteen_bits_of_one_picture_are_equal() -> None:
    rgb = noisy(1)
    wide = Photo.from_array(rgb.astype(np.uint16) * np.uint16(257))
    assert measure_pair(codes_of(Photo.from_array(rgb), wide)).psnr_db == math.inf


def test_another_size_is_named() -> None:
    small, large = (Photo.from_array(noisy(1, 20, width)) for width in (30, 31))
    with pytest.raises(InvalidArgument, match="size 31 x 20, the reference has 30 x 20"):
        codes_of(small, large)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a warm sky", "a warm sky", 1.0),
        ("a warm sky", "a  warm\nsky", 1.0),
        ("a b c d", "a b x d", 0.75),
        ("a b", "c d", 0.0),
        ("", "", 1.0),
        (None, "a", None),
        ("a", None, None),
    ],
)
def test_text_agreement(a: str | None, b: str | None, expected: float | None) -> None:
    assert text_agreement(a, b) == expected


# ---- banding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_bands_are_found_where_they_are(turned: bool) -> None:
    smooth, banded = sky(), sky(steps=4)
    if turned:
        smooth, banded = (np.ascontiguousarray(p.transpose(1, 0, 2)) for p in (smooth, banded))
    shown = banding_map(smooth, banded)
    line = shown[:, 0] if turned else shown[0]
    values = banded[:, 0, 0] if turned else banded[0, :, 0]
    steps = np.flatnonzero(np.diff(values.astype(int)))
    inner = steps[(steps >= 3) & (steps < len(values) - 4)]
    expected = np.zeros(len(values))
    expected[inner], expected[inner + 1] = 4, 4
    np.testing.assert_array_equal(line, expected)
    assert len(inner) >= 14


def test_bands_of_the_reference_itself_and_grain_are_none() -> None:
    banded = sky(steps=4)
    assert not banding_map(banded, banded).any()
    grain = np.random.default_rng(0).integers(-3, 4, banded.shape)
    noisy_bands = (banded.astype(int) + grain).astype(np.uint8)
    found = np.mean(banding_map(sky(), noisy_bands) > 0)
    assert found < 0.1 * np.mean(banding_map(sky(), banded) > 0)


def test_an_edge_of_a_thing_is_no_band() -> None:
    flat = np.full((40, 40, 3), 60, np.uint8)
    edge = flat.copy()
    edge[:, 20:] = 60 + 25
    assert not banding_map(flat, edge).any()
    edge[:, 20:] = 60 + 24
    assert np.count_nonzero(banding_map(flat, edge)) == 80


def test_banding_of_sixteen_bits_is_in_the_same_steps() -> None:
    smooth, banded = sky(), sky(steps=4)
    wide = [p.astype(np.uint16) * np.uint16(257) for p in (smooth, banded)]
    np.testing.assert_allclose(banding_map(*wide), banding_map(smooth, banded), atol=1e-4)


# ---- pairs ---------------------------------------------------------------------------------------


def test_names_pair_across_folders_and_formats(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", "c.png"):
        save(tmp_path / "one", name, noisy(0))
    for name in ("a.jpg", "deep/b.png", "d.png"):
        save(tmp_path / "two", name, noisy(0))
    (tmp_path / "two" / "a.look.json").write_text(json.dumps({"text": "warm"}))
    got = pair_up(tmp_path / "one", tmp_path / "two")
    assert [pair.name for pair in got.pairs] == ["a", "deep/b"]
    assert (got.missing, got.extra) == (("c",), ("d",))
    assert text_of(got.pairs[0].candidate) == "warm"
    assert text_of(got.pairs[0].reference) is None


def test_a_result_file_names_its_photos(tmp_path: Path) -> None:
    save(tmp_path / "one", "a.png", noisy(0))
    save(tmp_path / "phone", "out/7.png", noisy(0))
    file = tmp_path / "phone" / "result.json"
    file.write_text(
        json.dumps({"photos": [{"name": "a.jpg", "file": "out/7.png", "text": "cool"}]})
    )
    (pair,) = pair_up(tmp_path / "one", file).pairs
    assert pair.candidate.path == tmp_path / "phone" / "out/7.png"
    assert text_of(pair.candidate) == "cool"
    out = str(tmp_path / "phone" / "out" / "7.png")
    file.write_text(json.dumps({"done": [{"photo": "7.jpg", "out": out, "text": "x"}]}))
    save(tmp_path / "one", "7.png", noisy(0))
    assert [p.name for p in pair_up(tmp_path / "one", file).pairs] == ["7"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is not a result file"),
        ('{"photos": {}}', "is not a result file"),
        ('{"photos": [{"name": "a"}]}', 'photo 0 lacks "name" or "file"'),
        ('{"photos": [{"name": "a", "file": "a.png", "text": 3}]}', "is no text"),
    ],
)
def test_damaged_result_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    save(tmp_path / "one", "a.png", noisy(0))
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(FileError, match=said) as caught:
        pair_up(tmp_path / "one", tmp_path / "r.json")
    assert "r.json" in str(caught.value)


def test_sides_that_cannot_be_paired(tmp_path: Path) -> None:
    save(tmp_path / "one", "a.png", noisy(0))
    save(tmp_path / "two", "b.png", noisy(0))
    with pytest.raises(InvalidArgument, match="no photo of the same name"):
        pair_up(tmp_path / "one", tmp_path / "two")
    with pytest.raises(FileError, match="does not exist"):
        pair_up(tmp_path / "one", tmp_path / "none")
    save(tmp_path / "one", "a.jpg", noisy(0))
    with pytest.raises(InvalidArgument, match="have one name"):
        pair_up(tmp_path / "one", tmp_path / "two")


# ---- verdicts ------------------------------------------------------------------------------------


def test_bounds_are_held_from_their_side() -> None:
    got = measure_pair(Codes(noisy(0), nudged(noisy(0))), ("a b", "a c"))
    value = got.ciede2000_mean
    exact = judge(got, {"ciede2000_mean_max": value, "psnr_db_min": got.psnr_db})
    assert [check.passed for check in exact] == [True, True]
    assert [check.strain for check in exact] == [1.0, 1.0]
    beyond = judge(got, {"ciede2000_mean_max": value / 2, "psnr_db_min": got.psnr_db * 2})
    assert [check.passed for check in beyond] == [False, False]
    assert [check.strain for check in beyond] == pytest.approx([2.0, 2.0])
    (words,) = judge(got, {"text_agreement_min": 0.6})
    assert (words.value, words.passed) == (0.5, False)
    assert judge(replace(got, text_agreement=None), {"text_agreement_min": 0.6}) == ()


@pytest.mark.parametrize("name", RECIPES)
def test_bounds_of_every_recipe_are_known(name: str) -> None:
    bounds = photo_bounds(RECIPES[name].tolerances, name)
    assert bounds
    check_bounds(bounds)


def test_bounds_of_a_manifest() -> None:
    manifest = {"psnr_db_min": 38.0, "token_agreement_min": 0.9, "vision_sqnr_db_min": 10.0}
    assert photo_bounds(manifest, "bundle x") == {"psnr_db_min": 38.0}
    with pytest.raises(BundleError, match="'psnr_min' is unknown"):
        photo_bounds({"psnr_min": 3.0}, "bundle x")
    with pytest.raises(BundleError, match="no tolerance for photos"):
        photo_bounds({"token_agreement_min": 0.9}, "bundle x")


@pytest.mark.parametrize(
    ("bounds", "said"),
    [({}, "No tolerance"), ({"x_min": 1.0}, "unknown"), ({"ssim_min": math.nan}, "nan")],
)
def test_bounds_that_are_not_allowed(bounds: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_bounds(bounds)


def test_the_worst_photos_have_pictures_and_only_they(tmp_path: Path) -> None:
    rgb = noisy(0, 20, 20)
    for i in range(5):
        save(tmp_path / "one", f"{i}.png", rgb)
        moved = rgb.astype(int) + (i * 7 % 5) * 2
        save(tmp_path / "two", f"{i}.png", np.clip(moved, 0, 255).astype(np.uint8))
    done = compare_sides(
        pair_up(tmp_path / "one", tmp_path / "two"), {"max_difference_max": 5.0}, pictures=2
    )
    # moved by 0, 4, 8, 2 and 6 codes
    assert [row.verdict for row in done.rows] == ["passed", "passed", "failed", "passed", "failed"]
    assert list(done.views) == ["2", "4"]


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Three photos: equal, nearly equal, and far."""
    one, two = tmp_path / "golden", tmp_path / "phone"
    rgb = noisy(0)
    for name, other in (("equal", rgb), ("near", nudged(rgb)), ("deep/far", 255 - rgb)):
        save(one, f"{name}.png", rgb)
        save(two, f"{name}.png", other)
    return one, two


def flags(sides: tuple[Path, Path], *more: object) -> tuple[object, ...]:
    return ("compare", "--reference", sides[0], "--candidate", sides[1], *more)


def test_compare_fails_for_the_far_photo_only(
    vera: Vera, sides: tuple[Path, Path], tmp_path: Path
) -> None:
    files = ("--page", tmp_path / "c.html", "--junit", tmp_path / "c.xml")
    done = vera(*flags(sides, "--psnr-db-min", "38", "--json", *files))
    assert done.code == 1, done.err
    rows = {row["name"]: row for row in json.loads(done.out)["photos"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "deep/far": "failed", "equal": "passed", "near": "passed",
    }  # fmt: skip
    assert rows["deep/far"]["missed"] == ["psnr_db_min"]
    assert rows["equal"]["figures"]["psnr_db"] is None
    suite = ET.parse(tmp_path / "c.xml").getroot()[0]
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0"}
    cases = {f"{c.get('classname')}/{c.get('name')}": c for c in suite}
    failure = cases["photos/deep/far"].find("failure")
    assert failure is not None
    assert "psnr_db_min 38: " in str(failure.get("message"))
    assert cases["photos/near"].find("failure") is None
    properties = cases["photos/equal"].find("properties")
    assert properties is not None
    assert {p.get("name"): p.get("value") for p in properties}["psnr_db"] == "inf"
    assert "deep/far" in (tmp_path / "c.html").read_text("utf-8")


def test_compare_passes_within_the_bundles_tolerances(
    vera: Vera, sides: tuple[Path, Path], tmp_path: Path
) -> None:
    bounds = {"psnr_db_min": 38.0, "ciede2000_mean_max": 1.0, "token_agreement_min": 0.9}
    manifest = Manifest("small", {}, "android-int4", "test", tolerances=bounds)
    write_bundle(tmp_path / "b", manifest, {})
    done = vera(*flags(sides, "--bundle", tmp_path / "b", "--json"))
    assert done.code == 1
    report = json.loads(done.out)
    assert report["bounds"] == {"psnr_db_min": 38.0, "ciede2000_mean_max": 1.0}
    (sides[1] / "deep" / "far.png").write_bytes((sides[0] / "deep" / "far.png").read_bytes())
    done = vera(*flags(sides, "--bundle", tmp_path / "b"))
    assert done.code == 0, done.out
    assert "3 passed, 0 failed" in done.out
    assert vera(*flags(sides, "--bundle", tmp_path / "b", "--psnr-db-min", "90")).code == 1


def test_a_missing_photo_fails_and_an_unreadable_one_is_bad_input(
    vera: Vera, sides: tuple[Path, Path], tmp_path: Path
) -> None:
    bound = ("--psnr-db-min", "5", "--junit", tmp_path / "c.xml")
    (sides[1] / "deep" / "far.png").unlink()
    done = vera(*flags(sides, *bound))
    assert done.code == 1
    assert "failed     deep/far: the candidate does not have this photo" in done.out
    (sides[1] / "near.png").write_bytes(b"no picture")
    done = vera(*flags(sides, *bound))
    assert done.code == 2
    assert "1 passed, 1 failed, 1 unreadable" in done.out
    suite = ET.parse(tmp_path / "c.xml").getroot()[0]
    assert [child.tag for case in suite for child in case if child.tag != "properties"] == [
        "failure", "error",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "No tolerance is given"),
        (("--ssim-min", "nan"), "nan"),
        (("--ssim-min", "0.9", "--pictures", "-1"), "--pictures"),
        (("--ssim-min", "0.9", "--page", "none/c.html"), "does not exist"),
        (("--bundle", "none"), "none"),
    ],
)
def test_bad_flags(
    vera: Vera, sides: tuple[Path, Path], more: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = vera(*flags(sides, *more))
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_text_for_xml_and_html_has_no_controls() -> None:
    bad: Any = "a\x00b\x1f\ud800\ufffe"
    assert printable(bad) == "a\ufffdb\ufffd\ufffd\ufffd"
