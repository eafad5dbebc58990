"""vera_mobile/errors.py and kernels/include/vera/status_list.h hold the same codes."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from vera_mobile import errors, native

STATUS_LIST = Path(__file__).parents[2] / "kernels" / "include" / "vera" / "status_list.h"


def listed_statuses() -> dict[str, tuple[int, str]]:
    found = re.findall(r'^VERA_STATUS\((\w+), (\d+), "(.+)"\)$', STATUS_LIST.read_text(), re.M)
    return {name: (int(code), text) for name, code, text in found}


def test_python_errors_equal_the_list() -> None:
    expected = {name: code for name, (code, _) in listed_statuses().items()}
    assert expected.pop("OK") == 0
    python = {
        re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper(): kind.code
        for kind in errors.VeraError.__subclasses__()
        if kind.__module__ == errors.__name__
    }
    assert python == expected
    assert sorted(expected.values()) == list(range(1, len(expected) + 1))


def test_library_speaks_the_same_list() -> None:
    library = ctypes.CDLL(str(native.library_path()))
    library.vera_status_text.restype = ctypes.c_char_p
    for code, text in listed_statuses().values():
        assert library.vera_status_text(code).decode() == text
