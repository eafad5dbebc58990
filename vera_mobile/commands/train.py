"""`vera train`: the stages that make a checkpoint."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.commands import train_scorer
from vera_mobile.errors import FileError, InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.train.data import PhotoFile
    from vera_mobile.train.parallel import Group


@dataclass(frozen=True)
class Stage:
    """One stage for people: what it is, needs and makes, and how to start it."""

    name: str
    text: str
    needs: str
    makes: str
    example: str


SCORER = Stage(
    "scorer",
    "the small aesthetic scorer that rewards use, from photos alone",
    "photos",
    "RUN/scorer: weights, config and its held-out ranking accuracy",
    "vera train scorer --photos DIR --out runs/scorer",
)
STAGES = (
    Stage(
        "renderer",
        "stage 1: renderer and reference encoder, from photos alone",
        "photos",
        "RUN/state.safetensors for plan, RUN/report.json: how far the groups are decoupled",
        "vera train renderer --photos DIR --out runs/renderer",
    ),
    Stage(
        "align",
        "stage 2: the projector learns to describe photos (optional for nano)",
        "photos or shards; for the 0.5B shape --init CHECKPOINT of `vera import`",
        "a checkpoint in RUN for plan's --init",
        "vera train align --photos DIR --config align-0.5b --init vera-0.5b --out runs/align",
    ),
    Stage(
        "plan",
        "stage 3: vision, decoder and head, through the frozen renderer",
        "photos or shards, stage1=RUN of renderer; --init RUN of align, plan or a checkpoint",
        "a checkpoint in RUN",
        "vera train plan --photos DIR --set stage1=runs/renderer --out runs/plan",
    ),
    Stage(
        "measures",
        "after plan: the retouch head learns to read what is measured on the photo",
        "photos, --init RUN of plan or a checkpoint, which grows the tokens that it lacks",
        "a checkpoint in RUN",
        "vera train measures --photos DIR --init runs/plan --out runs/measures",
    ),
    Stage(
        "rl",
        "stage 4: reinforcement learning (DAPO-AE) on form, likeness and looks",
        "photos or shards, --init RUN of plan or a checkpoint",
        "a checkpoint in RUN, RUN/report.json: score and likeness before and after",
        "vera train rl --photos DIR --init runs/plan --out runs/rl",
    ),
)


def add(commands: Any) -> None:
    """Adds the parsers of all stages."""
    epilog = f"example: {STAGES[0].example}"
    p = commands.add_parser("train", help="train the stages of a checkpoint", epilog=epilog)
    p.add_argument("--list", action="store_true", help="what each stage needs and makes")
    p.add_argument("--json", action="store_true", help="with --list: one JSON document")
    p.set_defaults(run=show_list)
    stages = p.add_subparsers(dest="stage", metavar="STAGE")
    train_scorer.add(stages)
    for stage in STAGES:
        s = stages.add_parser(stage.name, help=stage.text, epilog=f"example: {stage.example}")
        photos = s.add_argument("--photos", metavar="DIR", help="folder of good photos")
        photos.required = stage.name == "renderer"
        s.add_argument("--config", default=f"{stage.name}-nano", help="name or TOML file")
        s.add_argument("--init", metavar="DIR", help="run or checkpoint to start from")
        s.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
        s.add_argument("--tiers", default="A,B", help="licence tiers of manifest.csv, or 'all'")
        s.add_argument("--out", required=True, help="run folder; a run in it is resumed")
        if stage.name != "renderer":
            s.add_argument("--shards", metavar="DIR", help="of `vera data build`, for --photos")
            s.add_argument("--tokenizer", help="tokenizer.json (default: init's, or the bundled)")
            s.add_argument("--checkpoint", help="where to write the checkpoint (default: OUT)")
        s.set_defaults(run=run)


def show_list(args: argparse.Namespace, console: Console) -> int:
    """Prints the stages. InvalidArgument when neither a stage nor --list is given."""
    if not args.list:
        names = ", ".join(stage.name for stage in (*STAGES, SCORER))
        raise InvalidArgument(f"vera train: name a stage ({names}), or use --list")
    lines = []
    for s in (*STAGES, SCORER):
        lines += [f"{s.name:9} {s.text}", f"{'':9} needs: {s.needs}", f"{'':9} makes: {s.makes}",
                  f"{'':9} $ {s.example}"]  # fmt: skip
    rows = {s.name: {"about": s.text, "needs": s.needs, "makes": s.makes}
            for s in (*STAGES, SCORER)}  # fmt: skip
    console.result(rows, "\n".join(lines))
    return 0


def run(args: argparse.Namespace, console: Console) -> int:
    """Trains one stage; resumes what `--out` holds."""
    from vera_mobile.train.parallel import group_of, refuse_many

    settings = config_of(args)
    with group_of(settings.device) as group:
        if args.stage in ("renderer", "measures", "rl"):
            refuse_many(group, f"vera train {args.stage}")
        _train(args, console, settings, group)
    return 0


def config_of(args: argparse.Namespace) -> Any:
    """The stage's settings: the file, then --init and --set."""
    from vera_mobile.train.align import AlignConfig
    from vera_mobile.train.loop import read_config
    from vera_mobile.train.measures import MeasuresConfig
    from vera_mobile.train.plan import PlanConfig
    from vera_mobile.train.renderer import RendererConfig
    from vera_mobile.train.rl import RLConfig

    kind = {"renderer": RendererConfig, "align": AlignConfig, "plan": PlanConfig,
            "measures": MeasuresConfig, "rl": RLConfig}  # fmt: skip
    folders = {k: getattr(args, k, None) for k in ("init", "shards")}
    given = {k: v for k, v in folders.items() if v}
    config: Any = read_config(kind[args.stage], args.config, given | overrides(args.set))
    if not args.photos and not getattr(config, "shards", ""):
        raise InvalidArgument("nothing to learn from: give --photos DIR or --shards DIR")
    return config


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


