"""The zoo's own backbones as mm modules: whatever architecture a checkpoint has, it runs, Sobel front-end
included.

Weights come in through the zoo's strict loader only, so an mm model cannot start from anything else;
`matched` proves it tensor by tensor on the finished model.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS as DETECTION_MODELS
from mmengine.model import BaseModule
from mmseg.registry import MODELS as SEGMENTATION_MODELS
from torch import Tensor, nn

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from pretrain.nets.backbone import Backbone
from pretrain.nets.recompute import recomputed
from pretrain.nets.resnet import Bottleneck, ResNet

STAGES = 4
# Where a model of either package keeps the tensors: prefixes that stand for "" in the checkpoint.
PREFIXES = ("backbone.net.", "roi_head.shared_head.")


@DETECTION_MODELS.register_module()
@SEGMENTATION_MODELS.register_module()
class ZooBackbone(BaseModule):  # type: ignore[misc]
    """A checkpoint's backbone, nothing frozen, all batch norms synchronised, as maps of its stages.

    c4: the map of stage 3 alone, without stage 4; otherwise all four, finest first;
    output_stride: where not 0, later stages keep this many pixels per cell and dilate instead (see `dilate`);
    recompute: training keeps no maps within a stage: a third more time, the same gradients.
    """

    def __init__(
        self, weights: str, c4: bool = False, output_stride: int = 0, recompute: bool = False
    ) -> None:
        super().__init__()
        net = checkpoint.load(Path(weights))
        assert isinstance(net, ResNet)  # `shape` has refused the others
        net.recompute = recompute
        if output_stride:
            dilate(net, output_stride)
        if c4:
            net.add_module("layer4", nn.Identity())
        self.kept = slice(3, 4) if c4 else slice(1, 5)
        self.net = nn.SyncBatchNorm.convert_sync_batchnorm(net)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) -> the maps (B, C_i, H_i, W_i)."""
        return tuple(self.net.stages(images)[self.kept])


@DETECTION_MODELS.register_module()
class LastStage(BaseModule):  # type: ignore[misc]
    """Stage 4 of a checkpoint's backbone on every region, then one more batch norm with new parameters.

    The norm after the last block is MoCo's addition (He et al. 2020, appendix A.2): unlike supervised ones,
    self-supervised features reach the head at any scale. recompute: as of the backbone.
    """

    def __init__(self, weights: str, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        net = checkpoint.load(Path(weights))
        self.layer4 = nn.SyncBatchNorm.convert_sync_batchnorm(net.get_submodule("layer4"))
        self.norm = nn.SyncBatchNorm(net.dim)

    def forward(self, regions: Tensor) -> Tensor:
        """(R, C_3, h, w) -> (R, C_4, h / 2, w / 2)."""
        maps = recomputed(self.layer4, regions) if self.recompute else self.layer4(regions)
        out: Tensor = self.norm(maps)
        return out


def dilate(net: Backbone, output_stride: int) -> None:
    """Takes the strides out of the stages beyond `output_stride` pixels per cell and dilates their
    convolutions.

    Each stage that loses its stride doubles the dilation; its first block still uses the one before (the
    "contracted" dilation of DeepLab). A ResNet-50 at 8 has strides 1, 2, 1, 1 and dilations 1, 1, 2, 4.
    """
    pixels, dilation = strides(net)[0], 1
    for i in range(2, STAGES + 1):
        blocks = list(net.get_submodule(f"layer{i}").children())
        if pixels < output_stride:
            pixels *= 2
            continue
        for j, block in enumerate(blocks):
            _dilate_block(block, dilation if j == 0 else 2 * dilation)
        dilation *= 2


def _dilate_block(block: nn.Module, dilation: int) -> None:
    wide = block.get_submodule("conv2" if isinstance(block, Bottleneck) else "conv1")
    assert isinstance(wide, nn.Conv2d)
    wide.stride, wide.dilation, wide.padding = (1, 1), (dilation, dilation), (dilation, dilation)
    shortcut = getattr(block, "downsample", None)
    if shortcut is not None:
        shortcut[0].stride = (1, 1)


class Shape(NamedTuple):
    """Channels of the four stages, and pixels per cell as the
    checkpoint was trained (ResNet-50: 4, 8, 16, 32).
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]


def shape(weights: Path) -> Shape:
    """The shape of a checkpoint's backbone, without its weights.

    Raises:
        Fault: bad-config, for an architecture whose maps are not the four stages of a ResNet.
    """
    meta = checkpoint.describe(weights)
    with torch.device("meta"):
        net = build(meta.arch, meta.input, seed=0)
    if not isinstance(net, ResNet) or len(net.dims) != STAGES + 1:
        raise Fault(
            "bad-config",
            f"{weights} holds a {meta.arch}, and detection and segmentation need a ResNet with four stages; leave them "
            "out for this model",
        )
    return Shape(tuple(net.dims[1:]), strides(net))


def strides(net: Backbone) -> tuple[int, ...]:
    """Pixels per cell of the four stages."""
    first = 1 if net.small_stem else 4
    return tuple(first * 2**i for i in range(STAGES))


def matched(model: nn.Module, weights: Path) -> int:
    """The number of the checkpoint's tensors that the model holds unchanged, which is all of them.

    Raises:
        Fault: weights-mismatch, if a tensor is missing in the model or differs from the file's.
    """
    meta = checkpoint.describe(weights)
    expected = checkpoint.load(weights).state_dict()
    held: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        for prefix in PREFIXES:
            if name.startswith(prefix) and name.removeprefix(prefix) in expected:
                held[name.removeprefix(prefix)] = tensor.detach().cpu()
    checkpoint.strictly(expected, held, f"the model built from {weights}")
    changed = [name for name, tensor in expected.items() if not torch.equal(tensor, held[name])]
    if changed:
        raise Fault(
            "weights-mismatch",
            f"{len(changed)} of {meta.tensors} tensors differ from {weights}: {changed[:3]}",
        )
    return len(held)
