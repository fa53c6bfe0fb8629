"""`zoo serve`: the site of a suite in a browser of this machine, brought up to date while a run goes on."""

from __future__ import annotations

import errno
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTP_PORT
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from pretrain.base.faults import Fault, printable
from reports.damaged import damaged
from reports.records import found
from reports.view import View
from zoo.options import Out, Sets, SuiteOption
from zoo.plan.counted import of_suite
from zoo.suites import builtin, file

if TYPE_CHECKING:
    from reports.html.live import Live

HERE = "127.0.0.1"  # and no other address: records are nobody else's business
LOOK = 1.0  # seconds between two looks at the records
IDLE = 10  # seconds after which a connection that asks for nothing is closed
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Of this machine; 0: any that is free.")]


def command(suite: SuiteOption = "demo", out: Out = None, sets: Sets = None, port: Port = 8642) -> None:
    """The site of a suite, live: pages follow records and metrics. This machine alone; Ctrl-C ends it."""
    from reports.html.live import Live  # jinja2 is needed here alone

    asked, home = builtin.load(suite, out, file.from_command_line(sets or [])), builtin.home(suite, out)
    protocols = tuple(asked.catalogue().values())
    planned = lru_cache(maxsize=1)(lambda _: of_suite(suite, out, sets or []))  # once per set of records

    def view() -> View:
        records = found(home)
        paths = tuple(path for path, _ in records)
        return View(records, protocols, suite, planned(paths), damaged(home, records))

    live = Live(home, view)
    with server(live, port) as opened:
        live.refresh()
        print(f"http://{HERE}:{opened.server_port}/ shows {home}; Ctrl-C ends it", flush=True)
        stop = threading.Event()
        follower = threading.Thread(target=follow, args=(live, stop), daemon=True)
        follower.start()
        try:
            opened.serve_forever(poll_interval=0.2)
        except (KeyboardInterrupt, SystemExit):  # asked for: there is nothing to go on with
            print("stopped", file=sys.stderr)
        finally:
            stop.set()
            follower.join(LOOK)


def follow(live: Live, stop: threading.Event) -> None:
    """Brings pages up to date until it is told to stop. What goes wrong is said once; older pages stay."""
    told = ""
    while not stop.wait(LOOK):
        try:
            live.refresh()
        except Exception as error:
            said = printable(f"pages not brought up to date: {type(error).__name__}: {error}", 400)
            if said != told:
                print(said, file=sys.stderr, flush=True)
            told = said


class Server(ThreadingHTTPServer):
    """live: the pages."""

    daemon_threads = True
    live: Live

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that left before it was answered is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def server(live: Live, port: int) -> Server:
    """A server of these pages on a port of this machine, not yet answering. Raises Fault on a taken one."""
    try:
        opened = Server((HERE, port), Answer)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        why = "is taken or not for you" if taken else f"cannot be opened ({error.strerror})"
        said = f"port {port} of {HERE} {why}; choose another with --port, 0 takes one that is free"
        raise Fault("busy", said) from None
    opened.live = live
    return opened


class Answer(BaseHTTPRequestHandler):
    """Answers GET and HEAD with pages out of memory, to those who call this machine by its own name.

    Names of the outside that somebody lets lead here (DNS rebinding) are refused, or their pages could read
    ours.
    """

    server: Server
    server_version, sys_version = "zoo", ""
    timeout = IDLE

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if not self._called_by_name():
            self._send(HTTPStatus.FORBIDDEN, b"only for this machine\n", body)
            return
        try:
            name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        except ValueError:  # no address at all
            name = ""
        page = self.server.live.pages.get(name)
        if page is None:
            self._send(HTTPStatus.NOT_FOUND, b"no such page\n", body)
        elif self.headers.get("If-None-Match") == f'"{page.tag}"':
            self._send(HTTPStatus.NOT_MODIFIED, b"", False, page.tag)
        else:
            self._send(HTTPStatus.OK, page.content, body, page.tag)

    def _called_by_name(self) -> bool:
        """Whether the request is to this machine and port; browsers leave out the port that is HTTP's own."""
        port = self.server.server_port
        ports = (f":{port}", "") if port == HTTP_PORT else (f":{port}",)
        asked = self.headers.get_all("Host", [])
        return asked in [[f"{name}{port}"] for name in (HERE, "localhost") for port in ports]

    def _send(self, status: HTTPStatus, content: bytes, body: bool, tag: str = "") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if tag:
            self.send_header("ETag", f'"{tag}"')
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            with suppress(ConnectionError):
                self.wfile.write(content)

    def log_message(self, *said: Any) -> None:
        """Nobody reads a line per request."""
