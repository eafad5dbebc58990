"""`vera export`, `vera verify` and `vera demo`."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.errors import InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.export.recipes import Recipe
    from vera_mobile.model.config import ModelConfig

CALIBRATION_PHOTOS = 16
VERIFIED_PHOTOS = 8
# of a large picture: ranges of 1024 x 1024 take half a minute and 13 MB a photo
LARGE_CALIBRATION_PHOTOS, LARGE_PICTURE = 4, 1024


def add_export(commands: Any) -> None:
    """Adds the parser of `vera export`."""
    p = commands.add_parser(
        "export",
        help="make a bundle from a checkpoint",
        epilog="example: vera export --checkpoint nano --recipe android-int4 --out vera.bundle",
    )
    p.add_argument("--checkpoint", default="nano", help="bundled name or folder")
    p.add_argument("--recipe", default="android-int4", help="see --list-recipes")
    p.add_argument("--out", help="folder of the bundle")
    p.add_argument("--photos", metavar="DIR", help="photos to calibrate 8-bit ranges with")
    p.add_argument(
        "--calibration-photos", type=int, metavar="N",
        help=f"how many of them (default {CALIBRATION_PHOTOS}; {LARGE_CALIBRATION_PHOTOS} where "
        f"the model sees {LARGE_PICTURE} pixels, half a minute each)",
    )  # fmt: skip
    p.add_argument("--overwrite", action="store_true", help="replace a bundle that exists")
    p.add_argument(
        "--with-reference", action=argparse.BooleanOptionalAction, default=None,
        help="put the reference encoder in, for --reference BEFORE AFTER (default: yes, but in "
        "android-int4 of the 0.5B model, which 11 MB more would lift above 400 MB)",
    )  # fmt: skip
    p.add_argument("--no-verify", action="store_true", help="skip the parity ladder")
    p.add_argument("--list-recipes", action="store_true", help="explain the recipes and stop")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run_export)


def add_verify(commands: Any) -> None:
    """Adds the parser of `vera verify`."""
    p = commands.add_parser(
        "verify",
        help="check that a bundle is whole, runs, and is near its checkpoint",
        epilog="example: vera verify vera.bundle --checkpoint nano",
    )
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--checkpoint", help="also compare with this checkpoint (name or folder)")
    p.add_argument("--photos", metavar="DIR", help="photos to compare on (default: sample photos)")
    p.add_argument("--report", metavar="FILE", help="also write a page with pictures: .html")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run_verify)


def add_demo(commands: Any) -> None:
    """Adds the parser of `vera demo`."""
    p = commands.add_parser(
        "demo", help="export nano and retouch sample photos", epilog="example: vera demo"
    )
    p.add_argument("--out", default="out/demo", help="folder for results and report.html")
    p.add_argument("--photo", metavar="FILE", help="retouch this photo instead of the samples")
    p.set_defaults(run=run_demo)


def run_export(args: argparse.Namespace, console: Console) -> int:
    """Exports, then verifies; exit code 1 when the bundle is outside its tolerances."""
    from vera_mobile.export.checkpoint import open_checkpoint
    from vera_mobile.export.preflight import check_before_export
    from vera_mobile.export.recipes import RECIPES

    if args.list_recipes:
        rows = {name: recipe_facts(one) for name, one in RECIPES.items()}
        console.result(rows, "\n\n".join(recipe_text(name, row) for name, row in rows.items()))
        return 0
    if not args.out:
        raise InvalidArgument("--out is missing: name the folder of the bundle")
    if args.calibration_photos is not None and args.calibration_photos < 1:
        raise InvalidArgument(
            f"--calibration-photos is {args.calibration_photos}: use a number from 1"
        )
    source = checkpoint_path(args.checkpoint)
    check_before_export(source, args.recipe, args.out)
    with open_checkpoint(args.checkpoint) as folder:
        return export_folder(folder, args, console)


def export_folder(folder: Path, args: argparse.Namespace, console: Console) -> int:
    """`vera export` of a checkpoint folder in our form."""
    from vera_mobile.bundle import describe
    from vera_mobile.export.pipeline import export_bundle
    from vera_mobile.export.recipes import holds_reference, recipe
    from vera_mobile.export.verify import verify_bundle
    from vera_mobile.model.load import CONFIG_FILE, load_checkpoint, read_config

    config = read_config(folder / CONFIG_FILE)
    chosen = recipe(args.recipe)
    chosen = replace(chosen, reference=holds_reference(chosen, config, args.with_reference))
    photos = sample_pixels(config, args.photos, args.calibration_photos)
    steps: list[str] = []
    with console.bar(100, "export", "%") as bar:

        def on_progress(stage: str, share: float) -> None:
            steps.append(stage)
            bar.set_description(f"export: {stage}", refresh=False)
            bar.update(round(share * 100) - bar.n)

        bundle = export_bundle(
            folder,
            folder / "tokenizer.json",
            chosen,
            args.out,
            calibration=photos,
            on_progress=on_progress,
            commit=source_commit(),
            overwrite=args.overwrite,
        )
    info = describe(bundle)
    if args.no_verify:
        console.result(
            {"bundle": info, "steps": steps},
            f"{args.out}: {info['size_bytes'] / 1e6:.2f} MB, not verified",
        )
        return 0
    report = verify_bundle(bundle, load_checkpoint(folder), photos[:4])
    console.result(
        {"bundle": info, "steps": steps, "parity": report},
        f"{args.out}: {info['size_bytes'] / 1e6:.2f} MB\n{parity_text(report)}",
    )
    return 0 if report["passed"] else 1


def run_verify(args: argparse.Namespace, console: Console) -> int:
    """Exit code 0 when everything holds, 1 when a tolerance is missed."""
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.bundle import Bundle
    from vera_mobile.export.golden import verify_self
    from vera_mobile.export.parity_page import write_parity_page
    from vera_mobile.export.verify import ParityViews, verify_bundle
    from vera_mobile.model.load import load_checkpoint

    if args.report and Path(args.report).suffix != ".html":
        raise InvalidArgument(f"--report is {args.report}: give a name that ends in .html")
    bundle = Bundle.open(args.bundle)
    own = verify_self(bundle)
    lines = [program_text(name, row) for name, row in own["programs"].items()]
    result: dict[str, Any] = {"self": own}
    passed, report = own["passed"], None
    views: list[ParityViews] = []
    if args.checkpoint:
        model = load_checkpoint(checkpoint_folder(args.checkpoint))
        photos = sample_pixels(model.config, args.photos)[:VERIFIED_PHOTOS]
        keep = views.append if args.report else None
        report = verify_bundle(bundle, model, photos, on_photo=keep)
        result["parity"] = report
        passed = passed and report["passed"]
        lines.append(parity_text(report))
    result["passed"] = passed
    if args.report:
        command = shlex.join(["vera", "verify", args.bundle, *_given(args)])
        write_parity_page(args.report, bundle, own, report, views, command)
        lines.append(f"page: {args.report}")
    console.result(result, "\n".join([*lines, "passed" if passed else "FAILED"]))
    return 0 if passed else 1


def _given(args: argparse.Namespace) -> list[str]:
    names = ("checkpoint", "photos", "report")
    return [part for name in names if (value := getattr(args, name))
            for part in (f"--{name}", str(value))]  # fmt: skip


def run_demo(args: argparse.Namespace, console: Console) -> int:
    """Everything in one go; ends by saying where to look."""
    from vera_mobile.export.demo import run

    report = run(Path(args.out), Path(args.photo) if args.photo else None, console)
    console.result(None, f"Look at {report}")
    return 0


def program_text(name: str, row: dict[str, Any]) -> str:
    """A program's row of `verify_self` for people."""
    if row["passed"] is None:
        return f"{name:<10} NOT RUN {row['not_run']}"
    return f"{name:<10} {'ok' if row['passed'] else 'FAILED':<7} {row['sqnr_db']} dB to the export"


