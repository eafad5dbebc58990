"""What align, plan and rl share: the model's shape, where a run starts from, what it may change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from vera_mobile.assets import checkpoint_folder
from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.model.config import ModelConfig, vera_0_5b, vera_nano
from vera_mobile.model.load import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    load_checkpoint,
    read_config,
    save_checkpoint,
)
from vera_mobile.model.tokens import NANO, Vocabulary, slider_pieces
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.loop import (
    STAGE_FILE,
    StageConfig,
    load_weights_,
    read_state,
    weights_of,
)
from vera_mobile.train.renderer import StageModel

T = TypeVar("T")
MODELS = {"nano": vera_nano, "0.5b": vera_0_5b}
STATE_FILE = "state.safetensors"
TOKENIZER_FILE = "tokenizer.json"


class VeraStage(nn.Module):
    """The model under the name `vera`, as a stage's state file holds it.

    Calling it runs a job on it: with sharded weights they are whole only within such a call.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vera = VeraModel(config)

    def forward(self, job: Callable[[], T]) -> T:
        return job()


def model_config(config: StageConfig) -> ModelConfig:
    """The shape of the model to train: that of `init`, else that of `model`.

    Raises FileError for a missing folder, ModelError for a wrong config, InvalidArgument for an
    unknown name.
    """
    folder = Path(config.init)
    if config.init and not folder.is_dir():
        raise FileError(f"init: {folder} is no folder; name a checkpoint or the folder of a run")
    if config.init and (folder / STAGE_FILE).is_file():
        try:
            shape = json.loads((folder / STAGE_FILE).read_text()).get("model")
        except (OSError, ValueError) as e:
            raise FileError(f"{folder / STAGE_FILE}: cannot be read ({e})") from e
        if shape:
            return ModelConfig.from_dict(shape)
    if config.init and (folder / WEIGHTS_FILE).is_file():
        return read_config(folder / CONFIG_FILE)
    if config.model in MODELS:
        return MODELS[config.model]()
    if not Path(config.model).is_file():
        known = ", ".join(MODELS)
        raise InvalidArgument(f"model is {config.model!r}: use {known} or a config.json")
    return read_config(config.model)


def tokenizer_file(given: str | Path | None, config: StageConfig) -> Path:
    """The tokenizer: the given one, else that of `init`, else the bundled one."""
    own = Path(config.init) / TOKENIZER_FILE
    if given:
        return Path(given)
    return own if config.init and own.is_file() else checkpoint_folder("nano") / TOKENIZER_FILE


def check_vocabulary(vocabulary: Vocabulary, model: ModelConfig) -> None:
    """ModelError when the tokenizer has more tokens than the model has embeddings."""
    if len(vocabulary) > model.language.vocab_size:
        raise ModelError(
            f"the tokenizer has {len(vocabulary)} tokens, the model {model.language.vocab_size}: "
            "give --tokenizer, or an init folder with the model's tokenizer.json"
        )


@torch.no_grad()
def smooth_slider_embeddings_(model: VeraModel, vocabulary: Vocabulary, seed: int) -> None:
    """Starts the fused slider tokens on a line per slider, so that near values are alike."""
    if vocabulary.format.family != NANO.family:
        return
    generator = torch.Generator().manual_seed(seed)
    weight = model.decoder.embedding.weight
    width = weight.shape[1]
    pieces = slider_pieces()
    for start in range(0, len(pieces), 22):
        base, line = (torch.randn(width, generator=generator) * s for s in (0.02, 0.08))
        for piece in pieces[start : start + 22]:
            value = (int(piece[-2:]) + 0.45) / 10 * (1 if piece[-3] == "+" else -1)
            weight[vocabulary.tokenizer.token_to_id(piece)] = base + value * line


def load_stage1(folder: Path, config: ModelConfig) -> StageModel:
    """Stage 1's renderer, reference encoder and teacher from its run folder."""
    file = folder / STATE_FILE
    if not file.is_file():
        raise FileError(f"{file}: missing; run `vera train renderer --out {folder}` first")
    stage = StageModel(config)
    load_weights_(stage, read_state(file), file)
    return stage.eval().requires_grad_(False)


def take_weights_(model: VeraStage, folder: Path) -> None:
    """Starts from another run, whose optimizer state is left behind, or from a checkpoint.

    A run that trained only a part of the model is started from by its checkpoint. What the other
    stage did not have (the probes of plan) stays as it is. Raises FileError.
    """
    file = folder / STATE_FILE
    state = weights_of(read_state(file)) if file.is_file() else {}
    whole = any(name.startswith("vera.") for name in state)
    if state and (whole or not (folder / WEIGHTS_FILE).is_file()):
        own = {k: v for k, v in state.items() if k in model.state_dict()}
        lacking = {k for k in model.state_dict() if k.startswith("vera.")} - set(own)
        if lacking:
            raise FileError(f"{file}: holds a run of another model or stage; name another folder")
        try:
            model.load_state_dict(own, strict=False)
        except RuntimeError as e:
            raise FileError(f"{file}: holds a model of another shape; name another folder") from e
    elif (folder / WEIGHTS_FILE).is_file():
        model.vera.load_state_dict(load_checkpoint(folder).state_dict())
    else:
        raise FileError(
            f"{folder}: holds no run and no checkpoint; `init` names the folder of an earlier "
            "plan run or of a checkpoint"
        )


def training_mode_(vera: VeraModel, vision_frozen: bool, parts: int) -> None:
    """Training mode, but for what does not learn: the reference encoder, a frozen tower.

    A tower that learns from a batch in several parts keeps the statistics that its batch norms
    have, because those of a part are not those of the batch; from random weights, use one part.
    """
    vera.train()
    vera.reference_encoder.eval()
    for module in vera.vision.modules():
        if vision_frozen or (parts > 1 and isinstance(module, nn.BatchNorm2d)):
            module.eval()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode; then each part is as it was."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def save_trained(
    model: VeraModel, tokenizer: Path, folder: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a checkpoint folder: safetensors as `dtype`, config and tokenizer."""
    save_checkpoint(model, folder, dtype=dtype)
    (folder / WEIGHTS_FILE).chmod(0o644)  # the library writes 0600; a package is for all
    if tokenizer.resolve() != (folder / TOKENIZER_FILE).resolve():
        shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
