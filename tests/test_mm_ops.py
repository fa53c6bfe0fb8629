"""The operators supplied to mmcv equal torchvision's own, finite differences and boxes worked out by hand."""

from __future__ import annotations

import importlib
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.ops import RoIAlign
from torchvision.ops import nms as torchvision_nms

from benchmarks.mm.worker import ops

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]


@pytest.fixture(scope="module")
def mmcv_ops() -> object:
    ops.install()
    return importlib.import_module("mmcv.ops")


def literal_nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    order = sorted(range(len(scores)), key=lambda i: -float(scores[i]))
    kept: list[int] = []
    for i in order:
        if all(literal_iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def literal_iou(a: Tensor, b: Tensor, offset: int) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(float(width), 0.0) * max(float(height), 0.0)
    areas = [(float(x[2]) - float(x[0]) + offset) * (float(x[3]) - float(x[1]) + offset) for x in (a, b)]
    return shared / (sum(areas) - shared)


def literal_roi_align(
    image: Tensor, roi: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """The definition: average of bilinear samples on a regular grid in each bin. image (C, H, W), roi
    (4,).
    """
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (float(v) * scale - shift for v in roi)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    rows = ratio or math.ceil(height / size[0])
    columns = ratio or math.ceil(width / size[1])
    out = image.new_zeros(image.shape[0], *size)
    for i in range(size[0]):
        for j in range(size[1]):
            for r in range(rows):
                for c in range(columns):
                    y = y1 + (i + (r + 0.5) / rows) * height / size[0]
                    x = x1 + (j + (c + 0.5) / columns) * width / size[1]
                    out[:, i, j] += bilinear(image, y, x) / (rows * columns)
    return out


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    h, w = image.shape[1:]
    if y < -1 or y > h or x < -1 or x > w:
        return image.new_zeros(image.shape[0])
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    top, left = int(y), int(x)
    below, right = min(top + 1, h - 1), min(left + 1, w - 1)
    dy, dx = y - top, x - left
    upper = image[:, top, left] * (1 - dx) + image[:, top, right] * dx
    lower = image[:, below, left] * (1 - dx) + image[:, below, right] * dx
    return upper * (1 - dy) + lower * dy


def random_rois(generator: torch.Generator, count: int, images: int, extent: float) -> Tensor:
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * extent * 0.7
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * extent * 0.5
    index = torch.randint(images, (count, 1), generator=generator).double()
    return torch.cat([index, corner, corner + size], dim=1)


@pytest.mark.parametrize("device", DEVICES)
def test_nms_by_hand(mmcv_ops: object, device: str) -> None:
    # IoU of 0 and 1: 9x10 shared of 110 = 90/110 = 0.818; with offset 1: 10x11 of 132 = 110/132 = 0.833.
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30.0]], device=device)
    scores = torch.tensor([0.8, 0.9, 0.1], device=device)
    assert ops.nms(boxes, scores, 0.825, 0).tolist() == [1, 0, 2]
    assert ops.nms(boxes, scores, 0.825, 1).tolist() == [1, 2]
    assert ops.nms(boxes, scores, 0.81, 0).tolist() == [1, 2]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("device", DEVICES)
