"""`vera retouch`: photos in, retouched photos out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat, VeraError

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.look import Look
    from vera_mobile.retoucher import Retoucher, Sampling, Task

EXAMPLE = 'example: vera retouch --bundle vera.bundle --style "airy pink" --out out/ *.jpg'


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser("retouch", help="retouch photos", epilog=EXAMPLE)
    p.add_argument("photos", nargs="+", metavar="PHOTO", help="JPEG, PNG, TIFF or WebP files")
    p.add_argument("--bundle", help="bundle folder, or a checkpoint (default: bundled nano, fp32)")
    task = p.add_mutually_exclusive_group()
    task.add_argument("--style", metavar="WORDS", help="a wish in words (default: auto)")
    task.add_argument("--params", metavar="FILE", help="sliders as .json or a Lightroom .xmp")
    task.add_argument(
        "--reference",
        nargs="+",
        metavar="FILE",
        help="a picture before and after its retouch, to do the same; or one picture, to come near "
        "its colours (give the PHOTOs first)",
    )
    for name in ("strength", "lighting", "global-color", "specific-color"):
        p.add_argument(f"--{name}", type=float, default=1.0, metavar="X", help="0..1.5, default 1")
    p.add_argument("--seed", type=int, default=0, help="for --temperature above 0")
    p.add_argument(
        "--temperature", type=float, metavar="X", help="0 is greedy (default: the model's own)"
    )
    p.add_argument(
        "--instant", action="store_true",
        help="the photo first, the words after: quicker, and a little less good (see README)",
    )  # fmt: skip
    p.add_argument("--out", help="folder, or a file name for one photo (default: beside the photo)")
    p.add_argument("--save-cube", action="store_true", help="also write the look as .cube")
    p.add_argument("--save-look", action="store_true", help="also write the look as .json")
    p.add_argument("--overwrite", action="store_true", help="replace results that exist")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Retouches each photo; one bad file does not stop the others (exit code 2 at the end)."""
    from vera_mobile.look import check_strength
    from vera_mobile.retoucher import Sampling

    for name in ("strength", "lighting", "global_color", "specific_color"):
        check_strength(f"--{name.replace('_', '-')}", getattr(args, name))
    task, sampling = _task(args), Sampling(temperature=args.temperature, seed=args.seed)
    targets = plan_targets(args)
    retoucher = _load(args.bundle)
    _make_folders({target.parent for _, target in targets})
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    many = len(targets) > 1
    with console.bar(len(targets), "retouch", "photo") if many else _NoBar() as bar:
        for source, target in targets:
            try:
                done.append(_one(args, console, retoucher, task, sampling, source, target, many))
            except VeraError as e:
                failed.append({"photo": str(source), "error": str(e)})
            bar.update(1)
    _report(console, done, failed, many)
    return 2 if failed else 0


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _: int) -> None:
        """A single photo shows its text instead of a bar."""


def _task(args: argparse.Namespace) -> Task:
    from vera_mobile.develop import sliders
    from vera_mobile.model.tokens import check_wish
    from vera_mobile.retoucher import Auto, Param, Style

    if args.reference is not None:
        return _reference([Path(name) for name in args.reference])
    if args.style is not None:
        check_wish(args.style)
        return Style(args.style)
    return Param(sliders.load(args.params)) if args.params else Auto()


def _reference(files: list[Path]) -> Task:
    from vera_mobile.image import Photo
    from vera_mobile.retoucher import Reference

    if len(files) > 2:
        raise InvalidArgument(
            f"--reference has {len(files)} files: name one picture, or one before and after its "
            "retouch; the photos to retouch stand before --reference"
        )
    if len(files) == 2 and os.path.realpath(files[0]) == os.path.realpath(files[1]):
        raise InvalidArgument(
            f"--reference names {files[0]} twice: name the picture before and after its retouch"
        )
    pictures = [Photo.load(file) for file in files]
    return Reference(pictures[0] if len(pictures) == 2 else None, pictures[-1])


def _load(bundle: str | None) -> Retoucher:
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.retoucher import Retoucher

    return Retoucher.load(bundle if bundle else checkpoint_folder("nano"))


