"""`zoo convert` and `zoo verify`: weights from elsewhere, to elsewhere, and what a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.options import AsJson
from zoo.weights import convert as converting
from zoo.weights import verify as verifying
from zoo.weights.options import Trust, flags, reading
from zoo.weights.source import local

Source = Annotated[
    str, typer.Argument(help="A checkpoint of any known layout: file, https:// or hf://ORG/NAME@REV/FILE.")
]
Target = Annotated[Path, typer.Argument(help="The file to write.")]
To = Annotated[
    str,
    typer.Option("--to", help="ours, torchvision, timm, mmdet, mmseg, detectron2, safetensors or onnx."),
]


@reading
def convert(source: Source, target: Target, to: To = "ours", trust: Trust = False, **read: Any) -> None:
    """Write the backbone of a checkpoint in another format, and say what was matched, ignored and missing."""
    converting.convert(local(source), target, to, flags(**read), trust)


@reading
def verify(path: Source, json: AsJson = False, **read: Any) -> None:
    """What a checkpoint holds: layout, architecture, matched and missing tensors, signs of dead weights."""
    verifying.verify(local(path), flags(**read), json)
