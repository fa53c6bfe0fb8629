"""Whether a split has what a classifier needs to be judged: two classes or more."""

from __future__ import annotations

import numpy as np

from benchmarks.contract.task import Task
from pretrain.base.faults import Fault


def require_classes(task: Task, *roles: str) -> None:
    """Raises Fault (bad-config) naming the first split of these roles whose images are all of one class.

    Every network scores 100 % there, a random one too.
    """
    for role in roles:
        split = task.splits[role]
        assert split.labels is not None
        present = np.unique(split.labels)
        if len(present) < 2:
            only = f"the one class '{split.classes[int(present[0])]}'" if len(present) else "no class"
            raise Fault(
                "bad-config",
                f"{task.protocol.name}: {split.name} ({split.root}) has images of {only}, expected two classes "
                "or more, as every network scores 100 % on one; add another class or leave this benchmark out",
            )
