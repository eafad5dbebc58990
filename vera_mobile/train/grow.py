"""A trained checkpoint with measure tokens in its prompt and a way for them to the retouch head.

Learned from gradients alone the measures did not reach the states that the head reads: after 100
steps a linear fit told less of them than before. So a way is laid, in the first layer, through one
key head that is added to every layer (those of the other layers start at nothing).

- A measure's level is an angle on axes of the state that are its own, two a measure, beside one
  axis that all measures share.
- The new head's queries ask for the shared axis at the token of global colour alone, the last that
  the model reads before the look: the words are not disturbed. Everywhere else they look at the
  token of the task, which has nothing on these axes.
- A second query head looks at the task always; what it finds is taken off, so that where nothing
  is asked nothing is added, in rounded weights too.
- All this is made of single numbers in rows of zeros, which 4 bits hold exactly, and the axes are
  written so large at that one place that rounding elsewhere does not reach them: with weights in 4
  bits the angles are read at 38 dB in vera-nano.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.config import LanguageConfig
from vera_mobile.model.language import Attention, DecoderLayer
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.measures import LEVELS, MEASURES
from vera_mobile.model.tokens import AUTO, PARAM, STYLE, Vocabulary, add_measures_
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.loop import StageConfig
from vera_mobile.train.stage import TOKENIZER_FILE

STRENGTH = 200.0
"""What the head adds for one unit of an angle's cosine, for trained weights. In vera-nano the
states at that place are then some 600 long, 590 of it the measures'. At 50 a linear fit explains 75
to 99 % of an angle's variance, at 100 94 to 99.8 %, at 200 97.6 to 99.9 %, at 400 98.6 to 99.99 %,
but there 4 % of the tokens that follow are others."""
FRESH_STRENGTH = 0.5
"""For a model that is trained from random weights: there STRENGTH would drown all else."""
_LOGIT = 11.0  # of the measures where they are asked for, and of the task everywhere
_SHARED = 0.6  # of the shared axis in a measure's token, beside an angle of length 1
_VALUE = 5.0  # values are this much larger, so that they fill the 8 bits that outputs get
_START = 0.02  # standard deviation of the new heads of later layers
_DAMPING = 1e-3

C = TypeVar("C", bound=StageConfig)


def with_measures(config: C, out: Path) -> C:
    """The settings with an `init` whose tokenizer has the measure tokens: the given one, else a
    grown copy of it in out/grown. Raises InvalidArgument without `init`, and what reading it
    raises."""
    if not config.init:
        raise InvalidArgument("measures starts from a trained model: give --init CHECKPOINT")
    own = Path(config.init) / TOKENIZER_FILE
    if own.is_file() and Vocabulary.load(own).measures:
        return config
    grown = out / "grown"
    if not (grown / TOKENIZER_FILE).is_file():
        add_measures(Path(config.init), grown, config.seed)
    return replace(config, init=str(grown))


@torch.no_grad()
def add_measures(
    checkpoint: Path, out: Path, seed: int = 0, strength: float = STRENGTH
) -> VeraModel:
    """The checkpoint with the measure tokens behind its vocabulary, written to the folder `out`.

    Old tokens keep their ids, and all but those of the tasks their embeddings. Raises ModelError
    for a checkpoint that has them, has spare rows in its table or is too narrow for the angles, and
    what `load_checkpoint` and `save_checkpoint` raise.
    """
    old = load_checkpoint(checkpoint)
    language = old.config.language
    tokenizer = Tokenizer.from_file(str(checkpoint / TOKENIZER_FILE))
    if tokenizer.get_vocab_size() != language.vocab_size:
        raise ModelError(
            f"{checkpoint}: {tokenizer.get_vocab_size()} tokens, {language.vocab_size} embeddings; "
            "use a checkpoint with as many embeddings as tokens"
        )
    _check_room(language)
    add_measures_(tokenizer)
    vocabulary = Vocabulary(tokenizer)
    if len(vocabulary) == language.vocab_size:
        raise ModelError(f"{checkpoint}: has the measure tokens already; train on from it")
    grown = replace(
        language,
        vocab_size=len(vocabulary),
        heads=language.heads + language.heads // language.kv_heads,
        kv_heads=language.kv_heads + 1,
    )
    model = VeraModel(replace(old.config, language=grown))
    generator = torch.Generator().manual_seed(seed)
    model.load_state_dict(dict(_enlarged(old.state_dict(), model.state_dict(), generator)))
    lay_way_(model, vocabulary, strength)
    save_checkpoint(model, out)
    tokenizer.save(str(out / TOKENIZER_FILE))
    return model.eval()


def _check_room(language: LanguageConfig) -> None:
    wanted = 2 * len(MEASURES) + 1
    if language.head_dim < wanted or language.hidden_size <= wanted:
        raise ModelError(
            f"the model has heads of {language.head_dim} and states of {language.hidden_size}: the "
            f"measures of the prompt need {wanted} and {wanted + 1}"
        )
    if language.heads < 2 * language.kv_heads:
        raise ModelError(
            f"the model has {language.heads} query heads on {language.kv_heads} key heads: the "
            "measures of the prompt need two on each"
        )


def _enlarged(
    old: dict[str, Tensor], new: dict[str, Tensor], generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in its new shape, old values first; new rows of queries, keys and values are
    small and random, all else that is new is 0."""
    for name, shape in ((k, v.shape) for k, v in new.items()):
        value = old[name]
        if value.shape != shape:
            wide = torch.zeros(shape)
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                wide = torch.randn(shape, generator=generator) * _START
            wide[tuple(slice(0, n) for n in value.shape)] = value
            value = wide
        yield name, value


