"""`vera serve` without a browser: who may ask, uploads, plans, and what can be taken away."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Vera
from image_makers import P3_PRIMARIES, rgb_profile
from PIL import Image
from serving import TOKEN, Served, serving

from vera_mobile.color.cube import read_cube
from vera_mobile.commands import serve
from vera_mobile.errors import InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.retoucher import Auto, Param, Retoucher, Style
from vera_mobile.serve.desk import PREVIEW_SIDE, preview_of, safe_name, strengths_of, task_of

STATIC = ROOT / "vera_mobile" / "serve" / "static"
GROUPS = {"lighting": 0.5, "global_color": 1.25, "specific_color": 0.0}


@pytest.fixture(scope="module")
def served(retoucher: Retoucher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(retoucher, tmp_path_factory.mktemp("served"), 2**22) as running:
        yield running


@pytest.fixture
def cup(tmp_path: Path, picture: np.ndarray) -> Path:
    """A JPEG with EXIF and a profile."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = rgb_profile("Display P3", P3_PRIMARIES)
    Image.fromarray(picture).save(tmp_path / "cup.jpg", quality=95, exif=exif, icc_profile=profile)
    return tmp_path / "cup.jpg"


# ---- who may ask ---------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only(served: Served) -> None:
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    mine = [address for address in listening if address.endswith(f":{served.port:04X}")]
    assert mine == [f"0100007F:{served.port:04X}"]


@pytest.mark.parametrize("path", ["/", "/api/about", f"/{TOKEN}x/", f"/x{TOKEN}/", "/%00/"])
def test_without_the_token_there_is_nothing(served: Served, path: str) -> None:
    answer = served.raw(path)
    assert answer.status == 404
    assert b"vera serve" in answer.body
    assert b"vera-nano" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:PORT"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_sites_are_refused_even_with_the_token(
    served: Served, headers: dict[str, str]
) -> None:
    given = {k: v.replace("PORT", str(served.port)) for k, v in headers.items()}
    answer = served.raw(f"/{TOKEN}/api/about", headers=given)
    assert answer.status == 403
    assert b"vera-nano" not in answer.body


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_itself_is_served(served: Served, name: str) -> None:
    host = f"{name}:{served.port}"
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    answer = served.raw(f"/{TOKEN}/api/about", headers=headers)
    assert answer.status == 200
    assert answer.json["model"] == "vera-nano"
    assert sum(len(group) for group in answer.json["sliders"].values()) == 38
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["static/../app.py", "static/%2e%2e/app.py", "static//etc/passwd"])
def test_no_file_outside_of_static(served: Served, path: str) -> None:
    assert served.get(path).status == 404


def test_the_page_names_nothing_elsewhere(served: Served) -> None:
    assert served.get("").status == 200
    for file in STATIC.glob("*.*"):
        text = file.read_text()
        assert not re.search(r"https?://|//cdn|import\s*\(", text), file
        assert served.get(f"static/{file.name}").body == file.read_bytes()


def test_the_vendored_module_is_the_published_one() -> None:
    readme = (STATIC / "vendor" / "README.md").read_text()
    (told,) = re.findall(r"[0-9a-f]{64}", readme)
    module = (STATIC / "vendor" / "preact-htm.js").read_bytes()
    assert hashlib.sha256(module).hexdigest() == told
    assert {"LICENSE.htm", "LICENSE.preact"} <= {f.name for f in (STATIC / "vendor").iterdir()}


# ---- uploads -------------------------------------------------------------------------------------


def test_a_photo_is_described_and_leaves_no_file(served: Served, cup: Path) -> None:
    facts = served.upload(cup)
    assert (facts["name"], facts["width"], facts["height"]) == ("cup.jpg", 300, 200)
    assert facts["colour_space"] == facts["preview"]["colour_space"].replace(
        "display-p3", "Display P3"
    )
    rgba = np.frombuffer(served.get(f"api/photos/{facts['id']}/preview").body, np.uint8)
    rgba = rgba.reshape(200, 300, 4)
    assert np.array_equal(rgba[..., :3], Photo.load(cup).pixels)
    assert (rgba[..., 3] == 255).all()
    assert list(served.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"no picture at all", "not a"), (b"\xff\xd8\xff\xe0 cut off", "")],
    ids=["empty", "text", "cut off"],
)
def test_a_bad_file_gives_one_message_with_its_own_name(
    served: Served, content: bytes, words: str
) -> None:
    answer = served.post("api/photos", content, **{"X-Name": "holiday%20%C3%A9.jpg"})
    assert answer.status == 400
    message = answer.json["error"]
    assert "holiday é.jpg" in message
    assert words in message
    assert str(served.folder) not in message
    assert "\n" not in message
    assert list(served.folder.iterdir()) == []


