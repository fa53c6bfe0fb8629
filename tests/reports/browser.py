"""A headless Chromium driven through chromedriver, which speaks JSON over HTTP, and a site for it to open."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.html.site import write
from tests.reports.store import CARD, PAPER, benchmark, pretraining, view
from tests.reports.test_html_pictures import every, keep

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
LINEAR, KNN, SHOTS = PAPER["imagenet_linear"], PAPER["imagenet_knn"], PAPER["voc07_low_shot"]
HOSTILE = "a|b\n</script><script>window.owned=1</script>{{ 7*7 }}{% raw %}\u202egnp." + "x" * 300


class Browser:
    """A session of a headless browser."""

    def __init__(self, port: int, width: int = 1200, dark: bool = False) -> None:
        self.base = f"http://127.0.0.1:{port}/session"
        words = ["--headless", "--no-sandbox", "--disable-gpu", *(["--force-dark-mode"] if dark else [])]
        options: dict[str, Any] = {"binary": BINARY, "args": words}
        if width < 500:
            metrics = {"width": width, "height": 800, "pixelRatio": 1.0}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._send("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/{made['sessionId']}"

    def _send(self, verb: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=verb)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def open(self, path: Path, more: str = "") -> None:
        """Opens a page of the site."""
        self.go(path.as_uri() + more)

    def go(self, address: str) -> None:
        """Opens an address."""
        self._send("POST", "/url", {"url": address})

    def run(self, script: str) -> Any:
        """What a piece of JavaScript returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": []})

    def keys(self, text: str) -> None:
        """Types into whatever has the focus."""
        down = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": down}]})

    def console(self) -> list[Any]:
        """What the page has said since the last time, errors and violations of its policy among it."""
        return list(self._send("POST", "/se/log", {"type": "browser"}))

    def close(self) -> None:
        """Ends the session."""
        self._send("DELETE", "")


@contextmanager
def chromedriver() -> Iterator[int]:
    """The port at which it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    assert DRIVER
    driver = subprocess.Popen(
        [DRIVER, f"--port={number}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", number), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield number
    finally:
        driver.terminate()
        driver.wait()


def filled(home: Path) -> Path:
    """The site of three models with numbers, curves and classes, one of them hostile."""
    pretraining(home, "odc", facts={"card": CARD, "weights": {"weights": "wodc"}})
    lines = [{"epoch": i, "loss": 9 / i, "nmi_previous": 0.1 * i, "size_max": 10**i} for i in range(1, 6)]
    (home / "models" / "odc-s0" / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for model, value in (("odc", 9.5), ("swav", 60.25), ("random", 10.0)):
        made = benchmark(home, KNN, {"k10_top1": value, "k20_top1": value + 1}, model=model)
        keep(made, *every(HOSTILE[:200] if model == "odc" else "cat"))
        layers = {f"Feature{i}_top1": value + i for i in range(1, 6)}
        benchmark(home, LINEAR, layers, model=model)
        shots = {column.score: value + 2 * i for i, column in enumerate(SHOTS.columns)}
        benchmark(home, SHOTS, shots, model=model, facts={"per_class": {"cat": 12.5, HOSTILE: 99.0}})
    odd = {"name": HOSTILE, "method": HOSTILE, "config": HOSTILE}
    benchmark(home, KNN, {"k10_top1": 30.0}, model=odd)
    write(view(home), home / "site", home)
    return home / "site"
