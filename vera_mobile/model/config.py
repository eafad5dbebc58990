"""Shapes of the model: frozen dataclasses, checked when made, and the two shapes that we ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vera_mobile.errors import InvalidArgument

LATENT_GROUPS = 3  # lighting, global colour, specific colour: in this order everywhere
TOTAL_STRIDE = 64  # pixels of the photo per image token and axis

T = TypeVar("T")


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise InvalidArgument(
                f"{type(config).__name__}.{name} {value} not allowed: use a value above 0."
            )


def _check_tuple(config: object, name: str, length: int) -> None:
    value = getattr(config, name)
    if len(value) != length or any(entry <= 0 for entry in value):
        raise InvalidArgument(
            f"{type(config).__name__}.{name} {value} not allowed: use {length} values, all above 0."
        )


@dataclass(frozen=True)
class VisionConfig:
    """Shape of the FastViTHD tower: five stages, attention in the last two, stride 64 in all.

    image_size in pixels; embed_dims and depths (blocks) per stage; exp_ratio: features per channel
    of the last stage; unused_projection: keep the public file's unused `head.proj` as a parameter.
    """

    image_size: int
    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    mlp_ratio: int = 4
    exp_ratio: int = 2
    se_ratio: int = 16
    attention_head_dim: int = 32
    layer_scale_init: float = 1e-5
    unused_projection: bool = False

    def __post_init__(self) -> None:
        _check_positive(
            self, "image_size", "mlp_ratio", "exp_ratio", "se_ratio", "attention_head_dim"
        )
        _check_tuple(self, "embed_dims", 5)
        _check_tuple(self, "depths", 5)
        if self.image_size % TOTAL_STRIDE:
            raise InvalidArgument(
                f"VisionConfig.image_size {self.image_size} not allowed: "
                f"use a multiple of {TOTAL_STRIDE}."
            )
        if any(dim % self.attention_head_dim for dim in self.embed_dims[3:]):
            self._refuse_dims(f"the last two multiples of {self.attention_head_dim}")
        if self.feature_size < self.se_ratio:
            self._refuse_dims(f"the last one at least {self.se_ratio} / exp_ratio")

    def _refuse_dims(self, allowed: str) -> None:
        raise InvalidArgument(
            f"VisionConfig.embed_dims {self.embed_dims} not allowed: use {allowed}."
        )

    @property
    def feature_size(self) -> int:
        """Values per image token at the end of the tower."""
        return self.embed_dims[-1] * self.exp_ratio

    @property
    def tokens(self) -> int:
        """Image tokens per photo."""
        return (self.image_size // TOTAL_STRIDE) ** 2


@dataclass(frozen=True)
class LanguageConfig:
    """Shape of the Qwen2 decoder; max_length: tokens (image tokens included) that a cache holds."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    max_length: int
    rope_theta: float
    rms_eps: float = 1e-6

    def __post_init__(self) -> None:
        _check_positive(self, *(field.name for field in fields(self)))
        if self.heads % self.kv_heads:
            raise InvalidArgument(
                f"LanguageConfig.kv_heads {self.kv_heads} not allowed with {self.heads} heads: "
                "use a divisor of heads."
            )
        if self.head_dim % 2:
            raise InvalidArgument(
                f"LanguageConfig.head_dim {self.head_dim} not allowed: "
                "use an even number, rotary embedding turns pairs."
            )


