"""What all training stages share: config files, resumable state without pickle, the log.

Every step draws its randomness from (seed, step), so a run that was killed goes on from its last
saved state to the same weights.
"""

from __future__ import annotations

import json
import math
import os
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.train.board import Board
from vera_mobile.train.parallel import ALONE, Group, load_sharded_, placed_like, whole

T = TypeVar("T")
CONFIGS = Path(__file__).parent / "configs"


DEVICES = ("cpu", "cuda")
STAGE_FILE = "stage.json"


@dataclass(frozen=True)
class StageConfig:
    """Settings that every stage has; a stage adds its own fields.

    model: "nano", "0.5b" or a config.json, where `init` does not say it; init: folder of a
    checkpoint or of an earlier run to start from ("": random weights); device: cpu or cuda;
    tensorboard: scalars and, every picture_every steps, example pictures into RUN/tensorboard.
    """

    model: str = "nano"
    init: str = ""
    device: str = "cpu"
    tensorboard: bool = False
    picture_every: int = 200
    seed: int = 1
    steps: int = 1000
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 100
    save_every: int = 200
    log_every: int = 20
    pixels: int = 1024
    threads: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and value < 0:
                raise InvalidArgument(f"{field.name} is {value}: use a value of 0 or more")
        if self.steps < 1 or self.batch < 1 or self.lr <= 0:
            raise InvalidArgument("steps, batch and lr must be above 0")
        if self.save_every < 1 or self.log_every < 1 or self.picture_every < 1:
            raise InvalidArgument("save_every, log_every and picture_every must be above 0")
        if self.device not in DEVICES:
            raise InvalidArgument(f"device is {self.device!r}: use one of {', '.join(DEVICES)}")


def read_config(kind: type[T], path: str | Path, overrides: Mapping[str, Any] | None = None) -> T:
    """A stage's config from a TOML file (a name of `configs/` or a path) plus overrides.

    Raises FileError for an unreadable file, InvalidArgument for an unknown key or a wrong type.
    """
    file = Path(path)
    if not file.is_file() and (CONFIGS / f"{path}.toml").is_file():
        file = CONFIGS / f"{path}.toml"
    try:
        values = tomllib.loads(file.read_text())
    except OSError as e:
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
        raise FileError(f"{path}: no such config; known names: {known}") from e
    except tomllib.TOMLDecodeError as e:
        raise FileError(f"{file}: is not TOML ({e})") from e
    values |= dict(overrides or {})
    known_fields = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known_fields))
    if unknown:
        raise InvalidArgument(f"{file}: unknown keys {unknown}; known are {sorted(known_fields)}")
    config = kind()
    for key, value in values.items():
        default = getattr(config, key)
        allowed = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool):
            raise InvalidArgument(f"{file}: {key} is {value!r}, use a {type(default).__name__}")
    return replace(config, **values)  # type: ignore[type-var]


def read_state(file: Path) -> dict[str, Tensor]:
    """A run's saved tensors. FileError when the file is missing or damaged."""
    try:
        return load_file(str(file))
    except (OSError, SafetensorError) as e:
        raise FileError(f"{file}: is no saved run ({e}); delete it to start anew") from e


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's tensors of a saved state, by their names in the model."""
    return {k[6:]: v for k, v in state.items() if k.startswith("model/")}


