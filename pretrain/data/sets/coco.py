"""COCO 2017 as detection reads it: as a whole, through mmdet."""

from __future__ import annotations

from pretrain.data.dataset import DataSet

LAYOUT = "annotations/instances_{train,val}2017.json, train2017/*.jpg, val2017/*.jpg"
DATASET = DataSet(LAYOUT)