@dataclass(frozen=True)
class RendererConfig:
    """Shape of the per-pixel network; latent_size: values per group, of which there are three.

    residual False: RGB = sigmoid(out), as in the public form; True: RGB = input + out.
    """

    widths: tuple[int, ...]
    latent_size: int
    residual: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "latent_size")
        _check_tuple(self, "widths", max(1, len(self.widths)))


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the reference encoder; image_size in pixels; widths: channels per ResNet stage."""

    image_size: int
    widths: tuple[int, ...]
    reduction: int = 16

    def __post_init__(self) -> None:
        _check_positive(self, "image_size", "reduction")
        _check_tuple(self, "widths", 4)
        if self.image_size % 32:
            raise InvalidArgument(
                f"EncoderConfig.image_size {self.image_size} not allowed: use a multiple of 32."
            )
        if any(width < self.reduction for width in self.widths[1:]):
            raise InvalidArgument(
                f"EncoderConfig.widths {self.widths} not allowed: "
                f"use at least {self.reduction} (reduction) from the second stage on."
            )


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the whole model. `to_dict` and `from_dict` go through JSON unchanged."""

    name: str
    vision: VisionConfig
    language: LanguageConfig
    renderer: RendererConfig
    encoder: EncoderConfig

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidArgument("ModelConfig.name '' not allowed: use a name such as vera_nano.")
        if self.vision.tokens >= self.language.max_length:
            raise InvalidArgument(
                f"LanguageConfig.max_length {self.language.max_length} not allowed: use more than "
                f"the {self.vision.tokens} image tokens of the photo."
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain dicts, lists, numbers and strings, in the order of the fields."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelConfig:
        """The config that `to_dict` wrote.

        Raises InvalidArgument for an unknown key, a missing key or a value of the wrong type, with
        the key's path in the message.
        """
        return _from_mapping(ModelConfig, values, "")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _from_mapping(kind: type[T], values: Any, path: str) -> T:
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise InvalidArgument(
            f"Config {path or 'root'} is {values!r}: use a table with the keys {sorted(hints)}."
        )
    unknown = sorted(str(key) for key in set(values) - set(hints))
    if unknown:
        raise InvalidArgument(
            f"Config key '{path}{unknown[0]}' is unknown: the keys here are {', '.join(hints)}."
        )
    converted = {key: _convert(hints[key], entry, path + key) for key, entry in values.items()}
    try:
        return kind(**converted)
    except TypeError as error:
        missing = [key for key in hints if key not in values]
        raise InvalidArgument(
            f"Config {path or 'root'} is incomplete: add one of {', '.join(missing)}."
        ) from error


def _convert(kind: Any, value: Any, path: str) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InvalidArgument(f"Config value {path} = {value!r} not allowed: use a list.")
        return tuple(_convert(get_args(kind)[0], entry, path) for entry in value)
    if kind not in (int, float, bool, str):
        return _from_mapping(kind, value, f"{path}.")
    # type() and not isinstance: bool is an int too, and `true` would become a size of 1
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise InvalidArgument(f"Config value {path} = {value!r} not allowed: use {kind.__name__}.")


def vera_0_5b() -> ModelConfig:
    """The public shape: FastViTHD at 1024, Qwen2-0.5B, sigmoid renderer; 0.63 G parameters."""
    return ModelConfig(
        name="vera-0.5b",
        vision=VisionConfig(
            image_size=1024,
            embed_dims=(96, 192, 384, 768, 1536),
            depths=(2, 12, 24, 4, 2),
            unused_projection=True,
        ),
        language=LanguageConfig(
            vocab_size=151936,
            hidden_size=896,
            layers=24,
            heads=14,
            kv_heads=2,
            head_dim=64,
            intermediate_size=4864,
            max_length=2048,
            rope_theta=1e6,
        ),
        renderer=RendererConfig(widths=(128, 256, 512), latent_size=896),
        encoder=EncoderConfig(image_size=512, widths=(64, 128, 256, 512)),
    )


def vera_nano() -> ModelConfig:
    """The shape of the bundled checkpoint: the same architecture in under 12 M parameters."""
    return ModelConfig(
        name="vera-nano",
        vision=VisionConfig(
            image_size=256,
            embed_dims=(16, 32, 64, 128, 256),
            depths=(1, 1, 2, 1, 1),
            mlp_ratio=3,
            layer_scale_init=0.1,
        ),
        language=LanguageConfig(
            vocab_size=4096,
            hidden_size=256,
            layers=4,
            heads=4,
            kv_heads=2,
            head_dim=64,
            intermediate_size=512,
            max_length=384,
            rope_theta=1e4,
        ),
        renderer=RendererConfig(widths=(64, 128, 256), latent_size=256, residual=True),
        encoder=EncoderConfig(image_size=128, widths=(16, 32, 64, 128)),
    )
