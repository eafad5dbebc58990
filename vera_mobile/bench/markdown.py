"""The table of aims as Markdown, for a README: nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vera_mobile.bench.aims import (
    FORMULAS,
    LETTERS,
    Facts,
    estimate_words,
    estimates,
    in_unit,
    measured,
    newest,
    note_of,
)
from vera_mobile.bench.targets import Aim, Phone, Targets
from vera_mobile.page import NO_BREAK, seeded_note

_PLAIN = str.maketrans({NO_BREAK: " ", "\u202f": " ", "|": "\\|"})


def aims_table(
    targets: Targets, results: Sequence[Mapping[str, Any]], facts: Facts, *, date: str
) -> str:
    """Aims, what this host measured, and for the phones of the whole look what was measured there
    or is expected, with the formulas that are used. results: of phones; date: of the projection.
    """
    named = next((aim.phones for aim in targets.aims if aim.name == "auto_look_ms"), ())
    phones = [targets.phones[key] for key in named]
    head = ["target", "at most", "measured on the host", *(phone.name for phone in phones)]
    lines = [_row(head), _row(["---"] * len(head))]
    for aim in targets.aims:
        host = facts.host and in_unit(aim, measured(aim, facts.host))
        cells = [_phone_cell(aim, phone, results, facts) for phone in phones]
        limit = in_unit(aim, aim.at_most)
        lines.append(_row([aim.words, limit or "", host or "not measured", *cells]))
    return "\n".join([*_head(facts, date), "", *lines, "", *_formulas(lines)]) + "\n"


def _phone_cell(aim: Aim, phone: Phone, results: Sequence[Mapping[str, Any]], facts: Facts) -> str:
    found = newest(results, aim, phone.key)
    if found is not None:
        return f"**measured**, {found['date'][:10]}: {in_unit(aim, measured(aim, found))}"
    expected = [estimate_words(aim, one) for one in estimates(aim, phone, facts)]
    return "<br>".join(expected) or "not projected"


def _head(facts: Facts, date: str) -> list[str]:
    if facts.bundle is None:
        return ["No bundle was given: nothing is projected."]
    of = f"`{facts.bundle['name']}`, {facts.bundle['recipe']}"
    host = "not measured on a host"
    if facts.host is not None:
        device = facts.host["device"]
        host = (
            f"host: {device['name']}, {device['cores']} cores, {facts.host['date'][:10]}, commit "
            f"{(facts.host.get('commit') or 'unknown')[:8]}, {facts.host['prompt_tokens']} tokens "
            f"of prompt and {facts.host['tokens']} of text, `vera bench run`"
        )
    told = f"{of}; {host}; phones: projected on {date}, not run on a device."
    told += note_of(facts.host) if facts.host else ""
    return [f"{told} {seeded_note(facts.bundle['name'])}".rstrip()]


def _formulas(lines: Sequence[str]) -> list[str]:
    used = [key for key in FORMULAS if any(f"[{key}]" in line for line in lines)]
    return [*(f"- [{key}] {FORMULAS[key]}" for key in used), f"- {LETTERS}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.translate(_PLAIN) for cell in cells)} |"
