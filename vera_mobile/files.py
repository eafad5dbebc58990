"""Writing a file so that a reader sees either the old one or the whole new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vera_mobile.errors import FileError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file, open for reading and writing, that becomes `path` when the block ends well.

    It is written under a temporary name in the same folder and renamed at the end, without fsync;
    permissions follow the umask. If the block raises, the temporary file is removed and what was at
    `path` stays.

    Errors: FileError for a missing folder, a folder at `path`, no permission or a full disk. Any
    other exception of the block passes through unchanged.
    """
    target = Path(path)
    if target.is_dir():
        raise FileError(f"Cannot write {target}: it is a folder. Give the name of a file.")
    if not target.parent.is_dir():
        raise FileError(
            f"Cannot write {target}: the folder {target.parent} does not exist. Create it first."
        )
    temporary = target.parent / f".{target.name[:40]}.{secrets.token_hex(6)}.part"
    try:
        with open(temporary, "xb+") as stream:
            yield stream
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(
            f"Cannot write {target}: {reason}. Check free space and permissions of {target.parent}."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
