"""Records are absent or complete, refuse what is not a number, and notice an edit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.result import Metric, Result, every, json_schema, read, write
from pretrain import files
from pretrain.faults import Fault


def record(**changes: Any) -> Result:
    metric = Metric(name="top1", value=12.345678901234567, unit="%", better="higher", split="val", n=10)
    base: dict[str, Any] = {
        "key": "k",
        "suite": "smoke",
        "status": "ok",
        "model": {"name": "odc"},
        "protocol": {"name": "p"},
        "data": {},
        "seed": 0,
        "metrics": [metric],
        "facts": {},
        "env": {},
        "cost": {"wall_s": 1.0},
        "time": {"start": "a", "end": "b"},
    }
    return Result(**{**base, **changes})


def test_a_record_comes_back_unrounded(tmp_path: Path) -> None:
    write(tmp_path / "result.json", record())
    assert read(tmp_path / "result.json").metrics[0].value == 12.345678901234567
    assert [r.key for _, r in every(tmp_path)] == ["k"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "12", None, True])
def test_only_finite_numbers_are_values(value: Any) -> None:
    with pytest.raises(ValidationError):
        Metric(name="top1", value=value, unit="%", better="higher", split="val", n=10)


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write(path, record())
    path.write_text(path.read_text().replace("12.345678901234567", "99.9"))
    with pytest.raises(Fault, match="edited by hand"):
        read(path)


@pytest.mark.parametrize("text", ["", "{", '{"schema": "zoo.result/99"}', "[]"])
def test_a_damaged_or_newer_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(Fault, match="not a result record"):
        read(tmp_path / "result.json")


def test_unknown_reasons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        write(tmp_path / "result.json", record(status="failed", reason="bad luck"))


def test_the_schema_is_published() -> None:
    assert "metrics" in json_schema()["properties"]


def test_killed_at_any_moment_a_file_is_absent_or_complete(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pretrain import files\n"
        "for i in range(10**6): files.write_text(Path(sys.argv[1]), str(i % 10) * 200_000)"
    )
    path = tmp_path / "big.txt"
    for delay in (0.25, 0.31, 0.4, 0.52):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)])
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not path.exists() or (len(text := path.read_text()) == 200_000 and len(set(text)) == 1)


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "locked"))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(Fault, match=r"no permission to write .*locked"):
        files.write_text(tmp_path / "locked" / "x", "text")


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Fault, match="no space to write") as raised:
        files.write(tmp_path / "x", full)
    assert raised.value.reason == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_exclusive_while_its_process_lives_and_taken_over_after(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with files.lease(path), pytest.raises(Fault, match="is working on it"), files.lease(path):
        pass
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    import socket

    path.write_text(f"{child.pid} {socket.gethostname()}")
    with files.lease(path):
        assert json.dumps(path.read_text()).startswith(f'"{os.getpid()}')
