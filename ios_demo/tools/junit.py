"""Joins check.sh's own checks and XCTest's cases: junit.py RESULTS.tsv SWIFT.log OUT.xml.

Exit code 1 where something failed. A log of XCTest without a case is a failure: its tests did not
run.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

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


def own_cases(path: Path) -> list[ET.Element]:
    """The checks of check.sh."""
    cases = []
    for line in path.read_text("utf-8").splitlines():
        name, status, seconds = line.split("\t")
        case = ET.Element("testcase", classname="check.sh", name=name, time=seconds)
        if status != "passed":
            ET.SubElement(case, "failure", message=f"{name} failed: see build/ios/log-*.txt")
        cases.append(case)
    return cases


def main() -> int:
    results, swift, out = map(Path, sys.argv[1:4])
    cases = own_cases(results) + swift_cases(swift)
    failed = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    suite = ET.Element(
        "testsuite",
        name="ios",
        tests=str(len(cases)),
        failures=str(failed),
        skipped=str(skipped),
    )
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.ElementTree(root).write(out, encoding="utf-8", xml_declaration=True)
    print(f"{len(cases) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
