"""Calibrated rounding: nearer outputs than the nearest code, and weights that stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.quant.calibrate import quantize_calibrated_, second_moments, set_weight_
from vera_mobile.quant.gptq import gptq, round_nearest
from vera_mobile.quant.schemes import quantize_linears_, scheme
from vera_mobile.quant.simulate import DynamicLinear, simulate_dynamic_


def inputs_of_rank(rank: int, size: int, count: int = 400) -> Tensor:
    """Inputs as real layers see them: most of their variance in few directions."""
    random = torch.Generator().manual_seed(7)
    mixing = torch.randn(rank, size, generator=random)
    noise = torch.randn(count, size, generator=random)
    return torch.randn(count, rank, generator=random) @ mixing + 0.1 * noise


def weights(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


def output_error(x: Tensor, weight: Tensor, rounded: Tensor) -> float:
    return float((x @ (weight - rounded).T).square().sum() / (x @ weight.T).square().sum())


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 0), (8, 0), (3, 64)])
def test_outputs_are_nearer_than_with_the_nearest_code(bits: int, group: int) -> None:
    x, weight = inputs_of_rank(24, 192), weights(40, 192)
    moments = (x.T @ x).double()
    near = round_nearest(weight, bits=bits, group_size=group).weight()
    calibrated = gptq(weight, moments, bits=bits, group_size=group).weight()
    assert output_error(x, weight, calibrated) < 0.35 * output_error(x, weight, near)
    # and not because the weights themselves are nearer: they are not
    assert (calibrated - weight).square().sum() > (near - weight).square().sum()


def test_inputs_without_relation_leave_the_nearest_codes() -> None:
    weight = weights(16, 64)
    rounded = gptq(weight, torch.eye(64).double(), bits=4, group_size=32)
    near = round_nearest(weight, bits=4, group_size=32)
    assert torch.equal(rounded.codes, near.codes)
    assert torch.equal(rounded.scales, near.scales)


def test_codes_and_scales_have_the_form_that_lowers() -> None:
    x, weight = inputs_of_rank(24, 192), weights(40, 192)
    rounded = gptq(weight, x.T @ x, bits=4, group_size=32)
    assert rounded.codes.dtype == torch.int8
    assert rounded.codes.min() >= -8
    assert rounded.codes.max() <= 7
    assert rounded.codes.shape == weight.shape
    assert rounded.scales.shape == (40, 6)
    assert (rounded.scales > 0).all()
    # XNNPACK keeps scales of groups in bfloat16: nothing may be lost there
    assert torch.equal(rounded.scales.bfloat16().float(), rounded.scales)


def test_an_input_that_is_always_zero_does_no_harm() -> None:
    x, weight = inputs_of_rank(24, 64), weights(16, 64)
    x[:, 5] = 0
    rounded = gptq(weight, x.T @ x, bits=4, group_size=32)
    assert output_error(x, weight, rounded.weight()) < 0.01
    zero = gptq(weight, torch.zeros(64, 64), bits=4, group_size=32)
    assert torch.equal(zero.codes, round_nearest(weight, bits=4, group_size=32).codes)


def test_rows_of_zeros_stay_zero() -> None:
    weight = weights(4, 64)
    weight[2] = 0
    rounded = gptq(weight, torch.eye(64), bits=4, group_size=32)
    assert not rounded.weight()[2].any()


@pytest.mark.parametrize(
    ("shape", "size", "bits", "group"),
    [((4, 64), 32, 4, 32), ((4, 64), 64, 1, 32), ((4, 64), 64, 4, 48), ((4, 64), 64, 9, 0)],
)
def test_what_does_not_fit_is_refused(
    shape: tuple[int, int], size: int, bits: int, group: int
) -> None:
    with pytest.raises(InvalidArgument):
        gptq(torch.ones(shape), torch.eye(size), bits=bits, group_size=group)


def test_moments_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        gptq(torch.ones(4, 32), torch.full((32, 32), torch.nan), bits=4, group_size=32)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 32)
        self.last = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def net_inputs() -> list[tuple[Tensor, ...]]:
    x = inputs_of_rank(8, 64, 256)
    return [(part,) for part in x.split(32)]


def test_moments_are_those_of_the_inputs() -> None:
    net, inputs = Net(), net_inputs()
    moments = second_moments(net, inputs, ["first", "second"])
    x = torch.cat([arguments[0] for arguments in inputs]).double()
    seen = torch.relu(net.first(x.float())).detach().double()
    torch.testing.assert_close(moments["first"], x.T @ x, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(moments["second"], seen.T @ seen, rtol=1e-5, atol=1e-3)
    # nothing stays behind on the module
    assert not net.first._forward_pre_hooks
    assert not net.second._forward_pre_hooks


def test_calibration_needs_inputs_and_linear_layers() -> None:
    with pytest.raises(InvalidArgument, match="Calibration without inputs"):
        second_moments(Net(), [], ["first"])
    with pytest.raises(InvalidArgument, match="no linear layer"):
        second_moments(nn.Sequential(nn.ReLU()), net_inputs(), ["0"])
    with pytest.raises(InvalidArgument, match="int8dyn"):
        quantize_calibrated_(Net(), scheme("fp32"), net_inputs())


def test_a_calibrated_module_is_nearer_than_one_with_fitted_scales() -> None:
    used, inputs = scheme("int4w_g32_int8dyn"), net_inputs()
    plain, nearest, calibrated = Net(), Net(), Net()
    steps: list[tuple[int, int]] = []
    quantize_linears_(nearest, used)
    quantize_calibrated_(calibrated, used, inputs, on_step=lambda *at: steps.append(at))
    with torch.no_grad():
        wanted, near, got = (
            torch.cat([net(*arguments) for arguments in inputs])
            for net in (plain, nearest, calibrated)
        )
    assert (got - wanted).square().sum() < 0.5 * (near - wanted).square().sum()
    assert steps == [(1, 1)]


def test_only_the_chosen_layers_change() -> None:
    net = Net()
    quantize_calibrated_(
        net, scheme("int4w_g32_int8dyn"), net_inputs(), only=lambda name: name == "second"
    )
    assert hasattr(net.second.weight, "qdata")
    assert torch.equal(net.first.weight, Net().first.weight)
    assert torch.equal(net.last.weight, Net().last.weight)


def test_codes_survive_the_export_unchanged() -> None:
    net, used = nn.Sequential(nn.Linear(64, 16)), scheme("int4w_g32_int8dyn")
    x = inputs_of_rank(8, 64)
    plain = net.get_parameter("0.weight")
    rounded = gptq(plain, x.T @ x, bits=4, group_size=32)
    set_weight_(net[0], rounded, used)
    program = torch.export.export(net, (x[:3],), strict=False)
    # subclasses of tensors come apart when the program is decomposed, as every lowering does
    held = program.run_decompositions({}).state_dict.values()
    assert any(value.dtype == torch.int8 and torch.equal(value, rounded.codes) for value in held)
    torch.testing.assert_close(program.module()(x[:3]), net(x[:3]))


def test_simulated_layers_give_what_torchao_gives() -> None:
    x = 3 * inputs_of_rank(8, 64) - 1
    for name in ("int4w_g32_int8dyn", "int8w_int8dyn"):
        net, fast = Net(), Net()
        quantize_linears_(net, scheme(name))
        quantize_linears_(fast, scheme(name))
        simulate_dynamic_(fast)
        assert isinstance(fast.second, DynamicLinear)
        assert torch.equal(net(x), fast(x))
