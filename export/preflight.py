"""What would make a long export fail is found before it begins."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vera_mobile.errors import FileError, OutOfMemory
from vera_mobile.export.checkpoint import is_public
from vera_mobile.export.delegates import check_toolchain
from vera_mobile.export.recipes import Recipe, recipe, table_scheme
from vera_mobile.quant.schemes import scheme

if TYPE_CHECKING:
    from vera_mobile.model.config import ModelConfig

MB = 1_000_000
FLOAT_BYTES = 4
SCALE_BYTES = 4
STATIC_FLOAT_SHARE = 0.13  # of the vision weights that static 8 bits leave in float (see stages)
# graph and padding of all programs, tokenizer, manifest: a nano bundle of android-int4 is
# 0.5 MB above its weights; deeper models have more of it, 0.05 MB for each block of layers
BUNDLE_BYTES = MB
BLOCK_BYTES = 50_000
# what a process of the export holds beside weights: 420 MB, measured as the peak of the worker of
# nano's smallest part less its 26 MB checkpoint (torch 2.13, executorch 1.4, Linux)
PROCESS_BYTES = 420 * MB
# peaks of a worker above PROCESS_BYTES in copies of the decoder's float32 weights (the part, its
# quantized form, the captured program, the file); measured on a decoder of 147 M weights: own
# kernel 1.31, XNNPACK with quantized weights 2.77 and with float 4.04; the embedding, which is cut
# from the decoder, up to 2.55
OWN_DECODER_COPIES = 1.4
QUANTIZED_COPIES = 2.9
FLOAT_COPIES = 4.2
EMBEDDING_COPIES = 2.7
# both workers of an ONNX export, in copies of the whole model's float32 weights: measured 8.8 and
# 5.4 GB at 0.5B (2.5 GB of weights), each with all parts in memory, as ranges come from whole plans
ONNX_COPIES = 5.4


@dataclass(frozen=True)
class Needs:
    """Estimated needs of an export in bytes.

    scratch: in the folder for temporary files; out: where the bundle is written; memory: of all
    processes at their peak.
    """

    scratch: int
    out: int
    memory: int


def check_before_export(
    folder: str | Path, recipe_name: str, out: str | Path, *, config: ModelConfig | None = None
) -> None:
    """Returns where an export of the checkpoint in `folder` to `out` can begin.

    folder: of our form, whose weights are all read once (one at a time; nothing in it is run), or
    of public form, whose weights are checked when it is imported; config: the shape of the latter
    (None: the 0.5B model's). Raises InvalidArgument (recipe), FileError (missing or damaged files,
    disk), ModelError (pickles, names, shapes, NaN and infinity), OutOfMemory. Cost: reading the
    weights, about a second per GB.
    """
    from vera_mobile.model.config import vera_0_5b
    from vera_mobile.model.load import read_config

    chosen = recipe(recipe_name)
    check_toolchain(chosen)
    source = Path(folder)
    public = is_public(source)
    shape = (config or vera_0_5b()) if public else read_config(source / "config.json")
    if not public:
        _check_weights(source, shape)
        _check_tokenizer(source, shape)
    needs = estimate(shape, chosen)
    imported = _weights_bytes(source) if public else 0
    _check_disk(Needs(needs.scratch + imported, needs.out, needs.memory), Path(out))
    _check_memory(needs.memory, shape)


def estimate(config: ModelConfig, used: Recipe) -> Needs:
    """What an export of this shape with this recipe needs, from the number of weights.

    scratch holds the programs. memory: two workers at once, each with the copies of one part at a
    time (the embedding is cut from the whole decoder), beside the calling process; or, afterwards,
    the whole model and the bundle, when they are compared.
    """
    parts = part_sizes(config)
    bundle = bundle_bytes(config, used)
    decoder = FLOAT_BYTES * parts["decoder"]
    vision = FLOAT_BYTES * (parts["vision"] + parts["projector"])
    second = FLOAT_COPIES * vision
    if not used.own_decoder:  # whose program embeds too
        second = max(EMBEDDING_COPIES * decoder, second)
    export = round(3 * PROCESS_BYTES + _decoder_copies(used) * decoder + second)
    if used.backend == "onnx":
        export = round(3 * PROCESS_BYTES + ONNX_COPIES * FLOAT_BYTES * sum(parts.values()))
    verify = PROCESS_BYTES + FLOAT_BYTES * sum(parts.values()) + bundle
    return Needs(bundle, bundle, max(export, verify))


def _decoder_copies(used: Recipe) -> float:
    if used.own_decoder:
        return OWN_DECODER_COPIES
    return FLOAT_COPIES if scheme(used.language).weight_bits == 32 else QUANTIZED_COPIES


def part_sizes(config: ModelConfig) -> dict[str, int]:
    """The number of weights per part of a model of this shape; none is made."""
    import torch

    from vera_mobile.model.vlm import VeraModel, parameter_counts

    with torch.device("meta"):
        counts = parameter_counts(VeraModel(config))
    del counts["total"]
    return counts


def bundle_bytes(config: ModelConfig, used: Recipe) -> int:
    """About the size of the bundle, from above for the schemes of the recipes."""
    parts = part_sizes(config)
    language = config.language
    table = language.vocab_size * language.hidden_size
    stored = {
        "vision": parts["vision"] + parts["projector"],
        "language": parts["decoder"] - table,
        "logits": table,
        "embedding": table,
        "head": parts["retouch_head"],
        "renderer": parts["renderer"],
    }
    if used.own_decoder:  # one table for both, of the embedding's scheme
        del stored["logits"]
    schemes = {name: getattr(used, name) for name in stored}
    if used.own_decoder:
        schemes["embedding"] = table_scheme(used, config)
    weights = sum(_stored_bytes(count, schemes[name]) for name, count in stored.items())
    reference = FLOAT_BYTES * parts["reference_encoder"] if used.reference else 0
    blocks = language.layers + sum(config.vision.depths)
    return weights + reference + BUNDLE_BYTES + BLOCK_BYTES * blocks


def _stored_bytes(count: int, name: str) -> int:
    used = scheme(name)
    bits = float(used.weight_bits)
    if used.activations == "static":
        bits += STATIC_FLOAT_SHARE * (32 - bits)
    scales = SCALE_BYTES * count / used.group_size if used.group_size else 0.0
    return round(count * bits / 8 + scales)


def _check_weights(folder: Path, config: ModelConfig) -> None:
    """Names and shapes first, then each weight's values; ModelError, FileError."""
    import torch

    from vera_mobile.model import load
    from vera_mobile.model.vlm import VeraModel

    weights = load._open(load._weights_path(folder))
    with torch.device("meta"):
        expected = VeraModel(config).state_dict()
    load._check_keys(expected, weights, str(folder))
    bad = (key for key, entry in weights.items() if not load._is_finite(entry.read()))
    load._refuse_not_finite(bad, str(folder))