@torch.no_grad()
def lay_way_(model: VeraModel, vocabulary: Vocabulary, strength: float = STRENGTH) -> None:
    """Fills in the tokens of the measures and the last key head of the first layer with its query
    heads, and takes the axes of the measures from the tokens of the tasks: those on which these
    have least (2 to 3 % of their squares in vera-nano). Nothing for a vocabulary without measures.
    ModelError for a model too narrow."""
    if not vocabulary.measures:
        return
    _check_room(model.config.language)
    table = model.decoder.embedding.weight
    tasks = [vocabulary.special_ids[s] for s in (AUTO, STYLE, PARAM)]
    axes = _normalised(table[tasks]).abs().amax(0).argsort(stable=True)[: 1 + 2 * len(MEASURES)]
    table[torch.tensor(tasks)[:, None], axes] = 0
    _write_tokens_(table, vocabulary, axes)
    layer = cast(DecoderLayer, model.decoder.layers[0])
    seen = _normalised(table) * layer.attention_norm.weight
    _lay_attention_(layer.attention, seen, vocabulary, tasks, axes)
    _lay_values_(layer, table, vocabulary, axes, strength)


def _write_tokens_(table: Tensor, vocabulary: Vocabulary, axes: Tensor) -> None:
    turn = torch.pi * (torch.arange(LEVELS) + 0.5) / LEVELS
    for measure in range(len(MEASURES)):
        rows = torch.zeros(LEVELS, table.shape[1])
        rows[:, axes[0]] = _SHARED
        rows[:, axes[1 + 2 * measure]] = turn.cos()
        rows[:, axes[2 + 2 * measure]] = turn.sin()
        ids = torch.tensor(vocabulary.measures[measure * LEVELS : (measure + 1) * LEVELS])
        table[ids] = rows / 2


def _normalised(rows: Tensor) -> Tensor:
    """Tokens (k, H) as the first layer's norm leaves them, before its gains."""
    return rows * rows.square().mean(1, keepdim=True).clamp_min(1e-12).rsqrt()


def _lay_attention_(
    attention: Attention, seen: Tensor, vocabulary: Vocabulary, tasks: list[int], axes: Tensor
) -> None:
    """Queries and keys; seen: (V, H) all tokens as the layer's linear maps get them."""
    size = attention.head_dim
    keys = (attention.kv_heads - 1) * size
    asks = keys * attention.groups  # of the head that asks for the measures; the other one follows
    # the slowest pairs of the rotary position, for which it hardly counts where a token stands
    of_measure, of_task = size // 2 - 1, size // 2 - 2
    for linear, first in ((attention.q_proj, asks), (attention.k_proj, keys)):
        linear.weight[first:] = 0
        linear.bias[first:] = 0
    others = torch.ones(len(seen), dtype=torch.bool)
    others[list(vocabulary.measures)] = False
    here = [vocabulary.retouch[1]]
    gate = _tells(seen, here, others)
    attention.q_proj.weight[asks + of_measure] = 2 * gate
    attention.q_proj.bias[asks + of_measure] = -1
    for head in (asks, asks + size):
        attention.q_proj.bias[head + of_task] = 1
    level = _LOGIT * size**0.5
    shared = seen[vocabulary.measures[0], axes[0]]
    attention.k_proj.weight[keys + of_measure, axes[0]] = level / shared
    off = seen.clone()
    off[:, axes] = 0
    task = level * _tells(off, tasks, others)
    task[axes] = 0  # exactly, so that every measure weighs the same
    attention.k_proj.weight[keys + of_task] = task


def _tells(seen: Tensor, wanted: list[int], counted: Tensor) -> Tensor:
    """(H,) weights that give 1 for the wanted tokens and least squares for the others counted."""
    rest = counted.clone()
    rest[wanted] = False
    others = seen[rest]
    moments = others.T @ others / len(others) + _DAMPING * torch.eye(seen.shape[1])
    raised = torch.linalg.solve(moments, seen[wanted].T)
    scale = torch.linalg.solve(seen[wanted] @ raised, torch.ones(len(wanted)))
    return raised @ scale


def _lay_values_(
    layer: DecoderLayer, table: Tensor, vocabulary: Vocabulary, axes: Tensor, strength: float
) -> None:
    """Values and what is made of them. The last value is 1 where measures are found and speaks for
    the token of specific colour, which is to follow."""
    attention, gain = layer.attention, layer.attention_norm.weight
    size, angles = attention.head_dim, axes[1:]
    keys, count = (attention.kv_heads - 1) * size, len(angles)
    asks = keys * attention.groups
    values, out = attention.v_proj, attention.o_proj.weight
    values.weight[keys:] = 0
    values.bias[keys:] = 0
    rows = keys + torch.arange(count)
    values.weight[rows, angles] = _VALUE / gain[angles]
    out[:, asks:] = 0
    shared = _normalised(table[list(vocabulary.measures[:1])])[0, axes[0]]
    values.weight[keys + count, axes[0]] = 1 / (shared * gain[axes[0]])
    follows = table[vocabulary.retouch[2]].clone()
    follows[angles] = 0
    for head, sign in ((asks, 1.0), (asks + size, -1.0)):
        out[angles, head + torch.arange(count)] = sign * strength / _VALUE
        out[:, head + count] = sign * strength * follows / follows.norm()
