"""A disk that is really full, a share that is really read-only: a sentence, and nothing finished is lost."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pretrain.base import files
from pretrain.base.faults import Fault
from tests import mounted
from tests.faults import commands
from zoo.stopping import one_sentence
from zoo.store import Store

SIZE = 2 << 20  # bytes of the file system


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    with mounted.small(tmp_path / "small", SIZE) as place:
        yield place


def by_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(SIZE // 4, dtype=np.float32))


def by_torch(path: Path) -> None:
    torch.save({"weights": torch.ones(SIZE // 4)}, path)


def by_safetensors(path: Path) -> None:
    save_file({"weights": torch.ones(SIZE // 4)}, path)


def by_text(path: Path) -> None:
    path.write_text("x" * (SIZE + 1))


@pytest.mark.parametrize("save", [by_numpy, by_torch, by_safetensors, by_text])
@pytest.mark.case(13)
def test_a_full_disk_is_called_by_its_name(small: Path, save: Callable[[Path], None]) -> None:
    kept = small / "kept.json"
    files.write_text(kept, "finished")
    with pytest.raises(Fault, match=r"no space to write .*\(\d MiB free\); free some and run again") as error:
        files.write(small / "new", save)
    assert error.value.reason == "disk-full"
    assert [path.name for path in small.iterdir()] == ["kept.json"], "no half file stays behind"
    assert kept.read_text() == "finished"
    files.write_text(small / "later", "x" * (SIZE // 2))  # though the error's frames hold torch's file open


@pytest.mark.case(13)
def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path: Path) -> None:
    """The disk itself has room, so that trying it out says nothing."""

    def save(path: Path) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(path))

    with pytest.raises(Fault, match="no space to write") as error:
        files.write(tmp_path / "new", save)
    assert error.value.reason == "disk-full"


@pytest.mark.parametrize("save", [by_numpy, by_torch, by_safetensors, by_text])
def test_what_fails_for_another_reason_is_not_called_a_full_disk(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    def broken(path: Path) -> None:
        save(path)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        files.write(tmp_path / "new", broken)


TOLD = (
    "from zoo.show.progress import Display; shown = Display(); shown.line('a'); shown.line('b'); print('on')"
)


@pytest.mark.case(13)
@pytest.mark.parametrize("gone", ["full", "closed"])
def test_lines_that_cannot_be_written_end_no_run(gone: str) -> None:
    """The log is on a full disk, the terminal of a run that was disowned is closed."""
    terminal, ours = pty.openpty()
    os.close(terminal)
    with open("/dev/full", "w") if gone == "full" else os.fdopen(ours, "w") as into:
        done = subprocess.run([sys.executable, "-c", TOLD], stdout=subprocess.PIPE, stderr=into)
    assert (done.returncode, done.stdout) == (0, b"on\n")


@pytest.mark.case(13)
def test_output_that_does_not_fit_is_exit_6() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "zoo", "list"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr == b"error: no space to write what is printed\n"


@pytest.mark.case(13)
def test_a_full_disk_that_ends_a_command_has_an_exit_code_of_its_own() -> None:
    with pytest.raises(SystemExit) as ended, one_sentence():
        raise Fault("disk-full", "no space to write it")
    assert ended.value.code == 6


@pytest.mark.slow
@pytest.mark.case(13)
def test_a_process_of_its_own_whose_record_does_not_fit_is_exit_6(small: Path, tmp_path: Path) -> None:
    suite = commands.suite(tmp_path)
    filled = ("run", "odc", "--all-benchmarks", "--engine", "local")
    full = commands.zoo(suite, *filled, out=small)
    assert full.returncode == 6, full.stderr
    assert "disk-full" in full.stderr
    assert "worker-crash" not in full.stderr


@pytest.mark.slow
@pytest.mark.case(13)
def test_a_command_on_a_full_disk_is_exit_6_and_goes_on_once_there_is_room(
    small: Path, tmp_path: Path
) -> None:
    suite = commands.suite(tmp_path)
    first = commands.zoo(suite, "run", "random", "--benchmarks", "clustering", out=small)
    assert first.returncode == 0, first.stderr
    kept = {path: path.read_bytes() for path in small.glob("results/random/*/*/result.json")}
    assert kept
    full = commands.zoo(suite, "run", "odc", "--all-benchmarks", out=small)
    assert full.returncode == 6, full.stderr
    assert "disk-full: no space to write " in full.stderr
    assert "MiB free); free some and run again" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(small.glob("**/.*.part"))
    assert {path: path.read_bytes() for path in kept} == kept
    subprocess.run(["mount", "-o", "remount,size=64M", str(small)], check=True)
    done = commands.zoo(suite, "run", "odc", "--all-benchmarks", out=small)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.case(13)
def test_torchrun_on_a_full_disk_names_it_and_goes_on_once_there_is_room(small: Path, tmp_path: Path) -> None:
    """torchrun ends with 1 whatever its processes end with; it prints theirs."""
    suite = commands.suite(tmp_path)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    argv = commands.argv(suite, "run", "odc", out=small, launcher=launcher)
    full = subprocess.run(argv, capture_output=True, text=True, env=commands.ENVIRONMENT, timeout=180)
    assert full.returncode == 1, full.stderr
    assert "process 0: disk-full: no space to write " in full.stderr
    assert re.search(r"local_rank: 0.*\n\s*exitcode\s*: 6", full.stderr)
    (record,) = small.glob("models/*/result.json")
    assert json.loads(record.read_text())["reason"] == "disk-full"
    subprocess.run(["mount", "-o", "remount,size=64M", str(small)], check=True)
    done = subprocess.run(argv, capture_output=True, text=True, env=commands.ENVIRONMENT, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "FutureWarning" not in done.stderr


@pytest.mark.case(14)
def test_a_read_only_share_is_said(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(
        Fault,
        match=r"cannot write .*/new: [Rr]ead-only file system; make that possible or choose another place",
    ):
        files.write_text(small / "new", "text")


@pytest.mark.case(1)
def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    left, kept = tmp_path / f".state.pt.{os.getpid()}.part", tmp_path / "state.pt"
    left.touch()
    kept.touch()
    files.sweep(tmp_path)
    assert not left.exists()
    assert kept.exists()


@pytest.mark.case(1)
def test_what_killed_writers_left_in_a_home_goes_with_the_next_command(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = [tmp_path / ".tables.md.17.part", tmp_path / ".writable.17"]
    left += [store.fingerprints / ".0123.json.17.part", store.features / "weights" / ".0123.json.17.part"]
    kept = [store.tables, store.fingerprints / "0123.json", store.features / "weights" / "0123.json"]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    store.tidy()
    store.require_writable()
    assert [path for path in left if path.exists()] == []
    assert [path for path in kept if path.exists()] == kept
