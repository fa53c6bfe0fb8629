"""What is assumed of devices, each with its source, and which one is at hand. No torch here.

Rates are images a second that a ResNet-50 trains at 224 px: measured by others on all cards of a machine,
divided by their number. Every other network is taken to keep the FLOP/s that these are, which flatters small
ones. Nothing of ours was measured on a GPU. Cores are those of NVIDIA's own machines, divided by their cards.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pretrain.base import cores
from pretrain.base.faults import Fault, unknown
from zoo.plan import flops

Precision = Literal["bf16", "tf32", "fp32"]
QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
ANSWER_SECONDS = 5.0
CPU = "cpu"


@dataclass(frozen=True)
class Device:
    """words: of the name that its driver gives; rates: images a second, see above; cores: beside each;
    source: of the rates.
    """

    name: str
    words: tuple[str, ...]
    rates: Mapping[Precision, float]
    cores: int
    source: str

    def flops(self, precision: Precision) -> float:
        """Sustained FLOP/s of one device."""
        one = flops.forward("resnet50", 224)
        assert one is not None
        return flops.TRAINING * one * self.rates[precision]


_LAMBDA = "lambdal/deeplearning-benchmark, PyTorch ResNet-50, v2, mixed and TF32"
_NVIDIA = "NVIDIA DeepLearningExamples, PyTorch ResNet-50 v1.5, container 21.03"
_SHARE = "exact fp32: the share of its peak (54 %) that a V100 reaches"
# fp32 of a V100 is measured: 346 images/s, 8.5 of 15.7 TFLOP/s. It has no bf16; what asks for it gets fp32.
DEVICES = {
    device.name: device
    for device in (
        Device(
            "h100-pcie",
            ("H100", "PCIe"),
            {"bf16": 1976, "tf32": 1248, "fp32": 1130},
            14,
            f"{_LAMBDA}, one card; {_SHARE}",
        ),
        Device(
            "h100",
            ("H100",),
            {"bf16": 22_059 / 8, "tf32": 14_969 / 8, "fp32": 1477},
            14,
            f"{_LAMBDA}, eight SXM cards; {_SHARE}",
        ),
        Device(
            "h200",
            ("H200",),
            {"bf16": 22_059 / 8, "tf32": 14_969 / 8, "fp32": 1477},
            14,
            "taken as an H100 SXM, whose arithmetic it has",
        ),
        Device(
            "a100",
            ("A100",),
            {"bf16": 16_621 / 8, "tf32": 7_248 / 8, "fp32": 430},
            16,
            f"{_NVIDIA}, DGX A100, mixed and TF32 on eight cards; {_SHARE}",
        ),
        Device(
            "v100",
            ("V100",),
            {"bf16": 2_766 / 8, "tf32": 2_766 / 8, "fp32": 2_766 / 8},
            5,
            f"{_NVIDIA}, DGX-1 32 GB, FP32 on eight cards",
        ),
        Device(
            CPU,
            (),
            {"bf16": 5.0, "tf32": 2.7, "fp32": 2.7},
            1,
            "one core of an AMD EPYC with AVX-512 bf16, measured; others may be several times slower",
        ),
    )
}


@dataclass(frozen=True)
class Machine:
    """count: devices, of a CPU its cores; cores: of all processors together."""

    device: Device
    count: int
    cores: int

    @property
    def name(self) -> str:
        """For people: `8 x h100`, `2 CPU cores`."""
        if self.device.name == CPU:
            return f"{self.count} CPU core{'s' if self.count > 1 else ''}"
        return f"{self.count} x {self.device.name}"


def named(text: str, beside: int = 0) -> Machine:
    """The machine that `8xh100` or `a100` says; beside: its cores, 0 for those that such a machine has.

    Raises Fault on another device.
    """
    many = re.match(r"(\d{1,6})\s*x\s*", wanted := text.strip().lower())
    name, devices = (wanted[many.end() :], int(many[1])) if many else (wanted, 1)
    if name not in DEVICES:
        raise unknown("device", name, DEVICES, "--on")
    if not devices:
        raise Fault("bad-config", f"--on {text} has no device; say how many, as in 8x{name}")
    return Machine(DEVICES[name], devices, beside or devices * DEVICES[name].cores)


def at_hand(gpus: int) -> Machine | None:
    """This machine with as many of its GPUs as will be used (0: one, if there is any); None where its GPU is
    none of those above.
    """
    there = cores.usable()
    if (card := _card()) is None:
        threads = os.environ.get(cores.THREADS, "")
        return Machine(DEVICES[CPU], int(threads) if threads.isdecimal() and int(threads) else there, there)
    found = of_driver(card)
    together = max(gpus, int(os.environ.get("WORLD_SIZE", "1")), 1)
    return None if found is None else Machine(found, together, there)


def of_driver(name: str) -> Device | None:
    """The device that a driver calls so, or that a record was made on; None for another."""
    lower = name.lower()
    cards = (device for device in DEVICES.values() if device.words)
    return next((d for d in cards if all(word.lower() in lower for word in d.words)), None)


def _card() -> str | None:
    """What the driver calls the first GPU; None where there is none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.strip().splitlines()), None)
