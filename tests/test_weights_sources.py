"""Checkpoints by address, from a real server on this machine that also breaks off, lies and redirects."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from zoo.weights.address import hashed_name, parsed
from zoo.weights.source import local
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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("ZOO_OFFLINE", "ZOO_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{made.server_port}")
        yield made
        made.shutdown()
        thread.join()


def spans(server: Server) -> list[str | None]:
    return [span for _, span in server.asked]


def left(cache: Path) -> set[str]:
    """Names of the files that a cache holds."""
    return {path.name for path in cache.rglob("*") if path.is_file()} - {".lock"}


@pytest.mark.parametrize("path", ["a/b.pth", Path("a/b.pth"), "/x/y:z.pth", "C:/x.pth", "./hf:/x"])
def test_paths_are_left_alone(path: str | Path, tmp_path: Path) -> None:
    assert local(path, tmp_path / "cache") == Path(path)
    assert not (tmp_path / "cache").exists()


def test_a_file_is_fetched_once_with_progress_on_stderr(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = local(server.at("whole/net.pth"), tmp_path, QUICK)
    said = capsys.readouterr()
    assert (found.name, found.read_bytes()) == ("net.pth", BODY)
    assert "net.pth" in said.err
    assert "1.0/1.0 MB" in said.err
    assert said.out == ""
    assert local(server.at("whole/net.pth"), tmp_path, QUICK) == found
    assert len(server.asked) == 1
    assert left(tmp_path) == {"net.pth", "source.json"}


def test_a_path_object_may_hold_an_address(server: Server, tmp_path: Path) -> None:
    assert local(Path(server.at("whole/net.pth")), tmp_path, QUICK).read_bytes() == BODY


def test_the_cache_answers_without_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = made.at("whole/x.pth")
        found = local(address, patience=QUICK)
        made.shutdown()
        thread.join()
    assert local(address, patience=QUICK) == found
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert local(address, patience=QUICK) == found
    with pytest.raises(Fault, match="not among the kept downloads, and ZOO_OFFLINE forbids"):
        local(address + "x", patience=QUICK)
    monkeypatch.delenv("ZOO_OFFLINE")
    with pytest.raises(Fault, match=r"127\.0\.0\.1 cannot be reached"):
        local(address + "x", patience=QUICK)


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    assert local(server.at("breaks/x.pth"), tmp_path, QUICK).read_bytes() == BODY
    assert spans(server) == [None, *(f"bytes={n}00000-" for n in (2, 4, 6, 8))]


def test_another_process_goes_on_too(server: Server, tmp_path: Path) -> None:
    """The first gives up after 1000 bytes; those stay, and the second asks for the rest alone."""
    address = server.at("short/x.pth")
    with pytest.raises(Fault, match="broke after 1000 of 1024000 bytes; what has come is kept") as caught:
        local(address, tmp_path, QUICK)
    assert caught.value.reason == "upstream"
    assert left(tmp_path) == {"x.pth.part", "x.pth.tag"}
    server.asked.clear()
    server.healed = True
    assert local(address, tmp_path, QUICK).read_bytes() == BODY
    assert spans(server) == ["bytes=1000-"]


@pytest.mark.parametrize("word", ["replaced", "norange", "busy", "slow"])
def test_a_file_is_whole_whatever_happens_on_the_way(word: str, server: Server, tmp_path: Path) -> None:
    """Its file changes between two attempts; ranges are not served; it is busy first; it starts late."""
    assert local(server.at(f"{word}/x.pth"), tmp_path, QUICK).read_bytes() == BODY


@pytest.mark.parametrize(
    ("address", "reason", "said"),
    [
        (f"whole/net-{'1' * 7}a.pth", "weights-corrupt", f"SHA-256 {HASH[:12]}, its address says 1111111a"),
        (f"whole/net.pth#sha256={'2' * 64}", "weights-corrupt", "nothing was kept"),
        ("page/net.pth", "upstream", "a web page in place of a file"),
        ("typed/net.pth", "upstream", "a web page in place of a file"),
        ("pointer/net.pth", "upstream", "a Git-LFS pointer"),
        ("gone/net.pth", "data-missing", r"is not there \(HTTP 404\)"),
        ("private/net.pth", "data-missing", r"not given out to you \(HTTP 401\)"),
        ("loop/net.pth", "upstream", "more than 5 redirects"),
        ("astray/net.pth", "bad-config", "file:///etc/passwd: it is no address"),
        ("abroad/net.pth", "bad-config", "plain http can be changed on its way"),
        ("endless/net.pth", "upstream", "does not say how long the file is"),
    ],
)
def test_what_is_not_the_file_is_refused(
    address: str, reason: str, said: str, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(Fault, match=said) as caught:
        local(server.at(address), tmp_path, QUICK)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    assert "net.pth" not in left(tmp_path)
    assert "source.json" not in left(tmp_path)
    assert reason != "weights-corrupt" or not left(tmp_path)  # what is wrong is not continued


@pytest.mark.parametrize(
    "address",
    [f"whole/net-{HASH[:8]}.pth", f"whole/net.pth#sha256={HASH}", f"endless/net.pth#sha256={HASH[:10]}"],
)
def test_a_hash_that_fits_is_accepted(address: str, server: Server, tmp_path: Path) -> None:
    assert local(server.at(address), tmp_path, QUICK).read_bytes() == BODY


def test_a_damaged_download_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    found = local(server.at("whole/x.pth"), tmp_path, QUICK)
    found.write_bytes(BODY[:-1] + b"\0")
    assert local(server.at("whole/x.pth"), tmp_path, QUICK).read_bytes() == BODY


def test_a_hub_is_read_through_its_other_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed there, checked by the hub's tag; the token stays with the hub."""
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    found = local("hf://org/right@v1/deep/x.pth", tmp_path, QUICK)
    assert found.read_bytes() == BODY
    assert server.asked[0][0] == "/org/right/resolve/v1/deep/x.pth"
    told = {path.split("/")[1]: token for (path, _), token in zip(server.asked, server.tokens, strict=True)}
    assert told == {"org": "Bearer hf_private", "breaks": None}
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("source.json"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf://org/wrong@v1/x.pth", "the hub says 0000"),
        ("hf://org/size@v1/x.pth", "the hub says 7 bytes and the server that has it 1024000"),
        ("hf://org/two", "holds 2 checkpoints (a.pth, b.pth); name one as hf://org/two@main/FILE"),
    ],
)
def test_a_hub_s_word_is_checked(source: str, said: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        local(source, tmp_path, QUICK)
    assert said in str(caught.value)


def test_a_repository_s_one_backbone_needs_no_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = local("hf://org/right", tmp_path, QUICK)
    assert (found.name, found.read_bytes()) == ("backbone.safetensors", BODY)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert local("hf://org/right", tmp_path, QUICK) == found
    with pytest.raises(Fault, match="was never looked into"):
        local("hf://org/other", tmp_path, QUICK)


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "ftp://host/x.pth",
        "http://example.com/x.pth",
        "https://user:word@example.com/x.pth",
        "https://example.com/x.pth#md5=00",
        "hf://org",
        "hf://org/name@v1/../../other/x.pth",
    ],
)
def test_other_addresses_are_refused_in_a_sentence(source: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="give a path, https://HOST/FILE or hf://ORG") as caught:
        local(source, tmp_path)
    assert caught.value.reason == "bad-config"


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("odc_resnet50_8xb64-steplr-440e_in1k_20220225-a755d9c0.pth", "a755d9c0"),
        ("resnet50-20220825.pth", ""),  # a date
        ("deepclusterv2_800ep_pretrain.pth.tar", ""),
        ("net-deadbeef.pth.tar", "deadbeef"),
    ],
)
def test_names_that_say_a_hash(name: str, digits: str) -> None:
    assert hashed_name(name) == digits


def test_without_a_network_the_answer_comes_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(Fault, match=r"nowhere\.invalid cannot be reached .*; try again later") as caught:
        local("https://nowhere.invalid/x.pth", tmp_path, Patience(pause=60))
    assert caught.value.reason == "upstream"
    assert time.monotonic() - begun < 20


def test_a_name_cannot_leave_the_cache() -> None:
    remote = parsed("https://example.com/a/%2e%2e%2f%2e%2e%2fetc%2fx.pth")
    assert remote is not None
    assert "/" not in remote.name
    assert not remote.name.startswith(".")


def test_two_downloads_of_one_file_share_it(server: Server, tmp_path: Path) -> None:
    code = "import sys; from zoo.weights.source import local; print(local(sys.argv[1]))"
    told = {**os.environ, "ZOO_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.at("slow/x.pth")], env=told, stdout=-1, stderr=-1
        )
        for _ in range(2)
    ]
    said = [one.communicate()[0] for one in started]
    assert said[0] == said[1] != b""
    assert len(server.asked) == 1


def test_the_library_takes_addresses_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import zoo

    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(Fault, match=r"https://example\.org/x\.pth is not among the kept downloads"):
        zoo.load("https://example.org/x.pth")
