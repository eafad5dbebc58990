"""Instant plans: the look first, the words after, both the same as those of two plain plans."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import Vera
from PIL import Image

from vera_mobile.assets import checkpoint_folder
from vera_mobile.bundle import Bundle
from vera_mobile.errors import Cancelled
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.retoucher import Auto, Param, Reference, Retoucher, Sampling, Style, Task
from vera_mobile.runtime import ExecuTorchPlanner, Planner

TASKS: tuple[Task, ...] = (Auto(), Style("airy pink"), Param({"Exposure2012": 30, "Vibrance": 50}))
SPOKEN = TASKS[:2]  # nano has little to say about sliders
NO_WORDS = Sampling(max_tokens=0)
WILD = Sampling(temperature=1.0, top_p=1.0, seed=5, max_tokens=60)


@pytest.fixture(params=["bundle", "checkpoint"])
def either(request: pytest.FixtureRequest) -> Retoucher:
    name = "retoucher" if request.param == "bundle" else "torch_retoucher"
    return cast(Retoucher, request.getfixturevalue(name))


class Recorder:
    """The calls of a plan in order: ("look", look) and ("text", piece)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_look(self, look: Look) -> None:
        self.calls.append(("look", look))

    def on_text(self, piece: str) -> None:
        self.calls.append(("text", piece))

    def plan(self, retoucher: Retoucher, photo: Photo, task: Task, **options: Any) -> Look:
        return retoucher.plan(photo, task, on_look=self.on_look, on_text=self.on_text, **options)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("sampling", [None, WILD], ids=["greedy", "wild"])
def test_look_of_a_plan_without_words_and_words_of_a_plan_with_them(
    either: Retoucher, photo: Photo, task: Task, sampling: Sampling | None
) -> None:
    """Bit for bit: going back in the key/value cache leaves no trace of the forced tokens."""
    silent = either.plan(photo, task, sampling=NO_WORDS)
    spoken = either.plan(photo, task, sampling=sampling)
    look = either.plan(photo, task, instant=True, sampling=sampling)
    assert np.array_equal(look.latents, silent.latents)
    assert look.text == spoken.text
    assert look.tokens == spoken.tokens
    if task in SPOKEN:
        assert look.tokens, "nothing was said: the words were not tried"


@pytest.mark.parametrize("task", SPOKEN, ids=lambda t: type(t).__name__)
def test_the_look_comes_before_the_first_word(
    retoucher: Retoucher, photo: Photo, task: Task
) -> None:
    heard = Recorder()
    look = heard.plan(retoucher, photo, task, instant=True, sampling=WILD)
    (kind, first), *rest = heard.calls
    assert kind == "look"
    assert (first.text, first.tokens) == ("", ())
    assert np.array_equal(first.latents, look.latents)
    assert rest
    assert {kind for kind, _ in rest} == {"text"}
    assert "".join(piece for _, piece in rest) == look.text
    assert "forced" in first.timings_ms
    assert "decode" not in first.timings_ms
    assert "decode" in look.timings_ms


@pytest.mark.parametrize("task", TASKS, ids=lambda t: type(t).__name__)
def test_without_instant_the_look_comes_last_and_whole(
    retoucher: Retoucher, photo: Photo, task: Task
) -> None:
    heard = Recorder()
    look = heard.plan(retoucher, photo, task, sampling=WILD)
    kind, last = heard.calls[-1]
    assert [kind for kind, _ in heard.calls].count("look") == 1
    assert kind == "look"
    assert (last.text, last.tokens) == (look.text, look.tokens)


def test_a_pair_gives_its_look_too(torch_retoucher: Retoucher, photo: Photo) -> None:
    heard = Recorder()
    pair = Reference(photo, photo.with_pixels(255 - photo.pixels))
    look = heard.plan(torch_retoucher, photo, pair, instant=True)
    ((_, given),) = heard.calls
    assert np.array_equal(given.latents, look.latents)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: type(t).__name__)
def test_same_seed_same_look_and_words(retoucher: Retoucher, photo: Photo, task: Task) -> None:
    first = retoucher.plan(photo, task, instant=True, sampling=WILD)
    retoucher.plan(Photo.from_array(255 - photo.pixels), Style("moody teal"), instant=True)
    second = retoucher.plan(photo, task, instant=True, sampling=WILD)
    assert np.array_equal(first.latents, second.latents)
    assert (first.text, first.tokens) == (second.text, second.tokens)


