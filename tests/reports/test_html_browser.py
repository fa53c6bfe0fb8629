"""The site in a real browser: sorting, filtering, comparing, links, keys, phone width; an empty console."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.base.settings import changed
from reports.html.live import Live
from reports.html.site import write
from tests.reports.browser import BINARY, DRIVER, Browser, chromedriver, filled
from tests.reports.store import PAPER, another, benchmark, view
from zoo.serve import server

pytestmark = [
    pytest.mark.skipif(not (BINARY and DRIVER), reason="no chromium with chromedriver on this machine"),
    pytest.mark.slow,
]
KNN = PAPER["imagenet_knn"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with chromedriver() as number:
        yield number


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("home"))


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


@pytest.mark.parametrize(("clicks", "way"), [(1, "descending"), (2, "ascending")])
def test_another_pair_of_models_is_in_the_order_that_was_asked_for(
    tmp_path: Path, browser: Browser, clicks: int, way: str
) -> None:
    for model, low, high in (("odc", 1.0, 2.0), ("random", 3.0, 9.0), ("swav", 8.0, 5.0)):
        benchmark(tmp_path, KNN, {"k10_top1": low, "k20_top1": high}, model=model)
    write(view(tmp_path), tmp_path / "site", tmp_path)
    browser.open(tmp_path / "site" / "compare.html", "#a=odc&b=random")
    for _ in range(clicks):
        browser.run("document.querySelector('#hb button').click()")
    for other in ("random", "swav"):
        browser.run(
            "const b=document.querySelector('#b');b.selectedIndex="
            f"[...b.options].findIndex((o)=>o.text==='{other}');"
            "b.dispatchEvent(new Event('change',{bubbles:true}))"
        )
        shown = browser.run(
            "return [...document.querySelectorAll('#compared tbody tr')].map((r)=>+r.cells[3].textContent)"
        )
        assert shown == sorted(shown, reverse=way == "descending")
        assert browser.run("return document.querySelector('#hb').getAttribute('aria-sort')") == way


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
