"""Checkpoints: round trip, every way to be bad, and the public files' names."""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from public_files import TINY
from safetensors.torch import load_file, save_file

from vera_mobile.errors import FileError, InvalidArgument, ModelError
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.public_names import ENCODER_RENDERER, SOURCES, VLM, own_name, upstream_name
from vera_mobile.model.vlm import VeraModel

# names and shapes of the public files as published; {0-23} stands for the numbers 0 to 23
PUBLIC_KEYS = Path(__file__).with_name("test_model_public_keys.json")


def _model(seed: int = 0) -> VeraModel:
    torch.manual_seed(seed)
    return VeraModel(TINY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(_model(), tmp_path / "checkpoint")


def _change(folder: Path, edit) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def _same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype, key
        assert torch.equal(left[key], right[key]), key


def test_round_trip_is_exact_and_computes_the_same(folder):
    model, loaded = _model().eval(), load_checkpoint(folder)
    assert loaded.config == TINY
    assert not loaded.training
    _same(model.state_dict(), loaded.state_dict())
    photo, ids = torch.rand(1, 3, 64, 64), torch.tensor([[1, 5, 3]])
    assert torch.equal(model.encode_image(photo), loaded.encode_image(photo))
    embeds = model.decoder.embed(ids)
    assert torch.equal(model.decoder(embeds), loaded.decoder(embeds))


def test_loaded_model_can_train(folder):
    model = load_checkpoint(folder).train()
    model.encode_image(torch.rand(2, 3, 64, 64)).sum().backward()
    assert model.projector.out.weight.grad is not None
    assert model.vision.projection is not None
    assert not model.vision.projection.requires_grad


def test_half_precision_round_trip_is_exact_after_rounding(tmp_path):
    model = _model()
    folder = save_checkpoint(model, tmp_path, dtype=torch.float16)
    full = save_checkpoint(model, tmp_path / "full")
    ratio = (folder / "model.safetensors").stat().st_size / (
        full / "model.safetensors"
    ).stat().st_size
    assert ratio < 0.75  # the header of a tiny model is large; 0.5 for real ones
    _same(load_checkpoint(folder, torch.float16).state_dict(), model.half().state_dict())


def test_counters_keep_their_integer_type(folder):
    weights = load_checkpoint(folder, torch.float16).state_dict()
    assert weights["reference_encoder.stem.norm.num_batches_tracked"].dtype == torch.int64


def test_same_model_gives_the_same_bytes(tmp_path):
    files = [
        (save_checkpoint(_model(), tmp_path / name) / "model.safetensors").read_bytes()
        for name in ("one", "two")
    ]
    assert files[0] == files[1]


def test_nothing_but_the_two_files_is_left(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_weights_that_do_not_fit_half_precision_are_refused_and_nothing_written(tmp_path):
    model = _model()
    with torch.no_grad():
        model.projector.out.bias[0] = 1e6
    with pytest.raises(ModelError, match=r"float16.*projector\.out\.bias"):
        save_checkpoint(model, tmp_path / "half", dtype=torch.float16)
    assert not (tmp_path / "half").exists()


def test_overflow_on_loading_as_half_is_refused(tmp_path):
    model = _model()
    with torch.no_grad():
        model.projector.out.bias[0] = 1e6
    folder = save_checkpoint(model, tmp_path)
    assert load_checkpoint(folder).projector.out.bias[0] == 1e6
    with pytest.raises(ModelError, match=r"float16.*projector\.out\.bias"):
        load_checkpoint(folder, torch.float16)


def test_missing_weight_is_named(folder):
    _change(folder, lambda weights: weights.pop("decoder.norm.weight"))
    with pytest.raises(ModelError, match=r"lacks 1 weights: decoder\.norm\.weight"):
        load_checkpoint(folder)


def test_left_over_weight_is_named(folder):
    _change(folder, lambda weights: weights.update(surplus=torch.zeros(1)))
    with pytest.raises(ModelError, match="without a place in the model: surplus"):
        load_checkpoint(folder)


def test_wrong_shape_is_named_with_both_shapes(folder):
    _change(folder, lambda weights: weights.update({"decoder.norm.weight": torch.zeros(15)}))
    with pytest.raises(ModelError, match=r"decoder\.norm\.weight is \[15\] instead of \[16\]"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weight_that_is_not_finite_is_named(folder, value):
    def poison(weights):
        weights["retouch_head.out.bias"][3] = value

    _change(folder, poison)
    with pytest.raises(ModelError, match=r"NaN or infinity in retouch_head\.out\.bias"):
        load_checkpoint(folder)


def test_pickle_under_the_right_name_is_refused_and_not_run(folder, tmp_path):
    mark = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (mark,)

    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="pickle"):
        load_checkpoint(folder)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["weights.pth", "pytorch_model.bin"])
def test_torch_pickle_in_place_of_safetensors_is_refused(folder, name):
    torch.save({"a": torch.zeros(1)}, folder / name)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"{name} are a Python pickle"):
        load_checkpoint(folder)


