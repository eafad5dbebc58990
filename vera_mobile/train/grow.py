"""A trained checkpoint with measure tokens in its prompt and a way for them to the retouch head.

Learned from gradients alone the measures did not reach the states that the head reads: after 100
steps a linear fit told less of them than before. So a way is laid. The tokens of a measure lie on a
smooth curve in three directions of their own, beside a direction that all share. One key head, with
its query heads, is added to every layer; the first layer's asks for the shared direction with a
constant query in the slowest pair of the rotary position, so every later place attends to the
measures and to little else, and adds the mean of their curves to its state. The other layers' new
heads start at nothing. Prompts without measures look at their <param> token, which passes nothing.
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
from vera_mobile.model.language import DecoderLayer
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.measures import LEVELS, MEASURES
from vera_mobile.model.tokens import PARAM, Vocabulary, add_measures_
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.loop import StageConfig
from vera_mobile.train.stage import TOKENIZER_FILE

STRENGTH = 15.0
"""Of the curves in the state. At 3 a linear fit of the head's states explains 81 to 95 % of a
measure's variance, at 10 95 to 99 %, and the looks of the old head are as good as before."""
_CURVES = 3
_LOGIT = 8.0  # of the measures for the new head: 3000 times the weight of another token
_START = 0.02  # standard deviation of the new heads of later layers

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

    Old tokens keep their ids and embeddings. Raises ModelError for a checkpoint that has them, has
    spare rows in its table or is too narrow for the curves, and what `load_checkpoint` and
    `save_checkpoint` raise.
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
    lay_way_(model, vocabulary, seed, strength)
    save_checkpoint(model, out)
    tokenizer.save(str(out / TOKENIZER_FILE))
    return model.eval()


def _check_room(language: LanguageConfig) -> None:
    wanted = len(MEASURES) * _CURVES
    if language.head_dim < wanted or language.hidden_size < wanted + 2:
        raise ModelError(
            f"the model has heads of {language.head_dim} and states of {language.hidden_size}: the "
            f"measures of the prompt need {wanted} and {wanted + 2}"
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
def lay_way_(
    model: VeraModel, vocabulary: Vocabulary, seed: int, strength: float = STRENGTH
) -> None:
    """Fills in the tokens of the measures and the last key head of the first layer with its query
    heads; nothing for a vocabulary without measures. ModelError for a model too narrow."""
    if not vocabulary.measures:
        return
    shape, layer = model.config.language, cast(DecoderLayer, model.decoder.layers[0])
    attention = layer.attention
    _check_room(shape)
    size, width = shape.head_dim, shape.hidden_size
    count = len(MEASURES) * _CURVES
    table = model.decoder.embedding.weight
    param = table[vocabulary.special_ids[PARAM]]
    param = param / param.norm()
    random = torch.randn((width, 1 + count), generator=torch.Generator().manual_seed(seed))
    # orthonormal, and all of them to <param>, whose value the new head must not pass
    shared, *curves = torch.linalg.qr(torch.cat([param[:, None], random], 1))[0].T[1:]
    directions = torch.stack(curves)
    _write_tokens_(table, vocabulary, shared, directions)

    gain = layer.attention_norm.weight
    keys, slowest = (shape.kv_heads - 1) * size, size // 2 - 1
    queries = keys * (shape.heads // shape.kv_heads)
    attention.q_proj.weight[queries : queries + size] = 0
    attention.q_proj.bias[queries : queries + size] = 0
    attention.q_proj.bias[queries + slowest] = 1
    for linear in (attention.k_proj, attention.v_proj):
        linear.weight[keys:] = 0
        linear.bias[keys:] = 0
    share = (width / 2) ** 0.5  # a normalised token has half of its square in `shared`
    key = _LOGIT * size**0.5 / share * (shared + 0.7 * param)
    attention.k_proj.weight[keys + slowest] = key / gain
    attention.v_proj.weight[keys : keys + count] = directions / gain
    attention.o_proj.weight[:, queries:] = 0
    attention.o_proj.weight[:, queries : queries + count] = strength * directions.T


def _write_tokens_(
    table: Tensor, vocabulary: Vocabulary, shared: Tensor, directions: Tensor
) -> None:
    turn = torch.pi * (torch.arange(LEVELS) + 0.5) / LEVELS
    curve = torch.stack([turn.cos(), turn.sin(), 0.5 * (2 * turn).sin()], 1)
    for measure in range(len(MEASURES)):
        own = directions[measure * _CURVES : (measure + 1) * _CURVES]
        rows = shared + curve @ own
        first = measure * LEVELS
        ids = torch.tensor(vocabulary.measures[first : first + LEVELS])
        table[ids] = rows / rows.norm(dim=1, keepdim=True)
