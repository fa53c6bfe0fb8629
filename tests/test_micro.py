"""A batch in parts, and stages computed twice, give the outputs and gradients of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data import dataset
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.data.view import Input
from pretrain.methods.swav.method import Prototypes
from pretrain.nets.archs import build
from pretrain.nets.batch_norm import share_statistics
from pretrain.nets.recompute import untracked
from pretrain.nets.teacher import Teacher
from pretrain.train import loop, state
from pretrain.train.recipe import Recipe
from tests import gloo, scenes
from tests.train import tiny

CPU = torch.device("cpu")
METHODS = [
    "byol", "coke", "deepcluster", "deepclusterv2", "dino", "invariance_propagation", "mocov2", "odc",
    "simclr", "supervised", "swav",
]  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = scenes.folder(tmp_path_factory.mktemp("images"), per_class=17)
    return dataset.find("imagenet").split(root, "train")


def recipe(name: str, **changes: Any) -> Any:
    """Tiny, with groups of 4 of 16 images and without dropout."""
    made = tiny(name)
    own = {"neck_bn_group": 4, "dropout": 0.0, "queue_from": 0, "queue": 16, "freeze": 0, "freeze_epochs": 0}
    changes.setdefault("input", changed(made.input, sobel=False))  # which is fp32
    return changed(made, bn_group=4, **{k: v for k, v in own.items() if hasattr(made, k)}, **changes)


def stepped(
    name: str, given: Recipe, split: Split, out: Path, steps: int = 2, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Everything that a few steps have changed, and the gradients of the last.

    In double precision up to the loss: groups of four images turn rounding into differences of percents.
    """
    run = state.begin(name, given, split, out, 0, CPU, lambda *_: None)
    found: dict[str, Tensor] = {}
    batches = next(run.epochs())
    if dtype is torch.float64:
        run.method.net.double()
        for teacher in (module for module in run.method.modules() if isinstance(module, Teacher)):
            teacher.double()
        for prototypes in (module for module in run.method.net.modules() if isinstance(module, Prototypes)):
            prototypes.float()
    for single, _ in zip(batches, range(steps), strict=False):
        batch = Batch(single.index, [view.to(dtype) for view in single.views])
        found["loss"] = loop.step(run, batch, run.at, 0.01).value.detach()
        run.progress.iteration += 1
    found |= run.method.memories() | dict(run.method.net.named_buffers())
    for key, parameter in run.method.net.named_parameters():
        assert parameter.grad is not None, key
        found |= {key: parameter.detach(), f"{key}.grad": parameter.grad}
    return found


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[key], rtol=1e-5, atol=1e-5, msg=lambda said, key=key: f"{key}: {said}"
        )


