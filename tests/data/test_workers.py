"""Workers: as many as there are cores, bounded in what they hold, kept between epochs, and exact all the
same.
"""

from __future__ import annotations

import multiprocessing
import os
import weakref
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.base import cores as known
from pretrain.data import dataset, loader, workers
from pretrain.data.loader import Batch, Images, Loader
from pretrain.data.split import Split
from pretrain.data.view import Input, View
from tests import scenes

GIVEN, CPU = Input(size=8, resize=8), torch.device("cpu")
VIEWS = [View(size=8, count=2, jitter=(0.4, 0.4, 0.4, 0.1)), View(size=6, blur=0.5)]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return dataset.find("imagenet").split(scenes.folder(tmp_path / "images", per_class=8), "train")


def here(split: Split) -> Loader:
    """What every number of workers must equal."""
    return Loader(Images(split, VIEWS, 0), GIVEN, CPU, workers=0)


def same(found: list[Batch], expected: list[Batch]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a.index, b.index) and all(map(torch.equal, a.views, b.views))
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("cores", "ranks", "expected"), [(16, "1", 15), (16, "4", 3), (8, "8", 1), (400, "2", 64)]
)
def test_workers_are_this_process_share_of_the_cores_it_may_use(
    cores: int, ranks: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(known, "quota", lambda: None)
    monkeypatch.delenv(known.VARIABLE, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert workers.count() == expected


@pytest.mark.parametrize("image_bytes", [192, 3 * 224**2, 3 * (2 * 224**2 + 6 * 96**2), 3 * 4000**2])
@pytest.mark.parametrize("number", [1, 8, 64])
def test_bytes_under_way_are_bounded(image_bytes: int, number: int) -> None:
    unit = workers.images_per_unit(image_bytes) * image_bytes
    assert unit <= max(workers.UNIT_BYTES, image_bytes)
    ahead = workers.units_ahead(number, image_bytes)
    assert ahead == 1 or ahead * number * unit <= workers.BYTES_UNDER_WAY


def test_little_shared_memory_makes_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has 64 MB of it unless told otherwise."""
    usual = workers.units_ahead(4, 3 * 224**2)
    free: Any = type("Usage", (), {"free": 64 << 20})
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(os.path, "isdir", lambda _: True)
    assert workers.units_ahead(4, 3 * 224**2) == 1 < usual


def test_the_same_processes_serve_every_epoch(split: Split) -> None:
    kept, fresh, order = Loader(Images(split, VIEWS, 0), GIVEN, CPU, workers=2), here(split), np.arange(20)
    before, seen = set(multiprocessing.active_children()), []
    for epoch in range(3):
        assert same(list(kept.batches(order, 7, epoch)), list(fresh.batches(order, 7, epoch)))
        seen.append({child.pid for child in set(multiprocessing.active_children()) - before})
    assert len(seen[0]) == 2
    assert seen[0] == seen[1] == seen[2]


def test_an_epoch_that_was_left_early_does_not_reach_into_the_next(split: Split) -> None:
    kept, order = Loader(Images(split, VIEWS, 0), GIVEN, CPU, workers=2), np.arange(24)[::-1].copy()
    assert same(list(islice(kept.batches(order, 3, 0), 2)), list(islice(here(split).batches(order, 3, 0), 2)))
    assert same(list(kept.batches(order, 5, 1)), list(here(split).batches(order, 5, 1)))


def test_two_epochs_at_the_same_time_do_not_mix(split: Split) -> None:
    kept, order = Loader(Images(split, VIEWS, 0), GIVEN, CPU, workers=1), np.arange(12)
    one, two = zip(*zip(kept.batches(order, 4, 0), kept.batches(order, 4, 1), strict=True), strict=True)
    assert same(list(one), list(here(split).batches(order, 4, 0)))
    assert same(list(two), list(here(split).batches(order, 4, 1)))


def test_a_batch_is_the_same_from_several_units(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "UNIT", 2)
    order = np.array([3, 5, 3, 7, 1, 0, 2, 3, 4])
    there = Loader(Images(split, VIEWS, 0), GIVEN, CPU, workers=2)
    assert same(list(there.batches(order, 5, 0)), list(here(split).batches(order, 5, 0)))


def test_decoded_images_are_held_one_at_a_time(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen photographs of 50 megapixels would be 3 GB."""
    made, most, read = list[weakref.ref[Image.Image]](), [0], loader.read

    def counted(split: Split, i: int) -> Image.Image:
        image = read(split, i)
        made.append(weakref.ref(image))
        most[0] = max(most[0], sum(ref() is not None for ref in made))
        return image

    monkeypatch.setattr(loader, "read", counted)
    images = Images(split, VIEWS, 0)
    images.cached = False
    images.made([(0, i, 0) for i in range(16)])
    assert most[0] <= 2, "the one that is cropped, and the one before it until it is replaced"


def test_the_views_of_a_unit_share_one_piece_of_memory(split: Split) -> None:
    """Every piece that a worker hands over is an open file, of which a process may have a thousand."""
    _, pixels = Images(split, VIEWS, 0).made([(0, 0, 0), (0, 1, 0)])
    assert [tuple(part.shape) for part in pixels] == [(2, 8, 8, 3), (2, 8, 8, 3), (2, 6, 6, 3)]
    assert len({part.untyped_storage().data_ptr() for part in pixels}) == 1
