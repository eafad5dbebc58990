"""The vision tower: shapes, signal sizes, the attention written out, export."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import vera_0_5b, vera_nano
from vera_mobile.model.projector import Projector
from vera_mobile.model.vision import AttentionBlock, RepMixerBlock, SelfAttention, VisionTower


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    torch.manual_seed(0)
    return VisionTower(vera_nano().vision).eval()


def _photos(count: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, 256, mode="bilinear")


def test_nano_gives_16_tokens_of_512(tower):
    features = tower(_photos(2))
    assert features.shape == (2, 16, 512)
    assert torch.isfinite(features).all()


def test_public_shape_gives_256_tokens_of_3072():
    with torch.device("meta"):
        tower = VisionTower(vera_0_5b().vision).eval()
        features = tower(torch.empty(1, 3, 1024, 1024))
    assert features.shape == (1, 256, 3072)


@pytest.mark.parametrize("shape", [(1, 3, 255, 256), (1, 4, 256, 256), (3, 256, 256)])
def test_other_photo_shape_is_refused(tower, shape):
    with pytest.raises(InvalidArgument, match=r"use \(B, 3, 256, 256\)"):
        tower(torch.zeros(shape))


def test_batch_does_not_change_a_photo(tower):
    photos = _photos(2)
    together, alone = tower(photos), tower(photos[1:])
    # the same sums in anx
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=5e-5)


def test_signals_neither_vanish_nor_explode_at_init():
    """A tower that trains from scratch passes on the size and the differences of its inputs."""
    for seed in range(3):
        torch.manual_seed(seed)
        tower = VisionTower(vera_nano().vision).train()
        features = tower(_photos(4))
        size = features.pow(2).mean().sqrt().item()
        spread = features.std(0).mean().item()
        # 0.2 to 4.7 and 0.12 to 0.64 measured on seeds 0 to 7
        assert 0.1 < size < 10, size
        assert spread > 0.05, spread


def test_every_used_parameter_gets_a_gradient():
    torch.manual_seed(0)
    tower = VisionTower(vera_nano().vision).train()
    tower(_photos(2)).pow(2).mean().backward()
    silent = [name for name, p in tower.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_unused_projection_exists_only_where_asked_and_is_frozen(tower):
    assert tower.projection is None
    small = replace(vera_nano().vision, unused_projection=True)
    projection = VisionTower(small).projection
    assert projection is not None
    assert projection.shape == (512, 512)
    assert not projection.requires_grad


def test_written_out_attention_equals_torch():
    torch.manual_seed(0)
    attention = SelfAttention(96, 32)
    x = torch.randn(2, 10, 96)
    query, key, value = (
        part.unflatten(2, (3, 32)).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=2)
    )
    expected = attention.out(
        F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    )
    # float32 sums of 96 terms; 4e-7 measured
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=2e-6)


def test_mixer_block_is_the_identity_without_noise_and_scale():
    block = RepMixerBlock(8, 16, 0.0).eval()
    with torch.no_grad():
        block.mixer.weight.zero_()
        block.mixer.weight[:, :, 1, 1] = 1.0
    x = torch.randn(1, 8, 5, 7)
    assert torch.equal(block(x), x)


def test_attention_block_is_the_identity_at_scale_zero():
    x = torch.randn(2, 64, 3, 5)
    assert torch.equal(AttentionBlock(64, 128, 32, 0.0).eval()(x), x)


def test_attention_mixes_positions_in_place():
    """A change at one position reaches others but the layout (rows, columns) stays."""
    torch.manual_seed(0)
    block = AttentionBlock(64, 128, 32, 1.0).eval()
    with torch.no_grad():
        block.ffn_scale.zero_()
    x = torch.randn(1, 64, 3, 5)
    changed = x.clone()
    changed[0, :, 1, 4] += 3.0
    moved = (block(changed) - block(x)).abs().mean(1)[0]
    assert moved.argmax().item() == 1 * 5 + 4
    assert (moved > 0).all()


def test_export_equals_eager(tower):
    projector = Projector(512, 256).eval()
    encoder = torch.nn.Sequential(tower, projector)
    photo = _photos(1)
    exported = torch.export.export(encoder, (photo,))
    # the same operators on the same values; 0 measured
    torch.testing.assert_close(exported.module()(photo), encoder(photo), rtol=0, atol=1e-6)
