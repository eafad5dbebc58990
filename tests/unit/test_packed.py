"""Packed weights: what they stand for, and what the decoder's operators compute with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.executorch import answer_blocks
from vera_mobile.export.packed_form import PackedDecoderForm, PackedEmbedForm
from vera_mobile.model.config import vera_nano
from vera_mobile.model.language import Decoder, KVCache
from vera_mobile.native import decoder as native
from vera_mobile.quant.packed import PackedMatrix, pack, unpack
from vera_mobile.quant.schemes import scheme
from vera_mobile.runtime import ALL_LOGITS, ANSWER_LOGITS, NO_LOGITS


def matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


def noise_db(wanted: torch.Tensor, got: torch.Tensor) -> float:
    return float(10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()))


@pytest.mark.parametrize(
    ("bits", "group", "floor"), [(4, 32, 21.0), (4, 64, 20.0), (4, 128, 19.0), (8, 32, 40.0)]
)
def test_packing_keeps_the_matrix(bits: int, group: int, floor: float) -> None:
    weight = matrix(50, 256)
    packed = pack(weight, bits, group)
    assert (packed.bits, packed.columns, packed.rows) == (bits, 256, 50)
    # measured on normal numbers: 21.8, 20.9, 20.1 and 42.1 dB
    assert noise_db(weight, unpack(packed)) > floor


def test_importance_moves_the_error_to_where_it_costs_less() -> None:
    weight, importance = matrix(64, 128), torch.ones(128)
    importance[::2] = 100.0
    plain, weighed = unpack(pack(weight, 4, 32)), unpack(pack(weight, 4, 32, importance))
    assert noise_db(weight[:, ::2], weighed[:, ::2]) > noise_db(weight[:, ::2], plain[:, ::2])


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert not unpack(pack(torch.zeros(20, 64), 4)).any()
    assert not unpack(pack(torch.zeros(20, 64), 8)).any()


@pytest.mark.parametrize(("bits", "group", "columns"), [(4, 48, 96), (4, 64, 96), (8, 32, 40)])
def test_shapes_that_do_not_fit_are_refused(bits: int, group: int, columns: int) -> None:
    with pytest.raises(InvalidArgument, match="multiple"):
        pack(matrix(16, columns), bits, group)
    with pytest.raises(InvalidArgument, match="use 4 or 8"):
        pack(matrix(16, 64), 3)


def as_native(packed: PackedMatrix) -> native.Matrix:
    return native.Matrix(packed.weights.numpy(), packed.scales.numpy(), packed.rows)


@pytest.mark.parametrize("bits", [4, 8])
def test_kernel_computes_with_what_the_packed_matrix_stands_for(bits: int) -> None:
    packed = pack(matrix(70, 192), bits, 64)
    x = matrix(5, 192).numpy()
    most = np.abs(x).max(1, keepdims=True)
    codes = np.round(x * (127 / most)) * (most / 127)
    wanted = codes @ unpack(packed).numpy().T
    np.testing.assert_allclose(native.multiply(as_native(packed), x), wanted, atol=2e-4)
    ids = np.array([69, 0, 16])
    np.testing.assert_array_equal(native.rows(as_native(packed), ids), unpack(packed)[ids])
    with pytest.raises(InvalidArgument, match="failed"):
        native.rows(as_native(packed), np.array([70]))
    with pytest.raises(InvalidArgument, match="use \\(n, 192\\)"):
        native.multiply(as_native(packed), x[:, :64])


def test_answer_blocks_are_all_of_a_small_vocabulary_and_the_frequent_of_a_large_one() -> None:
    assert answer_blocks(4090).tolist() == list(range(256))
    blocks = answer_blocks(151_936)
    ids = {int(b) * 16 + i for b in blocks for i in range(16)}
    assert len(blocks) == 2048 + 20
    assert {0, 32_767, 151_643, 151_648, 151_935} <= ids
    assert 32_768 not in ids


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(3)
    return Decoder(vera_nano().language).eval()


def form(decoder: Decoder, name: str, blocks: torch.Tensor | None = None) -> PackedDecoderForm:
    table = pack(decoder.embedding.weight, scheme(name).weight_bits)
    every = torch.arange(len(table.weights))
    return PackedDecoderForm(decoder, table, scheme(name), every if blocks is None else blocks)


@pytest.mark.parametrize(("name", "floor"), [("int8w_int8dyn", 31.0), ("int4w_g32_int8dyn", 14.0)])
def test_form_is_near_the_decoder(decoder: Decoder, name: str, floor: float) -> None:
    made, cache = form(decoder, name), KVCache(decoder.config)
    embeds = matrix(24, decoder.config.hidden_size)[None] * 0.02
    with torch.no_grad():
        for begin, end in ((0, 20), (20, 21), (21, 24)):
            start, part = torch.tensor([begin]), embeds[:, begin:end]
            _, hidden = made(part, start, torch.tensor([ALL_LOGITS]))
            wanted = decoder.step(part, start, cache)[:, -1]
            assert noise_db(wanted, hidden) > floor


def test_wanted_says_which_logits(decoder: Decoder) -> None:
    made = form(decoder, "int8w_int8dyn", torch.tensor([2, 5]))
    embeds, start = matrix(4, decoder.config.hidden_size)[None] * 0.02, torch.tensor([0])
    none, every, some = (
        made(embeds, start, torch.tensor([wanted]))[0][0]
        for wanted in (NO_LOGITS, ALL_LOGITS, ANSWER_LOGITS)
    )
    assert not none.any()
    chosen = torch.zeros(len(every), dtype=torch.bool)
    chosen[32:48] = chosen[80:96] = True
    assert torch.equal(some[chosen], every[chosen])
    assert torch.isneginf(some[~chosen]).all()
    assert torch.isfinite(every).all()


def test_the_table_embeds(decoder: Decoder) -> None:
    ids = torch.tensor([[5, 0, 4095]])
    got = PackedEmbedForm(pack(decoder.embedding.weight, 8))(ids)
    assert noise_db(decoder.embed(ids), got) > 40