def test_torch_pickle_renamed_to_safetensors_is_refused(folder):
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="pickle"):
        load_checkpoint(folder)


def test_truncated_file_is_an_error_of_the_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="damaged"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"hello"])
def test_file_of_another_kind_is_an_error_of_the_file(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileError, match=name):
        load_checkpoint(folder)


def test_config_with_an_unknown_key_is_named(folder):
    values = json.loads((folder / "config.json").read_text())
    values["vision"]["colour"] = 1
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"vision\.colour"):
        load_checkpoint(folder)


def test_config_that_is_not_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        load_checkpoint(folder)


def test_integer_dtype_is_refused(folder):
    with pytest.raises(InvalidArgument, match="int8 not allowed: use float32"):
        load_checkpoint(folder, torch.int8)
    with pytest.raises(InvalidArgument, match="int8 not allowed: use float32"):
        save_checkpoint(_model(), folder, dtype=torch.int8)


def test_folder_that_cannot_be_made_is_an_error_of_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        save_checkpoint(_model(), tmp_path / "file" / "below")


def _public_shapes(source: str) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for name, shape in json.loads(PUBLIC_KEYS.read_text())[source].items():
        match = re.search(r"\{0-(\d+)\}", name)
        numbers = range(int(match[1]) + 1) if match else range(1)
        shapes |= {re.sub(r"\{.*\}", str(number), name): shape for number in numbers}
    return shapes


@pytest.fixture(scope="module")
def public_model() -> VeraModel:
    with torch.device("meta"):
        return VeraModel(vera_0_5b())


@pytest.mark.parametrize(("source", "count"), [(VLM, 954), (ENCODER_RENDERER, 182)])
def test_every_public_key_has_its_place_and_shape(public_model, source, count):
    ours = public_model.state_dict()
    public = _public_shapes(source)
    assert len(public) == count
    for name, shape in public.items():
        key = own_name(name, source)
        if key is None:
            assert name == "lm_head.weight"
            key = "decoder.embedding.weight"
        else:
            assert upstream_name(key, source) == name
        assert list(ours[key].shape) == shape, name


def test_every_weight_of_ours_is_in_a_public_file(public_model):
    found = {own_name(name, source) for source in SOURCES for name in _public_shapes(source)}
    assert found - {None} == set(public_model.state_dict())


def test_no_two_public_keys_share_a_place():
    for source in SOURCES:
        places = [own_name(name, source) for name in _public_shapes(source)]
        assert len(set(places)) == len(places)


def test_renderer_is_in_both_files_and_the_rest_in_one():
    key = "renderer.latent_projections.2.bias"
    assert upstream_name(key, VLM) == "retouch_decoder.z_projs.2.bias"
    assert upstream_name(key, ENCODER_RENDERER) == "decoder.z_projs.2.bias"
    assert upstream_name("decoder.norm.weight", ENCODER_RENDERER) is None
    assert upstream_name("reference_encoder.out.bias", VLM) is None


def test_unknown_names_and_sources_are_refused():
    with pytest.raises(ModelError, match="surplus"):
        upstream_name("surplus")
    with pytest.raises(ModelError, match="surplus"):
        own_name("surplus", ENCODER_RENDERER)
    with pytest.raises(InvalidArgument, match="use vlm or encoder_renderer"):
        own_name("surplus", "hub")
