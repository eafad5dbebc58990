"""`vera data`: builds the samples that training reads, and shows them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.train.engine.config import EngineConfig
    from vera_mobile.train.engine.shards import Entry

BUILD_EXAMPLE = "example: vera data build --photos DIR --styles DIR --out SHARDS --workers 4"
SHOW_EXAMPLE = "example: vera data show SHARDS --out sheets"
MAX_SHOWN = 60


def add(commands: Any) -> None:
    """Adds the parsers of build and show."""
    p = commands.add_parser("data", help="make training samples from photos", epilog=BUILD_EXAMPLE)
    kinds = p.add_subparsers(dest="kind", required=True, metavar="WHAT")
    _add_build(kinds)
    s = kinds.add_parser(
        "show", help="contact sheet of some samples with their texts", epilog=SHOW_EXAMPLE
    )
    s.add_argument("shard", metavar="SHARD", help="a .tar of a build, or its folder")
    s.add_argument("--out", default=".", metavar="DIR", help="folder of the PNG (default: here)")
    s.add_argument("--split", default="train", help="split to show of a folder")
    s.add_argument("--count", type=int, default=8, help=f"samples, 1..{MAX_SHOWN}")
    s.add_argument("--seed", type=int, default=0, help="another seed shows other samples")
    s.add_argument("--json", action="store_true", help="one JSON document on stdout")
    s.set_defaults(run=run_show)


def _add_build(kinds: Any) -> None:
    b = kinds.add_parser("build", help="WebDataset shards from good photos", epilog=BUILD_EXAMPLE)
    b.add_argument("--photos", required=True, metavar="DIR", help="folder of good photos")
    b.add_argument("--out", required=True, metavar="SHARDS", help="folder; finished shards stay")
    b.add_argument("--styles", default="", metavar="DIR", help="presets: .xmp and .cube")
    b.add_argument("--pairs", default="", metavar="DIR", help="before/after pairs of experts")
    b.add_argument("--checkpoint", default="nano", help="its encoder reads the pairs' edits")
    b.add_argument("--split", default="train", help="train, val or test")
    b.add_argument("--tiers", default="A,B", help="licence tiers of manifest.csv, or 'all'")
    b.add_argument("--samples", type=int, default=3000, help="how many in all")
    b.add_argument("--per-shard", type=int, default=100, help="samples in one file")
    b.add_argument("--side", type=int, default=512, help="longer side of the pictures in pixels")
    b.add_argument("--format", default="jpg", help="of the pictures: jpg or png")
    b.add_argument("--seed", type=int, default=1, help="another seed makes other samples")
    b.add_argument("--workers", type=int, default=1, help="processes on this machine, 1..256")
    b.add_argument("--ray", default="", metavar="ADDRESS", help="'local', 'auto' or HOST:PORT")
    b.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                   help="a share or another setting, for example good_share=0.2")  # fmt: skip
    b.add_argument("--json", action="store_true", help="one JSON document on stdout")
    b.set_defaults(run=run_build)


def run_build(args: argparse.Namespace, console: Console) -> int:
    """Builds what is missing of a split's shards."""
    from vera_mobile.train.data import check_size
    from vera_mobile.train.engine.build import build
    from vera_mobile.train.engine.config import open_sources

    check_size(args.workers, "--workers", 1, 256)
    config = _config(args)
    sources = open_sources(config)
    console.say(
        f"{len(sources.photos)} photos, {len(sources.presets)} presets, "
        f"{len(sources.pairs.pairs) if sources.pairs else 0} pairs: "
        f"{config.samples} samples in {config.shards} shards"
    )
    if sources.left_out:
        console.say(f"left out: {len(sources.left_out)} presets; {sources.left_out[0]}")
    with console.bar(config.samples, "shards", "sample") as bar:

        def on_shard(entry: Entry) -> None:
            bar.update(entry["samples"])

        index = build(
            config, args.out, workers=args.workers, ray_address=args.ray, on_shard=on_shard
        )
    size = sum(shard["bytes"] for shard in index["shards"])
    tasks = ", ".join(f"{name} {count}" for name, count in index["tasks"].items())
    console.result(
        index, f"{index['samples']} samples ({tasks}), {size / 1e6:.1f} MB in {args.out}"
    )
    return 0


def _config(args: argparse.Namespace) -> EngineConfig:
    from dataclasses import fields, replace

    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.commands.train import overrides
    from vera_mobile.train.engine.config import EngineConfig

    config = EngineConfig(
        photos=args.photos, split=args.split, styles=args.styles, pairs=args.pairs,
        checkpoint=str(checkpoint_folder(args.checkpoint)) if args.pairs else "",
        tiers=() if args.tiers == "all" else tuple(args.tiers.split(",")), seed=args.seed,
        samples=args.samples, per_shard=args.per_shard, side=args.side, kind=args.format,
    )  # fmt: skip
    values = overrides(args.set)
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    for key, value in values.items():
        if key not in known:
            raise InvalidArgument(f"--set {key}: unknown; known are {', '.join(sorted(known))}")
        if isinstance(known[key], tuple):
            values[key] = tuple(str(value).split(","))
        elif isinstance(known[key], float) and isinstance(value, int):
            values[key] = float(value)
        elif type(value) is not type(known[key]):
            raise InvalidArgument(f"--set {key}={value}: use a {type(known[key]).__name__}")
    return replace(config, **values)


def run_show(args: argparse.Namespace, console: Console) -> int:
    """Writes the contact sheet."""
    import numpy as np

    from vera_mobile.train.data import check_size
    from vera_mobile.train.engine.reader import Shards
    from vera_mobile.train.engine.sheet import save_sheet

    check_size(args.count, "--count", 1, MAX_SHOWN)
    given = Path(args.shard)
    is_file = given.suffix == ".tar"
    folder = given.parent if is_file else given
    shards = Shards(folder, given.stem.rpartition("-")[0] if is_file else args.split)
    numbers = [
        i for i, (path, _) in enumerate(shards.rows) if not is_file or path.name == given.name
    ]
    if not numbers:
        raise InvalidArgument(f"{given}: is no shard of the build in {folder}")
    order = np.random.default_rng(args.seed).permutation(len(numbers))[: args.count]
    samples = [shards[numbers[i]] for i in sorted(order)]
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    path = save_sheet(samples, out / f"{given.stem if is_file else args.split}-sheet.png")
    told = [
        {"key": s.key, "task": s.task, "instruction": s.instruction, "answer": s.answer}
        for s in samples
    ]
    console.result({"sheet": str(path), "samples": told}, str(path))
    return 0
