"""Our weight names against those of the two public files; every name has exactly one rule."""

from __future__ import annotations

import re
from functools import lru_cache

from vera_mobile.errors import InvalidArgument, ModelError
from vera_mobile.model.vision import ATTENTION_STAGES

VLM = "vlm"  # the safetensors of the vision-language model
ENCODER_RENDERER = "encoder_renderer"  # `model_state_dict` of encoder_renderer.pth
SOURCES = (VLM, ENCODER_RENDERER)

# stored beside the embedding that it is equal to; we keep one of the two
TIED_HEAD = "lm_head.weight"

_TOWER = "model.vision_tower.vision_tower.model."
_PUBLIC_BLOCKS = (0, 2, 4, 7, 10)  # our stage -> its place in the public list of modules
_PUBLIC_DOWN = {1: 1, 2: 3, 3: 5, 4: 8}
_PUBLIC_POSITION = {3: 6, 4: 9}

# (our prefix, public prefix); # stands for the same number on both sides
Rule = tuple[str, str]

_RENDERER_RULES: tuple[Rule, ...] = (
    ("renderer.layers.#.", "layers.#."),
    ("renderer.norms.#.", "layer_norms.#."),
    ("renderer.latent_projections.#.", "z_projs.#."),
    ("renderer.out.", "out_layer."),
)

_VLM_RULES: tuple[Rule, ...] = (
    ("vision.stem.#.", _TOWER + "patch_embed.#.reparam_conv."),
    ("vision.expand.conv.", _TOWER + "conv_exp.reparam_conv."),
    ("vision.expand.squeeze.", _TOWER + "conv_exp.se.reduce."),
    ("vision.expand.excite.", _TOWER + "conv_exp.se.expand."),
    ("vision.projection", _TOWER + "head.proj"),
    ("projector.up.", "model.mm_projector.0."),
    ("projector.out.", "model.mm_projector.2."),
    ("decoder.embedding.", "model.embed_tokens."),
    ("decoder.norm.", "model.norm."),
    ("decoder.layers.#.attention_norm.", "model.layers.#.input_layernorm."),
    ("decoder.layers.#.attention.", "model.layers.#.self_attn."),
    ("decoder.layers.#.mlp_norm.", "model.layers.#.post_attention_layernorm."),
    ("decoder.layers.#.mlp.", "model.layers.#.mlp."),
    ("retouch_head.first.", "retouch_head.0."),
    ("retouch_head.first_norm.", "retouch_head.1."),
    ("retouch_head.second.", "retouch_head.3."),
    ("retouch_head.second_norm.", "retouch_head.4."),
    ("retouch_head.out.", "retouch_head.6."),
    *((own, f"retouch_decoder.{public}") for own, public in _RENDERER_RULES),
)

_ENCODER_RULES: tuple[Rule, ...] = (
    ("reference_encoder.blocks.0.attention.", "encoder.attn_spatial1."),
    ("reference_encoder.blocks.1.attention.", "encoder.attn_spatial2."),
    ("reference_encoder.blocks.2.attention.squeeze.", "encoder.attn_mid1.channel_att.1."),
    ("reference_encoder.blocks.2.attention.excite.", "encoder.attn_mid1.channel_att.3."),
    ("reference_encoder.blocks.2.attention.spatial.conv.", "encoder.attn_mid1.spatial_att.0."),
    ("reference_encoder.blocks.4.attention.squeeze.", "encoder.attn_mid2.channel_att.1."),
    ("reference_encoder.blocks.4.attention.excite.", "encoder.attn_mid2.channel_att.3."),
    ("reference_encoder.blocks.4.attention.spatial.conv.", "encoder.attn_mid2.spatial_att.0."),
    ("reference_encoder.blocks.6.attention.squeeze.", "encoder.attn_deep.fc.0."),
    ("reference_encoder.blocks.6.attention.excite.", "encoder.attn_deep.fc.2."),
    ("reference_encoder.blocks.2.shortcut.conv.", "encoder.en1.0."),
    ("reference_encoder.blocks.2.shortcut.norm.", "encoder.en1.1."),
    ("reference_encoder.blocks.4.shortcut.conv.", "encoder.en2.0."),
    ("reference_encoder.blocks.4.shortcut.norm.", "encoder.en2.1."),
    ("reference_encoder.blocks.6.shortcut.conv.", "encoder.en3.0."),
    ("reference_encoder.blocks.6.shortcut.norm.", "encoder.en3.1."),
    ("reference_encoder.stem.conv.", "encoder.model0.0."),
    ("reference_encoder.stem.norm.", "encoder.model0.1."),
    ("reference_encoder.out.", "encoder.fc."),
)


