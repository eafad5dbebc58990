"""The model's steps behind one interface: on ExecuTorch from a bundle, or on PyTorch.

Arrays in and out are NumPy, float32 unless said; S: photo side, T: image tokens, H: hidden size,
L: values per latent, V: vocabulary. A planner serves one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from vera_mobile.bundle import Bundle
from vera_mobile.errors import BundleError, FileError, InvalidArgument
from vera_mobile.executorch_runtime import has_backend, load_program
from vera_mobile.model.config import ModelConfig
from vera_mobile.native import load_torch_ops
from vera_mobile.planner_inputs import (
    checked_embeds,
    checked_hidden,
    checked_ids,
    checked_latents,
    checked_pixels,
    checked_points,
    checked_reference,
)

if TYPE_CHECKING:
    from vera_mobile.model.vlm import VeraModel
    from vera_mobile.native.bake import NativeRenderer

PREFILL_TOKENS = 256
PROGRAMS = ("vision", "embed", "decoder", "head", "bake")
# delegates that a runtime may lack, by their name in manifests
DELEGATE_IDENTIFIERS = {
    "vulkan": "VulkanBackend",
    "coreml-pte": "CoreMLBackend",
    "qnn": "QnnBackend",
    "mediatek": "NeuropilotBackend",
    "exynos": "EnnBackend",
}
REFERENCE = "reference"  # the reference encoder, which a bundle may lack
BAKE_POINTS = 4096
RENDERER_FILE = "renderer"  # of the manifest: weights that libvera bakes with, where it runs
# what the own decoder's input `wanted` asks for: none, those of tokens that answers use, all
NO_LOGITS, ANSWER_LOGITS, ALL_LOGITS = 0, 1, 2


class Planner(Protocol):
    """What planning a look needs of a model."""

    config: ModelConfig

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""

    def load(self) -> None:
        """Loads what is not loaded yet, so that the first plan is as fast as the others."""

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        """(1, 3, S, S), encoded sRGB in [0, 1] -> image tokens (1, T, H)."""

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """(1, n) integers in [0, V), n from 1 -> embeddings (1, n, H)."""

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        """(1, n, H) at positions start .. start + n - 1 -> logits (V,) and hidden state (H,) of the
        last one. start 0 begins anew; going back is allowed, nothing past the position is seen.

        wanted: NO_LOGITS where the next token is known already (what comes back for them is of no
        use), ANSWER_LOGITS (tokens that no answer uses may be -inf) or ALL_LOGITS."""

    def head(self, hidden: np.ndarray) -> np.ndarray:
        """(3, H), the states that emit the retouch tokens -> latents (3, L)."""

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The latents (3, L) of an edit, seen in two photos (1, 3, E, E), encoded sRGB in [0, 1], E
        the reference encoder's image size. Raises InvalidArgument where there is no encoder."""

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """(N, 3) encoded sRGB in [0, 1] and latents (3, L) -> edited (N, 3) in [0, 1]."""


class TorchPlanner:
    """A checkpoint through PyTorch in float32: the reference that a bundle is measured against."""

    def __init__(self, model: VeraModel) -> None:
        from vera_mobile.model.language import KVCache

        self.config = model.config
        # a bundle is float32 at its edges, so its reference is float32 throughout
        self._model = model if _is_plain(model) else _float_copy(model)
        self._cache = KVCache(model.config.language)

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self.config.vision.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self.config.language.max_length

    def load(self) -> None:
        """Nothing to do: the checkpoint is in memory."""

    @torch.inference_mode()
    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        tokens = self._model.encode_image(torch.from_numpy(checked_pixels(pixels, self.config)))
        return tokens.numpy()

    @torch.inference_mode()
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return self._model.decoder.embed(torch.from_numpy(checked_ids(ids, self.config))).numpy()

    @torch.inference_mode()
    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = torch.from_numpy(checked_embeds(embeds, start, self.config))
        decoder = self._model.decoder
        hidden = decoder.step(checked, torch.tensor([start]), self._cache)[0, -1]
        return decoder.logits(hidden).numpy(), hidden.numpy()

    @torch.inference_mode()
    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._model.retouch_head(torch.from_numpy(checked_hidden(hidden, self.config)))[
            0
        ].numpy()

    @torch.inference_mode()
    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        pair = (
            torch.from_numpy(checked_reference(photo, self.config)) for photo in (before, after)
        )
        return self._model.reference_encoder(*pair)[0].numpy()

    @torch.inference_mode()
    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        colours, look = (
            checked_points(points),
            torch.from_numpy(checked_latents(latents, self.config)),
        )
        out = np.empty_like(colours)
        for begin in range(0, len(colours), BAKE_POINTS):
            part = torch.from_numpy(colours[begin : begin + BAKE_POINTS])
            out[begin : begin + BAKE_POINTS] = self._model.renderer(part[None], look)[0].numpy()
        return out


