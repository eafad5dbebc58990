"""Aesthetic scorers behind one interface: how good a photo looks, as one number.

`own` is ours, trained to put an original above its degradations, and comes with the package. The
others are published models through pyiqa, where that and their weights are on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vera_mobile.develop.operators import LUMA
from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.files import replacing
from vera_mobile.train.iqa import load_metric

FORMAT, VERSION = "vera-scorer", 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
OPPONENT = ((0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))  # red - green, blue - yellow, in -0.5..0.5

_PUBLISHED = {"laion": "laion_aes", "qalign": "qalign", "liqe": "liqe"}
_LIQE_SIDE = 224  # its smallest picture


class Scorer(Protocol):
    """Scores pictures; higher is better, comparable between versions of one photo."""

    name: str

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3) float, encoded sRGB in [0, 1] -> (B,) float32."""


def known_scorers() -> dict[str, str]:
    """Name -> what it is, of every scorer that `load_scorer` takes."""
    return {
        "own": "bundled; ranks an original above its degradations",
        "laion": "LAION aesthetic predictor on CLIP ViT-L/14, through pyiqa",
        "qalign": "Q-Align (arXiv 2312.17090), aesthetic question, through pyiqa; 8 B parameters",
        "liqe": "LIQE (CVPR 2023), technical quality, through pyiqa",
    }


def load_scorer(name: str = "own") -> Scorer:
    """A scorer by its name, or our kind of scorer from a folder that `save_scorer` wrote.

    Raises InvalidArgument for an unknown name, FileError for a damaged folder, ModelError where
    pyiqa or its weights are not on this machine: nothing is ever downloaded.
    """
    if name == "own":
        return load_own(Path(__file__).parents[1] / "assets" / "scorer")
    if name in _PUBLISHED:
        return PublishedScorer(name)
    if (Path(name) / CONFIG_FILE).is_file():
        return load_own(name)
    known = ", ".join(known_scorers())
    raise InvalidArgument(f"Scorer {name!r} is unknown: use one of {known}, or a scorer's folder.")


# ---- ours ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScorerShape:
    """Shape of the own scorer; `size` is the side in pixels that every picture is reduced to."""

    size: int = 64
    widths: tuple[int, ...] = (24, 48, 64, 96)
    tones: int = 32
    chroma: int = 8
    hidden: int = 128

    def __post_init__(self) -> None:
        values = (self.size, *self.widths, self.tones, self.chroma, self.hidden)
        if not self.widths or min(values) < 2 or max(values) > 4096:
            raise InvalidArgument(f"{self}: every value must be in 2..4096")


