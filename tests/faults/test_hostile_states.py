"""A state planted in a detection or segmentation job's folder runs nothing and ends in one sentence."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.mm.bridge import job as jobs
from benchmarks.mm.bridge import launch, pointer
from benchmarks.mm.bridge.job import Job
from benchmarks.mm.worker import main as worker
from pretrain.base.faults import Fault
from tests.faults.hostile import flipped
from tests.mm_jobs import job
from tests.test_mm_worker import as_before, data, global_state, weights  # noqa: F401  fixtures

# The mm packages warn when they are imported, which takes seconds.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


class Touching:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


def archive(path: Path, pickled: bytes, packed: bool = False) -> None:
    """A file as torch.save lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, content in (("data.pkl", pickled), ("version", b"3\n"), ("byteorder", b"little")):
            file.writestr(f"archive/{name}", content)


def text(word: str) -> bytes:
    return b"X" + len(word.encode()).to_bytes(4, "little") + word.encode()


def through_getattr(code: str) -> bytes:
    """Python's exec by getattr alone, hung on mmengine's log buffer as its __setstate__ and then called."""
    found = b"cbuiltins\ngetattr\n"
    module = found + found + text("__self__") + b"\x86R"
    execute = found + module + text("exec") + b"\x86R"
    buffer = b"cmmengine.logging.history_buffer\nHistoryBuffer\n)R"
    return b"\x80\x02" + buffer + b"}" + text("__setstate__") + execute + b"sb" + text(code) + b"b."


