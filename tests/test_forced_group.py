"""One process that is made a group runs the code of several, and gives the numbers of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as tdist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pretrain.base import dist
from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.data.split import Split
from pretrain.nets.batch_norm import ProcessBatchNorm, SyncBatchNormOfOne
from pretrain.train import loop, state
from tests import scenes
from tests.train import tiny

NAMES = ("deepcluster", "supervised", "swav")
CPU = torch.device("cpu")
COLLECTIVES = ("all_reduce", "all_gather_into_tensor", "broadcast", "all_gather_object", "barrier")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return dataset.find("imagenet").split(scenes.folder(tmp_path_factory.mktemp("images")), "train")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each collective is called; it is carried out as well."""
    counts = dict.fromkeys(COLLECTIVES, 0)

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **options)

        return call

    for name in COLLECTIVES:
        monkeypatch.setattr(tdist, name, counted(name, getattr(tdist, name)))
    return counts


@pytest.fixture
def alone_in_a_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(dist.FORCED, "1")
    dist.start("cpu")
    yield
    dist.stop()


def trained(name: str, split: Split, out: Path, steps: int = 2) -> tuple[state.Run, dict[str, Tensor]]:
    run = state.begin(name, changed(tiny(name), lr=0.01), split, out, 0, CPU, lambda *_: None)
    for batch, _ in zip(next(run.epochs()), range(steps), strict=False):
        loop.step(run, batch, run.at, 0.01)
        run.progress.iteration += 1
    state.compare_replicas(run)
    state.save(run)
    return run, {**run.method.memories(), **run.method.net.state_dict()}


@pytest.fixture(scope="module")
def plain(images: Split, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """Without a group."""
    assert not dist.grouped()
    return {name: trained(name, images, tmp_path_factory.mktemp(name))[1] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_group_of_one_gives_the_numbers_of_one_process(
    name: str,
    images: Split,
    plain: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    called: dict[str, int],
    alone_in_a_group: None,
) -> None:
    run, found = trained(name, images, tmp_path)
    assert dist.grouped()
    assert dist.world_size() == 1
    assert isinstance(run.net, DistributedDataParallel)
    assert any(isinstance(module, ProcessBatchNorm) for module in run.method.net.modules())
    for key, tensor in plain[name].items():
        torch.testing.assert_close(
            found[key], tensor, rtol=1e-6, atol=1e-6, msg=lambda said, k=key: f"{k}: {said}"
        )
    missing = [
        collective for collective in ("all_reduce", "all_gather_into_tensor") if not called[collective]
    ]
    assert not missing, called


def test_every_collective_is_carried_out(called: dict[str, int], alone_in_a_group: None) -> None:
    t = torch.arange(6.0).view(3, 2)
    assert torch.equal(dist.all_reduce_sum_(t.clone()), t)
    assert torch.equal(dist.all_gather_rows(t), t)
    assert torch.equal(dist.broadcast_(t), t)
    assert dist.agreed(True)
    dist.assert_replicated(t, "t")
    dist.barrier()
    assert all(called.values()), called


def test_without_the_switch_one_process_forms_no_group(called: dict[str, int]) -> None:
    with dist.group("cpu"):
        assert not dist.grouped()
        dist.barrier()
    assert not any(called.values())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_synchronised_batch_norm_of_one_has_the_statistics_of_one(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU only as evaluation uses it: its kernels are a GPU's."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch's synchronised batch norm needs a GPU")
    monkeypatch.setenv(dist.FORCED, "1")
    with dist.group(device) as where:
        norm = torch.nn.BatchNorm2d(3).to(where).train(device == "cuda")
        torch.nn.init.uniform_(norm.weight)
        world = tdist.group.WORLD
        assert world is not None
        ours = SyncBatchNormOfOne(norm, world).to(where).train(norm.training)
        ours.running_mean, ours.running_var = torch.zeros(3, device=where), torch.ones(3, device=where)
        x = torch.randn(4, 3, 2, 2, device=where)
        torch.testing.assert_close(ours(x), norm(x))
        torch.testing.assert_close(ours.running_var, norm.running_var)
