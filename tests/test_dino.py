"""DINO: its loss in doubles and by hand, centre, temperatures, clipping, and the teacher that is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.cluster.codes import sinkhorn
from pretrain.data import dataset
from pretrain.data.loader import Batch
from pretrain.methods.dino import method as dino
from pretrain.nets import checkpoint
from pretrain.train import loop
from pretrain.train.method import At
from tests import scenes
from tests.train import tiny

B, N = 16, 48


def built(**changes: Any) -> dino.DINO:
    """With a centre and the published temperature."""
    torch.manual_seed(0)
    published = {"sinkhorn_iterations": 0, "teacher_temperature": 0.04, "first_temperature": 0.04}
    return dino.DINO(changed(tiny("dino"), **(published | changes)), N, 0)


def batch(*sizes: int) -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(torch.arange(B), [torch.randn(B, 3, size, size, generator=g) for size in sizes or (16, 16)])


def moved(made: dino.DINO) -> dino.DINO:
    """With a teacher that is not the student, and a centre."""
    with torch.no_grad():
        made.net.neck[0].weight.add_(0.1 * torch.randn_like(made.net.neck[0].weight))
        made.centre.copy_(torch.linspace(-0.2, 0.3, len(made.centre)))
    return made


def test_the_loss_is_the_literal_one() -> None:
    """Three views, of which two teach: every pair of different views, image by image, output by output."""
    views = (changed(tiny("dino").views[0], count=2), changed(tiny("dino").views[0], size=8))
    made, given = moved(built(views=views)), batch(16, 16, 8)
    found = float(made.loss(made.net, given, At(0, 0)).value.detach())
    with torch.no_grad():
        _, s = made.net(given.views)
        _, t = made.teacher.forward(made.net, given.views[:2])
    k, pairs, total = s.shape[1], 0, 0.0
    for a in range(2):
        for v in range(3):
            if v == a:
                continue
            pairs += 1
            for i in range(B):
                taught = [(float(t[a * B + i, j]) - float(made.centre[j])) / 0.04 for j in range(k)]
                said = [float(s[v * B + i, j]) / 0.1 for j in range(k)]
                q = [math.exp(x - max(taught)) for x in taught]
                norm = max(said) + math.log(sum(math.exp(x - max(said)) for x in said))
                total -= sum(x / sum(q) * (y - norm) for x, y in zip(q, said, strict=True)) / B
    assert found == pytest.approx(total / pairs, rel=1e-4)


def test_scores_are_cosines_with_directions_of_any_length() -> None:
    head = dino.Directions(3, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 5.0], [-3.0, 4.0]]))
    torch.testing.assert_close(head(torch.tensor([[0.6, 0.8]])), torch.tensor([[0.6, 0.8, 0.28]]))


def test_the_centre_follows_what_the_teacher_said_after_the_loss() -> None:
    """c = 0 + 0.1 (1, 4) after one step, then 0.9 c + 0.1 (0, 0)."""
    made = built(prototypes=2)
    said = torch.tensor([[0.0, 3.0], [2.0, 5.0]])
    made.after_step(At(0, 0), said, torch.zeros(1))
    torch.testing.assert_close(made.centre, torch.tensor([0.1, 0.4]))
    made.after_step(At(0, 1), torch.zeros(2, 2), torch.zeros(1))
    torch.testing.assert_close(made.centre, torch.tensor([0.09, 0.36]))


def test_equal_shares_of_a_batch_instead_of_a_centre() -> None:
    """Of each teacher view by itself: (1, 0) and (1, 0.5) favour output 0; balanced, each gets one."""
    made = built(prototypes=2, sinkhorn_iterations=50, teacher_temperature=0.1)
    t = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 0.3]])
    q = made.taught(t, 0).view(2, 2, 2)
    torch.testing.assert_close(q.sum(2), torch.ones(2, 2))
    torch.testing.assert_close(q.sum(1), torch.ones(2, 2), rtol=1e-3, atol=1e-3)
    assert q.argmax(2).tolist() == [[0, 1], [1, 0]]
    torch.testing.assert_close(q, sinkhorn(t.view(2, 2, 2), 0.1, 50))


def test_how_many_outputs_are_in_use() -> None:
    sharp, flat = torch.eye(4), torch.full((4, 4), 0.25)
    assert list(dino.outputs(sharp).values()) == pytest.approx([1.0, 4.0])
    assert list(dino.outputs(flat).values()) == pytest.approx([4.0, 4.0])
    assert list(dino.outputs(sharp[:1].expand(4, 4)).values()) == pytest.approx([1.0, 1.0])


def test_the_temperature_of_the_teacher_is_on_a_line_and_then_constant() -> None:
    made = built(first_temperature=0.04, teacher_temperature=0.07, temperature_epochs=3)
    assert [made.teacher_temperature(e) for e in (0, 1, 2, 9)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    for epochs in (0, 1):
        made = built(first_temperature=0.04, teacher_temperature=0.07, temperature_epochs=epochs)
        assert [made.teacher_temperature(e) for e in (0, 5)] == [0.07, 0.07]


def test_each_gradient_is_clipped_alone() -> None:
    long, short = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    dino.clip_each_([long, short], 1.0)
    torch.testing.assert_close(long, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(short, torch.tensor([0.3, 0.4]))
    for largest, clipped in ((1e-4, True), (0.0, False)):
        made = built(clip=largest)
        made.loss(made.net, batch(), At(9, 0)).value.backward()
        made.before_step(At(9, 0), torch.optim.SGD(made.groups(), 0.1))
        norms = [float(p.grad.norm()) for p in made.net.parameters() if p.grad is not None]
        assert (max(norms) <= 1.001e-4) == clipped


def test_the_teacher_follows_slower_and_slower() -> None:
    """Nine steps: the first by 0.25, the last by 0.25 (1 + cos(8 pi / 9)) / 2 = 0.0075."""
    for step, share in ((0, 0.25), (8, 0.0075384)):
        made = built(teacher_momentum=0.75)
        before = made.net.neck[0].weight.detach().clone()
        with torch.no_grad():
            made.net.neck[0].weight.add_(1.0)
        made.after_step(At(step // 3, step), torch.zeros(2, made.recipe.prototypes))
        followed = made.teacher.tensors()["neck.0.weight"] - before
        torch.testing.assert_close(followed, torch.full_like(followed, share), rtol=1e-3, atol=1e-5)


def test_the_directions_are_held_for_an_epoch_and_nothing_flat_decays() -> None:
    made = built(freeze_epochs=1, clip=0.0)
    optimizer = torch.optim.SGD(made.groups(), 0.1, weight_decay=1.0)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decays) == len(list(made.net.parameters()))
    assert all(decays[id(p)] == (p.ndim > 1) for p in made.net.parameters())
    for epoch, held in ((0, True), (1, False)):
        made.loss(made.net, batch(), At(epoch, 3 * epoch)).value.backward()
        made.before_step(At(epoch, 3 * epoch), optimizer)
        assert (made.net.head.weight.grad is None) == held
        assert all(p.grad is not None for p in made.net.backbone.parameters())


def test_the_teacher_is_kept_with_the_statistics_of_its_own_passes(tmp_path: Path) -> None:
    root = scenes.folder(tmp_path / "images", per_class=17)
    split = dataset.find("imagenet").split(root, "train")
    recipe = tiny("dino")
    path = loop.fit("dino", recipe, split, tmp_path / "run", 0, torch.device("cpu"), lambda *_: None)
    kept = checkpoint.load(path).state_dict()
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    teacher, student = saved["memories"], saved["net"]
    counts = "num_batches_tracked"  # which no file has
    for name, tensor in ((n, t) for n, t in kept.items() if not n.endswith(counts)):
        torch.testing.assert_close(
            tensor, teacher[f"teacher.backbone/{name.replace('.', '/')}"], rtol=0, atol=0
        )
    name = next(name for name in kept if name.endswith("running_mean"))
    assert not torch.equal(kept[name], student[f"backbone.{name}"])


def test_views_that_cannot_teach_are_refused() -> None:
    for changes in ({"teacher_views": 3}, {"views.0.count": 1, "teacher_views": 1}):
        with pytest.raises(Fault, match=r"teacher_views: \d of \d views leave none that they could teach"):
            override(tiny("dino"), changes, "dino")
    with pytest.raises(Fault, match="temperature_epochs: 9 epochs are more than the 3 there are"):
        override(tiny("dino"), {"temperature_epochs": 9}, "dino")


@pytest.mark.parametrize("name", ["teacher_temperature", "first_temperature"])
def test_a_temperature_whose_exponentials_overflow_is_refused(name: str) -> None:
    with pytest.raises(Fault, match=r"Sinkhorn's codes take 0\.003 or more, not 0\.001"):
        override(tiny("dino"), {"sinkhorn_iterations": 3, name: 0.001}, "dino")
    override(tiny("dino"), {"sinkhorn_iterations": 0, name: 0.001}, "dino")


def test_equal_outputs_centred_teach_nothing_and_cost_log_k() -> None:
    made = built()
    with torch.no_grad():
        made.net.head.weight.copy_(made.net.head.weight[:1].expand_as(made.net.head.weight))
    made.start(None)  # type: ignore[arg-type]
    loss = float(made.loss(made.net, batch(), At(0, 0)).value.detach())
    assert loss == pytest.approx(math.log(made.recipe.prototypes), abs=1e-4)
