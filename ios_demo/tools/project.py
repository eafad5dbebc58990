"""Checks the demo's project file and the property lists: project.py ios_demo/VeraDemo.

The project must parse, each object that it names must be there, and so must each folder and package
on disk.
"""

from __future__ import annotations

import plistlib
import re
import sys
from pathlib import Path

from pbxproj import XcodeProject

IDENTIFIER = re.compile(r"[0-9A-F]{24}")


def check_project(folder: Path) -> None:
    path = folder / "VeraDemo.xcodeproj/project.pbxproj"
    project = XcodeProject.load(str(path))
    known = {
        entry.get_id()
        for entry in project.objects.get_objects_in_section(*project.objects.get_sections())
    }
    named = set(IDENTIFIER.findall(path.read_text("utf-8")))
    assert known == named, f"named but not there, or the reverse: {sorted(known ^ named)}"
    targets = {target.name for target in project.objects.get_targets()}
    assert targets == {"VeraDemo", "VeraDemoTests"}, targets
    for kind in ("PBXFileSystemSynchronizedRootGroup", "XCLocalSwiftPackageReference"):
        found = project.objects.get_objects_in_section(kind)
        assert found, f"no {kind}"
        for entry in found:
            place = folder / (entry["path"] if "path" in entry else entry["relativePath"])
            assert place.is_dir(), place
            if kind == "XCLocalSwiftPackageReference":
                assert (place / "Package.swift").is_file(), place


def check_lists(folder: Path) -> None:
    info = plistlib.loads((folder / "VeraDemo/Info.plist").read_bytes())
    types = info["CFBundleDocumentTypes"][0]["LSItemContentTypes"]
    assert {"public.jpeg", "public.heic"} <= set(types), types
    privacy = folder.parent / "VeraMobile/Sources/VeraMobile/PrivacyInfo.xcprivacy"
    facts = plistlib.loads(privacy.read_bytes())
    assert facts["NSPrivacyTracking"] is False, facts
    assert facts["NSPrivacyCollectedDataTypes"] == [], facts


def main() -> None:
    folder = Path(sys.argv[1])
    check_project(folder)
    check_lists(folder)


if __name__ == "__main__":
    main()
