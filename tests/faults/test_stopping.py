"""A command that is stopped says what is kept and how to go on, leaves no process behind, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import scenes

# By name, not as the code lists them: one that is taken off its list must fail here.
STOPS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
    signal.SIGXCPU,
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A suite that trains for minutes, if nobody stops it."""
    images = scenes.folder(tmp_path / "images", per_class=16)
    suite = tmp_path / "own.toml"
    suite.write_text(
        f"variant = 'smoke'\nprotocols = ['clustering']\nbeside = []\n[data]\nimagenet = '{images}'\n"
        "[odc]\nepochs = 4000\nbatch_size = 16\nclusters = 4\n"
    )
    return suite


def start(suite: Path, *words: str, first: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """The run; what it says goes to `said`; first: words before it, of a program that starts it."""
    argv = [*first, sys.executable, "-m", "zoo.run", "odc", "--all-benchmarks", "--suite", str(suite), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = suite.parent / "out"
    with (suite.parent / "said").open("w") as said:
        return subprocess.Popen(
            [*argv, "--out", str(out)], stderr=said, stdout=said, env=environment, preexec_fn=_listening
        )


def _listening() -> None:
    """As from a terminal, though the tests themselves may run below nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def training(suite: Path) -> None:
    """Returns once the run has saved a state."""
    until = time.monotonic() + 60
    while not list(suite.parent.glob("out/models/*/state.pt")):
        assert time.monotonic() < until, "nothing was trained for a minute"
        time.sleep(0.1)


def children(marker: str) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marker in words and str(os.getpid()) != place.parent.name:
            found.append(words)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPS)
@pytest.mark.case(20)
def test_every_signal_ends_in_order(own: Path, number: signal.Signals) -> None:
    process = start(own)
    training(own)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    said = (own.parent / "said").read_text()
    assert f"stopped by {number.name}" in said
    assert "python -m zoo.run odc --all-benchmarks" in said
    assert "Traceback" not in said
    assert not list(own.parent.glob("out/**/.*.part"))


@pytest.mark.slow
@pytest.mark.case(20)
def test_below_nohup_a_lost_connection_ends_nothing(own: Path) -> None:
    process = start(own, first=("nohup",))
    training(own)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
@pytest.mark.case(20)
def test_the_local_engine_leaves_no_orphan_and_the_next_command_goes_on(
    own: Path, number: signal.Signals
) -> None:
    process = start(own, "--engine", "local")
    training(own)
    process.send_signal(number)
    process.wait(timeout=30)
    until = time.monotonic() + 20
    while children(str(own.parent)) and time.monotonic() < until:
        time.sleep(0.2)
    assert children(str(own.parent)) == []
    again = start(own, "--engine", "local")
    before = next(own.parent.glob("out/models/*/state.pt")).stat().st_mtime_ns
    until = time.monotonic() + 60
    while next(own.parent.glob("out/models/*/state.pt")).stat().st_mtime_ns == before:
        assert time.monotonic() < until, "the next command does not go on"
        assert again.poll() is None, (own.parent / "said").read_text()
        time.sleep(0.1)
    again.send_signal(signal.SIGTERM)
    assert again.wait(timeout=30) == 128 + signal.SIGTERM
