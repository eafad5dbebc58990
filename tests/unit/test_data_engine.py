"""The data engine's parts: faults of cameras, presets, pairs, and the samples made of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_files import XMP, landscape, write_pairs, write_photos, write_styles

from vera_mobile.assets import checkpoint_folder
from vera_mobile.color.spaces import linear_rgb_to_xyz, rgb_to_lab, srgb_to_linear
from vera_mobile.develop.operators import develop
from vera_mobile.develop.sliders import GROUP_SLICES, GROUPS, INDEX, vector
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.train.engine import cameras
from vera_mobile.train.engine.config import EngineConfig, fingerprint, open_sources
from vera_mobile.train.engine.pairs import PairLooks, distance, histogram
from vera_mobile.train.engine.presets import apply_cube, preset_words, read_presets
from vera_mobile.train.engine.samples import decode, developed, make_sample


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("engine") / "photos")


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_styles(tmp_path_factory.mktemp("engine") / "styles")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    return write_pairs(tmp_path_factory.mktemp("engine") / "pairs", photos)


# ---- cameras -------------------------------------------------------------------------------------


def test_daylight_lies_where_the_standard_has_it() -> None:
    """CIE D65 and D50 have (0.31272, 0.32903) and (0.34567, 0.35850), at 6504 and 5003 K."""
    assert cameras.daylight_xy(6504) == pytest.approx((0.31272, 0.32903), abs=2e-4)
    assert cameras.daylight_xy(5003) == pytest.approx((0.34567, 0.35850), abs=2e-4)


@pytest.mark.parametrize("shift", [-55.0, -20.0, 30.0, 70.0])
def test_a_cast_has_the_chromaticity_of_its_daylight(shift: float) -> None:
    """White through the operators becomes daylight of the shifted temperature."""
    warm, tint = cameras.daylight_cast(shift)
    s = vector({"IncrementalTemperature": warm, "IncrementalTint": tint})
    out = develop(torch.full((1, 1, 3), 0.5), torch.from_numpy(s)[None])[0, 0].double().numpy()
    xyz = linear_rgb_to_xyz(srgb_to_linear(out))
    xy = xyz[:2] / xyz.sum()
    white = np.array([0.3127, 0.3290])
    wanted = np.array(cameras.daylight_xy(1e6 / (cameras.D65_MIRED + shift)))
    assert xy == pytest.approx(wanted, abs=4e-4)
    assert np.linalg.norm(wanted - white) > 0.01
    assert (xy[0] > white[0]) == (shift > 0)


def _faults(rgb: np.ndarray, count: int = 300) -> np.ndarray:
    return np.stack([cameras.camera_fault(rgb, np.random.default_rng(i)) for i in range(count)])


def test_meters_darken_bright_scenes_more_than_dark_ones() -> None:
    rng = np.random.default_rng(0)
    exposure = INDEX["Exposure2012"]
    bright, dark = (_faults(np.clip(rng.normal(m, 0.1, (500, 3)), 0, 1)) for m in (0.85, 0.2))
    assert bright[:, exposure].mean() < dark[:, exposure].mean() - 5
    assert (dark[:, exposure] > 0).mean() > (bright[:, exposure] > 0).mean()


def test_faults_are_whole_percent_varied_and_correlated() -> None:
    found = _faults(np.random.default_rng(1).random((500, 3)))
    assert np.array_equal(found, np.round(found))
    assert np.abs(found).max() <= 100
    assert (np.abs(found).sum(1) > 0).all()
    flat = found[:, INDEX["Contrast2012"]] < -25
    assert flat.sum() > 20
    assert (found[flat, INDEX["Saturation"]] <= 0).mean() > 0.9  # haze takes both
    groups = {tuple(bool(f[GROUP_SLICES[g]].any()) for g in GROUPS) for f in found}
    assert len(groups) >= 5


# ---- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("12_Golden_Hour", "golden hour"), ("Kodak_Portra_400_-1", "kodak portra 400"),
        ("pack_-_Film_-_Amber_Film_160", "amber film 160"), ("White+Blue", "white and blue"),
        ("Kodachrome-Blue", "kodachrome blue"), ("cam_shop_v003", ""), ("A1", ""),
        ("Exposure_+1.00", ""), ("Y2K_Flash_Digicam", "y2k flash digicam"),
    ],
)  # fmt: skip
def test_names_become_wishes_and_codes_do_not(stem: str, words: str) -> None:
    assert preset_words(stem) == words


def test_presets_are_read_with_their_licence(styles: Path) -> None:
    presets, left_out = read_presets(styles)
    by_name = {p.file: p for p in presets}
    assert len(presets) == 6
    golden = by_name["01_Golden_Field.xmp"]
    assert (golden.words, golden.licence) == ("golden field", "MIT")
    assert golden.sliders is not None
    assert golden.sliders[INDEX["IncrementalTemperature"]] == 40
    silver = by_name["Silver_Film_400.xmp"]
    assert silver.sliders is not None
    assert silver.sliders[INDEX["Saturation"]] == -100
    for name in ("Teal_Grade.xmp", "Curved_Look.xmp", "cam_shop_v003.xmp"):
        assert by_name[name].words == ""  # what the name promises is not what our operators do
    film = by_name["pack_-_Film_-_Amber_Film_160.cube"]
    assert film.sliders is None
    assert film.licence == "MPL-2.0"
    assert len(left_out) == 2
    assert any("Grain_Heavy" in reason for reason in left_out)
    assert any("Vignette" in reason for reason in left_out)


def test_a_table_keeps_to_its_domain(styles: Path) -> None:
    presets, _ = read_presets(styles)
    cube = next(p.cube for p in presets if p.cube)
    out = apply_cube(cube, np.array([[0.5, 0.5, 0.5]]))
    assert out[0] == pytest.approx([0.5**0.8, 0.5, 0.5**1.25], abs=1e-6)
    wide = replace(cube, domain_max=(2.0, 2.0, 2.0))
    assert apply_cube(wide, np.array([[1.0, 1.0, 1.0]]))[0] == pytest.approx(out[0], abs=1e-6)


def test_folders_without_presets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is no folder"):
        read_presets(tmp_path / "none")
    with pytest.raises(FileError, match="no usable"):
        read_presets(tmp_path)
    (tmp_path / "a.xmp").write_text("<broken")
    with pytest.raises(FileError, match=r"a\.xmp:1"):
        read_presets(tmp_path)
    settings = 'crs:Contrast2012="9" crs:ColorGradeShadowSat="much"'
    (tmp_path / "a.xmp").write_text(XMP.format(settings, ""))
    with pytest.raises(FileError, match=r"a\.xmp: a curve or a colour grade"):
        read_presets(tmp_path)


# ---- pairs ---------------------------------------------------------------------------------------


def test_histograms_tell_photos_apart() -> None:
    a, b = landscape() / 255.0, 1 - landscape() / 255.0
    assert histogram(a).sum() == pytest.approx(3, abs=1e-5)
    assert distance(histogram(a), histogram(a)) == 0
    assert 0.3 < distance(histogram(a), histogram(b)) <= 1


def test_the_edit_of_the_nearest_pair_is_laid_on(pairs: Path) -> None:
    looks = PairLooks(pairs, checkpoint_folder("nano"))
    assert [p.name for p in looks.pairs] == ["coffee0", "landscape"]
    photo = np.ascontiguousarray(landscape()[:, ::-1])
    pair, far = looks.nearest(photo)
    assert pair is not None
    assert pair.name == "landscape"
    assert far < 0.05
    before = rgb_to_lab(photo / 255.0)[..., 0].mean()
    edited = rgb_to_lab(looks.lay_on(photo, pair, (1.0, 1.0, 1.0)) / 255.0)[..., 0].mean()
    none = rgb_to_lab(looks.lay_on(photo, pair, (0.0, 0.0, 0.0)) / 255.0)[..., 0].mean()
    wanted = rgb_to_lab(developed(photo, vector({"Exposure2012": 14.0})) / 255.0)[..., 0].mean()
    assert edited - before == pytest.approx(wanted - before, abs=0.35 * (wanted - before))
    assert abs(none - before) < 0.35 * (wanted - before)


def test_a_photo_unlike_all_pairs_gets_no_edit(pairs: Path) -> None:
    looks = PairLooks(pairs, checkpoint_folder("nano"))
    magenta = np.full((64, 64, 3), (250, 20, 240), np.uint8)
    pair, far = looks.nearest(magenta)
    assert pair is None
    assert far > 0.4


# ---- samples -------------------------------------------------------------------------------------


def _records(config: EngineConfig, count: int) -> list[dict]:
    sources = open_sources(config)
    return [json.loads(make_sample(config, sources, i)["json"]) for i in range(count)]


def test_all_kinds_of_samples_come_with_their_sources(
    photos: Path, styles: Path, pairs: Path
) -> None:
    config = EngineConfig(
        str(photos), styles=str(styles), pairs=str(pairs), side=96, samples=90,
        checkpoint=str(checkpoint_folder("nano")), transfer_share=0.5,
    )  # fmt: skip
    records = _records(config, 90)
    assert Counter(r["task"] for r in records) == {"auto": 30, "style": 30, "param": 30}
    origins = Counter(r["origin"] for r in records)
    assert set(origins) >= {"good", "camera", "transfer", "concept", "preset", "sliders"}
    for r in records:
        assert r["photo"]["licence"].startswith("CC0")
        assert r["photo"]["tier"] in ("A", "B")
        assert (r["instruction"] == "") == (r["task"] == "auto")
        assert ("Problems." in r["full"]) == (r["task"] == "auto")
        assert (r["sliders"] is None) == (r["origin"] in ("transfer", "cube"))
        if r["origin"] == "preset":
            assert r["details"]["style"]["file"].endswith(".xmp")
        if r["sliders"] is not None:
            on = [float(any(INDEX[k] in range(38)[GROUP_SLICES[g]] for k in r["sliders"]))
                  for g in GROUPS]  # fmt: skip
            assert r["groups"] == on
    good = [r for r in records if r["origin"] == "good"]
    assert all(r["claims"] == [] for r in good)


def test_known_sliders_make_the_target(photos: Path, styles: Path) -> None:
    """PNG samples: the edit is exact to rounding, in the direction of the task."""
    config = EngineConfig(str(photos), styles=str(styles), side=64, kind="png", samples=30)
    sources = open_sources(config)
    checked = Counter[str]()
    for i in range(30):
        files = make_sample(config, sources, i)
        record = json.loads(files["json"])
        if record["sliders"] is None:
            continue
        start, end = decode(files["input.png"]), decode(files["target.png"])
        if record["task"] == "auto":
            start, end = end, start
        assert np.array_equal(developed(start, vector(record["sliders"])), end)
        checked[record["task"]] += 1
    assert min(checked[t] for t in ("auto", "style", "param")) >= 5


def test_samples_depend_on_seed_split_and_number_only(photos: Path) -> None:
    config = EngineConfig(str(photos), side=64, samples=9)
    sources = open_sources(config)
    again = make_sample(config, sources, 4)
    assert make_sample(config, sources, 4) == again
    assert make_sample(config, sources, 5) != again
    other = replace(config, seed=2)
    assert make_sample(other, open_sources(other), 4) != again


def test_every_photo_comes_once_a_round(photos: Path) -> None:
    config = EngineConfig(str(photos), side=32, samples=18)
    names = [r["photo"]["file"] for r in _records(config, 18)]
    assert set(names[:9]) == set(names[9:]) == {s.file for s in open_sources(config).photos}
    assert names[:9] != names[9:]


def test_tiers_and_splits_are_kept_apart(photos: Path) -> None:
    def files(**options: object) -> set[str]:
        config = EngineConfig(str(photos), **options)  # type: ignore[arg-type]
        return {s.file for s in open_sources(config).photos}

    train, val, everything = files(), files(split="val"), files(tiers=())
    assert not train & val
    assert everything - train == {"late.png"}
    assert {s[:-4] for s in files(tiers=("A",))} < {s[:-4] for s in train}


def test_the_fingerprint_tells_builds_apart(photos: Path, styles: Path, tmp_path: Path) -> None:
    import shutil

    config = EngineConfig(str(photos))
    moved = shutil.copytree(photos, tmp_path / "elsewhere")
    assert fingerprint(config) == fingerprint(replace(config, photos=str(moved)))
    others = [replace(config, seed=2), replace(config, styles=str(styles)),
              replace(config, tiers=("A",)), replace(config, split="val")]  # fmt: skip
    assert len({fingerprint(c) for c in (config, *others)}) == 5
    (moved / "rocket0.png").write_bytes((moved / "coffee0.png").read_bytes())
    assert fingerprint(config) != fingerprint(replace(config, photos=str(moved)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 0}, "samples"), ({"side": 8}, "side"), ({"good_share": 1.5}, "good_share"),
        ({"split": "all"}, "split"), ({"kind": "webp"}, "webp"), ({"tasks": ("auto", "x")}, "x"),
        ({"pairs": "p"}, "checkpoint"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(options: dict, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        EngineConfig("photos", **options)


def test_a_photo_of_the_manifest_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,split,tier\nno.jpg,train,A\n")
    with pytest.raises(FileError, match=r"no\.jpg"):
        open_sources(EngineConfig(str(tmp_path)))
