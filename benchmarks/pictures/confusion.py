"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.contract.pictures import CLASSES, Confusion
from benchmarks.pictures.kept import save


def confusion(folder: Path, answers: Tensor, truth: Tensor, classes: Sequence[str], how: str) -> None:
    """Keeps how often each class was answered for each; of many classes those with the most errors.

    answers, truth: indices into `classes`, (N,) each.
    """
    answers, truth, n = answers.cpu(), truth.cpu(), len(classes)
    counts = torch.bincount(truth * n + answers, minlength=n * n).reshape(n, n)
    wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    kept = torch.argsort(wrong, descending=True, stable=True)[:CLASSES].sort().values
    shown = counts[kept][:, kept]
    others = counts[kept].sum(1) - shown.sum(1)
    names = [classes[int(i)][:200] for i in kept]
    save(folder, Confusion(names, shown.tolist(), others.tolist(), n, how[:200]))
