"""Sixteen images of a detector on one GPU: maps are computed again, numbers stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.mm.bridge.job import Job
from benchmarks.protocols.detection.protocol import COCO17, VOC0712
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    checkpoint.save(path, build("resnet10_narrow", Input(size=32, resize=32), seed=0), "resnet10_narrow", {})
    return path


@pytest.mark.parametrize("protocol", [VOC0712, COCO17])
@pytest.mark.parametrize("gpus", [0, 1, 2, 4, 8])
def test_many_images_on_a_gpu_and_they_alone_are_computed_again(
    weights: Path, tmp_path: Path, protocol: Any, gpus: int
) -> None:
    from benchmarks.mm.worker import ops

    ops.install()
    from benchmarks.mm.worker import detection
    from benchmarks.mm.worker.data import Data

    truth = tmp_path / "truth.json"
    truth.write_text('{"images": [], "annotations": [], "categories": []}')
    place = {"weights": weights, "root": tmp_path, "work": tmp_path}
    job = Job(**place, sha256="", seed=0, gpus=gpus, settings=protocol.settings)
    model = detection.build(
        job, protocol.settings, Data(("0",), [{"type": "T"}], {"ann_file": str(truth)}, 0, {})
    ).model
    parts = [model.backbone, *([model.roi_head.shared_head] if protocol is VOC0712 else [])]
    assert [part.get("recompute", False) for part in parts] == [gpus in (1, 2)] * len(parts)


def trained(make: Callable[[bool], nn.Module], x: Tensor, recompute: bool) -> tuple[list[Tensor], int]:
    """Outputs, gradients and buffers of one training step, and the numbers that autograd kept for it."""
    sizes = list[int]()

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    net = make(recompute).train()
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = net(x)
        maps = [out] if isinstance(out, Tensor) else list(out)
        kept = sum(sizes)
        sum(one.square().sum() for one in maps).backward()  # type: ignore[union-attr]
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return [*(one.detach() for one in maps), *gradients, *net.buffers()], kept


@pytest.mark.parametrize("part", ["c4", "pyramid", "last stage"])
def test_computed_again_means_the_same_to_the_bit(weights: Path, part: str) -> None:
    """Outputs, gradients, running statistics; the norm behind res5, whose parameters are new, included."""
    from benchmarks.mm.worker.backbone import LastStage, ZooBackbone

    def make(recompute: bool) -> nn.Module:
        if part == "last stage":
            made: nn.Module = LastStage(str(weights), recompute=recompute)
        else:
            made = ZooBackbone(str(weights), c4=part == "c4", recompute=recompute)
        return made

    channels = checkpoint.load(weights).dims[3] if part == "last stage" else 3  # type: ignore[index]
    x = torch.randn(4, int(channels), 32, 32, generator=torch.Generator().manual_seed(0))
    (ours, less), (theirs, more) = (trained(make, x, recompute) for recompute in (True, False))
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert less < 0.6 * more
