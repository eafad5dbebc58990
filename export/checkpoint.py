"""A checkpoint in whatever form the user has it, as a folder of our form."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vera_mobile.assets import CHECKPOINTS, checkpoint_folder
from vera_mobile.errors import FileError, ModelError

if TYPE_CHECKING:
    from vera_mobile.model.config import ModelConfig
    from vera_mobile.model.import_checkpoint import Progress

SECOND_FILES = ("encoder_renderer.safetensors", "encoder_renderer.pth")


@contextmanager
def open_checkpoint(
    name_or_path: str | Path,
    *,
    encoder_renderer: str | Path | None = None,
    config: ModelConfig | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Path]:
    """A folder with config.json, model.safetensors and tokenizer.json, valid within the block.

    name_or_path: a bundled name, a folder of our form (given back as it is), or one of public form:
    safetensors with public names, config.json and tokenizer files, and encoder_renderer.pth or
    .safetensors in it (or where `encoder_renderer` says). The public form is imported to a
    temporary folder first; config: its shape (None: the 0.5B model's); on_progress: bytes of
    weights done and in all. Raises FileError for missing files, ModelError for wrong ones,
    OutOfMemory.
    """
    if str(name_or_path) in CHECKPOINTS or not is_public(Path(name_or_path)):
        yield checkpoint_folder(name_or_path)
        return
    from vera_mobile.model.import_checkpoint import ImportOptions, import_checkpoint
    from vera_mobile.model.import_tokenizer import has_tokenizer

    source = Path(name_or_path)
    second = Path(encoder_renderer) if encoder_renderer is not None else _second_file(source)
    if not has_tokenizer(source):
        raise FileError(
            f"{source} has no tokenizer: download tokenizer.json, or vocab.json, merges.txt and "
            "added_tokens.json, into it."
        )
    with tempfile.TemporaryDirectory(prefix="vera-checkpoint-") as scratch:
        folder = Path(scratch) / "checkpoint"
        import_checkpoint(
            source,
            folder,
            encoder_renderer=second,
            options=ImportOptions(config=config),
            on_progress=on_progress,
        )
        yield folder


def is_public(folder: Path) -> bool:
    """True for a folder whose config.json is of public form, False for any other folder.

    Raises ModelError for a config.json that is no JSON table.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return False  # no checkpoint at all; `checkpoint_folder` says so
    except (ValueError, RecursionError) as error:
        raise ModelError(f"Config {path} is not JSON ({error}): copy it again.") from error
    if not isinstance(values, dict):
        raise ModelError(f"Config {path} is no table: copy it again.")
    return "hidden_size" in values and "language" not in values


def _second_file(folder: Path) -> Path:
    for name in SECOND_FILES:
        if (folder / name).is_file():
            return folder / name
    raise FileError(
        f"{folder} is the public form and has no {' or '.join(reversed(SECOND_FILES))}: download "
        "the second public file into it, or make a checkpoint without looks from reference photos "
        "(vera import --allow-missing 'reference_encoder.*') and export that."
    )
