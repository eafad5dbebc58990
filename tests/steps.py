"""junit.xml of the checks that are scripts: their steps (steps.sh) and what ran inside of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path


def step_cases(file: Path, script: str) -> list[ET.Element]:
    """A case for each line "name, exit code, seconds" of a steps.tsv; none where there is no file,
    for the first step that fails may have ended the run."""
    cases = []
    for line in file.read_text("utf-8").splitlines() if file.is_file() else []:
        name, status, seconds = line.split("\t")
        case = ET.Element("testcase", classname=script, name=name, time=seconds)
        if status != "0":
            ET.SubElement(case, "failure", message=f"exit code {status}")
        cases.append(case)
    return cases


def suite(name: str, cases: Iterable[ET.Element]) -> ET.Element:
    """A suite of cases with their counts."""
    made = ET.Element("testsuite", name=name)
    made.extend(cases)
    made.set("tests", str(len(made)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        made.set(key, str(sum(case.find(tag) is not None for case in made)))
    return made


def write_report(out: Path, suites: Iterable[ET.Element]) -> int:
    """Writes the report, prints the count; 1 where something failed or nothing passed, else 0."""
    root = ET.Element("testsuites")
    root.extend(suites)

    def total(key: str) -> int:
        return sum(int(one.get(key) or 0) for one in root)

    bad, skipped = total("failures") + total("errors"), total("skipped")
    good = total("tests") - bad - skipped
    ET.ElementTree(root).write(out, encoding="utf-8", xml_declaration=True)
    print(f"{good} passed, {bad} failed, {skipped} skipped")
    return 1 if bad or not good else 0