def test_nms_equals_its_definition(mmcv_ops: object, device: str, offset: int) -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = random_rois(generator, 60, 1, 40.0)[:, 1:].float()
    scores = torch.rand(60, generator=generator)
    for threshold in (0.1, 0.5, 0.9):
        expected = literal_nms(boxes, scores, threshold, offset)
        got, kept = mmcv_ops.nms(boxes.to(device), scores.to(device), threshold, offset)  # type: ignore[attr-defined]
        assert kept.tolist() == expected
        assert torch.equal(got[:, :4].cpu(), boxes[expected])
        if offset == 0:
            assert torchvision_nms(boxes, scores, threshold).tolist() == expected


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_equals_torchvision_and_its_definition(
    mmcv_ops: object, device: str, ratio: int, aligned: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(2, 3, 9, 11, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    rois = random_rois(generator, 7, 2, 18.0).to(device)
    ours = mmcv_ops.RoIAlign((3, 2), 0.5, ratio, "avg", aligned)  # type: ignore[attr-defined]
    theirs = RoIAlign((3, 2), 0.5, ratio, aligned)
    weight = torch.rand(7, 3, 3, 2, generator=generator, dtype=torch.float64).to(device)
    (gradient,) = torch.autograd.grad((ours(maps, rois) * weight).sum(), maps)
    (expected,) = torch.autograd.grad((theirs(maps, rois) * weight).sum(), maps)
    assert torch.equal(ours(maps, rois), theirs(maps, rois))
    torch.testing.assert_close(gradient, expected)
    for pooled, roi in zip(ours(maps, rois), rois, strict=True):
        literal = literal_roi_align(maps[int(roi[0])], roi[1:], (3, 2), 0.5, ratio, aligned)
        torch.testing.assert_close(pooled, literal)


@pytest.mark.parametrize("device", DEVICES)
def test_roi_align_gradient_equals_finite_differences(mmcv_ops: object, device: str) -> None:
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(2, 2, 5, 6, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    rois = random_rois(generator, 3, 2, 10.0).to(device)
    layer = mmcv_ops.RoIAlign(2, 0.5, 0, "avg", True)  # type: ignore[attr-defined]
    assert torch.autograd.gradcheck(lambda x: layer(x, rois), (maps,), nondet_tol=1e-9)


def test_roi_align_by_hand(mmcv_ops: object) -> None:
    # On the plane f(y, x) = 10 y + x the average over a bin is f at the bin's middle, half a cell nearer when
    # aligned.
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    plane = (10 * y + x)[None, None]
    roi = torch.tensor([[0, 2.0, 1.0, 6.0, 5.0]])
    aligned = mmcv_ops.RoIAlign(2, 1.0, 0, "avg", True)(plane, roi)  # type: ignore[attr-defined]
    assert aligned.flatten().tolist() == pytest.approx([17.5, 19.5, 37.5, 39.5])
    plain = mmcv_ops.RoIAlign(2, 1.0, 0, "avg", False)(plane, roi)  # type: ignore[attr-defined]
    assert plain.flatten().tolist() == pytest.approx([23.0, 25.0, 43.0, 45.0])


def test_no_boxes_give_no_features(mmcv_ops: object) -> None:
    maps = torch.rand(1, 3, 4, 4, requires_grad=True)
    pooled = mmcv_ops.RoIAlign(2, 1.0, 0, "avg", True)(maps, torch.zeros(0, 5))  # type: ignore[attr-defined]
    pooled.sum().backward()
    assert pooled.shape == (0, 3, 2, 2)
    assert maps.grad is not None
    assert not maps.grad.any()
    assert len(mmcv_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1]) == 0  # type: ignore[attr-defined]


def test_an_operator_not_supplied_names_itself_and_the_remedy(mmcv_ops: object) -> None:
    boxes, scores = torch.rand(2, 4), torch.rand(2)
    with pytest.raises(ops.MissingOperatorError, match=r"softnms.*compiled mmcv.*-std=c\+\+20"):
        mmcv_ops.soft_nms(boxes, scores)  # type: ignore[attr-defined]
    maximum = mmcv_ops.RoIAlign(2, 1.0, 0, "max", True)  # type: ignore[attr-defined]
    with pytest.raises(ops.MissingOperatorError, match="pool_mode='max'"):
        maximum(torch.rand(1, 1, 4, 4), torch.tensor([[0, 0, 0, 2.0, 2.0]]))


def test_the_module_has_a_spec_and_is_installed_once(mmcv_ops: object) -> None:
    assert ops.install() == "torchvision"
    spec = importlib.util.find_spec(ops.NAME)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[ops.NAME]
    assert ops.install() == "torchvision"
    assert sys.modules[ops.NAME] is module


@pytest.mark.slow
def test_a_compiled_module_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("")
    (tmp_path / "mmcv" / "_ext.py").write_text("compiled = True\n")
    code = "from benchmarks.mm.worker import ops; print(ops.install()); import mmcv._ext; print(mmcv._ext.compiled)"
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["compiled", "True"]