def plan_targets(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Where each photo's result goes: a folder keeps the names, one photo may name its file.

    Raises InvalidArgument when results, cubes and looks included, would collide, exist already or
    replace an input, UnsupportedFormat for a suffix that cannot be written.
    """
    photos = [Path(p) for p in args.photos]
    pairs = _pairs(photos, args.out)
    read = (*photos, *(args.reference or ()), *([args.params] if args.params else ()))
    inputs = {os.path.realpath(p) for p in read}
    seen: dict[str, Path] = {}
    for source, target in pairs:
        for file in (target, *_extra_files(args, target).values()):
            place = os.path.realpath(file)
            if place in inputs:
                raise InvalidArgument(
                    f"{file} is an input and is never replaced: choose another --out"
                )
            if place in seen:
                raise InvalidArgument(
                    f"{seen[place]} and {source} would both write {file}: retouch them one by one"
                )
            if file.exists() and not args.overwrite:
                raise InvalidArgument(f"{file} exists: choose another --out, or give --overwrite")
            seen[place] = source
    return pairs


def _pairs(photos: list[Path], out: str | None) -> list[tuple[Path, Path]]:
    from vera_mobile.image import FORMATS

    folder = Path(out) if out else None
    if not out or not folder or not folder.suffix or folder.is_dir() or out.endswith("/"):
        return [(p, (folder or p.parent) / f"{p.stem}-vera{_suffix(p)}") for p in photos]
    if len(photos) > 1:
        raise InvalidArgument(f"--out {out} is one file for {len(photos)} photos: name a folder")
    if folder.suffix.lower() not in FORMATS:
        raise UnsupportedFormat(
            f"--out {out}: {folder.suffix} is not written; use one of {', '.join(FORMATS)}, "
            "or end the name of a folder with /"
        )
    return [(photos[0], folder)]


def _extra_files(args: argparse.Namespace, target: Path) -> dict[str, Path]:
    """What is written beside a result, by the key that it has in the JSON report."""
    out = {"cube": target.with_suffix(".cube")} if args.save_cube else {}
    return out | ({"look": target.with_suffix(".look.json")} if args.save_look else {})


def _make_folders(folders: set[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise FileError(f"--out {folder}: cannot be made ({e.strerror}); name a folder") from e


def _suffix(photo: Path) -> str:
    known = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
    return photo.suffix if photo.suffix.lower() in known else ".png"


def _one(
    args: argparse.Namespace,
    console: Console,
    retoucher: Retoucher,
    task: Task,
    sampling: Sampling,
    source: Path,
    target: Path,
    quiet: bool,
) -> dict[str, Any]:
    from vera_mobile.image import Photo

    photo = Photo.load(source)
    notes = [*photo.notes]
    stream = None if quiet or args.json else lambda text: console.say(text, end="")

    def save(look: Look) -> None:
        if stream and not args.instant:
            console.say()  # its words are complete; what comes now has a line of its own
        result = retoucher.render(_weighted(args, look), photo, strength=args.strength)
        notes.extend(result.save(target))
        if stream and args.instant:
            console.say(f"{target} is there. In words:")

    look = _weighted(args, retoucher.plan(
        photo, task, on_text=stream, on_look=save, instant=args.instant, sampling=sampling
    ))  # fmt: skip
    if stream and args.instant:
        console.say()
    record = {"photo": str(source), "out": str(target), "text": look.text, "notes": notes,
              "timings_ms": {k: round(v, 2) for k, v in look.timings_ms.items()}}  # fmt: skip
    record |= _extras(args, look, target)
    return record


def _weighted(args: argparse.Namespace, look: Look) -> Look:
    return look.with_strengths(
        lighting=args.lighting,
        global_color=args.global_color,
        specific_color=args.specific_color,
    )


def _extras(args: argparse.Namespace, look: Look, target: Path) -> dict[str, str]:
    files = _extra_files(args, target)
    if "cube" in files:
        look.save_cube(files["cube"], strength=args.strength)
    if "look" in files:
        look.save(files["look"])
    return {key: str(file) for key, file in files.items()}


def _report(
    console: Console, done: list[dict[str, Any]], failed: list[dict[str, str]], many: bool
) -> None:
    for record in done:
        for note in record["notes"]:
            console.say(f"{record['photo']}: {note}")
    console.result({"done": done, "failed": failed}, "\n".join(r["out"] for r in done) or None)
    if failed and many:
        console.say(f"vera: {len(failed)} of {len(failed) + len(done)} photos failed:")
    for row in failed:
        named = row["error"] if row["photo"] in row["error"] else f"{row['photo']}: {row['error']}"
        console.say(f"  {named}" if many else f"vera: {named}")
