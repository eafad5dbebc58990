"""Plans, looks and bakes of the C++ core: the same bytes as the Python library, on real weights."""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_client import CoreBundle, CoreLook, CoreRetoucher, Pair
from make_case import MIXES, STRENGTHS, TASKS, case_photo, make_case, sha256

from vera_mobile import native
from vera_mobile.bundle import Bundle
from vera_mobile.errors import Cancelled, FileError, InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.look import GROUPS
from vera_mobile.model.pixels import vision_pixels
from vera_mobile.retoucher import Auto, Param, Reference, Retoucher, Sampling, Style, Task
from vera_mobile.runtime import ExecuTorchPlanner

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def core(nano_bundle: Path) -> Iterator[CoreRetoucher]:
    bundle = CoreBundle(nano_bundle)
    made = CoreRetoucher(bundle, ExecuTorchPlanner(Bundle.open(nano_bundle)))
    yield made
    made.close()
    bundle.close()


@pytest.fixture(scope="module")
def case(nano_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What make_case.py writes for the SDKs."""
    folder = tmp_path_factory.mktemp("case")
    made = make_case(nano_bundle, folder)
    assert json.loads((folder / "case.json").read_text()) == json.loads(json.dumps(made))
    assert (
        hashlib.sha256((folder / "prepared.f32").read_bytes()).hexdigest()
        == (made["prepared"]["sha256"])
    )
    return made


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return case_photo().pixels


@pytest.mark.parametrize("name", TASKS)
def test_a_plan_is_the_same_to_the_byte(
    core: CoreRetoucher, case: dict[str, Any], pixels: np.ndarray, name: str, tmp_path: Path
) -> None:
    task, instant = TASKS[name]
    wanted = case["tasks"][name]
    look = core.plan(pixels, task, instant=instant)
    assert look.text == wanted["text"]
    assert look.tokens == wanted["tokens"]
    assert sha256(look.latents) == wanted["latents_sha256"]
    assert "".join(look.pieces) == look.text
    words = [event for event in look.order if event in ("look", "text")]
    assert words.index("look") == (0 if instant else len(words) - 1)
    for facts in wanted["looks"]:
        strengths = facts["strengths"]
        curves, lut = core.bake(look, strengths)
        assert sha256(curves) == facts["curves_sha256"]
        assert sha256(lut) == facts["lut_sha256"]
        assert sha256(look.to_json(strengths).encode()) == facts["json_sha256"]
        cube = core.save_cube(look, tmp_path / "look.cube", strengths=strengths)
        assert sha256(cube) == facts["cube_sha256"]
        for mix in MIXES:
            out = native.render(pixels, curves, lut, strength=mix)
            assert sha256(out) == facts["rendered_sha256"][str(mix)]


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_plan_is_the_same(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray, seed: int
) -> None:
    """Temperature, nucleus and seed: one generator in both languages."""
    task = (Auto(), Style("moody, like a rainy evening"))[seed % 2]
    sampling = Sampling(temperature=1.1, top_p=0.9, seed=seed * 7_000_000_007, max_tokens=40)
    wanted = retoucher.plan(Photo.from_array(pixels), task, sampling=sampling)
    got = core.plan(pixels, task, temperature=1.1, top_p=0.9, seed=sampling.seed, max_tokens=40)
    assert got.tokens == list(wanted.tokens)
    assert got.text == wanted.text
    assert np.array_equal(got.latents, wanted.latents)


@pytest.mark.parametrize("space", ["display-p3", "adobe-rgb"])
def test_photos_of_other_spaces_are_planned_alike(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray, space: str
) -> None:
    from image_makers import ADOBE_PRIMARIES, P3_PRIMARIES, rgb_profile

    curve = np.linspace(0, 1, 4096) ** 2.19921875
    icc = {
        "display-p3": rgb_profile("Display P3", P3_PRIMARIES),
        "adobe-rgb": rgb_profile("Adobe RGB (1998)", ADOBE_PRIMARIES, curve),
    }[space]
    wanted = retoucher.plan(Photo.from_array(pixels, icc=icc), Auto())
    got = core.plan(pixels, Auto(), space=space)
    assert got.tokens == list(wanted.tokens)
    assert np.array_equal(got.latents, wanted.latents)


def test_deep_photos_are_planned_alike(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray
) -> None:
    wide = pixels.astype(np.uint16) * 257 - (pixels > 100)
    wanted = retoucher.plan(Photo.from_array(wide.astype(np.uint16)), Auto())
    got = core.plan(wide.astype(np.uint16), Auto())
    assert np.array_equal(got.latents, wanted.latents)


def test_a_pair_is_planned_alike(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray
) -> None:
    edited = np.ascontiguousarray(255 - (255 - pixels) // 2)[: pixels.shape[0] // 2 * 2 : 2, ::2]
    edited = np.ascontiguousarray(edited)
    photo = Photo.from_array(pixels)
    wanted = retoucher.plan(photo, Reference(photo, Photo.from_array(edited)))
    got = core.plan(None, Pair(pixels, edited))
    assert np.array_equal(got.latents, wanted.latents)
    assert got.text == "" == wanted.text
    assert got.order == ["prepare 0.00", "reference 0.50", "look", "reference 1.00"]
    with pytest.raises(InvalidArgument, match="same picture twice"):
        core.plan(None, Pair(pixels, pixels.copy()))
    with pytest.raises(InvalidArgument, match="the aspect may not"):
        core.plan(None, Pair(pixels, np.ascontiguousarray(pixels[:100])))


def test_looks_are_read_as_they_were_written(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray, tmp_path: Path
) -> None:
    look = core.plan(pixels, Style("golden hour"))
    for strengths in (*STRENGTHS, (0.0, 1.5, 0.33), (0.001, 1.2345678, 1e-5)):
        text = look.to_json(strengths)
        python = retoucher.look_from_json(text)
        assert python.to_json() == text
        back, factors = CoreLook.from_json(text)
        assert back.text == look.text
        assert np.array_equal(back.latents, look.latents)
        assert factors == tuple(float(np.float32(getattr(python, g))) for g in GROUPS)
        ours = core.save_cube(back, tmp_path / "a.cube", strengths=strengths, strength=0.6, size=17)
        theirs = python.save_cube(tmp_path / "b.cube", 17, strength=0.6).read_bytes()
        assert ours == theirs
    with pytest.raises(FileError, match="not a look"):
        CoreLook.from_json('{"format": "vera-look"}')


def test_lut_sizes_bake_alike(
    core: CoreRetoucher, retoucher: Retoucher, pixels: np.ndarray
) -> None:
    look = core.plan(pixels, Param({"Contrast2012": 40, "Saturation": -30}))
    python = retoucher.look_from_json(look.to_json())
    for size in (17, 34, 65):
        curves, lut = core.bake(look, size=size)
        baked = python.bake(size)
        assert np.array_equal(curves, baked.curves)
        assert np.array_equal(lut, baked.lut)
    with pytest.raises(InvalidArgument, match=r"use 17\.\.65"):
        core.bake(look, size=66)


def test_two_callers_get_their_own_looks(core: CoreRetoucher, pixels: np.ndarray) -> None:
    tasks: list[Task] = [Style("warm"), Param({"Vibrance": 50}), Style("cold and dark"), Auto()]
    alone = [core.plan(pixels, task).latents for task in tasks]
    together: list[Any] = [None] * len(tasks)

    def plan(i: int) -> None:
        together[i] = core.plan(pixels, tasks[i]).latents

    threads = [threading.Thread(target=plan, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_set_flag_cancels_and_unload_asks_the_planner(
    core: CoreRetoucher, pixels: np.ndarray
) -> None:
    with pytest.raises(Cancelled):
        core.plan(pixels, Auto(), cancel=ctypes.c_int32(1))
    core.unload()
    assert core.planner.released[-1] == -1


# ---- the server that the SDKs' tests plan with -----------------------------------------------


def test_the_host_planner_answers_as_the_runtime_does(
    nano_bundle: Path, pixels: np.ndarray
) -> None:
    planner = ExecuTorchPlanner(Bundle.open(nano_bundle))
    seen = vision_pixels(Photo.from_array(pixels), planner.config)
    tokens = planner.encode_image(seen)
    ids = np.array([[1, 4, 5]], np.int64)
    embeds = planner.embed(ids)
    logits, hidden = planner.step(embeds, 0, 1)
    states = np.stack([hidden] * 3)
    latents = planner.head(states)
    colours = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    requests = [
        ((0, 1, 0, 0), seen.tobytes(), tokens.tobytes()),
        ((1, 3, 0, 0), ids.tobytes(), embeds.tobytes()),
        ((2, 3, 0, 1), embeds.tobytes(), hidden.tobytes() + logits.tobytes()),
        ((2, 3, 0, 0), embeds.tobytes(), hidden.tobytes()),
        ((3, 3, 0, 0), states.tobytes(), latents.tobytes()),
        ((5, 7, 0, 0), colours.tobytes() + latents.tobytes(),
         planner.bake(colours, latents).tobytes()),
        ((6, 0, -1, 0), b"", b""),
        ((7, 0, 0, 0), b"", b""),
    ]  # fmt: skip
    sent = b"".join(struct.pack("<4i", *head) + payload for head, payload, _ in requests)
    command = [sys.executable, str(HERE / "host_planner.py"), str(nano_bundle)]
    done = subprocess.run(command, input=sent, capture_output=True, check=True)
    assert done.stdout == b"".join(struct.pack("<2i", 0, 0) + out for *_, out in requests)


def test_the_host_planner_tells_what_went_wrong(nano_bundle: Path, tmp_path: Path) -> None:
    script = str(HERE / "host_planner.py")
    sent = struct.pack("<4iq", 1, 1, 0, 0, 10**9) + struct.pack("<4i", 7, 0, 0, 0)
    done = subprocess.run(
        [sys.executable, script, str(nano_bundle)], input=sent, capture_output=True, check=True
    )
    status, size = struct.unpack("<2i", done.stdout[:8])
    assert status == InvalidArgument.code
    assert b"not allowed" in done.stdout[8 : 8 + size]
    assert done.stdout[8 + size :] == struct.pack("<2i", 0, 0)
    bad = subprocess.run([sys.executable, script, str(tmp_path)], capture_output=True, check=False)
    assert bad.returncode == 2
    assert b"Traceback" not in bad.stderr
