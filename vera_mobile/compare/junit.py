"""The verdicts as JUnit XML, the form that build servers read."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from vera_mobile.compare.run import BROKEN, FAILED, Outcome, Row
from vera_mobile.files import replacing
from vera_mobile.page import printable

SUITE = "vera compare"


def write_junit(path: str | Path, outcome: Outcome) -> Path:
    """One test case per photo: `failure` for a missed bound, `error` for one that is unreadable.

    The figures are properties of the case. Raises FileError where it cannot be written.
    """
    counts = {
        "tests": str(len(outcome.rows)),
        "failures": str(outcome.count(FAILED)),
        "errors": str(outcome.count(BROKEN)),
        "time": f"{sum(row.seconds for row in outcome.rows):.3f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, "skipped": "0", **counts})
    for row in outcome.rows:
        _case(suite, row)
    ET.indent(root)
    with replacing(path) as stream:
        stream.write(ET.tostring(root, "utf-8", xml_declaration=True) + b"\n")
    return Path(path)


def _case(suite: ET.Element, row: Row) -> None:
    name = PurePosixPath(printable(row.name))
    folder = str(name.parent)
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "name": name.name,
            "classname": "photos" if folder == "." else f"photos/{folder}",
            "time": f"{row.seconds:.3f}",
        },
    )
    if row.figures is not None:
        properties = ET.SubElement(case, "properties")
        for key, value in asdict(row.figures).items():
            if value is not None:
                ET.SubElement(properties, "property", {"name": key, "value": _value(value)})
    missed = [check for check in row.checks if not check.passed]
    if row.reason:
        kind = "error" if row.verdict == BROKEN else "failure"
        ET.SubElement(case, kind, {"message": printable(row.reason)})
    elif missed:
        said = "; ".join(f"{c.name} {c.bound:g}: {_value(c.value)}" for c in missed)
        ET.SubElement(case, "failure", {"message": said})


def _value(value: object) -> str:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(str(one) for one in value)
    return str(value)
