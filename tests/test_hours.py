"""A plan says how long it will take: by hand-computed cases, by records of the like, and never with torch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from torch._subclasses.fake_tensor import FakeTensorMode
from typer.testing import CliRunner

from benchmarks.contract import result
from benchmarks.contract.protocol import catalogue
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import archs, checkpoint
from pretrain.train.model_card import forward_flops
from tests import planned
from zoo import hours as verb
from zoo.jobs.record import made
from zoo.plan import devices, flops, hours, work
from zoo.plan.devices import Machine
from zoo.plan.planner import Planner
from zoo.plan.work import Images
from zoo.show import hours as shown
from zoo.show import plan as plans
from zoo.suites.suite import Suite, Trained, recipes

IMAGENET = Images(1_281_167, 500 * 375.0)
EIGHT = devices.named("8xh100")
CORE = Machine(devices.DEVICES["cpu"], 1, 1)


@pytest.mark.parametrize("arch", archs.ARCHS)
@pytest.mark.parametrize(("side", "sobel"), [(64, False), (97, True)])
def test_operations_are_those_that_torch_counts(arch: str, side: int, sobel: bool) -> None:
    with FakeTensorMode():  # shapes alone
        net = archs.build(arch, Input(size=side, resize=side, sobel=sobel), 0)
        assert flops.forward(arch, side, sobel) == forward_flops(net, side)


def test_an_architecture_from_elsewhere_is_not_known() -> None:
    assert flops.forward("timm:vit_small", 224) is None


def test_hours_of_supervised_training_by_hand() -> None:
    """90 epochs of 5,004 steps of 256 images, at the 22,059 images/s that eight cards train together; 104 of
    112 cores read, 1.2 ms to decode 500 x 375 px and 0.602 ms for 224 x 224 of a crop.
    """
    recipe = next(r for r in recipes("supervised")["paper"] if r.precision == "bf16")
    found = hours.pretraining(recipe, IMAGENET, EIGHT)
    assert found is not None
    seen = 90 * 5_004 * 256
    assert found.seconds == pytest.approx(seen / 22_059)
    assert found.parts["reading"] == pytest.approx(seen * 1.802e-3 / 104, rel=1e-3)
    assert found.binds == "network"
    few = hours.pretraining(recipe, IMAGENET, devices.named("8xh100", 16))
    assert few is not None
    assert few.binds == "reading"
    assert few.seconds == pytest.approx(seen * 1.802e-3 / 8, rel=1e-3)


def test_clustering_and_the_pass_before_it_count() -> None:
    """DeepCluster: every epoch a forward pass of all images, and 20 k-means iterations of 2 N K D each."""
    recipe = next(r for r in recipes("deepcluster")["paper"] if r.arch == "resnet50" and not r.input.sobel)
    done = work.pretraining(recipe, IMAGENET)
    assert done is not None
    n, one = IMAGENET.count, 8_174_272_512
    assert done.products == 2 * n * 10_000 * 256 * 20 * 200
    assert done.network == pytest.approx(one * 200 * (3 * 2_503 * 512 + n))


def test_a_second_network_sees_the_first_crops() -> None:
    recipe = next(r for r in recipes("byol")["paper"])
    done = work.pretraining(recipe, IMAGENET)
    assert done is not None
    seen = recipe.epochs * (IMAGENET.count // recipe.batch_size) * recipe.batch_size
    assert done.network == pytest.approx(seen * 2 * 8_174_272_512 * 4)


def test_detection_is_scaled_from_published_seconds() -> None:
    """24,000 steps of 16 images and a third of 4,952 at 0.2755 V100-seconds, of which an H100 does
    1477 / 345.75.
    """
    protocol = catalogue("paper")["voc0712_detection"]
    found = hours.benchmark(protocol, "resnet50", Input(size=224, resize=256), {}, EIGHT)
    assert found is not None
    assert found.seconds == pytest.approx(
        0.2755 * (24_000 * 16 + 4_952 / 3) * (2_766 / 8 / 1477) / 8, rel=1e-4
    )


@pytest.mark.parametrize("name", catalogue("paper"))
def test_every_paper_benchmark_has_an_estimate(name: str) -> None:
    protocol = catalogue("paper")[name]
    on = {role: one for role, at in protocol.data.items() if (one := hours.published(at)) is not None}
    found = hours.benchmark(protocol, "resnet50", Input(size=224, resize=256), on, EIGHT)
    assert found is not None
    assert 0 < found.seconds < 24 * 3600
    assert hours.benchmark(protocol, "timm:vit_small", Input(size=224, resize=256), on, EIGHT) is None


def test_an_unknown_device_is_one_sentence_with_those_known() -> None:
    with pytest.raises(Fault) as caught:
        devices.named("8xh1000")
    assert caught.value.reason == "bad-config"
    assert all(name in str(caught.value) for name in devices.DEVICES)
    with pytest.raises(Fault, match="no device"):
        devices.named("0xh100")


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA GeForce RTX 3080", None),
        ("x86_64", None),
    ],
)
def test_devices_are_known_by_what_their_driver_says(said: str, known: str | None) -> None:
    found = devices.of_driver(said)
    assert (found.name if found else None) == known


def keep(suite: Suite, home: Path, rate: float, method: str = "odc") -> None:
    """Leaves the record of a training at so many images a second, on one thread."""
    plan = Planner(planned.request(suite, home, suite.entry(method))).plan()
    job = plan.jobs[0]
    assert job.path is not None
    assert isinstance(job.entry, Trained)
    weights, recipe = job.path.parent / "backbone.safetensors", job.entry.recipe
    checkpoint.save(weights, archs.build(recipe.arch, recipe.input, 0), recipe.arch, {})
    card = {"images_per_s": rate, "processes": 1, "device": "CPU"}
    facts = {"weights": checkpoint.describe(weights).identity(), "card": card}
    record = made(job, suite.name, datetime.now(UTC), None, (), facts, cost={"wall_s": 9.0})
    result.write(job.path, record.model_copy(update={"env": {**record.env, "device": "cpu", "threads": 1}}))


def first(suite: Suite, home: Path, machine: Machine = CORE) -> hours.Estimate:
    planner = Planner(planned.request(suite, home))
    _, found = hours.of_plan(planner.plan(), planner.datasets, machine)[0]
    assert found is not None
    return found


def test_a_record_of_the_like_is_scaled(suite: Suite, tmp_path: Path) -> None:
    """Seven epochs of 12 images at 10 images/s are 8.4 s, on two cores half."""
    assert not first(suite, tmp_path).measured
    keep(suite, tmp_path, rate=10.0)
    longer = planned.changed(suite, "odc", epochs=7)
    found = first(longer, tmp_path)
    assert found.measured
    assert found.seconds == pytest.approx(8.4)
    assert first(longer, tmp_path, Machine(devices.DEVICES["cpu"], 2, 2)).seconds == pytest.approx(4.2)


def test_records_of_other_devices_sizes_and_methods_stand_back(suite: Suite, tmp_path: Path) -> None:
    keep(suite, tmp_path, rate=10.0)
    assert not first(suite, tmp_path, EIGHT).measured
    wider = planned.changed(suite, "odc", **{"views.0.size": 48})
    assert not first(wider, tmp_path).measured
    longer = planned.changed(
        planned.changed(suite, "odc", epochs=7), "deepcluster", epochs=2, batch_size=4, clusters=4
    )
    keep(longer, tmp_path, rate=1000.0, method="deepcluster")  # newer, but of another method
    assert first(longer, tmp_path).seconds == pytest.approx(8.4)


def test_a_benchmark_takes_what_it_took(suite: Suite, tmp_path: Path) -> None:
    """The same benchmark of the same images, for another model of the shape."""
    planned.finish(suite, tmp_path)
    job = planned.jobs(suite, tmp_path)["imagenet_knn"]
    assert job.path is not None
    assert job.record is not None
    kept = {"env": {**job.record.env, "device": "cpu"}, "cost": {"wall_s": 123.0}}
    result.write(job.path, job.record.model_copy(update=kept))
    longer = planned.changed(suite, "odc", epochs=2)
    planner = Planner(planned.request(longer, tmp_path))
    found = {job.name: one for job, one in hours.of_plan(planner.plan(), planner.datasets, CORE)}
    assert found["imagenet_knn"] == hours.Estimate(123.0, {}, measured=True)


def test_arithmetic_is_near_what_the_smoke_suite_has_recorded() -> None:
    """ODC's smoke run on one thread of an AMD EPYC: 4,608 images at 737 images/s, all that is in them."""
    recipe = recipes("odc")["smoke"][0]
    found = hours.pretraining(recipe, Images(800, 32 * 32.0), CORE)
    assert found is not None
    assert 1 / 3 < found.seconds / (4_608 / 737) < 3


