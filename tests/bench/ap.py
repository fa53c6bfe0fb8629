"""Speed of average precision of many columns at once: python -m tests.bench.ap --help.

The columns are those of the SVM protocols: a class, a fold and a cost each. --levels 1000 makes ties in all
of them. scikit-learn and a literal loop take one column after the other; they do a few, scaled to all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from benchmarks.solvers.average_precision import average_precision, voc_ap

Array = np.ndarray[Any, Any]


def literal_voc(label: Array, score: Array) -> float:
    """All-point interpolated AP of one column, as the released evaluation script computes it."""
    hit = label[np.argsort(score, kind="stable")[::-1]]
    recall = np.concatenate([[0.0], np.cumsum(hit) / hit.sum(), [1.0]])
    precision = np.concatenate([[0.0], np.cumsum(hit) / np.arange(1, len(hit) + 1), [0.0]])
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4952)
    parser.add_argument("--columns", type=int, default=20 * 3 * 19)
    parser.add_argument("--positive", type=float, default=0.06, help="Share of the rows.")
    parser.add_argument("--levels", type=int, default=10**12, help="Different scores; few make many ties.")
    parser.add_argument("--some", type=int, default=20, help="Columns that the loops take.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    scores = rng.integers(0, args.levels, (args.rows, args.columns)) / args.levels
    positive = rng.random(scores.shape) < args.positive
    for name, ours, loop in (
        ("non-interpolated", average_precision, average_precision_score),
        ("interpolated", voc_ap, literal_voc),
    ):
        compare(name, ours, loop, scores, positive, min(args.some, args.columns))


def compare(
    name: str, ours: Any, loop: Callable[..., float], scores: Array, positive: Array, some: int
) -> None:
    """Prints the processor's seconds of both sides, their ratio and largest difference."""
    tensors = [torch.from_numpy(a) for a in (scores, positive, np.ones_like(positive))]
    begin = time.process_time()
    found = ours(*tensors).numpy()
    took = time.process_time() - begin
    begin = time.process_time()
    literal = [float(loop(positive[:, j], scores[:, j])) for j in range(some)]
    other = (time.process_time() - begin) * scores.shape[1] / some
    far = np.abs(found[:some] - literal).max()
    print(f"{name:17} ours {took:6.2f} s   loop {other:7.2f} s   ratio {other / took:6.1f}   apart {far:.1e}")


if __name__ == "__main__":
    main()
