"""Training in bf16: losses alone; optimiser, weights and tests stay in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from pretrain.base.numerics import autocast, computes_bf16

BF16 = "InBf16"


@OPTIM_WRAPPERS.register_module(name=BF16)
class InBf16(OptimWrapper):  # type: ignore[misc]
    """mmengine's optimiser, which computes losses in bf16. That has the range of fp32: nothing is scaled."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device
        with super().optim_context(model), autocast(device, "bf16"):
            yield


def laid_out(model: nn.Module) -> nn.Module:
    """The model as convolutions in bf16 are fastest: channels last, where the device has bf16 at all."""
    kind = next(model.parameters()).device.type
    return model.to(memory_format=torch.channels_last) if computes_bf16(kind) else model
