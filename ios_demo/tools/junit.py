"""Joins check.sh's own checks and XCTest's cases: junit.py STEPS.tsv SWIFT.log OUT.xml.

Exit code 1 where something failed. A log of XCTest without a case is a failure: its tests did not
run.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from steps import step_cases, suite, write_report

CASE = re.compile(r"^Test Case '([\w]+)\.(\w+)' (passed|failed|skipped) \(([\d.]+) seconds\)", re.M)


def swift_cases(path: Path) -> list[ET.Element]:
    """XCTest's cases as it prints them (its own report needs parallel tests); one failure where
    there are none."""
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    cases = []
    for group, name, status, seconds in CASE.findall(text):
        case = ET.Element("testcase", classname=group, name=name, time=seconds)
        if status != "passed":
            ET.SubElement(case, "skipped" if status == "skipped" else "failure")
        cases.append(case)
    if not cases:
        case = ET.Element("testcase", classname="swift test", name="ran", time="0")
        ET.SubElement(case, "failure", message="XCTest ran no test")
        return [case]
    return cases


def main() -> int:
    steps, swift, out = map(Path, sys.argv[1:4])
    return write_report(out, [suite("ios", step_cases(steps, "check.sh") + swift_cases(swift))])


if __name__ == "__main__":
    sys.exit(main())
