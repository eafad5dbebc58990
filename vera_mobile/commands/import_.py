"""`vera import`: the public checkpoint files become a checkpoint of this library."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.model.import_checkpoint import ImportReport

EXAMPLE = (
    "example: vera import --vlm VeraRetouch --encoder-renderer encoder_renderer.pth --out vera-0.5b"
)
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser("import", help="make a checkpoint of the public files", epilog=EXAMPLE)
    p.add_argument("--vlm", required=True, metavar="DIR", help="Hugging Face folder (safetensors)")
    p.add_argument("--encoder-renderer", metavar="FILE", help="the second file, .pth, .safetensors")
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the checkpoint")
    p.add_argument("--dtype", choices=tuple(DTYPES), help="of the weights (default: as stored)")
    p.add_argument("--config", metavar="FILE", help="config.json of a shape other than the 0.5B's")
    p.add_argument(
        "--renderer-from",
        choices=("vlm", "encoder-renderer"),
        help="which renderer counts where the files differ (default: they must agree)",
    )
    for flag, what in (
        ("--allow-missing", "weights that may be missing, written as zeros"),
        ("--allow-left-over", "weights that may be left out"),
    ):
        p.add_argument(flag, action="append", default=[], metavar="PATTERN", help=what)
    p.add_argument("--overwrite", action="store_true", help="replace a checkpoint at --out")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Imports and reports what was loaded, missing and left over."""
    import torch

    from vera_mobile.model.import_checkpoint import ImportOptions, import_checkpoint
    from vera_mobile.model.load import read_config

    options = ImportOptions(
        config=read_config(args.config) if args.config else None,
        dtype=getattr(torch, DTYPES[args.dtype]) if args.dtype else None,
        renderer_from=args.renderer_from and args.renderer_from.replace("-", "_"),
        allow_missing=tuple(args.allow_missing),
        allow_left_over=tuple(args.allow_left_over),
        overwrite=args.overwrite,
    )
    with console.bar(0, "import", "B") as bar:
        bar.unit_scale = True

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = import_checkpoint(
            args.vlm,
            args.out,
            encoder_renderer=args.encoder_renderer,
            options=options,
            on_progress=on_progress,
        )
    console.result(report.to_dict(), _text(report, args.out))
    return 0


def _text(report: ImportReport, out: str) -> str:
    lines = [
        f"{out}: {report.config}, {report.loaded} weights, {report.size_bytes / 1e6:.1f} MB, "
        f"{report.dtype}, from {', '.join(report.files)}"
    ]
    if not report.tokenizer:
        lines.append("no tokenizer: copy tokenizer.json there before planning looks with it")
    for what, names in (
        ("missing, written as zeros", report.missing),
        ("left over", report.left_over),
        (f"renderer differs, taken from {report.renderer_from}", report.renderer_differs),
    ):
        lines += [f"{what} ({len(names)}):", *(f"  {name}" for name in names)] if names else []
    return "\n".join(lines)
