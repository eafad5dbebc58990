"""Reading shards: any sample of a split, and the batches of the plan stage by step number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vera_mobile.develop.sliders import vector
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.train.answers import answer_ids
from vera_mobile.train.batches import (
    TASKS,
    Batch,
    Samples,
    SamplesConfig,
    Wish,
    noisy,
    prompt_of,
)
from vera_mobile.train.data import POOL_MARGIN
from vera_mobile.train.engine.build import index_name
from vera_mobile.train.engine.samples import decode
from vera_mobile.train.engine.shards import sha256_file
from vera_mobile.train.loop import step_rng

UNKNOWN = ("transfer", "cube")  # origins of edits that no sliders make
POOL_PHOTOS = 8
_FAR = 10_000_019  # as in `Samples.draw`: draws of one step never meet those of another

Text = Literal["brief", "full"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of a shard.

    task: "auto", "style" or "param"; instruction: the wish, the sliders in words, or "" for auto;
    before, target: (H, W, 3) uint8 encoded sRGB; sliders: (38,) float32 percent of the edit (auto:
    of the fault that it undoes), None where no sliders make it; groups: factors of the three
    latents; answer: the text in free form; full, brief: its labelled forms, as `train.answers`
    reads them. record: all of the JSON: claims (what the text states, measured), photo (file,
    tier, licence, author, source), origin, split, details (concept, preset or pair).
    """

    key: str
    task: str
    instruction: str
    before: np.ndarray
    target: np.ndarray
    sliders: np.ndarray | None
    groups: tuple[float, ...]
    answer: str
    full: str
    brief: str
    record: dict[str, Any]


