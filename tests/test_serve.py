"""The live site: for this machine alone, follows records and metrics, ends in order."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from reports.html.live import Live, stamp
from tests.reports.store import PAPER, benchmark, pretraining, view
from zoo.serve import Server, server

KNN = PAPER["imagenet_knn"]


@pytest.fixture
def live(tmp_path: Path) -> Live:
    benchmark(tmp_path, KNN, {"k10_top1": 12.5})
    made = Live(tmp_path, lambda: view(tmp_path))
    made.refresh()
    return made


@pytest.fixture
def opened(live: Live) -> Iterator[Server]:
    made = server(live, 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def ask(
    port: int, path: str, verb: str = "GET", host: str = "", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.putrequest(verb, path, skip_host=True)
        for name, value in {"Host": host or f"127.0.0.1:{port}", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_pages_are_served_with_a_tag_that_changes_when_they_do(live: Live, opened: Server) -> None:
    answer, body = ask(opened.server_port, "/models/odc.html")
    tag = answer.headers["ETag"]
    assert (answer.status, b"12.5" in body) == (200, True)
    again = {"If-None-Match": tag}
    assert ask(opened.server_port, "/models/odc.html", **again)[0].status == 304
    assert not live.refresh()
    benchmark(live.home, KNN, {"k10_top1": 77.5}, time={"start": "", "end": "2027"})
    assert live.refresh()
    answer, body = ask(opened.server_port, "/models/odc.html?x=1", **again)
    assert (answer.status, b"77.5" in body, answer.headers["ETag"] != tag) == (200, True, True)
    answer, body = ask(opened.server_port, "/", verb="HEAD")
    assert (answer.status, body) == (200, b"")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_other_names_of_this_machine_are_refused(opened: Server, host: str) -> None:
    answer, body = ask(opened.server_port, "/", host=host.format(port=opened.server_port))
    assert answer.status == 403
    assert b"odc" not in body
    assert ask(opened.server_port, "/", host=f"localhost:{opened.server_port}")[0].status == 200


def test_browsers_may_leave_out_the_port_that_is_http_s_own(opened: Server) -> None:
    port, opened.server_port = opened.server_port, 80
    for host, status in (("127.0.0.1", 200), ("localhost:80", 200), ("evil.example", 403)):
        assert ask(port, "/", host=host)[0].status == status, host


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/models", "//x", "/models/x.html", "http://["]
)
def test_there_is_nothing_but_pages(opened: Server, path: str) -> None:
    assert ask(opened.server_port, path)[0].status == 404


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(opened: Server, verb: str) -> None:
    assert ask(opened.server_port, "/", verb=verb)[0].status == 501


def test_it_listens_on_this_machine_alone(opened: Server) -> None:
    assert opened.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_sentence(live: Live, opened: Server) -> None:
    with pytest.raises(Fault, match=f"port {opened.server_port} of 127.0.0.1 is taken.* with --port"):
        server(live, opened.server_port)


def test_a_pretraining_that_goes_on_has_a_page_with_its_curves_until_its_record_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "models" / "odc-s0"
    folder.mkdir(parents=True)
    live = Live(tmp_path, lambda: view(tmp_path))
    assert live.refresh()
    lines = [json.dumps({"epoch": i, "loss": 5.0 - i}) for i in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    assert live.refresh()
    assert "epoch 2, loss 3" in live.pages["index.html"].content.decode()
    first = live.pages["running/odc-s0.html"]
    assert b'class="line' in first.content
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"epoch": 3, "loss": 1.0}))
    assert live.refresh()
    assert live.pages["running/odc-s0.html"].tag != first.tag
    pretraining(tmp_path, "odc")
    assert live.refresh()
    assert "running/odc-s0.html" not in live.pages
    assert "models/odc.html" in live.pages


def test_only_records_and_metrics_count_as_changes(tmp_path: Path) -> None:
    path = benchmark(tmp_path, KNN, {"k10_top1": 12.5})
    before = stamp(tmp_path)
    (path.parent / "traceback.txt").write_text("x")
    assert stamp(tmp_path) == before
    (path.parent / "metrics.jsonl").write_text("x")
    assert stamp(tmp_path) != before


START = """
import typer
from zoo import serve
from zoo.stopping import listen, one_sentence
listen()
app = typer.Typer()
app.command()(serve.command)
with one_sentence():
    app()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_a_run_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    benchmark(tmp_path, KNN, {"k10_top1": 12.5})
    words = [sys.executable, "-c", START, "--suite", "paper", "--out", str(tmp_path), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout
            port = int(child.stdout.readline().split("/ ")[0].rpartition(":")[2])
            assert b"12.5" in ask(port, "/")[1]
            benchmark(tmp_path, KNN, {"k10_top1": 77.5}, time={"start": "", "end": "2027"})
            deadline = time.monotonic() + 30
            while b"77.5" not in ask(port, "/")[1]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            child.send_signal(number)
            assert child.wait(20) == 0
            assert child.stderr
            assert child.stderr.read() == "stopped\n"
        finally:
            child.kill()
