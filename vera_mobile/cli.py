"""`vera`, the command line. People read stderr, programs read stdout; exit codes 0, 1 and 2.

Commands live in `vera_mobile.commands`; other distributions and `vera_mobile.export` add theirs
through the entry point group `vera_mobile.commands`, so that the library never imports the export.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, NoReturn

from tqdm import tqdm

from vera_mobile import __version__
from vera_mobile.errors import Cancelled, InternalError, VeraError

OK, FAILED, BAD_INPUT = 0, 1, 2
GROUP = "vera_mobile.commands"


class Console:
    """Where commands speak: `say` to people, `result` to programs, `bar` for long work."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str = "", *, end: str = "\n") -> None:
        """A line for people, on stderr."""
        print(text, end=end, file=sys.stderr, flush=True)

    def result(self, values: Any, text: str | None = None) -> None:
        """The outcome on stdout: JSON with --json, else `text`."""
        if self.as_json:
            print(json.dumps(values, indent=1, ensure_ascii=False))
        elif text is not None:
            print(text)

    @contextmanager
    def bar(self, total: int, label: str, unit: str = "") -> Iterator[tqdm]:
        """A progress bar on stderr where that is a terminal; none in a log file."""
        with tqdm(
            total=total, desc=label, unit=unit or "it", file=sys.stderr, leave=False, disable=None
        ) as bar:
            yield bar


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"vera: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands that are installed."""
    parser = _Parser(prog="vera", description="Photo retouching by a model that runs on the phone.")
    parser.add_argument("--version", action="version", version=f"vera-mobile {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        point.load()(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 (a check failed) or 2 (bad input, nothing lost)."""
    args = build_parser().parse_args(argv)
    console = Console(as_json=getattr(args, "json", False))
    try:
        return int(args.run(args, console))
    except KeyboardInterrupt:
        console.say("vera: stopped; nothing half-written was left")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Cancelled as e:
        console.say(f"vera: {e}")
        return FAILED
    except InternalError as e:
        console.say(f"vera: internal error: {e}; please report it")
        return FAILED
    except (VeraError, OSError) as e:
        console.say(f"vera: {e}")
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