class ExecuTorchPlanner:
    """A bundle through ExecuTorch. Programs load at first use, mapped from their files.

    Every call raises BundleError when its program is damaged or cannot run on this machine.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.config = ModelConfig.from_dict(bundle.manifest.model)
        limits = bundle.manifest.limits
        self._prefill = limits.get("prefill_tokens", PREFILL_TOKENS)
        self._bake_points = limits.get("bake_points", BAKE_POINTS)
        self._own_decoder = "embed" not in bundle.manifest.files
        self._methods: dict[str, Any] = {}
        self._programs: dict[str, Any] = {}
        self._has_renderer = RENDERER_FILE in bundle.manifest.files
        self._renderer: NativeRenderer | None = None

    @property
    def image_size(self) -> int:
        """Side of the photo that `encode_image` takes, in pixels."""
        return self.config.vision.image_size

    @property
    def max_length(self) -> int:
        """Positions that `step` may use, image tokens included."""
        return self.config.language.max_length

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        tokens = self._run("vision", checked_pixels(pixels, self.config))[0]
        if self._own_decoder:
            # nothing is packed at load, so a second photo maps it again in milliseconds; until then
            # its weights and images (145 MB at 0.5B) need not stay beside the decoder's
            self._release("vision")
        return tokens

    def embed(self, ids: np.ndarray) -> np.ndarray:
        checked = checked_ids(ids, self.config)
        parts = [
            self._run("embed", checked[:, begin : begin + self._prefill])[0]
            for begin in range(0, checked.shape[1], self._prefill)
        ]
        return np.concatenate(parts, axis=1)

    def step(
        self, embeds: np.ndarray, start: int, wanted: int = ANSWER_LOGITS
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = checked_embeds(embeds, start, self.config)
        count = checked.shape[1]
        for begin in range(0, count, self._prefill):
            part = np.ascontiguousarray(checked[:, begin : begin + self._prefill])
            inputs = [part, np.array([start + begin], np.int64)]
            if self._own_decoder:
                last = begin + self._prefill >= count
                inputs.append(np.array([wanted if last else NO_LOGITS], np.int64))
            logits, hidden = self._run("decoder", *inputs)
        return logits[0], hidden[0]

    def head(self, hidden: np.ndarray) -> np.ndarray:
        return self._run("head", checked_hidden(hidden, self.config))[0][0]

    def encode_reference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if REFERENCE not in self.bundle.manifest.files:
            raise InvalidArgument(
                f"Bundle {self.bundle.root} has no reference encoder: give one reference photo, "
                "use the checkpoint (no --bundle), or export with --with-reference."
            )
        pair = (checked_reference(photo, self.config) for photo in (before, after))
        return self._run(REFERENCE, *pair)[0][0]

    def bake(self, points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        colours, look = checked_points(points), checked_latents(latents, self.config)
        if self._has_renderer:
            return self._native_renderer().colours(colours, look[0])
        out = np.empty_like(colours)
        padded = np.zeros((self._bake_points, 3), np.float32)
        for begin in range(0, len(colours), self._bake_points):
            part = colours[begin : begin + self._bake_points]
            padded[: len(part)] = part
            out[begin : begin + len(part)] = self._run("bake", padded, look)[0][: len(part)]
        return out

    def load(self) -> None:
        for name in PROGRAMS:
            # with a renderer file there is no program that bakes
            if name not in self._methods and not (name == "bake" and self._has_renderer):
                self._load(name)
        if self._has_renderer:
            self._native_renderer()

    def _release(self, name: str) -> None:
        self._methods.pop(name, None)
        self._programs.pop(name, None)

    def unload(self) -> None:
        """Give the memory of all programs back; the next call loads anew."""
        self._renderer = None
        self._methods.clear()
        self._programs.clear()

    def _native_renderer(self) -> NativeRenderer:
        """The fused kernel of libvera on the bundle's weights: 5 times faster than the program."""
        if self._renderer is None:
            from vera_mobile.native.bake import NativeRenderer

            try:
                self._renderer = NativeRenderer.from_file(self.bundle.file(RENDERER_FILE))
            except FileError as error:
                raise BundleError(str(error)) from error
        return self._renderer

    def _run(self, name: str, *inputs: np.ndarray) -> list[np.ndarray]:
        method = self._methods.get(name) or self._load(name)
        try:
            # not `execute`: its copy of the logits goes through PyTorch's thread pool, which then
            # spins on the core that the decoder's own pool needs (5.5 -> 6.8 ms a token)
            outputs = method.call(
                [torch.from_numpy(value) for value in inputs], clone_outputs=False
            )
        except RuntimeError as error:
            shapes = [value.shape for value in inputs]
            raise BundleError(
                f"Program '{name}' failed on inputs {shapes} ({error}): run `vera verify` on the "
                "bundle."
            ) from error
        return [output.numpy().copy() for output in outputs]  # the next call writes over them

    def _load(self, name: str) -> Any:
        file, method_name = program_of(self.bundle, name)
        path = self.bundle.file(file)
        try:
            with quiet_stderr():
                if self._own_decoder:
                    load_torch_ops()
                if file not in self._programs:
                    self._programs[file] = load_program(path)
                method = self._programs[file].load_method(method_name)
        except (RuntimeError, KeyError) as error:
            lacking = missing_delegates(self.bundle).get(name)
            todo = (
                f"it needs the {lacking} delegate, which this ExecuTorch lacks; use a bundle of "
                "android-int4 here"
                if lacking
                else "export it again with this release"
            )
            raise BundleError(
                f"Program '{name}' of {self.bundle.root} cannot be loaded ({error}): {todo}."
            ) from error
        self._methods[name] = method
        return method


def missing_delegates(bundle: Bundle) -> dict[str, str]:
    """The programs that cannot run here, and the delegate that each needs: by what the manifest
    says of their operators."""
    missing: dict[str, str] = {}
    for name, entry in bundle.manifest.files.items():
        for operator in entry.operators if entry.kind == "executorch" else ():
            needed = DELEGATE_IDENTIFIERS.get(operator.backend)
            with quiet_stderr():
                lacks = needed is not None and not has_backend(needed)
            if lacks:
                missing[name] = operator.backend
    return missing


def program_of(bundle: Bundle, name: str) -> tuple[str, str]:
    """The file (its name in the manifest) and the method that hold the program `name`."""
    if name == "embed" and name not in bundle.manifest.files:
        return "decoder", "embed"
    return name, "forward"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """What native libraries print to stderr within the block is dropped.

    They write to the descriptor, past sys.stderr and logging. Affects all threads: keep it short
    and report progress outside of it. An exception passes unchanged.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
            sys.stderr.flush()
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _is_plain(model: VeraModel) -> bool:
    return not model.training and all(p.dtype == torch.float32 for p in model.parameters())


def _float_copy(model: VeraModel) -> VeraModel:
    import copy

    return copy.deepcopy(model).float().eval()
