"""`vera bench`: how well a model retouches photos it never saw, and how fast a bundle runs here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench quality --checkpoint nano --photos DIR --split test --json"


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser("bench", help="measure quality and speed", epilog=EXAMPLE)
    kinds = p.add_subparsers(dest="kind", required=True, metavar="WHAT")
    q = kinds.add_parser("quality", help="auto, style, param and good photos", epilog=EXAMPLE)
    model = q.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", default="nano", help="bundled name or folder (PyTorch fp32)")
    model.add_argument("--bundle", help="bundle folder (ExecuTorch)")
    q.add_argument("--photos", required=True, metavar="DIR", help="folder of good photos")
    q.add_argument("--split", default="test", choices=("train", "val", "test"))
    q.add_argument("--limit", type=int, default=0, help="only the first N photos; 0: all")
    q.add_argument("--json", action="store_true", help="one JSON document on stdout")
    q.set_defaults(run=run_quality)
    example = "example: vera bench run --bundle vera.bundle"
    s = kinds.add_parser("run", help="latency and memory of each stage", epilog=example)
    s.add_argument("--bundle", required=True, help="bundle folder (ExecuTorch)")
    s.add_argument("--repeats", type=int, default=9, help="runs per stage, 3..1000")
    s.add_argument("--threads", type=int, default=0, help="of the render kernel; 0: all cores")
    s.add_argument("--json", action="store_true", help="one JSON document on stdout")
    s.set_defaults(run=run_speed)


def run_speed(args: argparse.Namespace, console: Console) -> int:
    """Prints median and p95 per stage; host figures."""
    from vera_mobile.measure import RENDER_MEGAPIXELS, bench_run
    from vera_mobile.train.data import check_size

    check_size(args.repeats, "--repeats", 3, 1000)
    check_size(args.threads, "--threads", 0, 64)
    with console.bar(args.repeats + len(RENDER_MEGAPIXELS), "bench", "round") as bar:
        report = bench_run(
            args.bundle,
            repeats=args.repeats,
            threads=args.threads,
            on_round=lambda: bar.update(1),
        )
    lines = [f"{report['device']['name']}, {report['device']['cores']} cores (host figures)"]
    for name, row in report["stages"].items():
        lines.append(f"{name:<18}{row['median_ms']:>10.3f} ms  p95 {row['p95_ms']:.3f} ms")
    lines.append(
        f"first plan {report['cold_plan_ms']:.0f} ms, peak {report['peak_rss_plan_mb']} MB "
        f"for plans, {report['peak_rss_mb']} MB with a 48 MP photo"
    )
    console.result(report, "\n".join(lines))
    return 0


def run_quality(args: argparse.Namespace, console: Console) -> int:
    """Prints the figures."""
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.retoucher import Retoucher
    from vera_mobile.train.data import check_size, list_photos
    from vera_mobile.train.quality import bench_quality

    check_size(args.limit, "--limit", 0, 1_000_000)
    count = len(list_photos(args.photos, args.split))
    retoucher = Retoucher.load(args.bundle or checkpoint_folder(args.checkpoint))
    with console.bar(args.limit or count, "quality", "photo") as bar:

        def on_photo(done: int, _: int) -> None:
            bar.update(done - bar.n)

        report = bench_quality(
            retoucher, args.photos, split=args.split, limit=args.limit, on_photo=on_photo
        )
    lines = [f"{part}.{key:<28} {value}" for part, row in report.items()
             for key, value in row.items()]  # fmt: skip
    console.result(report, "\n".join(lines))
    return 0
