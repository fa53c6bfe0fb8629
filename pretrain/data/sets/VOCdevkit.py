"""PASCAL VOC 2007 and 2012 as detection and segmentation read
them: as a whole, through mmdet and mmsegmentation.
"""

from __future__ import annotations

from pretrain.data.dataset import DataSet

LAYOUT = "VOC2007 and VOC2012 with JPEGImages, Annotations, ImageSets; VOC2012 with SegmentationClass[Aug]"
DATASET = DataSet(LAYOUT)
