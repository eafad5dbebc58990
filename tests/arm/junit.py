"""One junit.xml of run.sh's steps and of each program's comparison; prints both and the count.

junit.py WORK_FOLDER      exit code 1: a failure, or no program was compared
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def steps(file: Path) -> list[ET.Element]:
    """The steps that ran; the last may have ended the run early."""
    cases = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        name, status, seconds = line.split("\t")
        case = ET.Element("testcase", classname="run.sh", name=name, time=seconds)
        if status != "0":
            ET.SubElement(case, "failure", message=f"exit code {status}")
        cases.append(case)
    return cases


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
    cases = steps(work / "steps.tsv") + compared
    bad = sum(case.find("failure") is not None for case in cases)
    suite = ET.Element("testsuite", name="tests/arm", tests=str(len(cases)), failures=str(bad))
    suite.attrib |= {"errors": "0", "skipped": "0"}
    suite.extend(cases)
    ET.ElementTree(suite).write(work / "junit.xml", encoding="unicode", xml_declaration=True)
    print(f"{len(cases) - bad} passed, {bad} failed, 0 skipped")
    return 1 if bad or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
