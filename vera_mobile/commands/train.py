"""`vera train`: the stages that make a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import FileError, InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.train.data import PhotoFile

EXAMPLE = "example: vera train renderer --photos DIR --out runs/renderer"
PLAN_EXAMPLE = "example: vera train plan --photos DIR --set stage1=runs/renderer --out runs/plan"


def add(commands: Any) -> None:
    """Adds the parsers of both stages."""
    p = commands.add_parser("train", help="train the stages of a checkpoint", epilog=EXAMPLE)
    stages = p.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, text in (
        ("renderer", "stage 1: renderer and reference encoder, from photos alone"),
        ("plan", "stage 3: vision, decoder and head, through the frozen renderer"),
    ):
        example = PLAN_EXAMPLE if name == "plan" else EXAMPLE
        s = stages.add_parser(name, help=text, epilog=example)
        s.add_argument("--photos", required=True, metavar="DIR", help="folder of good photos")
        s.add_argument("--config", default=f"{name}-nano", help="name or TOML file")
        s.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
        s.add_argument("--tiers", default="A,B", help="licence tiers of manifest.csv, or 'all'")
        s.add_argument("--out", required=True, help="run folder; a run in it is resumed")
        if name == "plan":
            s.add_argument("--tokenizer", help="tokenizer.json (default: the bundled one)")
            s.add_argument("--checkpoint", help="where to write the checkpoint (default: OUT)")
        s.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Trains one stage; resumes what `--out` holds."""
    from vera_mobile.model.config import vera_nano
    from vera_mobile.train.data import list_photos

    small = args.stage == "renderer"
    settings = (_renderer_config if small else _plan_config)(args)
    tiers = () if args.tiers == "all" else tuple(args.tiers.split(","))
    photos = list_photos(args.photos, "train", tiers)
    config = vera_nano()
    side = config.encoder.image_size if small else config.vision.image_size
    console.say(f"{len(photos)} photos, {side} x {side}")
    pool = _pool(photos, side, console)
    if small:
        _renderer(args, console, config, pool, settings)
    else:
        _plan(args, console, config, pool, settings)
    return 0


def _pool(photos: list[PhotoFile], side: int, console: Console) -> Any:
    """All photos as `load_pool` gives them; FileError names the one that cannot be read."""
    import torch

    from vera_mobile.train.data import load_pool

    parts = []
    with console.bar(len(photos), "reading", "photo") as bar:
        for photo in photos:
            try:
                parts.append(load_pool([photo], side))
            except (OSError, SyntaxError) as e:
                raise FileError(
                    f"{photo.path}: is no readable photo ({e}); take it out of the folder"
                ) from e
            bar.update(1)
    return torch.cat(parts)


def overrides(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts as typed values. InvalidArgument for a text without '='."""
    import tomllib

    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise InvalidArgument(f"--set {pair}: write KEY=VALUE, for example steps=100")
        try:
            out[key] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            out[key] = value
    return out


def _renderer_config(args: argparse.Namespace) -> Any:
    from vera_mobile.train.loop import read_config
    from vera_mobile.train.renderer import RendererConfig

    return read_config(RendererConfig, args.config, overrides(args.set))


def _plan_config(args: argparse.Namespace) -> Any:
    from vera_mobile.train.loop import read_config
    from vera_mobile.train.plan import PlanConfig

    return read_config(PlanConfig, args.config, overrides(args.set))


def _renderer(
    args: argparse.Namespace, console: Console, model: Any, pool: Any, config: Any
) -> None:
    from vera_mobile.train.renderer import train_renderer

    with console.bar(config.steps, "renderer", "step") as bar:
        train_renderer(pool, model, config, Path(args.out), _show(bar))


def _plan(args: argparse.Namespace, console: Console, model: Any, pool: Any, config: Any) -> None:
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.model.tokens import Vocabulary
    from vera_mobile.train.plan import save_nano, train_plan

    tokenizer = Path(args.tokenizer or checkpoint_folder("nano") / "tokenizer.json")
    with console.bar(config.steps, "plan", "step") as bar:
        vera = train_plan(
            pool, model, Vocabulary.load(tokenizer), config, Path(args.out), _show(bar)
        )
    folder = Path(args.checkpoint or args.out)
    save_nano(vera, tokenizer, folder)
    console.say(f"checkpoint: {folder}")


def _show(bar: Any) -> Callable[[int, dict[str, float]], None]:
    def on_step(step: int, values: dict[str, float]) -> None:
        bar.n = step
        bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
        bar.refresh()

    return on_step
