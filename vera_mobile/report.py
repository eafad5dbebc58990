"""One self-contained HTML page: what was done to each photo, how fast and how exactly.

The page loads nothing: pictures are data URIs, the content security policy forbids every request
and allows only the page's own style and script (by their SHA-256). A figure that was not taken
is shown as "not measured".
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from PIL import Image

from vera_mobile.errors import FileError, InternalError, InvalidArgument

TASKS = {"auto": "Auto retouch", "style": "Style in words", "param": "Slider values"}
STAGES = ("load", "prepare", "vision", "prefill", "decode", "head", "bake", "render")
LONG_SIDE = 1280
JPEG_QUALITY = 88
DIFFERENCE_GAIN = 20


@dataclass(frozen=True)
class _Metric:
    label: str
    unit: str
    digits: int
    higher_is_better: bool
    least: float = 0.0
    most: float = sys.float_info.max


_PSNR = _Metric("PSNR", "dB", 2, True, least=-1000.0, most=math.inf)
PARITY = {
    "psnr_db": _PSNR,
    "ciede2000_mean": _Metric("CIEDE2000, mean", "ΔE", 3, False),
    "ciede2000_p99": _Metric("CIEDE2000, 99th percentile", "ΔE", 3, False),
    "ciede2000_max": _Metric("CIEDE2000, maximum", "ΔE", 3, False),
    "token_agreement": _Metric("Token agreement", "%", 1, True, most=1.0),
}
RECOVERY = {
    "psnr_db": _PSNR,
    "ciede2000_mean": PARITY["ciede2000_mean"],
    "ciede2000_p99": PARITY["ciede2000_p99"],
    "ciede2000_max": PARITY["ciede2000_max"],
    "ssim": _Metric("SSIM", "", 4, True, least=-1.0, most=1.0),
}


@dataclass(frozen=True, eq=False)
class ReportEntry:
    """What the page shows of one photo; checked when made, so that a bad figure names its place.

    before, after, reference: (H, W, 3) uint8, sRGB, of one shape; `reference` is the result of
        PyTorch in fp32.
    task: "auto", "style" or "param"; instruction: the wish, or the sliders separated by new lines,
        commas or semicolons.
    text: heading -> what the model wrote ({"problem": ..., "plan": ...}); a line is a paragraph.
    timings_ms: stage -> milliseconds, None where not taken; the stages of `STAGES` come first, and
        "total" is the time from photo to result by the wall clock, if that was taken.
    parity: keys of `PARITY`, against the reference; PSNR in dB (inf for equal pictures),
        CIEDE2000 in ΔE, token_agreement in [0, 1].
    recovery: keys of `RECOVERY` -> (before, after) against the original of a photo that was
        degraded on purpose.
    cube_file, output_file: names relative to the page.

    Raises InvalidArgument for an unknown task, key, shape or dtype, for NaN and for negatives.
    """

    name: str
    task: str
    instruction: str
    before: np.ndarray
    after: np.ndarray
    reference: np.ndarray | None = None
    text: Mapping[str, str] = field(default_factory=dict)
    timings_ms: Mapping[str, float | None] = field(default_factory=dict)
    tokens_generated: int | None = None
    peak_rss_mb: float | None = None
    parity: Mapping[str, float | None] = field(default_factory=dict)
    recovery: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    cube_file: str | None = None
    output_file: str | None = None

    def __post_init__(self) -> None:
        where = f"Report entry {self.name!r}"
        if self.task not in TASKS:
            raise InvalidArgument(f"{where}: task {self.task!r} unknown: use one of {list(TASKS)}.")
        for label in ("before", "after", "reference"):
            if label != "reference" or self.reference is not None:
                _check_picture(f"{where}: {label}", getattr(self, label), np.shape(self.before))
        figures = {f"timings_ms[{stage!r}]": value for stage, value in self.timings_ms.items()}
        figures["tokens_generated"] = self.tokens_generated
        figures["peak_rss_mb"] = self.peak_rss_mb
        for label, value in figures.items():
            _check_figure(f"{where}: {label}", value, 0.0, sys.float_info.max)
        _check_metrics(f"{where}: parity", self.parity, PARITY)
        for side in (0, 1):
            pairs = {key: pair[side] for key, pair in self.recovery.items()}
            _check_metrics(f"{where}: recovery", pairs, RECOVERY)
        for label, file in (("cube_file", self.cube_file), ("output_file", self.output_file)):
            _check_relative(f"{where}: {label}", file)


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    entries: Sequence[ReportEntry],
    device: Mapping[str, object],
    bundle_info: Mapping[str, Any],
    command: str,
    when: datetime | None = None,
) -> Path:
    """The path of the page, written whole or not at all (an existing file is replaced).

    device: label -> value, shown in the order given, None as "not recorded"; figures of the page
        are host figures of this device. Underscores in labels become spaces.
    bundle_info: name, recipe, size_bytes, sha256, commit and files: {name: {path, size_bytes,
        quantization (None: none), sha256}}, as `vera_mobile.bundle.describe` gives them (the
        bundle's own sha256 aside); a missing key is shown as such, further keys are not shown.
    when: time of the run, by default now.

    Raises InvalidArgument for no entries, FileError where the page cannot be written.
    """
    if not entries:
        raise InvalidArgument("Report has 0 entries: give at least one ReportEntry.")
    moment = when if when is not None else datetime.now().astimezone()
    page = _render(
        title=title,
        date=f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip(),
        date_iso=moment.isoformat(timespec="seconds"),
        device=[(key.replace("_", " "), _words(value)) for key, value in device.items()],
        bundle=_bundle_facts(bundle_info),
        files=_bundle_files(bundle_info),
        summary_labels=_SUMMARY_LABELS,
        photos=[_photo(number, entry) for number, entry in enumerate(entries, start=1)],
        command=command,
    )
    return _write_whole(Path(path), page)


def difference_map(after: np.ndarray, reference: np.ndarray, gain: float) -> np.ndarray:
    """|after - reference| x gain per channel, (h, w, 3) uint8, long side at most `LONG_SIDE`.

    after, reference: (H, W, 3) uint8 of one shape. A large map is reduced by the maximum of each
    block, since averaging would hide a single wrong pixel. Values above 255 are clipped.
    """
    delta = np.abs(after.astype(np.int16) - reference.astype(np.int16))
    step = math.ceil(max(delta.shape[:2]) / LONG_SIDE)
    if step > 1:
        rows, columns = (np.arange(0, size, step) for size in delta.shape[:2])
        delta = np.maximum.reduceat(np.maximum.reduceat(delta, rows, axis=0), columns, axis=1)
    return np.minimum(np.rint(delta * gain), 255).astype(np.uint8)


def _check_picture(where: str, picture: object, shape: tuple[int, ...]) -> None:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        seen = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise InvalidArgument(f"{where} is {seen}: give a NumPy array of uint8 in sRGB.")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise InvalidArgument(f"{where} has shape {picture.shape}: give (H, W, 3), not empty.")
    if picture.shape != shape:
        raise InvalidArgument(
            f"{where} has shape {picture.shape} but before has {shape}: give pictures of one shape."
        )


def _check_figure(where: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidArgument(
            f"{where} is {value}: use {least:g}..{most:g}, or None for a figure that was not taken."
        )


def _check_metrics(
    where: str, values: Mapping[str, float | None], known: Mapping[str, _Metric]
) -> None:
    for key, value in values.items():
        if key not in known:
            raise InvalidArgument(f"{where}: key {key!r} unknown: use {list(known)}.")
        _check_figure(f"{where}[{key!r}]", value, known[key].least, known[key].most)


def _check_relative(where: str, file: str | None) -> None:
    if file is None:
        return
    for kind in (PurePosixPath(file), PureWindowsPath(file)):
        if not file or kind.anchor or ".." in kind.parts:
            raise InvalidArgument(
                f"{where} {file!r} not allowed: give a name relative to the page, without '..'."
            )


def _number(value: float, digits: int) -> str:
    if 0 < value < 0.5 * 10**-digits:
        return f"<\u00a0{10**-digits:.{digits}f}"
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def _ms(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{_number(value, 2 if value < 10 else 1 if value < 100 else 0)}\u00a0ms"


def _metric(metric: _Metric, value: float | None) -> str | None:
    if value is None:
        return None
    if math.isinf(value):
        return "∞ (equal)"
    if metric.unit == "%":
        value = _percent(value, metric.digits)
    return f"{_number(value, metric.digits)}\u00a0{metric.unit}".rstrip("\u00a0")


def _percent(share: float, digits: int) -> float:
    """share x 100, rounded down: one wrong token or pixel must not read as 100 %."""
    steps = 10**digits
    return math.floor(share * 100 * steps + 1e-6) / steps


def _size(size_bytes: int | None) -> str | None:
    if size_bytes is None:
        return None
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= scale:
            return f"{_number(size_bytes / scale, 1)}\u00a0{unit}"
    return f"{size_bytes}\u00a0B"


def _words(value: object) -> str | None:
    return None if value is None else str(value)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _short_hash(sha256: str | None) -> str | None:
    return sha256[:12] if sha256 else None


def _bundle_facts(info: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    facts = [
        ("name", _words(info.get("name"))),
        ("recipe", _words(info.get("recipe"))),
        ("size", _size(info.get("size_bytes"))),
        ("SHA-256", _short_hash(info.get("sha256"))),
    ]
    if "commit" in info:
        facts.append(("commit", _words(info["commit"])))
    return facts


def _bundle_files(info: Mapping[str, Any]) -> list[dict[str, str | None]]:
    return [
        {
            "name": file.get("path", name),
            "quantization": (file["quantization"] or "none") if "quantization" in file else None,
            "size": _size(file.get("size_bytes")),
            "sha256": _short_hash(file.get("sha256")),
        }
        for name, file in info.get("files", {}).items()
    ]


_SUMMARY_LABELS = ("Tokens", "Time", "Peak memory", "PSNR", "ΔE mean", "ΔE p99", "Token agreement")


def _photo(number: int, entry: ReportEntry) -> dict[str, Any]:
    height, width = entry.before.shape[:2]
    parity = {key: _metric(metric, entry.parity.get(key)) for key, metric in PARITY.items()}
    totals = _totals(entry)
    tokens = None if entry.tokens_generated is None else _number(entry.tokens_generated, 0)
    memory = None if entry.peak_rss_mb is None else f"{_number(entry.peak_rss_mb, 0)}\u00a0MB"
    keys = ("psnr_db", "ciede2000_mean", "ciede2000_p99", "token_agreement")
    return {
        "id": f"photo-{number}",
        "name": entry.name,
        "task": entry.task,
        "task_words": TASKS[entry.task],
        "size": f"{width} × {height}\u00a0px",
        "wish": _lines(entry.instruction),
        "sliders": _sliders(entry),
        "summary": [tokens, totals[0][1], memory, *(parity[key] for key in keys)],
        "before": _picture(_shrink(entry.before)),
        "after": _picture(_shrink(entry.after)),
        "text": [
            {"heading": heading[:1].upper() + heading[1:], "lines": _lines(text)}
            for heading, text in entry.text.items()
        ],
        "run": [
            ("tokens generated", tokens),
            ("decoding speed", _decoding_speed(entry)),
            ("peak memory", memory),
        ],
        "outputs": [
            ("picture", _link(entry.output_file)),
            ("look (.cube)", _link(entry.cube_file)),
        ],
        "stages": _stages(entry),
        "totals": totals,
        "parity": [(metric.label, parity[key]) for key, metric in PARITY.items()],
        "recovery": _recovery(entry),
        "difference": _difference(entry),
    }


def _sliders(entry: ReportEntry) -> list[str]:
    if entry.task != "param":
        return []
    return [part.strip() for part in re.split(r"[\n;]|,\s", entry.instruction) if part.strip()]


def _decoding_speed(entry: ReportEntry) -> str | None:
    decode_ms = entry.timings_ms.get("decode")
    if not entry.tokens_generated or not decode_ms:
        return None
    return f"{_number(1000 * entry.tokens_generated / decode_ms, 1)}\u00a0tokens/s"


def _stages(entry: ReportEntry) -> list[dict[str, object]]:
    names = [*STAGES, *(name for name in entry.timings_ms if name not in (*STAGES, "total"))]
    times = {name: entry.timings_ms.get(name) for name in names}
    taken = [time for time in times.values() if time is not None]
    longest, whole = max(taken, default=0.0), sum(taken)
    rows: list[dict[str, object]] = []
    for name, time in times.items():
        row: dict[str, object] = {"name": name.replace("_", " "), "time": _ms(time)}
        if time is None:
            unused = entry.task == "param" and name == "vision"
            row["missing"] = "not used by this task" if unused else "not measured"
        else:
            row["width"] = f"{100 * time / longest:.2f}" if longest else "0"
            row["share"] = f"{_number(100 * time / whole, 1)}\u00a0%" if whole else None
        rows.append(row)
    return rows


def _totals(entry: ReportEntry) -> list[tuple[str, str | None]]:
    taken = [t for name, t in entry.timings_ms.items() if t is not None and name != "total"]
    total = ("sum of the measured stages", _ms(sum(taken)) if taken else None)
    if entry.timings_ms.get("total") is None:
        return [total]
    return [("total by the wall clock", _ms(entry.timings_ms["total"])), total]


def _recovery(entry: ReportEntry) -> list[dict[str, str | None]]:
    rows = []
    for key, metric in RECOVERY.items():
        if key not in entry.recovery:
            continue
        before, after = entry.recovery[key]
        rows.append(
            {
                "label": metric.label,
                "before": _metric(metric, before),
                "after": _metric(metric, after),
                "change": _change(metric, before, after),
            }
        )
    return rows


def _change(metric: _Metric, before: float | None, after: float | None) -> str | None:
    if before is None or after is None:
        return None
    if before == after:
        return "same"
    nearer = (after > before) == metric.higher_is_better
    return "nearer" if nearer else "farther"


def _difference(entry: ReportEntry) -> dict[str, object] | None:
    if entry.reference is None:
        return None
    delta = np.abs(entry.after.astype(np.int16) - entry.reference.astype(np.int16))
    equal = _percent(float(np.mean(np.all(delta == 0, axis=2))), 1)
    mean = _number(float(delta.mean()), 3)
    return {
        "gain": DIFFERENCE_GAIN,
        "picture": _picture(difference_map(entry.after, entry.reference, DIFFERENCE_GAIN)),
        "caption": (
            f"|after − reference| × {DIFFERENCE_GAIN} for each channel, in 8-bit sRGB steps: black "
            f"is equal, full brightness is {math.ceil(255 / DIFFERENCE_GAIN)} steps or more. "
            f"Largest difference {int(delta.max())} of 255 steps, mean {mean}; "
            f"{_number(equal, 1)}\u00a0% of the pixels are equal."
        ),
    }


def _shrink(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def _picture(picture: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {
        "uri": f"data:image/jpeg;base64,{data}",
        "width": picture.shape[1],
        "height": picture.shape[0],
    }


def _link(file: str | None) -> dict[str, str] | None:
    # The leading "./" keeps a name with a colon from being read as a URL scheme.
    return None if file is None else {"name": file, "href": "./" + quote(file, errors="replace")}


def _render(**values: object) -> str:
    source = (resources.files("vera_mobile") / "templates" / "report.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.from_string(source).render(
        style_hash=_source_hash(source, "style"),
        script_hash=_source_hash(source, "script"),
        **values,
    )


def _source_hash(source: str, tag: str) -> str:
    """`sha256-...` of the one inline element of that name, for the content security policy."""
    found = re.findall(f"<{tag}>(.*?)</{tag}>", source, flags=re.DOTALL)
    if len(found) != 1:
        raise InternalError(f"Report template has {len(found)} <{tag}> elements: it must have 1.")
    digest = hashlib.sha256(found[0].encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _printable(value: object) -> object:
    """Controls and lone surrogates, which no UTF-8 HTML page can hold, become U+FFFD."""
    if type(value) is not str:
        return value
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", value)


def _write_whole(path: Path, page: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(
            f"Report {path} cannot be written: {error.strerror or error}. "
            "Give the path of a file in an existing folder that may be written to."
        ) from error
    return path
