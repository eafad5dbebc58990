"""`vera bench report`: one page of targets, projections, results and peers."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.bench.project import Efficiency, Projection
    from vera_mobile.bench.targets import Targets
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench report --bundle vera.bundle --out out/bench/report.html"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("report", help="targets, projections and results as a page",
                         epilog=EXAMPLE)  # fmt: skip
    p.add_argument("--out", default="out/bench/report.html", metavar="FILE", help="the page")
    p.add_argument("--markdown", metavar="FILE", help="also write the table of aims as Markdown")
    p.add_argument("--bundle", help="bundle to project onto the phones (default: none)")
    p.add_argument("--tokens", type=int, default=120, help="tokens of reasoning, 0..1024")
    p.add_argument("--prompt-tokens", type=int, help="default: of the bundle's tokenizer, auto")
    p.add_argument("--results", metavar="DIR", help="default: benchmarks/results")
    p.add_argument("--peers", default="out/bench", metavar="DIR", help="JSON of make bench-*")
    p.add_argument("--targets", metavar="FILE", help="default: benchmarks/targets.toml")
    p.add_argument("--published", metavar="FILE", help="default: benchmarks/published.toml")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Writes the page and says where it is."""
    from vera_mobile.bench.markdown import aims_table
    from vera_mobile.bench.page import Findings, write_bench_page
    from vera_mobile.bench.project import fit
    from vera_mobile.bench.results import load_history
    from vera_mobile.bench.targets import benchmarks_folder, load_published, load_targets
    from vera_mobile.bundle import Bundle, describe
    from vera_mobile.page import write_page

    targets = load_targets(args.targets or benchmarks_folder() / "targets.toml")
    published = load_published(args.published or benchmarks_folder() / "published.toml")
    efficiency = fit(published.measured)
    results = load_history(args.results or benchmarks_folder() / "results")
    found = Findings(
        targets=targets,
        published=published,
        efficiency=efficiency,
        projections=_projections(args, targets, efficiency),
        results=results,
        bundle=describe(Bundle.open(args.bundle)) if args.bundle else None,
        peers=Path(args.peers),
    )
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["vera", *sys.argv[1:]])
    page = write_bench_page(args.out, found, command=command)
    told = [f"Look at {page}"]
    if args.markdown:
        table = aims_table(targets, found.of_model, found.facts, date=f"{datetime.now():%Y-%m-%d}")
        told.append(f"wrote {write_page(args.markdown, table)}")
    values = {"page": str(page), "markdown": args.markdown, "results": len(results)}
    console.result(values, "\n".join(told))
    return 0


def _projections(
    args: argparse.Namespace, targets: Targets, efficiency: Efficiency
) -> list[Projection]:
    from vera_mobile.bench.project import project
    from vera_mobile.commands.bench_project import count

    if not args.bundle:
        return []
    stages = count(args.bundle, args.tokens, args.prompt_tokens).stages
    return [
        project(stages, phone, unit, efficiency)
        for phone in targets.phones.values()
        for unit in phone.units
        if unit in efficiency.rates and phone.memory_gb_s is not None
    ]
