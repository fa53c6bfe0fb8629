"""A real server of checkpoints on this machine that also breaks off, lies and redirects."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from zoo.weights.transfer import Patience

BODY = bytes(range(256)) * 4000  # 1 MB
HASH = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(timeout=5, tries=2, pause=0.01)


class Handler(BaseHTTPRequestHandler):
    """Answers by the first word of the path."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.asked.append((self.path, span))
        self.server.tokens.append(self.headers.get("Authorization"))
        self.close_connection = True
        getattr(self, self.path.split("/")[1].partition("?")[0])()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", claimed: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def ranged(self, stop: int | None = None, tag: str = '"one"') -> None:
        """The file from where it is asked for, cut off at `stop`."""
        span = self.headers.get("Range")
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        said = {"Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if span else {}
        self.answer(206 if span else 200, BODY[start:stop], len(BODY) - start, ETag=tag, **said)

    def whole(self) -> None:
        self.ranged()

    def slow(self) -> None:
        time.sleep(0.3)
        self.ranged()

    def breaks(self) -> None:
        """Four times in the middle, then no more."""
        self.ranged(stop=200_000 * len(self.server.asked) if len(self.server.asked) < 5 else None)

    def replaced(self) -> None:
        """Breaks in the middle of another file of the same length."""
        first = len(self.server.asked) == 1
        if first:
            self.answer(200, b"\1" * 5000, len(BODY), ETag='"old"')
        else:
            self.ranged()

    def norange(self) -> None:
        count = len(self.server.asked)
        self.answer(200, BODY[: 1000 if count == 1 else None], len(BODY), ETag='"one"')

    def short(self) -> None:
        """Less than it says and nothing behind, until it is healed."""
        self.ranged(stop=None if self.server.healed else 1000)

    def endless(self) -> None:
        """No length, and the end is the end of the connection."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(BODY)

    def page(self) -> None:
        self.answer(200, b"<!DOCTYPE html><h1>Sign in</h1>", Content_Type="application/octet-stream")

    def typed(self) -> None:
        self.answer(200, b"Quota exceeded", Content_Type="text/html; charset=utf-8")

    def pointer(self) -> None:
        self.answer(200, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")

    def gone(self) -> None:
        self.answer(404, b"nothing")

    def private(self) -> None:
        self.answer(401)

    def busy(self) -> None:
        self.answer(503) if len(self.server.asked) < 2 else self.ranged()

    def loop(self) -> None:
        self.answer(302, Location="/loop/again")

    def astray(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def abroad(self) -> None:
        self.answer(302, Location="http://example.com/x.pth")

    def org(self) -> None:
        """A hub: large files live on another server, and the tag of a file is its SHA-256."""
        said = HASH if "right" in self.path else "0" * 64
        size = "7" if "size" in self.path else str(len(BODY))
        where = f"http://localhost:{self.server.server_port}/breaks/x?signature=secret"
        self.answer(302, Location=where, X_Linked_ETag=f'"{said}"', X_Linked_Size=size)

    def api(self) -> None:
        names = ["README.md", "backbone.safetensors", "x.pth"] if "right" in self.path else ["a.pth", "b.pth"]
        self.answer(200, json.dumps({"siblings": [{"rfilename": name} for name in names]}).encode())


class Server(ThreadingHTTPServer):
    """asked: (path, Range) of every request; tokens: what it was told; healed: it breaks off no more."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.tokens: list[str | None] = []
        self.healed = False

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that is the hub of this process, which knows of no cache and no token."""
    for name in ("ZOO_OFFLINE", "ZOO_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{made.server_port}")
        yield made
        made.shutdown()
        thread.join()
