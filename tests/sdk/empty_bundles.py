"""Bundles without programs, for what needs only their tokenizer and shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from vera_mobile.assets import checkpoint_folder
from vera_mobile.bundle import Content, FileEntry, Manifest, write_bundle
from vera_mobile.model.config import ModelConfig, vera_0_5b, vera_nano
from vera_mobile.model.import_tokenizer import read_tokenizer
from vera_mobile.model.tokens import add_measures_

KINDS = ("nano", "measured", "chat")
MEASURED_ROWS = 8192  # of a table that also has the measures' tokens


def config_of(kind: str) -> ModelConfig:
    """The shape of the family."""
    if kind == "chat":
        return vera_0_5b()
    nano = vera_nano()
    rows = MEASURED_ROWS if kind == "measured" else nano.language.vocab_size
    return replace(nano, language=replace(nano.language, vocab_size=rows))


def tokenizer_text(kind: str, scratch: Path) -> str:
    """A tokenizer.json: the bundled one, that with the measures, a small one in Qwen2's form."""
    from qwen_files import write_tokenizer

    if kind == "chat":
        write_tokenizer(scratch)
        return read_tokenizer(scratch, vera_0_5b())
    tokenizer = Tokenizer.from_file(str(checkpoint_folder("nano") / "tokenizer.json"))
    if kind == "measured":
        add_measures_(tokenizer)
    return str(tokenizer.to_str())


def write_empty_bundle(folder: Path, config: ModelConfig, tokenizer: str) -> Path:
    """A bundle of a tokenizer alone."""
    manifest = Manifest(
        name=config.name, model=config.to_dict(), recipe="android-int4", created_by="test"
    )
    entry = FileEntry(path="tokenizer.json", sha256="", size_bytes=0, kind="tokenizer")
    content = Content(tokenizer.encode(), entry)
    return write_bundle(folder, manifest, {"tokenizer": content}).root
