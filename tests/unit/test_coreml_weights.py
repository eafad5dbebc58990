"""Weights in the forms that Core ML stores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.coreml.weights import Packed, pack
from vera_mobile.quant.schemes import SCHEMES, Scheme, scheme


def dense(packed: Packed) -> np.ndarray:
    """The weight that a packed one stands for, written out by hand."""
    if not packed.operator:
        return packed.arrays["val"].astype(np.float32)
    if "lut" in packed.arrays:
        indices, lut = packed.arrays["indices"], packed.arrays["lut"].astype(np.float32)
        rows = len(indices) // len(lut)
        tables = lut.reshape(len(lut), -1)
        parts = [tables[g][indices[g * rows : (g + 1) * rows]] for g in range(len(lut))]
        return np.concatenate(parts)
    data, scale = packed.arrays["data"].astype(np.float32), packed.arrays["scale"]
    block = data.shape[1] // scale.shape[1]
    return data * np.repeat(scale.astype(np.float32), block, axis=1)


def sqnr_db(weight: torch.Tensor, packed: Packed) -> float:
    exact = weight.numpy().astype(np.float64)
    return float(10 * np.log10((exact**2).sum() / ((dense(packed) - exact) ** 2).sum()))


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    """Rows of different size, as trained layers have them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 96, generator=generator) * torch.logspace(-2, 0, 64)[:, None]


# Measured on this weight: 73.6, 44.1, 21.5, 27.5 and 17.7 dB. One table serves 32 rows, so palettes
# suffer from rows of different size.
@pytest.mark.parametrize(
    ("name", "least_db"),
    [("fp16", 73), ("int8w", 44), ("int4w_g32", 21), ("palette6", 27), ("palette4", 17)],
)
def test_quality_of_each_form(weight: torch.Tensor, name: str, least_db: float) -> None:
    assert sqnr_db(weight, pack(weight, scheme(name))) > least_db


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("int8w", np.int8, -128, 127),
        ("int4w_g32", np.int8, -8, 7),
        ("palette6", np.uint8, 0, 63),
        ("palette4", np.uint8, 0, 15),
    ],
)
def test_integers_stay_in_their_range(
    weight: torch.Tensor, name: str, kind: type, low: int, high: int
) -> None:
    packed = pack(weight, scheme(name))
    integers = packed.arrays["indices" if "indices" in packed.arrays else "data"]
    assert integers.dtype == kind
    assert integers.shape == weight.shape
    assert low <= integers.min() < integers.max() <= high


def test_the_search_at_4_bits_beats_the_largest_value(weight: torch.Tensor) -> None:
    blocks = weight.reshape(-1, 32)
    scale = (blocks.abs().amax(1, keepdim=True) / 7).half().float()
    rounded = ((blocks / scale).round().clamp(-8, 7) * scale).reshape(weight.shape)
    noise = (rounded - weight).square().sum()
    plain_db = float(10 * torch.log10(weight.square().sum() / noise))
    assert sqnr_db(weight, pack(weight, scheme("int4w_g32"))) > plain_db + 0.3


def test_a_palette_of_few_values_is_exact() -> None:
    levels = torch.tensor([-0.5, -0.25, 0.0, 0.125, 1.0])
    weight = levels[torch.arange(64 * 8).reshape(64, 8) % 5]
    np.testing.assert_array_equal(dense(pack(weight, scheme("palette4"))), weight.numpy())


@pytest.mark.parametrize("name", ["int8w", "int4w_g32", "palette6"])
def test_zero_and_tiny_rows_stay_finite(name: str) -> None:
    weight = torch.zeros(32, 64)
    weight[1] = 1e-9
    weight[2, 0] = 3.0
    made = dense(pack(weight, scheme(name)))
    assert np.isfinite(made).all()
    # the one large value may be clipped by the search for scales, never by more than that allows
    np.testing.assert_allclose(made[2, 0], 3.0, rtol=0.02)
    np.testing.assert_allclose(made[1], 0, atol=1e-3)


def test_convolutions_keep_their_shape() -> None:
    weight = torch.randn(32, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    packed = pack(weight, scheme("int8w"))
    assert packed.arrays["data"].shape == (32, 4, 3, 3)
    assert packed.arrays["scale"].shape == (32, 1, 1, 1)
    assert pack(weight, scheme("palette6")).arrays["lut"].shape == (1, 1, 1, 1, 64, 1)


def test_packing_twice_gives_the_same_bytes(weight: torch.Tensor) -> None:
    for name in ("int4w_g32", "palette6"):
        one, two = pack(weight, scheme(name)), pack(weight.clone(), scheme(name))
        for parameter, array in one.arrays.items():
            assert array.tobytes() == two.arrays[parameter].tobytes()


def test_what_core_ml_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"rows of|Rows of 40 .* multiple of 32"):
        pack(torch.zeros(4, 40), scheme("int4w_g32"))
    dynamic = [one for one in SCHEMES.values() if one.activations != "float"]
    assert dynamic
    for used in dynamic:
        with pytest.raises(InvalidArgument, match="not allowed for Core ML"):
            pack(torch.zeros(4, 64), used)


def test_palettes_of_8_bits() -> None:
    weight = torch.randn(32, 512, generator=torch.Generator().manual_seed(1))
    used = Scheme("palette8", 8, 0, "float", palette=True)
    # measured 44.2 dB; the best 256 levels for values of a normal distribution reach about 44
    assert sqnr_db(weight, pack(weight, used)) > 44
