"""k-means on frozen features, compared with the classes."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import features
from benchmarks.contract.score import Score, Spread
from benchmarks.contract.task import Outcome, Task
from benchmarks.pictures.clusters import features_map, gallery
from benchmarks.pictures.kept import kept
from benchmarks.solvers.classes import require_classes
from pretrain.base import dist
from pretrain.base.faults import Fault
from pretrain.cluster import agreement
from pretrain.cluster.kmeans import kmeans
from pretrain.data.view import centre_view

MEASURES = {"nmi": agreement.nmi, "ami": agreement.ami, "ari": agreement.ari, "purity": agreement.purity}


def run(task: Task) -> Outcome:
    """Agreement of clusters with classes over the restarts; frozen backbone.

    Raises Fault (bad-config) on images of one class, with which one cluster agrees perfectly, and on classes
    of one image each, with which as many clusters as images do.
    """
    require_classes(task, "val")
    _require_company(task)
    settings, split = task.protocol.settings, task.splits["val"]
    x = F.normalize(features.average(task, "val", centre_view(task.backbone.input)).to(task.device))
    y = torch.from_numpy(split.labels).to(task.device)
    classes = len(y.unique())
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    first = y
    mine = x.tensor_split(dist.world_size())[dist.rank()]
    for restart in range(settings.restarts):
        seed = task.seed * 1000 + restart
        own = kmeans(mine, classes, settings.iterations, "cosine", seed=seed, empty="split").labels
        labels = dist.all_gather_rows(own)
        first = labels if restart == 0 else first
        for name, measure in MEASURES.items():
            found[name].append(100 * float(measure(labels, y)))
        task.report(restart + 1, settings.restarts, "k-means")
    scores = [Score(n, fmean(v), len(y), "val", spread=Spread.of("restarts", v)) for n, v in found.items()]
    if dist.rank() == 0:
        with kept(task.work) as folder:
            features_map(folder, split, x, task.seed)
            gallery(folder, split, x, first, task.seed)
    return Outcome(scores, {"clusters": classes})


def _require_company(task: Task) -> None:
    """Raises Fault (bad-config) where no two images are of one class: clusters of one image each are all that
    there can be, whatever the network.
    """
    split = task.splits["val"]
    assert split.labels is not None
    if len(np.unique(split.labels)) == len(split):
        said = f"{split.name} ({split.root}) has one image of each class, expected more of some"
        advice = "as every network scores 100 % on that; add images or leave this benchmark out"
        raise Fault("bad-config", f"{task.protocol.name}: {said}, {advice}")
