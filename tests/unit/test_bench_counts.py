"""Counts of a bundle's programs, against PyTorch's own counter and arithmetic on the config."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vera_mobile.assets import checkpoint_folder
from vera_mobile.bench.count_pte import count_programs, count_renderer, load_program
from vera_mobile.bench.counts import Case, Count, Counted, bake_calls, count_bundle, count_render
from vera_mobile.bench.xnnpack_graph import count_delegate, read_graph
from vera_mobile.bundle import Bundle, FileEntry, Manifest
from vera_mobile.errors import BundleError, InvalidArgument
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.vlm import VeraModel
from vera_mobile.native.sdk import CURVE_KNOTS
from vera_mobile.runtime import RENDERER_FILE

PROMPT, ANSWER = 40, 11


@pytest.fixture(scope="module")
def bundle(nano_bundle: Path) -> Bundle:
    return Bundle.open(nano_bundle)


@pytest.fixture(scope="module")
def counted(bundle: Bundle) -> Counted:
    return count_programs(bundle, Case(PROMPT, ANSWER))


@pytest.fixture(scope="module")
def model() -> VeraModel:
    return load_checkpoint(checkpoint_folder("nano"))


@torch.no_grad()
def multiply_adds(work: Callable[[], object]) -> int:
    """What PyTorch counts for convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


def test_no_operator_is_left_out(counted: Counted) -> None:
    assert counted.unknown == {}


def test_vision_head_and_bake_are_what_pytorch_counts(counted: Counted, model: VeraModel) -> None:
    config, stages = model.config, counted.stages
    size = config.vision.image_size
    eager = multiply_adds(lambda: model.encode_image(torch.zeros(1, 3, size, size)))
    # the export folds branches of convolutions together, and reparameterized ones are fewer
    assert stages["vision"].multiply_adds == pytest.approx(eager, rel=0.02)
    hidden = torch.zeros(1, 3, config.language.hidden_size)
    head = multiply_adds(lambda: model.retouch_head(hidden))
    assert stages["head"].multiply_adds == head
    latents = torch.zeros(1, 3, config.renderer.latent_size)
    # libvera takes the points of the curves in one call, and those of the lattice in another
    curves, lattice = (torch.zeros(1, points, 3) for points in (27 * CURVE_KNOTS, 33**3))
    bake = multiply_adds(lambda: model.renderer(curves, latents))
    bake += multiply_adds(lambda: model.renderer(lattice, latents))
    assert stages["bake"].multiply_adds == bake


def test_decoding_is_counted_from_the_config(counted: Counted, model: VeraModel) -> None:
    language = model.config.language
    hidden, inner = language.hidden_size, language.intermediate_size
    query, kv = language.heads * language.head_dim, language.kv_heads * language.head_dim
    layer = hidden * (query + 2 * kv) + query * hidden + 3 * hidden * inner
    context = PROMPT + (ANSWER + 2 + 1) // 2
    attention = 2 * query * context
    token = counted.stages["decode_per_token"].multiply_adds
    rest = token - language.layers * (layer + attention)
    # the rest is the rows of the vocabulary that answers use, whole blocks of 16
    assert 0 < rest <= math.ceil(language.vocab_size / 16) * 16 * hidden
    assert rest % (16 * hidden) == 0
    assert counted.stages["decode"].multiply_adds == token * (ANSWER + 2)


def test_a_chunked_prompt_reads_the_weights_once_per_chunk(
    bundle: Bundle, model: VeraModel
) -> None:
    chunk = bundle.manifest.limits["prefill_tokens"]
    one, two = (count_programs(bundle, Case(n, 1)).stages["prefill"] for n in (chunk, 2 * chunk))
    # the second chunk has no second table of logits: 8 bits a weight, a float for each row
    language = model.config.language
    table = language.vocab_size * (language.hidden_size + 4)
    assert two.weight_bytes == 2 * one.weight_bytes - table
    assert two.multiply_adds > 2 * one.multiply_adds * 0.95


def test_weights_of_programs_are_in_the_files(bundle: Bundle, counted: Counted) -> None:
    files = bundle.manifest.files
    assert "bake" not in files  # libvera bakes from the renderer's weights
    for stage, calls, name in (
        ("vision", 1, "vision"),
        ("head", 1, "head"),
        ("bake", 2, "renderer"),
    ):
        share = counted.stages[stage].weight_bytes / calls / files[name].size_bytes
        assert 0.85 < share <= 1.0, (stage, share)
    stages = count_bundle(bundle, Case(PROMPT, ANSWER)).stages
    sizes = (files[name].size_bytes for name in ("vision", "decoder", "head", "renderer"))
    assert stages["load"].weight_bytes == sum(sizes)


def test_the_bake_covers_curves_and_lattice() -> None:
    assert bake_calls(4096) == math.ceil(27 * CURVE_KNOTS / 4096) + math.ceil(33**3 / 4096) == 10


def test_a_damaged_renderer_file_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    cut = tmp_path / "bake.safetensors"
    cut.write_bytes(bundle.file(RENDERER_FILE).read_bytes()[:1000])
    with pytest.raises(BundleError, match="cannot be read"):
        count_renderer(cut, (1,))


def test_rendering_moves_each_pixel_twice() -> None:
    small, large = count_render(10), count_render(1_000_010)
    assert large.activation_bytes - small.activation_bytes == 6_000_000
    assert large.multiply_adds - small.multiply_adds == 18_000_000


def test_counts_add_and_multiply() -> None:
    one = Count(1, 2, 3, 4)
    assert (one + one) == one * 2 == Count(2, 4, 6, 8)
    assert one.bytes_moved == 6


def test_damaged_delegates_and_unknown_kinds_are_errors(bundle: Bundle, tmp_path: Path) -> None:
    program = load_program(bundle, "head")
    data = bytes(program.backend_delegate_data[0].data)
    count, unknown = count_delegate(data)
    assert count.multiply_adds > 0
    assert unknown == {}
    kinds = {node["xnode_union_type"] for node in read_graph(data)["xnodes"]}
    assert "XNNFullyConnected" in kinds
    for bad in (b"", data[:20], b"\0" * len(data), data[:60]):
        with pytest.raises(BundleError):
            count_delegate(bad)
    entry = FileEntry("v.bin", "0" * 64, 1, "tflite")
    other = Bundle(tmp_path, Manifest("x", {}, "r", "t", files={"vision": entry}))
    with pytest.raises(InvalidArgument, match="kind 'tflite': known are executorch"):
        count_bundle(other, Case(1, 1))
