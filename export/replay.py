"""The checkpoint's own answers on photos, and what a quantized form makes of them in one pass.

A generation takes one call of the decoder per token; when the text is given, one call for all of
them shows the same states. So calibration and the sensitivity report cost one pass per photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.export.forms import DecoderForm
from vera_mobile.export.listen import GREEDY, ListeningPlanner
from vera_mobile.image import Photo
from vera_mobile.model.config import LATENT_GROUPS
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.retoucher import Retoucher, Task
from vera_mobile.runtime import Planner


@dataclass(frozen=True, eq=False)
class Script:
    """What was fed to a planner for one photo, from the prompt to the second retouch token.

    pieces: ids (1, n) int64 or pixels (1, 3, S, S) float32, in order; answer: tokens that the
    planner chose, the first retouch token included.
    """

    pieces: tuple[np.ndarray, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a form makes of a script: logits (len(answer), V) of each choice, the states that emit
    the retouch tokens (3, H) and their latents (3, L); float32."""

    logits: Tensor
    hidden: Tensor
    latents: Tensor


def record(planner: Planner, vocabulary: Vocabulary, photo: Photo, task: Task) -> Script:
    """The planner's greedy answer to a photo and a task, with all that was fed to it."""
    heard = ListeningPlanner(planner)
    look = Retoucher(heard, vocabulary).plan(photo, task, sampling=GREEDY)
    return Script(tuple(heard.pieces), (*look.tokens, vocabulary.retouch[0]))


@torch.no_grad()
def embeddings(modules: Mapping[str, nn.Module], script: Script) -> Tensor:
    """The script as the decoder's input, (1, n, H): pixels by "vision", ids by "embed"."""
    parts = [
        modules["vision" if piece.ndim == 4 else "embed"](torch.from_numpy(piece))
        for piece in script.pieces
    ]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def replay(modules: Mapping[str, nn.Module], script: Script) -> Replayed:
    """All of a script in one pass. modules: as `FormPlanner` takes them; the decoder is a
    `DecoderForm`, quantized or not."""
    return replay_embedded(modules, embeddings(modules, script), len(script.answer))


@torch.no_grad()
def replay_embedded(modules: Mapping[str, nn.Module], embeds: Tensor, choices: int) -> Replayed:
    """`replay` of embeddings (1, n, H) whose last `choices` + 2 positions are the answer's."""
    form = cast(DecoderForm, modules["decoder"])
    last: list[Tensor] = []

    def keep(_: nn.Module, __: Sequence[Tensor], output: Tensor) -> None:
        last.append(output)

    handle = form.layers[-1].register_forward_hook(keep)
    try:
        form(embeds, torch.zeros(1, dtype=torch.int64))
    finally:
        handle.remove()
    # the first retouch token is the last choice; two more are fed to read their states
    states = form.norm(last[0])[0, -(choices + LATENT_GROUPS - 1) :]
    hidden = states[-LATENT_GROUPS:]
    latents = modules["head"](hidden[None])[0]
    return Replayed(form.logits(states[:choices]), hidden, latents)
