"""k-NN on frozen features: one bank of training features, every query voted on by its nearest rows."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import features
from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome, Task
from benchmarks.protocols.knn.protocol import KnnSettings
from benchmarks.solvers.classes import require_classes
from pretrain.base.settings import changed
from pretrain.data.view import centre_view


def run(task: Task) -> Outcome:
    """Top-1 and top-5 for every k that there are training images for; frozen backbone."""
    require_classes(task, "train")
    settings, view, missing = task.protocol.settings, centre_view(task.backbone.input), beyond(task)
    ks = tuple(k for k in settings.ks if f"k{k}_top1" not in missing)
    if not ks:
        return Outcome([], {}, missing)
    settings = changed(settings, ks=ks)
    bank, queries = (features.average(task, role, view) for role in ("train", "val"))
    y, truth = (torch.from_numpy(task.splits[role].labels) for role in ("train", "val"))
    scores = score(bank, y, queries, truth, settings, task.device)
    return Outcome(scores, {}, missing)


def beyond(task: Task) -> dict[str, str]:
    """Why the scores of each k above the number of training images are missing."""
    settings, train = task.protocol.settings, task.splits["train"]
    return {
        f"k{k}_top{top}": f"{train.name} has {len(train)} images, fewer than k={k}"
        for k, top in itertools.product(settings.ks, (1, 5))
        if k > len(train)
    }


def score(
    bank: Tensor, y: Tensor, queries: Tensor, truth: Tensor, settings: KnnSettings, device: torch.device
) -> list[Score]:
    """Scores of queries (M, D), truth (M,) against bank (N, D), y (N,)."""
    found = []
    for k, ranked in zip(
        settings.ks, vote(bank.to(device), y.to(device), queries.to(device), settings), strict=True
    ):
        hit = ranked.cpu() == truth[:, None]
        for top in (1, 5):
            value = 100 * float(hit[:, :top].any(1).double().mean())
            found.append(Score(f"k{k}_top{top}", value, len(truth), "val"))
    return found


def vote(
    bank: Tensor, y: Tensor, queries: Tensor, settings: KnnSettings, chunk_bytes: int = 1 << 27
) -> list[Tensor]:
    """For each k, classes (M, <= 5) in descending order of their weighted votes, from features (N, D) and (M,
    D).

    k above N counts all N. Queries are taken in chunks so that the similarities stay within chunk_bytes.
    """
    bank, queries = F.normalize(bank), F.normalize(queries)
    classes, most = int(y.max()) + 1, min(max(settings.ks), len(bank))
    rows = max(1, chunk_bytes // (4 * max(len(bank), classes)))
    ranked: list[list[Tensor]] = [[] for _ in settings.ks]
    for part in queries.split(rows):
        similarity, nearest = (part @ bank.T).topk(most, dim=1)  # descending
        weight = (similarity / settings.temperature).exp()
        for out, k in zip(ranked, settings.ks, strict=True):
            votes = torch.zeros(len(part), classes, device=part.device)
            votes.scatter_add_(1, y[nearest[:, :k]], weight[:, :k])
            out.append(votes.argsort(dim=1, descending=True, stable=True)[:, :5])
    return [torch.cat(parts) for parts in ranked]
