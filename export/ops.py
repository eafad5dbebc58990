"""vera:: operators for torch.export and ExecuTorch.

`vera::render(Tensor image, Tensor curves, Tensor lut, float strength) -> Tensor` and its out
variant come from libvera_ops; `register` loads them and adds what tracing needs: the shape rule.
"""

from __future__ import annotations

import functools

import torch

from vera_mobile.native import load_torch_ops


def _render_shape(
    image: torch.Tensor, curves: torch.Tensor, lut: torch.Tensor, strength: float
) -> torch.Tensor:
    torch._check(image.dim() == 3, lambda: f"vera::render: image {image.shape} is not (H, W, C)")
    torch._check(
        image.dtype in (torch.uint8, torch.uint16, torch.float32),
        lambda: f"vera::render: image is {image.dtype}: use uint8, uint16 or float32",
    )
    return torch.empty(image.shape, dtype=image.dtype, device=image.device)


def _render_out_shape(
    image: torch.Tensor,
    curves: torch.Tensor,
    lut: torch.Tensor,
    strength: float,
    *,
    out: torch.Tensor,
) -> torch.Tensor:
    return out


def _backward_shapes(
    grad: torch.Tensor,
    image: torch.Tensor,
    curves: torch.Tensor,
    lut: torch.Tensor,
    strength: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return image.new_empty(image.shape), curves.new_empty(curves.shape), lut.new_empty(lut.shape)


@functools.cache
def register() -> None:
    """Makes torch.ops.vera.render usable, traceable by torch.export and lowerable to ExecuTorch.

    Idempotent. image: (H, W, 3|4) uint8, uint16 or float32; curves: (3, K) float32;
    lut: (N, N, N, 3) float32 indexed [b][g][r]; ranges as in vera_mobile.native.render, with the
    same bytes as result. Differentiable for float32 images (see load_torch_ops). Raises FileError
    if libvera_ops is not built.
    """
    load_torch_ops()
    torch.library.register_fake("vera::render")(_render_shape)
    torch.library.register_fake("vera::render.out")(_render_out_shape)
    torch.library.register_fake("vera::render_backward")(_backward_shapes)
