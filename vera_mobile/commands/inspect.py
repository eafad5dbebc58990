"""`vera inspect`: what is in a bundle."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.cli import Console


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser(
        "inspect", help="what is in a bundle", epilog="example: vera inspect vera.bundle"
    )
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Checks every hash, then prints files, sizes, quantization, shapes and operators."""
    from vera_mobile.bundle import Bundle, describe

    info = describe(Bundle.open(args.bundle))
    console.result(info, _text(info))
    return 0


def _text(info: dict[str, Any]) -> str:
    lines = [
        f"{info['name']}, recipe {info['recipe']}, format {info['format_version']}, "
        f"{info['size_bytes'] / 1e6:.2f} MB, made by {info['created_by']}, "
        f"commit {info['commit'] or 'unknown'}",
        "",
        f"{'file':<16}{'MB':>8}  {'quantization':<36}{'backend':<10}sha256",
    ]
    for f in info["files"].values():
        lines.append(
            f"{f['path']:<16}{f['size_bytes'] / 1e6:>8.3f}  {f['quantization'] or '-':<36}"
            f"{f['backend'] or '-':<10}{f['sha256'][:12]}"
        )
        for side in ("inputs", "outputs"):
            for t in f.get(side, []):
                shape = ", ".join(str(d) for d in t["shape"])
                lines.append(f"    {side[:-1]:<7}({shape}) {t['dtype']}")
        for o in f["operators"]:
            lines.append(f"    {o['count']:>4} x {o['name']} on {o['backend']}")
    totals = ", ".join(f"{n} on {b}" for b, n in info["operators_by_backend"].items())
    return "\n".join([*lines, "", f"operators: {totals}"])
