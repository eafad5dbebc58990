"""One junit.xml of check.sh's steps and of the JUnit runs; prints the count.

junit.py WORK_FOLDER      exit code 1: a failure, or nothing ran
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def steps(file: Path) -> ET.Element:
    """A suite of the steps, whose last may have ended the run early."""
    suite = ET.Element("testsuite", name="android_demo/check.sh")
    lines = [line.split("\t") for line in file.read_text().splitlines()] if file.is_file() else []
    for name, status, seconds in lines:
        case = ET.SubElement(suite, "testcase", classname="check", name=name, time=seconds)
        if status != "0":
            ET.SubElement(case, "failure", message=f"exit code {status}")
    failures = sum(status != "0" for _, status, _ in lines)
    suite.attrib |= {"tests": str(len(lines)), "failures": str(failures), "errors": "0"}
    suite.set("skipped", "0")
    return suite


def main() -> int:
    work = Path(sys.argv[1])
    root = ET.Element("testsuites")
    root.append(steps(work / "steps.tsv"))
    for file in sorted(work.glob("reports/*/TEST-junit-jupiter.xml")):
        suite = ET.parse(file).getroot()
        suite.set("name", f"{file.parent.name}: {suite.get('name')}")
        root.append(suite)

    def total(key: str) -> int:
        return sum(int(suite.get(key) or 0) for suite in root)

    bad, skipped = total("failures") + total("errors"), total("skipped")
    good = total("tests") - bad - skipped
    ET.ElementTree(root).write(work / "junit.xml", encoding="unicode", xml_declaration=True)
    print(f"{good} passed, {bad} failed, {skipped} skipped")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
