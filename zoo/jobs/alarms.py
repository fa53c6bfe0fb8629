"""What makes a number doubtful though it was computed as asked: said in the record and beside the number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.contract.protocol import Protocol
from benchmarks.features import channels_last
from pretrain.data.loader import open_loader
from pretrain.data.split import Split
from pretrain.data.view import centre_view
from pretrain.nets.backbone import Backbone
from zoo.plan.datasets import Datasets
from zoo.suites.suite import Reference

LOOKED_AT = 64  # images whose features are compared
EQUAL = 1e-6  # of the features' size: what differs by less is rounding


def alarms(
    protocol: Protocol,
    backbone: Backbone,
    splits: Mapping[str, Split],
    datasets: Datasets,
    device: torch.device,
    pretrained_on: Reference | None = None,
) -> list[str]:
    """A sentence for each reason to doubt the numbers of a benchmark; none is the rule. pretrained_on: what
    the backbone was trained on, None where that was nothing, or nobody knows.
    """
    found = _weights(backbone)
    if protocol.report_on in splits:
        found += _features(backbone, splits[protocol.report_on], device)
        found += _overlap(protocol, splits, datasets, pretrained_on)
    return found


def _weights(backbone: Backbone) -> list[str]:
    """Products and convolutions whose weights are all zero let nothing through."""
    zero = [name for name, w in backbone.named_parameters() if w.ndim > 1 and not bool(w.any())]
    return [f"{len(zero)} weights are all zero, first {zero[0]}"] if zero else []


@torch.no_grad()
def _features(backbone: Backbone, split: Split, device: torch.device) -> list[str]:
    """Features that are the same for every image say nothing of it."""
    order = np.linspace(0, len(split) - 1, min(LOOKED_AT, len(split))).round().astype(np.int64)
    loader = open_loader(split, [centre_view(backbone.input)], backbone.input, 0, device)
    (batch,) = loader.batches(np.unique(order), LOOKED_AT, epoch=0)
    features: Tensor = backbone.eval()(channels_last(batch.views[0])).float()
    spread, size = features.std(0).norm(), features.mean(0).norm()
    if len(features) < 2 or (bool(spread > EQUAL * size) and bool(size.isfinite())):
        return []
    return [f"the features of {len(features)} different images of {split.name} are all the same"]


def _overlap(
    protocol: Protocol, splits: Mapping[str, Split], datasets: Datasets, pretrained_on: Reference | None
) -> list[str]:
    """Images of the reported split that were trained on, by the benchmark or before it."""
    role, found = protocol.report_on, list[str]()
    if role == "train":
        return []
    train, reported = protocol.data.get("train"), splits[role].name
    if train is not None and (shared := datasets.shared(train, protocol.data[role])):
        found.append(f"{shared} images of {reported} are among those of {splits['train'].name}")
    before = pretrained_on if pretrained_on != train else None
    if before is not None and (shared := datasets.shared(before, protocol.data[role])):
        found.append(f"{shared} images of {reported} are among those of the pretraining, {before}")
    return found
