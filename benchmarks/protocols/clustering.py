"""How well k-means on frozen features recovers the classes: NMI, AMI, ARI and purity.

Features are the global average of the last map, L2-normalised, of the validation images; k is the number of classes;
cosine k-means from several seeds, the mean over seeds with its spread. Purity is by majority vote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

from benchmarks.protocol import Outcome, Protocol, Score, Task
from pretrain.lazy import F, clustering, partitions, torch
from pretrain.recipe import centre_view


@dataclass(frozen=True)
class ClusteringSettings:
    """restarts: k-means runs from different seeds, all of them counted."""

    restarts: int = 5
    iterations: int = 50


def run(task: Task) -> Outcome:
    """Agreement of clusters with classes over the restarts; frozen backbone."""
    from benchmarks import features

    settings, split = task.protocol.settings, task.splits["val"]
    x = F.normalize(features.average(task, "val", centre_view(task.backbone.input)).to(task.device))
    y = torch.from_numpy(split.labels).to(task.device)
    classes = len(y.unique())
    measures = {
        "nmi": partitions.nmi,
        "ami": partitions.ami,
        "ari": partitions.ari,
        "purity": partitions.purity,
    }
    found: dict[str, list[float]] = {name: [] for name in measures}
    for restart in range(settings.restarts):
        labels = clustering.kmeans(
            x, classes, settings.iterations, "cos", seed=task.seed * 1000 + restart, empty="split"
        ).labels
        for name, measure in measures.items():
            found[name].append(100 * float(measure(labels, y)))
        task.report(restart + 1, settings.restarts, "k-means")
    scores = [Score(n, fmean(v), len(y), "val", spread=("restarts", v)) for n, v in found.items()]
    return Outcome(scores, {"clusters": classes})


PAPER = (
    Protocol(
        name="clustering",
        title="Clustering of frozen features",
        source="k-means on frozen features, scikit-learn's definitions of the measures",
        settings=ClusteringSettings(),
        data={"val": "imagenet/val"},
        select_on="none",
        report_on="val",
        choose="mean over restarts",
        run=run,
    ),
)
DEMO = PAPER
SMOKE = (replace(PAPER[0], settings=ClusteringSettings(restarts=2)),)
