"""Other delegates of ExecuTorch than XNNPACK: what they need to lower, and the lowering itself.

Vulkan and Core ML lower with the wheel alone. The three makers of NPUs need their own compiler,
which no package index has: what is missing is said before any work. Nothing here has run on a
device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import export

from vera_mobile.errors import FileError
from vera_mobile.runtime import DELEGATE_IDENTIFIERS, REFERENCE

if TYPE_CHECKING:
    from vera_mobile.export.recipes import Recipe
    from vera_mobile.export.stages import Part

Samples = Sequence[tuple[np.ndarray, ...]]

QNN_SDK, QNN_CHIP, QNN_CHIP_DEFAULT = "QNN_SDK_ROOT", "VERA_QNN_CHIP", "SM8750"
MEDIATEK_CHIP, MEDIATEK_CHIP_DEFAULT = "VERA_MEDIATEK_CHIP", "mt6991"
EXYNOS_CHIP, EXYNOS_CHIP_DEFAULT = "VERA_EXYNOS_CHIP", "E9965"


@dataclass(frozen=True)
class Delegate:
    """parts: the programs that it takes, the others stay in XNNPACK and libvera; missing: says what
    the machine lacks to lower, "" for nothing; lower: a float part and its calibration samples ->
    an edge program."""

    parts: tuple[str, ...]
    missing: Callable[[], str]
    lower: Callable[[Part, Samples], Any]


def check_toolchain(recipe: Recipe) -> None:
    """FileError that names the missing SDK, where the recipe's delegate needs one."""
    chosen = DELEGATES.get(recipe.backend)
    lacks = chosen.missing() if chosen else ""
    if lacks:
        raise FileError(f"Recipe '{recipe.name}' cannot be exported here: {lacks}")


def delegate_name(identifier: str) -> str:
    """The name that recipes and manifests use for a backend of ExecuTorch."""
    names = {ours: name for name, ours in DELEGATE_IDENTIFIERS.items()}
    return names.get(identifier, "xnnpack" if identifier == "XnnpackBackend" else identifier)


def _nothing() -> str:
    return ""


def _lower_vulkan(part: Part, _: Samples) -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    # half floats for weights and sums of products; inputs and outputs stay float32
    return _edge(part, VulkanPartitioner({"force_fp16": True}))


def _lower_coreml(part: Part, _: Samples) -> Any:
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT16,
        minimum_deployment_target=ct.target.iOS18,
        compute_unit=ct.ComputeUnit.ALL,
    )
    return _edge(part, CoreMLPartitioner(compile_specs=specs))


