"""Each operator of the evaluator against PyTorch or NumPy, in packages that coremltools wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mil_packages import close, computed, converted, f32, i32, u8, written

from vera_mobile.errors import BundleError, UnsupportedFormat
from vera_mobile.export.coreml.modules import Input
from vera_mobile.export.mil.session import Session

RANDOM = np.random.default_rng(0)
Body = Callable[..., Any]


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def mb() -> Any:
    from coremltools.converters.mil.mil import Builder

    return Builder


X = normal(2, 3, 4, 5)
POSITIVE = np.abs(X) + np.float32(0.1)
UNIT = np.tanh(X).astype(np.float32) * np.float32(0.9)

UNARY: list[tuple[str, np.ndarray, Callable[[torch.Tensor], torch.Tensor], dict[str, Any]]] = [
    ("abs", X, torch.abs, {}),
    ("acos", UNIT, torch.acos, {}),
    ("asin", UNIT, torch.asin, {}),
    ("atan", X, torch.atan, {}),
    ("atanh", UNIT, torch.atanh, {}),
    ("ceil", X, torch.ceil, {}),
    ("clip", X, lambda x: x.clamp(-0.5, 0.7), {"alpha": -0.5, "beta": 0.7}),
    ("clamped_relu", X, lambda x: F.leaky_relu(x, 0.2).clamp(max=0.5), {"alpha": 0.2, "beta": 0.5}),
    ("cos", X, torch.cos, {}),
    ("cosh", X, torch.cosh, {}),
    ("elu", X, lambda x: F.elu(x, 0.7), {"alpha": 0.7}),
    ("erf", X, torch.erf, {}),
    ("exp", X, torch.exp, {}),
    ("exp2", X, torch.exp2, {}),
    ("floor", X, torch.floor, {}),
    ("gelu", X, F.gelu, {"mode": "EXACT"}),
    ("gelu", X, lambda x: F.gelu(x, approximate="tanh"), {"mode": "TANH_APPROXIMATION"}),
    ("gelu", X, lambda x: x * torch.sigmoid(1.702 * x), {"mode": "SIGMOID_APPROXIMATION"}),
    ("inverse", POSITIVE, lambda x: 1 / (x + 0.5), {"epsilon": 0.5}),
    ("leaky_relu", X, lambda x: F.leaky_relu(x, 0.3), {"alpha": 0.3}),
    ("linear_activation", X, lambda x: 2 * x + 0.5, {"alpha": 2.0, "beta": 0.5}),
    ("log", POSITIVE, lambda x: torch.log(x + 0.25), {"epsilon": 0.25}),
    ("relu", X, F.relu, {}),
    ("relu6", X * 5, F.relu6, {}),
    ("round", X, torch.round, {}),
    ("rsqrt", POSITIVE, lambda x: torch.rsqrt(x + 0.25), {"epsilon": 0.25}),
    ("scaled_tanh", X, lambda x: 0.5 * torch.tanh(2 * x), {"alpha": 0.5, "beta": 2.0}),
    ("sigmoid", X, torch.sigmoid, {}),
    ("sigmoid_hard", X, lambda x: (0.3 * x + 0.4).clamp(0, 1), {"alpha": 0.3, "beta": 0.4}),
    ("sign", X, torch.sign, {}),
    ("silu", X, F.silu, {}),
    ("sin", X, torch.sin, {}),
    ("sinh", X, torch.sinh, {}),
    ("softplus", X, F.softplus, {}),
    ("softsign", X, F.softsign, {}),
    ("sqrt", POSITIVE, torch.sqrt, {}),
    ("square", X, torch.square, {}),
    ("tan", UNIT, torch.tan, {}),
    ("tanh", X, torch.tanh, {}),
    ("threshold", X, lambda x: x.clamp(min=0.2), {"alpha": 0.2}),
    ("thresholded_relu", X, lambda x: torch.where(x > 0.4, x, 0.0), {"alpha": 0.4}),
    ("softmax", X, lambda x: torch.softmax(x, 1), {"axis": 1}),
    ("cumsum", X, lambda x: torch.cumsum(x, 2), {"axis": 2}),
    ("reduce_mean", X, lambda x: x.mean((1, 3)), {"axes": [1, -1], "keep_dims": False}),
    ("reduce_sum", X, lambda x: x.sum((2,), keepdim=True), {"axes": [2], "keep_dims": True}),
    ("reduce_max", X, lambda x: x.amax((1, 2)), {"axes": [1, 2], "keep_dims": False}),
    ("reduce_min", X, lambda x: x.amin((3,)), {"axes": [3], "keep_dims": False}),
    ("reduce_prod", X, lambda x: x.prod(3), {"axes": [3], "keep_dims": False}),
    ("reduce_l1_norm", X, lambda x: x.abs().sum(1), {"axes": [1], "keep_dims": False}),
    ("reduce_l2_norm", X, lambda x: x.norm(dim=1), {"axes": [1], "keep_dims": False}),
    ("reduce_sum_square", X, lambda x: x.square().sum(1), {"axes": [1], "keep_dims": False}),
    ("reduce_log_sum", POSITIVE, lambda x: x.sum(1).log(), {"axes": [1], "keep_dims": False}),
    ("reduce_log_sum_exp", X, lambda x: x.logsumexp(1), {"axes": [1], "keep_dims": False}),
    ("reduce_argmax", X, lambda x: x.argmax(2), {"axis": 2, "keep_dims": False}),
    ("reduce_argmin", X, lambda x: x.argmin(2, keepdim=True), {"axis": 2, "keep_dims": True}),
    ("argsort", X, lambda x: x.argsort(1), {"axis": 1, "ascending": True}),
    ("transpose", X, lambda x: x.permute(3, 1, 0, 2), {"perm": [3, 1, 0, 2]}),
    ("reshape", X, lambda x: x.reshape(6, -1), {"shape": [6, -1]}),
    ("expand_dims", X, lambda x: x[:, None, ..., None], {"axes": [1, -1]}),
    ("squeeze", X[:, :1], lambda x: x[:, 0], {"axes": [1]}),
    ("reverse", X, lambda x: x.flip(1, 3), {"axes": [1, 3]}),
    ("tile", X, lambda x: x.repeat(1, 2, 1, 3), {"reps": [1, 2, 1, 3]}),
    ("band_part", X, lambda x: x.triu(-1).tril(2), {"lower": 1, "upper": 2}),
    ("shape", X, lambda x: torch.tensor(x.shape), {}),
    (
        "slice_by_index", X, lambda x: x.flip(2)[1:2, :, 0:3:2, -2],
        {
            "begin": [1, 0, 3, -2], "end": [2, 0, 0, 0], "stride": [1, 1, -2, 1],
            "end_mask": [False, True, False, False], "squeeze_mask": [False, False, False, True],
        },
    ),
    ("slice_by_size", X, lambda x: x[:, 1:3, 1:, :4],
     {"begin": [0, 1, 1, 0], "size": [-1, 2, -1, 4]}),
    ("pad", X, lambda x: F.pad(x, (2, 1, 0, 3), value=1.5),
     {"pad": [0, 3, 2, 1], "mode": "constant", "constant_val": 1.5}),
    ("pad", X, lambda x: F.pad(x, (2, 1, 1, 3), mode="reflect"),
     {"pad": [1, 3, 2, 1], "mode": "reflect"}),
    ("pad", X, lambda x: F.pad(x, (2, 1, 1, 3), mode="replicate"),
     {"pad": [1, 3, 2, 1], "mode": "replicate"}),
    ("max_pool", X, lambda x: F.max_pool2d(x, 3, 2, 1),
     {"kernel_sizes": [3, 3], "strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1]}),
    ("avg_pool", X, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
     {"kernel_sizes": [3, 3], "strides": [1, 1], "pad_type": "custom", "pad": [1, 1, 1, 1],
      "exclude_padding_from_average": True}),
    ("avg_pool", X, lambda x: F.avg_pool2d(x, 2),
     {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid"}),
    ("upsample_nearest_neighbor", X, lambda x: F.interpolate(x, scale_factor=(2, 3)),
     {"scale_factor_height": 2, "scale_factor_width": 3}),
    ("upsample_bilinear", X,
     lambda x: F.interpolate(x, scale_factor=(2.0, 2.0), mode="bilinear", align_corners=True),
     {"scale_factor_height": 2.0, "scale_factor_width": 2.0, "align_corners": True}),
    ("pixel_shuffle", normal(1, 8, 2, 3), lambda x: F.pixel_shuffle(x, 2), {"upscale_factor": 2}),
]  # fmt: skip


def test_operators_of_one_value(tmp_path: Path) -> None:
    """All in one package: writing one takes longer than computing it."""
    names = [f"in_{index}" for index in range(len(UNARY))]
    given = {name: case[1] for name, case in zip(names, UNARY, strict=True)}

    def body(**values: Any) -> list[Any]:
        cases = zip(names, UNARY, strict=True)
        return [getattr(mb(), case[0])(x=values[name], **case[3]) for name, case in cases]

    outputs = computed(tmp_path, given, body)
    for (kind, array, reference, settings), output in zip(UNARY, outputs, strict=True):
        expected = reference(torch.from_numpy(array)).numpy()
        assert output.shape == expected.shape, (kind, settings)
        close(output, expected, f"{kind} {settings}")


BINARY: list[tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = [
    ("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("real_div", torch.div),
    ("maximum", torch.maximum), ("minimum", torch.minimum), ("mod", torch.remainder),
    ("floor_div", lambda x, y: torch.floor(x / y)),
]  # fmt: skip
COMPARISONS: list[tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = [
    ("equal", torch.eq), ("not_equal", torch.ne), ("less", torch.lt), ("less_equal", torch.le),
    ("greater", torch.gt), ("greater_equal", torch.ge),
]  # fmt: skip


def test_operators_of_two_values(tmp_path: Path) -> None:
    x, y = normal(2, 3, 4), normal(3, 1)
    y[0] = x[0, 0, 0]  # so that equal and not equal both occur

    def body(x: Any, y: Any) -> list[Any]:
        plain = [getattr(mb(), kind)(x=x, y=y) for kind, _ in BINARY]
        marks = [getattr(mb(), kind)(x=x, y=y) for kind, _ in COMPARISONS]
        both = mb().logical_and(x=marks[2], y=mb().logical_not(x=marks[3]))
        either = mb().logical_xor(x=mb().logical_or(x=marks[2], y=marks[4]), y=both)
        picked = mb().select(cond=marks[4], a=mb().mul(x=x, y=1.0), b=mb().mul(x=x, y=2.0))
        numbers = [mb().cast(x=one, dtype="fp32") for one in (*marks, either)]
        power = mb().pow(x=mb().abs(x=x), y=y)
        return [*plain, *numbers, picked, power]

    outputs = iter(computed(tmp_path, {"x": x, "y": y}, body))
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    for kind, reference in (*BINARY, *COMPARISONS):
        expected = reference(a, b).float().numpy()
        close(next(outputs), expected, kind)
    np.testing.assert_array_equal(next(outputs), (a != b).float().numpy())
    close(next(outputs), torch.where(a > b, a, 2 * a).numpy())
    close(next(outputs), (a.abs() ** b).numpy())


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.depthwise = torch.nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False)
        self.wide = torch.nn.Conv2d(6, 12, (1, 3), dilation=(1, 2), groups=2)
        self.back = torch.nn.ConvTranspose2d(12, 4, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(self.wide(self.depthwise(self.plain(x))))


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(8)
        self.qkv = torch.nn.Linear(8, 24)
        self.batch_norm = torch.nn.BatchNorm1d(6)
        self.batch_norm.running_mean = torch.linspace(-1, 1, 6)
        self.batch_norm.running_var = torch.linspace(0.5, 2, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(self.norm(x)).split([8, 8, 8], -1)
        mixed = torch.softmax(query @ key.transpose(1, 2) * 8**-0.5, -1) @ value
        fused = F.scaled_dot_product_attention(query, key, value)
        return self.batch_norm(torch.stack((mixed, fused), 1)[:, 0] + mixed[:, torch.tensor([0])])


@pytest.mark.parametrize(
    ("module", "shape"), [(Convolutions, (1, 4, 12, 16)), (Attention, (2, 6, 8))]
)
def test_modules_as_the_converter_writes_them(
    tmp_path: Path, module: type[torch.nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    made, x = module().eval(), torch.randn(shape)
    session = Session(converted(tmp_path, made, [Input("x", x)]))
    with torch.no_grad():
        expected = made(x).numpy()
    close(session.run({"x": x.numpy()})["out"], expected)


def test_same_padding_is_that_of_the_reference(tmp_path: Path) -> None:
    """An even window: one more at the end ("same"), or at the begin ("same_lower")."""
    x, weight = normal(1, 1, 1, 5), f32([[[[1, 10]]]])

    def body(x: Any) -> list[Any]:
        kinds = ("same", "same_lower")
        return [mb().conv(x=x, weight=weight, pad_type=kind, strides=[1, 1]) for kind in kinds]

    same, lower = (one.ravel() for one in computed(tmp_path, {"x": x}, body))
    padded = np.concatenate(([0], x.ravel(), [0]))
    close(same, (padded[:-1] + 10 * padded[1:])[1:])
    close(lower, (padded[:-1] + 10 * padded[1:])[:-1])


def test_gather_and_scatter(tmp_path: Path) -> None:
    x, rows = normal(3, 4, 2), i32([[2, -1], [0, 2]])
    along = i32([[[0, 3], [1, -1]]]).repeat(3, 0)
    places, updates = i32([[0, 1], [2, 3]]), normal(2, 2)

    def body(x: Any, rows: Any, along: Any, places: Any, updates: Any) -> list[Any]:
        b = mb()
        return [
            b.gather(x=x, indices=rows, axis=0),
            b.gather(x=x, indices=i32([[1, -1], [0, 0], [3, 2]]), axis=1, batch_dims=1),
            b.gather_along_axis(x=x, indices=along, axis=1),
            b.gather_nd(x=x, indices=places),
            b.scatter(
                data=x, indices=i32([1, 3]), updates=x_rows(b, x), axis=1, mode="update"
            ),
            b.scatter(data=x, indices=i32([1, 1]), updates=x_rows(b, x), axis=1, mode="add"),
            b.scatter_along_axis(data=x, indices=along, updates=along_values, axis=1, mode="add"),
            b.scatter_nd(data=x, indices=places, updates=updates, mode="sub"),
            b.slice_update(x=x, update=updates, begin=[1, 1, 0], end=[2, 3, 2],
                           squeeze_mask=[True, False, False]),
        ]  # fmt: skip

    def x_rows(b: Any, x: Any) -> Any:
        return b.slice_by_index(x=x, begin=[0, 0, 0], end=[3, 2, 2])

    along_values = normal(3, 2, 2)
    given = {"x": x, "rows": rows, "along": along, "places": places, "updates": updates}
    outputs = computed(tmp_path, given, body)
    written_rows, added = x.copy(), x.copy()
    written_rows[:, [1, 3]] = x[:, :2]
    added[:, 1] += x[:, 0] + x[:, 1]
    summed, taken, sliced = x.copy(), x.copy(), x.copy()
    np.add.at(
        summed, (np.arange(3)[:, None, None], along % 4, np.arange(2)[None, None]), along_values
    )
    taken[[0, 2], [1, 3]] -= updates
    sliced[1, 1:3] = updates
    expected = [
        x[rows],
        np.stack([x[0][[1, -1]], x[1][[0, 0]], x[2][[3, 2]]]),
        np.take_along_axis(x, along.astype(np.int64) % 4, 1),
        x[[0, 2], [1, 3]],
        written_rows, added, summed, taken, sliced,
    ]  # fmt: skip
    for output, wanted in zip(outputs, expected, strict=True):
        close(output, wanted)


def test_joins_splits_and_ranges(tmp_path: Path) -> None:
    x, start, third_order = normal(2, 6), i32([2]), normal(6, 2, 3)

    def body(x: Any, start: Any) -> list[Any]:
        b = mb()
        first, second, third = b.split(x=x, split_sizes=[1, 2, 3], axis=1)
        halves = b.split(x=x, num_splits=2, axis=-1)
        end = b.add(x=b.squeeze(x=start), y=np.int32(7))
        values, order = b.topk(x=x, k=3, axis=1, ascending=False)
        return [
            b.concat(values=[third, first, second], axis=1),
            b.concat(values=halves, axis=1, interleave=True),
            b.stack(values=halves, axis=1),
            b.cast(x=b.range_1d(start=b.squeeze(x=start), end=end, step=np.int32(3)), dtype="fp32"),
            b.fill(shape=i32([2, 2]), value=np.float32(1.5)),
            b.one_hot(indices=start, one_hot_vector_size=4, on_value=2.0, off_value=-1.0),
            values, b.cast(x=order, dtype="fp32"),
            b.einsum(values=[b.expand_dims(x=x, axes=[0]), third_order], equation="abc,cbd->abd"),
            b.cast(x=b.cast(x=b.mul(x=x, y=3.0), dtype="int32"), dtype="fp32"),
        ]  # fmt: skip

    outputs = computed(tmp_path, {"x": x, "start": start}, body)
    order = np.argsort(-x, 1)[:, :3]
    expected = [
        np.concatenate((x[:, 3:], x[:, :1], x[:, 1:3]), 1),
        x.reshape(2, 2, 3).transpose(0, 2, 1).reshape(2, 6),
        x.reshape(2, 2, 3),
        f32([2, 5, 8]),
        np.full((2, 2), 1.5),
        f32([[-1, -1, 2, -1]]),
        np.take_along_axis(x, order, 1), order,
        np.einsum("bc,cbd->bd", x, third_order)[None],
        np.trunc(3 * x),
    ]  # fmt: skip
    for output, wanted in zip(outputs, expected, strict=True):
        close(output, wanted)


def test_integers_of_8_bits_are_scaled_as_declared(tmp_path: Path) -> None:
    x = f32([[-3.0, 0.2, 1.26], [0.0, 100.0, -100.0]])

    def body(x: Any) -> list[Any]:
        small = mb().quantize(input=x, scale=np.float32(0.5), output_dtype="int8")
        rows = mb().quantize(
            input=x, scale=f32([0.1, 1.0]), zero_point=u8([10, 128]),
            axis=0, output_dtype="uint8",
        )  # fmt: skip
        return [
            mb().dequantize(input=small, scale=np.float32(0.5)),
            mb().dequantize(input=rows, scale=f32([0.1, 1.0]), zero_point=u8([10, 128]), axis=0),
        ]

    small, rows = computed(tmp_path, {"x": x}, body)
    close(small, f32([[-3.0, 0.0, 1.5], [0.0, 63.5, -64.0]]))
    close(rows, f32([[-1.0, 0.2, 1.3], [0.0, 100.0, -100.0]]))


def test_an_unknown_operator_is_named_with_its_place(tmp_path: Path) -> None:
    x = normal(1, 2, 4, 4)
    package = written(tmp_path, {"x": x}, lambda x: mb().local_response_norm(x=x, size=3))
    with pytest.raises(UnsupportedFormat, match=r"p\.mlpackage.*'main'.*local_response_norm"):
        Session(package).run({"x": x})


def test_a_place_outside_is_refused(tmp_path: Path) -> None:
    x, rows = normal(3, 2), i32([1, 3])
    package = written(
        tmp_path, {"x": x, "rows": rows}, lambda x, rows: mb().gather(x=x, indices=rows, axis=0)
    )
    with pytest.raises(BundleError, match=r"gather.*places 1\.\.3 of 3"):
        Session(package).run({"x": x, "rows": rows})
