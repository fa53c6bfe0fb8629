"""The files of a published model that hold its weights and its preprocessing, written and read back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.settings import plain
from pretrain.data.view import Input
from pretrain.nets.archs import ARCHS
from pretrain.nets.formats.contract import Flags, Loaded
from pretrain.nets.formats.exporting import export
from pretrain.nets.formats.reading import read
from reports.pages.metafile import config
from zoo.weights.source import sha256

SAFETENSORS, TRANSFORM = "model.safetensors", "transform.py"
DIGITS = 8  # of a hash in a file's name, as torch.hub checks them


def weights(loaded: Loaded, folder: Path, name: str) -> str:
    """Writes the weights and returns the name of the .pth, '' for a network that no bare dict can carry.

    The .pth is a plain state_dict under torchvision's names, and ends in the first digits of the SHA-256 of
    its bytes. Raises Fault: nan; weights-corrupt where what was written is not read back as the same weights.
    """
    state = {key: one.detach().cpu().contiguous() for key, one in loaded.backbone.state_dict().items()}
    for key, one in state.items():
        if not bool(one.isfinite().all()):
            raise Fault("nan", f"weights of {name}: '{key}' is not finite; nothing was published")
    if next(loaded.backbone.parameters(), None) is None:
        raise Fault("bad-config", f"{name} ({loaded.arch}) has no weights, there is nothing to publish")
    place = folder / SAFETENSORS
    export(loaded, place, "safetensors", {})
    _ordered(place)
    _same(place, loaded, Flags())
    if loaded.input.sobel or loaded.arch not in ARCHS:  # a dict has no place for the front-end
        return ""
    body = io.BytesIO()  # not the file: its name would be among the bytes
    torch.save(state, body)
    aside = folder / f"{name}.pth"
    files.write(aside, lambda part: part.write_bytes(body.getvalue()))
    final = folder / f"{name}-{sha256(aside)[:DIGITS]}.pth"
    aside.rename(final)
    if not sha256(final).startswith(final.stem[-DIGITS:]):
        raise Fault(
            "weights-corrupt", f"{final}: what is on the disk has another hash than its name; try again"
        )
    _same(final, loaded, Flags(arch=loaded.arch))
    return final.name


def _ordered(path: Path) -> None:
    """Puts what a safetensors header says in order: its writer shuffles it, and equal weights shall be equal
    files. The header is the length in 8 bytes, then JSON, filled with spaces to a multiple of 8.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    said = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items())), **header}
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    files.write(path, lambda part: part.write_bytes(len(text).to_bytes(8, "little") + text + content[end:]))


def _same(path: Path, loaded: Loaded, flags: Flags) -> None:
    found = read(path, flags)
    if found.sha256 != loaded.sha256:
        said = f"read back as weights {found.sha256[:12]}, expected {loaded.sha256[:12]}"
        raise Fault("weights-corrupt", f"{path}: {said}; try again, on another disk")


def settings(folder: Path, name: str, loaded: Loaded, recipe: Mapping[str, Any]) -> None:
    """The model's config: architecture, input, and the settings that it was trained with."""
    body = {"arch": loaded.arch, "input": plain(loaded.input), "recipe": dict(recipe) or None}
    files.write_text(folder / config(name), json.dumps(body, indent=2, sort_keys=True) + "\n")


def transform(folder: Path, name: str, given: Input) -> None:
    """Preprocessing as code that needs torchvision alone."""
    text = CODE.format(
        name=name, size=given.size, resize=given.resize, mean=tuple(given.mean), std=tuple(given.std),
        returns=f"({2 if given.sobel else 3}, {given.size}, {given.size})",
        imports=f"{SOBEL_IMPORT}\n" if given.sobel else "",
        more=SOBEL if given.sobel else "", last="\n        sobel," if given.sobel else "",
    )  # fmt: skip
    files.write_text(folder / TRANSFORM, text)


CODE = '''"""Images as {name} takes them. Needs torchvision alone.

    from PIL import Image
    from transform import transform

    images = transform(Image.open("photo.jpg"))[None]

`transform` makes of a Pillow image of 8 bits a channel a float tensor {returns}.
"""

{imports}from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode


def upright(image: Image.Image) -> Image.Image:
    """As its EXIF data say, in RGB."""
    return ImageOps.exif_transpose(image).convert("RGB")

{more}
transform = transforms.Compose(
    [
        upright,
        transforms.Resize({resize}, interpolation=InterpolationMode.BILINEAR),
        transforms.CenterCrop({size}),
        transforms.ToTensor(),
        transforms.Normalize({mean}, {std}),{last}
    ]
)
'''
SOBEL_IMPORT = "import torch"
SOBEL = '''
def sobel(image: torch.Tensor) -> torch.Tensor:
    """The two edges of the gray image that DeepCluster's networks see: (3, S, S) -> (2, S, S)."""
    edges = torch.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]]])
    return torch.nn.functional.conv2d(image.mean(0)[None, None], edges, padding=1)[0]

'''
