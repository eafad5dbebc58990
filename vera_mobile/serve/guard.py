"""Who may talk to the page: this machine's browser, with the secret address, from the page itself.

A web site that the user has open elsewhere can send requests to 127.0.0.1 too, under its own name
(Origin) or, by DNS rebinding, under a name of its own that resolves to 127.0.0.1 (Host).
"""

from __future__ import annotations

import hmac
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address is the secret
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets requests through to `app` whose first path segment is the token, and no others.

    Refused with 403 are other Host names and Origins than this machine's at `port`, and what a
    browser marks as sent by another site; with 404 a path without the token.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            app = refusal or self._app
            if refusal is None:
                scope = {**scope, "root_path": f"/{self._token}"}
            await app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        foreign = (
            headers.get("host") not in self._hosts
            or headers.get("origin", next(iter(self._origins))) not in self._origins
            or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        )
        if foreign:
            return PlainTextResponse("Only the page itself may ask, on this machine.\n", 403)
        first = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        if not hmac.compare_digest(first.encode(), self._token.encode()):
            return PlainTextResponse("Open the whole address that `vera serve` printed.\n", 404)
        return None


def _with_headers(send: Send) -> Send:
    extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            given: Any = message.get("headers", [])
            message = {**message, "headers": [*given, *extra]}
        await send(message)

    return wrapped
