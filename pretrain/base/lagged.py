"""A device scalar that the host reads a step later, so that the device never waits for the host."""

from __future__ import annotations

import torch
from torch import Tensor


class Lagged:
    """Starts copying a scalar to the host; `read` waits only for the work that was queued before the copy."""

    def __init__(self, value: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._host = value.detach()
        if value.device.type == "cuda":
            self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._host.copy_(value.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(value.device))

    def read(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._host.item())
