"""Suites, records, jobs and answers that are broken or made to harm end in one sentence with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract import result
from benchmarks.mm.bridge import answers, launch
from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge.job import Job
from benchmarks.mm.worker import main as worker
from benchmarks.protocols.detection import protocol as detection
from pretrain.base.faults import Fault
from tests.faults.hostile import DEEP, EVIL, LONG, refused
from tests.test_result import record
from zoo.suites import file as suite_file

SUITES = {
    "nan": 'variant = "smoke"\n[odc]\nlr = nan',
    "infinity": 'variant = "smoke"\n[odc]\nlr = inf',
    "huge": f'variant = "smoke"\n[odc]\nepochs = {10**30}',
    "thousands-of-digits": f'variant = "smoke"\n[odc]\nepochs = {LONG}',
    "deep-lists": f"images = {'[' * 5000}",
    "deep-tables": f"[{'.'.join('a' * 3000)}]\nb = 1",
    "nul": 'images = "a\0b"',
    "escaped-nul": 'images = "a\\u0000b"',
    "bidirectional": '[data]\nimagenet = "a\\u202eb"',
    "long": f'images = "{"x" * 10_000}"',
    "latin-1": b'images = "caf\xe9"',
    "date": "images = 1979-99-99",
    "number-for-data": "[data]\nimagenet = 5",
    "table-for-number": "images = {a = 1}",
    "large": b"#" * (2 << 20),
}


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.case(36)
def test_a_suite_file_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    text, path = SUITES[name], tmp_path / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Fault) as raised:
        suite_file.read(path)
    refused(raised, "bad-config", path)


def edited(**changes: Any) -> bytes:
    return json.dumps({**record().as_json(), **changes}).encode()


RECORDS = {
    "deep": DEEP.encode(),
    "deep-inside": edited(facts={"a": "@"}).replace(b'"@"', b"[" * 9000 + b"]" * 9000),
    "thousands-of-digits": edited(seed="@").replace(b'"@"', LONG.encode()),
    "nan": edited(cost={"wall_s": float("nan")}),
    "infinity": edited(cost={"wall_s": float("-inf")}),
    "latin-1": b'{"schema": "\xe9"}',
    "nul": b"\0" * 100,
    "a-list": b"[1]",
    "evil-schema": json.dumps({"schema": EVIL * 1000}).encode(),
    "half-a-pair": edited(key="\ud800"),
    "no-schema": b"{}",
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.case(36, 39)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(RECORDS[name])
    with pytest.raises(Fault, match="is not a result record") as raised:
        result.read(path)
    refused(raised, "data-corrupt", path)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "work").mkdir()
    given = {"weights": tmp_path / "w", "sha256": "a", "root": tmp_path, "work": tmp_path / "work"}
    return Job(**given, seed=3, gpus=0, settings=detection.PAPER[0].settings)


JOBS = {
    "deep": DEEP.encode(),
    "nan": b'{"seed": NaN}',
    "thousands-of-digits": f'{{"seed": {LONG}}}'.encode(),
    "latin-1": b'{"weights": "\xe9"}',
    "nul": b"\0",
    "empty": b"",
    "a-list": b"[]",
    "evil-key": json.dumps({EVIL: 1}).encode(),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_cannot_be_read_is_named_and_written_anew(
    job: Job, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = job.work / "job.json"
    path.write_bytes(JOBS[name])
    with pytest.raises(Fault, match="is not a job of this version") as raised:
        jobs.read(path)
    refused(raised, "bad-config", path)
    assert worker.main(path) == 1
    assert capsys.readouterr().out.startswith("bad-config: ")
    assert jobs.read(launch.fresh(job)) == job


def test_a_job_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="cannot be read: No such file"):
        jobs.read(tmp_path / "job.json")


LINES = {
    "deep": DEEP.encode(),
    "nan": b'{"done": NaN, "total": 1, "eta": null, "line": ""}',
    "infinity": b'{"done": 1, "total": 1, "eta": Infinity, "line": ""}',
    "1e400": b'{"done": 1, "total": 1, "eta": 1e400, "line": ""}',
    "huge": f'{{"done": {LONG}, "total": 1, "eta": null, "line": ""}}'.encode(),
    "negative": b'{"done": -1, "total": 1, "eta": null, "line": ""}',
    "latin-1": b'{"line": "\xe9"}',
    "nul": b"\0",
    "a-list": b"[]",
    "more": b'{"done": 1, "total": 1, "eta": 1, "line": "", "more": 1}',
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_progress_that_is_none_is_said_and_stops_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / "progress.jsonl"
    said = answers.progress(LINES[name], path)
    assert (said.done, said.total) == (0, 0)
    assert f"{path} holds what is no line of progress" in said.line


def test_a_line_of_progress_is_shown_without_escapes() -> None:
    told = {"done": 1, "total": 2, "eta": 3, "line": EVIL[:-1] + "x" * 9999}
    said = answers.shown(answers.progress(json.dumps(told).encode(), Path("p")))
    assert said.isprintable()
    assert len(said) < 300


ANSWERS = {
    "deep": DEEP.encode(),
    "nan": b'{"metrics": {"AP": NaN}}',
    "1e400": b'{"metrics": {"AP": 1e400}}',
    "latin-1": b'{"a": "\xe9"}',
    "a-list": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("file", ["scores.json", "fault.json"])
def test_an_answer_that_is_none_is_named(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.write_bytes(ANSWERS[name])
    with pytest.raises(Fault, match="is no answer of the mm worker") as raised:
        (answers.record if file == "scores.json" else answers.fault)(path)
    refused(raised, "worker-crash", path)


def test_another_job_takes_no_state_of_a_damaged_one(job: Job) -> None:
    launch.fresh(job)
    (job.work / "iter_5.pth").touch()
    (job.work / "job.json").write_bytes(b"\0")
    launch.fresh(replace(job, seed=4))
    assert not (job.work / "iter_5.pth").exists()
