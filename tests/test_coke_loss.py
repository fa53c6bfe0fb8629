"""CoKe's loss equals the released one written out; its network, the clusters it keeps, and its faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.methods.coke import method as coke
from pretrain.nets import heads
from tests.train import tiny


def built(**changes: Any) -> coke.CoKe:
    torch.manual_seed(0)
    small = {"clusterings": (5, 7), "dim": 8, "mixture_from": 0}
    return coke.CoKe(changed(tiny("coke"), **(small | changes)), 48, 0)


def soft_entropy(target: Tensor, scores: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy of softmax(scores) to softmax(target)."""
    rows = zip(target, scores, strict=True)
    return torch.stack([-(t.softmax(0) * s.log_softmax(0)).sum() for t, s in rows]).mean()


@pytest.mark.parametrize("views", [1, 2, 4])
def test_the_loss_is_the_released_one(views: int) -> None:
    """Small views have twice the labels' share, and the soft assignments of both large ones."""
    recipe = changed(built().recipe, hard_weight=0.3, prediction_weight=0.6, large_weight=0.7)
    p, z = (torch.randn(views, 6, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    found = coke.clustering_loss(p, z, y[:, None], torch.ones(6, 1), recipe)
    total = torch.zeros(())
    for x, weight in ((p, 0.6), (z, 0.4)):
        hard = [F.cross_entropy(view, y) for view in x]
        if views == 1:
            total += weight * hard[0]
            continue
        pairs = ((0, 1), (1, 0))
        large = sum(0.3 * hard[v] + 0.7 * soft_entropy(z[a], x[v]) for v, a in pairs) / 2
        small = [
            (2 * 0.3 * hard[v] + 0.7 * (soft_entropy(z[0], x[v]) + soft_entropy(z[1], x[v]))) / 2
            for v in range(2, views)
        ]
        total += weight * (0.7 * large + 0.3 * sum(small) / len(small) if small else large)
    torch.testing.assert_close(found, total)


def test_several_labels_count_by_their_weights_and_no_gradient_goes_through_a_target() -> None:
    recipe, x = built().recipe, torch.randn(1, 1, 4, requires_grad=True)
    labels, weights = torch.tensor([[2, 0]]), torch.tensor([[0.25, 0.75]])
    found = coke.clustering_loss(x, x, labels, weights, recipe)
    log_p = x[0, 0].log_softmax(0)
    torch.testing.assert_close(found, -0.25 * log_p[2] - 0.75 * log_p[0])
    p, z = torch.randn(2, 1, 4), torch.randn(2, 1, 4, requires_grad=True)
    alone = changed(recipe, prediction_weight=1.0)
    coke.clustering_loss(p, z, labels, weights, alone).backward()
    assert z.grad is not None
    assert not z.grad.any()


def test_views_share_no_statistics() -> None:
    net = heads.Apart(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    views = [torch.randn(5, 4, 1, 1), 3 + torch.randn(5, 4, 1, 1)]
    z, outputs = net(views)
    assert torch.equal(z, torch.cat([net([view])[0] for view in views]))
    assert torch.equal(outputs, torch.cat([net([view])[1] for view in views]))
    together = heads.Network(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))(views)[0]
    assert not torch.allclose(z, together, atol=0.1)


@pytest.mark.parametrize("centred", [False, True])
def test_every_layer_of_the_projector_has_a_batch_norm_and_the_last_may_only_centre(centred: bool) -> None:
    made = built(centred=centred)
    neck, predictor = ([*part.children()] for part in (made.net.neck, made.net.head))
    kinds = [type(layer).__name__ for layer in neck]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert (neck[-1].weight is None) == centred
    assert [type(layer).__name__ for layer in predictor] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_the_clusters_that_are_kept_are_those_of_the_first_clustering() -> None:
    made = built()
    made.net.eval()
    x = torch.randn(4, 3, 16, 16)
    kept = made.clustering()
    z = kept.project(made.backbone, x)
    torch.testing.assert_close(z, F.normalize(made.net([x])[0]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept.distances(z), 1 - z @ made.centroids[:5].T)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mixture_from": 2, "views.0.count": 2}, "labels are averaged over epochs with one view alone"),
        ({"clusterings": [1]}, r"clusterings.0: expected at least 2, got 1"),
        ({"clusterings": []}, r"clusterings: expected 1 or more values"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match=said):
        override(tiny("coke"), changes, "coke")


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(Fault, match="15 clusters need at least as many images, not 14"):
        changed(tiny("coke"), batch_size=4).fits(14, 3)
