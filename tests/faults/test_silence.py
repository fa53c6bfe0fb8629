"""A rank that is stopped or stuck is named by the others, which end; long computations are no silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pretrain.base import watch
from pretrain.base.faults import Fault
from pretrain.base.watch import Said, Silence
from tests import gloo, scenes

CHILD = """
import os, signal, sys, time, torch
from pretrain.base import dist, watch
kind = sys.argv[1]
with dist.group("cpu"):
    for step in range(3):
        watch.step(1, step)
        dist.all_reduce_sum_(torch.ones(1))
    print("ready", flush=True)
    time.sleep(1)
    if dist.rank() == 1 and kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if dist.rank() == 1 and kind == "stuck":
        time.sleep(90)
    if dist.rank() == 1 and kind == "long":
        until = time.monotonic() + 7
        while time.monotonic() < until:
            torch.ones(200, 200) @ torch.ones(200, 200)
    dist.barrier()
print("done", flush=True)
"""


@contextmanager
def ranks(kind: str, seconds: str, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of a gloo group, of which the second one does what `kind` says; they print to files."""
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(gloo.free_port()), "WORLD_SIZE": "2"}
    env = {**os.environ, **here, "OMP_NUM_THREADS": "1", watch.VARIABLE: seconds}
    with ExitStack() as held:
        started = []
        for rank in ("0", "1"):
            said = held.enter_context((folder / rank).open("w"))
            argv, mine = [sys.executable, "-c", CHILD, kind], {"RANK": rank, "LOCAL_RANK": rank}
            started.append(subprocess.Popen(argv, env={**env, **mine}, stdout=said, stderr=said))
            held.callback(started[-1].wait)
            held.callback(started[-1].kill)
        yield started


def started(process: subprocess.Popen[bytes], told: Path) -> None:
    """Waits for a process to be at work: its imports take a minute where many others share the cores."""
    while "ready" not in told.read_text():
        assert process.poll() is None, told.read_text()
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.case(19)
@pytest.mark.parametrize("kind", ["stopped", "stuck"])
def test_a_silent_rank_is_named_by_the_one_that_waits_for_it(kind: str, tmp_path: Path) -> None:
    with ranks(kind, "4", tmp_path) as (first, _):
        started(first, tmp_path / "0")
        assert first.wait(timeout=30) == 1
    text = (tmp_path / "0").read_text()
    assert "timeout: rank 1 of 2 on " in text
    assert "its last word was of step 2 of epoch 1; see what its process waits for" in text


@pytest.mark.slow
@pytest.mark.case(19)
def test_a_long_computation_is_no_silence(tmp_path: Path) -> None:
    with ranks("long", "3", tmp_path) as started:
        codes = [process.wait(timeout=90) for process in started]
    assert codes == [0, 0], (tmp_path / "0").read_text()
    assert "done" in (tmp_path / "0").read_text()


def said(beats: int, went: int, worked: int = 0, left: bool = False) -> Said:
    return Said(beats, went, worked, 3, 7, "node", left)


@pytest.mark.case(19)
def test_a_rank_says_its_own_silence_after_the_others() -> None:
    """Who ends first is heard; were it the stuck one, the others would know of a closed connection alone."""
    mine, others = Silence(10, world=2, rank=1), Silence(10, world=2, rank=0)
    told = [said(1, 5), said(1, 4)]
    assert [mine.found(told, 0), others.found(told, 0)] == [None, None]
    later = [said(2, 5), said(2, 4)]
    assert mine.found(later, 11) is None
    assert others.found(later, 11) is not None
    assert mine.found([said(3, 5), said(3, 4)], 16) is not None


@pytest.mark.case(19)
def test_who_neither_lives_nor_goes_on_nor_computes_is_silent() -> None:
    listens = Silence(10, world=2, rank=0)
    assert listens.found([said(1, 5), said(1, 4)], 0) is None
    assert listens.found([said(2, 5), said(1, 4)], 9) is None
    fault = listens.found([said(3, 5), said(1, 4)], 11)
    assert fault is not None
    assert fault.reason == "timeout"
    assert str(fault).startswith(
        "rank 1 of 2 on node has said nothing for 11 s, its last word was of step 7 of epoch 3; "
    )
    assert listens.found([said(4, 5), said(2, 4)], 12) is not None, "its thread alone lives"
    assert listens.found([said(5, 5), said(3, 4, worked=1)], 13) is None, "it computes"
    assert listens.found([said(6, 5), said(4, 5, worked=1)], 30) is None, "it has gone on"
    assert listens.found([said(7, 5), said(5, 5, worked=1)], 60) is None, "nobody waits for it"


@pytest.mark.case(19)
def test_who_does_not_live_is_silent_though_nobody_waits_for_it() -> None:
    listens = Silence(10, world=2, rank=0)
    assert listens.found([said(1, 5), said(1, 5)], 0) is None
    fault = listens.found([said(2, 5), said(1, 5)], 11)
    assert fault is not None
    assert str(fault).startswith("rank 1 of 2 on node has said nothing for 11 s")


@pytest.mark.case(19)
def test_who_has_left_or_could_not_be_heard_is_not_silent() -> None:
    listens = Silence(10, world=2, rank=0)
    assert listens.found([said(1, 5), said(1, 4)], 0) is None
    assert listens.found([said(2, 5), said(1, 4, left=True)], 20) is None
    listens.forget()
    assert listens.found([said(3, 5), said(1, 4)], 40) is None


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(watch.VARIABLE, value)
    with pytest.raises(Fault, match=f"ZOO_SILENCE_SECONDS must be a number of seconds, .* got '{value}'"):
        watch.limit()


def test_without_a_limit_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(watch.VARIABLE, "0")
    assert watch.begin(0, 2) is None


def stop_one(folder: Path) -> None:
    """Stops the second rank of the run that works below a folder, once its training has begun."""
    until = time.monotonic() + 90
    while not list(folder.glob("out/models/*/state.pt")):
        assert time.monotonic() < until, "nothing was trained"
        time.sleep(0.1)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            mine = str(folder).encode() in (place / "cmdline").read_bytes()
            mine = mine and b"\0RANK=1\0" in (place / "environ").read_bytes()
        except OSError:
            continue
        if mine:
            os.kill(int(place.name), signal.SIGSTOP)


@pytest.mark.slow
@pytest.mark.case(19)
def test_torchrun_ends_as_a_whole_with_one_record_that_names_the_silent_rank(tmp_path: Path) -> None:
    images = scenes.folder(tmp_path / "images", per_class=16)
    suite = tmp_path / "own.toml"
    suite.write_text(
        f"variant = 'smoke'\nprotocols = ['clustering']\nbeside = []\n[data]\nimagenet = '{images}'\n"
        "[odc]\nepochs = 4000\nbatch_size = 16\nclusters = 4\n"
    )
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    argv += ["-m", "zoo.run", "odc", "--suite", str(suite), "--out", str(tmp_path / "out")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", watch.VARIABLE: "3"}
    with (tmp_path / "said").open("w") as log:
        whole = subprocess.Popen([*argv, "--benchmarks", "none"], stdout=log, stderr=log, env=env)
        try:
            stop_one(tmp_path)
            assert whole.wait(timeout=90) != 0
        finally:
            whole.kill()
            whole.wait()
    text = (tmp_path / "said").read_text()
    assert text.count("timeout: rank 1 of 2 on") == 1, text
    (path,) = tmp_path.glob("out/models/*/result.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["reason"]) == ("failed", "timeout")
    assert record["message"].startswith("rank 1 of 2 on ")
    assert "of epoch" in record["message"]
