"""bf16 is computed where a device has it, and nowhere emulated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pretrain.base import numerics
from pretrain.base.numerics import autocast, computes_bf16
from pretrain.train.model_card import as_computed
from zoo.suites.suite import recipes

CPU = torch.device("cpu")


def product(precision: str) -> torch.dtype:
    with autocast(CPU, precision):
        return nn.Linear(2, 2)(torch.ones(1, 2)).dtype


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor like most, with AVX2 alone."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(numerics.platform, "machine", lambda: "x86_64")
    computes_bf16.cache_clear()
    yield
    computes_bf16.cache_clear()


@pytest.mark.skipif(not computes_bf16("cpu"), reason="this processor has no bf16")
def test_bf16_is_bf16_where_the_processor_has_it() -> None:
    assert (product("bf16"), product("fp32"), product("tf32")) == (
        torch.bfloat16,
        torch.float32,
        torch.float32,
    )


def test_a_processor_without_bf16_computes_in_fp32(without: None) -> None:
    assert product("bf16") == torch.float32


def test_a_model_card_says_what_was_computed(without: None) -> None:
    recipe = recipes("odc")["smoke"][0]
    assert recipe.precision == "bf16"
    said = as_computed(recipe)
    assert said.precision == "fp32"
    assert "Mixed precision (bf16)" not in said.techniques()


def test_an_arm_processor_is_asked_for_its_own_instructions(
    without: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics.platform, "machine", lambda: "arm64")
    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has, raising=False)
        computes_bf16.cache_clear()
        assert computes_bf16("cpu") is has


@pytest.mark.skipif(not computes_bf16("cpu"), reason="this processor has no bf16")
def test_mm_trains_in_bf16_with_the_weights_of_the_step() -> None:
    """Weights that autocast has rounded once must not stay for the next step."""
    pytest.importorskip("mmengine", reason="mmengine is not installed")
    from benchmarks.mm.worker.precision import InBf16, laid_out

    model = nn.Conv2d(3, 4, 3)
    wrapper = InBf16(torch.optim.SGD(model.parameters(), lr=1.0))
    assert laid_out(model).weight.is_contiguous(memory_format=torch.channels_last)
    outs = []
    for _ in range(2):
        with wrapper.optim_context(model):
            outs.append(model(torch.ones(2, 3, 4, 4)))
        wrapper.update_params(outs[-1].float().sum())
    assert [out.dtype for out in outs] == [torch.bfloat16] * 2
    assert (outs[1] < outs[0]).all()
    assert model.weight.dtype == torch.float32