def _edge(part: Part, partitioner: Any) -> Any:
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    return to_edge_transform_and_lower(
        export(part.module, part.inputs, strict=False),
        partitioner=[partitioner],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


def _qnn_missing() -> str:
    # executorch.backends.qualcomm downloads a gigabyte when it is imported without the variable:
    # so nothing of it is imported before
    root = os.environ.get(QNN_SDK, "")
    library = Path(root, "lib", "x86_64-linux-clang", "libQnnHtp.so")
    if root and library.is_file():
        return ""
    seen = f"is '{root}', which has no {library.name}" if root else "is not set"
    return (
        f"the Qualcomm AI Engine Direct SDK is missing ({QNN_SDK} {seen}). Install it, set "
        f"{QNN_SDK} to its folder and put its lib/x86_64-linux-clang on LD_LIBRARY_PATH; "
        f"{QNN_CHIP} names the chip ({QNN_CHIP_DEFAULT}). Without it use npu-onnx-int8, which "
        "Qualcomm's converters read."
    )


def _lower_qnn(part: Part, samples: Samples) -> Any:
    from executorch.backends.qualcomm.quantizer.quantizer import QnnQuantizer, QuantDtype
    from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
    from executorch.backends.qualcomm.utils.utils import (
        generate_htp_compiler_spec,
        generate_qnn_executorch_compiler_spec,
        to_edge_transform_and_lower_to_qnn,
    )

    chip = getattr(QcomChipset, os.environ.get(QNN_CHIP, QNN_CHIP_DEFAULT))
    quantizer = QnnQuantizer(soc_model=chip)
    quantizer.set_default_quant_config(
        QuantDtype.use_8a8w, is_conv_per_channel=True, is_linear_per_channel=True
    )
    specs = generate_qnn_executorch_compiler_spec(
        soc_model=chip, backend_options=generate_htp_compiler_spec(use_fp16=False)
    )
    quantized = _quantized(part, quantizer, samples)
    return to_edge_transform_and_lower_to_qnn(quantized, part.inputs, specs)


def _mediatek_missing() -> str:
    lacking = [name for name in ("mtk_converter", "mtk_neuron") if find_spec(name) is None]
    if not lacking:
        return ""
    return (
        f"the MediaTek NeuroPilot Express SDK is missing (no Python module {', '.join(lacking)}). "
        "Install the wheels mtk_converter and mtk_neuron that come in it; "
        f"{MEDIATEK_CHIP} names the chip ({MEDIATEK_CHIP_DEFAULT}). Without it use android-int8, "
        "or npu-onnx-int8 for MediaTek's own converter."
    )


def _lower_mediatek(part: Part, samples: Samples) -> Any:
    from executorch.backends.mediatek import NeuropilotPartitioner, NeuropilotQuantizer
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.exir.backend.backend_details import CompileSpec

    chip = os.environ.get(MEDIATEK_CHIP, MEDIATEK_CHIP_DEFAULT)
    quantized = _quantized(part, NeuropilotQuantizer(), samples)
    return to_edge_transform_and_lower(
        export(quantized, part.inputs, strict=False),
        partitioner=[NeuropilotPartitioner([CompileSpec("platform-config", chip.encode())])],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


def _exynos_missing() -> str:
    if find_spec("executorch.backends.samsung.python") is not None:
        return ""
    return (
        "the Exynos AI LiteCore SDK is missing (this ExecuTorch was built without "
        "executorch.backends.samsung.python). Set EXYNOS_AI_LITECORE_ROOT to the SDK's folder and "
        f"build ExecuTorch from source for Samsung; {EXYNOS_CHIP} names the chip "
        f"({EXYNOS_CHIP_DEFAULT}). Without it use android-int8."
    )


def _lower_exynos(part: Part, samples: Samples) -> Any:
    from executorch.backends.samsung.quantizer.quantizer import Precision
    from executorch.backends.samsung.serialization.compile_options import (
        gen_samsung_backend_compile_spec,
    )
    from executorch.backends.samsung.utils.export_utils import (
        quantize_module,
        to_edge_transform_and_lower_to_enn,
    )

    spec = gen_samsung_backend_compile_spec(os.environ.get(EXYNOS_CHIP, EXYNOS_CHIP_DEFAULT))
    tensors = [tuple(torch.from_numpy(value) for value in sample) for sample in samples]
    quantized = quantize_module(part.module, part.inputs, tensors, Precision.A8W8)
    return to_edge_transform_and_lower_to_enn(quantized, part.inputs, compile_specs=[spec])


def _quantized(part: Part, quantizer: Any, samples: Samples) -> torch.nn.Module:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(export(part.module, part.inputs, strict=False).module(), quantizer)
    for sample in samples:
        prepared(*(torch.from_numpy(value) for value in sample))
    converted: torch.nn.Module = convert_pt2e(prepared)
    return converted


# the head is one call of 9 M multiply-adds: on an NPU it would cost its ranges and win nothing
_GPU_PARTS, _NPU_PARTS = ("vision", "head", REFERENCE), ("vision", REFERENCE)
DELEGATES = {
    "vulkan": Delegate(_GPU_PARTS, _nothing, _lower_vulkan),
    "coreml-pte": Delegate(_GPU_PARTS, _nothing, _lower_coreml),
    "qnn": Delegate(_NPU_PARTS, _qnn_missing, _lower_qnn),
    "mediatek": Delegate(_NPU_PARTS, _mediatek_missing, _lower_mediatek),
    "exynos": Delegate(_NPU_PARTS, _exynos_missing, _lower_exynos),
}
