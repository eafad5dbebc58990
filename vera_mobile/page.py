"""Self-contained HTML pages: one file, no requests, only its own style and script.

Templates lie in `vera_mobile/templates` and get `style_hash` and `script_hash` for the content
security policy: it allows the page's one <style> and one <script> by their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from vera_mobile.errors import InternalError
from vera_mobile.files import replacing

LONG_SIDE = 1280
JPEG_QUALITY = 88
NO_BREAK = "\u00a0"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in a page: data URI, size in pixels."""

    uri: str
    width: int
    height: int


def render_page(template: str, parts: Sequence[str] = (), **values: object) -> str:
    """The page of `templates/<template>`; autoescaped, an unknown name in it is an error.

    parts: further templates, given to the page as text under their name without suffix; for style
    and script that pages share, never for values.
    """
    import jinja2

    folder = resources.files("vera_mobile") / "templates"
    source = (folder / template).read_text("utf-8")
    for part in parts:
        text = (folder / part).read_text("utf-8").strip()
        source = source.replace(f"/*{{ {part} }}*/", text)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment.from_string(source).render(
        style_hash=_source_hash(source, "style"),
        script_hash=_source_hash(source, "script"),
        **values,
    )


def write_page(path: str | os.PathLike[str], page: str) -> Path:
    """Writes the page whole or not at all and returns its path. Raises FileError."""
    with replacing(path) as stream:
        stream.write(page.encode("utf-8"))
    return Path(path)


def printable(text: str) -> str:
    """Controls and lone surrogates, which neither UTF-8 HTML nor XML can hold, become U+FFFD."""
    return _CONTROLS.sub("\ufffd", text)


def number(value: float, digits: int) -> str:
    """A figure with narrow spaces at thousands; "< 0.01" rather than a zero that is none."""
    if 0 < value < 0.5 * 10**-digits:
        return f"<{NO_BREAK}{10**-digits:.{digits}f}"
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def seeded_note(model: str) -> str:
    """What a page says beside a model whose name ends in "-seeded" (benchmarks/seeded.py); "" of
    any other."""
    if not model.endswith("-seeded"):
        return ""
    return "Its weights are seeded, not trained: its words and colours mean nothing."


def picture(rgb: np.ndarray) -> Picture:
    """(H, W, 3) uint8 sRGB as a JPEG in a data URI, long side at most `LONG_SIDE`."""
    height, width = rgb.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(rgb))
    scale = LONG_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{data}", image.width, image.height)


def _source_hash(source: str, tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", source, flags=re.DOTALL)
    if len(found) != 1:
        raise InternalError(f"Page template has {len(found)} <{tag}> elements: it must have 1.")
    digest = hashlib.sha256(found[0].encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
