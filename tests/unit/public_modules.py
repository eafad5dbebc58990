"""The same seeded weights and inputs through the public modules and through ours.

The public repository is read where its folder is given; what its files import beside PyTorch is
replaced by placeholders, which raise where they would take part in a computation.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from public_files import seeded, seeded_state, uniform
from torch import Tensor, nn

from vera_mobile.model.config import VisionConfig, vera_0_5b
from vera_mobile.model.head import RetouchHead
from vera_mobile.model.projector import Projector
from vera_mobile.model.public_names import ENCODER_RENDERER, VLM, upstream_name
from vera_mobile.model.reference_encoder import ReferenceEncoder
from vera_mobile.model.renderer import Renderer
from vera_mobile.model.vision import VisionTower

FULL = vera_0_5b()
SMALL_TOWER = VisionConfig(
    image_size=256,
    embed_dims=(32, 64, 128, 256, 512),
    depths=(1, 2, 2, 2, 1),
    unused_projection=True,
)
FULL_TOWER = replace(FULL.vision, image_size=256)
# smaller photos than the model's own: the modules are the same, and an input costs less
SMALL_ENCODER = replace(FULL.encoder, image_size=128)
TOWER_PREFIX = "model.vision_tower.vision_tower."
ABSENT = ("timm", "torchvision", "transformers", "peft", "diffusers")
CASES = ("reference", "rendered", "vision_small", "projector", "retouch_head", "vision_full")
SLOW = ("vision_full",)


def inputs(case: str) -> dict[str, Tensor]:
    """The seeded inputs of a case: photos (B, 3, H, W) and colours in [0, 1], other values free."""

    if case in ("reference", "rendered"):
        side = SMALL_ENCODER.image_size
        photos = {
            name: uniform(f"input {name}", (2, 3, side, side)) for name in ("before", "after")
        }
        return {**photos, "photo": uniform("input photo", (2, 3, 16, 12))}
    if case.startswith("vision"):
        return {"photo": uniform("input photo", (1, 3, 256, 256))}
    width = {"projector": (4, FULL.vision.feature_size), "retouch_head": (3, 896)}[case]
    return {"values": seeded(f"input {case}", (2, *width))}


def input_hash(case: str) -> str:
    """SHA-256 of the inputs' bytes, in the order of their names."""
    digest = hashlib.sha256()
    for _, value in sorted(inputs(case).items()):
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def thinned(case: str, output: Tensor) -> np.ndarray:
    """float32 values of an output that are kept: every eighth of a large one."""
    flat = output.detach().flatten().numpy()
    return flat[::8].copy() if case.startswith("vision") else flat.copy()


# Groups of the first look off, halved and whole: the mask multiplies the latents.
MASK = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])


@torch.inference_mode()
def own_output(case: str) -> Tensor:
    """What our modules give for a case."""
    given = inputs(case)
    if case in ("reference", "rendered"):
        latent = FULL.renderer.latent_size
        encoder = _own(ReferenceEncoder(SMALL_ENCODER, latent), "reference_encoder.")
        latents = encoder(given["before"], given["after"])
        if case == "reference":
            return latents
        renderer = _own(Renderer(FULL.renderer), "renderer.")
        photo = given["photo"]
        pixels = renderer(photo.flatten(2).transpose(1, 2), latents * MASK.unsqueeze(-1))
        return pixels.transpose(1, 2).reshape(photo.shape)
    if case.startswith("vision"):
        config = SMALL_TOWER if case == "vision_small" else FULL_TOWER
        return _own(VisionTower(config), "vision.")(given["photo"])
    if case == "projector":
        module: nn.Module = Projector(FULL.vision.feature_size, FULL.language.hidden_size)
        return _own(module, "projector.")(given["values"])
    head = _own(RetouchHead(FULL.language.hidden_size, FULL.renderer.latent_size), "retouch_head.")
    return head(given["values"])


def _own(module: nn.Module, prefix: str) -> Any:
    state = seeded_state({prefix + key: value for key, value in module.state_dict().items()})
    module.load_state_dict({key.removeprefix(prefix): value for key, value in state.items()})
    return module.eval()


@torch.inference_mode()
def public_output(repo: Path, case: str) -> Tensor:
    """What the public modules give for a case; the retouch head is no class of its own there, so
    its layers are put together as its file names them."""
    given = inputs(case)
    with _public(repo):
        if case in ("reference", "rendered"):
            return _public_reference(given, case)
        if case.startswith("vision"):
            small = case == "vision_small"
            tower = _load(
                _small_tower() if small else _full_tower(),
                VisionTower(SMALL_TOWER if small else FULL_TOWER),
                "vision.",
                VLM,
                TOWER_PREFIX,
            )
            features = tower(given["photo"], return_image_embeddings=True)["image_embeddings"]
            return features.flatten(2).transpose(1, 2)
        if case == "projector":
            return _public_projector(repo)(given["values"])
    wide, middle, norm = 2688, 1344, nn.LayerNorm
    layers = (nn.Linear(wide, middle), norm(middle), nn.GELU(), nn.Linear(middle, middle))
    head = nn.Sequential(*layers, norm(middle), nn.GELU(), nn.Linear(middle, wide))
    own = RetouchHead(FULL.language.hidden_size, FULL.renderer.latent_size)
    head = _load(head, own, "retouch_head.", VLM, "retouch_head.")
    return head(given["values"].flatten(1)).unflatten(1, (3, -1))


