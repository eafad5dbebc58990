"""The parity ladder as one page: every stage's figures, and photos with a map of the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vera_mobile.bundle import Bundle, describe
from vera_mobile.color.metrics import compare
from vera_mobile.export.verify import ParityViews
from vera_mobile.page import number, picture, render_page, write_page
from vera_mobile.report import DIFFERENCE_GAIN, difference_map

STAGE_NAMES = {
    "image_tokens": "Image tokens (vision and projector)",
    "logits": "Logits of the next token",
    "hidden": "Hidden states of the retouch tokens",
    "latents": "Latents (retouch head)",
    "lattice": "Baked colours (renderer)",
    "reference": "Latents of a pair (reference encoder)",
}
CHECK_NAMES = {
    "token_agreement_min": "Next tokens equal, at least",
    "psnr_db_min": "PSNR of the baked colours in dB, at least",
    "ciede2000_mean_max": "Mean CIEDE2000 of the baked colours, at most",
    "reference_psnr_db_min": "PSNR of the colours of a pair's latents in dB, at least",
}


def write_parity_page(
    path: str | Path,
    bundle: Bundle,
    own: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    photos: Sequence[ParityViews],
    command: str,
) -> Path:
    """Writes the page and returns its path; it loads nothing.

    own: of `verify_self`; report: of `verify_bundle`, None when there was no checkpoint; photos:
    what `verify_bundle` gave to `on_photo`; command: how to make the page again. Raises FileError.
    """
    now = datetime.now().astimezone()
    info, manifest = describe(bundle), bundle.manifest
    facts = [
        ("Model", manifest.name),
        ("Recipe", manifest.recipe),
        ("Size", f"{number(info['size_bytes'] / 1e6, 2)} MB"),
        ("Made by", manifest.created_by),
        ("Commit", manifest.commit or "not recorded"),
    ]
    passed = own["passed"] and (report is None or report["passed"])
    page = render_page(
        "parity.html",
        ("page.css",),
        title=f"{manifest.name}, {manifest.recipe}",
        date=now.strftime("%Y-%m-%d %H:%M %Z"),
        date_iso=now.isoformat(timespec="seconds"),
        passed=bool(passed),
        facts=facts,
        programs=[_program(name, row) for name, row in own["programs"].items()],
        stages=[_stage(name, row) for name, row in report["stages"].items()] if report else [],
        checks=[_check(row) for row in report["checks"]] if report else [],
        measured_on=f"{report['photos']} photos, {report['tokens']} tokens" if report else "",
        photos=[_photo(index, views) for index, views in enumerate(photos, 1)],
        gain=DIFFERENCE_GAIN,
        command=command,
    )
    return write_page(path, page)


def _program(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    if row["passed"] is None:
        return {"name": name, "passed": None, "sqnr": row["not_run"]}
    equal = row["sqnr_db"] is None and row["finite"]
    text = "equal" if equal else "not finite"
    if row["sqnr_db"] is not None:
        text = f"{number(row['sqnr_db'], 1)} dB"
    return {"name": name, "passed": row["passed"], "sqnr": text}


def _stage(name: str, row: Mapping[str, float | None]) -> dict[str, str]:
    sqnr = row["sqnr_db"]
    return {
        "name": STAGE_NAMES.get(name, name),
        "max": _small(row["max_abs"]),
        "mean": _small(row["mean_abs"]),
        "p99": _small(row["p99_abs"]),
        "sqnr": "equal" if sqnr is None else f"{number(sqnr, 1)} dB",
        "cosine": f"{row['cosine']:.6f}",
    }


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _check(row: Mapping[str, Any]) -> dict[str, Any]:
    name = CHECK_NAMES.get(row["name"], row["name"])
    return {
        "name": name,
        "value": number(row["value"], 4),
        "bound": f"{row['bound']:g}",
        "passed": row["passed"],
    }


def _photo(index: int, views: ParityViews) -> dict[str, Any]:
    found = compare(views.reference, views.measured)
    return {
        "id": f"photo-{index}",
        "name": f"Photo {index}",
        "before": picture(views.photo),
        "reference": picture(views.reference),
        "measured": picture(views.measured),
        "difference": picture(difference_map(views.measured, views.reference, DIFFERENCE_GAIN)),
        "figures": [
            ("PSNR", f"{number(min(found['psnr_db'], 99.0), 1)} dB"),
            ("CIEDE2000, mean", number(found["ciede2000_mean"], 3)),
            ("CIEDE2000, 99th percentile", number(found["ciede2000_p99"], 3)),
            ("CIEDE2000, maximum", number(found["ciede2000_max"], 3)),
            ("Next tokens equal", f"{100 * views.row['agreement']:.1f} %"),
        ],
    }
