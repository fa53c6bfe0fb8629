"""A backbone with the tensors of a file: fp32, colours in the order RGB, batch counters at 0."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets.archs import build
from pretrain.nets.backbone import Backbone
from pretrain.nets.formats.candidates import Candidate
from pretrain.nets.formats.contract import Order
from pretrain.nets.formats.opening import State
from pretrain.nets.sobel import Sobel

UNIT = 1 - 1e-5  # variance at which a batch norm is its scale and shift alone


def filled(path: Path, chosen: Candidate, arch: str, given: Input, order: Order) -> Backbone:
    """The backbone with the file's tensors; what is missing keeps its seeded initial value."""
    net = build(arch, given, seed=0)
    tensors = {n: t.to(torch.float32) if t.is_floating_point() else t for n, t in chosen.tensors.items()}
    if given.sobel:
        _checked(path, chosen.state)
    elif order == "bgr":
        first = next(n for n, t in tensors.items() if t.ndim == 4 and t.shape[1] == 3)
        tensors[first] = tensors[first].flip(1)
    state = net.state_dict()
    net.load_state_dict({**state, **tensors, **_scale_and_shift(chosen, state)})
    return net.eval()


def _scale_and_shift(chosen: Candidate, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Statistics with which batch norm is a scale and a shift, where a layout keeps nothing else."""
    if not chosen.layout.folded:
        return {}
    made = {n: torch.zeros_like(t) for n, t in state.items() if n.endswith("running_mean")}
    return {**made, **{n: torch.full_like(t, UNIT) for n, t in state.items() if n.endswith("running_var")}}


def front(state: State) -> dict[str, Tensor]:
    """The weights of a Sobel front-end in the file, by their names there."""
    return {n: t for n, t in state.tensors.items() if re.search(r"(^|\.)sobel\.\d\.(weight|bias)$", n)}


def _checked(path: Path, state: State) -> None:
    """Raises Fault unless a Sobel front-end in the file, if there is one, is the fixed one of this zoo."""
    kept = {n.rpartition("sobel.")[2]: t.to(torch.float32) for n, t in front(state).items()}
    if not {"0.weight", "1.weight"} <= kept.keys():
        return
    gray, edges = kept["0.weight"], kept["1.weight"]
    ours, same = Sobel().kernel, False
    if tuple(gray.shape) == (1, 3, 1, 1) and tuple(edges.shape) == (2, 1, 3, 3):
        same = torch.allclose(edges * gray.reshape(1, 3, 1, 1), ours, atol=1e-6)
    if not same or any(bool(t.any()) for n, t in kept.items() if n.endswith("bias")):
        raise Fault("weights-mismatch", f"{path}: its Sobel front-end has other weights than DeepCluster's")
