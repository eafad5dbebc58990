"""A small server of one folder with the faults that DownloadTests needs: download_server.py FOLDER.

Prints its port. The first part of a path chooses: plain, breaks (each answer stops after 300,000
bytes), noranges, damaged (vision.pte has another byte), longer (it has one more), slow, redirects.
Only on 127.0.0.1.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BREAK_BYTES = 300_000
SLOW_BYTES = 65_536


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self) -> None:
        _, mode, path = self.path.split("/", 2)
        file = (self.folder / path).resolve()
        if mode == "redirects":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:9/" + path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if mode == "none" or not file.is_relative_to(self.folder) or not file.is_file():
            self.send_error(404)
            return
        self.answer(mode, self.content(mode, file))

    def content(self, mode: str, file: Path) -> bytes:
        data = file.read_bytes()
        if file.name == "vision.pte" and mode == "damaged":
            return bytes([data[0] ^ 1]) + data[1:]
        return data + b"0" if file.name == "vision.pte" and mode == "longer" else data

    def answer(self, mode: str, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        start = 0
        if mode != "noranges" and wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        rest = data[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        try:
            self.send(mode, rest)
        except OSError:  # the client stopped
            self.close_connection = True

    def send(self, mode: str, data: bytes) -> None:
        if mode == "breaks" and len(data) > BREAK_BYTES:
            self.wfile.write(data[:BREAK_BYTES])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        step = SLOW_BYTES if mode == "slow" else len(data)
        for begin in range(0, len(data), max(step, 1)):
            self.wfile.write(data[begin : begin + step])
            self.wfile.flush()
            if mode == "slow":
                time.sleep(0.05)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: the port is the only output."""


def main() -> None:
    Handler.folder = Path(sys.argv[1]).resolve()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