def _public_reference(given: Mapping[str, Tensor], case: str) -> Tensor:
    module = importlib.import_module("model.retouch_render")
    encoder = {"model_name": "Resnet18Encoder_InputCatMixedCBAM", "latent_dim": 896}
    decoder = {
        "name": "ConditionalMLPDecoder",
        "latent_dim": 896,
        "hidden_dims": [128, 256, 512],
        "cond_method": "add",
        "final_act": "sigmoid",
    }
    made = module.RetouchRenderer(
        SimpleNamespace(
            encoder_args=SimpleNamespace(**encoder), decoder_args=SimpleNamespace(**decoder)
        )
    )
    own = nn.ModuleDict(
        {
            "reference_encoder": ReferenceEncoder(SMALL_ENCODER, 896),
            "renderer": Renderer(FULL.renderer),
        }
    )
    made = _load(made, own, "", ENCODER_RENDERER, "")
    photo, before, after = (2.0 * given[name] - 1.0 for name in ("photo", "before", "after"))
    if case == "reference":
        return made.encoder(before, after).unflatten(1, (3, -1))
    return made(photo, before, after, MASK)


def _public_projector(repo: Path) -> nn.Module:
    module = _by_path(repo / "llava/model/multimodal_projector/builder.py")
    config = SimpleNamespace(mm_projector_type="mlp2x_gelu", mm_hidden_size=3072, hidden_size=896)
    own = Projector(FULL.vision.feature_size, FULL.language.hidden_size)
    return _load(
        module.build_vision_projector(config), own, "projector.", VLM, "model.mm_projector."
    )


def _small_tower() -> nn.Module:
    mci = importlib.import_module("mobileclip.mci")
    position = [None] * 3 + [lambda *a, **k: mci.RepCPE(*a, spatial_shape=(7, 7), **k)] * 2
    made = mci.FastViT(
        list(SMALL_TOWER.depths),
        token_mixers=("repmixer",) * 3 + ("attention",) * 2,
        embed_dims=list(SMALL_TOWER.embed_dims),
        pos_embs=position,
        mlp_ratios=[SMALL_TOWER.mlp_ratio] * 5,
        downsamples=[True] * 5,
        norm_layer=mci.LayerNormChannel,
        stem_scale_branch=False,
        inference_mode=True,
    )
    size = SMALL_TOWER.feature_size
    made.head = mci.GlobalPool2D(in_dim=size, out_dim=size)
    outer = nn.Module()
    outer.model = made
    outer.forward = made.forward
    return outer


def _full_tower() -> nn.Module:
    made: nn.Module = importlib.import_module("mobileclip").MCi("fastvithd", projection_dim=3072)
    return made


def _load(made: nn.Module, own: nn.Module, prefix: str, source: str, public: str) -> Any:
    """Gives a public module the seeded weights of ours; each of its weights must be among them."""
    state = seeded_state({prefix + key: value for key, value in own.state_dict().items()})
    named = {upstream_name(key, source): value for key, value in state.items()}
    made.load_state_dict({str(name).removeprefix(public): v for name, v in named.items()})
    return made.eval()


class _Placeholder:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the comparison replaces this by nothing: it must not be used")


class _Absent(ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - marks a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Placeholder


class _Finder:
    """Finds the absent packages and their parts; `made` holds what timm registers by name."""

    def __init__(self) -> None:
        self.registered: dict[str, Callable[..., Any]] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.split(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        made = _Absent(spec.name)
        if spec.name == "timm.models":

            def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
                self.registered[function.__name__] = function
                return function

            made.register_model = register_model  # type: ignore[attr-defined]
            made.create_model = lambda name, **more: self.registered[name](**more)  # type: ignore[attr-defined]
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: attributes come from `__getattr__`."""


def _by_path(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("public_part", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _public(repo: Path) -> Iterator[None]:
    """The public repository's folders on the import path, its dependencies replaced."""
    before, path, finder = dict(sys.modules), list(sys.path), _Finder()
    for name in [name for name in sys.modules if name.split(".")[0] in ABSENT]:
        del sys.modules[name]
    sys.path[:0] = [str(repo), str(repo / "llava" / "model" / "multimodal_encoder")]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path
        parts = ("model", "mobileclip", *ABSENT)
        for name in [name for name in sys.modules if name.split(".")[0] in parts]:
            del sys.modules[name]
        sys.modules.update({name: m for name, m in before.items() if name.split(".")[0] in ABSENT})
