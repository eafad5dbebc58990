"""The routes of `vera serve`: photos in, a plan as a stream of JSON lines, looks and photos out."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vera_mobile.develop.sliders import GROUP_SLICES, SLIDERS
from vera_mobile.errors import Cancelled, InternalError, InvalidArgument, VeraError
from vera_mobile.look import Look
from vera_mobile.model.tokens import MAX_WISH_CHARS
from vera_mobile.retoucher import LUT_SIZE, Task
from vera_mobile.serve.desk import Desk, OpenPhoto, result_name, strengths_of, task_of

MAX_JSON_BYTES = 64 * 1024
CUBE_SIZE = 33


class TooLarge(InvalidArgument):
    """An upload above the limit."""


def build_app(desk: Desk, *, about: dict[str, Any], max_upload_bytes: int) -> Starlette:
    """The application without its guard. about: facts on the model that the page shows."""
    static = Path(str(resources.files("vera_mobile") / "serve" / "static"))
    routes = Routes(desk, about, max_upload_bytes, static)
    table = [
        Route("/", routes.page),
        Route("/api/about", routes.facts),
        Route("/api/photos", routes.upload, methods=["POST"]),
        Route("/api/photos/{key}/preview", routes.preview),
        Route("/api/photos/{key}/plan", routes.plan, methods=["POST"]),
        Route("/api/looks/{key}/lut", routes.lut),
        Route("/api/looks/{key}/photo", routes.photo),
        Route("/api/looks/{key}/cube", routes.cube),
        Route("/api/looks/{key}/look", routes.look),
        Mount("/static", StaticFiles(directory=static)),
    ]
    handlers: dict[Any, Any] = {VeraError: _told, ClientDisconnect: _told, Exception: _broken}
    return Starlette(routes=table, exception_handlers=handlers)


async def _told(_: Request, error: Exception) -> Response:
    status = 413 if isinstance(error, TooLarge) else 500 if _is_ours(error) else 400
    return JSONResponse({"error": str(error) or "The upload was interrupted."}, status)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse(
        {"error": f"Internal error ({type(error).__name__}): see the terminal."}, 500
    )


def _is_ours(error: Exception) -> bool:
    return isinstance(error, InternalError)


class Routes:
    """The handlers; what takes longer than a look-up runs in a thread."""

    def __init__(
        self, desk: Desk, about: dict[str, Any], max_upload_bytes: int, static: Path
    ) -> None:
        self.desk, self.about, self.static = desk, about, static
        self.max_upload_bytes = max_upload_bytes

    async def page(self, _: Request) -> Response:
        return FileResponse(self.static / "index.html")

    async def facts(self, _: Request) -> Response:
        groups = {group: SLIDERS[part] for group, part in GROUP_SLICES.items()}
        limits = {"upload_bytes": self.max_upload_bytes, "wish_chars": MAX_WISH_CHARS}
        return JSONResponse({**self.about, "sliders": groups, "limits": limits})

    async def upload(self, request: Request) -> Response:
        """The body is the file, X-Name its name, percent-encoded."""
        name = unquote(request.headers.get("x-name", "photo"))
        file = self.desk.new_file()
        try:
            await self._receive(request, file, name)
            opened = await run_in_threadpool(self.desk.open, file, name)
        finally:
            file.unlink(missing_ok=True)
        return JSONResponse(opened.facts(), 201)

    async def _receive(self, request: Request, file: Path, name: str) -> None:
        limit = self.max_upload_bytes
        refusal = TooLarge(
            f"{name} is larger than {limit // 2**20} MB: choose a smaller file, or start "
            "`vera serve` with a larger --max-upload-mb."
        )
        told = request.headers.get("content-length", "0")
        if told.isdigit() and int(told) > limit:
            raise refusal
        size = 0
        with file.open("xb") as stream:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise refusal
                stream.write(part)

    async def preview(self, request: Request) -> Response:
        """(h, w, 4) uint8, row after row."""
        rgba = self.desk.photo(request.path_params["key"]).preview.rgba
        return Response(rgba.tobytes(), media_type="application/octet-stream")

    async def plan(self, request: Request) -> Response:
        """JSON lines: {"event": "text" | "look" | "done" | "error", ...}; see `Planning`."""
        opened = self.desk.photo(request.path_params["key"])
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_JSON_BYTES:
                raise InvalidArgument("The request is longer than a task can be.")
        try:
            record = json.loads(body)
            task = task_of(record)
        except (ValueError, RecursionError, TypeError) as error:
            raise InvalidArgument(f"The request is no task ({error}).") from error
        planning = Planning(self.desk, opened, task, instant=record.get("instant") is True)
        return StreamingResponse(planning.lines(), media_type="application/x-ndjson")

    async def lut(self, request: Request) -> Response:
        """Curves (3, K), then the LUT (N, N, N, 3) [b][g][r], all float32, little-endian."""
        _, look = self._weighted(request)
        baked = await run_in_threadpool(self.desk.retoucher.bake, look)
        data = baked.curves.astype("<f4").tobytes() + baked.lut.astype("<f4").tobytes()
        sizes = {"X-Curve-Knots": str(baked.curves.shape[1]), "X-Lut-Size": str(LUT_SIZE)}
        return Response(data, media_type="application/octet-stream", headers=sizes)

    async def photo(self, request: Request) -> Response:
        """The whole photo, rendered by the kernel, with metadata and profile."""
        opened, look = self._weighted(request)
        strength, _ = strengths_of(request.query_params)
        name = result_name(opened)
        data, notes = await run_in_threadpool(self._rendered, opened, look, strength, name)
        return _file(data, name, notes)

    def _rendered(
        self, opened: OpenPhoto, look: Look, strength: float, name: str
    ) -> tuple[bytes, tuple[str, ...]]:
        result = self.desk.retoucher.render(look, opened.photo, strength=strength)
        file = self.desk.new_file().with_suffix(Path(name).suffix)
        try:
            notes = result.save(file)
            return file.read_bytes(), notes
        finally:
            file.unlink(missing_ok=True)

    async def cube(self, request: Request) -> Response:
        """The look as `.cube`, strength included."""
        opened, look = self._weighted(request)
        strength, _ = strengths_of(request.query_params)
        data = await run_in_threadpool(self._cube, look, strength)
        return _file(data, Path(result_name(opened)).with_suffix(".cube").name)

    def _cube(self, look: Look, strength: float) -> bytes:
        file = self.desk.new_file().with_suffix(".cube")
        try:
            return look.save_cube(file, CUBE_SIZE, strength=strength).read_bytes()
        finally:
            file.unlink(missing_ok=True)

    async def look(self, request: Request) -> Response:
        """The look as JSON."""
        opened, look = self._weighted(request)
        name = Path(result_name(opened)).with_suffix(".look.json").name
        return _file(look.to_json().encode(), name)

    def _weighted(self, request: Request) -> tuple[OpenPhoto, Look]:
        opened, look = self.desk.look(request.path_params["key"])
        _, groups = strengths_of(request.query_params)
        return opened, look.with_strengths(**groups)


def _file(data: bytes, name: str, notes: tuple[str, ...] = ()) -> Response:
    disposition = f"attachment; filename*=utf-8''{quote(name)}"
    headers = {"Content-Disposition": disposition, "X-Notes": quote(json.dumps(notes))}
    return Response(data, media_type="application/octet-stream", headers=headers)


class Planning:
    """One plan in a thread of its own; its events come out as JSON lines.

    text: {"piece"}; look: {"id"}, as soon as it can be shown; done: {"id", "text", "timings_ms"};
    error: {"message"}. A page that goes away cancels the plan.
    """

    def __init__(self, desk: Desk, opened: OpenPhoto, task: Task, *, instant: bool) -> None:
        self.desk, self.opened, self.task, self.instant = desk, opened, task, instant
        self.key = secrets.token_hex(8)
        self.cancel = threading.Event()

    async def lines(self) -> AsyncIterator[bytes]:
        """The events, until done or error."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

        def tell(event: str, **values: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, {"event": event, **values})

        thread = threading.Thread(target=self._work, args=(tell,), daemon=True)
        thread.start()
        try:
            while True:
                event = await events.get()
                yield json.dumps(event).encode() + b"\n"
                if event["event"] in ("done", "error"):
                    return
        finally:
            self.cancel.set()

    def _work(self, tell: Any) -> None:
        def on_look(look: Look) -> None:
            self.desk.keep_look(self.key, self.opened, look)
            tell("look", id=self.key)

        try:
            look = self.desk.retoucher.plan(
                self.opened.photo, self.task, instant=self.instant, cancel=self.cancel,
                on_look=on_look, on_text=lambda piece: tell("text", piece=piece),
            )  # fmt: skip
            self.desk.keep_look(self.key, self.opened, look)
            times = {k: round(v, 2) for k, v in look.timings_ms.items()}
            tell("done", id=self.key, text=look.text, timings_ms=times)
        except (VeraError, MemoryError, ValueError) as error:
            gone = isinstance(error, Cancelled)
            tell("error", message="The plan was stopped." if gone else str(error))
