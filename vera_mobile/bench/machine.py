"""This machine as the results name it: device, memory, temperature."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path

from vera_mobile.bench.results import slug

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_THERMAL = Path("/sys/class/thermal")


def device() -> dict[str, object]:
    """id, name, os, cores and memory of this machine."""
    name = _cpu_name()
    return {
        "id": f"host-{slug(name)}",
        "name": name,
        "os": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "ram_bytes": _ram_bytes(),
    }


def celsius() -> float | None:
    """The highest temperature that the kernel tells, or None where it tells none."""
    found = []
    for file in _THERMAL.glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()) / 1000)
    return max(found, default=None)


def peak_mb() -> float:
    """The most resident memory since the start, or since `forget_peak`."""
    with suppress(OSError, StopIteration, ValueError):
        lines = _STATUS.read_text().splitlines()
        line = next(one for one in lines if one.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def forget_peak() -> bool:
    """Makes `peak_mb` start anew from what is resident now; False where the system cannot."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def drop_from_page_cache(file: Path) -> bool:
    """Asks the system to forget the file's pages, so that the next read comes from the disk."""
    if not hasattr(os, "posix_fadvise"):
        return False
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _cpu_name() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    return platform.processor() or platform.machine()


def _ram_bytes() -> int | None:
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
