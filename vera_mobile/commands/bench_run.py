"""`vera bench run`: latency, memory, bytes and multiply-adds of each stage on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench run --bundle vera.bundle --results benchmarks/results"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("run", help="latency and memory of each stage", epilog=EXAMPLE)
    p.add_argument("--bundle", required=True, help="bundle folder (ExecuTorch)")
    p.add_argument("--repeats", type=int, default=9, help="warm runs per stage, 3..1000")
    p.add_argument("--threads", type=int, default=0, help="of the render kernel; 0: all cores")
    p.add_argument("--tokens", type=int, default=120, help="longest text of a plan, 1..1024")
    p.add_argument("--note", metavar="TEXT", help="what disturbed the run, or else to be known")
    p.add_argument("--out", metavar="FILE", help="write the result to this file")
    p.add_argument("--results", metavar="DIR", help="write the result below DIR by device")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Prints cold, median and p95 per stage; host figures."""
    from vera_mobile.bench.results import history_path, save_result
    from vera_mobile.measure import bench_run, rounds
    from vera_mobile.train.data import check_size

    check_size(args.repeats, "--repeats", 3, 1000)
    check_size(args.threads, "--threads", 0, 64)
    check_size(args.tokens, "--tokens", 1, 1024)
    with console.bar(rounds(args.repeats), "bench", "round") as bar:
        result = bench_run(
            args.bundle,
            repeats=args.repeats,
            threads=args.threads,
            max_tokens=args.tokens,
            on_round=lambda: bar.update(1),
        )
    _add_counts(result, args.bundle)
    if args.note:
        result["note"] = args.note
    written = [save_result(result, args.out)] if args.out else []
    if args.results:
        written.append(save_result(result, history_path(Path(args.results), result)))
    console.result(result, "\n".join([*lines(result), *(f"wrote {path}" for path in written)]))
    return 0


def _add_counts(result: dict[str, Any], bundle: str) -> None:
    from vera_mobile.bench.counts import Case, count_bundle
    from vera_mobile.bundle import Bundle

    case = Case(prompt_tokens=result["prompt_tokens"], answer_tokens=result["tokens"])
    for stage, count in count_bundle(Bundle.open(bundle), case).stages.items():
        if stage in result["stages"]:
            result["stages"][stage] |= {
                "bytes_moved": count.bytes_moved,
                "multiply_adds": count.multiply_adds,
            }


def lines(result: dict[str, Any]) -> list[str]:
    """A result as a table for people."""
    device = result["device"]
    rows = [
        f"{device['name']}, {_cores(device)}{_kind(result)}",
        f"{'stage':<18}{'cold':>11}{'median':>11}{'p95':>11}{'peak':>9}{'moved':>11}{'G MAC':>10}",
    ]
    for name, row in result["stages"].items():
        rows.append(
            f"{name:<18}{_ms(row.get('cold_ms'))}{_ms(row.get('median_ms'))}{_ms(row.get('p95_ms'))}"
            f"{_amount(row.get('peak_mb'), 1, ' MB', 9)}"
            f"{_amount(row.get('bytes_moved'), 1e6, ' MB', 11)}"
            f"{_amount(row.get('multiply_adds'), 1e9, '', 10, 3)}"
        )
    return rows


def _kind(result: dict[str, Any]) -> str:
    """What kind of figures these are, in words."""
    return "(host figures, not a phone's)" if result["kind"] == "host" else result["unit"]


def _cores(device: dict[str, Any]) -> str:
    return f"{device['cores']} cores " if device.get("cores") else ""


def _ms(value: float | None) -> str:
    return "-".rjust(11) if value is None else f"{value:>8.2f} ms"


def _amount(value: float | None, scale: float, unit: str, width: int, digits: int = 0) -> str:
    return ("-" if value is None else f"{value / scale:.{digits}f}{unit}").rjust(width)
