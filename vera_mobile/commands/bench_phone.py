"""`vera bench phone`: the same cases on a phone, by cable, on CPU, GPU and NPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import FileError, ModelError

if TYPE_CHECKING:
    from vera_mobile.bench.phone.case import Outcome, Phone
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench phone --android --bundle vera.bundle --results benchmarks/results"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("phone", help="run the cases on a phone, by cable", epilog=EXAMPLE)
    system = p.add_mutually_exclusive_group(required=True)
    system.add_argument("--android", action="store_true", help="through adb")
    system.add_argument("--ios", action="store_true", help="through xcrun devicectl, on a Mac")
    p.add_argument("--bundle", required=True, help="bundle folder to bring onto the phone")
    p.add_argument("--device", metavar="NAME", help="serial or name (default: the only one)")
    p.add_argument("--app", metavar="FILE", help="install this .apk or .app of the demo first")
    p.add_argument(
        "--units", nargs="+", default=["cpu", "gpu", "npu"], choices=("cpu", "gpu", "npu"),
        metavar="UNIT", help="cpu, gpu, npu (default: all three)",
    )  # fmt: skip
    p.add_argument("--repeats", type=int, default=9, help="warm runs per stage, 3..1000")
    p.add_argument("--in-a-row", type=int, default=10, metavar="N", help="photos for heat, 2..100")
    p.add_argument("--cool-down-s", type=float, default=180, metavar="S", help="at most, per unit")
    p.add_argument("--timeout-s", type=float, default=1800, metavar="S", help="per unit")
    p.add_argument("--results", metavar="DIR", help="write the results below DIR by device")
    p.add_argument("--out", metavar="DIR", help="write UNIT.json into this folder")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Runs every unit, cold first; a unit that the phone lacks is named, not a failure."""
    from vera_mobile.bench.phone.case import Case, Outcome
    from vera_mobile.bundle import Bundle, describe
    from vera_mobile.commands.bench_import import check_bundle

    case = Case(
        Path(args.bundle), tuple(dict.fromkeys(args.units)), args.repeats, args.in_a_row,
        args.cool_down_s, args.timeout_s,
    )  # fmt: skip
    phone = _phone(args)
    if args.app:
        if not Path(args.app).exists():
            raise FileError(f"--app {args.app} does not exist: build the demo app first.")
        console.say(f"installing {args.app}")
        phone.install(Path(args.app))
    size = describe(Bundle.open(case.bundle))["size_bytes"] / 1e6
    console.say(f"bringing {case.name}, {size:.0f} MB, onto the phone")
    phone.push(case)
    outcome, written = Outcome(), []
    for unit in case.units:
        console.say(
            f"{unit}: cooling down, then {case.repeats} rounds and {case.in_a_row} in a row"
        )
        record = phone.run(case, unit)
        if record.get("bundle", {}).get("sha256"):  # an older demo app did not tell
            check_bundle(case.bundle, record, f"The phone's {unit} result")
        outcome.take(unit, record)
        if unit in outcome.results:  # at once: a later unit that fails loses nothing
            outcome.results[unit], files = _keep(args, outcome.results[unit])
            written += files
    return _told(console, outcome, written)


def _phone(args: argparse.Namespace) -> Phone:
    if args.android:
        from vera_mobile.bench.phone.android import AndroidPhone

        return AndroidPhone(args.device)
    from vera_mobile.bench.phone.ios import IosPhone

    return IosPhone(args.device)


def _keep(args: argparse.Namespace, record: dict[str, Any]) -> tuple[dict[str, Any], list[Path]]:
    from vera_mobile.bench.results import history_path, save_result
    from vera_mobile.commands.bench_import import known_device

    record = known_device(record)
    written = []
    if args.out:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        written.append(save_result(record, Path(args.out) / f"{record['unit']}.json"))
    if args.results:
        written.append(save_result(record, history_path(Path(args.results), record)))
    return record, written


def _told(console: Console, outcome: Outcome, written: list[Path]) -> int:
    from vera_mobile.bench.results import golden_misses
    from vera_mobile.commands.bench_run import lines

    if not outcome.results:
        reasons = "; ".join(f"{unit}: {why}" for unit, why in outcome.refused.items())
        raise ModelError(f"No unit of the phone could run the bundle ({reasons}).")
    said: list[str] = []
    missed = False
    for unit, record in outcome.results.items():
        said += [f"-- {unit}", *lines(record)]
        for miss in golden_misses(record):
            missed = True
            said.append(f"GOLDEN MISSED  {miss}")
    said += [f"-- {unit}: not run, {why}" for unit, why in outcome.refused.items()]
    said += [f"wrote {path}" for path in written]
    values = {"results": outcome.results, "refused": outcome.refused}
    console.result(values, "\n".join(said))
    return 1 if missed else 0
