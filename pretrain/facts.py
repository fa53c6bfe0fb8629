"""What a model card says of a run, computed from its recipe and its folder: nothing here is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pretrain import checkpoint, dist, folder, method
from pretrain.backbone import Backbone, Basic, Bottleneck, Plain, ResNet, Sobel
from pretrain.network import ranks_sharing
from pretrain.recipe import Cosine, Recipe
from pretrain.split import Split

# A recipe that has the field, other than 0, uses the technique.
TECHNIQUES = {
    "clusters": "k-means pseudo-labels",
    "banks": "k-means pseudo-labels from memory banks",
    "heads": "Several clusterings at once",
    "memory_momentum": "Sample and centroid memory",
    "pca": "PCA whitening",
    "epsilon": "Sinkhorn-Knopp codes",
    "queue": "Feature queue",
    "momentum": "SGD with momentum",
    "weight_decay": "Weight decay",
}
# Of the last line of metrics.jsonl, where it has them.
FINAL = ("nmi_previous", "ami_previous", "nmi_classes", "ami_classes", "purity")


def card(name: str, recipe: Recipe, split: Split, out: Path) -> dict[str, Any]:
    """Facts of the run of method `name` in folder `out`, as JSON values.

    parameters and macs (multiply-adds of convolutions and linear layers, per image at the input size) are the
    backbone's; flops are twice the macs; train_flops_per_image is the whole network on all views, prototypes
    included, forward and backward (three times forward). seconds and images_per_s are measured, k-means and
    extraction included; device_hours count a device per process.
    """
    net, path = checkpoint.load(out / "backbone.safetensors"), out / "backbone.safetensors"
    classes, count = len(split.classes), parameters(net)
    forward = macs(net, [recipe.input.size])
    return {
        "id": recipe.name,
        "method": title(name),
        "parameters": count,
        "parameters_with_classifier": count + (net.dim + 1) * classes,
        "macs": forward,
        "flops": 2 * forward,
        "file_bytes": path.stat().st_size,
        "file_mib": path.stat().st_size / 2**20,
        "training_data": split.name,
        "images": len(split),
        **_training(name, recipe, split, out),
        "techniques": [title(name), *techniques(recipe)],
        "architecture": blocks(net),
        "layers": layers(net),
        "width_multiplier": net.dims[0] / 64 if isinstance(net, ResNet) else 1.0,
        "classes": classes,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **_rates(recipe),
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "temperature": getattr(recipe, "temperature", None),
        "precision": recipe.precision,
        "batch_norm_images": _batch_norm_images(recipe),
        "mean": list(recipe.input.mean),
        "std": list(recipe.input.std),
    }


def title(name: str) -> str:
    """The method's name in words: the first words of its file, up to its paper or its explanation."""
    said = folder.load("pretrain.methods", name).__doc__ or name
    return str(said).split("\n")[0].split(" (")[0].split(":")[0].strip()


def parameters(net: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def macs(net: nn.Module, sides: Iterable[int], views: bool = False) -> int:
    """Multiply-adds of convolutions and linear layers on images of these sides in px; `views`: net takes a list."""
    total, images = 0, [torch.zeros(1, 3, side, side) for side in sides]

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += out.numel() * module.weight[0].numel()  # every output is a product with one filter

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    net.eval()(images if views else torch.cat(images))
    for hook in hooks:
        hook.remove()
    return total


def _training(name: str, recipe: Recipe, split: Split, out: Path) -> dict[str, Any]:
    """What was trained, on what, for how long; times only where something was trained."""
    if recipe.epochs == 0:
        return {}
    made = method.find(name)(recipe, 1, torch.device("cpu"), 0)
    sides = [view.size for view in recipe.views for _ in range(view.count)]
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        "parameters_in_training": parameters(made.net),
        "train_flops_per_image": 6 * (macs(made.net, sides, views=True) + _prototype_macs(recipe)),
        "seconds": last["seconds"],
        "device_hours": last["seconds"] * dist.world_size() / 3600,
        "images_per_s": last["iteration"] * recipe.batch_size / last["seconds"],
        "processes": dist.world_size(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        **{name: last[name] for name in FINAL if last.get(name) is not None},
    }


def _prototype_macs(recipe: Recipe) -> int:
    """Multiply-adds of all views of an image with the prototypes of all heads; they are no linear layers."""
    views = sum(view.count for view in recipe.views)
    return views * getattr(recipe, "heads", 1) * getattr(recipe, "prototypes", 0) * getattr(recipe, "dim", 0)


def synchronised(recipe: Recipe) -> bool:
    """Whether processes share batch-norm statistics: the loop lets them on GPUs alone."""
    return recipe.sync_bn and dist.world_size() > 1 and torch.cuda.is_available()


def techniques(recipe: Recipe) -> list[str]:
    """The training techniques that a recipe's fields say it uses."""
    if recipe.epochs == 0:
        return []
    found = [text for field, text in TECHNIQUES.items() if getattr(recipe, field, 0)]
    if synchronised(recipe):
        found.append("Synchronised batch norm")
    if recipe.optimizer == "larc":
        found.append("LARC")
    if isinstance(recipe.schedule, Cosine):
        found.append("Cosine learning rate" + (" with warm-up" if recipe.schedule.warmup else ""))
    if len({view.size for view in recipe.views}) > 1:
        found.append("Multi-crop")
    if recipe.precision == "bf16":
        found.append("Mixed precision (bf16)")
    return found


def blocks(net: Backbone) -> list[str]:
    """The building blocks of a backbone, from the modules that it has."""
    kinds = {type(module) for module in net.modules()}
    kernels = {module.kernel_size for module in net.modules() if isinstance(module, nn.Conv2d)}
    residual = bool(kinds & {Bottleneck, Basic})
    present = {
        "Sobel Filter": Sobel in kinds,
        "Convolution": True,
        "1x1 Convolution": (1, 1) in kernels,
        "Batch Normalization": nn.BatchNorm2d in kinds,
        "ReLU": True,
        "Max Pooling": not net.small_stem,
        "Bottleneck Residual Block": Bottleneck in kinds,
        "Residual Block": residual,
        "Residual Connection": residual,
        "Global Average Pooling": True,
        "Softmax": True,
    }
    return [name for name, has in present.items() if has]


def layers(net: Backbone) -> int:
    """Layers as architectures count them: convolutions but for shortcuts, and the fully connected ones."""
    convolutions = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in n]
    return len(convolutions) + (3 if isinstance(net, Plain) else 1)


def _rates(recipe: Recipe) -> dict[str, float]:
    """Peak learning rate, also per 256 images, and those of the first and last iteration (to 1 in 1000)."""
    from pretrain.optim import factor

    many = 1000
    first, last = (
        factor(recipe.schedule, i, many, recipe.epochs) if recipe.epochs else 1.0 for i in (0, recipe.epochs * many - 1)
    )
    per_256 = recipe.lr * 256 / recipe.batch_size
    return {"lr": recipe.lr, "lr_per_256": per_256, "lr_first": recipe.lr * first, "lr_last": recipe.lr * last}


def _batch_norm_images(recipe: Recipe) -> int:
    """Images that share batch-norm statistics in this run."""
    world = dist.world_size()
    sharing = ranks_sharing(recipe.bn_group, recipe.batch_size, world) if synchronised(recipe) else 1
    return sharing * recipe.batch_size // world
