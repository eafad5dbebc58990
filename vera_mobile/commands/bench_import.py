"""`vera bench import`: a result that somebody's phone wrote, checked and put among the results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench import bench.json --bundle vera.bundle"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("import", help="take in a phone's result file", epilog=EXAMPLE)
    p.add_argument("file", metavar="FILE", help="as the demo apps write it (result.schema.json)")
    p.add_argument("--bundle", help="refuse a result of another bundle than this one")
    p.add_argument("--results", metavar="DIR", help="default: benchmarks/results")
    p.add_argument("--overwrite", action="store_true", help="replace the result of that day")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Exit code 1 where a golden case that the phone replayed is too far off; it is kept too."""
    from vera_mobile.bench.results import golden_misses, history_path, load_result, save_result
    from vera_mobile.bench.targets import benchmarks_folder
    from vera_mobile.commands.bench_run import lines

    record = load_result(args.file)
    if record["kind"] != "phone":
        raise InvalidArgument(
            f"{args.file} is of a {record['kind']}: phones' results are imported."
        )
    if args.bundle:
        check_bundle(args.bundle, record, args.file)
    record = known_device(record)
    target = history_path(Path(args.results or benchmarks_folder() / "results"), record)
    if target.exists() and not args.overwrite:
        raise InvalidArgument(f"{target} is there already: give --overwrite to replace it.")
    save_result(record, target)
    missed = golden_misses(record)
    said = [*lines(record), *_golden_lines(record, missed), f"wrote {target}"]
    values = {"file": str(target), "device": record["device"], "golden_missed": missed}
    console.result(values, "\n".join(said))
    return 1 if missed else 0


def known_device(record: dict[str, Any]) -> dict[str, Any]:
    """The result, its device named by the key of targets.toml where the phone is one of those."""
    from vera_mobile.bench.targets import benchmarks_folder, load_targets
    from vera_mobile.errors import FileError

    try:
        phone = load_targets(benchmarks_folder() / "targets.toml").phone_of(record["device"])
    except FileError:  # outside of the source tree there are no targets
        return record
    if phone is None:
        return record
    return record | {"device": record["device"] | {"id": phone.key}}


def check_bundle(bundle: str | Path, record: dict[str, Any], source: str) -> None:
    """Raises InvalidArgument where the result names another bundle than `bundle`, or none."""
    from vera_mobile.bundle import MANIFEST_NAME, Bundle, sha256_of

    expected = sha256_of(Bundle.open(bundle).root / MANIFEST_NAME)
    if record["bundle"].get("sha256") != expected:
        raise InvalidArgument(
            f"{source} is of another bundle (sha256 {record['bundle'].get('sha256')}, "
            f"{bundle} has {expected}): give the bundle that was on the phone."
        )


def _golden_lines(record: dict[str, Any], missed: list[str]) -> list[str]:
    cases = record.get("golden", [])
    if not cases:
        return ["no golden case was replayed"]
    lines = [f"golden: {len(cases) - len(missed)} of {len(cases)} cases hold"]
    return lines + [f"GOLDEN MISSED  {miss}" for miss in missed]
