"""The public files at the size of the 0.5B model, with seeded values: weights and memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from public_files import hf_config
from safetensors import safe_open
from safetensors.torch import save_file

from vera_mobile.model.config import ModelConfig, vera_0_5b
from vera_mobile.model.load import config_text
from vera_mobile.model.public_names import ENCODER_RENDERER, VLM, own_name, upstream_name
from vera_mobile.model.vlm import VeraModel

SHARD_BYTES = 500_000_000
# to stay under 3 GB with room for other machines; measured 1.41 GB with float32 files and 0.89 GB
# with bfloat16 ones (the embedding table and its tied copy are mapped at once: 1.09 and 0.54 GB)
PEAK_BYTES = 2_000_000_000

IMPORT = """
import json, sys
from vera_mobile.model.import_checkpoint import ImportOptions, import_checkpoint
import torch
vlm, second, out, dtype = sys.argv[1:]
options = ImportOptions(dtype=getattr(torch, dtype))
report = import_checkpoint(vlm, out, encoder_renderer=second, options=options)
# not ru_maxrss: that one starts at what the parent process had
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
print(json.dumps({"peak": 1024 * peak, "report": report.to_dict()}))
"""


def _value(key: str, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """Seeded values, the same for the same key; PyTorch's generator: 0.6 billion are needed."""
    generator = torch.Generator().manual_seed(sum(key.encode()) * 1009 + len(key))
    return torch.randn(shape, generator=generator).mul_(0.02).to(dtype)


def _write_public(root: Path, config: ModelConfig, dtype: torch.dtype) -> None:
    """Writes shard after shard, so that this process stays small too."""
    with torch.device("meta"):
        state = VeraModel(config).state_dict()
    places: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    encoder: dict[str, torch.Tensor] = {}

    def close_shard() -> None:
        file = f"model-{len(set(places.values())) + 1:05d}.safetensors"
        save_file(shard, root / "vlm" / file)
        places.update(dict.fromkeys(shard, file))
        shard.clear()

    (root / "vlm").mkdir()
    for key, tensor in state.items():
        wide = tensor.dtype.is_floating_point
        value = _value(key, tensor.shape, dtype) if wide else torch.zeros_like(tensor, device="cpu")
        name, other = (upstream_name(key, source) for source in (VLM, ENCODER_RENDERER))
        if other is not None:
            encoder[other] = value
        if name is not None:
            shard[name] = value.clone()
        if sum(entry.nbytes for entry in shard.values()) > SHARD_BYTES:
            close_shard()
    embedding = state["decoder.embedding.weight"]
    shard["lm_head.weight"] = _value("decoder.embedding.weight", embedding.shape, dtype)
    close_shard()
    index = {"weight_map": places}
    (root / "vlm" / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "vlm" / "config.json").write_text(json.dumps(hf_config(config)))
    torch.save({"model_state_dict": encoder}, root / "encoder_renderer.pth")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)  # gigabytes, which pytest would keep for three runs


@pytest.mark.full
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_0_5b_is_imported_in_little_memory(root, stored):
    _write_public(root, vera_0_5b(), stored)
    shards = list((root / "vlm").glob("*.safetensors"))
    assert len(shards) > 2
    arguments = [root / "vlm", root / "encoder_renderer.pth", root / "out", "bfloat16"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["peak"] < PEAK_BYTES
    assert (root / "out" / "config.json").read_text() == config_text(vera_0_5b())
    with safe_open(root / "out" / "model.safetensors", framework="pt") as file:
        keys = list(file.keys())
        assert len(keys) == outcome["report"]["loaded"] == 1115
        for key in keys[:: len(keys) // 40]:
            found = file.get_tensor(key)
            if found.is_floating_point():
                expected = _value(key, found.shape, stored).bfloat16()
                assert torch.equal(found, expected), key
    names = {own_name(name, VLM) for shard in shards for name in _names(shard)}
    assert set(keys) >= names - {None}


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())
