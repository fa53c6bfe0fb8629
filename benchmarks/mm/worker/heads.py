"""The one head of ours: Mask R-CNN's mask head on data in which some boxes have no mask."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS


@MODELS.register_module()
class PartlyMasked(FCNMaskHead):  # type: ignore[misc]
    """mmdet's mask head that learns nothing from regions whose target is empty: their box came without a
    mask.

    mmdet itself ignores such boxes altogether, which makes background of objects that the box head should
    find.
    """

    def loss_and_target(
        self, mask_preds: Any, sampling_results: list[Any], batch_gt_instances: Any, rcnn_train_cfg: Any
    ) -> dict[str, Any]:
        targets = self.get_targets(
            sampling_results=sampling_results,
            batch_gt_instances=batch_gt_instances,
            rcnn_train_cfg=rcnn_train_cfg,
        )
        known = targets.flatten(1).any(dim=1)
        if not known.any():
            # Still part of the graph: every process must produce a gradient for every parameter.
            return {"loss_mask": {"loss_mask": mask_preds.sum() * 0}, "mask_targets": targets}
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        loss = self.loss_mask(mask_preds[known], targets[known], labels[known])
        return {"loss_mask": {"loss_mask": loss}, "mask_targets": targets}
