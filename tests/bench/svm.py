"""Speed of the batched SVM against LinearSVC, one fit at a time: python -m tests.bench.svm --help.

Both sides run the whole protocol (every cost, fold, refit, draw) on the same features, by turns in one
process. LinearSVC runs on the first classes only and its time is scaled to all of them: its cost is the same
for every class. The ratio is of CPU seconds, in which neither side gains from cores that the other lacks, nor
loses to whoever else is on the machine; wall seconds stand beside it.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC
from torch import Tensor

from benchmarks.protocols.voc_svm.protocol import COSTS
from benchmarks.solvers.average_precision import voc_ap
from benchmarks.solvers.voc_svm import draw_rows, full_svm, low_shot_svm

Split = tuple[Tensor, Tensor, Tensor, Tensor]


def features(n: int, d: int, classes: int, offset: float) -> Split:
    """Rectified features with a decaying spectrum, one tenth of the rows positive in each class; train and
    test.

    offset: added to every feature. 0 separates the classes well; 3 gives nearly parallel rows, as a network
    with random or few-epoch weights does, which is where liblinear meets its iteration limit.
    """
    g = torch.Generator().manual_seed(0)
    present = torch.rand(2 * n, classes, generator=g) < 0.1
    factors = torch.randn(2 * n, d, generator=g) / torch.arange(1, d + 1) ** 0.5
    factors[:, :classes] += present
    x = factors @ torch.randn(d, d, generator=g)
    x = (x / x.std() + offset).relu()
    return x[:n], present[:n].int(), x[n:], present[n:].int()


def classifier(cost: float) -> LinearSVC:
    """The settings of the published protocol, with a seed."""
    return LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual=True, max_iter=2000, random_state=0)


def normalised(x: Tensor) -> NDArray[np.float64]:
    rows = x.double().numpy()
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5), dtype=np.float64)


def ap(scores: list[NDArray[np.float64]], label: Tensor) -> Tensor:
    truth = label[:, None].expand(-1, len(scores))
    return voc_ap(torch.from_numpy(np.stack(scores, axis=1)), truth == 1, truth != -1)


def full_liblinear(data: Split) -> Tensor:
    """[q] test AP at each class's own cost."""
    x, t, result = normalised(data[0]), normalised(data[2]), []
    for label, truth in zip(data[1].T, data[3].T, strict=True):
        y = (label == 1).int().numpy()
        trial = [
            cross_val_score(classifier(c), x, y, cv=3, scoring="average_precision").mean() for c in COSTS
        ]
        refits = [classifier(c).fit(x, y) for c in COSTS]  # the released scripts refit every cost
        result.append(ap([refits[int(np.argmax(trial))].decision_function(t)], truth))
    return torch.cat(result)


def low_shot_liblinear(data: Split, ks: Sequence[int], samples: int) -> Tensor:
    """[ks, samples, costs] test mAP."""
    return torch.stack([k_liblinear(data, k, samples) for k in ks])


def k_liblinear(data: Split, k: int, samples: int) -> Tensor:
    x, t, label = normalised(data[0]), normalised(data[2]), data[1].numpy()
    result = []
    for sample in range(samples):
        classes = []
        for q, rows in enumerate(draw_rows(label, k, sample, seed=0)):
            fitted = (classifier(c).fit(x[rows], (label[rows, q] == 1).astype(int)) for c in COSTS)
            classes.append(ap([model.decision_function(t) for model in fitted], data[3][:, q]))
        result.append(torch.stack(classes).mean(dim=0))
    return torch.stack(result)


class Timed(NamedTuple):
    """stopped: fits that stopped at the iteration limit."""

    wall: float
    cpu: float
    result: Tensor
    stopped: int


def timed(run: Callable[[], Tensor]) -> Timed:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timed(wall, cpu, result, sum(issubclass(w.category, ConvergenceWarning) for w in caught))


def first_classes(data: Split, count: int) -> Split:
    return data[0], data[1][:, :count], data[2], data[3][:, :count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=600, help="training rows, and as many test rows")
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--reference-classes", type=int, default=1, help="classes LinearSVC runs on; 0: none")
    parser.add_argument("--offset", type=float, default=0.0)
    parser.add_argument("--ks", type=int, nargs="*", default=[1, 2, 4, 8, 16, 24])
    parser.add_argument("--parts", nargs="*", default=["full", "low-shot"], choices=["full", "low-shot"])
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    everything = features(args.n, args.d, args.classes, args.offset)
    reference = min(args.reference_classes, args.classes)
    some = first_classes(everything, reference)

    def full(data: Split) -> Tensor:
        return full_svm(*data, COSTS, device=args.device).average_precision

    def low_shot(data: Split) -> Tensor:
        found = low_shot_svm(*data, COSTS, ks=args.ks, samples=args.samples, device=args.device)
        return torch.stack([one.test for one in found])

    sides = {
        "full": (full, full_liblinear),
        "low-shot": (low_shot, lambda data: low_shot_liblinear(data, args.ks, args.samples)),
    }
    full(first_classes(everything, 1))  # the first call on a device sets it up
    for name in args.parts:
        batched, liblinear = sides[name]
        ours = timed(lambda: batched(everything))  # noqa: B023
        line = f"{name:>8}  batched {ours.cpu:7.1f} s CPU {ours.wall:7.1f} s wall, peak {peak_mib()} MiB"
        if reference:
            theirs = timed(lambda: liblinear(some))  # noqa: B023
            cpu, wall = (args.classes / reference * s for s in (theirs.cpu, theirs.wall))
            apart = 100 * (batched(some) - theirs.result).abs().max()
            line += f"   LinearSVC {cpu:8.1f} s CPU {wall:8.1f} s wall   ratio {cpu / ours.cpu:5.1f}"
            line += f"   AP apart by at most {apart:.3f} points   {theirs.stopped} LinearSVC fits unfinished"
        print(line, flush=True)


def peak_mib() -> int:
    """Of the process, with the features of both sides."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
