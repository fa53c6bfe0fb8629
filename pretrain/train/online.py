"""A glance at the features after each epoch: how well neighbours tell classes apart, and how many directions
are in use. It changes nothing.

At most 2,000 training images, or a fifth of a small set, pass the backbone in eval mode as evaluation sees
them. A fifth of those are asked, by k-NN (k = 20, cosine, T = 0.07; Wu et al., CVPR 2018), for the classes of
the others; at most 100 classes take part, so that each has neighbours to find. RankMe (Garrido et al., ICML
2023, arXiv 2210.02885) needs no labels. Neither number can be compared with a benchmark's.

Cost: its forward passes are no more than 5 % of those of the training, a backward one counted as two; a small
set is looked at after some epochs only, and after the last. Counted, not timed, so that a run and its resumed
twin write the same lines. `ZOO_ONLINE=0` in the environment switches it off.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.base import dist
from pretrain.base.numerics import autocast
from pretrain.data.loader import Images, Loader
from pretrain.data.view import centre_view
from pretrain.train.method import evaluating, share
from pretrain.train.state import Run

VARIABLE = "ZOO_ONLINE"
IMAGES, SMALL = 2000, 200  # looked at: at most; of a small set, even if that is more than a fifth
CLASSES = 100  # that take part
QUERIES = 20  # fewer tell nothing
NEIGHBOURS, TEMPERATURE = 20, 0.07
SHARE = 0.05  # of the forward passes of the training
BATCH = 256
EPSILON = 1e-7  # of RankMe


class Online:
    """The images that are looked at, and the last figures in words."""

    def __init__(self, run: Run) -> None:
        self.run, self.said = run, ""
        self.on = os.environ.get(VARIABLE, "1").lower() not in ("0", "false", "no")
        split, given = run.data.split, run.recipe.input
        self.labels = split.labels if run.data.labels is not None else None
        self.ids = chosen(len(split), self.labels, run.data.seed)
        self._given = given
        self._loader: Loader | None = None

    def look(self, epoch: int) -> dict[str, float]:
        """`rankme` and, with labels, `online_knn` in percent, after epoch 1, 2, ...; nothing if not due."""
        if not (self.on and self._due(epoch)):
            return {}
        devices = [self.run.data.device] if self.run.data.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            found = self._figures(self._features())
        self.said = "".join(f" {name} {found[key]:.{n}f}" for name, key, n in SHOWN if key in found)
        return found

    def _due(self, epoch: int) -> bool:
        """True after the first and the last epoch, and between as often as the share of passes allows."""
        views = self.run.recipe.crops
        rate = SHARE * 3 * views * len(self.run.data.split) / len(self.ids)  # looks per epoch
        return epoch == self.run.recipe.epochs or math.ceil(epoch * rate) > math.ceil((epoch - 1) * rate)

    def _figures(self, x: Tensor) -> dict[str, float]:
        """Of features (n, d) of the images, the queries first."""
        if not bool(x.isfinite().all()):
            return {}
        found, queries = {"rankme": rankme(x)}, len(self.ids) // 5
        if self.labels is not None and queries >= QUERIES:
            y = torch.from_numpy(self.labels[self.ids]).to(x.device, torch.int64)
            found["online_knn"] = knn(x[queries:], y[queries:], x[:queries], y[:queries])
        return found

    def _features(self) -> Tensor:
        """Features fp32 (n, d) of the images on every process, each of which computes its share of them."""
        run, backbone = self.run, self.run.method.result
        if self._loader is None:  # no workers: few images, and a crew of its own would cost more memory
            images = Images(run.data.split, [centre_view(self._given)], run.data.seed)
            self._loader = Loader(images, self._given, run.data.device, 0)
        mine = self.ids[share(len(self.ids), dist.rank(), dist.world_size())]
        rows = [torch.zeros(0, backbone.dim, device=run.data.device)]
        kept = [buffer.clone() for buffer in backbone.buffers()]  # `evaluating` takes those of the first rank
        with evaluating(backbone), autocast(run.data.device, run.recipe.precision):
            for batch in self._loader.batches(mine, BATCH, epoch=0):
                x = batch.views[0].contiguous(memory_format=torch.channels_last)
                rows.append(backbone(x).float())
            for buffer, before in zip(backbone.buffers(), kept, strict=True):
                buffer.copy_(before)
        return dist.all_gather_rows(torch.cat(rows))


SHOWN = (("knn", "online_knn", 1), ("rank", "rankme", 0))


def chosen(n: int, labels: npt.NDArray[np.int64] | None, seed: int) -> npt.NDArray[np.int64]:
    """Ids of the images that are looked at, in random order, of evenly spaced classes where it has any."""
    order = np.random.default_rng((seed, 0, 3)).permutation(n)
    if labels is not None:
        classes = np.unique(labels)
        kept = classes[np.linspace(0, len(classes) - 1, min(CLASSES, len(classes))).round().astype(int)]
        order = order[np.isin(labels[order], kept)]
    return order[: min(IMAGES, max(SMALL, n // 5))]


def rankme(x: Tensor) -> float:
    """exp(entropy) of the singular values of features (n, d), each share raised by 1e-7; not centred."""
    x = x.double()
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    s = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    p = s / s.sum().clamp_min(1e-30) + EPSILON
    return float(torch.special.entr(p).sum().exp())


def knn(bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor) -> float:
    """Percent of queries (q, d) whose class int64 (q,) their neighbours in bank (n, d) vote for, each with
    weight exp(cosine / T).
    """
    near, place = (F.normalize(queries) @ F.normalize(bank).T).topk(min(NEIGHBOURS, len(bank)))
    votes = near.new_zeros(len(queries), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[place], (near / TEMPERATURE).exp())
    return 100 * float((votes.argmax(1) == truth).double().mean())