def _train(args: argparse.Namespace, console: Console, settings: Any, group: Group) -> None:
    from vera_mobile.train.data import list_photos
    from vera_mobile.train.grow import with_measures
    from vera_mobile.train.stage import model_config

    if args.stage == "measures":
        settings = with_measures(settings, Path(args.out))
    model = model_config(settings)
    needed = _preflight(args, settings, model, group)
    tiers = () if args.tiers == "all" else tuple(args.tiers.split(","))
    side = (model.encoder if args.stage == "renderer" else model.vision).image_size
    shards = getattr(settings, "shards", "")
    photos = [] if shards else list_photos(args.photos, "train", tiers)
    if group.main:
        from_where = f"shards {shards}" if shards else f"{len(photos)} photos"
        console.say(f"{model.name}, {from_where}, {side} x {side}")
        console.say(f"training takes {needed}")
    pool = photo_pool(photos, side, console) if photos else None
    if args.stage == "renderer":
        _renderer(args, console, model, pool, settings, group)
    else:
        held_out = (
            _held_out(args, tiers, side, console) if args.stage == "rl" and not shards else None
        )
        _language(args, console, model, pool, settings, group, held_out)


def _preflight(args: argparse.Namespace, settings: Any, model: Any, group: Group) -> Any:
    """What the run takes; refuses what cannot work before any photo is read."""
    import torch

    from vera_mobile.train import align, measures, plan, rl
    from vera_mobile.train.board import Board
    from vera_mobile.train.engine.reader import Shards
    from vera_mobile.train.preflight import check_room, needs
    from vera_mobile.train.renderer import StageModel
    from vera_mobile.train.stage import VeraStage, load_stage1

    Board(Path(args.out) if settings.tensorboard else None)
    if getattr(settings, "shards", ""):
        Shards(settings.shards)
    if args.stage == "plan":
        load_stage1(Path(settings.stage1), model)
    if args.stage == "rl":
        rl.check_start(settings)
    with torch.device("meta"):
        module: Any
        if args.stage == "renderer":
            module = StageModel(model)
        elif args.stage == "plan":
            module = plan.PlanModel(model)
            plan.freeze_(module, settings)
        elif args.stage == "measures":
            module = VeraStage(model)
            measures.freeze_(module)
        else:
            module = VeraStage(model)
            (align.freeze_ if args.stage == "align" else rl.freeze_)(module, settings)
    needed = needs(module, group.size)
    check_room(needed, Path(args.out), group)
    return needed


