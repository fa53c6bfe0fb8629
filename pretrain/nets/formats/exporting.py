"""A backbone in the form that another program reads, as far as that program can run it."""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pretrain.base import files
from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import plain
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.formats.contract import Loaded
from pretrain.nets.formats.ours import ARCH, INPUT
from pretrain.nets.formats.shapes import COUNTER
from pretrain.nets.names import TIMM

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
CAFFE = ("resnet50_v1", "resnet101_v1")  # stride in the 1x1: a setting of the detectors
AUTHOR = "cluster-zoo"
State = dict[str, Tensor]


def export(loaded: Loaded, path: Path, to: str, origin: dict[str, Any]) -> list[str]:
    """Writes the file, absent or complete; what its reader must be told, as sentences.

    to: one of `ARCHS`; origin: for a file of ours. Raises Fault (bad-config) where the target cannot carry
    the network as it is, weights-mismatch for a network that is only partly there.
    """
    if to not in ARCHS:
        raise unknown("target", to, ARCHS)
    _carried(loaded, to)
    if to == "ours":
        checkpoint.save(path, loaded.backbone, loaded.arch, origin)
        return []
    if to == "onnx":
        return _onnx(loaded, path)
    state = {name: one.detach().cpu().contiguous() for name, one in loaded.backbone.state_dict().items()}
    return WRITERS[to](loaded, path, state)


def _carried(loaded: Loaded, to: str) -> None:
    """Raises Fault unless the target can run the network with equal features."""
    if loaded.report.share < 1 and to != "ours":
        said = f"only {loaded.report.share:.3f} of the backbone was in the file, and {to} cannot say so; use ours"
        raise Fault("weights-mismatch", said)
    archs = ARCHS[to]
    if to == "timm" and loaded.arch.startswith(TIMM) and not loaded.input.sobel:
        return
    if archs is not None and loaded.arch not in archs:
        said = (
            f"--to {to}: it has no {loaded.arch} (it has {', '.join(archs)}); use ours, safetensors or onnx"
        )
        raise Fault("bad-config", said)
    if archs is not None and loaded.input.sobel:
        said = "has no place for the Sobel front-end of this network, without which features are others"
        raise Fault("bad-config", f"--to {to}: it {said}; use ours, safetensors or onnx")


def _bare(loaded: Loaded, path: Path, state: State) -> list[str]:
    if loaded.arch.startswith(TIMM):
        state = {name.removeprefix("net."): one for name, one in state.items()}
    if path.suffix == ".safetensors":
        files.write(path, lambda aside: save_file(state, aside, metadata={"format": "pt"}))
    else:
        _torch(path, state)
    return [_normalised(loaded.input), "load it with strict=False: a classifier is not in it"]


def _safetensors(loaded: Loaded, path: Path, state: State) -> list[str]:
    header = {"format": "pt", ARCH: loaded.arch, INPUT: json.dumps(plain(loaded.input), sort_keys=True)}
    files.write(path, lambda aside: save_file(state, aside, metadata=header))
    front = ["put the two Sobel edges of the gray image before conv1"] if loaded.input.sobel else []
    return [_normalised(loaded.input), *front]


def _mm(loaded: Loaded, path: Path, state: State) -> list[str]:
    given, style = loaded.input, "caffe" if loaded.arch in CAFFE else "pytorch"
    mean, std = ([255 * one for one in values] for values in (given.mean, given.std))
    config = f"style='{style}'\nmean={mean}\nstd={std}\nto_rgb=True\n"  # as their own files say it
    meta = {"author": AUTHOR, "arch": loaded.arch, "config": config}
    _torch(path, {"meta": meta, "state_dict": state})
    return [
        f"backbone: type ResNet (mmseg's default ResNetV1c is another), style '{style}', "
        "init_cfg=dict(type='Pretrained', checkpoint=...)",
        f"data_preprocessor: {_pixels(given)}, bgr_to_rgb=True",
    ]


def _detectron2(loaded: Loaded, path: Path, state: State) -> list[str]:
    model = {to_detectron2(n): one.numpy() for n, one in state.items() if not n.endswith(COUNTER)}
    body = {"model": model, "__author__": AUTHOR, "matching_heuristics": True}
    files.write(path, lambda aside: aside.write_bytes(pickle.dumps(body, protocol=4)))
    return [
        f"INPUT.FORMAT RGB, {_pixels(loaded.input)}, RESNETS.STRIDE_IN_1X1 {loaded.arch in CAFFE}",
        "RESNETS.NORM SyncBN and BACKBONE.FREEZE_AT 0 for weights that were not trained with labels",
    ]


_TO_DETECTRON2 = (
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer1\.", "res2."),
    (r"^layer2\.", "res3."),
    (r"^layer3\.", "res4."),
    (r"^layer4\.", "res5."),
    (r"(?<=\d)\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


def to_detectron2(name: str) -> str:
    """Detectron2's name of a tensor of a ResNet."""
    for pattern, new in _TO_DETECTRON2:
        name = re.sub(pattern, new, name)
    return name


def _onnx(loaded: Loaded, path: Path) -> list[str]:
    """The features (B, dim) of normalised images (B, 3, H, W), front-end included."""
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxscript") is None:
        said = "--to onnx needs the packages onnx and onnxscript; install them with `pip install onnx onnxscript`"
        raise Fault("dependency-missing", said)
    size = loaded.input.size

    def save(aside: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                loaded.backbone,
                (torch.zeros(2, 3, size, size),),
                str(aside),
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )

    files.write(path, save)
    return [_normalised(loaded.input)]


def _torch(path: Path, body: dict[str, Any]) -> None:
    files.write(path, lambda aside: torch.save(body, aside))


def _normalised(given: Input) -> str:
    mean, std = ("/".join(f"{one:.4g}" for one in values) for values in (given.mean, given.std))
    return (
        f"images: RGB in [0, 1], mean {mean}, std {std}, short side {given.resize} px, centre {given.size} px"
    )


def _pixels(given: Input) -> str:
    mean, std = (", ".join(f"{255 * one:.3f}" for one in values) for values in (given.mean, given.std))
    return f"mean [{mean}], std [{std}]"


WRITERS: dict[str, Callable[[Loaded, Path, State], list[str]]] = {
    "torchvision": _bare,
    "timm": _bare,
    "mmdet": _mm,
    "mmseg": _mm,
    "detectron2": _detectron2,
    "safetensors": _safetensors,
}
# Every target, with the architectures that its own code has; None: it carries whatever there is.
ARCHS: dict[str, tuple[str, ...] | None] = {
    "ours": None,
    "torchvision": (*RESNETS, "vgg16_bn"),
    "timm": (*RESNETS, "vgg16_bn"),
    "mmdet": (*RESNETS, *CAFFE),
    "mmseg": (*RESNETS, *CAFFE),
    "detectron2": (*RESNETS, *CAFFE),
    "safetensors": None,
    "onnx": None,
}
