"""`vera bench quality`: how well a model retouches photos it never saw."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import InvalidArgument, ModelError

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.train.evaluation.run import Report, Settings

EXAMPLE = "example: vera bench quality --checkpoint nano --photos DIR --split test --json"
SMALL_PARAMETERS = 50_000_000  # below: int4 by default, and as many processes as cores
INT4_RECIPE = "android-int4"
MAX_WORKERS = 64


def add(kinds: Any) -> None:
    """Adds the parser to the kinds of `vera bench`."""
    q = kinds.add_parser(
        "quality", help="auto, style, param, reference, beside other corrections", epilog=EXAMPLE
    )
    model = q.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", default="nano", help="bundled name or folder (PyTorch fp32)")
    model.add_argument("--bundle", help="bundle folder (ExecuTorch)")
    q.add_argument("--photos", metavar="DIR", help="folder of good photos")
    q.add_argument("--split", default="test", choices=("train", "val", "test"))
    q.add_argument("--limit", type=int, default=0, help="only the first N photos; 0: all")
    q.add_argument(
        "--pairs", metavar="DIR", help="before/after pairs: FiveK, PPR10K, NAME_before/NAME_after"
    )
    q.add_argument(
        "--peers", metavar="NAME=WHAT", nargs="+", action="extend", default=[],
        help="also measure a .cube file, a folder of them, or a command with {in} and {out}",
    )  # fmt: skip
    q.add_argument("--contact", metavar="DIR", help="write contact.png and contact.html there")
    int4 = q.add_mutually_exclusive_group()
    int4.add_argument(
        "--int4", metavar="BUNDLE",
        help=f"what {INT4_RECIPE} loses: a bundle of the checkpoint, or 'auto' to export one for "
        "the time of the run (default for small checkpoints)",
    )  # fmt: skip
    int4.add_argument("--no-int4", action="store_true", help="leave the int4 figure out")
    q.add_argument("--workers", type=int, default=0, help="processes; 0: cores, or 1 if it is big")
    q.add_argument("--json", action="store_true", help="one JSON document on stdout")
    q.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measures photos, pairs or both, and prints the figures."""
    model = _checked(args)
    small = _parameters(model) < SMALL_PARAMETERS
    settings, left_out = _settings(args, small)
    report: Report = {}
    sheets: list[Any] = []
    if args.photos:
        report |= _photos(args, console, model, settings, sheets)
    with _bundle_of(model, _int4_source(args, small), console) as int4:
        if int4:
            report["int4"] = _int4(args, console, int4, settings.workers, report["auto"])
    if args.pairs:
        report |= _pairs(args, console, model, settings, sheets)
    if args.contact:
        _contact(args, console, model, settings, sheets, report)
    lines = [f"{part}.{key:<28} {value}" for part, row in report.items()
             for key, value in row.items()]  # fmt: skip
    for what, why in left_out.items():
        console.say(f"{what} is left out: {why}")
    console.result(report, "\n".join(lines))
    return 0


def _checked(args: argparse.Namespace) -> Path:
    """The model's folder, once the arguments fit together and the photos are there."""
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.bundle import Bundle
    from vera_mobile.train.data import check_size, list_photos
    from vera_mobile.train.evaluation.pairs import list_pairs

    check_size(args.limit, "--limit", 0, 1_000_000)
    check_size(args.workers, "--workers", 0, MAX_WORKERS)
    if not args.photos and not args.pairs:
        raise InvalidArgument("--photos is missing: name a folder of photos, or --pairs DIR")
    if args.int4 and (args.bundle or not args.photos):
        raise InvalidArgument("--int4 compares a --checkpoint with its bundle on --photos")
    if args.int4 and args.int4 != "auto":
        Bundle.open(args.int4)
    if args.photos:
        list_photos(args.photos, args.split)
    if args.pairs:
        list_pairs(args.pairs)
    return Path(args.bundle) if args.bundle else checkpoint_folder(args.checkpoint)


def _parameters(model: Path) -> int:
    """The number of weights, by the config alone."""
    import torch

    from vera_mobile.bundle import Bundle
    from vera_mobile.model.config import ModelConfig
    from vera_mobile.model.load import CONFIG_FILE, read_config
    from vera_mobile.model.vlm import VeraModel, parameter_counts

    if (model / CONFIG_FILE).is_file():
        config = read_config(model / CONFIG_FILE)
    else:
        config = ModelConfig.from_dict(Bundle.open(model).manifest.model)
    with torch.device("meta"):
        return parameter_counts(VeraModel(config))["total"]


def _files(bundle: Path) -> Collection[str]:
    from vera_mobile.bundle import Bundle

    return Bundle.open(bundle).manifest.files