def photo_pool(photos: list[PhotoFile], side: int, console: Console) -> Any:
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


def _held_out(args: argparse.Namespace, tiers: tuple[str, ...], side: int, console: Console) -> Any:
    """Photos of the split val; None, said aloud, where the folder has none."""
    from vera_mobile.train.data import list_photos

    try:
        return photo_pool(list_photos(args.photos, "val", tiers), side, console)
    except FileError:
        console.say("no photos of split 'val': the report will be made on training photos")
        return None


def _renderer(
    args: argparse.Namespace, console: Console, model: Any, pool: Any, config: Any, group: Group
) -> None:
    from vera_mobile.train.renderer import train_renderer

    with console.bar(config.steps, "renderer", "step") as bar:
        train_renderer(pool, model, config, Path(args.out), shown_on(bar), group)
    console.say(f"report: {Path(args.out) / 'report.json'}")


def _language(
    args: argparse.Namespace,
    console: Console,
    model: Any,
    pool: Any,
    config: Any,
    group: Group,
    held_out: Any,
) -> None:
    from vera_mobile.model.tokens import Vocabulary
    from vera_mobile.train.stage import check_vocabulary, save_trained, tokenizer_file

    tokenizer = tokenizer_file(args.tokenizer, config)
    vocabulary = Vocabulary.load(tokenizer)
    check_vocabulary(vocabulary, model)
    out = Path(args.out)
    with console.bar(config.steps if group.main else 0, args.stage, "step") as bar:
        train = _trainer(args.stage, held_out, console, config)
        vera = train(pool, model, vocabulary, config, out, shown_on(bar), group)
    if group.main:
        folder = Path(args.checkpoint or args.out)
        save_trained(vera, tokenizer, folder)
        if folder.resolve() != out.resolve():
            shutil.copyfile(out / "stage.json", folder / "stage.json")
        console.say(f"checkpoint: {folder}")


def _trainer(stage: str, held_out: Any, console: Console, config: Any) -> Callable[..., Any]:
    from functools import partial

    from vera_mobile.train.align import train_align
    from vera_mobile.train.measures import train_measures
    from vera_mobile.train.plan import train_plan
    from vera_mobile.train.rl import train_rl

    if stage == "rl":
        return partial(train_rl, held_out=held_out)
    if stage != "measures":
        return train_align if stage == "align" else train_plan

    def train(*arguments: Any) -> Any:
        bars = _Bars(console)
        try:
            return train_measures(*arguments, on_work=bars.show)
        finally:
            bars.close()

    return train


class _Bars:
    """One bar after the other, for works whose names and sizes are told as they begin."""

    def __init__(self, console: Console) -> None:
        self.console, self.stack, self.work = console, ExitStack(), ("", 0)
        self.bar: Any = None

    def show(self, what: str, done: int, of: int) -> None:
        """`done` of `of` parts of a work are done."""
        if self.work != (what, of) or done <= self.bar.n:
            self.close()
            self.work, self.bar = (what, of), self.stack.enter_context(self.console.bar(of, what))
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Ends the bar that is shown."""
        self.stack.close()


def shown_on(bar: Any) -> Callable[[int, dict[str, float]], None]:
    def on_step(step: int, values: dict[str, float]) -> None:
        if not bar.n:
            bar.initial = step - 1  # of a resumed run: the time left follows from this process
        bar.n = step
        bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
        bar.refresh()

    return on_step
