"""The C ABI for apps (vera/retoucher.h) through ctypes, as an SDK would use it, for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vera_mobile import native
from vera_mobile.develop.sliders import vector
from vera_mobile.errors import InvalidArgument, VeraError
from vera_mobile.native.frames import Frame
from vera_mobile.native.sdk import COLOR_SPACES, CError
from vera_mobile.retoucher import Auto, Param, Style, Task
from vera_mobile.runtime import Planner

PAIR_TASK = 3  # vera_task_kind
STAGES = ("prepare", "vision", "prefill", "decode", "head", "reference", "bake")
_P, _I, _E = ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(CError)
_ENCODE = ctypes.CFUNCTYPE(_I, _P, _P, _P, _E)
_EMBED = ctypes.CFUNCTYPE(_I, _P, _P, _I, _P, _E)
_STEP = ctypes.CFUNCTYPE(_I, _P, _P, _I, _I, _I, _P, _P, _E)
_PAIR = ctypes.CFUNCTYPE(_I, _P, _P, _P, _P, _E)
_BAKE = ctypes.CFUNCTYPE(_I, _P, _P, ctypes.c_int64, _P, _P, _E)
_RELEASE = ctypes.CFUNCTYPE(None, _P, _I)
_ON_STAGE = ctypes.CFUNCTYPE(None, _P, _I, ctypes.c_float)
_ON_TEXT = ctypes.CFUNCTYPE(None, _P, ctypes.c_char_p)
_ON_LOOK = ctypes.CFUNCTYPE(None, _P, _P)


class CInfo(ctypes.Structure):
    """vera_bundle_info."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        *((name, _I) for name in (
            "format_version", "image_size", "image_tokens", "hidden_size", "vocab_size",
            "max_length", "prefill_tokens", "latent_size", "reference_size", "file_count",
        )),
        ("size_bytes", ctypes.c_int64),
    )  # fmt: skip


class CPlanner(ctypes.Structure):
    """vera_planner."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("context", _P), ("encode_image", _ENCODE),
        ("embed", _EMBED), ("step", _STEP), ("head", _ENCODE), ("encode_reference", _PAIR),
        ("bake", _BAKE), ("release", _RELEASE),
    )  # fmt: skip


class CTask(ctypes.Structure):
    """vera_task."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("kind", _I), ("reserved", _I),
        ("wish", ctypes.c_char_p), ("sliders", _P), ("before", _P), ("after", _P),
    )  # fmt: skip


