"""Linear heads against a literal training, the published settings, and each other: none moves another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from benchmarks import features
from benchmarks.contract.task import Task
from benchmarks.protocols.linear import protocol as linear
from benchmarks.protocols.linear.run import heads as linear_heads
from benchmarks.protocols.linear.run import run as run_linear
from benchmarks.protocols.transfer.run import heads as transfer_heads
from benchmarks.solvers.classifiers import Heads
from benchmarks.solvers.heads import Evaluation, hits, train
from benchmarks.solvers.training import Head, Solver
from pretrain.base.faults import Fault
from pretrain.base.settings import changed, override
from pretrain.data.loader import open_loader
from pretrain.train import optim
from tests import scenes
from tests.faults.hostile import flipped
from tests.linear_task import CPU, GIVEN, LINEAR, TRANSFER, diverging, task

MAPS = [torch.rand(4, c, s, s) for c, s in ((8, 8), (8, 8), (16, 4), (32, 2), (64, 1))]


def rates(solver: Solver) -> list[float]:
    """The learning rate of every epoch."""
    return [
        solver.lr * optim.factor(solver.schedule, epoch, 1, solver.epochs) for epoch in range(solver.epochs)
    ]


def test_settings_are_the_published_ones() -> None:
    imagenet, inat, places = (protocol.settings for protocol in linear.PAPER)
    assert rates(imagenet.features) == pytest.approx([1e-2] * 30 + [1e-3] * 30 + [1e-4] * 30)
    assert rates(imagenet.average) == pytest.approx([30] * 60 + [3] * 20 + [0.3] * 20)
    cosine = [0.15 * (1 + np.cos(np.pi * epoch / 100)) for epoch in range(100)]
    assert rates(imagenet.average_swav) == pytest.approx(cosine)
    assert rates(inat.features) == pytest.approx([1e-2] * 24 + [1e-3] * 24 + [1e-4] * 24 + [1e-5] * 12)
    assert rates(places.features) == pytest.approx([1e-2] * 7 + [1e-3] * 7 + [1e-4] * 7 + [1e-5] * 7)
    assert [len(rates(given.average_swav)) for given in (imagenet, inat, places)] == [100, 84, 28]
    on_features, on_average = imagenet.views
    assert (on_features.jitter, on_features.lighting) == ((0.4, 0.4, 0.4, 0.0), 0.1)
    assert (on_average.jitter, on_average.lighting) == ((0.0, 0.0, 0.0, 0.0), 0.0)
    assert places.views[0].geometry == "random-crop"
    for given in (imagenet, inat, places):
        assert (given.features.weight_decay, given.features.nesterov, given.batch_size) == (1e-4, True, 256)
        assert (given.average.weight_decay, given.average.nesterov) == (0.0, False)
        assert (given.average_swav.weight_decay, given.average_swav.nesterov) == (1e-6, False)


def test_another_schedule_can_be_asked_for(tmp_path: Path) -> None:
    asked = {"average.schedule.kind": "cosine", "average.epochs": 3, "average.lr": 0.4}
    given, _ = override(LINEAR.settings, asked, "imagenet_linear")
    assert rates(given.average) == pytest.approx([0.4, 0.3, 0.1])
    evaluation = Evaluation(task(tmp_path, replace(LINEAR, settings=given)), linear_heads(given))
    evaluation.train(1)
    at = evaluation.solvers.index(given.average)
    assert evaluation.optimizer.param_groups[at]["lr"] == pytest.approx(0.3)


def test_hits_count_the_first_and_the_first_five() -> None:
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0]])
    assert hits(logits, torch.tensor([0, 4, 5])).tolist() == [1, 2]


def test_heads_have_the_norms_and_sizes_of_their_protocol() -> None:
    for protocol, declared, norms in (
        (LINEAR, linear_heads, ["plain"] * 5 + ["none"] * 2),
        (TRANSFER, transfer_heads, ["affine"] * 6 + ["none"]),
    ):
        heads = declared(protocol.settings)
        built = Heads(heads, MAPS, 7, limit=128)
        assert [head.norm for head in heads] == norms
        assert [layer.in_features for layer in built.linears.values()] == [128, 128, 64, 128, 64, 64, 64]
        assert {name: len(list(norm.parameters())) for name, norm in built.norms.items()} == {
            head.name: 2 * (head.norm == "affine") for head in heads if head.norm != "none"
        }
        logits = built(built.inputs([MAPS], heads), [head.name for head in heads])
        assert [tuple(one.shape) for one in logits] == [(4, 7)] * 7


def test_a_head_sees_its_own_map_of_its_own_view() -> None:
    first, last = MAPS, [m + 1 for m in MAPS]
    heads = linear_heads(LINEAR.settings)
    built = Heads(heads, MAPS, 7, limit=128).eval()
    logits = dict(
        zip(
            [h.name for h in heads],
            built(built.inputs([first, last], heads), [h.name for h in heads]),
            strict=True,
        )
    )
    pooled = features.pool(first, 128)[3] / (1 + 1e-5) ** 0.5
    expected = {"Feature4": pooled.flatten(1), "AvgPool": last[-1].mean((2, 3))}
    for name, x in expected.items():
        assert torch.allclose(logits[name], built.linears[name](x), atol=1e-5)


def test_views_that_share_a_pass_have_the_maps_that_they_have_alone(tmp_path: Path) -> None:
    evaluation = Evaluation(task(tmp_path, LINEAR), linear_heads(LINEAR.settings))
    views = [torch.rand(3, 3, 16, 16), torch.rand(3, 3, 16, 16)]
    for view, together in zip(views, evaluation.maps(views), strict=True):
        for ours, alone in zip(together, evaluation.maps([view])[0], strict=True):
            assert torch.allclose(ours, alone, atol=1e-5)


def literal(evaluation: Evaluation, head: Head, given: Task) -> nn.Sequential:
    """A head of TRANSFER on the global average, trained alone by plain torch; evaluation: as it begins."""
    settings, norm = given.protocol.settings, evaluation.heads.norms[head.name]
    net = nn.Sequential(nn.BatchNorm1d(norm.num_features), nn.Linear(128, 3))
    net[1].load_state_dict(evaluation.heads.linears[head.name].state_dict())
    decay = head.solver.weight_decay
    groups = [{"params": net[0].parameters()}, {"params": net[1].parameters(), "weight_decay": decay}]
    optimizer = torch.optim.SGD(groups, head.solver.lr, momentum=0.9, nesterov=True)
    split = given.splits["train"]
    loader = open_loader(split, [changed(settings.views[0], size=16)], GIVEN, 0, CPU)
    labels = torch.from_numpy(split.labels)
    for epoch, rate in enumerate(rates(head.solver)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        order = np.random.default_rng((0, epoch)).permutation(len(split))
        for batch in loader.batches(order, settings.batch_size, epoch):
            with torch.no_grad():
                x = given.backbone.eval()(batch.views[0])
            optimizer.zero_grad()
            nnf.cross_entropy(net(x), labels[batch.index]).backward()
            optimizer.step()
    return net


def test_a_head_among_seven_is_trained_as_alone_by_plain_torch(tmp_path: Path) -> None:
    solver = changed(TRANSFER.settings.solver, lr=0.1, weight_decay=0.1)
    given = task(tmp_path, TRANSFER, solver=solver)
    evaluation = Evaluation(given, transfer_heads(given.protocol.settings))
    expected = literal(evaluation, evaluation.declared["res5avg"], given)
    for epoch in range(evaluation.epochs):
        evaluation.train(epoch)
    norm, layer = evaluation.heads.norms["res5avg"], evaluation.heads.linears["res5avg"]
    pairs: list[tuple[Tensor, Tensor]] = [
        (norm.weight, expected[0].weight), (norm.bias, expected[0].bias),
        (norm.running_var, expected[0].running_var), (layer.weight, expected[1].weight),
    ]  # fmt: skip
    for ours, theirs in pairs:
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_head_more_moves_no_other(tmp_path: Path) -> None:
    images = scenes.folder(tmp_path / "images")
    heads = linear_heads(LINEAR.settings)
    all_seven = train(task(tmp_path, LINEAR, images), heads).courses
    (tmp_path / "six").mkdir()
    six = train(task(tmp_path / "six", LINEAR, images), heads[:6]).courses
    assert six == {name: all_seven[name] for name in six}


def test_an_interrupted_training_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    given = task(tmp_path, LINEAR)
    heads = diverging(given, "Feature2")
    begun = Evaluation(given, heads)
    for epoch in range(2):
        begun.train(epoch)
        begun.test(epoch)
        begun.save(epoch)
    resumed, its_state = train(given, heads), torch.load(tmp_path / "state.pt")
    (tmp_path / "state.pt").unlink()
    assert train(given, heads) == resumed
    state = torch.load(tmp_path / "state.pt")
    for name in set(state["heads"]) - {"linears.Feature2.weight", "linears.Feature2.bias"}:
        assert torch.equal(state["heads"][name], its_state["heads"][name]), name


@pytest.mark.case(6)
def test_a_state_with_a_flipped_bit_is_computed_again(tmp_path: Path) -> None:
    given = task(tmp_path, LINEAR)
    begun = Evaluation(given, linear_heads(given.protocol.settings))
    begun.train(0)
    begun.test(0)
    begun.save(0)
    flipped(tmp_path / "state.pt")
    assert begun.resume() == 0


def test_a_head_has_as_many_epochs_as_its_solver(tmp_path: Path) -> None:
    swav = changed(LINEAR.settings.average_swav, epochs=6)
    given = task(tmp_path, LINEAR, average_swav=swav)
    courses = train(given, linear_heads(given.protocol.settings)).courses
    assert {name: len(course.top1) for name, course in courses.items()} == {
        **dict.fromkeys([*linear.FEATURES, "AvgPool"], 4), "AvgPool_SwAV": 6,
    }  # fmt: skip


def test_one_image_left_over_is_no_batch_to_normalise_by(tmp_path: Path) -> None:
    given = task(tmp_path, TRANSFER, batch_size=47)  # of 48 images
    found = train(given, transfer_heads(given.protocol.settings))
    assert not found.lost


def test_images_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="two classes"):
        run_linear(task(tmp_path, LINEAR, scenes.folder(tmp_path / "images", classes=1)))
