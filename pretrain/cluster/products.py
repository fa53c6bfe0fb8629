"""Products of rows with a matrix that is used again and again, by the CPU's fastest kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def packed(c: Tensor, rows: int) -> Tensor:
    """c (K, D) laid out for `inner_products` of so many rows at a time; c itself where that does not pay.

    The layout is opaque and holds as many values as c.
    """
    kernels: Any = torch.ops.mkldnn
    known = hasattr(kernels, "_linear_pointwise") and hasattr(kernels, "_reorder_linear_weight")
    if c.device.type != "cpu" or not known:
        return c
    laid_out: Tensor = kernels._reorder_linear_weight(c, rows)
    return laid_out


def inner_products(rows: Tensor, c: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows . c^T + bias in fp32: (n, K) of rows (n, D), c (K, D), which may be packed, and bias (K,).

    Rows and c may both be bf16; the CPU then rounds the result to bf16, once.
    """
    kernels: Any = torch.ops.mkldnn
    if rows.device.type == "cpu" and hasattr(kernels, "_linear_pointwise"):
        # oneDNN's fp32 product, twice as fast as MKL's on AMD processors; linear() would take MKL's.
        s: Tensor = kernels._linear_pointwise(rows, c, bias, "none", [], "")
        return s
    if rows.dtype == torch.bfloat16:
        s = torch.mm(rows, c.t(), out_dtype=torch.float32)  # rounding scores to bf16 would tie most of them
        return s if bias is None else s.add_(bias)
    return F.linear(rows, c, bias)
