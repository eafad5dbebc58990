"""One junit.xml of check.sh's steps and of the JUnit runs; prints the count.

junit.py WORK_FOLDER      exit code 1: a failure, or nothing ran
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from steps import step_cases, suite, write_report


def main() -> int:
    work = Path(sys.argv[1])
    suites = [suite("android_demo/check.sh", step_cases(work / "steps.tsv", "check.sh"))]
    for file in sorted(work.glob("reports/*/TEST-junit-jupiter.xml")):
        run = ET.parse(file).getroot()
        run.set("name", f"{file.parent.name}: {run.get('name')}")
        suites.append(run)
    return write_report(work / "junit.xml", suites)


if __name__ == "__main__":
    sys.exit(main())
