"""Which products are rounded: those of the network alone, whatever its precision; on any device."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.base.settings import changed
from pretrain.data import colour, dataset
from pretrain.data.view import Input, View
from tests import scenes
from tests.train import tiny
from zoo.library.training import fit

ROOT = Path(__file__).parents[1] / "pretrain"
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution", "_linear_pointwise"}
NETWORK = {"nets/resnet.py", "nets/heads.py", "nets/sobel.py"}


class Rounded(TorchDispatchMode):
    """Files of ours whose products a GPU would round to TF32; '' is the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.files, self.exact = set[str](), set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.split("::")[1] in PRODUCTS:
            rounds = torch.backends.cuda.matmul.fp32_precision == "tf32"
            (self.files if rounds else self.exact).add(_file())
        return func(*args, **(kwargs or {}))


def _file() -> str:
    paths = [Path(frame.filename) for frame in reversed(traceback.extract_stack())]
    ours = [str(path.relative_to(ROOT)) for path in paths if path.is_relative_to(ROOT)]
    return "" if ours[0] == "train/loop.py" else ours[0]


@pytest.mark.parametrize("name", ["coke", "deepcluster", "deepclusterv2", "dino", "mocov2", "simclr", "swav"])
def test_of_a_run_in_tf32_the_network_alone_is_rounded(name: str, tmp_path: Path) -> None:
    split = dataset.find("imagenet").split(scenes.folder(tmp_path / "images", per_class=17), "train")
    recipe = changed(tiny(name, 1), precision="tf32", check_every=0)
    with Rounded() as seen:
        fit(recipe, split, tmp_path / "run", device="cpu")
    assert "nets/resnet.py" in seen.files
    assert seen.files <= NETWORK | {""}
    assert seen.exact


@pytest.mark.parametrize("changes", [{"mix": 0.5}, {"rotate": 20.0}], ids=lambda one: next(iter(one)))
def test_views_are_those_of_fp32_where_a_network_in_bf16_asks_for_them(changes: dict[str, float]) -> None:
    view, given = changed(View(size=16), **changes), Input(size=16, resize=16)
    pixels = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    u = torch.rand(8, colour.COLOUR_DRAWS)
    alone = colour.finish(pixels, view, u, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(colour.finish(pixels, view, u, given), alone)