def _check_tokenizer(folder: Path, config: ModelConfig) -> None:
    from vera_mobile.model.import_tokenizer import TOKENIZER_FILE, check_size
    from vera_mobile.model.tokens import Vocabulary

    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise FileError(f"Tokenizer {path} is missing: copy it there from the same checkpoint.")
    check_size(Vocabulary.load(path), config, str(folder))


def _weights_bytes(folder: Path) -> int:
    files = [path for suffix in ("safetensors", "pth") for path in folder.glob(f"*.{suffix}")]
    return sum(path.stat().st_size for path in files)


def _check_disk(needs: Needs, out: Path) -> None:
    scratch = Path(tempfile.gettempdir())
    target = next(place for place in (out.absolute(), *out.absolute().parents) if place.is_dir())
    if not os.access(target, os.W_OK):
        raise FileError(f"{target} cannot be written to: choose another folder for {out}.")
    wanted = {scratch: needs.scratch, target: needs.out}
    if scratch.stat().st_dev == target.stat().st_dev:
        wanted = {target: needs.scratch + needs.out}
    for place, size in wanted.items():
        free = shutil.disk_usage(place).free
        if free < size:
            raise FileError(
                f"The export needs about {size / MB:.0f} MB on the disk of {place}, and "
                f"{free / MB:.0f} MB are free: free some space, or use another folder (for "
                "temporary files set TMPDIR)."
            )


def _check_memory(needed: int, config: ModelConfig) -> None:
    from vera_mobile.model.import_check import available_memory

    available = available_memory()
    if available is not None and available < needed:
        raise OutOfMemory(
            f"The export of {config.name} needs about {needed / MB:.0f} MB of memory, and "
            f"{available / MB:.0f} MB are available: close other programs, or use a machine with "
            "more memory."
        )
