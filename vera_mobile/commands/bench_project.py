"""`vera bench project`: what a bundle would take on a phone that is not here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vera_mobile.bench.counts import Counted
    from vera_mobile.bench.project import Efficiency, Fit, Projection, Range
    from vera_mobile.bench.targets import Targets
    from vera_mobile.cli import Console

EXAMPLE = "example: vera bench project --bundle vera.bundle --target iphone-16-pro --unit npu"


def add(kinds: Any) -> None:
    """Adds the parser."""
    p = kinds.add_parser("project", help="project a bundle onto a phone", epilog=EXAMPLE)
    p.add_argument("--bundle", required=True, help="bundle folder")
    p.add_argument("--target", required=True, metavar="PHONE", help="a key of targets.toml")
    p.add_argument("--unit", default="cpu", choices=("cpu", "gpu", "npu"), help="default cpu")
    p.add_argument("--tokens", type=int, default=120, help="tokens of reasoning, 0..1024")
    p.add_argument("--prompt-tokens", type=int, help="default: of the bundle's tokenizer, auto")
    p.add_argument("--targets", metavar="FILE", help="default: benchmarks/targets.toml")
    p.add_argument("--published", metavar="FILE", help="default: benchmarks/published.toml")
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Prints bytes, multiply-adds, roofline and projection per stage, and the whole photo."""
    from vera_mobile.bench.project import fit, project
    from vera_mobile.bench.targets import benchmarks_folder, load_published, load_targets

    targets = load_targets(args.targets or benchmarks_folder() / "targets.toml")
    published = load_published(args.published or benchmarks_folder() / "published.toml")
    phone = targets.phone(args.target)
    efficiency = fit(published.measured)
    counted = count(args.bundle, args.tokens, args.prompt_tokens)
    projection = project(counted.stages, phone, args.unit, efficiency)
    result = as_json(projection, efficiency, counted, args.tokens)
    console.result(result, "\n".join(_lines(projection, efficiency, counted, targets, args.tokens)))
    return 0


def count(bundle: str, tokens: int, prompt: int | None) -> Counted:
    """Counts of a bundle for a text of `tokens`; the prompt is that of the auto task."""
    from vera_mobile.bench.counts import Case, count_bundle
    from vera_mobile.bundle import Bundle
    from vera_mobile.measure import prompt_tokens
    from vera_mobile.model.config import ModelConfig
    from vera_mobile.train.data import check_size

    check_size(tokens, "--tokens", 0, 1024)
    opened = Bundle.open(bundle)
    if prompt is None:
        prompt = prompt_tokens(opened, ModelConfig.from_dict(opened.manifest.model))
    check_size(prompt, "--prompt-tokens", 1, 4096)
    return count_bundle(opened, Case(prompt, tokens))


def as_json(
    projection: Projection, efficiency: Efficiency, counted: Counted, tokens: int
) -> dict[str, Any]:
    """The projection as plain values; what is not projected is null."""
    from dataclasses import asdict

    from vera_mobile.bench.project import FORMULA

    return {
        "format": "vera-projection",
        "schema": 1,
        "note": "a projection, not a measurement",
        "formula": FORMULA,
        "phone": projection.phone.key,
        "unit": projection.unit,
        "tokens": tokens,
        "stages": {stage.stage: asdict(stage) for stage in projection.stages},
        "auto": None if projection.auto is None else asdict(projection.auto),
        "instant": None if projection.instant is None else asdict(projection.instant),
        "bandwidth_share": _fit_json(efficiency.bandwidth),
        "rates": {unit: _fit_json(fit) for unit, fit in efficiency.rates.items()},
        "uncounted_operators": dict(counted.unknown),
    }


def _fit_json(fit: Fit) -> dict[str, Any]:
    return {
        "middle": fit.middle,
        "best": fit.best,
        "worst": fit.worst,
        "samples": dict(fit.samples),
        "leave_one_out": fit.errors,
        "typical_error": fit.typical_error,
    }


