"""ODC's run as a whole: statistics of the untrained network, steps of an epoch, batch norms on several
processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.data.split import Split
from pretrain.methods.odc.method import ODC
from pretrain.nets.batch_norm import share_statistics
from pretrain.train import loop
from pretrain.train.method import TrainingData
from tests import gloo, scenes
from tests.train import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = scenes.folder(tmp_path_factory.mktemp("images"))
    return dataset.find("imagenet").split(root, "train")


def repeated(images: Split, n: int) -> Split:
    """n images: the same 48 files again and again."""
    return Split("repeated", images.root, (images.files * n)[:n], None, ())


def made(images: Split, n: int, **changes: Any) -> tuple[ODC, TrainingData]:
    torch.manual_seed(0)
    recipe = changed(tiny("odc"), **changes)
    return ODC(recipe, n, 0), TrainingData(repeated(images, n), recipe, 0, CPU, None)


def _calibrated_by(images: Split, n: int) -> list[int]:
    """Images of each batch that the statistics of the untrained network are taken from."""
    built, data = made(images, n, init_bn="calibrated")
    sizes: list[int] = []

    def count(net: nn.Module, given: Any) -> None:
        if net.training:
            sizes.append(len(given[0][0]))

    built.net.register_forward_pre_hook(count)
    built.start(data)
    return sizes


@pytest.mark.parametrize(
    ("n", "sizes"), [(48, [48]), (256, [256]), (257, [256]), (511, [256]), (512, [256, 256])]
)
def test_statistics_are_taken_from_whole_batches(images: Split, n: int, sizes: list[int]) -> None:
    """A last batch of one image has no variance: batch norm would refuse it."""
    assert _calibrated_by(images, n) == sizes


def test_statistics_are_taken_from_as_many_batches_on_every_process(images: Split, tmp_path: Path) -> None:
    """They share those of one process."""
    assert gloo.run(_calibrated_by, 2, tmp_path, images, 513) == [[128, 128], [128, 128]]


def _first_memory(images: Split, n: int, group: int) -> Tensor:
    built, data = made(images, n, init_bn="calibrated", bn_group=group, neck_bn_group=group)
    share_statistics(built.net, group, 16, "cpu")
    built.start(data)
    return built.memory.F


@pytest.mark.parametrize("group", [0, 4, 8])
def test_the_first_clustering_does_not_depend_on_the_number_of_processes(
    images: Split, tmp_path: Path, group: int
) -> None:
    alone = _first_memory(images, 300, group)
    for found in gloo.run(_first_memory, 2, tmp_path, images, 300, group):
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


def _norms(images: Split, group: int) -> tuple[set[str], set[str]]:
    built, _ = made(images, 48, neck_bn_group=group)
    shared: Any = share_statistics(built.net, 0, 16, "cpu")
    parts = (shared.backbone, shared.neck)
    backbone, neck = (
        {type(m).__name__ for m in part.modules() if "BatchNorm" in type(m).__name__} for part in parts
    )
    return backbone, neck


@pytest.mark.parametrize(
    ("group", "kind"), [(8, "BatchNorm1dOf"), (4, "SplitBatchNorm"), (0, "ProcessBatchNorm")]
)
def test_the_neck_has_a_group_of_its_own(images: Split, tmp_path: Path, group: int, kind: str) -> None:
    for found in gloo.run(_norms, 2, tmp_path, images, group):
        assert found == ({"ProcessBatchNorm"}, {kind})


def test_the_last_batch_is_filled_up_from_the_start_of_the_order(images: Split) -> None:
    order = np.random.default_rng(0).permutation(50)
    for tail, expected in (("drop", order[:48]), ("pad", np.concatenate([order, order[:14]]))):
        built, data = made(images, 50, tail=tail)
        ids = [batch.index for batch in data.batches(order, built.recipe.views, 0)]
        assert torch.cat(ids).tolist() == expected.tolist()
        assert {len(part) for part in ids} == {16}
        left = [batch.index for batch in data.batches(order, built.recipe.views, 0, first=2)]
        assert torch.cat(left).tolist() == expected[32:].tolist()


def test_a_run_with_a_filled_tail_takes_its_steps(images: Split, tmp_path: Path) -> None:
    """50 images in batches of 16, three epochs; invariants are checked after every step."""
    recipe = changed(tiny("odc"), tail="pad", neck_bn_group=8)
    loop.fit("odc", recipe, repeated(images, 50), tmp_path, 0, CPU, lambda *_: None)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["iteration"] == 12
