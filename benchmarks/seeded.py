"""A checkpoint of the 0.5B shape with seeded weights: for speed, memory and size, not for photos.

The public weights cannot be shipped; what an export costs does not depend on their values.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.load import save_checkpoint
from vera_mobile.model.tokens import CHAT_END, CHAT_START, CHAT_TASKS, RETOUCH, TEXT_END
from vera_mobile.model.vlm import VeraModel

PLAIN_TOKENS = 151_643  # what the public tokenizer holds before its added tokens


def write_seeded(folder: Path, seed: int = 0) -> Path:
    """config.json, model.safetensors (float16, 1.3 GB) and tokenizer.json in `folder`; returns it.

    The tokenizer has the public size and added tokens, but no merges: each byte is a token.
    """
    torch.manual_seed(seed)
    model = VeraModel(vera_0_5b()).eval()
    save_checkpoint(model, folder, dtype=torch.float16)
    seeded_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def seeded_tokenizer() -> Tokenizer:
    """Byte-level, ids as in the public one for what is added for chat and retouching."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fillers = (f"<{i}>" for i in range(PLAIN_TOKENS - len(alphabet)))
    vocabulary = {token: i for i, token in enumerate([*alphabet, *fillers])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = (TEXT_END, CHAT_START, CHAT_END, *RETOUCH, *CHAT_TASKS)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in added])
    return tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(write_seeded(parser.parse_args().folder))
