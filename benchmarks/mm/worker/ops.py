"""The three compiled operators that Faster R-CNN, Mask R-CNN and FCN need, supplied from torchvision.

mmcv-lite ships the Python half of `mmcv.ops` but not the compiled module `mmcv._ext` behind it, and nobody
publishes wheels of that module for current torch. `install()` puts a module of that name in place before
`mmcv.ops` is imported. A compiled mmcv, where there is one, is left alone and used.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
import torchvision  # noqa: F401  registers the operators under torch.ops.torchvision
from torch import Tensor

NAME = "mmcv._ext"
AVERAGE = 1  # mmcv's code for pool_mode="avg"; 0 is "max"


class MissingOperatorError(RuntimeError):
    """An operator of mmcv that torchvision cannot stand in for."""

    def __init__(self, operator: str) -> None:
        super().__init__(
            f"{NAME}.{operator} needs compiled mmcv, and this installation has mmcv-lite: build mmcv 2.1.0 from source "
            "with MMCV_WITH_OPS=1 set and -std=c++20 as the compiler's last flag, then install it in mmcv-lite's place"
        )


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices, int64 (K,), of the boxes that survive greedy suppression, best score first.

    boxes: (N, 4) as x1, y1, x2, y2 in pixels; scores: (N,). A box goes when its IoU with a better one is
    above `iou_threshold`. With `offset` 1 a box is x2 - x1 + 1 wide, which is the same as moving x2 and y2
    out by one.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    kept: Tensor = torch.ops.torchvision.nms(boxes, scores, iou_threshold)
    return kept


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the average-pooled RoI features, (K, C, aligned_height, aligned_width), into `output`.

    input: (N, C, H, W); rois: (K, 5) as image index, x1, y1, x2, y2 in pixels of the image; `spatial_scale`
    takes pixels to cells of `input`; `sampling_ratio` 0 means as many samples per bin as it covers cells.

    Raises:
        MissingOperatorError: maximum pooling was asked for; torchvision has averages only.
    """
    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(
        torch.ops.torchvision.roi_align(input, rois.to(input), spatial_scale, *size, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the loss by the feature map, (N, C, H, W), into `grad_input`; see
    `roi_align_forward`.

    Raises:
        MissingOperatorError: maximum pooling was asked for; torchvision has averages only.
    """
    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    # In no mode is this exact from run to run on CUDA: several bins add to one cell with atomics.
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois.to(grad_output),
            spatial_scale,
            *size,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _only_average(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise MissingOperatorError("roi_align_forward with pool_mode='max'")


class _Operators(ModuleType):
    """The stand-in module: three operators, and for every other name a function that says what is missing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise MissingOperatorError(name)

        return missing


class _OperatorsLoader(Loader):
    """Makes the stand-in; mmengine asks for the module's spec
    and takes a missing loader for a missing module.
    """

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Operators(spec.name, "mmcv's compiled operators, supplied from torchvision.")

    def exec_module(self, module: ModuleType) -> None:
        for operator in (nms, roi_align_forward, roi_align_backward):
            setattr(module, operator.__name__, operator)


def install() -> str:
    """Return where mmcv's operators come from: "compiled", or "torchvision" after putting the stand-in in
    place.

    Must run before `mmcv.ops` is imported.
    """
    if isinstance(sys.modules.get(NAME), _Operators):
        return "torchvision"
    if importlib.util.find_spec(NAME) is not None:
        return "compiled"
    spec = ModuleSpec(NAME, _OperatorsLoader())
    module = importlib.util.module_from_spec(spec)
    _OperatorsLoader().exec_module(module)
    sys.modules[NAME] = module
    return "torchvision"
