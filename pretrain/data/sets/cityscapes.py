"""Cityscapes as segmentation reads it: as a whole, through mmsegmentation."""

from __future__ import annotations

from pretrain.data.dataset import DataSet

LAYOUT = "leftImg8bit/{train,val}/<city>/*.png, gtFine/{train,val}/<city>/*_gtFine_labelTrainIds.png"
DATASET = DataSet(LAYOUT)
