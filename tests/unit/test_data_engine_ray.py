"""The data engine on a Ray cluster of two workers, one of which is killed in the middle."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from engine_files import write_photos, write_styles

from vera_mobile.errors import FileError
from vera_mobile.train.engine.build import build
from vera_mobile.train.engine.config import EngineConfig, fingerprint
from vera_mobile.train.engine.on_ray import run_on_ray
from vera_mobile.train.engine.reader import Shards

pytestmark = pytest.mark.full
SHARDS, PER_SHARD = 8, 40


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EngineConfig:
    root = tmp_path_factory.mktemp("engine")
    photos, styles = write_photos(root / "photos"), write_styles(root / "styles")
    return EngineConfig(
        str(photos), styles=str(styles), samples=SHARDS * PER_SHARD, per_shard=PER_SHARD, side=176
    )


def test_nothing_is_lost_or_made_twice_when_a_worker_is_killed(
    config: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    done: list[int] = []
    open_parts: list[str] = []

    def on_shard(entry: dict) -> None:
        done.append(entry["index"])
        if len(done) == 2:
            until = time.monotonic() + 60
            while len(open_parts) < 2 and time.monotonic() < until:  # both are within a shard
                open_parts[:] = [p.name for p in tmp_path.glob(".*.part")]
            cluster.remove_node(nodes[1], allow_graceful=False)

    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        index = build(config, tmp_path / ".", ray_address=cluster.address, on_shard=on_shard)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(open_parts) == 2
    assert Counter(done) == dict.fromkeys(range(SHARDS), 1)
    assert not list(tmp_path.glob(".*.part"))
    keys = [s.key for s in Shards(tmp_path, verify=True)]
    assert keys == [f"{i:08d}" for i in range(SHARDS * PER_SHARD)]
    alone = build(config, tmp_path / "alone")
    assert [s["sha256"] for s in alone["shards"]] == [s["sha256"] for s in index["shards"]]


def test_an_error_of_a_worker_keeps_its_words(config: EngineConfig, tmp_path: Path) -> None:
    """A photo that cannot be read is named, through Ray too."""
    pytest.importorskip("ray")
    photos = write_photos(tmp_path / "photos")
    (photos / "rocket0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    broken = replace(config, photos=str(photos), styles="", samples=9, per_shard=9, side=64)
    with pytest.raises(FileError, match=r"rocket0\.png"):
        list(run_on_ray(broken, [0], tmp_path, fingerprint(broken), 1, "local"))
    assert json.dumps([p.name for p in tmp_path.glob("*.tar")]) == "[]"
