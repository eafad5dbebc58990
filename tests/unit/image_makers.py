"""Small files made for the tests: ICC profiles, EXIF blocks, 16-bit PNG."""

import struct
import zlib

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

P3_PRIMARIES = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _fixed(values):
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def _text(name):
    data = name.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(78)


def srgb_curve(size=1024):
    x = np.linspace(0, 1, size)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _curve(values):
    codes = np.round(np.asarray(values) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(codes)) + codes.tobytes()


def _profile(space, device, connection, tags):
    table, data = b"", b""
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(body))
        data += body
    head = bytes(4) + b"lcms" + struct.pack(">I", 0x02400000) + device + space + connection
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    body = head.ljust(128, b"\0")[4:] + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(body) + 4) + body


def to_xyz_d50(primaries):
    """(3, 3) matrix from linear RGB of D65 primaries to XYZ under D50 (Bradford)."""
    xyz = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in (*primaries, (0.3127, 0.3290))]
    matrix = np.stack(xyz[:3], 1) * np.linalg.solve(np.stack(xyz[:3], 1), xyz[3])
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ xyz[3])
    return np.linalg.solve(_BRADFORD, gain[:, None] * _BRADFORD) @ matrix


def rgb_profile(name, primaries, curve=None):
    """A matrix/TRC profile, ICC v2."""
    tags = {
        b"desc": _text(name),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50),
    }
    matrix = to_xyz_d50(primaries)
    for i, c in enumerate((b"r", b"g", b"b")):
        tags[c + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(matrix[:, i])
        tags[c + b"TRC"] = _curve(srgb_curve() if curve is None else curve)
    return _profile(b"RGB ", b"mntr", b"XYZ ", tags)


def grey_profile(gamma):
    """A grey profile of one power, ICC v2."""
    curve = np.linspace(0, 1, 1024) ** gamma
    tags = {b"desc": _text("grey"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50), b"kTRC": _curve(curve)}
    return _profile(b"GRAY", b"mntr", b"XYZ ", tags)


def cmyk_profile():
    """A CMYK profile whose 16 corners are grey: L = 100 - 20 (C + M + Y) - 40 K, at least 0."""
    ramp = bytes(range(256))
    corners = []
    for i in range(16):
        c, m, y, k = (i >> 3) & 1, (i >> 2) & 1, (i >> 1) & 1, i & 1
        corners += [round(max(0, 100 - 20 * (c + m + y) - 40 * k) * 2.55), 128, 128]
    body = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(np.eye(3).ravel())
    body += ramp * 4 + bytes(corners) + ramp * 3
    tags = {b"desc": _text("ink"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50), b"A2B0": body}
    return _profile(b"CMYK", b"prtr", b"Lab ", tags)


def exif_block(orientation=None, **tags):
    """EXIF with maker, GPS, exposure and pixel size; `tags` of IFD0 by number as t271=..."""
    exif = Image.Exif()
    exif[0x010F] = "Vera Camera"
    if orientation is not None:
        exif[0x0112] = orientation
    inner = exif.get_ifd(0x8769)
    inner.update({0x829A: IFDRational(1, 250), 0xA002: 999, 0xA003: 888, 0x927C: b"maker\0note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.25), 3: "E", 4: (11.0, 34.0, 31.0)})
    for name, value in tags.items():
        exif[int(name[1:])] = value
    return exif.tobytes()


def png16(array, extra=b""):
    """A 16-bit PNG without line filters: (H, W, 1..4) uint16; `extra`: chunks before the pixels."""
    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def chunk(name, data):
    """One PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
