"""`vera bench`: quality on photos never seen, speed here and on phones, projections, the report."""

from __future__ import annotations

from typing import Any

from vera_mobile.commands import (
    bench_compare,
    bench_import,
    bench_phone,
    bench_project,
    bench_quality,
    bench_report,
    bench_run,
)

PARTS = (
    bench_quality,
    bench_run,
    bench_phone,
    bench_import,
    bench_compare,
    bench_project,
    bench_report,
)


def add(commands: Any) -> None:
    """Adds the parser with those of all parts."""
    p = commands.add_parser("bench", help="measure quality and speed", epilog=bench_quality.EXAMPLE)
    kinds = p.add_subparsers(dest="kind", required=True, metavar="WHAT")
    for part in PARTS:
        part.add(kinds)
