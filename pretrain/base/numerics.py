"""How fp32 products and convolutions are computed on a GPU: said, not left to a library's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Numerics = Literal["fp32", "tf32"]


@contextmanager
def numerics(kind: Numerics) -> Iterator[None]:
    """Products and convolutions of fp32 tensors in full precision, or with operands rounded to TF32.

    torch's own default differs between the two: IEEE products, TF32 convolutions. Puts back what was set.
    """
    import torch

    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    kept = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee" if kind == "fp32" else "tf32"
    try:
        yield
    finally:
        for backend, before in zip(backends, kept, strict=True):
            backend.fp32_precision = before