def reduced(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    torch.save(Touching(sentinel), path)


def nested(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    good["optimizer"]["state"] = {0: {"momentum_buffer": Touching(sentinel)}}
    torch.save(good, path)


def by_getattr(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    archive(path, through_getattr(f"open({str(sentinel)!r}, 'w')"))


def bare_getattr(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    archive(path, b"\x80\x02cbuiltins\ngetattr\n" + text("word") + text("upper") + b"\x86R.")


def plain_pickle(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    archive(path, b"", packed=False)
    path.write_bytes(pickle.dumps(Touching(sentinel)) + path.read_bytes())


def compressed(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    archive(path, pickle.dumps({"meta": "x" * 10_000_000}, 2), packed=True)


def deep(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    for _ in range(200):
        good["optimizer"] = {"state": good["optimizer"]}
    torch.save(good, path)


def counted(value: Any) -> Callable[[Path, Path, dict[str, Any]], None]:
    def write(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
        good["message_hub"]["runtime_info"]["keep_ckpt_ids"] = value
        torch.save(good, path)

    return write


def iteration(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    torch.save({**good, "meta": {"epoch": 0, "iter": float("nan")}}, path)


def no_state(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    torch.save([1, 2], path)


def no_schedule(path: Path, sentinel: Path, good: dict[str, Any]) -> None:
    torch.save({**good, "optimizer": {"param_groups": 3}}, path)


# What is written, and what the refusal says of it.
HOSTILE: dict[str, tuple[Callable[[Path, Path, dict[str, Any]], None], str]] = {
    "reduce": (reduced, "what is no state of a training"),
    "reduce-in-optimizer": (nested, "what is no state of a training"),
    "exec-through-getattr": (by_getattr, "HistoryBuffer"),
    "getattr": (bare_getattr, "getattr"),
    "pickle-before-zip": (plain_pickle, "what is no state of a training"),
    "compressed": (compressed, "is compressed"),
    "deeply-nested": (deep, "holds a dict at depth 13"),
    "steps-up-in-names-to-delete": (counted(["../../victim", 1, 2, 3]), "keep_ckpt_ids is '../../victim'"),
    "huge-count": (counted([10**30]), "keep_ckpt_ids is 1000"),
    "nan-iteration": (iteration, "meta.iter is nan"),
    "a-list": (no_state, "it holds a list"),
}


@pytest.fixture(scope="module")
def trained(weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The work folder of a job that has ended, with a state to go on from."""
    work = tmp_path_factory.mktemp("trained") / "work"
    with as_before():
        worker.run(job(weights, data, work, "masks"))
    return work


def planted(weights: Path, data: Path, tmp_path: Path, trained: Path) -> tuple[Job, dict[str, Any]]:  # noqa: F811
    """A job with a folder of its own, as its parent leaves it, and a good state that may be spoilt."""
    asked = job(weights, data, tmp_path / "job" / "work", "masks")
    jobs.write(asked.work / "job.json", asked)
    return asked, torch.load(trained / "iter_3.pth", weights_only=True)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.case(34)
def test_a_planted_state_is_refused(tmp_path: Path, trained: Path, name: str) -> None:
    from benchmarks.mm.worker import resume

    sentinel, state = tmp_path / "sentinel", tmp_path / "iter_3.pth"
    write, said = HOSTILE[name]
    write(state, sentinel, torch.load(trained / "iter_3.pth", weights_only=True))
    with pytest.raises(Fault, match="nothing in it was run; delete") as raised:
        resume.load_from_job(str(state), "cpu")
    assert raised.value.reason == "weights-corrupt"
    assert said in str(raised.value)
    assert str(raised.value).isprintable()
    assert not sentinel.exists()


@pytest.mark.parametrize("write", [reduced, by_getattr, no_schedule])
@pytest.mark.case(34)
def test_a_job_with_a_planted_state_runs_nothing_of_it(
    weights: Path,  # noqa: F811
    data: Path,  # noqa: F811
    tmp_path: Path,
    trained: Path,
    write: Callable[[Path, Path, dict[str, Any]], None],
) -> None:
    asked, good = planted(weights, data, tmp_path, trained)
    sentinel, state = tmp_path / "sentinel", asked.work / "iter_3.pth"
    write(state, sentinel, good)
    (asked.work / "last_checkpoint").write_text(str(state))
    assert worker.main(asked.work / "job.json") == 1
    told = json.loads((asked.work / "fault.json").read_text())
    assert not sentinel.exists()
    assert told["reason"] == "weights-corrupt"
    assert f"delete {asked.work} to train from the start" in told["message"]
    assert told["message"].isprintable()


def test_text_of_a_configuration_is_not_executed(
    weights: Path,  # noqa: F811
    data: Path,  # noqa: F811
    tmp_path: Path,
    trained: Path,
) -> None:
    asked, good = planted(weights, data, tmp_path, trained)
    sentinel = tmp_path / "sentinel"
    good["meta"]["config"] = f"open({str(sentinel)!r}, 'w')\n"
    torch.save(good, asked.work / "iter_3.pth")
    (asked.work / "last_checkpoint").write_text(str(asked.work / "iter_3.pth"))
    assert worker.main(asked.work / "job.json") == 0  # it is plain data, and it is left out
    assert not sentinel.exists()


def test_a_state_of_another_model_is_refused(
    weights: Path,  # noqa: F811
    data: Path,  # noqa: F811
    tmp_path: Path,
    trained: Path,
) -> None:
    asked, good = planted(weights, data, tmp_path, trained)
    good["state_dict"].popitem()
    torch.save(good, asked.work / "iter_3.pth")
    (asked.work / "last_checkpoint").write_text(str(asked.work / "iter_3.pth"))
    assert worker.main(asked.work / "job.json") == 1
    told = json.loads((asked.work / "fault.json").read_text())
    assert told["reason"] == "weights-mismatch"
    assert "1 tensors missing" in told["message"]


def test_a_state_holds_tensors_and_plain_values_alone(trained: Path) -> None:
    saved = trained / "iter_4.pth"
    assert torch.serialization.get_unsafe_globals_in_checkpoint(saved) == []
    state = torch.load(saved, weights_only=True)
    assert set(state) == {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "random"}
    assert state["meta"] == {"epoch": 0, "iter": 4}
    assert set(state["message_hub"]["runtime_info"]) == {"zoo_matched", "keep_ckpt_ids"}


def outside(work: Path, elsewhere: Path) -> dict[str, str]:
    """What `last_checkpoint` may hold that is no state of the folder."""
    (work / "link.pth").symlink_to(elsewhere)
    (work / "loop.pth").symlink_to(work / "loop.pth")
    return {
        "absolute": str(elsewhere),
        "steps-up": str(work / ".." / elsewhere.name),
        "link": str(work / "link.pth"),
        "address": "https://example.org/state.pth",
        "folder": str(work),
        "bytes": "\0\x1b[31m\u202e" + "x" * 9000,
        "loop": str(work / "loop.pth"),
        "empty": "",
    }


@pytest.mark.parametrize(
    "how", ["absolute", "steps-up", "link", "address", "folder", "bytes", "loop", "empty"]
)
def test_a_pointer_out_of_the_folder_is_refused_and_before_that_ignored(tmp_path: Path, how: str) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere.pth"
    work.mkdir()
    torch.save({}, elsewhere)
    (work / "last_checkpoint").write_text(outside(work, elsewhere)[how])
    with pytest.raises(Fault, match=r"expected a whole checkpoint inside of .* it is not opened") as raised:
        pointer.target(work)
    assert raised.value.reason == "weights-corrupt"
    assert f"delete {work / 'last_checkpoint'} to train from the start" in str(raised.value)
    assert str(raised.value).isprintable()
    said = pointer.mend(work)
    assert ("outside of the job's folder: ignored" in said) == (how not in ("empty", "folder"))
    assert not (work / "last_checkpoint").exists()
    assert pointer.target(work) is None


def test_a_job_whose_pointer_leaves_its_folder_opens_nothing(
    weights: Path,  # noqa: F811
    data: Path,  # noqa: F811
    tmp_path: Path,
    trained: Path,
) -> None:
    asked, good = planted(weights, data, tmp_path, trained)
    elsewhere, sentinel = tmp_path / "elsewhere.pth", tmp_path / "sentinel"
    reduced(elsewhere, sentinel, good)
    (asked.work / "last_checkpoint").write_text(str(elsewhere))
    assert worker.main(asked.work / "job.json") == 1
    told = json.loads((asked.work / "fault.json").read_text())
    assert told["reason"] == "weights-corrupt"
    assert "it is not opened" in told["message"]
    launch.fresh(asked)
    assert "ignored, the training starts anew" in (asked.work.parent / "mm.log").read_text()
    assert not sentinel.exists()


@pytest.mark.case(6)
def test_a_state_with_a_flipped_bit_is_refused(tmp_path: Path, trained: Path) -> None:
    from benchmarks.mm.worker.resume import load_from_job

    path = Path(shutil.copy(trained / "iter_4.pth", tmp_path))
    flipped(path)
    with pytest.raises(Fault, match="Bad CRC-32") as raised:
        load_from_job(str(path), "cpu")
    assert raised.value.reason == "weights-corrupt"


def test_a_moved_folder_goes_on_from_its_own_state(tmp_path: Path, trained: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(trained, work)
    said = pointer.mend(work)  # last_checkpoint still names the folder that was copied
    assert said.endswith("ignored, the training goes on from iter_4.pth")
    assert pointer.target(work) == work / "iter_4.pth"
    assert pointer.mend(work) == ""
