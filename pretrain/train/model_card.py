"""What a model card says of a run, computed from its recipe and its folder: nothing here is typed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils.flop_counter import FlopCounterMode

from pretrain.base import dist, registry
from pretrain.base.numerics import computes_bf16
from pretrain.data.loader import Batch
from pretrain.data.split import Split
from pretrain.nets import checkpoint
from pretrain.nets.backbone import Backbone
from pretrain.nets.batch_norm import ranks_sharing
from pretrain.nets.plain import Plain
from pretrain.nets.resnet import Basic, Bottleneck, ResNet
from pretrain.nets.sobel import Sobel
from pretrain.nets.timm import Timm
from pretrain.train import meter, method, optim
from pretrain.train.recipe import Recipe

# Of the last line of metrics.jsonl, where it has them.
FINAL = ("nmi_previous", "ami_previous", "nmi_classes", "ami_classes", "purity")


def card(name: str, recipe: Recipe, split: Split, out: Path) -> dict[str, Any]:
    """Facts of the run of method `name` in folder `out`, as JSON values.

    parameters and macs (multiply-adds of products and convolutions, per image at the input size) are the
    backbone's; flops are twice the macs; train_flops_per_image is a step on all views, forward and backward,
    prototypes included. seconds and images_per_s are measured, k-means and extraction included; device_hours
    count a device per process.
    """
    path, recipe = out / "backbone.safetensors", as_computed(recipe)
    net = checkpoint.load(path)
    classes, count = len(split.classes), parameters(net)
    flops = forward_flops(net, recipe.input.size)
    return {
        "id": recipe.name,
        "method": title(name),
        "parameters": count,
        "parameters_with_classifier": count + (net.dim + 1) * classes,
        "macs": flops // 2,
        "flops": flops,
        "file_bytes": path.stat().st_size,
        "file_mib": path.stat().st_size / 2**20,
        "training_data": split.name,
        "images": len(split),
        **_training(name, recipe, split, out),
        "techniques": recipe.techniques() + (["Synchronised batch norm"] if synchronised(recipe) else []),
        "architecture": blocks(net),
        "layers": layers(net),
        "width_multiplier": net.dims[0] / 64 if isinstance(net, ResNet) else 1.0,
        "classes": classes,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **rates(recipe),
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "temperature": getattr(recipe, "temperature", None),
        "precision": recipe.precision,
        "batch_norm_images": batch_norm_images(recipe),
        "mean": list(recipe.input.mean),
        "std": list(recipe.input.std),
    }


def as_computed(recipe: Recipe) -> Recipe:
    """The recipe with the precision that this device has, see `numerics.autocast`."""
    here = "cuda" if torch.cuda.is_available() else "cpu"
    lacking = recipe.precision == "bf16" and not computes_bf16(here)
    return replace(recipe, precision="fp32") if lacking else recipe


def title(name: str) -> str:
    """The method's name in words."""
    return str(registry.load("pretrain.methods", name, "recipes").TITLE)


def parameters(net: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def forward_flops(net: Backbone, side: int) -> int:
    """Floating-point operations of one image of `side` px through a backbone."""
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, 3, side, side))
    return int(counter.get_total_flops())


def step_flops(name: str, recipe: Recipe) -> int:
    """Floating-point operations of one image in a training step: all views, the loss, and the backward pass.

    Counted on tensors without memory, but for a method that looks at values: they have none.
    """
    try:
        with FakeTensorMode():
            return _step_flops(name, recipe)
    except (DataDependentOutputException, DynamicOutputShapeException):
        return _step_flops(name, recipe)


def _step_flops(name: str, recipe: Recipe) -> int:
    """Two images at a time, because batch norm needs more than one."""
    made = method.find(name)(recipe, 2, 0)
    views = [torch.zeros(2, 3, view.size, view.size) for view in recipe.views for _ in range(view.count)]
    batch = Batch(torch.zeros(2, dtype=torch.int64), views)
    with FlopCounterMode(display=False) as counter:
        made.loss(made.net, batch, method.At(0, 0)).value.backward()
    return int(counter.get_total_flops()) // 2


def _training(name: str, recipe: Recipe, split: Split, out: Path) -> dict[str, Any]:
    """What was trained, on what, for how long; only where something was trained."""
    if recipe.epochs == 0:
        return {}
    last = meter.last(out / "metrics.jsonl")
    measured = (
        {
            "seconds": last["seconds"],
            "device_hours": last["seconds"] * dist.world_size() / 3600,
            "images_per_s": last["iteration"] * recipe.batch_size / last["seconds"],
        }
        if last
        else {}
    )
    return {
        "parameters_in_training": parameters(method.find(name)(recipe, 1, 0).net),
        "train_flops_per_image": step_flops(name, recipe),
        **measured,
        "processes": dist.world_size(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        **{name: last[name] for name in FINAL if last.get(name) is not None},
    }


def synchronised(recipe: Recipe) -> bool:
    """Whether processes share batch-norm statistics."""
    return ranks_sharing(recipe.bn_group, recipe.batch_size, dist.world_size()) > 1


def blocks(net: Backbone) -> list[str]:
    """The building blocks of a backbone, from the modules that it has."""
    kinds = {type(module) for module in net.modules()}
    kernels = {module.kernel_size for module in net.modules() if isinstance(module, nn.Conv2d)}
    residual = bool(kinds & {Bottleneck, Basic})
    present = {
        "Sobel Filter": Sobel in kinds,
        "Convolution": nn.Conv2d in kinds,
        "1x1 Convolution": (1, 1) in kernels,
        "Batch Normalization": nn.BatchNorm2d in kinds,
        "ReLU": residual or nn.ReLU in kinds,
        "Max Pooling": nn.MaxPool2d in kinds if isinstance(net, Timm) else not net.small_stem,
        "Bottleneck Residual Block": Bottleneck in kinds,
        "Residual Block": residual,
        "Residual Connection": residual,
        "Global Average Pooling": True,  # the contract of a backbone: five maps and the average of the last
    }
    return [name for name, has in present.items() if has]


def layers(net: Backbone) -> int:
    """Layers as architectures count them: convolutions but for shortcuts, and the fully connected ones."""
    convolutions = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in n]
    return len(convolutions) + (3 if isinstance(net, Plain) else 1)


def rates(recipe: Recipe) -> dict[str, float]:
    """Peak learning rate, also per 256 images, and those of the first and last iteration (to 1 in 1000)."""
    many, per_256 = 1000, recipe.lr * 256 / recipe.batch_size
    first, last = (
        optim.learning_rate(recipe, i, many) if recipe.epochs else recipe.lr
        for i in (0, recipe.epochs * many - 1)
    )
    return {"lr": recipe.lr, "lr_per_256": per_256, "lr_first": first, "lr_last": last}


def batch_norm_images(recipe: Recipe) -> int:
    """Images that share batch-norm statistics in this run."""
    return recipe.bn_group or recipe.batch_size
