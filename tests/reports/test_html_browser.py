"""The site in a real browser: sorting, filtering, comparing, links, keyboard, phone width; nothing on its
console. Chromium is driven through chromedriver, which speaks JSON over HTTP.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.base.settings import changed
from reports.html.live import Live
from reports.html.site import write
from tests.reports.store import CARD, PAPER, another, benchmark, pretraining, view
from tests.reports.test_html_pictures import every, keep
from zoo.serve import server

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BINARY and DRIVER), reason="no chromium with chromedriver on this machine"),
    pytest.mark.slow,
]
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


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    filled(home)
    write(view(home), home / "site", home)
    return home / "site"


def filled(home: Path) -> None:
    """Three models with numbers, curves and classes, one of them hostile."""
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


@pytest.fixture
def browser(port: int) -> Iterator[Browser]:
    made = Browser(port)
    yield made
    made.close()


FIRST = """
const rows = document.querySelector('#t%d').closest('section').querySelectorAll('tbody tr:not([hidden]) th');
return [...rows].map((one) => one.textContent.slice(0, 6));
"""


def table(site: Path, heading: str) -> int:
    """The number of a table of the overview."""
    text = (site / "index.html").read_text()
    at = text.index(f">{heading}</h2>")
    return int(text[:at].rpartition('id="t')[2].partition('"')[0])


def test_headings_sort_by_number_both_ways_and_by_keyboard(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    number = table(site, KNN.table.heading)
    focus = (
        f"document.querySelector('#t{number}').closest('section').querySelectorAll('thead button')[2].focus()"
    )
    browser.run(focus)
    browser.keys("\ue007")
    assert browser.run(FIRST % number)[:1] == ["swav"]
    state = "return document.activeElement.parentElement.getAttribute('aria-sort')"
    assert browser.run(state) == "descending"
    browser.keys(" ")
    assert browser.run(FIRST % number)[0::3] == ["odc", "swav"]
    assert browser.run(state) == "ascending"
    assert browser.console() == []


def test_words_and_the_method_filter_every_table_and_stay_in_the_address(
    site: Path, browser: Browser
) -> None:
    browser.open(site / "index.html")
    number = table(site, KNN.table.heading)
    browser.run("document.querySelector('#words').focus()")
    browser.keys("SWA")
    time.sleep(0.4)
    assert browser.run(FIRST % number) == ["swav"]
    assert " of " in browser.run("return document.querySelector('#shown').textContent")
    browser.open(site / "index.html", "?method=odc&measured=1")
    assert browser.run(FIRST % number) == ["odc"]
    assert browser.console() == []


def test_two_models_are_compared_with_differences_and_settings(site: Path, browser: Browser) -> None:
    browser.open(site / "compare.html", "#a=odc&b=swav")
    rows = browser.run(
        "return [...document.querySelectorAll('#compared tbody tr')].map(r=>[...r.cells].map(c=>c.textContent))"
    )
    assert ["ImageNet k-NN", "k=10", "9.5", "60.2", "+50.8"] in rows
    assert browser.run("return document.querySelectorAll('#differing tbody tr').length") > 5
    browser.run(
        "const b=document.querySelector('#b');b.value=0;b.dispatchEvent(new Event('change',{bubbles:true}))"
    )
    assert "numbers in common" in browser.run("return document.querySelector('#said').textContent")
    assert browser.run("return window.owned") is None
    assert browser.console() == []


def test_numbers_that_were_not_measured_alike_have_no_difference(tmp_path: Path, browser: Browser) -> None:
    warm = another(KNN, settings=changed(KNN.settings, temperature=0.2))
    for model, value, protocol in (("odc", 50.0, KNN), ("random", 40.0, KNN), ("swav", 60.0, warm)):
        benchmark(tmp_path, protocol, {"k10_top1": value}, model=model)
    write(view(tmp_path), tmp_path / "site", tmp_path)
    script = (
        "return [document.querySelector('#compared tbody tr').lastChild.textContent,"
        "document.querySelector('#said').textContent]"
    )
    browser.open(tmp_path / "site" / "compare.html", "#a=odc&b=random")
    assert browser.run(script)[0] == "−10.0"
    browser.go("about:blank")
    browser.open(tmp_path / "site" / "compare.html", "#a=odc&b=swav")
    cell, said = browser.run(script)
    assert cell == "not alike"
    assert said.startswith("0 numbers in common")
    assert said.endswith("1 were not measured alike; zoo compare says why.")


def test_every_page_opens_without_a_word_on_the_console_and_every_link_leads_somewhere(
    site: Path, browser: Browser
) -> None:
    for path in sorted(site.rglob("*.html")):
        browser.open(path)
        assert browser.run("return window.owned") is None
        assert browser.run("return document.querySelectorAll('footer').length") == 1, path
        assert browser.run("return document.querySelectorAll('script:not([type])').length") <= 1, path
        ids = browser.run("return [...document.querySelectorAll('[id]')].map(x=>x.id)")
        assert len(ids) == len(set(ids)), path
        assert browser.console() == [], path


def test_a_number_opens_its_record(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    number = table(site, KNN.table.heading)
    browser.run(f"document.querySelector('#t{number}').closest('section').querySelector('td.num a').click()")
    time.sleep(0.3)
    found = browser.run("return document.querySelector(':target').textContent")
    assert "imagenet_knn" in found
    assert "Digest of the record" in found


@pytest.mark.parametrize("page", ["index.html", "compare.html", "models/odc.html", "records/odc.html"])
def test_no_page_is_wider_than_a_phone(site: Path, port: int, page: str) -> None:
    browser = Browser(port, width=360)
    try:
        browser.open(site / page)
        assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    finally:
        browser.close()


def test_the_curves_are_drawn(site: Path, browser: Browser) -> None:
    browser.open(site / "models" / "odc.html")
    titles = browser.run("return [...document.querySelectorAll('figure h3')].map(x=>x.textContent)")
    assert titles == [
        "Loss",
        "Agreement of the clusters",
        "Cluster sizes",
        "VOC07 low-shot SVM",
        "Layer profile",
        "Map of the features",
    ]
    boxes = browser.run(
        "return [...document.querySelectorAll('path.line')].map(x=>x.getBBox()).every(b=>b.width>0)"
    )
    assert boxes
    assert browser.run("return document.querySelectorAll('table.bars tbody tr').length") == 2


SEEN = "return [...document.querySelectorAll('%s')].map(x=>[x.getBoundingClientRect().width, x.naturalWidth ?? 1])"


def test_the_pictures_are_drawn_and_a_class_is_picked_by_keyboard(site: Path, browser: Browser) -> None:
    browser.open(site / "models" / "swav.html")
    for what, count in ((".strip svg", 3), (".drawn img", 1), (".map>svg", 1), (".heat", 1)):
        found = browser.run(SEEN % what)
        assert len(found) == count, what
        assert all(width > 20 and natural > 0 for width, natural in found), what
    colour = """
    const image = document.querySelector('image'); const made = new Image(); made.src = image.getAttribute('href');
    return [made.complete || await made.decode().then(() => true), made.naturalWidth];
    """
    assert browser.run(f"return (async () => {{{colour}}})()") == [True, 576]
    browser.run("document.querySelector('[data-map]').focus()")
    browser.keys("\ue015")
    shown = "return [...document.querySelectorAll('.map g')].map(x=>getComputedStyle(x).opacity)"
    deadline = time.monotonic() + 5
    while (found := browser.run(shown)) != ["1", "0.07"]:
        assert time.monotonic() < deadline, found
    assert browser.console() == []


@pytest.mark.parametrize("dark", [False, True])
def test_words_on_shades_can_be_read(site: Path, port: int, dark: bool) -> None:
    """WCAG 2.1, 1.4.3: 4.5 to 1 between the ink and every shade of a table of confusions."""
    browser = Browser(port, dark=dark)
    try:
        browser.open(site / "models" / "swav.html")
        cells = browser.run(CONTRAST)
        assert len(cells) == 4
        assert min(cells) >= 4.5, cells
    finally:
        browser.close()


CONTRAST = """
const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const light = (colour) => {
  pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return [...document.querySelectorAll('.heat td[class]')].map((cell) => {
  const ground = getComputedStyle(cell).backgroundColor;
  const clear = ground === 'rgba(0, 0, 0, 0)' ? getComputedStyle(cell.closest('.wide')).backgroundColor : ground;
  const [a, b] = [light(getComputedStyle(cell).color), light(clear)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
});
"""


def test_a_served_page_comes_again_when_a_record_does_and_leaves_writers_alone(
    tmp_path: Path, browser: Browser
) -> None:
    benchmark(tmp_path, KNN, {"k10_top1": 12.5})
    live = Live(tmp_path, lambda: view(tmp_path))
    live.refresh()
    opened = server(live, 0)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        browser.go(f"http://127.0.0.1:{opened.server_port}/index.html")
        wait(browser, "return document.querySelector('#live').textContent", "live")
        time.sleep(1)  # it has asked once and knows what it shows
        browser.run("document.querySelector('#words').focus(); document.querySelector('details').open = true")
        benchmark(tmp_path, KNN, {"k10_top1": 77.5}, time={"start": "", "end": "2027"})
        live.refresh()
        time.sleep(2.5)
        has = "return document.body.textContent.includes('77.5')"
        assert browser.run(has) is False
        browser.run("document.activeElement.blur()")
        wait(browser, has, True)
        assert browser.run("return document.querySelector('details').open") is True
        assert [said for said in browser.console() if "favicon" not in str(said)] == []
    finally:
        opened.shutdown()
        thread.join()
        opened.server_close()
    wait(browser, "return document.querySelector('#live').textContent", "server has stopped")


def wait(browser: Browser, script: str, wanted: Any) -> None:
    """Returns when a piece of JavaScript has returned what is wanted."""
    deadline = time.monotonic() + 20
    while (found := browser.run(script)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
