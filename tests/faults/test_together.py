"""Several processes at one folder: commands wait for each other; a fault of one rank ends all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests import scenes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A suite of one short training and one benchmark."""
    images = scenes.folder(tmp_path / "images", per_class=16)
    suite = tmp_path / "own.toml"
    suite.write_text(
        f"variant = 'smoke'\nprotocols = ['clustering']\nbeside = []\n[data]\nimagenet = '{images}'\n"
        "[odc]\nepochs = 2\nbatch_size = 16\nclusters = 4\n"
    )
    return suite


def command(suite: Path, *words: str, launcher: tuple[str, ...] = ()) -> list[str]:
    """The run of a suite, with its results beside it."""
    asked = ["-m", "zoo.run", "odc", "--suite", str(suite), "--out", str(suite.parent / "out")]
    return [sys.executable, *launcher, *asked, *words]


@pytest.mark.slow
@pytest.mark.case(23)
def test_two_commands_at_once_share_the_work(own: Path) -> None:
    logs = [own.parent / f"{i}.log" for i in (1, 2)]
    started = []
    for log in logs:
        with log.open("w") as file:
            argv = command(own, "--all-benchmarks")
            started.append(subprocess.Popen(argv, stdout=file, stderr=file, env=ENVIRONMENT))
    assert [process.wait(timeout=120) for process in started] == [0, 0], [log.read_text() for log in logs]
    said = "".join(log.read_text() for log in logs)
    assert said.count("odc pretrain: started") == 1, "nothing is computed twice"
    assert "Traceback" not in said
    assert len(list(own.parent.glob("out/results/*/*/*/result.json"))) == 1


def held(own: Path) -> FileLock:
    """The lock of the suite's training, not yet taken."""
    plan = [sys.executable, "-m", "zoo", "plan", "odc", "--suite", str(own), "--json"]
    listed = json.loads(subprocess.run(plan, check=True, capture_output=True, env=ENVIRONMENT).stdout)
    (record,) = (job["record"] for job in listed if job["job"] == "pretrain")
    path = own.parent / "out" / "locks" / f"{Path(record).parent.name.rpartition('-')[2]}.lock"
    path.parent.mkdir(parents=True)
    return FileLock(path)


@pytest.mark.slow
@pytest.mark.case(23)
def test_ranks_wait_together_for_another_command(own: Path) -> None:
    """The first process waits for the lock; the others must not take it for dead meanwhile."""
    lock = held(own)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = command(own, "--benchmarks", "none", launcher=launcher)
    with lock, (own.parent / "log").open("w") as log:
        run = subprocess.Popen(argv, stdout=log, stderr=log, env={**ENVIRONMENT, "ZOO_SILENCE_SECONDS": "5"})
        while "waiting for another process" not in (own.parent / "log").read_text():
            assert run.poll() is None, (own.parent / "log").read_text()
            time.sleep(0.2)
        time.sleep(12)
    assert run.wait(timeout=120) == 0, (own.parent / "log").read_text()


@pytest.mark.slow
@pytest.mark.case(19)
def test_a_fault_of_one_rank_ends_all_with_that_fault_as_the_record(own: Path) -> None:
    """An image that only one of two processes reads cannot be decoded."""
    (own.parent / "images" / "train" / "class2" / "015.png").write_bytes(b"\x89PNG not really")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    begin = time.monotonic()
    done = subprocess.run(
        command(own, "--benchmarks", "none", launcher=launcher),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
    )
    assert done.returncode != 0
    assert time.monotonic() - begin < 60
    (path,) = own.parent.glob("out/models/*/result.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["reason"]) == ("failed", "data-corrupt")
    assert "015.png cannot be decoded" in record["message"]
    assert done.stderr.count("data-corrupt: ") == 1, "one line, not one per process"


@pytest.mark.slow
@pytest.mark.case(24, 25)
def test_two_commands_of_different_benchmarks_lose_no_record_and_no_row(own: Path) -> None:
    """A third one reads the page all the while: it is always whole."""
    own.write_text(own.read_text().replace("['clustering']", "['clustering', 'imagenet_knn']"))
    logs, started = [own.parent / f"{i}.log" for i in (1, 2)], []
    for log, benchmark in zip(logs, ("clustering", "imagenet_knn"), strict=True):
        with log.open("w") as file:
            argv = command(own, "--benchmarks", benchmark)
            started.append(subprocess.Popen(argv, stdout=file, stderr=file, env=ENVIRONMENT))
    page, seen = own.parent / "out" / "tables.md", set()
    while any(process.poll() is None for process in started):
        if page.exists():
            seen.add(page.read_text())
        time.sleep(0.005)
    assert [process.returncode for process in started] == [0, 0], [log.read_text() for log in logs]
    assert len(list(own.parent.glob("out/results/*/*/*/result.json"))) == 2
    assert all(text.startswith("# ") and text.endswith("\n") for text in seen)
    report = [sys.executable, "-m", "zoo", "report", "--suite", str(own), "--out", str(own.parent / "out")]
    subprocess.run(report, check=True, capture_output=True, env=ENVIRONMENT)
    text = page.read_text()
    assert "Clustering of Frozen Features" in text
    assert "Nearest-Neighbor" in text


@pytest.mark.slow
def test_torchrun_with_benchmarks_ends(own: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = command(own, "--all-benchmarks", launcher=launcher)
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("odc clustering: done") == 1
    assert done.stdout.count("Clustering of Frozen Features") == 1


@pytest.mark.slow
def test_torchrun_draws_the_embedded_data_once_and_goes_on(tmp_path: Path) -> None:
    """All processes plan with the data, whoever draws them."""
    asked = ["-m", "zoo.run", "raw_pixels", "--suite", "smoke", "--benchmarks", "imagenet_knn"]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = [sys.executable, *launcher, *asked, "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "raw_pixels imagenet_knn: done" in done.stderr


@pytest.mark.slow
def test_of_several_ranks_the_first_alone_says_that_something_is_missing(own: Path) -> None:
    """torchrun ends the others where one ends with a code, and the first may be at work for hours."""
    own.write_text(own.read_text().replace("['clustering']", "['clustering', 'voc07_svm']"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = command(own, "--benchmarks", "clustering,voc07_svm", launcher=launcher)
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 1
    ended = [line.split()[2] for line in done.stderr.splitlines() if line.strip().startswith("exitcode ")]
    assert ended == ["4"], done.stderr


@pytest.mark.slow
@pytest.mark.case(23)
def test_ranks_that_shall_not_wait_say_so_in_one_sentence(own: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = command(own, "--benchmarks", "none", "--no-wait", launcher=launcher)
    with held(own):
        done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "another process is working on it; wait for it, or leave out --no-wait" in done.stderr
    assert done.stderr.count("Traceback") == 1, "torchrun's own"
