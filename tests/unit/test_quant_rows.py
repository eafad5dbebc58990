"""Tables of 4 bits: what is packed comes back, row by row, near the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument
from vera_mobile.quant.rows import pack_rows, row_errors, unpack_rows


def table(rows: int = 50, columns: int = 64) -> Tensor:
    return 0.02 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


def test_values_on_the_grid_come_back_exactly() -> None:
    codes = torch.arange(64).remainder(16).float() - 8
    weight = codes.repeat(3, 1) * torch.tensor([[0.25], [0.5], [2.0]])
    assert torch.equal(unpack_rows(pack_rows(weight)), weight)


def test_rows_are_looked_up_by_id() -> None:
    packed = pack_rows(table())
    ids = torch.tensor([7, 0, 49, 7])
    assert torch.equal(unpack_rows(packed, ids), unpack_rows(packed)[ids])


@pytest.mark.parametrize("group", [32, 64, 0])
def test_no_value_moves_further_than_half_a_step_unless_it_is_clipped(group: int) -> None:
    weight = table()
    packed = pack_rows(weight, group_size=group)
    step = packed.scales.float().repeat_interleave(64 // packed.scales.shape[1], dim=1)
    inside = (weight > -8.5 * step) & (weight < 7.5 * step)
    gap = (unpack_rows(packed) - weight).abs()
    assert (gap[inside] <= 0.5001 * step[inside]).all()
    assert inside.float().mean() > 0.97


def test_the_error_and_the_size_are_told() -> None:
    weight = table()
    errors = {group: row_errors(weight, pack_rows(weight, group_size=group)) for group in (32, 0)}
    assert errors[32]["bits_per_weight"] == 4.5
    assert errors[0]["bits_per_weight"] == 4.25
    # normal values, 16 steps fitted in groups of 32: 20.9 dB measured here
    assert 20 < errors[32]["sqnr_db"] < 23
    assert errors[32]["sqnr_db"] > errors[0]["sqnr_db"] > errors[0]["worst_row_sqnr_db"]


def test_a_row_of_zeros_stays_zero() -> None:
    weight = table()
    weight[4] = 0
    assert not unpack_rows(pack_rows(weight))[4].any()


@pytest.mark.parametrize(
    "weight", [torch.ones(4, 33), torch.ones(4), torch.full((2, 32), torch.inf),
               torch.full((2, 32), 1e30), torch.full((2, 32), 1e-12)]
)  # fmt: skip
def test_tables_that_do_not_pack_are_refused(weight: Tensor) -> None:
    with pytest.raises(InvalidArgument):
        pack_rows(weight)