@pytest.mark.parametrize("told", [True, False], ids=["length told", "chunked"])
def test_an_upload_above_the_limit_is_refused(served: Served, told: bool) -> None:
    body = bytes(2**22 + 1)
    sent: Any = body if told else iter([body[:1000], body[1000:]])
    try:
        answer = served.post("api/photos", sent, **{"X-Name": "big.png"})
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was refused before all of it was sent
    else:
        assert answer.status == 413
        assert "big.png is larger than 4 MB" in answer.json["error"]
    assert list(served.folder.iterdir()) == []


def test_old_photos_make_room_and_say_so(served: Served, cup: Path) -> None:
    first = served.upload(cup)["id"]
    assert served.get(f"api/photos/{first}/preview").status == 200
    for _ in range(3):
        served.upload(cup)
    answer = served.get(f"api/photos/{first}/preview")
    assert answer.status == 400
    assert "choose the photo again" in answer.json["error"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.jpg", "a.jpg"), ("../../etc/passwd", "passwd"), ("C:\\x\\b.png", "b.png"),
        ("", "photo.jpg"), ('a"\r\nb.tif', "ab.tif"), ("x" * 300, "x" * 120),
    ],
)  # fmt: skip
def test_names_are_made_safe(name: str, kept: str) -> None:
    assert safe_name(name) == kept


def test_previews_are_small_and_keep_what_a_browser_can_show(picture: np.ndarray) -> None:
    wide = np.repeat(np.repeat(picture, 8, 0), 8, 1).astype(np.uint16) * 257
    alpha = np.full(wide.shape[:2], 65535 // 2, np.uint16)
    shown = preview_of(Photo.from_array(np.dstack([wide, alpha])))
    assert shown.rgba.shape == (round(1600 * PREVIEW_SIDE / 2400), PREVIEW_SIDE, 4)
    assert set(np.unique(shown.rgba[..., 3])) == {127}
    odd = Photo.from_array(picture, icc=rgb_profile("Other", P3_PRIMARIES))
    assert preview_of(odd).colour_space == "srgb"
    assert not np.array_equal(preview_of(odd).rgba[..., :3], picture)


# ---- plans and what comes of them ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "task"),
    [
        ({"task": "auto"}, Auto()),
        ({"task": "style", "wish": "golden hour"}, Style("golden hour")),
        ({"task": "param", "sliders": {"Exposure2012": 30}}, Param({"Exposure2012": 30})),
    ],
    ids=["auto", "style", "param"],
)
@pytest.mark.parametrize("instant", [False, True])
def test_a_plan_streams_its_words_and_its_look(
    served: Served, cup: Path, retoucher: Retoucher, sent: Any, task: Any, instant: bool
) -> None:
    events = served.plan(served.upload(cup)["id"], **sent, instant=instant)
    kinds = [event["event"] for event in events]
    expected = retoucher.plan(Photo.load(cup), task, instant=instant)
    text = "".join(event["piece"] for event in events if event["event"] == "text")
    assert text == expected.text == events[-1]["text"]
    assert kinds[-1] == "done"
    assert kinds.index("look") == (0 if instant else len(kinds) - 2)
    saved = served.get(f"api/looks/{events[-1]['id']}/look").body.decode()
    assert saved == expected.to_json()


def test_what_is_taken_away_is_what_the_command_writes(
    served: Served, cup: Path, nano_bundle: Path, vera: Vera
) -> None:
    """Photo, cube and look, byte for byte, with strengths."""
    look = served.plan(served.upload(cup)["id"], task="style", wish="golden hour")[-1]["id"]
    query = "&".join(f"{k}={v}" for k, v in ({"strength": 0.7} | GROUPS).items())
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in ({"strength": 0.7} | GROUPS).items()]
    done = vera("retouch", "--bundle", nano_bundle, "--style", "golden hour", *flags,
                "--save-cube", "--save-look", cup)  # fmt: skip
    assert done.code == 0, done.err
    for what, name in (("photo", "cup-vera.jpg"), ("cube", "cup-vera.cube"),
                       ("look", "cup-vera.look.json")):  # fmt: skip
        answer = served.get(f"api/looks/{look}/{what}?{query}")
        assert answer.status == 200
        assert answer.body == (cup.parent / name).read_bytes(), what
        assert name in answer.headers["content-disposition"]
    written = Photo.load(cup.parent / "cup-vera.jpg")
    assert written.colour_space == "Display P3"
    assert written.exif is not None
    assert list(served.folder.iterdir()) == []


