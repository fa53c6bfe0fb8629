"""Where an interrupted training goes on: mm's checkpoints, as plain values of the job's own folder.

mmengine would open whatever path or address `last_checkpoint` holds, unpickle log buffers, execute the
configuration that a checkpoint carries as text, and delete files by names that it finds in there. Here a
state comes from a whole file inside of the job's folder, is unpickled by torch's safe loader without any
class of ours or mm's, and is cut down to what the trainer needs when it is written and when it is read.
"""

from __future__ import annotations

import random
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor

from benchmarks.mm.bridge import pointer
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.nets.checkpoint import strictly

INFO = "zoo_matched"  # how many tensors of the given weights the model started from
KEPT = "keep_ckpt_ids"  # numbers of the checkpoints on disk: mmengine deletes the oldest by them
RANDOM = "random"  # where the random numbers of one process stand
PARTS = ("state_dict", "optimizer", "param_schedulers")
SCALARS = (str, int, float, bool, type(None), Tensor)
CONTAINERS = (dict, OrderedDict, Counter, list, tuple)
DEPTH = 12  # containers within containers; mm's own states have four
LAST = 10**9  # no training of ours counts as many iterations


class JobRunner(Runner):  # type: ignore[misc]
    """mmengine's runner, which resumes from the job's folder alone."""

    _has_loaded: bool

    def load_or_resume(self) -> None:
        """Resumes from the newest state, if there is one, before the first step.

        Raises:
            Fault: weights-corrupt, with what to delete, on a state of another folder, one that is damaged or
                holds more than tensors and plain values, or one that does not fit the model.
        """
        if self._has_loaded:
            return
        CheckpointLoader.register_scheme(prefixes="", loader=load_from_job, force=True)
        path = pointer.target(Path(self.work_dir))
        if path is None:
            return
        try:
            self.resume(str(path))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise _refused(path, f"it does not fit this training ({error!r:.200})") from error
        self._has_loaded = True


def load_from_job(filename: str, map_location: Any) -> dict[str, Any]:
    """A state that this project saved, for mmengine's table of loaders. Raises Fault (weights-corrupt)."""
    path = Path(filename)
    try:
        _stored(path)
        files.whole(path)
        state = torch.load(path, map_location=map_location, weights_only=True)
    except (torch.OutOfMemoryError, MemoryError, Fault):
        raise
    except Exception as error:  # of any kind: the bytes of a damaged or hostile pickle decide which
        # Before this word torch tells how to trust the file all the same.
        said = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        raise _refused(path, f"it holds what is no state of a training ({said:.200})") from error
    return needed(state, path)


def _stored(path: Path) -> None:
    """Raises Fault unless the file is as torch.save writes it: a zip archive whose members are not
    compressed, so that a small file cannot become a large one.
    """
    with zipfile.ZipFile(path) as archive:
        packed = [one.filename for one in archive.infolist() if one.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise _refused(path, f"its member {packed[0]!r:.80} is compressed, which torch.save never does")


def needed(state: Any, path: Path) -> dict[str, Any]:
    """Of a training's state what resuming needs, as mmengine lays it out: neither configuration nor log.

    Raises:
        Fault: weights-corrupt, where a part is missing or is no tensor, number, text or container of those.
    """
    if not isinstance(state, dict):
        raise _refused(path, f"it holds a {type(state).__name__}, expected a training's state")
    if missing := [name for name in ("meta", "message_hub", *PARTS) if name not in state]:
        raise _refused(path, f"it has no {', '.join(missing)}")
    for name in PARTS:
        _plain(state[name], name, path)
    meta = {
        name: _count(_inside(state, "meta", path).get(name), f"meta.{name}", path)
        for name in ("epoch", "iter")
    }
    given = {RANDOM: state[RANDOM]} if RANDOM in state else {}  # an older state has none
    _plain(given, RANDOM, path)
    return {
        "meta": meta,
        "message_hub": _hub(_inside(state, "message_hub", path), path),
        **{name: state[name] for name in PARTS},
        **given,
    }


def random_state() -> dict[str, Any]:
    """Where the random numbers of this process stand, as plain values."""
    pipelines: Any = np.random.get_state()  # what mm's pipelines draw from
    kind, words, *rest = pipelines
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    drawn = {"numpy": [kind, torch.from_numpy(words.astype(np.int64)), *rest], "python": random.getstate()}
    return {"torch": torch.get_rng_state(), **drawn, **cuda}


def set_random_state(saved: Mapping[str, Any], path: Path) -> None:
    """Goes on with the random numbers of `random_state`. Raises Fault (weights-corrupt)."""
    try:
        kind, words, *rest = saved["numpy"]
        np.random.set_state((kind, words.cpu().numpy().astype(np.uint32), *rest))
        random.setstate(saved["python"])
        torch.set_rng_state(saved["torch"].cpu())
        if torch.cuda.is_available() and "cuda" in saved:
            torch.cuda.set_rng_state(saved["cuda"].cpu())
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _refused(path, f"its random numbers are none ({error!r:.200})") from error


class Advanced:
    """The batches of a training that goes on: `trained` of them are passed by, then `restore` is called."""

    def __init__(self, batches: Iterator[Any], trained: int, restore: Callable[[], None]) -> None:
        self.batches, self.left, self.restore = batches, trained, restore

    def __next__(self) -> Any:
        batch = next(self.batches)
        self.left -= 1
        if self.left == 0:
            self.restore()
        return batch


def _hub(hub: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """mmengine's notes with our count of tensors and the numbers of the kept checkpoints, nothing else."""
    told = _inside(hub, "runtime_info", path)
    info: dict[str, Any] = {}
    if INFO in told:
        info[INFO] = _count(told[INFO], INFO, path)
    if KEPT in told:
        kept = told[KEPT] if isinstance(told[KEPT], list) else [told[KEPT]]
        info[KEPT] = [_count(number, KEPT, path) for number in kept]
    return {"log_scalars": {}, "runtime_info": info, "resumed_keys": dict.fromkeys(info, True)}


def _inside(body: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    part = body.get(name)
    if not isinstance(part, Mapping):
        raise _refused(path, f"its {name} is a {type(part).__name__}")
    return part


def _count(value: Any, name: str, path: Path) -> int:
    if type(value) is not int or not 0 <= value <= LAST:
        raise _refused(path, f"its {name} is {value!r:.40}, expected a number from 0 to {LAST}")
    return value


def _plain(value: Any, at: str, path: Path, depth: int = 0) -> None:
    if type(value) in SCALARS:
        return
    if type(value) not in CONTAINERS or depth > DEPTH:
        raise _refused(path, f"its {at:.80} holds a {type(value).__name__} at depth {depth}")
    for one in value.items() if isinstance(value, Mapping) else enumerate(value):
        if type(one[0]) not in (str, int):
            raise _refused(path, f"its {at:.80} has a key that is a {type(one[0]).__name__}")
        _plain(one[1], f"{at}.{one[0]}", path, depth + 1)


def fitting(model: torch.nn.Module, state: Mapping[str, Any], work: Path) -> None:
    """Raises Fault (weights-mismatch) unless a state holds every tensor of the model; mmengine would go on
    without.
    """
    where = f"the state below {work} (delete that folder to train from the start)"
    strictly(model.state_dict(), state["state_dict"], where)


def _refused(path: Path, why: str) -> Fault:
    return Fault(
        "weights-corrupt",
        f"{path} is not a state that this job saved: {why}; nothing in it was run; delete {path.parent} to train from "
        "the start",
    )
