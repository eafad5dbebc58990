"""`vera train scorer`: the small aesthetic scorer that rewards and benchmarks use by default."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.files import replacing

if TYPE_CHECKING:
    from vera_mobile.cli import Console

EXAMPLE = "example: vera train scorer --photos DIR --out runs/scorer"
ACCURACY_FILE = "accuracy.json"


def add(stages: Any) -> None:
    """Adds the parser to the stages of `vera train`."""
    s = stages.add_parser("scorer", help="aesthetic scorer, from photos alone", epilog=EXAMPLE)
    s.add_argument("--photos", required=True, metavar="DIR", help="folder of good photos")
    s.add_argument("--config", default="scorer", help="name or TOML file")
    s.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    s.add_argument("--tiers", default="A,B", help="licence tiers of manifest.csv, or 'all'")
    s.add_argument("--split", default="test", choices=("val", "test"), help="measured at the end")
    s.add_argument("--out", required=True, help="run folder; a run in it is resumed")
    s.add_argument("--checkpoint", help="where to write the scorer (default: OUT/scorer)")
    s.add_argument("--json", action="store_true", help="one JSON document on stdout")
    s.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Trains, writes the scorer and its held-out ranking accuracy beside it."""
    from vera_mobile.commands.train import overrides, photo_pool, shown_on
    from vera_mobile.train.data import list_photos
    from vera_mobile.train.loop import read_config
    from vera_mobile.train.scorer import ScorerShape, save_scorer
    from vera_mobile.train.scorer_train import ScorerConfig, ranking_accuracy, train_scorer

    config = read_config(ScorerConfig, args.config, overrides(args.set))
    tiers = () if args.tiers == "all" else tuple(args.tiers.split(","))
    photos = list_photos(args.photos, "train", tiers)
    held_out = list_photos(args.photos, args.split)
    console.say(f"{len(photos)} photos, {ScorerShape().size} x {ScorerShape().size}")
    pool = photo_pool(photos, ScorerShape().size, console)
    with console.bar(config.steps, "scorer", "step") as bar:
        scorer = train_scorer(pool, config, Path(args.out), shown_on(bar))
    folder = save_scorer(scorer, args.checkpoint or Path(args.out) / "scorer")
    with console.bar(len(held_out), "held-out", "photo") as bar:
        accuracy = ranking_accuracy(scorer, held_out, lambda done: bar.update(done - bar.n))
    with replacing(folder / ACCURACY_FILE) as stream:
        stream.write((json.dumps({"split": args.split, **accuracy}, indent=1) + "\n").encode())
    lines = [f"{key:<10} {value}" for key, value in accuracy.items()]
    console.result({"scorer": str(folder), **accuracy}, "\n".join([f"scorer: {folder}", *lines]))
    return 0
