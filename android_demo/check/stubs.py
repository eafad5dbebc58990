"""Each class and member of the hand-written stubs is in the signatures of Android's API 36.

stubs.py STUBS SITE_PACKAGES
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MEMBER = re.compile(r"public (?:static )?(?:abstract )?[\w.<>]+ (\w+)\(", re.M)
ENUM = re.compile(r"public enum (\w+) \{([^}]*)\}")


def members(java: str) -> list[str]:
    """Names of methods, and of the constants of enums."""
    constants = [c.strip() for _, body in ENUM.findall(java) for c in body.split(",")]
    return [*MEMBER.findall(java), *constants]


def main() -> int:
    stubs, site = Path(sys.argv[1]), Path(sys.argv[2])
    missing = []
    count = 0
    for file in sorted(stubs.rglob("*.java")):
        package, name = file.relative_to(stubs).parent, file.stem
        folder = site / "android-stubs" / package.relative_to("android")
        texts = [pyi.read_text() for pyi in folder.glob("**/*.pyi")]
        signatures = "\n".join(text for text in texts if f"class {name}" in text)
        start = signatures.find(f"class {name}")
        for member in members(file.read_text()):
            count += 1
            if start < 0 or not re.search(rf"\b{member}\b", signatures[start:]):
                missing.append(f"{file.name}: {member}")
    print(f"{count} members, missing: {missing}")
    return 1 if missing or not count else 0


if __name__ == "__main__":
    sys.exit(main())
