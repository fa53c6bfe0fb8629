"""What a record says a job has cost is the job's own: children with it, earlier sittings with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pretrain.base.faults import Fault
from tests import planned
from zoo.jobs import cost
from zoo.jobs.record import recording
from zoo.suites.suite import Suite

MIB = 1 << 20
HOLD = "import sys, time; held = bytearray(b'x') * (200 << 20); print(flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "LOOK_SECONDS", 0.02)


def test_a_peak_is_that_of_the_job_not_of_those_before_it() -> None:
    earlier = np.ones(300 * MIB, dtype=np.uint8)
    assert earlier.sum() == earlier.size
    del earlier
    with cost.metered(None) as meter:
        time.sleep(0.2)  # processes that other tests have left count from the first look on
        before = meter.costs()["peak_rss_mib"]
        mine = np.ones(100 * MIB, dtype=np.uint8)
        time.sleep(0.2)
        after = meter.costs()["peak_rss_mib"]
        meter.close(done=True)
    assert mine.size
    assert 90 < after - before < 200


def test_what_children_hold_is_counted() -> None:
    with cost.metered(None) as meter:
        before = meter.costs()["peak_rss_mib"]
        with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.2)
            child.kill()
        assert meter.costs()["peak_rss_mib"] - before > 190
        meter.close(done=True)


def test_sittings_are_added_up_until_the_job_is_done(suite: Suite, tmp_path: Path) -> None:
    job = planned.jobs(suite, tmp_path)["pretrain"]
    assert job.folder is not None
    assert job.path is not None
    job.folder.mkdir(parents=True)
    begin = time.monotonic()
    with suppress(SystemExit), recording(job, "own"):
        time.sleep(0.3)
        sys.exit(143)
    spent = json.loads((job.folder / cost.SPENT).read_text())["wall_s"]
    assert 0.3 <= spent <= time.monotonic() - begin
    with recording(job, "own"):
        time.sleep(0.2)
        raise Fault("nan", "the loss is nan")
    assert json.loads(job.path.read_text())["cost"]["wall_s"] >= spent + 0.2
    with recording(job, "own"):
        time.sleep(0.1)
    assert spent + 0.3 <= json.loads(job.path.read_text())["cost"]["wall_s"] <= time.monotonic() - begin
    assert not (job.folder / cost.SPENT).exists()
    begin = time.monotonic()
    with recording(job, "own"):
        pass
    wall = json.loads(job.path.read_text())["cost"]["wall_s"]
    assert wall <= time.monotonic() - begin, "it is a job anew"


@pytest.mark.slow
def test_a_killed_sitting_has_left_what_it_has_cost(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from zoo.jobs import cost\n"
        "cost.LOOK_SECONDS = cost.KEEP_SECONDS = 0.05\n"
        "with cost.metered(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.6)
        os.kill(child.pid, signal.SIGKILL)
    with cost.metered(tmp_path) as meter:
        assert meter.costs()["wall_s"] >= 0.3
        meter.close(done=False)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"wall_s": "long"}', '{"wall_s": -5}', '{"wall_s": NaN}']
)
def test_a_note_that_is_none_counts_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / cost.SPENT).write_text(text)
    with cost.metered(tmp_path) as meter:
        assert 0 <= meter.costs()["wall_s"] < 1
        meter.close(done=True)
