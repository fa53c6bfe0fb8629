"""Killed or stopped at the worst places: within k-means, before a record, again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests import scenes
from tests.faults import commands

pytestmark = pytest.mark.slow

IN_KMEANS = """
import os, sys
from pretrain.cluster import kmeans
from tests import train
real, steps = kmeans.assign, []
def assign(*given, **named):
    steps.append(1)
    if len(steps) == int(os.environ["AT"]):
        os.kill(os.getpid(), 9)
    return real(*given, **named)
kmeans.assign = assign
train.main(*sys.argv[1:])
print("steps", len(steps))
"""

BEFORE_A_RENAME = """
import os, runpy, signal, sys
def look(event, args):
    if event == "os.rename" and os.fsdecode(args[1]).endswith(os.environ["TO"]):
        if os.environ["AMONG"] in os.fsdecode(args[1]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
runpy.run_module("zoo", run_name="__main__", alter_sys=True)
"""


@pytest.mark.case(4)
def test_killed_between_two_steps_of_k_means_equals_never_killed(tmp_path: Path) -> None:
    images = scenes.folder(tmp_path / "images")

    def train(out: str, at: int) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", IN_KMEANS, str(images), str(tmp_path / out), "deepcluster"]
        env = {**commands.ENVIRONMENT, "AT": str(at)}
        return subprocess.run(argv, env=env, capture_output=True, text=True)

    whole = train("whole", 0)
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout.split()[-1])
    assert train("killed", steps * 2 // 3).returncode == -signal.SIGKILL
    again = train("killed", 0)
    assert again.stdout.splitlines()[0] == whole.stdout.splitlines()[0], again.stderr
    assert 0 < int(again.stdout.split()[-1]) < steps, "it goes on, and does not begin anew"


def killed_at_the_rename(suite: Path, model: str, to: str, among: str = "") -> None:
    """Runs a model with all benchmarks until a file of that name and place is whole but aside."""
    words = commands.argv(suite, "run", model, "--all-benchmarks")[3:]
    env = {**commands.ENVIRONMENT, "TO": to, "AMONG": among}
    done = subprocess.run([sys.executable, "-c", BEFORE_A_RENAME, *words], capture_output=True, env=env)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.case(1)
def test_half_tables_go_with_a_command_that_has_nothing_else_to_do(tmp_path: Path) -> None:
    suite = commands.suite(tmp_path)
    assert commands.zoo(suite, "run", "random", "--all-benchmarks").returncode == 0
    killed_at_the_rename(suite, "random", "/tables.md")
    assert len(list(tmp_path.glob("out/**/.*.part"))) == 1
    again = commands.zoo(suite, "run", "random", "--all-benchmarks")
    assert again.returncode == 0, again.stderr
    assert not list(tmp_path.glob("out/**/.*.part"))


@pytest.mark.case(2)
def test_killed_before_a_record_it_is_to_do_and_nothing_else_is(tmp_path: Path) -> None:
    suite = commands.suite(tmp_path)
    killed_at_the_rename(suite, "odc", "/result.json", among="/clustering/")
    assert not list(tmp_path.glob("out/results/**/result.json"))
    states = {job["job"]: job["state"] for job in json.loads(commands.zoo(suite, "status", "--json").stdout)}
    assert states == {"pretrain": "done", "clustering": "todo"}
    again = commands.zoo(suite, "run", "odc", "--all-benchmarks")
    assert again.returncode == 0, again.stderr
    assert "odc pretrain: done (recorded)" in again.stderr
    assert len(list(tmp_path.glob("out/results/**/result.json"))) == 1
    assert not list(tmp_path.glob("out/**/.*.part"))


def begun(suite: Path) -> subprocess.Popen[bytes]:
    """The run, once it has saved a state that was not there before."""
    known = {path.stat().st_mtime_ns for path in suite.parent.glob("out/models/*/state.pt")}
    with (suite.parent / "said").open("w") as said:
        argv = commands.argv(suite, "run", "odc", "--benchmarks", "none")
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=commands.ENVIRONMENT)
    until = time.monotonic() + 90
    while known >= {path.stat().st_mtime_ns for path in suite.parent.glob("out/models/*/state.pt")}:
        assert time.monotonic() < until, "nothing was saved"
        assert process.poll() is None, (suite.parent / "said").read_text()
        time.sleep(0.02)
    return process


@pytest.mark.case(20)
def test_ctrl_c_twice_ends_at_once_and_the_next_command_goes_on(tmp_path: Path) -> None:
    suite = commands.suite(tmp_path, epochs=4000)
    for again in range(2):
        process = begun(suite)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 128 + signal.SIGINT, again


@pytest.mark.case(21)
def test_preempted_three_times_the_weights_are_the_same_and_the_record_is_one(tmp_path: Path) -> None:
    weights = []
    for name, stops in (("whole", 0), ("stopped", 3)):
        (tmp_path / name).mkdir()
        suite = commands.suite(tmp_path / name, epochs=60)
        for _ in range(stops):
            process = begun(suite)
            process.send_signal(signal.SIGUSR1)
            assert process.wait(timeout=30) == 128 + signal.SIGUSR1
        done = commands.zoo(suite, "run", "odc", "--benchmarks", "none")
        assert done.returncode == 0, done.stderr
        (path,) = suite.parent.glob("out/models/*/result.json")
        weights.append(json.loads(path.read_text())["facts"]["weights"])
        lines = path.with_name("metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["iteration"] for line in lines]
        assert steps == sorted(set(steps)), "every step stands there once"
    assert weights[0] == weights[1]


@pytest.mark.case(1)
def test_a_state_killed_at_any_moment_is_absent_or_can_be_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from pretrain.base import files\n"
        "state = {'net': torch.arange(500_000.0)}\n"
        "while True: files.write(Path(sys.argv[1]), lambda aside: torch.save(state, aside)); print(flush=True)"
    )
    path = tmp_path / "state.pt"
    for delay in (0.001, 0.004, 0.011, 0.023):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
        assert torch.equal(torch.load(path)["net"], torch.arange(500_000.0))