def test_instant_costs_no_step_more_than_the_same_words(nano_bundle: Path, photo: Photo) -> None:
    class Counting(ExecuTorchPlanner):
        steps = 0

        def step(self, *arguments: Any) -> Any:
            self.steps += 1
            return super().step(*arguments)

    planner = Counting(Bundle.open(nano_bundle))
    vocabulary = Vocabulary.load(checkpoint_folder("nano") / "tokenizer.json")
    counted = Retoucher(cast(Planner, planner), vocabulary)
    at_look: list[int] = []
    look = counted.plan(photo, instant=True, sampling=WILD,
                        on_look=lambda _: at_look.append(planner.steps))  # fmt: skip
    assert at_look == [1 + 2]  # the prompt, and the first two retouch tokens
    assert planner.steps == 1 + 2 + len(look.tokens)


def test_the_photo_can_be_rendered_while_the_words_are_written(
    retoucher: Retoucher, photo: Photo
) -> None:
    """In `on_look` and from another thread, group strengths included, before the plan ends."""
    expected = retoucher.render(retoucher.plan(photo, sampling=NO_WORDS), photo).pixels
    weaker = retoucher.render(
        retoucher.plan(photo, sampling=NO_WORDS).with_strengths(lighting=0.25), photo
    ).pixels
    own: list[np.ndarray] = []
    others: list[np.ndarray] = []
    threads: list[threading.Thread] = []

    def on_look(look: Look) -> None:
        own.append(retoucher.render(look, photo).pixels)
        quieter = look.with_strengths(lighting=0.25)
        threads.append(
            threading.Thread(
                target=lambda: others.append(retoucher.render(quieter, photo).pixels), daemon=True
            )
        )

    def on_text(_: str) -> None:
        if not others:  # the plan stands still here until the other thread has its photo
            threads[0].start()
            threads[0].join(timeout=60)
            assert others, "baking waited for the plan's end"

    retoucher.plan(photo, instant=True, sampling=WILD, on_look=on_look, on_text=on_text)
    assert np.array_equal(own[0], expected)
    assert np.array_equal(others[0], weaker)


def test_cancel_after_the_look_keeps_the_look(retoucher: Retoucher, photo: Photo) -> None:
    expected = retoucher.plan(photo, instant=True, sampling=WILD)
    event, looks = threading.Event(), []

    def on_look(look: Look) -> None:
        looks.append(look)
        event.set()

    heard: list[str] = []
    with pytest.raises(Cancelled):
        retoucher.plan(photo, instant=True, sampling=WILD, on_look=on_look, on_text=heard.append,
                       cancel=event)  # fmt: skip
    assert len(heard) <= 1  # within one token
    assert np.array_equal(looks[0].latents, expected.latents)
    pixels = retoucher.render(looks[0], photo).pixels
    assert np.array_equal(pixels, retoucher.render(expected, photo).pixels)
    again = retoucher.plan(photo, instant=True, sampling=WILD)
    assert again.tokens == expected.tokens


def test_an_error_of_on_look_is_the_callers(retoucher: Retoucher, photo: Photo) -> None:
    def broken(_: Look) -> None:
        raise ValueError("the app's own")

    with pytest.raises(ValueError, match="the app's own"):
        retoucher.plan(photo, instant=True, on_look=broken)
    assert retoucher.plan(photo, instant=True).latents.shape[0] == 3


# ---- vera retouch --instant ----------------------------------------------------------------------


def test_the_command_writes_the_look_of_a_plan_without_words(
    vera: Vera, nano_bundle: Path, retoucher: Retoucher, tmp_path: Path, picture: np.ndarray
) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    photo = Photo.load(tmp_path / "a.png")
    done = vera("retouch", "--bundle", nano_bundle, "--instant", "--lighting", "0.5", "--save-look",
                "--strength", "0.7", tmp_path / "a.png")  # fmt: skip
    assert (done.code, done.out) == (0, f"{tmp_path / 'a-vera.png'}\n"), done.err
    silent = retoucher.plan(photo, sampling=NO_WORDS).with_strengths(lighting=0.5)
    pixels = retoucher.render(silent, photo, strength=0.7).pixels
    assert np.array_equal(Photo.load(tmp_path / "a-vera.png").pixels, pixels)
    words = retoucher.plan(photo).text
    assert done.err == f"{tmp_path / 'a-vera.png'} is there. In words:\n{words}\n"
    saved = retoucher.look_from_json((tmp_path / "a-vera.look.json").read_text())
    assert saved.text == words
    assert replace(saved, text="").to_json() == silent.to_json()


def test_the_command_has_the_photo_before_the_words(
    vera: Vera, nano_bundle: Path, tmp_path: Path, picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Image.fromarray(picture).save(tmp_path / "a.png")
    there: list[bool] = []
    from vera_mobile.cli import Console

    def say(self: Console, text: str = "", *, end: str = "\n") -> None:
        there.append((tmp_path / "a-vera.png").is_file())

    monkeypatch.setattr(Console, "say", say)
    assert vera("retouch", "--bundle", nano_bundle, "--instant", tmp_path / "a.png").code == 0
    assert there
    assert all(there)
