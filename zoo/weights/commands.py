"""`zoo convert` and `zoo verify`: weights from elsewhere, to elsewhere, and what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.options import AsJson
from zoo.weights import convert as converting
from zoo.weights import verify as verifying
from zoo.weights.options import (
    Arch,
    LayoutOption,
    Mean,
    Order,
    Partial,
    Prefix,
    Resize,
    Size,
    Std,
    Stride,
    Trust,
    flags,
)

Source = Annotated[Path, typer.Argument(help="A checkpoint of any known layout, see docs/checkpoints.md.")]
Target = Annotated[Path, typer.Argument(help="The file to write.")]
To = Annotated[
    str,
    typer.Option("--to", help="ours, torchvision, timm, mmdet, mmseg, detectron2, safetensors or onnx."),
]


def convert(
    source: Source,
    target: Target,
    to: To = "ours",
    layout: LayoutOption = None,
    prefix: Prefix = None,
    arch: Arch = None,
    stride: Stride = None,
    order: Order = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    resize: Resize = None,
    allow_partial: Partial = None,
    trust: Trust = False,
) -> None:
    """Write the backbone of a checkpoint in another format, and say what was matched, ignored and missing."""
    given = flags(
        layout=layout, prefix=prefix, arch=arch, stride=stride, order=order,
        mean=mean, std=std, size=size, resize=resize, allow_partial=allow_partial,
    )  # fmt: skip
    converting.convert(source, target, to, given, trust)


def verify(
    path: Source,
    layout: LayoutOption = None,
    prefix: Prefix = None,
    arch: Arch = None,
    stride: Stride = None,
    order: Order = None,
    allow_partial: Partial = None,
    json: AsJson = False,
) -> None:
    """What a checkpoint holds: layout, architecture, matched and missing tensors, signs of dead weights."""
    given = flags(
        layout=layout, prefix=prefix, arch=arch, stride=stride, order=order, allow_partial=allow_partial
    )
    verifying.verify(path, given, json)
