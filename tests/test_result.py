"""Records are absent or complete, refuse what is not a number, and notice an edit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.contract import result
from benchmarks.contract.result import Result, every, read, readable, write
from benchmarks.contract.score import Score, Spread, best
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.lease import lease


def record(**changes: Any) -> Result:
    score = Score("top1", 12.345678901234567, 10, "val")
    base: dict[str, Any] = {
        "key": "k",
        "suite": "smoke",
        "status": "ok",
        "model": {"name": "odc"},
        "protocol": {"name": "p"},
        "identity": {"protocol": "p"},
        "seed": 0,
        "metrics": [score],
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
@pytest.mark.case(40)
def test_only_finite_numbers_are_values(value: Any) -> None:
    with pytest.raises(ValidationError):
        Score("top1", value, 10, "val")


def test_a_score_is_found_by_its_name() -> None:
    found = record().score("top1")
    assert found is not None
    assert found.n == 10
    assert record().score("top5") is None


def test_a_spread_is_that_of_the_whole_population() -> None:
    spread = Spread.of("draws", [1.0, 2.0, 4.0])
    assert spread.std == pytest.approx((14 / 9) ** 0.5)
    assert (spread.kind, spread.values) == ("draws", [1.0, 2.0, 4.0])


def test_the_best_is_the_first_of_equals() -> None:
    assert best({"a": 1.0, "b": 3.0, "c": 3.0}) == "b"


@pytest.mark.case(39)
def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write(path, record())
    path.write_text(path.read_text().replace("12.345678901234567", "99.9"))
    with pytest.raises(Fault, match="edited by hand"):
        read(path)


@pytest.mark.parametrize("text", ["", "{", '{"schema": "zoo.result/99"}', "[]"])
@pytest.mark.case(39)
def test_a_damaged_or_newer_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(Fault, match="not a result record"):
        read(tmp_path / "result.json")
    assert readable(tmp_path / "result.json") is None
    assert readable(tmp_path / "absent.json") is None


@pytest.mark.case(39)
def test_a_record_of_a_newer_version_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write(path, record())
    path.write_text(path.read_text().replace("zoo.result/2", "zoo.result/99"))
    with pytest.raises(Fault, match=r"schema zoo.result/99, this version reads zoo.result/2"):
        read(path)


@pytest.mark.case(36)
def test_a_record_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "result.json", record())
    monkeypatch.setattr(result, "LARGEST", 100)
    with pytest.raises(Fault, match="it is larger than 100 bytes"):
        read(tmp_path / "result.json")


def test_unknown_reasons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        record(status="failed", reason="bad luck")
    for status, reason in (("failed", None), ("ok", "nan")):
        with pytest.raises(AssertionError):
            write(tmp_path / "result.json", record(status=status, reason=reason))


def test_the_schema_is_published() -> None:
    published = Result.model_json_schema(by_alias=True)["properties"]
    assert "metrics" in published
    assert published["schema"]["const"] == record().as_json()["schema"] == "zoo.result/2"


@pytest.mark.case(1, 2)
def test_killed_at_any_moment_a_file_is_absent_or_complete(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pretrain.base import files\n"
        "for i in range(10**6): files.write_text(Path(sys.argv[1]), str(i % 10) * 200_000)"
    )
    path = tmp_path / "big.txt"
    for delay in (0.25, 0.31, 0.4, 0.52):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)])
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not path.exists() or (len(text := path.read_text()) == 200_000 and len(set(text)) == 1)


@pytest.mark.case(14)
def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "locked"))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(Fault, match=r"cannot write .*locked: no permission"):
        files.write_text(tmp_path / "locked" / "x", "text")


@pytest.mark.case(13)
def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Fault, match="no space to write") as raised:
        files.write(tmp_path / "x", full)
    assert raised.value.reason == "disk-full"
    assert list(tmp_path.iterdir()) == []


HOLD = "import sys, time; from pathlib import Path; from pretrain.base.lease import lease\n"
HOLD += "with lease(Path(sys.argv[1])): print(flush=True); time.sleep(60)"


@pytest.mark.case(23)
def test_a_lease_is_exclusive_while_its_process_lives_and_taken_over_after(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    with lease(path, wait=False), pytest.raises(Fault, match="is working on it"), lease(path, wait=False):
        pass
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        said = rf"^key: process {child.pid} on {socket.gethostname()} is working on it"
        with pytest.raises(Fault, match=said) as raised, lease(path, wait=False):
            pass
        assert raised.value.reason == "busy"
        child.kill()
    with lease(path, wait=False):
        assert path.with_suffix(".holder").read_text().split()[1] == str(os.getpid())
