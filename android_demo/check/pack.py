"""Adds classes and libraries to an APK, each library uncompressed on a page of 16 KB.

pack.py BASE.apk OUT.apk FILE_OR_FOLDER...
"""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

PAGE = 16384
ALIGN_FIELD = 0xD935  # of Android's zip: the alignment that apksigner keeps, then padding


def entry(name: str, offset: int, alignment: int) -> zipfile.ZipInfo:
    """An uncompressed entry at `offset` of the file whose data begin on `alignment`."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    head = offset + 30 + len(name.encode()) + 6
    padding = -head % alignment
    info.extra = struct.pack("<HHH", ALIGN_FIELD, 2 + padding, alignment) + bytes(padding)
    return info


def main() -> int:
    base, out, *names = map(Path, sys.argv[1:])
    files = [f for n in names for f in (sorted(n.rglob("*.so")) if n.is_dir() else [n])]
    with (
        zipfile.ZipFile(base) as source,
        open(out, "wb") as stream,
        zipfile.ZipFile(stream, "w") as target,
    ):
        for info in source.infolist():
            data = source.read(info)
            if info.compress_type == zipfile.ZIP_STORED:
                target.writestr(entry(info.filename, stream.tell(), 4), data)
            else:
                target.writestr(info.filename, data, zipfile.ZIP_DEFLATED)
        for file in files:
            alignment = PAGE if file.suffix == ".so" else 4
            target.writestr(entry(file.as_posix(), stream.tell(), alignment), file.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
