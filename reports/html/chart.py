"""Charts as geometry: scales, ticks and paths, which a template draws as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 66, WIDTH - 12, 12, HEIGHT - 42  # edges of the plot
BOX = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
STYLES, DASHES = 6, 4  # colours and dashes that tell series apart; dashes of quiet ones
NEAR, TINY = (
    1e-9,
    1e-300,
)  # values nearer than this fill no axis; smaller ones have no place on a logarithmic one
LISTED = 25  # rows of a chart's table
Point = tuple[float, float]


class Series(NamedTuple):
    """A curve. ranges: (low, high) per point, none where there is no spread; quiet: drawn grey, behind."""

    name: str
    points: Sequence[Point]
    ranges: Sequence[Point] = ()
    quiet: bool = False


@dataclass(frozen=True)
class Chart:
    """title, x, y: in words; note: below it; log_x, log_y: logarithmic axes; marks: a dot per point."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    note: str = ""
    log_x: bool = False
    log_y: bool = False
    marks: bool = False


class Axis(NamedTuple):
    """A scale from values to pixels, and (pixel, label) of its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[tuple[float, str]] = ()

    def place(self, values: Iterable[float]) -> list[float]:
        """The pixels of values."""
        low = _scaled(self.low, self.log)
        factor = (self.end - self.start) / (_scaled(self.high, self.log) - low)
        scaled = map(math.log10, values) if self.log else values
        return [round(self.start + factor * (value - low), 1) for value in scaled]


class Line(NamedTuple):
    """A drawn series: its path, the outline of its spread, its dots as (x, y, words), its style."""

    name: str
    path: str
    band: str
    dots: Sequence[tuple[float, float, str]]
    style: str


class Numbers(NamedTuple):
    """A chart as a table. rows: (x, a value per series); left: how many x are not among them."""

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    left: int


class Drawing(NamedTuple):
    """A chart in pixels; lines stand in drawing order, the quiet ones first."""

    lines: Sequence[Line]
    x: Axis
    y: Axis


def draw(chart: Chart) -> Drawing | None:
    """The geometry of a chart, None where it has no point that its axes can show."""
    kept = [_kept(one, chart) for one in chart.series]
    kept = [one for one in kept if one.points]
    if not kept:
        return None
    xs = [x for one in kept for x, _ in one.points]
    ys = [y for one in kept for y in _heights(one)]
    exact = sorted(set(xs)) if chart.marks and len(set(xs)) <= 10 else None
    x = _axis(min(xs), max(xs), LEFT, RIGHT, chart.log_x, exact)
    y = _axis(min(ys), max(ys), BOTTOM, TOP, chart.log_y, None)
    loud = [one for one in kept if not one.quiet]
    styles = {id(one): f"s{i % STYLES}" for i, one in enumerate(loud)}
    behind = [one for one in kept if one.quiet]
    styles |= {id(one): f"quiet q{i % DASHES}" for i, one in enumerate(behind)}
    return Drawing([_line(one, styles[id(one)], x, y, chart.marks) for one in [*behind, *loud]], x, y)


def _kept(one: Series, chart: Chart) -> Series:
    """Without points that a logarithm has no place for."""
    good = [
        i
        for i, (x, y) in enumerate(one.points)
        if (x > TINY or not chart.log_x) and (y > TINY or not chart.log_y)
    ]
    ranges = [one.ranges[i] for i in good] if one.ranges else []
    if chart.log_y:
        ranges = [
            (low if low > TINY else one.points[i][1], high)
            for i, (low, high) in zip(good, ranges, strict=False)
        ]
    return one._replace(points=[one.points[i] for i in good], ranges=ranges)


def _heights(one: Series) -> list[float]:
    return [y for _, y in one.points] + [value for pair in one.ranges for value in pair]


def _axis(low: float, high: float, start: float, end: float, log: bool, exact: list[float] | None) -> Axis:
    flat = high - low <= max(NEAR * max(abs(low), abs(high)), TINY)
    if flat and log:
        low, high = low / 2, high * 2
    elif flat:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    if exact is None:
        values = _decades(low, high) if log else steps(low, high)
        if not log:
            low, high = min(low, values[0]), max(high, values[-1])
    else:
        values = exact
    axis = Axis(low, high, start, end, log)
    return axis._replace(ticks=list(zip(axis.place(values), map(said, values), strict=True)))


def _scaled(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def steps(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers, about `count` of them, from at most `low` to at least `high`."""
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) if step > 1e-9 else i * step for i in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten inside, fewer where they are many; the ends where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [f * 10.0**i for i in powers for f in factors if low <= f * 10.0**i <= high]
        if 3 <= len(found) <= 7:
            return found
    return found[:: len(found) // 6 + 1] if len(found) > 7 else [low, math.sqrt(low * high), high]


def said(value: float) -> str:
    """A number as charts and their tables have it: four digits that count, a real minus."""
    return f"{value:.4g}".replace("-", "−")


def table(chart: Chart) -> Numbers:
    """The numbers of a chart for those who do not see it: at most LISTED of its x, evenly."""
    every = sorted({x for one in chart.series for x, _ in one.points})
    step = max(1, (len(every) - 1) / (LISTED - 1))
    shown = [every[round(i * step)] for i in range(min(LISTED, len(every)))]
    known = [dict(zip((x for x, _ in one.points), _words(one), strict=True)) for one in chart.series]
    rows = [(said(x), [words.get(x, "") for words in known]) for x in shown]
    return Numbers([one.name for one in chart.series], rows, len(every) - len(shown))


def _words(one: Series) -> list[str]:
    """The values of a series, with the ends of their ranges."""
    values = [said(y) for _, y in one.points]
    if not one.ranges:
        return values
    pairs = zip(values, one.ranges, strict=True)
    return [f"{value} ({said(low)} to {said(high)})" for value, (low, high) in pairs]


def _line(one: Series, style: str, x: Axis, y: Axis, marks: bool) -> Line:
    across = x.place(a for a, _ in one.points)
    pixels = list(zip(across, y.place(b for _, b in one.points), strict=True))
    band = ""
    if one.ranges:
        lower = zip(across, y.place(low for low, _ in one.ranges), strict=True)
        upper = zip(across, y.place(high for _, high in one.ranges), strict=True)
        band = f"{path([*upper, *reversed(list(lower))])}Z"
    dots = []
    if (marks and not one.quiet) or len(pixels) == 1:
        words = [f"{one.name}: {said(a)}, {said(b)}" for a, b in one.points]
        dots = [(*pixel, word) for pixel, word in zip(pixels, words, strict=True)]
    return Line(one.name, path(pixels), band, dots, style)


def path(pixels: Sequence[Point]) -> str:
    """Straight lines through these points as SVG says it."""
    return "M" + "L".join([f"{a},{b}" for a, b in pixels])