def parity_text(report: dict[str, Any]) -> str:
    """The parity report as lines for people."""
    lines = [
        f"{name:<10} SQNR {row['sqnr_db']:.1f} dB, cosine {row['cosine']:.5f}"
        if row["sqnr_db"] is not None
        else f"{name:<10} equal"
        for name, row in report["stages"].items()
    ]
    for name, delegate in report.get("not_run", {}).items():
        lines.append(f"{name:<10} NOT RUN: needs {delegate}; the checkpoint's own stood in for it")
    for check in report["checks"]:
        mark = "ok" if check["passed"] else "MISSED"
        lines.append(f"{check['name']:<22}{check['value']:.4f} (bound {check['bound']}) {mark}")
    return "\n".join(lines)


def recipe_facts(one: Recipe) -> dict[str, Any]:
    """What `--list-recipes` says of a recipe."""
    parts = ("vision", "language", "logits", "embedding", "head", "renderer")
    return {
        "description": one.description,
        "runs_on": one.runs_on,
        "backend": one.backend,
        "schemes": {part: getattr(one, part) for part in parts},
        "tolerances": dict(one.tolerances),
    }


def recipe_text(name: str, facts: dict[str, Any]) -> str:
    """The same for people."""
    schemes = ", ".join(f"{part} {used}" for part, used in facts["schemes"].items())
    return f"{name}\n  {facts['description']}\n  Runs on: {facts['runs_on']}\n  Schemes: {schemes}"


def checkpoint_path(name: str) -> Path:
    """The folder of a bundled name or of a path, of our form or public."""
    from vera_mobile.assets import CHECKPOINTS, checkpoint_folder

    return checkpoint_folder(name) if name in CHECKPOINTS else Path(name)


def sample_pixels(config: ModelConfig, folder: str | None, count: int | None = None) -> np.ndarray:
    """Photos (n, 3, S, S) float32 for calibration and parity: from a folder, else samples.

    count: the most of them; None: fewer of large pictures.
    """
    from vera_mobile.export.samples import sample_photos
    from vera_mobile.image import Photo
    from vera_mobile.model.pixels import vision_pixels

    large = config.vision.image_size >= LARGE_PICTURE
    most = count or (LARGE_CALIBRATION_PHOTOS if large else CALIBRATION_PHOTOS)
    if folder:
        from vera_mobile.train.data import list_photos

        photos = [Photo.load(f.path) for f in list_photos(folder, "val")[:most]]
    else:
        photos = [Photo.from_array(p) for p in sample_photos()[:most]]
    return np.concatenate([vision_pixels(p, config) for p in photos])


def source_commit() -> str | None:
    """The commit of the source tree, or None outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
