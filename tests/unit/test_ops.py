"""vera::render in PyTorch, in torch.export and in the ExecuTorch runtime: the bytes of native."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vera_mobile import native
from vera_mobile.export import ops


class Render(torch.nn.Module):
    def forward(self, image: torch.Tensor, curves: torch.Tensor, lut: torch.Tensor) -> torch.Tensor:
        return torch.ops.vera.render(image, curves, lut, 0.8)


@pytest.fixture(autouse=True)
def _registered() -> None:
    ops.register()
    ops.register()


def make_inputs(
    dtype: torch.dtype, channels: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.integers(0, 256, (13, 37, channels))).to(dtype)
    if dtype == torch.float32:
        image /= 255.0
    curves = torch.linspace(0.0, 1.0, 17).sqrt().repeat(3, 1)
    lut = torch.from_numpy(rng.random((5, 5, 5, 3), dtype=np.float32))
    return image, curves, lut


def native_bytes(inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> np.ndarray:
    image, curves, lut = (tensor.numpy() for tensor in inputs)
    return native.render(image, curves, lut, strength=0.8)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_torch_op_matches_native(dtype: torch.dtype, channels: int) -> None:
    inputs = make_inputs(dtype, channels)
    expected = native_bytes(inputs)
    np.testing.assert_array_equal(Render()(*inputs).numpy(), expected)
    out = torch.empty_like(inputs[0])
    torch.ops.vera.render.out(*inputs, 0.8, out=out)
    np.testing.assert_array_equal(out.numpy(), expected)
    image, curves, lut = inputs
    crop = torch.ops.vera.render(image[2:9, 3:20], curves, lut, 0.8)
    np.testing.assert_array_equal(crop.numpy(), expected[2:9, 3:20])


def test_torch_op_passes_opcheck() -> None:
    inputs = make_inputs(torch.uint8)
    torch.library.opcheck(torch.ops.vera.render.default, (*inputs, 0.8))


def test_torch_op_refuses_bad_arguments() -> None:
    image, curves, lut = make_inputs(torch.uint8)
    nan_lut = lut.clone()
    nan_lut[0, 0, 0, 0] = float("nan")
    cases = [
        ("image has shape", (image[..., :2], curves, lut, 1.0)),
        ("image is", (image.to(torch.int32), curves, lut, 1.0)),
        ("curves are", (image, curves[:2], lut, 1.0)),
        ("lut is", (image, curves, lut.double(), 1.0)),
        ("strength", (image, curves, lut, 1.6)),
        ("not finite", (image, curves, nan_lut, 1.0)),
    ]
    for message, arguments in cases:
        with pytest.raises(ValueError, match=message):
            torch.ops.vera.render(*arguments)


def lerp_samples(curve: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    t = x * (len(curve) - 1)
    i = t.detach().long().clamp(max=len(curve) - 2)
    values = curve.clamp(0, 1)
    return values[i] + (t - i) * (values[i + 1] - values[i])


def render_in_torch(
    image: torch.Tensor, curves: torch.Tensor, lut: torch.Tensor, strength: float
) -> torch.Tensor:
    """The render of vera.h in plain differentiable float64 steps."""
    rgb = image[..., :3].clamp(0, 1)
    position = torch.stack([lerp_samples(curves[c], rgb[..., c]) for c in range(3)], -1)
    position = position * (len(lut) - 1)
    corner = position.detach().long().clamp(max=len(lut) - 2)
    fraction = position - corner
    ranked, order = fraction.sort(dim=-1, descending=True, stable=True)
    edges = torch.cat([torch.ones_like(ranked[..., :1]), ranked, ranked[..., :1] * 0], -1)
    edited = torch.zeros_like(rgb)
    for step in range(4):
        node = lut[corner[..., 2], corner[..., 1], corner[..., 0]]
        edited = edited + (edges[..., step] - edges[..., step + 1])[..., None] * node
        if step < 3:
            corner = corner + torch.nn.functional.one_hot(order[..., step], 3)
    mixed = (rgb + strength * (edited - rgb)).clamp(0, 1)
    return torch.cat([mixed, image[..., 3:]], -1)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("strength", "lut_size"), [(1.0, 9), (0.6, 2), (1.4, 5), (1.0, 66)])
def test_gradients_match_autograd_in_float64(strength: float, lut_size: int, channels: int) -> None:
    rng = torch.Generator().manual_seed(5)
    image = torch.rand(23, 41, channels, generator=rng) * 1.2 - 0.1
    curves = torch.rand(3, 17, generator=rng) * 1.2 - 0.1
    lut = torch.rand(lut_size, lut_size, lut_size, 3, generator=rng) * 1.2 - 0.1
    grad = torch.randn(image.shape, generator=rng)
    ours = tuple(t.clone().requires_grad_() for t in (image, curves, lut))
    theirs = tuple(t.double().requires_grad_() for t in (image, curves, lut))
    result = torch.ops.vera.render(*ours, strength)
    expected = render_in_torch(theirs[0], theirs[1], theirs[2], strength)
    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=0.0)
    result.backward(grad)
    expected.backward(grad.double())
    for mine, truth in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert truth.grad is not None
        assert truth.grad.abs().max() > 0
        # Both are float64 inside and end in float32: 2^-24 of the value. Measured 6e-8.
        scale = float(truth.grad.abs().max())
        torch.testing.assert_close(mine.grad.double(), truth.grad, atol=1e-6 * scale, rtol=0.0)


def test_gradients_do_not_depend_on_threads() -> None:
    image, curves, lut = make_inputs(torch.float32)
    grad = torch.ones_like(image)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(torch.ops.vera.render_backward(grad, image, curves, lut, 0.8))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_fitting_a_lut_by_gradient_descent_lowers_the_error() -> None:
    image, curves, lut = make_inputs(torch.float32)
    wanted = torch.ops.vera.render(image, curves, lut, 1.0)
    fitted = torch.full_like(lut, 0.5).requires_grad_()
    optimizer = torch.optim.Adam([fitted], lr=0.05)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (torch.ops.vera.render(image, curves, fitted, 1.0) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.05 * losses[0]


def test_differentiable_op_passes_opcheck() -> None:
    inputs = [t.requires_grad_() for t in make_inputs(torch.float32)]
    torch.library.opcheck(torch.ops.vera.render.default, (*inputs, 0.8))


def test_integer_images_have_no_gradients() -> None:
    image, curves, lut = make_inputs(torch.uint8)
    assert not torch.ops.vera.render(image, curves, lut.requires_grad_(), 0.8).requires_grad
    with pytest.raises(ValueError, match="integer images have no gradients"):
        torch.ops.vera.render_backward(image, image, curves, lut, 0.8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_executorch_matches_native(dtype: torch.dtype) -> None:
    from executorch.exir import to_edge
    from executorch.runtime import Runtime

    inputs = make_inputs(dtype)
    exported = torch.export.export(Render(), inputs)
    program = to_edge(exported).to_executorch()
    names = {op.name for op in program.executorch_program.execution_plan[0].operators}
    assert names == {"vera::render"}
    method = Runtime.get().load_program(program.buffer).load_method("forward")
    result = method.execute(list(inputs))[0]
    assert result.dtype == dtype
    np.testing.assert_array_equal(result.numpy(), native_bytes(inputs))


def test_executorch_with_dynamic_size_matches_native() -> None:
    from executorch.exir import to_edge
    from executorch.runtime import Runtime

    image, curves, lut = make_inputs(torch.uint8)
    height, width = torch.export.Dim("height", max=64), torch.export.Dim("width", max=64)
    exported = torch.export.export(
        Render(), (image, curves, lut), dynamic_shapes=({0: height, 1: width}, None, None)
    )
    program = to_edge(exported).to_executorch()
    method = Runtime.get().load_program(program.buffer).load_method("forward")
    for crop in (image, image[:5, :7].contiguous()):
        result = method.execute([crop, curves, lut])[0]
        np.testing.assert_array_equal(result.numpy(), native_bytes((crop, curves, lut)))
