"""`vera bench compare`: whether a result is slower than an earlier one of the same device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.bench.verdict import Verdict
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench compare benchmarks/results out/bench/now.json"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("compare", help="regression verdict on two results", epilog=EXAMPLE)
    p.add_argument("before", metavar="A", help="result file, or a folder: its last fitting result")
    p.add_argument("after", metavar="B", help="result file")
    p.add_argument(
        "--steady", action="store_true",
        help="only what no machine's load changes: size, bytes, multiply-adds; A of any device",
    )  # fmt: skip
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Exit code 1 for a regression beyond 5 % and noise; 0 else, also where no result fits B."""
    from vera_mobile.bench.results import load_result
    from vera_mobile.bench.verdict import compare_results, compare_steady

    after = load_result(args.after)
    folder = Path(args.before).is_dir()
    before = last_fitting(args.before, after, any_device=args.steady) if folder else None
    if before is None and not folder:
        before = load_result(args.before)
    if before is None:
        words = (
            f"{args.before} has no earlier result of {after['device']['name']}, {after['unit']}, "
            f"{after['bundle'].get('name')} {after['bundle'].get('recipe')}: nothing to compare"
        )
        console.result({"compared": False, "regressed": False, "reason": words}, words)
        return 0
    verdict = (compare_steady if args.steady else compare_results)(before, after)
    console.result(_json(before, after, verdict), "\n".join(_lines(before, after, verdict)))
    return 1 if verdict.regressed else 0


def last_fitting(
    folder: str, after: dict[str, Any], *, any_device: bool = False
) -> dict[str, Any] | None:
    """The newest earlier result of the same device, unit, model and recipe, or None."""
    from vera_mobile.bench.results import load_history

    def kind(result: dict[str, Any]) -> tuple[Any, ...]:
        bundle = result["bundle"]
        device = None if any_device else result["device"]["id"]
        return device, result["unit"], bundle.get("name"), bundle.get("recipe")

    fitting = [
        result
        for result in load_history(folder)
        if kind(result) == kind(after) and result["date"] < after["date"]
    ]
    return fitting[-1] if fitting else None


def _json(before: dict[str, Any], after: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "compared": True,
        "regressed": verdict.regressed,
        "before": {"date": before["date"], "commit": before.get("commit")},
        "after": {"date": after["date"], "commit": after.get("commit")},
        "changes": [asdict(c) | {"ratio": c.ratio} for c in verdict.changes],
        "skipped": dict(verdict.skipped),
    }


def _lines(before: dict[str, Any], after: dict[str, Any], verdict: Verdict) -> list[str]:
    from vera_mobile.bench.aims import note_of
    from vera_mobile.bench.verdict import REGRESSION

    sides = [f"{(r.get('commit') or 'unknown')[:8]} of {r['date'][:10]}" for r in (before, after)]
    notes = [f"{side}:{note}" for side, r in zip(sides, (before, after), strict=True)
             if (note := note_of(r))]  # fmt: skip
    lines = [
        f"{after['device']['name']}, {after['unit']}: {sides[1]} against {sides[0]}",
        *notes,
        f"{'figure':<32}{'before':>14}{'after':>14}{'change':>9}{'noise':>12}  verdict",
    ]
    for c in verdict.changes:
        lines.append(
            f"{c.name:<32}{c.before:>11.2f} {c.unit:<2}{c.after:>11.2f} {c.unit:<2}"
            f"{(c.ratio - 1) * 100:>+7.1f} %{c.noise:>9.2f} {c.unit:<2}  {c.verdict}"
        )
    lines += [f"{name}: not compared, {why}" for name, why in verdict.skipped.items()]
    found = [c.name for c in verdict.changes if c.verdict == REGRESSION]
    lines.append(f"REGRESSION: {', '.join(found)}" if found else "no regression")
    return lines
