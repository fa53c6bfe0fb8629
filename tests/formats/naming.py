"""The names that other programs give to a backbone's tensors, and what they keep beside them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

State = Mapping[str, Tensor]
SOBEL = {
    "0.weight": torch.full((1, 3, 1, 1), 1 / 3),
    "0.bias": torch.zeros(1),
    "1.weight": torch.tensor(
        [[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]]]
    ),
    "1.bias": torch.zeros(2),
}


def behind(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def head(*names: str) -> dict[str, Tensor]:
    return {name: torch.ones(3, 2) for name in names}


def sequential(state: State, first: int = 4) -> dict[str, Tensor]:
    """Names of a Sequential of a network's children; layer1 is child `first`."""
    said = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + first - 1) for i in range(1, 5)}}
    return {re.sub(r"^\w+", lambda m: said[m[0]], name): tensor for name, tensor in state.items()}


def detectron2(state: State) -> dict[str, Any]:
    """Names of Detectron2, written down one by one, as arrays."""
    made = {}
    for name, tensor in state.items():
        top, *rest = name.split(".")
        if top == "conv1":
            new = "stem.conv1.weight"
        elif top == "bn1":
            new = f"stem.conv1.norm.{rest[-1]}"
        else:
            stage, (block, part, *last) = f"res{int(top[-1]) + 1}", rest
            if part.startswith("bn"):
                new = f"{stage}.{block}.conv{part[-1]}.norm.{last[0]}"
            elif part == "downsample":
                new = f"{stage}.{block}.shortcut.{'norm.' if last[0] == '1' else ''}{last[1]}"
            else:
                new = f"{stage}.{block}.{part}.weight"
        if not new.endswith("num_batches_tracked"):
            made[new] = tensor.numpy()
    return made


def transformers(state: State) -> dict[str, Tensor]:
    """Names of Hugging Face's transformers, written down one by one."""
    made = {}
    for name, tensor in state.items():
        top, *rest = name.split(".")
        part = {"conv": "convolution", "bn": "normalization"}
        if not top.startswith("layer"):
            new = f"embedder.embedder.{part[top[:-1]]}.{rest[0]}"
        else:
            block, layer, *last = rest
            if layer == "downsample":
                new = f"shortcut.{part['conv' if last[0] == '0' else 'bn']}.{last[1]}"
            else:
                new = f"layer.{int(layer[-1]) - 1}.{part[layer[:-1]]}.{last[0]}"
            new = f"encoder.stages.{int(top[-1]) - 1}.layers.{block}.{new}"
        made[new] = tensor
    return made


def lightning(state: State) -> dict[str, Any]:
    return {"epoch": 3, "global_step": 9, "pytorch-lightning_version": "2.1.2", "state_dict": dict(state)}


def training(state: State) -> dict[str, Any]:
    momentum = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 9, "arch": "resnet50", "state_dict": OrderedDict(state), "optimizer": momentum}


def vissl(state: State, feature: bool = False) -> dict[str, Any]:
    start = "base_model._feature_blocks." if feature else "_feature_blocks."
    model = {"trunk": behind(start, state), "heads": head("0.clf.0.weight")}
    loss = {"local_memory_embeddings": torch.ones(2, 4, 8), "centroids0": torch.ones(3, 8)}
    return {"classy_state_dict": {"base_model": {"model": model}}, "loss": loss, "iteration": 7}


def other(state: State) -> dict[str, Tensor]:
    """The same names with other numbers: a momentum twin."""
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def twins(mine: str, theirs: str, state: State) -> dict[str, Tensor]:
    """A network and its momentum twin in one dict."""
    return {**behind(mine, state), **behind(theirs, other(state))}