class OwnScorer(nn.Module):
    """A small convolutional network beside histograms and quantiles of tone, channels, chroma.

    The histograms see the exposure, the contrast and the cast; the network sees where on the photo
    they are. Differentiable in the pictures.
    """

    name = "own"

    def __init__(self, shape: ScorerShape = ScorerShape()) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *shape.widths), shape.widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(4, outputs), nn.GELU()]
        self.network = nn.Sequential(*layers)
        measured = 4 * (shape.tones + len(QUANTILES)) + shape.chroma**2
        self.histograms = nn.LayerNorm(measured)
        self.last = nn.Sequential(
            nn.Linear(2 * shape.widths[-1] + measured, shape.hidden),
            nn.GELU(),
            nn.Linear(shape.hidden, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores (B,) of pictures (B, H, W, 3) float, encoded sRGB in [0, 1], of any size."""
        if pictures.dim() != 4 or pictures.shape[-1] != 3 or 0 in pictures.shape:
            raise InvalidArgument(
                f"Pictures of shape {tuple(pictures.shape)}: give (B, H, W, 3), not empty."
            )
        x = F.adaptive_avg_pool2d(pictures.float().permute(0, 3, 1, 2), self.shape.size)
        maps = self.network(2 * x - 1).flatten(2)
        pooled = torch.cat((maps.mean(2), maps.amax(2)), 1)
        sample = x[:, :, ::2, ::2]  # a quarter of the pixels says as much about shares
        measured = self.histograms(self._measured(sample.flatten(2).transpose(1, 2)))
        return self.last(torch.cat((pooled, measured), 1)).squeeze(1)

    def _measured(self, rgb: Tensor) -> Tensor:
        """What describes the tones and colours of pixels (B, N, 3), (B, 4 (T + Q) + C^2).

        Square roots of the shares per bin of luma, red, green, blue, and of the two opponent
        colours together (roots keep rare colours visible); then quantiles of the four.
        """
        n = rgb.shape[1]
        four = torch.cat((rgb @ rgb.new_tensor(LUMA)[:, None], rgb), 2)
        tones = [_soft(four[..., c], 0.0, 1.0, self.shape.tones).sum(1) for c in range(4)]
        first, second = (
            _soft(rgb @ rgb.new_tensor(axis), -0.25, 0.25, self.shape.chroma) for axis in OPPONENT
        )
        both = (first.transpose(1, 2) @ second).flatten(1)
        shares = (torch.cat((*tones, both), 1) / n + 1e-6).sqrt()
        ranks = torch.tensor([round(q * (n - 1)) for q in QUANTILES], device=rgb.device)
        return torch.cat((shares, four.sort(1).values[:, ranks].flatten(1)), 1)


def _soft(values: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Shares (B, N, bins) of each value in the two nearest bins, linear; outside counts as edge."""
    position = (values.clamp(low, high) - low) * ((bins - 1) / (high - low))
    centres = torch.arange(bins, dtype=values.dtype, device=values.device)
    return (1 - (position[..., None] - centres).abs()).clamp_min(0)


def save_scorer(scorer: OwnScorer, folder: str | Path) -> Path:
    """Writes config.json and model.safetensors into the folder (made when missing); returns it."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise FileError(f"{folder}: cannot be made ({e.strerror}); choose another folder") from e
    record = {"format": FORMAT, "version": VERSION, "shape": asdict(scorer.shape)}
    weights = {k: v.detach().contiguous() for k, v in scorer.state_dict().items()}
    with replacing(folder / WEIGHTS_FILE) as stream:
        stream.write(save(weights))
    with replacing(folder / CONFIG_FILE) as stream:
        stream.write((json.dumps(record, indent=1) + "\n").encode())
    return folder


def load_own(folder: str | Path) -> OwnScorer:
    """The scorer of a folder, in evaluation mode. FileError when it is missing or damaged."""
    folder = Path(folder)
    try:
        record = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        scorer = OwnScorer(_shape_of(record))
        scorer.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError,
            RuntimeError, InvalidArgument) as e:  # fmt: skip
        raise FileError(f"{folder}: is no scorer ({e}); train one with `vera train scorer`") from e
    return scorer.eval().requires_grad_(False)


def _shape_of(record: Mapping[str, Any]) -> ScorerShape:
    if (record["format"], record["version"]) != (FORMAT, VERSION):
        raise ValueError(f"format {record['format']!r} version {record['version']!r}")
    values = dict(record["shape"])
    return ScorerShape(**values | {"widths": tuple(values["widths"])})


# ---- published -----------------------------------------------------------------------------------


class PublishedScorer:
    """One of pyiqa's metrics without a reference; pictures go one by one, their sizes differ."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._metric = load_metric(_PUBLISHED[name])

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3) float, encoded sRGB in [0, 1] -> (B,) float32."""
        x = pictures.float().permute(0, 3, 1, 2)
        short = min(x.shape[2:])
        if self.name == "liqe" and short < _LIQE_SIDE:
            size = [-(-side * _LIQE_SIDE // short) for side in x.shape[2:]]
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        asked = {"task_": "aesthetic"} if self.name == "qalign" else {}
        scores = [self._metric(one[None], **asked).reshape(1) for one in x]
        return torch.cat(scores).float().cpu()
