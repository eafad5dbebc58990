"""Folders of photos, presets and pairs for the tests of the data engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vera_mobile.color.cube import write_cube
from vera_mobile.color.lut import identity_lut

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" {}>{}</rdf:Description>
</rdf:RDF></x:xmpmeta>"""
SIDE = 176


def landscape() -> np.ndarray:
    """(176, 176, 3) uint8: a smooth blue sky over rough greens."""
    rng = np.random.default_rng(3)
    y = np.linspace(0, 1, SIDE)[:, None, None]
    out = np.array([90, 150, 225]) * (1 - y) + np.array([170, 200, 235]) * y
    out = np.broadcast_to(out, (SIDE, SIDE, 3)).copy()
    ground = rng.normal(0, 1, (SIDE // 4, SIDE // 4, 1)).repeat(4, 0).repeat(4, 1)
    half = SIDE // 2
    out[half:] = (np.array([75, 115, 45]) + 26 * ground)[half:]
    return np.clip(out, 0, 255).astype(np.uint8)


def write_photos(folder: Path) -> Path:
    """Twelve photos of skimage and drawn ones, with a manifest: 9 train, 2 val, 1 of tier A-."""
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,split,tier,licence,source,author,category"]
    named = [(n, getattr(data, n)()) for n in ("astronaut", "chelsea", "coffee", "rocket")]
    pictures = [(f"{n}{i}", p[:, :: -1 if i else 1]) for i in range(2) for n, p in named]
    pictures += [("landscape", landscape()), ("meadow", np.ascontiguousarray(landscape()[60:]))]
    pictures += [("grey", named[2][1].mean(2, keepdims=True).repeat(3, 2).astype(np.uint8)),
                 ("late", named[3][1][::-1])]  # fmt: skip
    for i, (name, picture) in enumerate(pictures):
        image = Image.fromarray(np.ascontiguousarray(picture))
        image.thumbnail((SIDE, SIDE))
        image.save(folder / f"{name}.png")
        split = "val" if name in ("chelsea1", "coffee1") else "train"
        tier = "A-" if name == "late" else "AB"[i % 2]
        category = "people" if name.startswith("astronaut") else ""
        rows.append(f"{name}.png,{split},{tier},CC0 {i % 2},here,Someone,{category}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_styles(folder: Path) -> Path:
    """Presets: sliders, monochrome, a graded one, one without sliders; and a film table."""
    folder.mkdir(parents=True, exist_ok=True)
    presets = {
        "01_Golden_Field.xmp": 'crs:IncrementalTemperature="40" crs:Vibrance="25"',
        "Silver_Film_400.xmp": 'crs:Contrast2012="20" crs:ConvertToGrayscale="True"',
        "Teal_Grade.xmp": 'crs:Contrast2012="30" crs:ColorGradeShadowSat="40"',
        "cam_shop_v003.xmp": 'crs:Exposure2012="-0.8"',
        "Grain_Heavy.xmp": 'crs:GrainAmount="50"',
        "Vignette.xmp": 'crs:Contrast2012="0"',
    }
    for name, settings in presets.items():
        (folder / name).write_text(XMP.format(settings, ""))
    curve = (
        "<crs:ToneCurvePV2012><rdf:Seq><rdf:li>0, 30</rdf:li><rdf:li>255, 255</rdf:li></rdf:Seq>"
    )
    text = XMP.format('crs:Saturation="-30"', f"{curve}</crs:ToneCurvePV2012>")
    (folder / "Curved_Look.xmp").write_text(text)
    warm = identity_lut(9) ** np.array([0.8, 1.0, 1.25])
    write_cube(folder / "pack_-_Film_-_Amber_Film_160.cube", warm)
    (folder / "manifest.csv").write_text(
        "file,source,licence\n01_Golden_Field.xmp,someone,MIT\n"
        "pack_-_Film_-_Amber_Film_160.cube,another,MPL-2.0\n"
    )
    return folder


def write_pairs(folder: Path, photos: Path) -> Path:
    """Two pairs: the landscape made brighter, the coffee made warmer."""
    from vera_mobile.develop.sliders import vector
    from vera_mobile.train.engine.samples import developed

    for side in ("before", "after"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    edits = {"landscape": {"Exposure2012": 14.0}, "coffee0": {"IncrementalTemperature": 45.0}}
    for name, sliders in edits.items():
        picture = np.asarray(Image.open(photos / f"{name}.png"))
        Image.fromarray(picture).save(folder / "before" / f"{name}.png")
        after = developed(picture, vector(sliders))
        Image.fromarray(after).save(folder / "after" / f"{name}.png")
    return folder