def test_a_plan_prints_its_hours(suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planner = Planner(planned.request(planned.changed(suite, "odc", epochs=20_000), tmp_path))
    plans.show(planner.plan(), as_json=False, datasets=planner.datasets, machine=CORE)
    said = capsys.readouterr().out
    assert "(about " in said
    assert said.splitlines()[-1].startswith("about ")
    assert "on 1 CPU core for 4 jobs: 4 by arithmetic" in said
    plans.show(planner.plan(), as_json=True, datasets=planner.datasets, machine=CORE)
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["estimate"]["binds"] == "network"
    planned.finish(suite, tmp_path)
    planner = Planner(planned.request(suite, tmp_path))
    plans.show(planner.plan(), as_json=False, datasets=planner.datasets, machine=CORE)
    assert "about" not in capsys.readouterr().out


def test_the_verb_says_hours_device_hours_and_their_price(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(verb.command)
    words = ["supervised_resnet50_8xb32-steplr-90e_in1k_bf16", "--on", "8xh100", "--out", str(tmp_path)]
    said = CliRunner().invoke(app, [*words, "--price", "2.5", "--currency", "USD"]).output
    (line,) = [line for line in said.splitlines() if line.startswith("supervised") and "pretrain" in line]
    assert line.split()[2:] == ["87", "min", "11.6", "network", "29.04", "USD"]  # 5,226 s on each of eight
    assert "lambdal/deeplearning-benchmark" in said
    assert "USD" not in CliRunner().invoke(app, words).output  # no hidden price
    body = json.loads(CliRunner().invoke(app, [*words, "--json", "--price", "2.5"]).output)
    assert body["device_hours"] == pytest.approx(8 * body["hours"])
    assert body["price"] == pytest.approx(2.5 * body["device_hours"])


@pytest.mark.parametrize(
    ("seconds", "said"), [(40, "40 s"), (600, "10 min"), (7200, "2.0 h"), (3.6e7, "10,000.0 h")]
)
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert shown.spent(seconds) == said


def test_epochs_over_images_that_nobody_declared_are_not_known() -> None:
    protocol = catalogue("demo")["coco17_detection"]
    assert protocol.settings.counts == (0, 0)
    assert hours.benchmark(protocol, "resnet10_narrow", Input(size=32, resize=32), {}, CORE) is None


def test_recipes_without_epochs_take_no_time() -> None:
    recipe = changed(recipes("random")["paper"][0])
    found = hours.pretraining(recipe, IMAGENET, EIGHT)
    assert found is not None
    assert found.seconds == 0
