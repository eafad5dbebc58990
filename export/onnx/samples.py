"""What the parts see when the checkpoint plans photos: the inputs that 8-bit ranges are taken from.

L: values per latent; H: hidden size; S: side of the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vera_mobile.model.tokens import ANSWER, AUTO, RETOUCH, SPECIALS, Prompt, Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.runtime import TorchPlanner

MAX_STEPS = 48
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
    """The greedy plans of photos, answers cut off after 48 tokens.

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
        pairs = [(vocabulary.auto(), vocabulary.style(wish)) for wish in WISHES]
        prompts = [prompt for pair in pairs for prompt in pair]
    return tuple(
        _plan(planner, photo[None], prompts[index % len(prompts)], retouch)
        for index, photo in enumerate(photos)
    )


def _plan(
    planner: TorchPlanner, pixels: np.ndarray, prompt: Prompt, retouch: tuple[int, ...]
) -> Plan:
    before, after = (planner.embed(np.array([ids])) for ids in (prompt.before, prompt.after))
    fed = [np.concatenate((before, planner.encode_image(pixels), after), axis=1)]
    length = position = fed[0].shape[1]
    room = min(MAX_STEPS, planner.max_length - position - len(retouch))
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
