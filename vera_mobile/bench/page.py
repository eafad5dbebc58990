"""The report page of all benchmarks: aims, projections, results, history, peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vera_mobile.bench import figures
from vera_mobile.bench.aims import FORMULAS, Facts, megabytes, note_of, plan_peak
from vera_mobile.bench.project import FORMULA, Efficiency, Fit, Projection
from vera_mobile.bench.targets import Measured, Published, Targets
from vera_mobile.page import NO_BREAK, number, render_page, seeded_note, write_page

HISTORY = ("plan", "instant_look", "decode_per_token", "vision", "render_12mp")


@dataclass(frozen=True)
class Findings:
    """What the page is made of. results: checked, oldest first; bundle: what was projected, as
    `describe` gives it, or None; peers: folder of the benchmark scripts' JSON files."""

    targets: Targets
    published: Published
    efficiency: Efficiency
    projections: Sequence[Projection]
    results: Sequence[Mapping[str, Any]]
    bundle: Mapping[str, Any] | None
    peers: Path

    @property
    def phones(self) -> list[Mapping[str, Any]]:
        """Results that come from phones."""
        return [result for result in self.results if result["kind"] == "phone"]

    @property
    def of_model(self) -> list[Mapping[str, Any]]:
        """Those of them that are of the model that was projected; all where none was."""
        name = self.bundle and self.bundle["name"]
        return [r for r in self.phones if name in (None, r["bundle"].get("name"))]

    @property
    def host(self) -> Mapping[str, Any] | None:
        """The newest result of a host for the bundle that was projected."""
        if self.bundle is None:
            return None
        wanted = (self.bundle["name"], self.bundle["recipe"])
        hosts = [r for r in self.results if r["kind"] == "host"]
        kinds = [(r["bundle"].get("name"), r["bundle"].get("recipe")) for r in hosts]
        fitting = [r for r, kind in zip(hosts, kinds, strict=True) if kind == wanted]
        return fitting[-1] if fitting else None

    @property
    def facts(self) -> Facts:
        """What is expected of phones comes from these."""
        return Facts(
            self.projections, self.efficiency, self.bundle, self.host, self.targets.stand_ins
        )


def write_bench_page(
    path: str | Path, found: Findings, *, command: str, when: datetime | None = None
) -> Path:
    """The path of the page, written whole or not at all. Raises FileError."""
    moment = when if when is not None else datetime.now().astimezone()
    page = render_page(
        "bench.html",
        ("page.css",),
        title="Targets, measurements and projections",
        date=f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip(),
        date_iso=moment.isoformat(timespec="seconds"),
        honesty=_honesty(found),
        host_note=_host_note(found.host),
        aims=figures.aim_rows(found.targets, found.of_model, found.facts),
        look=figures.look_charts(found.targets, found.published, found.projections, found.of_model),
        stages=_stages(found),
        memory=figures.memory_charts(found.targets, found.of_model, found.facts),
        memory_note=_memory_note(found),
        heat=figures.heat(found.results),
        history=[one for name in HISTORY for one in figures.curves(found.results, name)],
        peers=figures.peers(found.peers),
        formula=FORMULA,
        formulas=FORMULAS.items(),
        fits=_fits(found.efficiency, found.published.measured),
        phones=_phones(found.targets),
        command=command,
    )
    return write_page(path, page)


def _honesty(found: Findings) -> str:
    ran = (
        f"{len(found.phones)} of the {len(found.results)} results come from phones."
        if found.phones
        else "Nothing here was run on a phone yet."
    )
    of = ""
    if found.bundle:
        of = f" Projections are of {found.bundle['name']} ({found.bundle['recipe']})."
        of = f"{of} {seeded_note(found.bundle['name'])}".rstrip()
    return (
        f"{ran} A projection is an estimate from bytes and multiply-adds, not a measurement, and "
        f"host figures are no phone's.{of}"
    )


def _host_note(host: Mapping[str, Any] | None) -> str:
    if host is None:
        return "Host: not measured for this bundle."
    commit = (host.get("commit") or "unknown")[:8]
    return (
        f"Host: {host['device']['name']}, not a phone; {host['date'][:10]}, commit {commit}, a "
        f"prompt of {host.get('prompt_tokens')} tokens and a text of {host.get('tokens')}."
        f"{note_of(host)}"
    )


def _memory_note(found: Findings) -> str:
    peak = plan_peak(found.host) if found.host else None
    beside = (
        f" On the host a plan took {megabytes(peak)}, Python and its libraries included."
        if peak
        else ""
    )
    unknown = [p.name for p in found.targets.phones.values() if p.app_memory_mb is None]
    start = "" if found.phones else "No phone was measured yet. "
    return (
        f"{start}The limits are estimates from what apps were seen to get; for "
        f"{', '.join(unknown) or 'no phone'} no figure was found.{beside}"
    )


def _stages(found: Findings) -> list[dict[str, Any]]:
    """A table for each phone that an aim of the whole look names and that was projected."""
    keys = [key for aim in found.targets.aims if aim.name == "auto_look_ms" for key in aim.phones]
    host = found.host
    tables = []
    for key in keys:
        mine = [one for one in found.projections if one.phone.key == key]
        if mine:
            tables.append(
                {
                    "key": key,
                    "name": found.targets.phones[key].name,
                    "units": [one.unit for one in mine],
                    "rows": figures.stage_rows(found.targets, key, mine, host),
                    "note": _host_note(host),
                }
            )
    return tables


def _fits(efficiency: Efficiency, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    sources = {f"{m.name} on {m.phone}": m.source for m in measured}
    tables = [_fit("e: share of the memory's bandwidth, all units", efficiency.bandwidth, 1, "",
                   sources)]  # fmt: skip
    for unit, fit in efficiency.rates.items():
        tables.append(_fit(f"R: multiply-adds a second, {unit}", fit, 1e9, "G/s", sources))
    return tables


def _fit(
    name: str, fit: Fit, scale: float, unit: str, sources: Mapping[str, str]
) -> dict[str, Any]:
    def words(value: float) -> str:
        return f"{number(value / scale, 0 if unit else 2)}{NO_BREAK}{unit}".rstrip(NO_BREAK)

    rows = []
    for label, value in fit.samples.items():
        error = fit.errors.get(label)
        rows.append(
            {
                "name": label,
                "value": words(value),
                "error": None if error is None else _percent(error),
                "source": sources.get(label, ""),
            }
        )
    summary = f"Used: {words(fit.middle)} ({words(fit.worst)} to {words(fit.best)})."
    if fit.typical_error is not None:
        summary += f" Typical left-out error: {number(fit.typical_error * 100, 0)}{NO_BREAK}%."
    return {"name": name, "rows": rows, "summary": summary}


def _percent(error: float) -> str:
    sign = "+" if error > 0 else ""
    return f"{sign}{number(error * 100, 0)}{NO_BREAK}%"


def _phones(targets: Targets) -> list[dict[str, Any]]:
    return [
        {
            "name": phone.name,
            "chip": phone.chip,
            "figures": [
                figures.figure_words(phone.memory_gb_s, "GB/s"),
                figures.figure_words(phone.npu_tops, "TOPS"),
                figures.figure_words(phone.ram_gb, "GB"),
                figures.figure_words(phone.app_memory_mb, "MB"),
                figures.figure_words(phone.storage_gb_s, "GB/s"),
            ],
        }
        for phone in targets.phones.values()
    ]