@pytest.mark.parametrize("micro", [4, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", METHODS)
def test_parts_equal_the_whole(name: str, micro: int, images: Split, tmp_path: Path) -> None:
    """Weights, gradients, running statistics and memories of two steps."""
    whole = stepped(name, recipe(name), images, tmp_path / "whole")
    parts = stepped(name, recipe(name, micro_batch=micro), images, tmp_path / "parts")
    assert_close(parts, whole)


def _stepped(split: Split, out: Path, micro: int) -> dict[str, Tensor]:
    return stepped("swav", recipe("swav", micro_batch=micro), split, out, 1, torch.float32)


def test_parts_of_two_processes_equal_the_whole_of_one(images: Split, tmp_path: Path) -> None:
    """Gradients are averaged over processes once a step, in the last part."""
    alone = stepped("swav", recipe("swav"), images, tmp_path / "alone", 1, torch.float32)
    first, second = gloo.run(_stepped, 2, tmp_path, images, tmp_path / "out", 4)
    for rank in (first, second):
        weights = [key for key in alone if key.endswith("grad")]
        assert_close({key: rank[key] for key in weights}, {key: alone[key] for key in weights})


def test_the_gradient_of_dropout_is_that_of_its_own_masks(images: Split, tmp_path: Path) -> None:
    """A part sees the same mask in both passes: the head's gradient is that of the features it was given."""
    given = changed(recipe("odc", micro_batch=8), dropout=0.5)
    run = state.begin("odc", given, images, tmp_path, 0, CPU, lambda *_: None)
    batch = next(next(run.epochs()))
    net = run.net
    kept = torch.get_rng_state()
    z, logits = net(batch.views)
    (logits.float().square().sum()).backward()
    net.backward()
    after = torch.get_rng_state()
    torch.set_rng_state(kept)
    seen = torch.cat(
        [run.method.net([batch.views[0][i : i + 8]])[0] for i in (0, 8)]
    )  # groups of 4 differ below
    assert torch.equal(torch.get_rng_state(), after), "the second pass draws nothing of its own"
    assert seen.shape == z.shape
    expected = (2 * logits.detach()).T @ z.detach()
    found = run.method.net.head.weight.grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bn_group": 0}, "micro_batch 8 is not a whole number of groups of 16 images that share batch-norm"),
        ({"bn_group": 16}, "set bn_group and neck_bn_group to a divisor of it"),
        ({"neck_bn_group": 0}, "groups of 16 images"),
        ({"micro_batch": 6}, "micro_batch 6 does not divide the 16 images of a process"),
        ({"bn_group": 8, "micro_batch": 4}, "groups of 8 images"),
    ],
)
def test_what_cannot_be_exact_is_refused(
    changes: dict[str, int], said: str, images: Split, tmp_path: Path
) -> None:
    given = changed(recipe("odc", micro_batch=8), **changes)
    with pytest.raises(Fault, match=said) as raised:
        state.begin("odc", given, images, tmp_path, 0, CPU, lambda *_: None)
    assert raised.value.reason == "bad-config"


def test_a_part_that_is_the_whole_changes_nothing(images: Split, tmp_path: Path) -> None:
    given = changed(tiny("odc"), micro_batch=16)
    run = state.begin("odc", given, images, tmp_path, 0, CPU, lambda *_: None)
    assert run.net is run.method.net


def test_parts_and_recomputing_are_circumstances(images: Split, tmp_path: Path) -> None:
    """A run may go on with others, and keeps its folder."""
    loop.fit("odc", recipe("odc"), images, tmp_path, 0, CPU, lambda *_: None)
    loop.fit("odc", recipe("odc", micro_batch=4, recompute=True), images, tmp_path, 0, CPU, lambda *_: None)


@pytest.mark.parametrize("group", [0, 4])
def test_recomputed_stages_have_the_same_gradients(group: int) -> None:
    """To the bit, and running statistics move once."""

    def made(recompute: bool) -> list[Tensor]:
        net = build("resnet18_small", Input(size=16, resize=16), 0)
        net.recompute = recompute
        net = share_statistics(net, group, 8, "cpu").train()
        x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        out = net(x)
        out.square().sum().backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        return [out.detach(), *gradients, *net.buffers()]

    for ours, theirs in zip(made(True), made(False), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_untracked_norms_of_every_kind_remember_nothing(kind: type[nn.BatchNorm2d]) -> None:
    """Without a group the synchronised one runs its own checks, then torch's kernel for one process."""
    norm, maps = kind(3).train(), torch.randn(4, 3, 2, 2)
    before = {name: x.clone() for name, x in norm.state_dict().items()}
    with untracked(norm):
        alone = norm(maps)
    assert all(torch.equal(x, before[name]) for name, x in norm.state_dict().items())
    assert torch.equal(norm(maps), alone)
    assert norm.num_batches_tracked == 1


def test_recomputing_keeps_no_map_inside_a_stage() -> None:
    """Bytes that autograd keeps for the backward pass."""

    def kept(recompute: bool) -> int:
        net = build("resnet18_small", Input(size=16, resize=16), 0)
        net.recompute = recompute
        sizes = list[int]()

        def pack(x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            net.train()(torch.randn(8, 3, 16, 16))
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


def test_networks_without_such_stages_refuse_to_recompute(images: Split, tmp_path: Path) -> None:
    given = changed(tiny("supervised"), arch="alexnet", recompute=True)
    with pytest.raises(Fault, match="recompute is of the stages of a ResNet, not of alexnet"):
        state.begin("supervised", given, images, tmp_path, 0, CPU, lambda *_: None)
