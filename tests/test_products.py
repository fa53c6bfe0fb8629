"""Products with a packed matrix are those with the matrix itself."""

from __future__ import annotations

import pytest
import torch

from pretrain.cluster.products import inner_products, packed


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_matrix_gives_the_same_products(rows: int, bias: bool) -> None:
    g = torch.Generator().manual_seed(rows)
    x, c = torch.randn(rows, 50, generator=g), torch.randn(70, 50, generator=g)
    shift = torch.randn(70, generator=g) if bias else None
    expected = x.double() @ c.double().T + (shift.double() if shift is not None else 0)
    for laid_out in (c, packed(c, 16)):
        found = inner_products(x, laid_out, shift)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_without_the_kernels_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    c = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert packed(c, 16) is c
    torch.testing.assert_close(inner_products(c, c), c @ c.T)
