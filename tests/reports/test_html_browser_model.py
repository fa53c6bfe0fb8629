"""A model's page in a real browser: curves, pictures and shades that can be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.browser import BINARY, DRIVER, Browser, chromedriver, filled

pytestmark = [
    pytest.mark.skipif(not (BINARY and DRIVER), reason="no chromium with chromedriver on this machine"),
    pytest.mark.slow,
]


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
