"""The decoder: equal to the reference implementation, steps equal to a whole pass, export."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LanguageConfig, vera_0_5b, vera_nano
from vera_mobile.model.language import Decoder, KVCache

SMALL = LanguageConfig(
    vocab_size=97,
    hidden_size=48,
    layers=3,
    heads=6,
    kv_heads=2,
    head_dim=16,
    intermediate_size=80,
    max_length=40,
    rope_theta=1e4,
)

# float32, other order of sums (products of cache length, grouped heads); 3.5e-6 measured
STEP_ATOL = 1e-5


def _decoder(config: LanguageConfig = SMALL, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(config)
    # biases and norms start at 0 and 1, where a mistake in them would not show
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias") or "norm" in name:
            nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.15)
    return decoder.eval()


def _embeds(decoder: Decoder, length: int) -> Tensor:
    ids = torch.randint(
        0, decoder.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(5)
    )
    return decoder.embed(ids)


def test_logits_equal_the_transformers_implementation():
    transformers = pytest.importorskip("transformers")
    decoder = _decoder()
    reference = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=SMALL.vocab_size,
            hidden_size=SMALL.hidden_size,
            num_hidden_layers=SMALL.layers,
            num_attention_heads=SMALL.heads,
            num_key_value_heads=SMALL.kv_heads,
            head_dim=SMALL.head_dim,
            intermediate_size=SMALL.intermediate_size,
            max_position_embeddings=SMALL.max_length,
            rope_theta=SMALL.rope_theta,
            rms_norm_eps=SMALL.rms_eps,
            tie_word_embeddings=True,
        )
    ).eval()
    renamed = {
        "model."
        + key.replace("embedding.", "embed_tokens.")
        .replace(".attention_norm.", ".input_layernorm.")
        .replace(".mlp_norm.", ".post_attention_layernorm.")
        .replace(".attention.", ".self_attn."): value
        for key, value in decoder.state_dict().items()
    }
    renamed["lm_head.weight"] = renamed["model.embed_tokens.weight"]
    reference.load_state_dict(renamed, strict=True)
    ids = torch.randint(0, SMALL.vocab_size, (2, 33), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = decoder.logits(decoder(decoder.embed(ids)))
        theirs = reference(input_ids=ids).logits
    assert theirs.abs().max() > 1  # not equal by being nothing
    # float32 with fused against plain attention; 2.6e-6 measured
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunks", [[40], [1] * 40, [17, 1, 1, 20, 1], [39, 1]])
def test_steps_equal_the_whole_pass(chunks):
    decoder = _decoder()
    embeds = _embeds(decoder, 40)
    cache = KVCache(SMALL)
    states, start = [], 0
    for count in chunks:
        states.append(decoder.step(embeds[:, start : start + count], torch.tensor(start), cache))
        start += count
    torch.testing.assert_close(torch.cat(states, 1), decoder(embeds), rtol=0, atol=STEP_ATOL)


def test_cache_can_go_back_and_be_used_dirty():
    decoder = _decoder()
    embeds = _embeds(decoder, 30)
    cache = KVCache(SMALL)
    decoder.step(torch.randn(1, 40, SMALL.hidden_size), torch.tensor([0]), cache)
    decoder.step(embeds[:, :20], torch.tensor([0]), cache)
    decoder.step(torch.randn(1, 5, SMALL.hidden_size), torch.tensor([20]), cache)
    again = decoder.step(embeds[:, 20:], torch.tensor([20]), cache)
    torch.testing.assert_close(again, decoder(embeds)[:, 20:], rtol=0, atol=STEP_ATOL)


def test_clear_forgets_everything():
    cache = KVCache(SMALL)
    _decoder().step(torch.randn(1, 4, SMALL.hidden_size), torch.tensor(0), cache)
    assert any(buffer.any() for buffer in cache.buffers())
    cache.clear_()
    assert not any(buffer.any() for buffer in cache.buffers())


def test_cache_size_is_that_of_its_shape():
    # 3 layers, key and value, 2 heads, 40 positions, 16 values, 4 or 2 bytes
    assert KVCache(SMALL).size_bytes == 3 * 2 * 2 * 40 * 16 * 4
    assert KVCache(SMALL, torch.float16).size_bytes == 3 * 2 * 2 * 40 * 16 * 2


def test_no_position_sees_a_later_one():
    decoder = _decoder()
    embeds = _embeds(decoder, 20)
    changed = embeds.clone()
    changed[:, 12] += 1.0
    before, after = decoder(embeds), decoder(changed)
    # not torch.equal: blocks of a vectorised sum may fall otherwise; 0 measured
    torch.testing.assert_close(after[:, :12], before[:, :12], rtol=0, atol=1e-6)
    assert (after[:, 12:] - before[:, 12:]).abs().amax(-1).min() > 1e-4


def test_padding_at_the_end_needs_no_mask():
    decoder = _decoder()
    embeds = _embeds(decoder, 20)
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[:, 15:] = False
    alone = decoder(embeds[:, :15])
    # fused kernels of two lengths; 2.2e-6 measured
    torch.testing.assert_close(decoder(embeds, mask)[:, :15], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(decoder(embeds)[:, :15], alone, rtol=0, atol=1e-5)


def test_padding_in_front_changes_nothing_after_it():
    """Rotary attention knows distances only, so shifted tokens have the same states."""
    decoder = _decoder()
    embeds = _embeds(decoder, 15)
    padded = torch.cat((torch.randn(1, 5, SMALL.hidden_size), embeds), 1)
    mask = torch.arange(20).unsqueeze(0) >= 5
    states = decoder(padded, mask)
    assert torch.isfinite(states).all()
    # rotated by other angles, so other rounding; 2.1e-6 measured
    torch.testing.assert_close(states[:, 5:], decoder(embeds), rtol=0, atol=1e-5)


def test_too_many_tokens_are_refused():
    with pytest.raises(InvalidArgument, match="41 tokens not allowed: use at most 40"):
        _decoder()(torch.zeros(1, 41, SMALL.hidden_size))


def test_residual_projections_start_smaller():
    torch.manual_seed(0)
    weights = Decoder(vera_nano().language).state_dict()
    # std of 65,536 and 196,608 samples: 1 % is above three standard errors
    for name, expected in (("q_proj", 0.02), ("o_proj", 0.02 / 8**0.5)):
        std = weights[f"layers.0.attention.{name}.weight"].std().item()
        assert std == pytest.approx(expected, rel=0.01), name
    down = weights["layers.0.mlp.down_proj.weight"].std().item()
    assert down == pytest.approx(0.02 / 8**0.5, rel=0.01)


def test_public_shape_runs_on_meta():
    with torch.device("meta"):
        decoder = Decoder(vera_0_5b().language)
        cache = KVCache(vera_0_5b().language, torch.float16)
        hidden = decoder(torch.empty(1, 300, 896))
    assert decoder.logits(hidden).shape == (1, 300, 151936)
    assert cache.size_bytes == 24 * 2 * 2 * 2048 * 64 * 2


class Program(nn.Module):
    """What an exporter captures: the decoder with the cache inside."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.cache = KVCache(decoder.config)

    def forward(self, embeds: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.decoder.step(embeds, start, self.cache)
        return hidden, self.decoder.logits(hidden[:, -1])


@pytest.mark.parametrize("start_shape", [(), (1,)])
def test_export_with_dynamic_length_equals_eager(start_shape):
    decoder = _decoder()
    length = torch.export.Dim("length", min=1, max=SMALL.max_length)
    example = (_embeds(decoder, 7), torch.zeros(start_shape, dtype=torch.int64))
    exported = torch.export.export(
        Program(decoder), example, dynamic_shapes=({1: length}, None), strict=False
    ).module()
    embeds = _embeds(decoder, 24)
    expected = decoder(embeds)
    start = 0
    for count in (11, 1, 1, 9, 2):
        place = torch.full(start_shape, start)
        hidden, logits = exported(embeds[:, start : start + count], place)
        wanted = expected[:, start : start + count]
        torch.testing.assert_close(hidden, wanted, rtol=0, atol=STEP_ATOL)
        # 48 terms, weights of 0.15; 2e-6 measured
        torch.testing.assert_close(logits, decoder.logits(wanted[:, -1]), rtol=0, atol=STEP_ATOL)
        start += count
