"""A trained checkpoint with new tokens, to train on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from vera_mobile.errors import ModelError
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.tokens import Vocabulary, add_measures_
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.stage import TOKENIZER_FILE, smooth_measure_embeddings_


@torch.no_grad()
def add_measure_tokens(checkpoint: Path, out: Path, seed: int = 0) -> VeraModel:
    """The checkpoint with the measure tokens behind its vocabulary, written to the folder `out`.

    Old tokens keep their ids and embeddings; the new ones start smooth in the level. Raises
    ModelError for a checkpoint that has them or whose table has spare rows, and what
    `load_checkpoint` and `save_checkpoint` raise.
    """
    old = load_checkpoint(checkpoint)
    size = old.config.language.vocab_size
    tokenizer = Tokenizer.from_file(str(checkpoint / TOKENIZER_FILE))
    if tokenizer.get_vocab_size() != size:
        raise ModelError(
            f"{checkpoint}: {tokenizer.get_vocab_size()} tokens, {size} embeddings; use a "
            "checkpoint with as many embeddings as tokens"
        )
    add_measures_(tokenizer)
    vocabulary = Vocabulary(tokenizer)
    if len(vocabulary) == size:
        raise ModelError(f"{checkpoint}: has the measure tokens already; train on from it")
    language = replace(old.config.language, vocab_size=len(vocabulary))
    model = VeraModel(replace(old.config, language=language))
    state = old.state_dict()
    table = "decoder.embedding.weight"
    grown = model.state_dict()[table].clone()
    grown[:size] = state[table]
    model.load_state_dict({**state, table: grown})
    smooth_measure_embeddings_(model, vocabulary, seed)
    save_checkpoint(model, out)
    tokenizer.save(str(out / TOKENIZER_FILE))
    return model.eval()