def _lines(
    projection: Projection,
    efficiency: Efficiency,
    counted: Counted,
    targets: Targets,
    tokens: int,
) -> list[str]:
    from vera_mobile.bench.project import FORMULA

    phone = projection.phone
    bus = phone.memory_gb_s
    known = f"{bus.value} GB/s ({bus.confidence} confidence)" if bus else "not published"
    lines = [
        f"Projection, not a measurement: {phone.name}, {projection.unit}, {tokens} tokens of text",
        FORMULA,
        f"B = {known}; P = {_peak(projection)}",
        "",
        f"{'stage':<18}{'needed':>11}{'moved':>11}{'G MAC':>10}{'roofline':>12}"
        f"{'projected':>12}  {'band':<20}bound by",
    ]
    for stage in projection.stages:
        lines.append(
            f"{stage.stage:<18}{stage.least_bytes / 1e6:>8.1f} MB{stage.bytes_moved / 1e6:>8.0f} MB"
            f"{stage.multiply_adds / 1e9:>10.3f}{_ms(stage.roofline_ms)}"
            f"{_range(stage.projected)}{stage.bound_by or ''}"
        )
    lines += ["", *_totals(projection, targets), "", *_fits(efficiency, projection.unit)]
    lines += _notes(projection, efficiency)
    if counted.unknown:
        names = ", ".join(f"{n} x {name}" for name, n in counted.unknown.items())
        lines.append(f"without a rule, their multiply-adds are missing: {names}")
    return lines


def _notes(projection: Projection, efficiency: Efficiency) -> list[str]:
    """What stands in for what: of the phones behind R, and that a bundle may be of another unit."""
    if projection.unit not in efficiency.rates:
        return [f"no published measurement on a {projection.unit}: only the roofline is known"]
    samples = efficiency.rates[projection.unit].samples
    phones = dict.fromkeys(name.rpartition(" on ")[2] for name in samples)
    return [
        f"R was measured on {', '.join(phones)}; it stands in for {projection.phone.name}",
        "the work is this bundle's: a bundle for another unit has programs of its own",
    ]


def _totals(projection: Projection, targets: Targets) -> list[str]:
    from vera_mobile.bench.aims import held

    lines = []
    aims: Mapping[str, float] = {aim.name: aim.at_most for aim in targets.aims}
    for words, total, aim in (
        ("auto, look in hand", projection.auto, aims.get("auto_look_ms")),
        ("instant, look first", projection.instant, aims.get("instant_look_ms")),
    ):
        if total is None:
            lines.append(f"{words:<22} not projected: no measurement on a {projection.unit} fits")
            continue
        verdict = (
            ""
            if aim is None
            else f"  aim {aim:.0f} ms: {held(total.low_ms, total.middle_ms, total.high_ms, aim)}"
        )
        band = f"({total.low_ms:.0f} to {total.high_ms:.0f})"
        lines.append(f"{words:<22}{total.middle_ms:.0f} ms {band}{verdict}")
    lines.append("(vision to bake; preparing the photo and rendering it come on top)")
    return lines


def _fits(efficiency: Efficiency, unit: str) -> list[str]:
    share = efficiency.bandwidth
    lines = [
        f"e = {share.middle:.2f} ({share.worst:.2f} to {share.best:.2f}) from "
        f"{len(share.samples)} published measurements; {_error(share)}"
    ]
    if unit in efficiency.rates:
        rate = efficiency.rates[unit]
        lines.append(
            f"R = {rate.middle / 1e9:,.0f} G/s ({rate.worst / 1e9:,.0f} to {rate.best / 1e9:,.0f}) "
            f"from {len(rate.samples)} on a {unit}; {_error(rate)}"
        )
    return lines


def _error(fit: Fit) -> str:
    if fit.typical_error is None:
        return "leave-one-out error: not known from one"
    worst = max(fit.errors.items(), key=lambda item: abs(item[1]))
    return (
        f"leave-one-out error: typically {fit.typical_error * 100:.0f} %, worst "
        f"{worst[1] * 100:+.0f} % ({worst[0]})"
    )


def _peak(projection: Projection) -> str:
    peak = projection.phone.peak_multiply_adds(projection.unit)
    return "not published" if peak is None else f"{peak / 1e9:,.0f} G multiply-adds/s"


def _ms(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>9.2f} ms"


def _range(value: Range | None) -> str:
    if value is None:
        return f"{'-':>12}  {'':<20}"
    return f"{value.middle_ms:>9.2f} ms  {f'{value.low_ms:.2f} to {value.high_ms:.2f}':<20}"
