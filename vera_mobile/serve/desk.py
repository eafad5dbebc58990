"""What the page works on: the last photos and looks, in memory; files only below one folder."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from vera_mobile.errors import FileError, InvalidArgument
from vera_mobile.image import FORMATS, Photo
from vera_mobile.image_meta import DISPLAY_P3, SRGB
from vera_mobile.image_write import to_eight_bits
from vera_mobile.look import GROUPS, Look, check_strength
from vera_mobile.retoucher import Auto, Param, Retoucher, Style, Task

PREVIEW_SIDE = 1600
PHOTOS_KEPT, LOOKS_KEPT = 3, 24

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Preview:
    """rgba: (h, w, 4) uint8, straight alpha, encoded in `colour_space`; what the look acts on."""

    rgba: np.ndarray
    colour_space: str


@dataclass(frozen=True, eq=False)
class OpenPhoto:
    """An uploaded photo: its key, the name it came with, and its preview."""

    key: str
    name: str
    photo: Photo
    preview: Preview

    def facts(self) -> dict[str, Any]:
        """What the page shows of it."""
        height, width = self.preview.rgba.shape[:2]
        return {
            "id": self.key,
            "name": self.name,
            "width": self.photo.width,
            "height": self.photo.height,
            "bits": self.photo.pixels.dtype.itemsize * 8,
            "format": self.photo.format,
            "colour_space": self.photo.colour_space,
            "notes": list(self.photo.notes),
            "preview": {
                "width": width, "height": height, "colour_space": self.preview.colour_space,
            },
        }  # fmt: skip


class Desk:
    """Photos and looks by key; the oldest make room for new ones. Thread-safe."""

    def __init__(self, retoucher: Retoucher, folder: Path) -> None:
        self.retoucher = retoucher
        self._folder = folder
        self._photos: OrderedDict[str, OpenPhoto] = OrderedDict()
        self._looks: OrderedDict[str, tuple[OpenPhoto, Look]] = OrderedDict()
        self._lock = threading.Lock()

    def new_file(self) -> Path:
        """A name in the temporary folder that nothing has."""
        return self._folder / secrets.token_hex(16)

    def open(self, file: Path, name: str) -> OpenPhoto:
        """The photo in `file`, which is removed; errors are those of `Photo.load`, with `name`."""
        shown = safe_name(name)
        try:
            photo = Photo.load(file)
        except Exception as error:
            # the message names the temporary file, which the user has never seen
            if type(error).__module__ == FileError.__module__:
                raise type(error)(str(error).replace(str(file), shown)) from error
            raise
        finally:
            file.unlink(missing_ok=True)
        opened = OpenPhoto(
            secrets.token_hex(8), shown, replace(photo, path=None), preview_of(photo)
        )
        self._keep(self._photos, opened.key, opened, PHOTOS_KEPT)
        return opened

    def photo(self, key: str) -> OpenPhoto:
        """FileError where it has made room for others."""
        return self._found(self._photos, key, "photo")

    def look(self, key: str) -> tuple[OpenPhoto, Look]:
        """A look with the photo that it was planned for. FileError as for `photo`."""
        return self._found(self._looks, key, "look")

    def keep_look(self, key: str, opened: OpenPhoto, look: Look) -> None:
        """The look under `key`, in place of what was there."""
        self._keep(self._looks, key, (opened, look), LOOKS_KEPT)

    def _keep(self, store: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
        with self._lock:
            store[key] = value
            store.move_to_end(key)
            while len(store) > limit:
                store.popitem(last=False)

    def _found(self, store: OrderedDict[str, T], key: str, what: str) -> T:
        with self._lock:
            if key not in store:
                raise FileError(f"This {what} is no longer open: choose the photo again.")
            store.move_to_end(key)
            return store[key]


def preview_of(photo: Photo) -> Preview:
    """The photo, long side at most `PREVIEW_SIDE`, in its own encoding where a browser knows that
    (sRGB, Display P3), else in sRGB: the look then acts on other values than in the full photo."""
    scale = min(1.0, PREVIEW_SIDE / max(photo.width, photo.height))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    own = photo.icc is None or photo.colour_space in (SRGB, DISPLAY_P3)
    if own:
        rgb = _scaled(to_eight_bits(photo.pixels), size)
    else:
        rgb = np.floor(photo.to_srgb(size=size) * 255 + np.float32(0.5)).astype(np.uint8)
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    if photo.alpha is not None:
        alpha = _scaled(to_eight_bits(photo.alpha), size)
    space = "display-p3" if own and photo.colour_space == DISPLAY_P3 else "srgb"
    return Preview(np.dstack([rgb, alpha]), space)


def _scaled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def safe_name(name: str) -> str:
    """A file name without folders and controls, at most 120 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f\"]", "", last).strip()[-120:] or "photo.jpg"


def result_name(opened: OpenPhoto) -> str:
    """As `vera retouch` names it: NAME-vera and the suffix, .png where that cannot be written."""
    name = Path(opened.name)
    suffix = name.suffix if name.suffix.lower() in FORMATS else ".png"
    return f"{name.stem}-vera{suffix}"


def task_of(record: Any) -> Task:
    """The task of {"task": "auto" | "style" | "param", "wish", "sliders"}. InvalidArgument."""
    kind = str(record.get("task")) if isinstance(record, dict) else "none"
    makers: Mapping[str, Callable[[], Task]] = {
        "auto": Auto,
        "style": lambda: Style(str(record.get("wish", ""))),
        "param": lambda: Param(dict(record.get("sliders") or {})),
    }
    if kind not in makers:
        raise InvalidArgument(f"The task is {kind!r}: use one of {', '.join(makers)}.")
    return makers[kind]()


def strengths_of(query: Mapping[str, str]) -> tuple[float, dict[str, float]]:
    """Overall strength and those of the groups, each 0..1.5, 1 where not given."""
    values = {}
    for name in ("strength", *GROUPS):
        text = query.get(name, "1")
        try:
            values[name] = float(text)
        except ValueError as error:
            raise InvalidArgument(f"{name} is {text!r}: use a number in 0..1.5") from error
        check_strength(name, values[name])
    return values.pop("strength"), values
