"""How products and convolutions are computed: said, not left to a library's defaults."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

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


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """A network's precision: bf16 where it is asked for and the device has it, TF32, or what is around it."""
    import torch

    wanted = precision == "bf16" and computes_bf16(device.type)
    with torch.autocast(device.type, torch.bfloat16, enabled=wanted), rounded(precision):
        yield


def rounded(precision: str) -> AbstractContextManager[None]:
    """TF32 where it is the precision of a network, for its backward pass, too; else as it is."""
    return numerics("tf32") if precision == "tf32" else nullcontext()


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """fp32 whatever the precision of the network around it."""
    import torch

    known = torch.amp.is_autocast_available(device.type)
    with torch.autocast(device.type, enabled=False) if known else nullcontext(), numerics("fp32"):
        yield


@cache
def computes_bf16(kind: str) -> bool:
    """Whether a kind of device has instructions for bf16.

    Without them libraries emulate it, and a training step on a CPU with AVX2 takes eight times as long as
    in fp32 (with AVX-512, 1.7 times): such a device gets fp32, which is the more exact of the two.
    """
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return True
    of_cpu: Any = torch.cpu
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(of_cpu._is_avx512_bf16_supported())
    kernels: Any = torch.ops.mkldnn  # on ARM its check is of the instructions; absent where it was left out
    return hasattr(kernels, "_is_mkldnn_bf16_supported") and bool(kernels._is_mkldnn_bf16_supported())


@cache
def multiplies_bf16_tiles() -> bool:
    """Whether torch's CPU kernels multiply tiles of bf16 (AMX), four to six times as fast as fp32."""
    import torch

    of_cpu, kernels = torch.cpu, torch.ops.mkldnn
    return bool(of_cpu._is_amx_tile_supported()) and hasattr(kernels, "_linear_pointwise")
