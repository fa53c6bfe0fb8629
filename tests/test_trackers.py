"""Trackers see the lines of metrics.jsonl while a run goes on; what fails in them ends nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pretrain.base.faults import Fault
from zoo import tensorboard as mirrored
from zoo.trackers import mirror, tensorboard

LINES = [
    {"epoch": 1, "iteration": 2, "loss": 2.5, "lr": 0.1},
    {"epoch": 1, "iteration": 4, "loss": 1.5, "lr": 0.1, "warning": "clusters die: 6 %", "nmi": None},
]


def append(folder: Path, *lines: dict[str, Any]) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def follow(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What people see while a tracker follows a run of two lines."""
    monkeypatch.setenv(mirror.VARIABLE, kind)
    said = list[str]()
    with mirror.following(
        folder, "odc s0", {"lr": 0.1}, lambda done, total, line: said.append(line)
    ) as report:
        for line in LINES:
            append(folder, line)
            report(line["iteration"], 4, f"loss {line['loss']}")
    return said


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    loaded = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = loaded.EventAccumulator(str(folder / "events"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_numbers_of_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    assert follow(tmp_path, "tensorboard", monkeypatch) == ["loss 2.5", "loss 1.5"]
    found = scalars(tmp_path)
    assert found["loss"] == [(2, 2.5), (4, 1.5)]
    assert set(found) == {"epoch", "loss", "lr"}


def test_a_resumed_run_is_mirrored_whole_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    follow(tmp_path, "tensorboard", monkeypatch)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LINES[0]) + "\n")  # as resuming cuts it
    with mirror.following(tmp_path, "odc", {}, lambda *_: None) as report:
        append(tmp_path, LINES[1])
        report(4, 4, "")
    assert scalars(tmp_path)["loss"] == [(2, 2.5), (4, 1.5)]


def test_wandb_writes_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert follow(tmp_path, "wandb", monkeypatch) == ["loss 2.5", "loss 1.5"]
    (run,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    until = time.monotonic() + 5  # a process of its own writes it
    while b"loss" not in run.read_bytes() and time.monotonic() < until:
        time.sleep(0.1)
    assert b"loss" in run.read_bytes()


def test_mlflow_writes_a_run_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert follow(tmp_path, "mlflow", monkeypatch) == ["loss 2.5", "loss 1.5"]
    (losses,) = tmp_path.glob("mlflow/*/*/metrics/loss")
    assert [line.split()[1:] for line in losses.read_text().splitlines()] == [["2.5", "2"], ["1.5", "4"]]


def test_a_damaged_line_is_left_out() -> None:
    lines = [json.dumps(LINES[0])[:-9], "[]", "{}", json.dumps(LINES[1])]
    assert list(mirror.numbers(lines)) == [(4, {"epoch": 1, "loss": 1.5, "lr": 0.1})]


def test_a_line_of_bytes_that_are_no_text_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a tracker that follows, and by `zoo tensorboard`."""
    pytest.importorskip("tensorboard")
    run = tmp_path / "models" / "odc"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_bytes(b'{"iteration": 1, "loss\xff": 3}\n')
    follow(run, "tensorboard", monkeypatch)
    assert scalars(run)["loss"] == [(2, 2.5), (4, 1.5)]
    assert mirrored.mirror(tmp_path) == [run / "events"]
    assert scalars(run)["loss"] == [(2, 2.5), (4, 1.5)]


def test_a_tracker_that_fails_is_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "events").write_text("a file where the folder should be")
    (wrong,) = [line for line in follow(tmp_path, "tensorboard", monkeypatch) if line.startswith("warning")]
    assert wrong.startswith("warning: tracker tensorboard is given up, ")
    assert wrong.endswith("; training goes on")


def test_training_does_not_wait_for_a_slow_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "TensorBoard", _Slow)
    monkeypatch.setattr(mirror, "PATIENCE", 0.1)
    began = time.monotonic()
    said = follow(tmp_path, "tensorboard", monkeypatch)
    assert time.monotonic() - began < 1.0
    assert said[-1] == "warning: trackers have not taken all lines within 0.1 s; metrics.jsonl has them"


class _Slow:
    def __init__(self, *_: Any) -> None:
        time.sleep(3)

    def write(self, step: int, row: dict[str, float]) -> None:
        """Never in time."""

    def close(self) -> None:
        """Never in time."""


def test_only_the_first_process_has_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    follow(tmp_path, "tensorboard", monkeypatch)
    assert not (tmp_path / "events").exists()


def test_names_are_checked_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mirror.VARIABLE, "")
    with pytest.raises(Fault, match="tracker"):
        mirror.choose("tensorbord")
    absent = next((name for name in mirror.KINDS if importlib.util.find_spec(name) is None), None)
    if absent:
        with pytest.raises(Fault, match=rf"{absent} is not installed; pip install 'cluster-zoo\[{absent}\]'"):
            mirror.choose(absent)
    present = [name for name in mirror.KINDS if importlib.util.find_spec(name)]
    mirror.choose(",".join(present))
    assert os.environ[mirror.VARIABLE] == ",".join(present)


def test_choosing_loads_no_tracker() -> None:
    code = "import sys, zoo.trackers.mirror; assert not {'torch', 'tensorboard', 'wandb', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
