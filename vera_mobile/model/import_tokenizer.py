"""The tokenizer of public files as one tokenizer.json.

Published Qwen2 checkpoints carry tokenizer.json, or vocab.json and merges.txt with the tokens that
were added later in added_tokens.json and tokenizer_config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from vera_mobile.errors import FileError, ModelError
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.tokens import Vocabulary

TOKENIZER_FILE = "tokenizer.json"
VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"
ADDED_FILE, SETTINGS_FILE = "added_tokens.json", "tokenizer_config.json"

# how Qwen2 splits text into words before byte pairs are merged; part of the vocabulary's meaning
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def has_tokenizer(folder: Path) -> bool:
    """True where `folder` holds tokenizer.json, or vocab.json, from which it can be made."""
    return (folder / TOKENIZER_FILE).is_file() or (folder / VOCAB_FILE).is_file()


def read_tokenizer(folder: Path, config: ModelConfig) -> str:
    """The content of tokenizer.json for the public files in `folder`, checked against `config`.

    Raises FileError for a missing or unreadable file, ModelError for one that is no tokenizer,
    lacks the family's special tokens, or has more tokens than the model.
    """
    ready = folder / TOKENIZER_FILE
    if ready.is_file():
        vocabulary = Vocabulary.load(ready)
    elif (folder / VOCAB_FILE).is_file():
        vocabulary = Vocabulary(_of_pairs(folder))
    else:
        raise FileError(
            f"{folder} has no {TOKENIZER_FILE} and no {VOCAB_FILE} with {MERGES_FILE}: download "
            "the tokenizer's files into it."
        )
    check_size(vocabulary, config, str(folder))
    return str(vocabulary.tokenizer.to_str(pretty=False))


def check_size(vocabulary: Vocabulary, config: ModelConfig, place: str) -> None:
    """Raises ModelError for a tokenizer with ids that the model has no embedding for."""
    highest = max(vocabulary.tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= config.language.vocab_size:
        raise ModelError(
            f"The tokenizer of {place} has the token id {highest}, the model {config.name} has "
            f"{config.language.vocab_size} embeddings: use the tokenizer of the same checkpoint."
        )


def _of_pairs(folder: Path) -> Tokenizer:
    """The byte-level BPE of vocab.json and merges.txt with the added tokens."""
    vocab, merges = _table(folder / VOCAB_FILE), _merges(folder / MERGES_FILE)
    try:
        model = models.BPE(vocab=vocab, merges=merges)
    except Exception as error:  # the library raises bare Exception for pairs that do not fit
        raise ModelError(
            f"{folder / MERGES_FILE} does not fit {VOCAB_FILE} ({error}): download both again."
        ) from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    _add(tokenizer, _added(folder), folder)
    return tokenizer


def _table(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error}): download it again.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}): download it again.") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is no table: download it again.")
    return values


def _merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read ({error}): download it again.") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.rstrip("\r").partition(" ")
        if not (left and space and right) or " " in right:
            raise ModelError(f"{path}:{number}: {line[:40]!r} is no pair: download it again.")
        pairs.append((left, right))
    return pairs


def _added(folder: Path) -> dict[int, AddedToken]:
    """Tokens by id that stand beside the byte pairs; matched before them, as written."""
    tokens: dict[int, AddedToken] = {}
    if (folder / ADDED_FILE).is_file():
        for name, number in _table(folder / ADDED_FILE).items():
            if type(number) is not int:
                raise ModelError(f"{folder / ADDED_FILE}: the id of {name!r} is {number!r}.")
            tokens[number] = AddedToken(name, special=True, normalized=False)
    settings = _table(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        try:
            flags = {
                flag: bool(token.get(flag, False)) for flag in ("lstrip", "rstrip", "single_word")
            }
            tokens[int(number)] = AddedToken(
                token["content"],
                special=bool(token.get("special", True)),
                normalized=bool(token.get("normalized", False)),
                **flags,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{folder / SETTINGS_FILE}: the added token {number!r} is {token!r}: download it "
                "again."
            ) from error
    return tokens


def _add(tokenizer: Tokenizer, tokens: dict[int, AddedToken], folder: Path) -> None:
    for number in sorted(tokens):
        tokenizer.add_tokens([tokens[number]])
        got = tokenizer.token_to_id(tokens[number].content)
        if got != number:
            raise ModelError(
                f"The added token {tokens[number].content!r} of {folder} has the id {number}, but "
                f"{got} is its place after {VOCAB_FILE}: download all files of one version."
            )
