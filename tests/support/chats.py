"""A chat's webhook on loopback: answers with the codes it is given, and keeps what it was told."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

KEY = "T0000/B0000/thekeyofthechannel"


class _Chat(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.told.append((self.path, self.headers["Content-Type"], json.loads(body)))
        code = server.codes.pop(0) if server.codes else 200
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def chat_server() -> Iterator[Any]:
    """`codes`: what it answers, then 200; `told`: (path, content type, JSON) of every request."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Chat)
    server.told, server.codes = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/services/{KEY}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
