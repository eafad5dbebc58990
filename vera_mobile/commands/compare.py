"""`vera compare`: a candidate's photos beside a reference's, with a verdict per photo."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.compare.run import Outcome, Row

EXAMPLE = (
    "example: vera compare --reference golden/ --candidate phone/ --bundle vera.bundle "
    "--page compare.html --junit compare.xml"
)
_FLAGS = {
    "psnr_db_min": "PSNR at least, dB",
    "ssim_min": "SSIM at least, 0..1",
    "ciede2000_mean_max": "mean CIEDE2000 at most",
    "ciede2000_p99_max": "99th percentile of CIEDE2000 at most",
    "ciede2000_max_max": "largest CIEDE2000 at most",
    "max_difference_max": "largest difference at most, steps of 1/255",
    "banding_share_max": "share of pixels at a new step in a smooth area at most, 0..1",
    "text_agreement_min": "share of equal words at least, 0..1, for photos with text",
}


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser(
        "compare", help="photos of two sides with a verdict for each", epilog=EXAMPLE
    )
    side = "folder of photos, or a result file (.json)"
    p.add_argument("--reference", required=True, metavar="DIR", help=side)
    p.add_argument("--candidate", required=True, metavar="DIR", help=side)
    p.add_argument("--bundle", metavar="DIR", help="tolerances of this bundle's manifest")
    for name, words in _FLAGS.items():
        p.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=words)
    p.add_argument("--page", metavar="FILE", help="write this HTML page")
    p.add_argument("--junit", metavar="FILE", help="write this JUnit XML")
    p.add_argument("--pictures", type=int, default=24, metavar="N",
                   help="photos shown on the page, the worst first (0..500)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Exit code 0: all photos hold, 1: one does not or is missing, 2: one cannot be read."""
    from vera_mobile.compare.pairs import pair_up
    from vera_mobile.compare.run import BROKEN, FAILED, compare_sides
    from vera_mobile.train.data import check_size

    check_size(args.pictures, "--pictures", 0, 500)
    _check_outputs(args)
    bounds, source = _bounds(args)
    pairs = pair_up(args.reference, args.candidate)
    with console.bar(len(pairs.pairs), "compare", "photo") as bar:

        def on_photo(_: Row) -> None:
            bar.update(1)

        wanted = args.pictures if args.page else 0
        outcome = compare_sides(pairs, bounds, pictures=wanted, on_photo=on_photo)
    _write(args, outcome, source)
    console.result(outcome.to_json(), _text(outcome))
    if outcome.count(BROKEN):
        return 2
    return 1 if outcome.count(FAILED) else 0


def _bounds(args: argparse.Namespace) -> tuple[dict[str, float], str]:
    """The manifest's bounds, replaced by flags; and where they came from, in words."""
    from vera_mobile.bundle import Bundle
    from vera_mobile.compare.tolerances import check_bounds, photo_bounds
    from vera_mobile.page import seeded_note

    bounds: dict[str, float] = {}
    sources = []
    if args.bundle:
        manifest = Bundle.open(args.bundle).manifest
        bounds |= photo_bounds(manifest.tolerances, f"bundle {args.bundle}")
        sources.append(f"of bundle {manifest.name}. {seeded_note(manifest.name)}".rstrip(". "))
    given = {name: getattr(args, name) for name in _FLAGS if getattr(args, name) is not None}
    if given:
        bounds |= given
        sources.append("given as flags")
    check_bounds(bounds)
    return bounds, " and ".join(sources)


def _check_outputs(args: argparse.Namespace) -> None:
    """Before minutes of work: the folders of the results must be there."""
    from vera_mobile.errors import FileError

    for flag, name in (("--page", args.page), ("--junit", args.junit)):
        if name and not Path(name).parent.is_dir():
            raise FileError(f"{flag} {name}: the folder {Path(name).parent} does not exist.")


def _write(args: argparse.Namespace, outcome: Outcome, source: str) -> None:
    if args.junit:
        from vera_mobile.compare.junit import write_junit

        write_junit(args.junit, outcome)
    if args.page:
        from vera_mobile.compare.page import write_compare_page

        write_compare_page(
            args.page,
            outcome,
            title=f"{Path(args.candidate).name} beside {Path(args.reference).name}",
            bounds_from=source,
            command=shlex.join(["vera", *sys.argv[1:]]),
        )


def _text(outcome: Outcome) -> str:
    from vera_mobile.compare.page import figure_text
    from vera_mobile.compare.run import BROKEN, FAILED, PASSED

    lines = []
    for row in outcome.rows:
        if row.reason:
            lines.append(f"{row.verdict:<11}{row.name}: {row.reason}")
        elif row.figures is not None:
            missed = ", ".join(check.name for check in row.checks if not check.passed)
            lines.append(
                f"{row.verdict:<11}{row.name}  {figure_text('psnr_db', row.figures.psnr_db)}, ΔE "
                f"mean {row.figures.ciede2000_mean:.3f} p99 {row.figures.ciede2000_p99:.3f} "
                f"max {row.figures.ciede2000_max:.2f}{f'  missed: {missed}' if missed else ''}"
            )
    parts = [f"{outcome.count(PASSED)} passed", f"{outcome.count(FAILED)} failed"]
    if outcome.count(BROKEN):
        parts.append(f"{outcome.count(BROKEN)} unreadable")
    if outcome.extra:
        parts.append(f"{len(outcome.extra)} only in the candidate")
    return "\n".join([*lines, ", ".join(parts)])
