"""A checkpoint of the 0.5B shape with seeded weights: for speed, memory and size, not for photos.

The public weights cannot be shipped; what an export costs does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.load import save_checkpoint
from vera_mobile.model.tokens import CHAT, CHAT_END, CHAT_START, CHAT_TASKS, RETOUCH, TEXT_END
from vera_mobile.model.vlm import VeraModel

PLAIN_TOKENS = 151_643  # what the public tokenizer holds before its added tokens


def write_seeded(folder: Path, seed: int = 0) -> Path:
    """config.json, model.safetensors (float16, 1.3 GB) and tokenizer.json in `folder`; returns it.

    The name says that the weights are seeded, and so does every result and page that shows it.
    """
    torch.manual_seed(seed)
    config = vera_0_5b()
    model = VeraModel(replace(config, name=f"{config.name}-seeded")).eval()
    save_checkpoint(model, folder, dtype=torch.float16)
    seeded_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def seeded_tokenizer() -> Tokenizer:
    """Byte-level, ids as in the public one for what is added for chat and retouching.

    It has merges for the words of the prompts, so that a prompt is about as long as in the public
    one; what other text needs is not there, its place is filled.
    """
    vocabulary, merges = _prompt_words()
    fillers = (f"<{i}>" for i in range(PLAIN_TOKENS - len(vocabulary)))
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(fillers)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = (TEXT_END, CHAT_START, CHAT_END, *RETOUCH, *CHAT_TASKS)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in added])
    return tokenizer


def _prompt_words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and merges of a BPE that has each word of the prompts as one token."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=PLAIN_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=1,
        show_progress=False,
    )
    learnt.train_from_iterator([CHAT.auto, CHAT.style, CHAT.param], trainer)
    model = json.loads(learnt.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(write_seeded(parser.parse_args().folder))
