"""A stage whose inner maps are computed again in the backward pass instead of being kept: less memory, a
third more time, the same gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def untracked(net: nn.Module) -> Iterator[None]:
    """Batch norms take the statistics of what they are given, and remember nothing of it.

    Without a momentum the running ones are blended with nothing: they must still be there, since the second
    pass of a stage has to keep the same tensors as its first. Batches are counted on a copy: synchronised
    norms do not run without a counter.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """What `stage` makes of x; its second pass, in the backward, draws the same dropout and moves no running
    statistics. Where nothing is trained there is none.
    """
    if not (stage.training and torch.is_grad_enabled()):
        kept: Tensor = stage(x)
        return kept
    made: Tensor = checkpoint(
        stage, x, use_reentrant=False, context_fn=lambda: (nullcontext(), untracked(stage))
    )
    return made
