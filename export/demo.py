"""The demo: nano becomes a bundle, three photos go through ExecuTorch, a page shows the result."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import resource
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile import __version__
from vera_mobile.assets import checkpoint_folder
from vera_mobile.bundle import Bundle, describe, sha256_of
from vera_mobile.color.metrics import compare
from vera_mobile.develop.sliders import vector
from vera_mobile.errors import VeraError
from vera_mobile.export.commands import sample_pixels, source_commit
from vera_mobile.export.pipeline import export_bundle
from vera_mobile.export.recipes import recipe
from vera_mobile.export.samples import photo as sample
from vera_mobile.image import Photo
from vera_mobile.look import Look
from vera_mobile.model.load import load_checkpoint
from vera_mobile.report import ReportEntry, write_report
from vera_mobile.retoucher import Auto, Param, Retoucher, Style, Task
from vera_mobile.train.quality import developed

if TYPE_CHECKING:
    from vera_mobile.cli import Console

RECIPE = "android-int4"
FAULT = {"Exposure2012": -24, "IncrementalTemperature": -40}
WISH = "golden hour"
SLIDERS = {"Exposure2012": 10, "Contrast2012": 25, "Vibrance": 40, "LuminanceAdjustmentOrange": 15}


@dataclass(frozen=True)
class Case:
    """One photo of the demo; `original` is what a photo degraded on purpose came from."""

    name: str
    photo: Photo
    task: Task
    original: np.ndarray | None = None


@dataclass(frozen=True)
class Result:
    """What one case gave on ExecuTorch."""

    case: Case
    look: Look
    after: Photo
    output: Path
    cube: Path
    timings_ms: dict[str, float]
    peak_rss_mb: float


def run(out: Path, own: Path | None, console: Console) -> Path:
    """Runs the demo into folder `out`; returns the path of its report.html."""
    out.mkdir(parents=True, exist_ok=True)
    cases = _own_cases(own) if own else _sample_cases()
    bundle = _bundle(out / "vera-nano.bundle", console)
    console.say(f"bundle: {bundle.root}, {describe(bundle)['size_bytes'] / 1e6:.1f} MB")
    started = time.perf_counter()
    retoucher = Retoucher.load(bundle.root)
    retoucher.prepare()
    load_ms = (time.perf_counter() - started) * 1000
    results = []
    for case in cases:
        console.say(f"\n{case.name} ({_describe(case.task)})")
        results.append(_retouch(retoucher, case, out, console, load_ms))
        load_ms = 0.0
    console.say("\ncomparing with PyTorch fp32 ...")
    reference = Retoucher.load(checkpoint_folder("nano"))
    entries = [_entry(result, reference) for result in results]
    return write_report(
        out / "report.html",
        title="Vera Mobile demo",
        entries=entries,
        device=_device(),
        bundle_info=describe(bundle) | {"sha256": sha256_of(bundle.root / "bundle.json")},
        command=f"vera demo --photo {own.name}" if own else "make demo",
    )


def _sample_cases() -> list[Case]:
    china, flower, coffee = (sample(n) for n in ("china", "flower", "coffee"))
    return [
        Case("china", Photo.from_array(developed(china, vector(FAULT)), format="JPEG"), Auto(),
             china),
        Case("flower", Photo.from_array(flower, format="JPEG"), Style(WISH)),
        Case("coffee", Photo.from_array(coffee, format="JPEG"), Param(SLIDERS)),
    ]  # fmt: skip


def _own_cases(path: Path) -> list[Case]:
    photo = Photo.load(path)
    return [
        Case(f"{path.stem}-auto", photo, Auto()),
        Case(f"{path.stem}-style", photo, Style(WISH)),
        Case(f"{path.stem}-param", photo, Param(SLIDERS)),
    ]


def _describe(task: Task) -> str:
    if isinstance(task, Style):
        return f"style: {task.wish}"
    if isinstance(task, Param):
        return "param: " + ", ".join(f"{k} {v:+d}" for k, v in SLIDERS.items())
    return "auto"


def _bundle(folder: Path, console: Console) -> Bundle:
    """The bundle of an earlier run when nothing that it is made of changed, else a new one."""
    key = _key()
    mark = folder.with_suffix(".key")
    if mark.is_file() and mark.read_text() == key:
        try:
            return Bundle.open(folder)
        except VeraError as e:
            console.say(f"the bundle of the last run is damaged ({e}); making it again")
    source = checkpoint_folder("nano")
    model = load_checkpoint(source)
    with console.bar(100, "export", "%") as bar:

        def on_progress(stage: str, share: float) -> None:
            bar.set_description(f"export: {stage}", refresh=False)
            bar.update(round(share * 100) - bar.n)

        bundle = export_bundle(
            model, source / "tokenizer.json", recipe(RECIPE), folder,
            calibration=sample_pixels(model.config, None), on_progress=on_progress,
            commit=source_commit(), overwrite=True,
        )  # fmt: skip
    mark.write_text(key)
    return bundle


def _key() -> str:
    digest = hashlib.sha256(f"{RECIPE} {__version__}".encode())
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        digest.update(f"{name} {sha256_of(checkpoint_folder('nano') / name)}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _retouch(
    retoucher: Retoucher, case: Case, out: Path, console: Console, load_ms: float
) -> Result:
    started = time.perf_counter()
    look = retoucher.plan(case.photo, case.task, on_text=lambda text: console.say(text, end=""))
    console.say()
    timings = dict(look.timings_ms)
    for stage, work in (
        ("bake", lambda: retoucher.bake(look)),
        ("render", lambda: retoucher.render(look, case.photo)),
    ):
        begun = time.perf_counter()
        last: Any = work()
        timings[stage] = (time.perf_counter() - begun) * 1000
    after: Photo = last
    total = (time.perf_counter() - started) * 1000
    if load_ms:
        timings["load"] = load_ms
    timings["total"] = total + load_ms
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    case.photo.save(out / f"{case.name}-before.jpg")
    after.save(out / f"{case.name}-after.jpg")
    cube = look.save_cube(out / f"{case.name}.cube")
    console.say(f"  {len(look.tokens)} tokens, {total:.0f} ms")
    return Result(case, look, after, out / f"{case.name}-after.jpg", cube, timings, peak)


def _entry(result: Result, reference: Retoucher) -> ReportEntry:
    case, look = result.case, result.look
    expected = reference.plan(case.photo, case.task)
    wanted = _eight_bits(reference.render(expected, case.photo))
    before, after = _eight_bits(case.photo), _eight_bits(result.after)
    against = compare(after, wanted)
    pairs = zip(look.tokens, expected.tokens, strict=False)
    longest = max(len(look.tokens), len(expected.tokens), 1)
    parity = {
        "psnr_db": against["psnr_db"],
        "ciede2000_mean": against["ciede2000_mean"],
        "ciede2000_p99": against["ciede2000_p99"],
        "ciede2000_max": against["ciede2000_max"],
        "token_agreement": sum(a == b for a, b in pairs) / longest,
    }
    entry = ReportEntry(
        name=case.name,
        task=type(case.task).__name__.lower(),
        instruction=_describe(case.task).partition(": ")[2],
        before=before,
        after=after,
        reference=wanted,
        text=_sections(look.text),
        timings_ms=result.timings_ms,
        tokens_generated=len(look.tokens),
        peak_rss_mb=result.peak_rss_mb,
        parity=parity,
        cube_file=result.cube.name,
        output_file=result.output.name,
    )
    if case.original is None:
        return entry
    then, now = compare(before, case.original), compare(after, case.original)
    recovery = {
        "psnr_db": (then["psnr_db"], now["psnr_db"]),
        "ciede2000_mean": (then["ciede2000_mean"], now["ciede2000_mean"]),
        "ciede2000_p99": (then["ciede2000_p99"], now["ciede2000_p99"]),
    }
    return replace(entry, recovery=recovery)


def _eight_bits(photo: Photo) -> np.ndarray:
    return np.round(photo.to_srgb() * 255).astype(np.uint8)


def _sections(text: str) -> dict[str, str]:
    problem, _, plan = text.rpartition("\n")
    return {k: v for k, v in (("problem", problem), ("plan", plan)) if v}


def _device() -> dict[str, object]:
    return {
        "device": f"{platform.machine()} host, {os.cpu_count()} cores",
        "os": f"{platform.system()} {platform.release()}",
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "free disk": f"{shutil.disk_usage('.').free / 1e9:.0f} GB",
    }
