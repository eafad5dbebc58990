"""Each part on its way into an ONNX file: module, inputs, names, and what gets 8 bits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.onnx import forms
from vera_mobile.export.onnx.equalize import equalize_
from vera_mobile.export.onnx.layerwise import FLOOR_DB, product_sqnr_db
from vera_mobile.export.onnx.quantize import Feed
from vera_mobile.export.onnx.samples import Plan, plan_photos
from vera_mobile.export.recipes import Recipe
from vera_mobile.export.reference_form import reference_pairs
from vera_mobile.export.stages import check_calibration
from vera_mobile.export.verify import lattice
from vera_mobile.model.config import LATENT_GROUPS, LanguageConfig
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.schemes import scheme
from vera_mobile.runtime import BAKE_POINTS, REFERENCE

PARTS = ("vision", "embed", "decoder", "head", "bake", "look", REFERENCE)
# Layers of the vision tower with 8 bits. The others stay float: the stem, the down-sampling and
# every grouped convolution, whose ranges differ much from channel to channel, the projector and the
# gates. Alone in 8 bits each of those leaves 24 to 37 dB of nano's image tokens (one 46), each of
# these 33 to 60 dB; all layers in 8 bits leave 15 dB, this choice 30 dB (means of 8 photos).
_VISION_8_BITS = re.compile(r"\.ffn\.(expand|reduce)\.|\.attention\.")
# The layers that read and write colours stay float: 8 bits of their range are visible bands.
_RENDERER_FLOAT = re.compile(r"renderer\.(layers\.0|out)\.")
# As in ReferenceForm's program: what reads the photos, and what writes a map of weights.
_REFERENCE_FLOAT = re.compile(r"\.stem\.|\.spatial\.|blocks\.[01]\.attention\.conv\.")
_LATTICE_SIDE = 16  # 4,096 points, one call of the bake graph


@dataclass(frozen=True)
class Source:
    """A part as a module in float32 (None once it is in a file), and how it is quantized.

    wanted: of a weight's name (None: a product of two activations), whether it gets 8 bits; None
    where nothing does. weights_only: names of weights whose products keep float activations.
    feeds: the inputs to calibrate with.
    """

    form: nn.Module | None
    inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    quantization: str
    wanted: Callable[[str | None], bool] | None = None
    feeds: Callable[[], Iterator[Feed]] = lambda: iter(())
    dynamic: tuple[Any, ...] | None = None
    weights_only: frozenset[str] = frozenset()


class Sources:
    """The parts of one model under one recipe; plans of photos are made once, at first need."""

    def __init__(
        self,
        model: VeraModel,
        recipe: Recipe,
        calibration: np.ndarray | None,
        plans: Sequence[Plan] | None,
    ) -> None:
        self.model, self.recipe = model, recipe
        self._calibration, self._plans = calibration, plans
        self._hidden = model.config.language.hidden_size
        self._look = (1, LATENT_GROUPS, model.config.renderer.latent_size)

    @cached_property
    def photos(self) -> np.ndarray:
        """The checked calibration photos. Raises InvalidArgument."""
        return check_calibration(self._calibration, self.model.config, self.recipe)

    @cached_property
    def plans(self) -> Sequence[Plan]:
        """Plans of the calibration photos."""
        if self._plans:
            return self._plans
        return plan_photos(self.model, self.photos)

    def of(self, name: str) -> Source:
        """The part called `name`. Raises InvalidArgument for a scheme that ONNX does not have."""
        made: Source = getattr(self, f"_{name}_source")()
        if made.wanted is not None:
            # refused before any work
            _ = self.photos if name in ("vision", REFERENCE) else self.plans
        return made

    def _vision_source(self) -> Source:
        size = self.model.config.vision.image_size

        def wanted(weight: str | None) -> bool:
            return weight is None or _VISION_8_BITS.search(weight) is not None

        return Source(
            forms.vision_form(self.model),
            (torch.zeros(1, 3, size, size),),
            ("pixels",),
            ("image_tokens",),
            self.recipe.vision,
            wanted if self._static("vision") else None,
            lambda: ({"pixels": photo[None]} for photo in self.photos),
        )

    def _embed_source(self) -> Source:
        used = scheme(self.recipe.embedding)
        if used.name not in ("fp32", "int8w"):
            raise InvalidArgument(f"Embedding scheme '{used.name}' not allowed: use fp32 or int8w.")
        return Source(
            forms.embed_form(self.model, rows_of_8_bits=used.weight_bits == 8),
            (torch.zeros(1, 2, dtype=torch.int32),),
            ("ids",),
            ("embeds",),
            used.name,
            dynamic=({1: torch.export.Dim("n", min=2, max=1 << 20)},),
        )

    def _decoder_source(self) -> Source:
        config = self.model.config.language
        caches = cache_names(config)
        language, logits = self._static("language"), self._static("logits")
        form = forms.DecoderForm(self.model.decoder).eval().requires_grad_(False)
        new, rows = (torch.export.Dim(name, min=2, max=config.max_length) for name in "nm")
        last = torch.tensor([0, 1], dtype=torch.int32)
        example = (torch.zeros(1, 2, self._hidden), torch.arange(2, dtype=torch.int32), last)
        names = ("embeds", "positions", "last", *caches)
        weights_only: frozenset[str] = frozenset()
        if language:
            weights_only = self._prepare_(form, names)

        def wanted(weight: str | None) -> bool:
            # attention's products stay float: the cache would be quantized anew at every step
            return weight is not None and (logits if weight == "logits.weight" else language)

        return Source(
            form,
            (*example, *empty_cache(config)),
            names,
            ("logits", "hidden", *(f"new_{name}" for name in caches)),
            f"{self.recipe.language}, logits {self.recipe.logits}",
            wanted if language or logits else None,
            self._decoder_feeds,
            ({1: new}, {0: new}, {0: rows}, (None,) * len(caches)),
            weights_only,
        )

    def _prepare_(self, form: forms.DecoderForm, names: Sequence[str]) -> frozenset[str]:
        """Equalizes the decoder; returns the weights whose products 8 bits are not enough for."""

        def run() -> None:
            for feed in self._decoder_feeds():
                form(*(torch.from_numpy(feed[name]) for name in names))

        equalize_(form, run)
        found = product_sqnr_db(form, run)
        return frozenset(name for name, sqnr in found.items() if sqnr < FLOOR_DB)

    def _head_source(self) -> Source:
        return Source(
            forms.head_form(self.model),
            (torch.zeros(1, LATENT_GROUPS, self._hidden),),
            ("hidden",),
            ("latents",),
            self.recipe.head,
            (lambda weight: weight is not None) if self._static("head") else None,
            lambda: ({"hidden": plan.hidden[None]} for plan in self.plans),
        )

    def _bake_source(self) -> Source:
        points = lattice(_LATTICE_SIDE)
        return Source(
            forms.bake_form(self.model),
            (torch.zeros(BAKE_POINTS, 3), torch.zeros(self._look)),
            ("points", "latents"),
            ("edited",),
            self.recipe.renderer,
            _renderer_wanted if self._static("renderer") else None,
            lambda: ({"points": points, "latents": plan.latents[None]} for plan in self.plans),
        )

    def _look_source(self) -> Source:
        head, renderer = self._static("head"), self._static("renderer")
        ones = np.ones(LATENT_GROUPS, np.float32)

        def wanted(weight: str | None) -> bool:
            if weight is None:
                return False
            return head if weight.startswith("head.") else renderer and _renderer_wanted(weight)

        return Source(
            forms.LookForm(self.model),
            (torch.zeros(1, LATENT_GROUPS, self._hidden), torch.ones(LATENT_GROUPS)),
            ("hidden", "strengths"),
            ("latents", "lut"),
            f"head {self.recipe.head}, renderer {self.recipe.renderer}",
            wanted if head or renderer else None,
            lambda: ({"hidden": plan.hidden[None], "strengths": ones} for plan in self.plans),
        )

    def _reference_source(self) -> Source:
        size = self.model.config.encoder.image_size

        def wanted(weight: str | None) -> bool:
            return weight is not None and _REFERENCE_FLOAT.search(weight) is None

        def feeds() -> Iterator[Feed]:
            for before, after in reference_pairs(self.photos, self.model.config):
                yield {"before": before, "after": after}

        return Source(
            forms.reference_form(self.model),
            # two tensors: the exporter takes one that is given twice for one input
            (torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size)),
            ("before", "after"),
            ("latents",),
            self.recipe.vision,
            wanted if self._static("vision") else None,
            feeds,
        )

    def _decoder_feeds(self) -> Iterator[Feed]:
        """All that a plan feeds in one call, with the logits of every position that has them."""
        config = self.model.config.language
        empty = dict(
            zip(cache_names(config), (v.numpy() for v in empty_cache(config)), strict=True)
        )
        for plan in self.plans:
            count = plan.embeds.shape[1]
            yield {
                "embeds": plan.embeds,
                "positions": np.arange(count, dtype=np.int32),
                "last": np.arange(plan.prompt - 1, count, dtype=np.int32),
                **empty,
            }

    def _static(self, part: str) -> bool:
        used = scheme(getattr(self.recipe, part))
        if used.name not in ("fp32", "int8w_int8static"):
            raise InvalidArgument(
                f"Scheme '{used.name}' of '{part}' not allowed for ONNX: use fp32 or "
                "int8w_int8static."
            )
        return used.activations == "static"


def cache_names(config: LanguageConfig) -> tuple[str, ...]:
    """Inputs of the decoder graphs that hold the cache, in their order."""
    layers = range(config.layers)
    return tuple(f"{kind}_{layer}" for layer in layers for kind in ("keys", "values"))


def empty_cache(config: LanguageConfig) -> tuple[Tensor, ...]:
    """Zeros for each of `cache_names`: (1, kv_heads, max_length, head_dim) float32."""
    shape = (1, config.kv_heads, config.max_length, config.head_dim)
    return tuple(torch.zeros(shape) for _ in cache_names(config))


def _renderer_wanted(weight: str | None) -> bool:
    return weight is not None and _RENDERER_FLOAT.search(weight) is None
