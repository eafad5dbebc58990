"""A server of `vera serve` in a thread of the test, and requests to it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from vera_mobile.retoucher import Retoucher
from vera_mobile.serve.app import build_app
from vera_mobile.serve.desk import Desk
from vera_mobile.serve.guard import HOST, Guard

TOKEN = "a-token-of-the-test"


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A running server; folder: where its temporary files lie."""

    port: int
    folder: Path
    desk: Desk

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.port}/{TOKEN}/"

    def raw(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """A request to any path, with nothing added to the headers given."""
        line = http.client.HTTPConnection(HOST, self.port, timeout=120)
        try:
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            names = {k.lower(): v for k, v in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            line.close()

    def get(self, path: str) -> Answer:
        """A GET below the token."""
        return self.raw(f"/{TOKEN}/{path}")

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """A POST below the token, as the page sends it."""
        return self.raw(f"/{TOKEN}/{path}", "POST", body, headers)

    def upload(self, file: Path) -> Any:
        """The facts of a photo."""
        name = {"X-Name": quote(file.name)}
        answer = self.post("api/photos", file.read_bytes(), **name)
        assert answer.status == 201, answer
        return answer.json

    def plan(self, photo: str, **task: Any) -> list[Any]:
        """All events of a plan."""
        answer = self.post(f"api/photos/{photo}/plan", json.dumps({"task": "auto", **task}))
        assert answer.status == 200, answer
        return [json.loads(line) for line in answer.body.splitlines()]


@contextmanager
def serving(retoucher: Retoucher, folder: Path, max_upload_bytes: int = 2**25) -> Iterator[Served]:
    """A server that stops with the block."""
    desk = Desk(retoucher, folder)
    about = {"model": "vera-nano", "form": "in a test"}
    app = build_app(desk, about=about, max_upload_bytes=max_upload_bytes)
    config = uvicorn.Config(app, host=HOST, port=0, log_config=None)
    listener = config.bind_socket()
    port = listener.getsockname()[1]
    config.app = Guard(app, token=TOKEN, port=port)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(port, folder, desk)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
