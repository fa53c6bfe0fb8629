"""Masks are checked and counted before a network trains on them; an empty one teaches nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.mm.checks import label_maps
from benchmarks.mm.worker import ops
from pretrain.base.faults import Fault
from tests.annotated import SIZE, picture


def masked(root: Path, ids: list[list[int]]) -> list[label_maps.Pair]:
    pairs = []
    for i, values in enumerate(ids):
        image, mask = picture(root / f"{i}.jpg"), root / f"{i}.png"
        full = np.resize(np.array(values, dtype=np.uint8), (SIZE[1], SIZE[0]))
        Image.fromarray(full).save(mask)
        pairs.append(label_maps.Pair(image, mask))
    return pairs


def test_masks_are_counted(tmp_path: Path) -> None:
    pairs = masked(tmp_path, [[0, 2, 255], [255]])
    assert label_maps.check(pairs, 3) == {"masks_all_ignored": 1, "classes_absent": 1}


def test_masks_without_one_labelled_pixel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Fault, match=r"all 2 masks hold 255 alone, expected pixels of 0 to 2: .*0\.png"
    ) as error:
        label_maps.check(masked(tmp_path, [[255], [255]]), 3)
    assert error.value.reason == "data-corrupt"


def test_ids_out_of_range_are_named(tmp_path: Path) -> None:
    pairs = masked(tmp_path, [[0, 1], [0, 3, 200]])
    with pytest.raises(Fault, match=r"1 of 2 masks hold ids \[3, 200\], expected 0 to 2 or 255: .*1\.png"):
        label_maps.check(pairs, 3)


def test_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    pairs = masked(tmp_path, [[0, 1]])
    picture(pairs[0].image, (41, 30))
    with pytest.raises(Fault, match=r"0\.png is \(40, 30\), its image \(41, 30\)"):
        label_maps.check(pairs, 2)
    picture(pairs[0].mask)
    with pytest.raises(Fault, match=r"0\.png is in colour"):
        label_maps.check(pairs, 2)
    Image.new("1", (41, 30)).save(pairs[0].mask)
    with pytest.raises(Fault, match=r"0\.png is not of 8 bits a pixel \(1\); expected one class id"):
        label_maps.check(pairs, 2)
    pairs[0].mask.unlink()
    with pytest.raises(Fault, match=r"0\.png"):
        label_maps.check(pairs, 2)


def test_cityscapes_with_original_ids_alone_says_how_to_convert(tmp_path: Path) -> None:
    picture(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_0_0_leftImg8bit.png")
    raw = picture(tmp_path / "gtFine" / "train" / "ulm" / "ulm_0_0_gtFine_labelIds.png")
    with pytest.raises(Fault, match="csCreateTrainIdLabelImgs"):
        label_maps.cityscapes_pairs(tmp_path, "train")
    raw.rename(raw.with_name("ulm_0_0_gtFine_labelTrainIds.png"))
    assert [pair.mask.name for pair in label_maps.cityscapes_pairs(tmp_path, "train")] == [
        "ulm_0_0_gtFine_labelTrainIds.png"
    ]
    with pytest.raises(Fault, match=r"no \*_leftImg8bit\.png below"):
        label_maps.cityscapes_pairs(tmp_path, "val")


@pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported
def test_an_empty_mask_teaches_nothing() -> None:
    pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
    ops.install()
    from benchmarks.mm.worker.heads import PartlyMasked

    head = PartlyMasked(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=2)
    found = type("Found", (), {"pos_gt_labels": torch.tensor([0, 1, 1])})
    targets = torch.stack([torch.ones(28, 28), torch.zeros(28, 28), torch.ones(28, 28)])
    head.get_targets = lambda **_: targets
    predicted = torch.zeros(3, 2, 28, 28, requires_grad=True)
    loss = head.loss_and_target(predicted, [found], None, None)["loss_mask"]["loss_mask"]
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().sum((1, 2, 3)).tolist() == pytest.approx(
        [0.25, 0.0, 0.25]
    )  # half of sigmoid(0) each
    head.get_targets = lambda **_: torch.zeros(3, 28, 28)
    assert head.loss_and_target(predicted, [found], None, None)["loss_mask"]["loss_mask"].item() == 0
