"""One junit.xml of run.sh's steps and of each program's comparison; prints both and the count.

junit.py WORK_FOLDER      exit code 1: a failure, or no program was compared
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from steps import step_cases, suite, write_report


def programs(file: Path) -> list[ET.Element]:
    """A case for every program of every recipe, as replay.py wrote them."""
    cases = []
    for row in json.loads(file.read_text()) if file.is_file() else []:
        limit = "same bytes" if row["own"] else f"at most {row['bound']:g} of the largest value"
        text = (
            f"{row['calls']} calls, largest difference {row['max_abs']:.3g}, "
            f"{row['relative']:.3g} of the largest value ({limit}) {row['error']}"
        )
        print(f"{'ok' if row['passed'] else 'FAILED'}: {row['recipe']} {row['program']}: {text}")
        name, seconds = f"{row['program']} ({limit})", f"{row['seconds']:.2f}"
        case = ET.Element("testcase", classname=row["recipe"], name=name, time=seconds)
        ET.SubElement(case, "system-out").text = text
        if not row["passed"]:
            ET.SubElement(case, "failure", message=text)
        cases.append(case)
    return cases


def main() -> int:
    work = Path(sys.argv[1])
    compared = programs(work / "results.json")
    cases = step_cases(work / "steps.tsv", "run.sh") + compared
    failed = write_report(work / "junit.xml", [suite("tests/arm", cases)])
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
