"""Reads a signed APK back: package, activities, permissions, classes, pages of its libraries."""

from __future__ import annotations

import struct
import sys
import zipfile

PAGE = 16384
ACTIVITIES = {"MainActivity", "BundleActivity", "FiguresActivity", "BenchActivity"}
CLASSES = ("Lai/vera/mobile/Native;", "Lai/vera/mobile/VeraRetoucher;", "Lai/vera/demo/VeraApp;")


def data_offset(file: str, info: zipfile.ZipInfo) -> int:
    """Where an entry's data begin: names and fields of the local header count."""
    with open(file, "rb") as stream:
        stream.seek(info.header_offset)
        head = stream.read(30)
    name, extra = struct.unpack("<HH", head[26:30])
    return info.header_offset + 30 + name + extra


def load_alignments(data: bytes) -> list[int]:
    """p_align of the LOAD segments of a 64-bit little-endian ELF."""
    assert data[:6] == b"\x7fELF\x02\x01", "no 64-bit ELF"
    table, size, count = struct.unpack_from("<Q14xHH", data, 32)
    headers = [struct.unpack_from("<IIQQQQQQ", data, table + i * size) for i in range(count)]
    return [header[7] for header in headers if header[0] == 1]


def check_libraries(file: str) -> list[str]:
    """Names of the libraries; ValueError for one that is packed or laid out otherwise."""
    found = []
    with zipfile.ZipFile(file) as apk:
        for info in apk.infolist():
            if not info.filename.endswith(".so"):
                continue
            offset, aligned = data_offset(file, info), load_alignments(apk.read(info))
            if info.compress_type or offset % PAGE or not aligned or min(aligned) < PAGE:
                raise ValueError(f"{info.filename}: at {offset}, segments {aligned}")
            found.append(info.filename)
    return found


def check(file: str) -> None:
    from androguard.core.apk import APK
    from androguard.core.dex import DEX
    from loguru import logger

    logger.remove()
    apk = APK(file)
    names = {name.rsplit(".", 1)[-1] for name in apk.get_activities()}
    assert apk.get_package() == "ai.vera.demo", apk.get_package()
    assert names == ACTIVITIES, names
    assert apk.get_permissions() == ["android.permission.INTERNET"], apk.get_permissions()
    assert int(apk.get_min_sdk_version()) == 26
    assert apk.is_signed_v2(), "no signature of version 2"
    assert apk.get_main_activity() == "ai.vera.demo.MainActivity"
    classes = {c.get_name(): c for dex in apk.get_all_dex() for c in DEX(dex).get_classes()}
    missing = [name for name in CLASSES if name not in classes]
    assert not missing, missing
    natives = [m for m in classes[CLASSES[0]].get_methods() if m.get_access_flags() & 0x100]
    assert len(natives) > 20, "the shrinker took native methods away"
    libraries = check_libraries(file)
    for abi in ("arm64-v8a", "x86_64"):
        assert f"lib/{abi}/libvera_jni.so" in libraries, libraries
    print(f"{len(classes)} classes, {len(natives)} native methods, {len(libraries)} libraries")


if __name__ == "__main__":
    check(sys.argv[1])
