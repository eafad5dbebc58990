"""Recipes and schemes are found by name and checked when made."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.recipes import RECIPES, recipe
from vera_mobile.quant.schemes import quantize_linears_, quantize_rows, scheme


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InvalidArgument, match="host-fp32, android-int4, android-int8"):
        recipe("android-int3")
    with pytest.raises(InvalidArgument, match="int4w_g32_int8dyn"):
        scheme("int3")


def test_a_recipe_with_an_unknown_scheme_or_backend_cannot_be_made() -> None:
    with pytest.raises(InvalidArgument, match="int3"):
        dataclasses.replace(RECIPES["host-fp32"], language="int3")
    with pytest.raises(InvalidArgument, match="use one of xnnpack, coreml, onnx, vulkan"):
        dataclasses.replace(RECIPES["host-fp32"], backend="metal")


def test_only_static_ranges_and_gptq_need_calibration() -> None:
    assert [name for name, one in RECIPES.items() if one.needs_calibration] == [
        "android-int4",
        "android-int8",
        "android-int4-xnnpack",
        "npu-onnx-int8",
        "android-vulkan",
        "ios-coreml-pte",
        "android-qnn-int8",
        "android-mediatek-int8",
        "android-exynos-int8",
    ]
    assert [name for name, one in RECIPES.items() if one.gptq] == [
        "android-int4",
        "android-vulkan",
        "ios-coreml-pte",
        "android-qnn-int8",
        "android-mediatek-int8",
        "android-exynos-int8",
    ]


def test_rows_are_within_half_a_step() -> None:
    weight = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    rows, scales = quantize_rows(weight)
    assert rows.dtype == torch.int8
    # by definition of rounding, plus float32 rounding of the product
    assert ((rows * scales - weight).abs() <= scales * 0.5 + 1e-6).all()
    assert (rows[3] == 0).all()


def test_linears_refuse_what_does_not_fit() -> None:
    module = nn.Sequential(nn.Linear(48, 8))
    with pytest.raises(InvalidArgument, match="multiple of 32"):
        quantize_linears_(module, scheme("int4w_g32_int8dyn"))
    with pytest.raises(InvalidArgument, match="not allowed for linear layers"):
        quantize_linears_(module, scheme("int8w_int8static"))
