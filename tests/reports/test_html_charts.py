"""Curves are read whatever their files hold, and charts put values where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contract.score import Score, Selection
from reports.html import chart, curves, figures
from tests.reports.store import PAPER, benchmark, view


def test_damaged_lines_of_curves_are_left_out_and_the_last_of_an_epoch_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = ['{"epoch": 1, "loss": 5}', '{"epoch": 2, "loss": 4}', '{"epoch": 2, "loss": 3}']
    bad = [
        '{"epoch": 3, "lo',
        "[1]",
        '{"epoch": 4, "loss": NaN}',
        '{"epoch": "x", "loss": 1}',
        "[" * 9999,
        "",
    ]
    path.write_bytes("\n".join([*good, *bad]).encode() + b'\n\xff\xfe\n{"epoch": 5, "loss": true}')
    assert curves.read(path, ["loss"]) == {"loss": {1.0: 5.0, 2.0: 3.0}}
    assert curves.read(tmp_path / "none", ["loss"]) == {}


def test_long_curves_are_thinned_with_both_ends_kept() -> None:
    kept = curves.thinned([float(i) for i in range(1, 10_001)])
    assert (len(kept), kept[0], kept[-1]) == (curves.MOST, 1.0, 10_000.0)


def test_low_shot_curves_over_seeds_are_at_one_cost_as_the_table_is(tmp_path: Path) -> None:
    """C=1 is best for one seed and C=2 for the other; C=2 on average."""
    for seed, among in enumerate(({"C=1": 40.0, "C=2": 38.0}, {"C=1": 30.0, "C=2": 42.0})):
        cost = max(among, key=among.__getitem__)
        chosen = Selection("cost", cost, "test", among)
        scores = [Score(name, among[cost], 9, "test", selection=chosen) for name in ("k1", "k2")]
        benchmark(tmp_path, PAPER["voc07_low_shot"], {}, seed=seed, metrics=scores)
    (drawn,) = figures.shots(view(tmp_path), view(tmp_path).row("odc"))
    assert drawn.series[0].points == [(1, 40.0), (2, 40.0)]


def test_ticks_are_round_and_pixels_are_where_they_belong() -> None:
    assert chart.steps(0.0, 10.0) == [0, 2, 4, 6, 8, 10]
    assert (
        chart.steps(-0.3, 0.8) == [-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8] or chart.steps(-0.3, 0.8)[0] <= -0.3
    )
    line = chart.Series("a", [(0.0, 0.0), (10.0, 10.0)])
    drawn = chart.draw(chart.Chart("t", "x", "y", [line]))
    assert drawn is not None
    assert drawn.lines[0].path == f"M{chart.LEFT}.0,{chart.BOTTOM}.0L{chart.RIGHT}.0,{chart.TOP}.0"
    log = chart.draw(
        chart.Chart("t", "x", "y", [chart.Series("a", [(1.0, 1.0), (100.0, 5.0), (10.0, 0.0)])], log_x=True)
    )
    assert log is not None
    assert log.x.place([10.0]) == [(chart.LEFT + chart.RIGHT) / 2]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [(1.0,), (0.0, 0.0), (5e-324, 0.0), (1e299, -1e299), (1.0, 1.0 + 1e-15), (-3.0,)]
)
def test_no_values_break_a_chart(values: tuple[float, ...], log: bool) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    one = chart.Chart(
        "t", "x", "y", [chart.Series("a", points, [(v, v) for v in values])], log_y=log, log_x=log
    )
    drawn = chart.draw(one)
    for line in drawn.lines if drawn else ():
        assert "nan" not in line.path + line.band
        assert "inf" not in line.path + line.band
    assert chart.draw(chart.Chart("t", "x", "y", [])) is None