class COptions(ctypes.Structure):
    """vera_plan_options."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float), ("max_tokens", _I), ("instant", _I), ("seed", ctypes.c_uint64),
        ("cancel", _P), ("user", _P), ("on_stage", _ON_STAGE), ("on_text", _ON_TEXT),
        ("on_look", _ON_LOOK),
    )  # fmt: skip


def library() -> ctypes.CDLL:
    """libvera with the types of what returns a pointer."""
    found = native.library()
    for name in ("vera_bundle_text", "vera_plan_result_text", "vera_slider_name"):
        getattr(found, name).restype = ctypes.c_char_p
    for name in ("vera_plan_result_latents", "vera_plan_result_tokens", "vera_plan_result_copy"):
        getattr(found, name).restype = _P
    found.vera_plan_result_stage_ms.restype = ctypes.c_double
    return found


def _array(address: int | None, shape: tuple[int, ...], kind: Any = ctypes.c_float) -> np.ndarray:
    size = int(np.prod(shape))
    return np.ctypeslib.as_array((kind * size).from_address(address or 0)).reshape(shape)


class CoreBundle:
    """vera_bundle."""

    def __init__(self, folder: Path, cancel: ctypes.c_int32 | None = None) -> None:
        error, self.handle = CError(), ctypes.c_void_p()
        flag = None if cancel is None else ctypes.byref(cancel)
        library().vera_bundle_open(
            str(folder).encode(), flag, None, None, ctypes.byref(self.handle), ctypes.byref(error)
        )
        error.check()
        self.info = CInfo(ctypes.sizeof(CInfo))
        assert library().vera_bundle_get_info(self.handle, ctypes.byref(self.info)) == 0

    def text(self, key: str) -> str | None:
        found = library().vera_bundle_text(self.handle, key.encode())
        return None if found is None else found.decode()

    def program(self, name: str) -> tuple[str, str | None]:
        error, path, method = CError(), ctypes.create_string_buffer(4096), ctypes.c_char_p()
        library().vera_bundle_program(
            self.handle, name.encode(), path, 4096, ctypes.byref(method), ctypes.byref(error)
        )
        error.check()
        name_of = method.value
        return path.value.decode(), None if name_of is None else name_of.decode()

    def close(self) -> None:
        library().vera_bundle_close(self.handle)
        self.handle = ctypes.c_void_p()


class CallbackPlanner:
    """A Python Planner as a vera_planner."""

    def __init__(self, planner: Planner, info: CInfo) -> None:
        self.planner, i = planner, info
        self.released: list[int] = []
        hidden, latents = i.hidden_size, (3, i.latent_size)

        def guarded(work: Callable[..., None]) -> Callable[..., int]:
            def call(_context: Any, *arguments: Any) -> int:
                try:
                    work(*arguments[:-1])
                except Exception as problem:
                    error = arguments[-1].contents
                    error.message = str(problem).encode()[:500]
                    error.status = problem.code if isinstance(problem, VeraError) else 9
                    return int(error.status)
                return 0

            return call

        def encode(pixels: int, tokens: int) -> None:
            seen = _array(pixels, (1, 3, i.image_size, i.image_size))
            _array(tokens, (1, i.image_tokens, hidden))[:] = planner.encode_image(seen)

        def embed(ids: int, count: int, embeds: int) -> None:
            out = planner.embed(_array(ids, (1, count), ctypes.c_int64))
            _array(embeds, (1, count, hidden))[:] = out

        def step(embeds: int, count: int, start: int, wanted: int, logits: int, state: int) -> None:
            row, last = planner.step(_array(embeds, (1, count, hidden)), start, wanted)
            _array(state, (hidden,))[:] = last
            if wanted:
                _array(logits, (i.vocab_size,))[:] = row

        def head(states: int, out: int) -> None:
            _array(out, latents)[:] = planner.head(_array(states, (3, hidden)))

        def pair(before: int, after: int, out: int) -> None:
            shape = (1, 3, i.reference_size, i.reference_size)
            made = planner.encode_reference(_array(before, shape), _array(after, shape))
            _array(out, latents)[:] = made

        def bake(colours: int, count: int, look: int, out: int) -> None:
            made = planner.bake(_array(colours, (count, 3)), _array(look, latents))
            _array(out, (count, 3))[:] = made

        self.table = CPlanner(
            ctypes.sizeof(CPlanner), None, _ENCODE(guarded(encode)), _EMBED(guarded(embed)),
            _STEP(guarded(step)), _ENCODE(guarded(head)), _PAIR(guarded(pair)),
            _BAKE(guarded(bake)), _RELEASE(lambda _context, stage: self.released.append(stage)),
        )  # fmt: skip


@dataclass
class CoreLook:
    """A vera_plan_result that is still with the library, and what it says."""

    handle: ctypes.c_void_p
    pieces: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> tuple[CoreLook, tuple[float, ...]]:
        handle, error, strengths = ctypes.c_void_p(), CError(), (ctypes.c_float * 3)()
        library().vera_plan_result_from_json(
            text.encode(), ctypes.byref(handle), strengths, ctypes.byref(error)
        )
        error.check()
        return cls(handle), tuple(strengths)

    @property
    def text(self) -> str:
        return library().vera_plan_result_text(self.handle).decode()

    @property
    def tokens(self) -> list[int]:
        count = ctypes.c_int32()
        found = library().vera_plan_result_tokens(self.handle, ctypes.byref(count))
        return _array(found, (count.value,), _I).tolist() if count.value else []

    @property
    def latents(self) -> np.ndarray:
        size = ctypes.c_int32()
        found = library().vera_plan_result_latents(self.handle, ctypes.byref(size))
        return _array(found, (3, size.value)).copy()

    def stage_ms(self) -> dict[str, float]:
        call = library().vera_plan_result_stage_ms
        return {name: call(self.handle, i) for i, name in enumerate(STAGES)}

    def to_json(self, strengths: tuple[float, ...] = (1.0, 1.0, 1.0)) -> str:
        needed, factors = ctypes.c_size_t(), (ctypes.c_float * 3)(*strengths)
        call = library().vera_plan_result_to_json
        assert call(self.handle, factors, None, ctypes.c_size_t(0), ctypes.byref(needed)) == 1
        buffer = ctypes.create_string_buffer(needed.value)
        status = call(self.handle, factors, buffer, needed, ctypes.byref(needed))
        native.check_status(status, "JSON")
        return buffer.value.decode()


@dataclass(frozen=True, eq=False)
class Pair:
    """The reference task: two arrays that outlive the plan."""

    before: np.ndarray
    after: np.ndarray


class CoreRetoucher:
    """vera_retoucher on a Python planner."""

    def __init__(self, bundle: CoreBundle, planner: Planner) -> None:
        self.bundle, error, self.handle = bundle, CError(), ctypes.c_void_p()
        self.planner = CallbackPlanner(planner, bundle.info)
        library().vera_retoucher_create(
            bundle.handle, ctypes.byref(self.planner.table), ctypes.byref(self.handle),
            ctypes.byref(error),
        )  # fmt: skip
        error.check()

    def task(self, task: Task | Pair) -> CTask:
        if isinstance(task, Pair):
            made = CTask(ctypes.sizeof(CTask), PAIR_TASK)
            self._frames = [Frame.of(picture).c_view() for picture in (task.before, task.after)]
            made.before, made.after = (ctypes.addressof(frame) for frame in self._frames)
            return made
        made = CTask(ctypes.sizeof(CTask), (Auto, Style, Param).index(type(task)))
        if isinstance(task, Style):
            made.wish = task.wish.encode()
        if isinstance(task, Param):
            self._sliders = vector(task.sliders)
            made.sliders = self._sliders.ctypes.data
        return made

    def plan(
        self,
        image: np.ndarray | None,
        task: Task | Pair,
        *,
        instant: bool = False,
        space: str = "srgb",
        temperature: float = -1.0,
        top_p: float = -1.0,
        max_tokens: int = -1,
        seed: int = 0,
        cancel: ctypes.c_int32 | None = None,
    ) -> CoreLook:
        out = CoreLook(ctypes.c_void_p())

        def on_text(_user: Any, piece: bytes) -> None:
            out.pieces.append(piece.decode())
            out.order.append("text")

        options = COptions(
            ctypes.sizeof(COptions), temperature, top_p, max_tokens, instant, seed,
            None if cancel is None else ctypes.addressof(cancel), None,
            _ON_STAGE(lambda _user, stage, done: out.order.append(f"{STAGES[stage]} {done:.2f}")),
            _ON_TEXT(on_text), _ON_LOOK(lambda _user, _look: out.order.append("look")),
        )  # fmt: skip
        frame = None if image is None else Frame.of(image).c_view()
        error = CError()
        library().vera_plan(
            self.handle, None if frame is None else ctypes.byref(frame),
            COLOR_SPACES.index(space), ctypes.byref(self.task(task)), ctypes.byref(options),
            ctypes.byref(out.handle), ctypes.byref(error),
        )  # fmt: skip
        error.check()
        return out

    def bake(
        self, look: CoreLook, strengths: tuple[float, ...] = (1.0, 1.0, 1.0), size: int = 33
    ) -> tuple[np.ndarray, np.ndarray]:
        curves, lut = np.empty((3, 65), np.float32), np.empty((size, size, size, 3), np.float32)
        error, factors = CError(), (ctypes.c_float * 3)(*strengths)
        library().vera_bake_look(
            self.handle, look.handle, factors, size, 0, None, ctypes.c_void_p(curves.ctypes.data),
            ctypes.c_void_p(lut.ctypes.data), ctypes.byref(error),
        )  # fmt: skip
        error.check()
        return curves, lut

    def save_cube(
        self, look: CoreLook, path: Path, *, strengths: tuple[float, ...] = (1.0, 1.0, 1.0),
        strength: float = 1.0, size: int = 33,
    ) -> bytes:  # fmt: skip
        error, factors = CError(), (ctypes.c_float * 3)(*strengths)
        library().vera_save_cube(
            self.handle, look.handle, factors, ctypes.c_float(strength), size, str(path).encode(),
            ctypes.byref(error),
        )  # fmt: skip
        error.check()
        return path.read_bytes()

    def encode(self, text: str) -> list[int]:
        return self._ids("vera_encode_text", text.encode())

    def decode(self, ids: list[int]) -> str:
        array, needed = (ctypes.c_int32 * max(len(ids), 1))(*ids), ctypes.c_size_t()
        call = library().vera_decode_text
        call(self.handle, array, len(ids), None, ctypes.c_size_t(0), ctypes.byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        status = call(self.handle, array, len(ids), buffer, needed, ctypes.byref(needed))
        native.check_status(status, "decode")
        return buffer.raw[:-1].decode()

    def prompt(
        self, task: Auto | Style | Param, seen: np.ndarray | None
    ) -> tuple[list[int], int, tuple[float, ...]]:
        image_at, groups = ctypes.c_int32(), (ctypes.c_float * 3)()
        address = None if seen is None else ctypes.c_void_p(seen.ctypes.data)
        tail = (ctypes.byref(image_at), groups)
        ids = self._ids("vera_prompt_tokens", ctypes.byref(self.task(task)), address, tail=tail)
        return ids, image_at.value, tuple(groups)

    def _ids(self, name: str, *arguments: Any, tail: tuple[Any, ...] = ()) -> list[int]:
        ids, count, error = (ctypes.c_int32 * 8192)(), ctypes.c_int32(), CError()
        getattr(library(), name)(
            self.handle, *arguments, ids, 8192, ctypes.byref(count), *tail, ctypes.byref(error)
        )
        error.check()
        return list(ids[: count.value])

    def unload(self) -> None:
        status = library().vera_retoucher_unload(self.handle)
        if status:
            raise InvalidArgument(f"unload: {status}")

    def close(self) -> None:
        library().vera_retoucher_destroy(self.handle)
