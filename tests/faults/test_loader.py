"""Workers that are killed and sets that are larger than they look: said by name, bounded in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.data import dataset, loader
from pretrain.data.split import Split
from pretrain.data.view import Input, View
from tests import scenes

VIEW, GIVEN, CPU = View(size=8), Input(size=8, resize=8), torch.device("cpu")


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return dataset.find("imagenet").split(scenes.folder(tmp_path / "images", per_class=40), "train")


# torch raises it where the signal comes in: once more, perhaps, while what the first one ended is taken down.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.case(15)
def test_a_killed_worker_is_a_fault_that_names_what_was_read(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "CACHE_BYTES", 0)
    opened = loader.open_loader(split, [VIEW], GIVEN, 0, CPU)
    assert opened.workers > 0
    try:
        for n, _ in enumerate(opened.batches(np.arange(len(split)), 2, epoch=0)):
            for child in multiprocessing.active_children() if n == 0 else ():
                os.kill(child.pid or 0, signal.SIGKILL)
        time.sleep(30)  # the word of it may come late, on a busy machine
    except (RuntimeError, ConnectionError) as error:  # raised in the middle of whatever runs
        fault = loader.worker_killed(error)
    assert fault is not None
    assert fault.reason == "worker-crash"
    assert "/class" in str(fault), "an image is named"
    assert "/dev/shm" in str(fault)
    for broken in (ConnectionResetError(), EOFError()):  # it is gone in the middle of a batch
        fault = loader.worker_killed(broken)
        assert fault is not None
        assert "a DataLoader worker is gone" in str(fault)
    assert loader.worker_killed(RuntimeError("something else")) is None


@pytest.mark.case(18)
def test_memory_is_bounded_by_what_is_held_not_by_the_first_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampled headers are of small images, most others are large."""
    files = []
    for i in range(40):
        side = 4 if i % 2 == 0 else 64
        Image.new("RGB", (side, side)).save(tmp_path / f"{i:02d}.png")
        files.append(f"{i:02d}.png")
    split = Split("mixed", tmp_path, tuple(files), None, ())
    monkeypatch.setattr(loader, "SAMPLE", 2)
    monkeypatch.setattr(loader, "size", lambda split, i: (4, 4))
    monkeypatch.setattr(loader, "CACHE_BYTES", 5 * 64 * 64 * 3)
    opened = loader.open_loader(split, [VIEW], GIVEN, 0, CPU)
    assert opened.images.cached
    seen = sum(len(batch.index) for batch in opened.batches(np.arange(40), 8, epoch=0))
    assert seen == 40
    assert opened.images.held <= loader.CACHE_BYTES
    again = [batch.views[0] for batch in opened.batches(np.arange(40), 8, epoch=0)]
    fresh = loader.open_loader(split, [VIEW], GIVEN, 0, CPU)
    assert all(
        map(torch.equal, again, (batch.views[0] for batch in fresh.batches(np.arange(40), 8, epoch=0)))
    )