def load_weights_(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Puts the saved weights into `module`. FileError when they are of another shape."""
    try:
        module.load_state_dict(weights_of(state))
    except RuntimeError as e:
        raise FileError(
            f"{file}: holds a run of another model or stage; name another folder"
        ) from e


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of one step; also seeds torch."""
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(int(rng.integers(2**31)))
    return rng


def learning_rate(step: int, config: StageConfig) -> float:
    """Linear warm-up, then cosine to 2 % of the peak."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def adamw(module: nn.Module, config: StageConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    params = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), eps=1e-8)


class Run:
    """A stage under way: folder with stage.json, state.safetensors, log.jsonl and tensorboard/.

    model: the model's shape as a dict, kept in stage.json with the stage's name and its resolved
    settings, so that a later stage can start here. config.json: the settings alone.
    With several processes all call the same methods; the first one writes.
    """

    def __init__(
        self,
        out: Path,
        config: StageConfig,
        module: nn.Module,
        *,
        stage: str = "",
        model: Mapping[str, Any] | None = None,
        group: Group = ALONE,
    ) -> None:
        self.out, self.config, self.module, self.group = out, config, module, group
        if config.threads:
            torch.set_num_threads(config.threads)
        self.optimizer = adamw(module, config)
        self.started = time.monotonic()
        self.board = Board(out / "tensorboard" if config.tensorboard and group.main else None)
        if group.main:
            try:
                out.mkdir(parents=True, exist_ok=True)
                about = {"stage": stage, "config": asdict(config), "model": model}
                self.write_json(STAGE_FILE, about)
                # where a checkpoint is made in the same folder, config.json is the model's
                if not (out / "model.safetensors").exists():
                    self.write_json("config.json", asdict(config))
            except OSError as e:
                raise FileError(
                    f"{out}: cannot be written ({e.strerror}); choose another --out"
                ) from e

    def resume(self) -> int:
        """Loads the last saved state; returns the step to go on with (0 for a new run)."""
        file = self.out / "state.safetensors"
        start = 0
        if file.is_file():
            state = read_state(file)
            self._load(state, file)
            start = int(state["step"])
        self.board.start(start)
        return start

    def _load(self, state: dict[str, Tensor], file: Path) -> None:
        if self.group.size > 1:
            load_sharded_(self.module, weights_of(state))
        else:
            load_weights_(self.module, state, file)
        for i, p in enumerate(self._params()):
            if f"m/{i}" in state:
                self.optimizer.state[p] = {
                    "step": state["adam_step"].clone(),
                    "exp_avg": placed_like(state[f"m/{i}"], p),
                    "exp_avg_sq": placed_like(state[f"v/{i}"], p),
                }

    def save(self, step: int) -> None:
        """Saves model and optimizer after `step` steps, atomically."""
        tensors: dict[str, Tensor] = {
            f"model/{k}": whole(v) for k, v in self.module.state_dict().items()
        }
        for i, p in enumerate(self._params()):
            if p in self.optimizer.state:
                s = self.optimizer.state[p]
                tensors[f"m/{i}"] = whole(s["exp_avg"])
                tensors[f"v/{i}"] = whole(s["exp_avg_sq"])
                tensors["adam_step"] = s["step"].cpu()
        tensors["step"] = torch.tensor(step)
        if self.group.main:
            self._write_state(tensors)
        self.group.wait()

    def _write_state(self, tensors: dict[str, Tensor]) -> None:
        temporary = self.out / "state.safetensors.tmp"
        try:
            save_file(tensors, str(temporary))
            os.replace(temporary, self.out / "state.safetensors")
        except (OSError, SafetensorError) as e:
            temporary.unlink(missing_ok=True)
            raise FileError(
                f"{self.out}: the state cannot be saved ({e}); make room and start the run again, "
                "it goes on from the state before"
            ) from e

    def step(self, step: int, losses: Tensor | Iterable[Tensor]) -> None:
        """One optimizer step with clipped gradients at the scheduled learning rate.

        losses: one loss, or those of the parts of a batch, made one after the other. Raises
        ModelError, before anything changes, for a gradient that is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        for loss in [losses] if isinstance(losses, Tensor) else losses:
            loss.backward()
        norm = whole(nn.utils.clip_grad_norm_(self._params(), 1.0))
        if not bool(norm.isfinite()):
            raise ModelError(
                f"step {step + 1}: the gradient is not finite; the last saved state is sound; "
                "start again with a lower lr, or look at the photos of this step"
            )
        self.optimizer.step()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line to log.jsonl."""
        line = {"step": step, "seconds": round(time.monotonic() - self.started, 1)}
        line |= {k: round(float(v), 5) for k, v in values.items()}
        with (self.out / "log.jsonl").open("a") as f:
            f.write(json.dumps(line) + "\n")

    def finish_step(self, done: int, values: Mapping[str, float]) -> None:
        """Logs and saves after `done` steps, as often as the config says and at the end."""
        if done % self.config.log_every == 0 and self.group.main:
            self.log(done, values)
            lr = self.optimizer.param_groups[0]["lr"]
            self.board.scalars(done, {**values, "lr": lr})
        if done % self.config.save_every == 0 or done == self.config.steps:
            self.save(done)

    def pictures_due(self, done: int) -> bool:
        """True where example pictures are to be made after `done` steps."""
        every = self.config.picture_every
        return self.board.open and (done % every == 0 or done == self.config.steps)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes a JSON file into the run's folder, whole or not at all."""
        temporary = self.out / f"{name}.tmp"
        temporary.write_text(json.dumps(values, indent=1) + "\n")
        os.replace(temporary, self.out / name)

    def _params(self) -> list[nn.Parameter]:
        return [p for g in self.optimizer.param_groups for p in g["params"]]