def _settings(args: argparse.Namespace, small: bool) -> tuple[Settings, dict[str, str]]:
    """What to measure, and what is left out here with the reason."""
    from vera_mobile.train.evaluation.baselines import BASELINES, Peer, baselines_here, check_peers
    from vera_mobile.train.evaluation.run import Settings, lpips_missing
    from vera_mobile.train.evaluation.tasks import PARTS

    peers = tuple(Peer.parse(text) for text in args.peers)
    check_peers(peers)
    here = baselines_here()
    left_out = {
        name: "pip install 'vera-mobile[demo]' brings what it needs"
        for name in BASELINES
        if name not in here
    }
    missing = lpips_missing()
    if missing:
        left_out["LPIPS"] = missing
    parts: tuple[str, ...] = PARTS
    if args.bundle and args.photos and "reference" not in _files(Path(args.bundle)):
        parts = tuple(part for part in PARTS if part != "reference")
        left_out["reference"] = "this bundle holds no reference encoder; --checkpoint measures it"
    workers = args.workers or (min(os.cpu_count() or 1, MAX_WORKERS) if small else 1)
    settings = Settings(parts, here, peers, lpips=not missing, workers=workers)
    return settings, left_out


@contextmanager
def _progress(
    console: Console, total: int, label: str, unit: str
) -> Iterator[Callable[[int, int], None]]:
    with console.bar(total, label, unit) as bar:
        yield lambda done, _: bar.update(done - bar.n)


def _photos(
    args: argparse.Namespace, console: Console, model: Path, settings: Settings, sheets: list[Any]
) -> Report:
    from vera_mobile.train.data import list_photos
    from vera_mobile.train.evaluation.contact import photo_cases
    from vera_mobile.train.evaluation.run import measured_photos, summary

    files = list_photos(args.photos, args.split)
    count = min(args.limit, len(files)) if args.limit else len(files)
    with _progress(console, count, "quality", "photo") as on_photo:
        rows = measured_photos(
            model, args.photos, split=args.split, limit=args.limit, settings=settings,
            on_photo=on_photo,
        )  # fmt: skip
    sheets += photo_cases(files[:count], rows)
    return summary(rows)


def _pairs(
    args: argparse.Namespace, console: Console, model: Path, settings: Settings, sheets: list[Any]
) -> Report:
    from vera_mobile.train.evaluation.contact import pair_cases
    from vera_mobile.train.evaluation.pairs import list_pairs, measured_pairs, pairs_summary

    pairs = list_pairs(args.pairs)
    pairs = pairs[: args.limit] if args.limit else pairs
    with _progress(console, len(pairs), "pairs", "pair") as on_pair:
        rows = measured_pairs(model, pairs, settings=settings, on_pair=on_pair)
    sheets += pair_cases(pairs, rows)
    return pairs_summary(pairs, rows)


def _int4_source(args: argparse.Namespace, small: bool) -> str | None:
    if args.no_int4 or args.bundle or not args.photos:
        return None
    return args.int4 or ("auto" if small else None)


def _int4(
    args: argparse.Namespace, console: Console, bundle: Path, workers: int, auto: Any
) -> dict[str, float]:
    from vera_mobile.train.evaluation.run import auto_figures, int4_part
    from vera_mobile.train.evaluation.tasks import DEGRADATIONS

    with _progress(console, int(auto["n"]) // DEGRADATIONS, "int4", "photo") as on_photo:
        found = auto_figures(
            bundle, args.photos, split=args.split, limit=args.limit, workers=workers,
            on_photo=on_photo,
        )  # fmt: skip
    return int4_part(auto, found)


@contextmanager
def _bundle_of(model: Path, bundle: str | None, console: Console) -> Iterator[Path | None]:
    """The bundle given, one exported ("auto") for as long as the block runs, or None."""
    if bundle != "auto":
        yield Path(bundle) if bundle else None
        return
    console.say(f"exporting {INT4_RECIPE} for int4.psnr_loss_db; --no-int4 leaves it out")
    with tempfile.TemporaryDirectory(prefix="vera-int4-") as folder:
        out = Path(folder, "int4.bundle")
        # a process of its own: the library never imports the export, and its memory goes back
        command = [sys.executable, "-m", "vera_mobile.cli", "export", "--checkpoint", str(model),
                   "--recipe", INT4_RECIPE, "--no-verify", "--out", str(out)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise ModelError(f"{INT4_RECIPE} could not be exported ({last}): use --no-int4.")
        yield out


def _contact(
    args: argparse.Namespace,
    console: Console,
    model: Path,
    settings: Settings,
    cases: list[Any],
    report: Report,
) -> None:
    from vera_mobile.retoucher import Retoucher
    from vera_mobile.train.evaluation.contact import chosen, contact_row, write_contact

    retoucher, tools, picks = Retoucher.load(model), settings.tools(), chosen(cases)
    rows = []
    with console.bar(len(picks), "contact sheet", "photo") as bar:
        for case, rank in picks:
            rows.append(contact_row(retoucher, case, rank, tools))
            bar.update(1)
    name = args.bundle or args.checkpoint
    source = [f"--{k} {getattr(args, k)}" for k in ("photos", "pairs") if getattr(args, k)]
    command = f"vera bench quality --checkpoint {name} {' '.join(source)} --contact DIR"
    if args.bundle:
        command = command.replace("--checkpoint", "--bundle", 1)
    paths = write_contact(args.contact, rows, report, f"{Path(name).name}: auto", command)
    console.say("contact sheet: " + ", ".join(str(p) for p in paths))
