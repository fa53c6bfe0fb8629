"""How well k-means on frozen features recovers the classes: NMI, AMI, ARI and purity.

Features are the global average of the last map, L2-normalised, of the validation images; k is the number of
classes; cosine k-means from several seeds, the mean over seeds with its spread. Purity is by majority vote.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contract.protocol import Protocol
from benchmarks.contract.table import Column, Table
from pretrain.base.settings import Positive, settings


@settings
class ClusteringSettings:
    """restarts: k-means runs from different seeds, all of them counted."""

    restarts: Positive = 5
    iterations: Positive = 50


PAPER = (
    Protocol(
        name="clustering",
        title="Clustering of frozen features",
        source="k-means on frozen features, scikit-learn's definitions of the measures",
        settings=ClusteringSettings(),
        data={"val": "imagenet/val"},
        report_on="val",
        choose="mean over restarts",
        table=Table(
            heading="Clustering of Frozen Features",
            intro="Agreement of k-means clusters with the classes, in percent: normalised and adjusted mutual "
            "information, adjusted Rand index, majority-vote purity.",
        ),
        columns=tuple(
            Column(heading, score, digits=1)
            for heading, score in (("NMI", "nmi"), ("AMI", "ami"), ("ARI", "ari"), ("Purity", "purity"))
        ),
        place=50,
        together=True,
        kept=lambda settings: 4 * 2048,
    ),
)
DEMO = PAPER
SMOKE = (replace(PAPER[0], settings=ClusteringSettings(restarts=2)),)
