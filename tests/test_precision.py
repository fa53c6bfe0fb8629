"""What is computed in which precision."""

from __future__ import annotations

import pytest
import torch

from pretrain.base.settings import changed
from pretrain.data import colour
from pretrain.data.view import Input, View


@pytest.mark.parametrize("changes", [{"mix": 0.5}, {"rotate": 20.0}], ids=lambda one: next(iter(one)))
def test_views_are_those_of_fp32_where_a_network_in_bf16_asks_for_them(changes: dict[str, float]) -> None:
    view, given = changed(View(size=16), **changes), Input(size=16, resize=16)
    pixels = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    u = torch.rand(8, colour.COLOUR_DRAWS)
    alone = colour.finish(pixels, view, u, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(colour.finish(pixels, view, u, given), alone)