def upstream_name(key: str, source: str = VLM) -> str | None:
    """The public file's name of our weight `key`, None where that file does not hold it.

    source: "vlm" or "encoder_renderer"; the renderer is in both. Raises InvalidArgument for another
    source, ModelError for a key that neither file has (it is none of ours).
    """
    _check_source(source)
    found = {name: _translate(key, rules) for name, rules in _forward_rules().items()}
    if not any(found.values()):
        raise ModelError(f"Weight '{key}' is unknown: use a key of VeraModel.state_dict().")
    return found[source]


def own_name(public_key: str, source: str = VLM) -> str | None:
    """Our name of a public file's weight, None for a copy that we do not keep (the tied head).

    Raises InvalidArgument for an unknown source, ModelError for a key that has no place in ours.
    """
    _check_source(source)
    if public_key == TIED_HEAD and source == VLM:
        return None
    found = _translate(public_key, _backward_rules()[source])
    if found is None:
        raise ModelError(
            f"Weight '{public_key}' of the public {source} file has no place in the model: "
            "use the checkpoint files as they were published, whole and unmerged."
        )
    return found


def _check_source(source: str) -> None:
    if source not in SOURCES:
        raise InvalidArgument(f"Source '{source}' is unknown: use {' or '.join(SOURCES)}.")


def _stage_rules() -> list[Rule]:
    rules: list[Rule] = []
    for stage, place in enumerate(_PUBLIC_BLOCKS):
        own, public = f"vision.stages.{stage}.blocks.#.", f"{_TOWER}network.{place}.#."
        parts = {
            "ffn.depthwise.": "convffn.conv.conv.",
            "ffn.norm.": "convffn.conv.bn.",
            "ffn.expand.": "convffn.fc1.",
            "ffn.reduce.": "convffn.fc2.",
        }
        if stage in ATTENTION_STAGES:
            parts |= {
                "norm.": "norm.",
                "attention.qkv.": "token_mixer.qkv.",
                "attention.out.": "token_mixer.proj.",
                "attention_scale": "layer_scale_1",
                "ffn_scale": "layer_scale_2",
            }
        else:
            parts |= {"mixer.": "token_mixer.reparam_conv.", "ffn_scale": "layer_scale"}
        rules += [(own + ours, public + theirs) for ours, theirs in parts.items()]
    for stage, place in _PUBLIC_DOWN.items():
        own, public = f"vision.stages.{stage}.down.", f"{_TOWER}network.{place}.proj."
        rules.append((own + "spatial.", public + "0.lkb_reparam."))
        rules.append((own + "pointwise.", public + "1.reparam_conv."))
    for stage, place in _PUBLIC_POSITION.items():
        rules.append((f"vision.stages.{stage}.position.", f"{_TOWER}network.{place}.reparam_conv."))
    return rules


def _block_rules() -> list[Rule]:
    parts = {"first.conv.": "0.", "first.norm.": "1.", "second.conv.": "3.", "second.norm.": "4."}
    return [
        (f"reference_encoder.blocks.{block}.{ours}", f"encoder.model{block + 1}.{theirs}")
        for block in range(8)
        for ours, theirs in parts.items()
    ]


def _rules(source: str) -> list[Rule]:
    if source == VLM:
        return [*_VLM_RULES, *_stage_rules()]
    renderer = ((own, f"decoder.{public}") for own, public in _RENDERER_RULES)
    return [*_ENCODER_RULES, *_block_rules(), *renderer]


Compiled = list[tuple[re.Pattern[str], str]]


def _compile(rules: list[Rule]) -> Compiled:
    # the rest of a name (weight, bias, running_mean ...) is the same on both sides
    return [
        (
            re.compile(
                re.escape(before).replace(r"\#", r"(?P<number>\d+)") + r"(?P<rest>[a-z_.]*)"
            ),
            after.replace("#", r"\g<number>") + r"\g<rest>",
        )
        for before, after in rules
    ]


@lru_cache(maxsize=1)
def _forward_rules() -> dict[str, Compiled]:
    return {source: _compile(_rules(source)) for source in SOURCES}


@lru_cache(maxsize=1)
def _backward_rules() -> dict[str, Compiled]:
    return {
        source: _compile([(public, own) for own, public in _rules(source)]) for source in SOURCES
    }


def _translate(key: str, rules: Compiled) -> str | None:
    for pattern, replacement in rules:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(replacement)
    return None
