"""k-NN on frozen features: one bank of training features, every query voted on by its nearest rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks import features
from benchmarks.contract.score import Score
from benchmarks.contract.task import Outcome, Task
from benchmarks.pictures.confusion import confusion
from benchmarks.pictures.kept import kept
from benchmarks.protocols.knn.protocol import KnnSettings
from benchmarks.shelf import Array
from benchmarks.solvers.classes import require_classes
from benchmarks.solvers.neighbours import BLOCK_BYTES, nearest, tile
from pretrain.base import dist
from pretrain.base.settings import changed
from pretrain.data.view import centre_view

SHARP = 1 / 75  # of temperatures; below it, exp(1 / T) of many neighbours is infinite in fp32


def run(task: Task) -> Outcome:
    """Top-1 and top-5 for every k that there are training images for; frozen backbone."""
    require_classes(task, "train")
    settings, view, missing = task.protocol.settings, centre_view(task.backbone.input), beyond(task)
    ks = tuple(k for k in settings.ks if f"k{k}_top1" not in missing)
    if not ks:
        return Outcome([], {}, missing)
    settings = changed(settings, ks=ks)
    bank, queries = features.average_rows(task, "train", view), features.average(task, "val", view)
    y, truth = (torch.from_numpy(task.splits[role].labels) for role in ("train", "val"))
    ranked = vote(bank, y.to(task.device), queries.to(task.device), settings)
    scores = scored(ranked, truth, ks)
    if dist.rank() == 0:
        with kept(task.work) as folder:
            how = f"{task.splits['val'].name}, answers of the {ks[0]} nearest"
            confusion(folder, ranked[0][:, 0], truth, task.splits["train"].classes, how)
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
    return scored(vote(bank.to(device), y.to(device), queries.to(device), settings), truth, settings.ks)


def scored(voted: Sequence[Tensor], truth: Tensor, ks: Sequence[int]) -> list[Score]:
    """Top-1 and top-5 of the ranked classes of each k, (M, <= 5), against truth (M,).

    Of fewer than five neighbours top-5 is top-k, as in the reference: behind them stand classes that nobody
    voted for, the lowest first.
    """
    found = []
    for k, ranked in zip(ks, voted, strict=True):
        hit = ranked.cpu() == truth[:, None]
        for top in (1, 5):
            value = 100 * float(hit[:, : min(top, k)].any(1).double().mean())
            found.append(Score(f"k{k}_top{top}", value, len(truth), "val"))
    return found


def vote(
    bank: Array | Tensor, y: Tensor, queries: Tensor, settings: KnnSettings, chunk_bytes: int = 1 << 27
) -> list[Tensor]:
    """For each k, classes (M, <= 5) in descending order of their weighted votes, from features (N, D) and (M,
    D), on the device of the queries.

    k above N counts all N. Of equally similar rows the first of the bank is nearer, of classes with equal
    votes the lower one is first. The bank may lie on disk; queries are taken in tiles so that what is
    computed of them stays within chunk_bytes. Several processes take turns at the tiles, and all get all.
    """
    classes, most = int(y.max()) + 1, min(max(settings.ks), len(bank))
    block = max(most, BLOCK_BYTES // (4 * bank.shape[1]))
    rows = tile(len(queries), max(min(len(bank), block), classes), chunk_bytes)
    each = torch.arange(len(queries), device=queries.device).split(rows)
    mine = torch.cat([each[0][:0], *each[dist.rank() :: dist.world_size()]])
    similarity, index = nearest(bank, queries[mine], most, rows)
    ranked: list[list[Tensor]] = [[y.new_empty(0, min(5, classes))] for _ in settings.ks]
    for cosine, near in zip(similarity.split(rows), index.split(rows), strict=True):
        weight = _weights(cosine, settings.temperature)
        for out, k in zip(ranked, settings.ks, strict=True):
            votes = _votes(y[near[:, :k]], weight[:, :k], classes)
            out.append(votes.argsort(dim=1, descending=True, stable=True)[:, :5])
    place = dist.all_gather_rows(mine).argsort()
    return [dist.all_gather_rows(torch.cat(parts))[place] for parts in ranked]


def _votes(y: Tensor, weight: Tensor, classes: int) -> Tensor:
    """Sums (M, classes) of weights (M, k) of classes y (M, k), the nearest first.

    One neighbour at a time: a GPU that is given several of one class adds them in any order.
    """
    votes = weight.new_zeros(len(y), classes)
    for one, its in zip(y.split(1, dim=1), weight.split(1, dim=1), strict=True):
        votes.scatter_add_(1, one, its)
    return votes


def _weights(cosine: Tensor, temperature: float) -> Tensor:
    """exp(cosine / T) of cosines (M, k), the nearest first, or the same multiple of it for a whole row."""
    if temperature >= SHARP:
        return (cosine / temperature).exp()
    return ((cosine - cosine[:, :1]).double() / temperature).exp()
