"""What the parts see when the checkpoint plans photos: the inputs that 8-bit ranges are taken from.

L: values per latent; H: hidden size; S: side of the photo.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile.model.tokens import ANSWER, AUTO, RETOUCH, SPECIALS, Prompt, Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import TorchPlanner

MAX_STEPS = 48
# of a large vocabulary's decoder: a token in float32 reads 2 GB of the 0.5B's, and its prompt has
# 256 image tokens already
LARGE_STEPS, LARGE_VOCABULARY = 16, 100_000
PLANS_FILE = "plans.npz"
WISHES = ("warm and bright, soft light", "moody, deep shadows", "vivid colors", "faded film")


@dataclass(frozen=True)
class Plan:
    """A photo's plan by the checkpoint in float32.

    embeds: (1, n, H), prompt, answer and the first two retouch tokens: all that the decoder is fed;
    prompt: how many of them are the prompt; hidden: (3, H), the states that emit the retouch
    tokens; latents: (3, L).
    """

    embeds: np.ndarray
    prompt: int
    hidden: np.ndarray
    latents: np.ndarray


def plan_photos(
    model: VeraModel, photos: np.ndarray, vocabulary: Vocabulary | None = None
) -> tuple[Plan, ...]:
    """The greedy plans of photos, answers cut off after 48 tokens (16 at the 0.5B shape).

    photos: (n, 3, S, S) float32 in [0, 1]. Every second one has a wish in its prompt; without a
    vocabulary all have the bare prompt of vera-nano's tokenizer, whose special tokens come first.
    """
    planner = TorchPlanner(model)
    if vocabulary is None:
        ids = {token: index for index, token in enumerate(SPECIALS)}
        retouch = tuple(ids[token] for token in RETOUCH)
        prompts = [Prompt((ids[AUTO],), (ids[ANSWER],), True)]
    else:
        retouch = vocabulary.retouch
        wishes = [wish for pair in WISHES for wish in (None, pair)]
        prompts = [
            vocabulary.auto(photo) if wish is None else vocabulary.style(wish, photo)
            for photo, wish in zip(photos, cycle(wishes), strict=False)
        ]
    return tuple(
        _plan(planner, photo[None], prompt, retouch)
        for photo, prompt in zip(photos, cycle(prompts), strict=False)
    )


def save_plans(path: Path, plans: Sequence[Plan]) -> None:
    """Writes plans to a .npz file, which is there as a whole or not at all."""
    values: dict[str, Any] = {
        f"{name}_{index}": np.asarray(getattr(plan, name))
        for index, plan in enumerate(plans)
        for name in ("embeds", "prompt", "hidden", "latents")
    }
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **values)
    os.replace(part, path)


def read_plans(path: Path) -> tuple[Plan, ...]:
    """The plans that `save_plans` wrote."""
    with np.load(path, allow_pickle=False) as values:
        count = sum(name.startswith("prompt_") for name in values)
        return tuple(
            Plan(
                values[f"embeds_{index}"],
                int(values[f"prompt_{index}"]),
                values[f"hidden_{index}"],
                values[f"latents_{index}"],
            )
            for index in range(count)
        )


def _plan(
    planner: TorchPlanner, pixels: np.ndarray, prompt: Prompt, retouch: tuple[int, ...]
) -> Plan:
    before, after = (planner.embed(np.array([ids])) for ids in (prompt.before, prompt.after))
    fed = [np.concatenate((before, planner.encode_image(pixels), after), axis=1)]
    length = position = fed[0].shape[1]
    large = planner.config.language.vocab_size > LARGE_VOCABULARY
    room = min(LARGE_STEPS if large else MAX_STEPS, planner.max_length - position - len(retouch))
    hidden: list[np.ndarray] = []
    logits, state = planner.step(fed[0], 0)
    while True:
        token = int(np.argmax(logits))
        if hidden or token in retouch or len(fed) > room:
            token = retouch[len(hidden)]
            hidden.append(state)
            if len(hidden) == len(retouch):
                break
        fed.append(planner.embed(np.array([[token]])))
        logits, state = planner.step(fed[-1], position)
        position += 1
    states = np.stack(hidden)
    return Plan(np.concatenate(fed, axis=1), length, states, planner.head(states))
