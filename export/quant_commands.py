"""`vera quant sensitivity` and `vera quant parity`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.export.photos_parity import Case

SENSITIVITY_EXAMPLE = "example: vera quant sensitivity --checkpoint nano --out sensitivity.html"
PARITY_EXAMPLE = "example: vera quant parity vera.bundle --checkpoint nano --photos photos/"
TRIAL_SIDE = 512  # pixels; a trial looks at 4096 of them


def add(commands: Any) -> None:
    """Adds the parser of `vera quant`."""
    p = commands.add_parser("quant", help="what quantization costs", epilog=SENSITIVITY_EXAMPLE)
    kinds = p.add_subparsers(dest="kind", required=True, metavar="KIND")
    s = kinds.add_parser(
        "sensitivity", help="cost of each layer in each scheme", epilog=SENSITIVITY_EXAMPLE
    )
    s.add_argument("--checkpoint", default="nano", help="bundled name or folder")
    s.add_argument("--photos", metavar="DIR", help="folder of photos (default: sample photos)")
    s.add_argument("--limit", type=int, default=12, help="photos to measure on, 3..200")
    s.add_argument("--ciede2000", type=float, default=0.3, help="of the mixed recipe, at most")
    s.add_argument(
        "--divergence", type=float, default=0.0003,
        help="of the mixed recipe's next token, nats per token, at most",
    )  # fmt: skip
    s.add_argument("--out", metavar="FILE", help="also write the report: .html or .json")
    s.add_argument("--json", action="store_true", help="one JSON document on stdout")
    s.set_defaults(run=run_sensitivity)
    q = kinds.add_parser(
        "parity", help="finished photos of a bundle against its checkpoint", epilog=PARITY_EXAMPLE
    )
    q.add_argument("bundle", metavar="BUNDLE")
    q.add_argument("--checkpoint", default="nano", help="bundled name or folder")
    q.add_argument("--photos", required=True, metavar="DIR", help="folder of photos")
    q.add_argument("--split", default="test", choices=("train", "val", "test"))
    q.add_argument("--limit", type=int, default=100, help="only the first N photos, 1..10000")
    q.add_argument("--json", action="store_true", help="one JSON document on stdout")
    q.set_defaults(run=run_parity)


def run_sensitivity(args: argparse.Namespace, console: Console) -> int:
    """Prints the trials, the dearest first, and the mixed recipe."""
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.export.sensitivity import Bench, run_trials
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.model.tokens import Vocabulary
    from vera_mobile.quant.sensitivity import Budget, mixed_recipe, report, table
    from vera_mobile.train.data import check_size

    check_size(args.limit, "--limit", 3, 200)
    budget = Budget(args.ciede2000, args.divergence)
    if args.out and Path(args.out).suffix not in (".html", ".json"):
        raise InvalidArgument(f"--out is {args.out}: give a name that ends in .html or .json")
    folder = checkpoint_folder(args.checkpoint)
    model, vocabulary = load_checkpoint(folder), Vocabulary.load(folder / "tokenizer.json")
    measured, calibration = trial_cases(args.photos, args.limit)
    bench = Bench(model, vocabulary, measured, calibration)
    with console.bar(100, "sensitivity", "%") as bar:
        costs = run_trials(bench, on_trial=lambda n, total: bar.update(100 * n // total - bar.n))
    mixed = mixed_recipe(costs, budget)
    values = {
        "checkpoint": model.config.name, "photos": len(measured),
        **report(costs, [(budget, mixed)]),
    }  # fmt: skip
    if args.out:
        write_report(Path(args.out), values)
    ordered = sorted(costs, key=lambda cost: -cost.ciede2000)
    lines = [table(ordered), "", "mixed recipe:"]
    lines += [f"{layer:<34}{scheme}" for layer, scheme in mixed.schemes.items()]
    lines.append(
        f"{mixed.size_bytes / 1e6:.2f} MB of weights, CIEDE2000 {mixed.ciede2000:.3f}, divergence "
        f"{mixed.text_divergence:.6f} (foretold: errors of layers taken as independent)"
    )
    console.result(values, "\n".join(lines))
    return 0


def run_parity(args: argparse.Namespace, console: Console) -> int:
    """Prints the figures; see `parity_on_photos`."""
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.bundle import Bundle
    from vera_mobile.export.photos_parity import parity_on_photos, parity_table, photo_cases
    from vera_mobile.model.load import load_checkpoint
    from vera_mobile.model.tokens import Vocabulary
    from vera_mobile.runtime import ExecuTorchPlanner, TorchPlanner
    from vera_mobile.train.data import check_size, list_photos

    check_size(args.limit, "--limit", 1, 10_000)
    files = [file.path for file in list_photos(args.photos, args.split)][: args.limit]
    bundle = Bundle.open(Path(args.bundle))
    model = load_checkpoint(checkpoint_folder(args.checkpoint))
    if model.config.to_dict() != bundle.manifest.model:
        raise InvalidArgument(
            f"Checkpoint '{model.config.name}' has another shape than the bundle of "
            f"'{bundle.manifest.name}': give the checkpoint that was exported."
        )
    vocabulary = Vocabulary.load(bundle.file("tokenizer"))
    with console.bar(len(files), "parity", "photo") as bar:
        found = parity_on_photos(
            TorchPlanner(model), ExecuTorchPlanner(bundle), vocabulary, photo_cases(files),
            on_case=lambda _: bar.update(1),
        )  # fmt: skip
    console.result(found, parity_table(found))
    return 0


def trial_cases(folder: str | None, limit: int) -> tuple[list[Case], list[Case]]:
    """Photos to measure on and others to calibrate with: the test and val photos of a folder, or
    the sample photos, of which each one has a task in turn."""
    from vera_mobile.export.photos_parity import case_of, photo_cases
    from vera_mobile.export.samples import sample_photos

    if folder:
        from vera_mobile.train.data import list_photos

        splits = [list_photos(folder, split)[:limit] for split in ("test", "val")]
        made = [
            list(photo_cases([f.path for f in files], long_side=TRIAL_SIDE)) for files in splits
        ]
        return made[0], made[1]
    photos = sample_photos()[:limit]
    measured = [case_of(f"sample {i}", photo, i) for i, photo in enumerate(photos)]
    # the same photos with other tasks, faults and wishes: there are no more
    other = [case_of(f"sample {i}", photo, i + 1000) for i, photo in enumerate(photos)]
    return measured, other


def write_report(path: Path, values: dict[str, Any]) -> None:
    """The report as JSON or, for a name that ends in .html, as one page that loads nothing."""
    from vera_mobile.files import replacing

    text = page(values) if path.suffix == ".html" else json.dumps(values, indent=1) + "\n"
    with replacing(path) as stream:
        stream.write(text.encode())


def page(values: dict[str, Any]) -> str:
    """The report as HTML: a table with bars for each scheme, the dearest layer first."""
    from importlib import resources

    import jinja2

    source = resources.files("vera_mobile") / "templates" / "sensitivity.html"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    trials: Sequence[dict[str, Any]] = values["trials"]
    names = sorted({trial["scheme"] for trial in trials})
    return environment.from_string(source.read_text("utf-8")).render(
        title=f"What quantization costs {values['checkpoint']}",
        photos=values["photos"],
        mixed=values["mixed"],
        schemes=[(name, [t for t in trials if t["scheme"] == name]) for name in names],
        largest=max((trial["ciede2000"] for trial in trials), default=0.0) or 1.0,
    )
