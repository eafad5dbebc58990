"""What the decoder is calibrated with: the checkpoint's own answers to photos and prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.export.forms import EmbedForm, VisionForm
from vera_mobile.export.forms import _head_order as head_order
from vera_mobile.export.photos_parity import KINDS, Case, case_of
from vera_mobile.export.replay import embeddings, record
from vera_mobile.image import Photo
from vera_mobile.model.config import LanguageConfig
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.quant.gptq import Rounded
from vera_mobile.runtime import TorchPlanner


def calibration_cases(pictures: Sequence[np.ndarray]) -> list[Case]:
    """Every photo once for each task; faults, wishes and sliders follow the place in the list.

    pictures: (H, W, 3) uint8 sRGB.
    """
    return [
        case_of(f"photo {i}", picture, len(KINDS) * i + k)
        for i, picture in enumerate(pictures)
        for k in range(len(KINDS))
    ]


def decoder_inputs(
    model: VeraModel,
    vocabulary: Vocabulary,
    cases: Sequence[Case],
    *,
    on_case: Callable[[int], None] = lambda done: None,
) -> list[tuple[Tensor, Tensor]]:
    """Arguments of `DecoderForm` for `quantize_calibrated_`: for each case the embeddings
    (1, n, H) float32 of prompt and answer, and the start (1,) int64, 0.

    Cost: a greedy answer in fp32 per case.
    """
    planner = TorchPlanner(model)
    modules: dict[str, nn.Module] = {
        "vision": VisionForm(model).eval(),
        "embed": EmbedForm(model.decoder).eval(),
    }
    start = torch.zeros(1, dtype=torch.int64)
    inputs = []
    for done, case in enumerate(cases, 1):
        script = record(planner, vocabulary, Photo.from_array(case.picture), case.task)
        inputs.append((embeddings(modules, script).float(), start))
        on_case(done)
    return inputs


def model_order(name: str, rounded: Rounded, config: LanguageConfig) -> Rounded:
    """Weights of a layer of `DecoderForm` as the checkpoint orders them.

    The form reorders query heads: rows of "qkv" and columns of "o_proj" (by whole heads, so that
    groups stay whole). Other layers come back as they are.
    """
    order = head_order(config)
    codes, scales = rounded.codes.clone(), rounded.scales.clone()
    if name.endswith("qkv"):
        codes[order], scales[order] = (v[: len(order)] for v in (rounded.codes, rounded.scales))
    elif name.endswith("o_proj"):
        codes[:, order] = rounded.codes
        group = codes.shape[1] // scales.shape[1]
        scales[:, order[::group] // group] = rounded.scales
    return Rounded(codes, scales)
