"""A file over HTTP, taken up where it broke off. Nothing but the standard library.

What has come lies beside the target as NAME.part with the server's tag of it in NAME.tag; only a part of the
same tag is continued (RFC 9110, 14 and 8.8: ranges and strong validators).
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from pretrain.base import files
from pretrain.base.faults import Fault, printable
from zoo.weights.address import allowed, endpoint, loopback, shown

REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)
BLOCK = 1 << 18  # bytes between two looks at the progress
LISTING = 16 << 20  # bytes of an answer that is no file
AGENT = "cluster-zoo"
PAGES = ("text/html", "application/xhtml+xml")
Seen = Callable[[int, int | None], None]  # bytes that are there, of how many


@dataclass(frozen=True)
class Patience:
    """timeout: s without a byte; tries: attempts in a row that bring nothing; pause: s before the second,
    doubled each time.
    """

    timeout: float = 60.0
    tries: int = 5
    pause: float = 1.0


@dataclass(frozen=True)
class Told:
    """What the servers on the way said. total: bytes of the file, None where they did not; linked: the
    hub's tag of a large file, its SHA-256; tag: a strong validator, '' for none.
    """

    total: int | None
    tag: str
    linked: str = ""
    framed: bool = True  # the end of a file without a length can be told from a break


class BrokenError(Exception):
    """An attempt that ended early, in words; the next may go on from there."""


class UnknownHostError(BrokenError):
    """The name of the server leads nowhere: there is no network, or no such server."""


@dataclass
class Answer:
    """A response with the headers that the redirects before it had."""

    body: HTTPResponse
    url: str
    linked: str
    size: int | None


def fetch(url: str, part: Path, patience: Patience, seen: Seen) -> Told:
    """Brings a whole file to `part`, in as many attempts as bring something.

    Raises Fault: data-missing where the server has no such file or does not give it out, upstream where it
    does not answer, breaks off for good or sends a page, disk-full.
    """
    best, left, pause = _there(part), patience.tries, patience.pause
    while True:
        try:
            return _attempt(url, part, patience.timeout, seen)
        except BrokenError as broken:
            more = _there(part) > best
            best, left = max(best, _there(part)), patience.tries if more else left - 1
            if left <= 0 or (isinstance(broken, UnknownHostError) and not best):
                kept = "; what has come is kept, so run again to go on" if best else "; try again later"
                raise Fault("upstream", f"{shown(url)}: {broken}{kept}") from None
            pause = patience.pause if more else pause * 2
            time.sleep(min(pause, 30))


def text(url: str, patience: Patience) -> bytes:
    """A short answer, such as a listing. Raises Fault as `fetch` does."""
    try:
        answer = _opened(url, 0, patience.timeout)
        with answer.body:
            _refuse(answer)
            return answer.body.read(LISTING)
    except (BrokenError, HTTPException, OSError) as error:
        raise Fault("upstream", f"{shown(url)}: {printable(str(error), 200)}; try again later") from None


def _there(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(url: str, part: Path, timeout: float, seen: Seen) -> Told:
    """One request. Raises BrokenError where another may bring the rest."""
    note = part.with_suffix(".tag")
    known = note.read_text() if note.exists() and part.exists() else ""
    start = _there(part) if known else 0
    answer = _opened(url, start, timeout)
    with answer.body as body:
        told = _told(answer)
        if body.status == 416 or (body.status == 206 and not _continues(answer, told, known, start)):
            note.unlink(missing_ok=True)
            raise BrokenError("the file on the server has changed")
        _refuse(answer)
        start = start if body.status == 206 else 0
        with files.explained(part):
            note.write_text(told.tag)
        _copy(answer, part, start, told, seen)
    if told.total is not None and _there(part) != told.total:
        raise BrokenError(f"the connection broke after {_there(part)} of {told.total} bytes")
    return told


def _copy(answer: Answer, part: Path, start: int, told: Told, seen: Seen) -> None:
    with files.explained(part), part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        seen(start, told.total)
        while block := _read(answer):
            if file.tell() == 0:
                _no_page(answer, block)
            file.write(block)
            seen(file.tell(), told.total)


def _read(answer: Answer) -> bytes:
    """What has arrived; '' at the end."""
    try:
        return answer.body.read1(BLOCK)
    except (HTTPException, OSError) as error:
        raise BrokenError(f"the connection broke ({printable(str(error), 120)})") from None


def _no_page(answer: Answer, start: bytes) -> None:
    """Raises Fault on what stands in for a file: a page, or a pointer to where the file is."""
    kind = (answer.body.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    head = start[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    if kind in PAGES or head.startswith(b"<"):
        said = "the server sent a web page in place of a file, as for an error or a log-in"
    elif head.startswith(b"version https://git-lfs"):
        said = "this is a Git-LFS pointer and not the file; ask for the address that downloads it"
    else:
        return
    raise Fault("upstream", f"{shown(answer.url)}: {said}; open the address in a browser to see")


def _refuse(answer: Answer) -> None:
    """Raises Fault unless the status brings a file, BrokenError where it may later."""
    status, where = answer.body.status, shown(answer.url)
    if status in (200, 206):
        return
    if status in (401, 403):
        said = "is not given out to you (HTTP {}); for a private repository set HF_TOKEN"
        raise Fault("data-missing", f"{where}: {said.format(status)}")
    if status in (404, 410):
        raise Fault("data-missing", f"{where} is not there (HTTP {status}); check its name and revision")
    if status in (408, 425, 429) or status >= 500:
        raise BrokenError(f"the server is busy or broken (HTTP {status})")
    raise Fault("upstream", f"{where}: the server answers HTTP {status}, expected 200")


def _continues(answer: Answer, told: Told, known: str, start: int) -> bool:
    """Whether a partial answer is the rest of what is there."""
    match = re.match(r"bytes (\d+)-", answer.body.headers.get("Content-Range") or "")
    return match is not None and int(match[1]) == start and told.tag == known


def _told(answer: Answer) -> Told:
    headers = answer.body.headers
    length, span = headers.get("Content-Length") or "", headers.get("Content-Range") or ""
    total = int(length) if length.isdecimal() and answer.body.status == 200 else None
    if match := re.fullmatch(r"bytes \d+-\d+/(\d+)", span.strip()):
        total = int(match[1])
    if answer.size is not None and total is not None and answer.size != total:
        said = f"the hub says {answer.size} bytes and the server that has it {total}; try again later"
        raise Fault("upstream", f"{shown(answer.url)}: {said}")
    tag = headers.get("ETag") or ""
    tag = answer.linked or ("" if tag.startswith("W/") else tag) or headers.get("Last-Modified") or ""
    framed = headers.get("Transfer-Encoding", "").lower() == "chunked" or total is not None
    return Told(answer.size if total is None else total, tag, answer.linked, framed)


def _opened(url: str, start: int, timeout: float) -> Answer:
    """The answer behind all redirects. Raises BrokenError where nobody answers, Fault on a wrong way."""
    linked, size, first = "", None, urlsplit(url)
    for _ in range(REDIRECTS + 1):
        allowed(url)
        body = _asked(url, start, timeout, _trusted(url))
        if urlsplit(url)[:2] == first[:2]:  # what the server that was asked says of the file
            linked = linked or (body.headers.get("X-Linked-ETag") or "").strip('"')
            told = body.headers.get("X-Linked-Size") or ""
            size = int(told) if told.isdecimal() else size
        if body.status not in MOVED:
            return Answer(body, url, linked, size)
        body.close()
        there = urljoin(url, body.headers.get("Location") or "")
        if url.startswith("https:") and not there.startswith("https:"):
            raise Fault(
                "upstream", f"{shown(url)} leads to {shown(there)}, which is no https; it is not followed"
            )
        url = there
    raise Fault("upstream", f"{shown(url)}: more than {REDIRECTS} redirects; ask for the file's own address")


def _asked(url: str, start: int, timeout: float, token: str) -> HTTPResponse:
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    opener = OpenerDirector()  # no handlers of files, of redirects or of errors: all that is done here
    proxies: dict[str, str] | None = {} if loopback(urlsplit(url).hostname or "") else None
    for handler in (ProxyHandler(proxies), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    try:
        body: HTTPResponse = opener.open(Request(url, headers=headers), timeout=timeout)
        return body
    except (URLError, HTTPException, OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        said = f"{urlsplit(url).hostname} cannot be reached ({printable(str(cause), 120)})"
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Fault("upstream", f"{shown(url)}: {said}; its certificate is not trusted") from None
        raise (UnknownHostError if isinstance(cause, socket.gaierror) else BrokenError)(said) from None


def _trusted(url: str) -> str:
    """The hub's token, for the hub alone."""
    return os.environ.get("HF_TOKEN", "") if urlsplit(url)[:2] == urlsplit(endpoint())[:2] else ""