def test_the_lut_is_the_baked_look(served: Served, cup: Path, retoucher: Retoucher) -> None:
    look = served.plan(served.upload(cup)["id"], task="param", sliders={"Vibrance": 60})[-1]["id"]
    answer = served.get(f"api/looks/{look}/lut?" + "&".join(f"{k}={v}" for k, v in GROUPS.items()))
    knots, size = (int(answer.headers[k]) for k in ("x-curve-knots", "x-lut-size"))
    values = np.frombuffer(answer.body, "<f4")
    _, planned = served.desk.look(look)
    baked = retoucher.bake(planned.with_strengths(**GROUPS))
    assert np.array_equal(values[: 3 * knots].reshape(3, knots), baked.curves)
    assert np.array_equal(values[3 * knots :].reshape(size, size, size, 3), baked.lut)


def test_a_cube_can_be_read(served: Served, cup: Path, tmp_path: Path) -> None:
    look = served.plan(served.upload(cup)["id"])[-1]["id"]
    (tmp_path / "x.cube").write_bytes(served.get(f"api/looks/{look}/cube").body)
    assert read_cube(tmp_path / "x.cube").lut.shape == (33, 33, 33, 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "no task"), ("[]", "use one of auto, style, param"), ("1" * 70_000, "longer"),
        ('{"task": "paint"}', "'paint'"),
        ('{"task": "param", "sliders": {"Zoom": 1}}', "Zoom"),
        ('{"task": "param", "sliders": [1]}', "no task"),
        ('{"task": "style", "wish": ""}', "0 characters"),
    ],
)  # fmt: skip
def test_bad_tasks_give_one_message(served: Served, cup: Path, body: str, words: str) -> None:
    photo = served.upload(cup)["id"]
    answer = served.post(f"api/photos/{photo}/plan", body)
    if answer.status == 200:  # what only the plan finds comes as its event
        (event,) = [json.loads(line) for line in answer.body.splitlines()]
        assert event["event"] == "error"
        message = event["message"]
    else:
        assert answer.status == 400
        message = answer.json["error"]
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "query", [{"strength": "2"}, {"strength": "nan"}, {"lighting": "-1"}, {"global_color": "x"}]
)
def test_bad_strengths_are_refused(query: dict[str, str]) -> None:
    (name,) = query
    with pytest.raises(InvalidArgument, match=name):
        strengths_of(query)


def test_strengths_and_tasks_have_defaults() -> None:
    assert strengths_of({}) == (1.0, dict.fromkeys(GROUPS, 1.0))
    assert task_of({"task": "param"}) == Param({})


def test_looks_that_are_gone_say_so(served: Served) -> None:
    for what in ("lut", "photo", "cube", "look"):
        answer = served.get(f"api/looks/none/{what}")
        assert answer.status == 400
        assert "no longer open" in answer.json["error"]


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_serves_until_it_is_stopped(nano_bundle: Path) -> None:
    command = [sys.executable, "-m", "vera_mobile.cli", "serve", "--bundle", str(nano_bundle)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{20,})/", url)
        assert found, url
        import urllib.request

        with urllib.request.urlopen(url + "api/about", timeout=60) as answer:
            about = json.load(answer)
        assert (about["model"], about["form"]) == ("vera-nano", "android-int4 on ExecuTorch")
    finally:
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert "Traceback" not in said
    assert url.split("/")[3] not in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--port", "80"), "1024..65535"),
        (("--max-upload-mb", "0"), "1..4096"),
        (("--bundle", "no/such"), "neither a bundle"),
    ],
)
def test_the_command_refuses_bad_options(vera: Vera, flags: tuple[str, ...], words: str) -> None:
    done = vera("serve", *flags)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") <= 2


def test_a_taken_port_is_named(vera: Vera, served: Served, nano_bundle: Path) -> None:
    done = vera("serve", "--bundle", nano_bundle, "--port", served.port)
    assert done.code == 2
    assert f"Port {served.port} is taken" in done.err


def test_a_seeded_model_is_said_to_mean_nothing(bundle_copy: Path) -> None:
    file = bundle_copy / "bundle.json"
    manifest = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(manifest | {"name": "vera-0.5b-seeded"}), "utf-8")
    _, about = serve._model(str(bundle_copy))
    assert about["model"] == "vera-0.5b-seeded"
    assert about["form"].startswith("android-int4 on ExecuTorch. Its weights are seeded")
