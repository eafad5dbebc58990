"""The public files in: what comes out, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from public_files import OPTIONS, TINY, Files, tiny_model
from safetensors.torch import load_file
from torch import Tensor

from vera_mobile.errors import FileError, InvalidArgument, ModelError, OutOfMemory
from vera_mobile.model import import_check
from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.import_checkpoint import ImportOptions, import_checkpoint
from vera_mobile.model.load import load_checkpoint, save_checkpoint
from vera_mobile.model.vlm import VeraModel

OURS = {"config.json", "model.safetensors", "import.json"}
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
NORM = "model.norm.weight"
RENDERER = "out_layer.bias"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.of(tiny_model(), tmp_path)


def _same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype, key
        assert torch.equal(left[key], right[key]), key


def _outputs(model: VeraModel) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    photo, other = (torch.rand(1, 3, 64, 64, generator=generator) for _ in range(2))
    small, after = photo[..., :32, :32], other[..., :32, :32]
    with torch.inference_mode():
        tokens = model.encode_image(photo)
        hidden = model.decoder(model.decoder.embed(torch.tensor([[1, 5, 3]])))
        latents = model.retouch_head(hidden)
        pixels = model.renderer(photo.flatten(2).transpose(1, 2), latents)
        return [tokens, hidden, latents, pixels, model.reference_encoder(small, after)]


@pytest.mark.parametrize("shards", [1, 3])
def test_round_trip_has_equal_weights_and_outputs(files, shards):
    files.shards = shards
    report = files.write().run()
    model, loaded = tiny_model(), load_checkpoint(files.out)
    _same(model.state_dict(), loaded.state_dict())
    assert all(torch.equal(*pair) for pair in zip(_outputs(model), _outputs(loaded), strict=True))
    assert loaded.config == TINY
    assert report.loaded == len(model.state_dict())
    assert (report.missing, report.left_over, report.renderer_differs) == ((), (), ())
    assert {path.name for path in files.out.iterdir()} == OURS
    assert json.loads((files.out / "import.json").read_text())["loaded"] == report.loaded


@pytest.mark.parametrize("stored", [FP32, FP16, BF16])
@pytest.mark.parametrize("wanted", [None, FP32, FP16, BF16])
def test_every_type_becomes_every_type_by_one_rounding(files, stored, wanted):
    for weights in (files.vlm, files.encoder):
        weights |= {k: v.to(stored) for k, v in weights.items() if v.is_floating_point()}
    report = files.write().run(replace(OPTIONS, dtype=wanted))
    found = load_file(files.out / "model.safetensors")
    for key, value in tiny_model().state_dict().items():
        if value.is_floating_point():
            assert torch.equal(found[key], value.to(stored).to(wanted or stored)), key
            assert found[key].dtype == (wanted or stored)
        else:
            assert found[key].dtype == torch.int64
    assert report.size_bytes == sum(value.nbytes for value in found.values())


def test_missing_weights_are_named_ten_at_most_and_counted(files):
    names = [name for name in files.vlm if ".mlp." in name or name == NORM]
    for name in names:
        del files.vlm[name]
    with pytest.raises(ModelError) as caught:
        files.write().run()
    text = str(caught.value)
    assert f"lack {len(names)} weights: decoder.layers.0.mlp" in text
    assert text.count("publicly") == min(10, len(names))
    assert not files.out.parent.exists()


def test_left_over_weights_are_named(files):
    files.vlm["model.surplus"] = torch.zeros(1)
    files.encoder["encoder.model99.0.bias"] = torch.zeros(1)
    files.write().refused(
        ModelError, "2 weights without a place in the model: encoder.model99.0.bias, model.surplus"
    )


def test_allowed_missing_weights_are_written_as_nothing_and_reported(files):
    del files.vlm[NORM], files.vlm["retouch_head.6.weight"]
    allowed = (NORM, "retouch_head.out.*")
    report = files.write().run(replace(OPTIONS, allow_missing=allowed))
    assert report.missing == ("decoder.norm.weight", "retouch_head.out.weight")
    state = load_checkpoint(files.out).state_dict()
    assert torch.equal(state["decoder.norm.weight"], torch.ones(16))
    assert not state["retouch_head.out.weight"].any()
    assert report.loaded == len(state) - 2


def test_allowed_left_over_weights_are_left_out_and_reported(files):
    files.vlm["model.surplus"] = torch.zeros(1)
    report = files.write().run(replace(OPTIONS, allow_left_over=("model.sur*",)))
    assert report.left_over == ("model.surplus",)
    _same(tiny_model().state_dict(), load_checkpoint(files.out).state_dict())


def test_without_the_second_file_the_reference_encoder_is_missed(files):
    files.write().refused(ModelError, "--encoder-renderer", encoder_renderer=None)
    options = replace(OPTIONS, allow_missing=("reference_encoder.*",))
    report = files.run(options, encoder_renderer=None)
    assert all(name.startswith("reference_encoder.") for name in report.missing)
    photos = torch.rand(2, 3, 32, 32)
    loaded = load_checkpoint(files.out)
    assert not loaded.reference_encoder(photos[:1], photos[1:]).any()


def test_wrong_shape_is_named_with_both_shapes(files):
    files.vlm[NORM] = torch.zeros(15)
    files.write().refused(ModelError, r"model\.norm\.weight is \[15\] instead of \[16\]")


def test_quantized_weights_are_refused(files):
    files.vlm[NORM] = torch.zeros(16, dtype=torch.int8)
    files.write().refused(ModelError, "model.norm.weight' of .* is I8: use a file with")
    files.vlm[NORM] = torch.zeros(16, dtype=torch.int32)
    files.write().refused(ModelError, "wrong number type: model.norm.weight is torch.int32")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_all_named(files, value):
    files.vlm["model.norm.weight"][3] = value
    files.encoder["encoder.fc.bias"][0] = value
    files.write().refused(ModelError, r"2 weights hold NaN .* model\.norm.*, encoder\.fc\.bias")


def test_weights_too_large_for_the_type_are_named(files):
    files.vlm[NORM][3] = 1e6
    files.write().refused(
        ModelError, r"NaN or infinity.*model\.norm\.weight", replace(OPTIONS, dtype=FP16)
    )
    files.run(replace(OPTIONS, dtype=BF16))


def test_head_must_be_the_embedding(files):
    files.vlm["lm_head.weight"][7, 3] += 1e-3
    files.write().refused(ModelError, "lm_head.weight differs from model.embed_tokens.weight")
    files.vlm["lm_head.weight"] = torch.zeros(11, 15)
    files.write().refused(ModelError, r"lm_head.weight is \[11, 15\]")


def test_absent_head_is_the_embedding_unless_the_config_says_otherwise(files):
    del files.vlm["lm_head.weight"]
    files.write().run()
    shutil.rmtree(files.out)
    path = files.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": False}))
    files.refused(ModelError, "lack lm_head.weight")


def test_renderers_agree_within_the_stored_precision(files):
    for name, value in files.vlm.items():
        if name.startswith("retouch_decoder."):
            files.vlm[name] = value.bfloat16()
    report = files.write().run()
    assert report.renderer_differs == ()
    found = load_file(files.out / "model.safetensors")
    assert found["renderer.out.bias"].dtype == BF16


@pytest.mark.parametrize("chosen", ["vlm", "encoder_renderer"])
def test_renderers_that_differ_are_an_error_unless_one_is_chosen(files, chosen):
    ours, theirs = f"retouch_decoder.{RENDERER}", f"decoder.{RENDERER}"
    files.encoder[theirs][1] += 0.01
    files.encoder["decoder.z_projs.1.bias"][0] = math.nan
    files.write().refused(ModelError, f"first in retouch_decoder.*{theirs.split('.')[0]}")
    del files.encoder["decoder.z_projs.1.bias"]
    files.write().refused(ModelError, rf"first in {ours} and {theirs} \(by up to 0\.01,")
    report = files.run(replace(OPTIONS, renderer_from=chosen))
    assert report.renderer_differs == ("renderer.out.bias",)
    found = load_file(files.out / "model.safetensors")["renderer.out.bias"]
    assert torch.equal(found, files.vlm[ours] if chosen == "vlm" else files.encoder[theirs])


def test_another_shape_than_the_0_5b_is_shown(files):
    with pytest.raises(ModelError) as caught:
        files.write().run(ImportOptions())
    text = str(caught.value)
    assert "language.layers is 2 by weights, 24 in vera-0.5b" in text
    assert "language.heads is 2 by config.json, 14 in vera-0.5b" in text
    assert "encoder.widths is (4, 4, 8, 16) by weights, (64, 128, 256, 512)" in text
    assert "vision.image_size is 64 by config.json, 1024" in text
    assert "--config" in text


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("rope_theta", 1e6, "language.rope_theta is 1000000.0 by config.json, 10000.0 in tiny"),
        ("num_hidden_layers", 3, "language.layers is 3 by config.json, 2 in tiny"),
        ("vocab_size", 12, "language.vocab_size is 12 by config.json, 11 in tiny"),
        ("mm_vision_tower", "mobileclip_l_1024", "vision.image_size is 1024"),
    ],
)
def test_config_that_contradicts_is_shown(files, key, value, match):
    files.write()
    path = files.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    files.refused(ModelError, match)


def test_missing_config_is_needed_unless_a_shape_is_given(files):
    files.write()
    (files.folder / "config.json").unlink()
    files.refused(FileError, r"config\.json cannot be read", ImportOptions())
    files.run()


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_config_of_another_kind_is_refused(files, text):
    files.write()
    (files.folder / "config.json").write_text(text)
    files.refused(ModelError, r"config\.json is (not JSON|no table)")


def test_too_little_disk_is_found_before_a_value_is_read(files, monkeypatch):
    files.vlm[NORM][0] = math.nan
    files.write()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    files.refused(FileError, "needs 1 MB and 0 MB are free")


def test_too_little_memory_is_found_before_a_value_is_read(files, monkeypatch):
    files.vlm[NORM][0] = math.nan
    files.write()
    meminfo = files.root / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:  2000 kB\n")
    monkeypatch.setattr(import_check, "_MEMORY_FILE", meminfo)
    files.refused(OutOfMemory, "needs 268 MB of memory and 2 MB are available")
    meminfo.write_text("no such line")
    files.refused(ModelError, "NaN")


def test_existing_checkpoint_is_replaced_only_when_allowed(files):
    files.write().run()
    files.vlm[NORM][0] = 7.0
    files.write()
    with pytest.raises(InvalidArgument, match="--overwrite"):
        files.run()
    files.run(replace(OPTIONS, overwrite=True))
    assert load_checkpoint(files.out).decoder.norm.weight[0] == 7.0
    assert [path.name for path in files.out.parent.iterdir()] == ["checkpoint"]


def test_failed_replacement_keeps_the_old_checkpoint(files):
    files.write().run()
    before = {path.name: path.read_bytes() for path in files.out.iterdir()}
    files.vlm[NORM][0] = math.nan
    files.write()
    with pytest.raises(ModelError, match="NaN"):
        files.run(replace(OPTIONS, overwrite=True))
    assert {path.name: path.read_bytes() for path in files.out.iterdir()} == before
    assert [path.name for path in files.out.parent.iterdir()] == ["checkpoint"]


def test_only_a_checkpoint_of_ours_is_ever_replaced(files):
    options = replace(OPTIONS, overwrite=True)
    save_checkpoint(tiny_model(), files.out)
    (files.out / "notes.txt").write_text("mine")
    files.write()
    with pytest.raises(InvalidArgument, match=r"notes\.txt"):
        files.run(options)
    foreign = files.root / "foreign"
    shutil.copytree(files.folder, foreign)
    for out in (foreign, files.folder, files.root):
        with pytest.raises(InvalidArgument, match=r"not a checkpoint of this|replace the public"):
            import_checkpoint(
                files.folder,
                out,
                encoder_renderer=files.root / "encoder_renderer.safetensors",
                options=options,
            )
    assert (foreign / "model.safetensors").is_file()
    assert (files.folder / "model.safetensors").is_file()


def test_stop_in_the_middle_leaves_nothing(files):
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    files.write()
    with pytest.raises(KeyboardInterrupt):
        files.run(on_progress=stop)
    assert not list(files.out.parent.iterdir())


def test_progress_counts_every_byte_once(files):
    seen: list[tuple[int, int]] = []
    report = files.write().run(on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (report.size_bytes, report.size_bytes)


def test_unknown_arguments_are_refused():
    with pytest.raises(InvalidArgument, match="'hub' is unknown: use vlm or encoder_renderer"):
        ImportOptions(renderer_from="hub")
    with pytest.raises(InvalidArgument, match="int8 not allowed"):
        ImportOptions(dtype=torch.int8)


def test_default_shape_is_the_public_one(files):
    # only names and shapes are looked at before the first refusal
    files.vlm = {"model.norm.weight": torch.zeros(896)}
    files.write()
    (files.folder / "config.json").write_text("{}")
    files.encoder = {"encoder.fc.bias": torch.zeros(2688)}
    files.refused(ModelError, "lack", ImportOptions(), encoder_renderer=None)
    with torch.device("meta"):
        count = len(VeraModel(vera_0_5b()).state_dict())
    with pytest.raises(ModelError, match=f"lack {count - 1} weights"):
        files.run(ImportOptions(), encoder_renderer=None)
