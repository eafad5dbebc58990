"""A small tokenizer in the form of the public checkpoint's: byte pairs, merges, added tokens."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from vera_mobile.model.tokens import CHAT_END, CHAT_START, CHAT_TASKS, RETOUCH, TEXT_END

ADDED = (
    TEXT_END, CHAT_START, CHAT_END, *RETOUCH, *CHAT_TASKS,
    "<problem_light_start>", "<problem_light_end>",
)  # fmt: skip
CORPUS = (
    "You are a helpful assistant. Now, you are acting as a Retouch Agent.",
    "I will provide an image and an instruction, please give me a retouch plan.",
    "Instruction: {'Light Adjustment': {'Exposure2012': 0.3, 'Contrast2012': 0.0}}",
    "warm and bright, airy pink, it's soft light and blå himmel 柔和的光",
)
VOCAB_SIZE = 600


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Writes vocab.json, merges.txt and added_tokens.json; returns the ids of the added tokens."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    added = {token: len(model["vocab"]) + i for i, token in enumerate(ADDED)}
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    return added