class Shards:
    """The samples of one split of a folder that `vera data build` wrote, in any order.

    verify: compare every file's sha256 first. Errors: FileError for a missing or changed file,
    InvalidArgument for a folder that holds no such split.
    """

    def __init__(self, folder: str | Path, split: str = "train", *, verify: bool = False) -> None:
        self.folder, self.split = Path(folder), split
        self.index = _read_index(self.folder, split)
        self.rows: list[tuple[Path, dict[str, Any]]] = []
        for shard in self.index["shards"]:
            path = self.folder / Path(shard["file"]).name
            _check_shard(path, shard, verify)
            entry = json.loads(path.with_suffix(".json").read_text())
            if entry["fingerprint"] != self.index["fingerprint"]:
                raise FileError(f"{path}: belongs to another build than the index; build again")
            self.rows += [(path, row) for row in entry["rows"]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        path, row = self.rows[number]
        raw = {suffix: _read(path, *place) for suffix, place in row["files"].items()}
        record = json.loads(raw["json"])
        if record["split"] != self.split:
            raise FileError(f"{path}: holds a sample of split {record['split']!r}; build it again")
        pictures = {k.partition(".")[0]: decode(v) for k, v in raw.items() if k != "json"}
        sliders = record["sliders"]
        return Sample(
            row["key"], record["task"], record["instruction"], pictures["input"],
            pictures["target"], None if sliders is None else vector(sliders),
            tuple(record["groups"]), record["answer"], record["full"], record["brief"], record,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def of_task(self, task: str, *, known_sliders: bool = False) -> list[int]:
        """Numbers of the samples of a task; known_sliders: only those that sliders make."""
        return [
            i for i, (_, row) in enumerate(self.rows)
            if row["task"] == task and not (known_sliders and row["origin"] in UNKNOWN)
        ]  # fmt: skip


class ShardSamples(Samples):
    """`batches.Samples` from shards: the same seed and step give the same batch on every machine.

    shards: of the split to learn from; vocabulary, config, size: as for `Samples`; text: which
    labelled answer is learned ("brief" suits vera-nano's rows). known_sliders: leave out the edits
    that no sliders make (film tables, experts' edits), for which a batch has no teacher latents.
    Pictures are squeezed to the square and mirrored at random; no statement of the text depends on
    left and right. InvalidArgument when a task has no sample.
    """

    def __init__(
        self,
        shards: Shards,
        vocabulary: Vocabulary,
        config: SamplesConfig,
        size: int,
        *,
        text: Text = "brief",
        known_sliders: bool = True,
    ) -> None:
        if text not in ("brief", "full"):
            raise InvalidArgument(f"text {text!r} is unknown: use 'brief' or 'full'")
        self.shards, self.text = shards, text
        self.by_task = [shards.of_task(t, known_sliders=known_sliders) for t in TASKS]
        for task, numbers in zip(TASKS, self.by_task, strict=True):
            if not numbers:
                raise InvalidArgument(
                    f"{shards.folder}: has no {task} samples; build it with all three tasks"
                )
        super().__init__(self._pool(size), vocabulary, config, size)

    def draw(self, step: int, attempt: int = 0) -> Batch:
        """The batch of a step; another one of the same step for each attempt."""
        rng = step_rng(self.config.seed, step + attempt * _FAR)
        n = self.config.batch
        chosen = [numbers[int(rng.integers(len(numbers)))] for numbers in self.by_task
                  for _ in range(n)]  # fmt: skip
        samples = [self.shards[i] for i in chosen]
        pixels = [_pixels(s, self.config.pixels, rng) for s in samples]
        shown = torch.stack([
            squeezed(s.before, self.size, mirrored=bool(rng.random() < 0.5))
            for s in samples[: 2 * n]
        ])  # fmt: skip
        shown = noisy(shown, self.config.noise_codes, rng)
        seen = [*shown, *[None] * n]
        prompts = [prompt_of(self.vocabulary, _wish(s), p)
                   for s, p in zip(samples, seen, strict=True)]  # fmt: skip
        own = [answer_ids(self.vocabulary, getattr(s, self.text)) for s in samples]
        answers, learn = self._exchanged(own, rng)
        return Batch(
            shown, torch.stack([p[0] for p in pixels]), torch.stack([p[1] for p in pixels]),
            torch.stack([_sliders(s) for s in samples]),
            prompts, answers, learn,
        )  # fmt: skip

    def _pool(self, size: int) -> Tensor:
        """A few good photos (k, s, s, 3) uint8, s = 1.125 size: what example pictures are of."""
        side = round(size * POOL_MARGIN)
        some = self.by_task[0][:POOL_PHOTOS]
        pictures = [squeezed(self.shards[i].target, side) for i in some]
        return torch.round(torch.stack(pictures) * 255).to(torch.uint8)


def squeezed(picture: np.ndarray, size: int, *, mirrored: bool = False) -> Tensor:
    """A picture (H, W, 3) uint8 as the model sees it: (size, size, 3) float in [0, 1]."""
    small = Image.fromarray(picture).resize((size, size), Image.Resampling.BOX)
    out = torch.from_numpy(np.array(small, np.float32) / 255)
    return out.flip(1) if mirrored else out


def _pixels(sample: Sample, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same `count` random pixels before and after: 2 x (count, 3) float in [0, 1]."""
    where = rng.integers(0, sample.before.shape[0] * sample.before.shape[1], count)
    first, second = (
        torch.from_numpy(p.reshape(-1, 3)[where].astype(np.float32) / 255)
        for p in (sample.before, sample.target)
    )
    return first, second


def _wish(sample: Sample) -> Wish:
    if sample.task == "auto":
        return None
    return sample.instruction if sample.task == "style" else sample.sliders


def _sliders(sample: Sample) -> Tensor:
    return torch.zeros(38) if sample.sliders is None else torch.from_numpy(sample.sliders)


def _read_index(folder: Path, split: str) -> dict[str, Any]:
    file = folder / index_name(split)
    try:
        index = json.loads(file.read_text())
        known = index["format"] == "vera-shards" and index["version"] == 1
    except FileNotFoundError as e:
        raise InvalidArgument(
            f"{folder}: has no finished shards of split {split!r}; run `vera data build` to its end"
        ) from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise FileError(f"{file}: is no index of shards ({e}); build it again") from e
    if not known:
        raise FileError(f"{file}: is of another format or release; build it again")
    return index


def _check_shard(path: Path, shard: dict[str, Any], verify: bool) -> None:
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        raise FileError(f"{path}: is missing or cut off; run `vera data build` again to mend it")
    if verify and sha256_file(path) != shard["sha256"]:
        raise FileError(f"{path}: was changed since it was built; build it again")


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as f:
        f.seek(offset)
        return f.read(size)
