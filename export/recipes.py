"""Settings of an export, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import ModelConfig
from vera_mobile.quant.schemes import scheme

SMALL_VOCABULARY = 8192
LARGE_ENCODER = 512  # channels of its last stage: 11 M weights
# coreml: packages; coreml-pte, vulkan and the makers' NPUs: delegates of ExecuTorch programs
BACKENDS = ("xnnpack", "coreml", "onnx", "vulkan", "coreml-pte", "qnn", "mediatek", "exynos")


@dataclass(frozen=True)
class Recipe:
    """One scheme per part (see vera_mobile.quant.schemes), the backend, and what parity must hold.

    description: what it is and when to choose it; runs_on: which unit runs what; tolerances:
    token_agreement_min (share of equal next tokens), psnr_db_min and ciede2000_mean_max (baked
    lattice against the checkpoint's), and <stage>_sqnr_db_min. own_decoder: the decoder runs in the
    kernel of libvera (embedding and logits then share one table, which has the `embedding` scheme)
    instead of the backend's operators. own_vision: so does the vision tower; vision_block_bits: 8,
    6 or 4, see vera_mobile.export.vision_form.block_bits. reference: the bundle holds the reference
    encoder, with the scheme of `vision`. gptq: the own decoder's 4 bits are rounded by GPTQ, where
    the model is small (see `small`).
    """

    name: str
    description: str
    runs_on: str
    vision: str
    language: str
    logits: str
    embedding: str
    head: str
    renderer: str
    backend: str
    tolerances: Mapping[str, float]
    own_decoder: bool = False
    own_vision: bool = False
    vision_block_bits: int = 8
    reference: bool = True
    gptq: bool = False

    def __post_init__(self) -> None:
        for part in ("vision", "language", "logits", "embedding", "head", "renderer"):
            scheme(getattr(self, part))
        if self.backend not in BACKENDS:
            raise InvalidArgument(
                f"Backend '{self.backend}' is unknown: use one of {', '.join(BACKENDS)}."
            )

    @property
    def needs_calibration(self) -> bool:
        """True when ranges or rounding come from photos."""
        return scheme(self.vision).activations == "static" or self.gptq


_QUANTIZED_TOLERANCES: Mapping[str, float] = MappingProxyType(
    {
        "token_agreement_min": 0.9,
        "psnr_db_min": 38.0,
        "ciede2000_mean_max": 1.0,
        # the worst pair; a static range for all pairs costs most where an edit is strong
        "reference_psnr_db_min": 38.0,
    }
)

_INT8_TOLERANCES: Mapping[str, float] = MappingProxyType(
    {
        "token_agreement_min": 0.95,
        "psnr_db_min": 45.0,
        "ciede2000_mean_max": 0.5,
        "reference_psnr_db_min": 38.0,
    }
)


def _recipe(
    name: str,
    description: str,
    runs_on: str,
    backend: str,
    schemes: tuple[str, str, str, str, str, str],
    tolerances: Mapping[str, float],
    *,
    own_decoder: bool = False,
    own_vision: bool = False,
    vision_block_bits: int = 8,
) -> Recipe:
    """schemes: vision, language, logits, embedding, head, renderer."""
    return Recipe(
        name, description, runs_on, *schemes, backend, tolerances, own_decoder, own_vision,
        vision_block_bits, gptq=own_decoder and scheme(schemes[1]).weight_bits == 4,
    )  # fmt: skip


_UNTRIED = "Lowered here, never run on a device: measure it there before you ship it."
_NEEDS_SDK = "Needs the maker's SDK, and was never lowered here. "
_INT8DYN = "int8w_int8dyn"
_STATIC = "int8w_int8static"
_INT4DYN = "int4w_g32_int8dyn"

RECIPES = {
    made.name: made
    for made in (
        _recipe(
            "host-fp32",
            "Everything in 32-bit float: the reference on ExecuTorch. For tests, not for phones.",
            "CPU (XNNPACK)",
            "xnnpack",
            ("fp32",) * 6,
            MappingProxyType(
                {
                    "token_agreement_min": 1.0,
                    "psnr_db_min": 80.0,
                    "ciede2000_mean_max": 0.01,
                    "reference_psnr_db_min": 80.0,
                }
            ),
        ),
        _recipe(
            "android-int4",
            "Language 4 bits in groups of 32, most of vision 6 bits, everything else 8 bits. The "
            "smallest and fastest: choose it first.",
            "CPU: vision and decoder in libvera's kernels, head and bake in XNNPACK",
            "xnnpack",
            (_STATIC, _INT4DYN, _INT4DYN, "int4w_g32", _INT8DYN, _INT8DYN),
            _QUANTIZED_TOLERANCES,
            own_decoder=True,
            own_vision=True,
            vision_block_bits=6,
        ),
        _recipe(
            "android-int8",
            "Everything 8 bits: nearer to the checkpoint than android-int4, nearly twice the size.",
            "CPU: vision and decoder in libvera's kernels, head and bake in XNNPACK",
            "xnnpack",
            (_STATIC, _INT8DYN, _INT8DYN, "int8w", _INT8DYN, _INT8DYN),
            _INT8_TOLERANCES,
            own_decoder=True,
            own_vision=True,
        ),
        _recipe(
            "android-int4-xnnpack",
            "As android-int4 with the decoder in XNNPACK too: for apps whose ExecuTorch runtime "
            "takes no operators of others. Slower, and exported in minutes.",
            "CPU (XNNPACK)",
            "xnnpack",
            (_STATIC, _INT4DYN, _INT8DYN, "int8w", _INT8DYN, _INT8DYN),
            _QUANTIZED_TOLERANCES,
        ),
        _recipe(
            "ios-int4",
            "Language 4 bits in groups of 32, everything else 8 bits per channel. Choose it first.",
            "Core ML, GPU: decoder with the cache as state; vision on the Neural Engine or GPU",
            "coreml",
            ("int8w", "int4w_g32", "int8w", "int8w", "int8w", "int8w"),
            _QUANTIZED_TOLERANCES,
        ),
        _recipe(
            "ios-int8",
            "Everything 8 bits per channel: nearer to the checkpoint than ios-int4, larger.",
            "Core ML, GPU: decoder with the cache as state; vision on the Neural Engine or GPU",
            "coreml",
            ("int8w",) * 6,
            _QUANTIZED_TOLERANCES,
        ),
        _recipe(
            "ios-ane",
            "Palettes of 8 bits, language 6 bits, fixed shapes, cache as input and output: for the "
            "Neural Engine alone. Check it on a phone before you ship it.",
            "Core ML, Neural Engine",
            "coreml",
            ("palette8", "palette6", "palette8", "int8w", "palette8", "fp16"),
            _QUANTIZED_TOLERANCES,
        ),
        _recipe(
            "npu-onnx-int8",
            "Static 8 bits with fixed shapes: for the toolchains of NPU makers, which read ONNX.",
            "whatever compiles ONNX (QNN, SNPE, Vitis AI, OpenVINO); here ONNX Runtime",
            "onnx",
            (_STATIC, _STATIC, _STATIC, "int8w", _STATIC, _STATIC),
            _INT8_TOLERANCES,
        ),
        _recipe(
            "android-vulkan",
            "As android-int4 with vision and head in half floats on the GPU: for phones whose GPU "
            "is faster than their CPU. " + _UNTRIED,
            "GPU (Vulkan): vision, head, reference encoder; CPU: decoder and bake in libvera",
            "vulkan",
            ("fp16", _INT4DYN, _INT4DYN, "int4w_g32", "fp16", _INT8DYN),
            _QUANTIZED_TOLERANCES,
            own_decoder=True,
        ),
        _recipe(
            "ios-coreml-pte",
            "ExecuTorch on an iPhone: vision and head for Core ML inside the .pte, decoder as in "
            "android-int4. For apps that hold ExecuTorch already; else ios-int4. " + _UNTRIED,
            "Core ML delegate: vision, head, reference encoder; CPU: decoder and bake in libvera",
            "coreml-pte",
            ("fp16", _INT4DYN, _INT4DYN, "int4w_g32", "fp16", _INT8DYN),
            _QUANTIZED_TOLERANCES,
            own_decoder=True,
        ),
        *(
            _recipe(
                name,
                f"As android-int4 with the vision tower in static 8 bits on {unit}. {_NEEDS_SDK}",
                f"{unit}: vision, reference encoder; CPU: the rest, as in android-int4",
                backend,
                (_STATIC, _INT4DYN, _INT4DYN, "int4w_g32", _INT8DYN, _INT8DYN),
                _QUANTIZED_TOLERANCES,
                own_decoder=True,
            )
            for name, backend, unit in (
                ("android-qnn-int8", "qnn", "Qualcomm's Hexagon NPU"),
                ("android-mediatek-int8", "mediatek", "MediaTek's APU"),
                ("android-exynos-int8", "exynos", "Samsung's Exynos NPU"),
            )
        ),
    )
}


def small(config: ModelConfig) -> bool:
    """Whether the language model is small, as nano's: GPTQ takes seconds then, and a table of 8
    bits in place of 4 half a megabyte."""
    return config.language.vocab_size <= SMALL_VOCABULARY


def table_scheme(recipe: Recipe, config: ModelConfig) -> str:
    """The scheme of the own decoder's one table: 8 bits where the model is small.

    Nano, 40 test photos, the rest in 4 bits: tokens at the same place of a text written freely 74.9
    -> 85.4 %, next tokens 97.4 -> 98.7 %, latents 27.7 -> 31.4 dB, for 0.47 MB.
    """
    if small(config) and scheme(recipe.embedding).weight_bits < 8:
        return "int8w"
    return recipe.embedding


def holds_reference(used: Recipe, config: ModelConfig, wanted: bool | None) -> bool:
    """Whether a bundle holds the reference encoder: as wanted; where nothing is said, always but in
    android-int4 of the 0.5B shape, which 11 MB more would lift above its 400 MB."""
    if wanted is not None:
        return wanted
    return used.name != "android-int4" or config.encoder.widths[-1] < LARGE_ENCODER


def recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises InvalidArgument that lists the known ones."""
    if name not in RECIPES:
        raise InvalidArgument(f"Recipe '{name}' is unknown: use one of {', '.join(RECIPES)}.")
    return RECIPES[name]
