"""Checkpoints by address, from a real server on this machine that also breaks off, lies and redirects."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests.weights_server import BODY, HASH, QUICK, Server, served
from zoo.clusters.model import find
from zoo.weights.source import local
from zoo.weights.transfer import Patience


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with served(monkeypatch) as made:
        yield made


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


def test_without_a_network_the_answer_comes_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(Fault, match=r"nowhere\.invalid cannot be reached .*; try again later") as caught:
        local("https://nowhere.invalid/x.pth", tmp_path, Patience(pause=60))
    assert caught.value.reason == "upstream"
    assert time.monotonic() - begun < 20


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


def test_whatever_takes_a_model_takes_its_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Fault, match=r"cache/.*/net\.pth: its first bytes are 00 01 02"):
        find(server.at("whole/net.pth"), tmp_path)
    assert server.asked
