"""Speed of the batched SVM against LinearSVC, one fit at a time: python tests/bench/svm.py --help.

Both sides run the whole protocol (every cost, fold, refit, draw) on the same features, one after the other.
LinearSVC runs on the first classes only and its time is scaled to all of them: its cost is the same for every
class.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

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


def low_shot_liblinear(data: Split, k: int, samples: int) -> Tensor:
    """[samples, costs] test mAP."""
    x, t, label = normalised(data[0]), normalised(data[2]), data[1].numpy()
    result = []
    for sample in range(samples):
        classes = []
        for q, rows in enumerate(draw_rows(label, k, sample, seed=0)):
            fitted = (classifier(c).fit(x[rows], (label[rows, q] == 1).astype(int)) for c in COSTS)
            classes.append(ap([model.decision_function(t) for model in fitted], data[3][:, q]))
        result.append(torch.stack(classes).mean(dim=0))
    return torch.stack(result)


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor, int]:
    """(seconds, result, number of fits that stopped at the iteration limit)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        begin = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - begin
    return seconds, result, sum(issubclass(w.category, ConvergenceWarning) for w in caught)


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
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    everything = features(args.n, args.d, args.classes, args.offset)
    some = first_classes(everything, args.reference_classes)

    def full(data: Split) -> Tensor:
        return full_svm(*data, COSTS, device=args.device).average_precision

    def low_shot(data: Split, k: int) -> Tensor:
        return low_shot_svm(*data, COSTS, ks=(k,), samples=args.samples, device=args.device)[0].test

    full(first_classes(everything, 1))  # the first call on a device sets it up
    total, total_reference = 0.0, 0.0
    for k in (0, *args.ks):
        seconds, _, _ = timed(lambda: low_shot(everything, k) if k else full(everything))  # noqa: B023
        total += seconds
        line = f"{f'k={k}' if k else 'full':>5}  batched {seconds:7.2f} s"
        if args.reference_classes:
            reference, ap, stopped = timed(
                lambda: low_shot_liblinear(some, k, args.samples) if k else full_liblinear(some)  # noqa: B023
            )
            reference *= args.classes / args.reference_classes
            total_reference += reference
            apart = 100 * ((low_shot(some, k) if k else full(some)) - ap).abs().max()
            line += f"   LinearSVC {reference:7.1f} s   ratio {reference / seconds:5.1f}"
            line += f"   AP apart by at most {apart:.3f} points   {stopped} LinearSVC fits unfinished"
        print(line, flush=True)
    print(f"batched {total:.1f} s in all with {args.threads} thread(s)")
    if args.reference_classes:
        print(f"LinearSVC/batched {total_reference / total:.1f} in all")


if __name__ == "__main__":
    main()
