"""Energy is the difference of counters, also where they begin anew, and power over time; or nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from zoo.jobs.energy import Energy


def zone(folder: Path, name: str, count: int) -> Path:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(f"{count}\n")
    (place / "max_energy_range_uj").write_text("1000000000\n")
    return place


def test_counters_of_all_processors_are_added_and_may_begin_anew(tmp_path: Path) -> None:
    """5 J and, over the end of the counter, 10 + 20 J; a core's zone is part of its processor's."""
    zone(tmp_path, "intel-rapl:0", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", 0)
    zone(tmp_path, "intel-rapl:1", 990_000_000)
    meter = Energy(tmp_path, gpus=False)
    zone(tmp_path, "intel-rapl:0", 6_000_000)
    zone(tmp_path, "intel-rapl:0:0", 900_000_000)
    zone(tmp_path, "intel-rapl:1", 20_000_000)
    assert meter.joules() == {"energy_cpu_j": pytest.approx(35.0)}
    assert meter.joules() == {"energy_cpu_j": pytest.approx(35.0)}


def test_power_of_cards_is_integrated(tmp_path: Path) -> None:
    begun = time.monotonic()
    meter = Energy(tmp_path, (sys.executable, "-c", "print('100.5'); print('99.5')"))
    time.sleep(0.2)
    found = meter.joules()
    assert list(found) == ["energy_gpu_j"]
    assert 40 <= found["energy_gpu_j"] <= 200 * (time.monotonic() - begun)


@pytest.mark.parametrize("query", [("no-such-command",), (sys.executable, "-c", "print('[N/A]')")])
def test_what_cannot_be_read_is_left_out(query: tuple[str, ...], tmp_path: Path) -> None:
    assert Energy(tmp_path, query).joules() == {}
    (tmp_path / "intel-rapl:0").mkdir()
    assert Energy(tmp_path, query).joules() == {}
