"""Settings are checked when they are made: bounds, kinds, lists and shapes, each refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract.protocol import catalogue
from pretrain.base.faults import Fault
from pretrain.base.settings import lines, override, parsed, plain
from pretrain.train.recipe import Cosine, Step, key
from zoo.suites import builtin, file
from zoo.suites.suite import recipes

ODC = recipes("odc")["paper"][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lrr": 1}, "unknown setting 'lrr' in odc.lrr; did you mean lr"),
        ({"epochs": "ten"}, "odc.epochs: expected a valid integer, got 'ten'"),
        ({"epochs": 1.5}, "odc.epochs: expected a valid integer, got 1.5"),
        ({"epochs": True}, "odc.epochs: expected a valid integer, got True"),
        ({"epochs": "3"}, "odc.epochs: expected a valid integer, got '3'"),
        ({"lr": "0.1"}, "odc.lr: expected a valid number, got '0.1'"),
        ({"epochs": -1}, "odc.epochs: expected at least 0, got -1"),
        ({"batch_size": 0}, "odc.batch_size: expected at least 1, got 0"),
        ({"lr": -0.1}, "odc.lr: expected at least 0.0, got -0.1"),
        ({"lr": float("nan")}, "odc.lr: expected a finite number, got nan"),
        ({"lr": float("inf")}, "odc.lr: expected a finite number, got inf"),
        ({"lr": Path("x")}, "odc: expected plain numbers, texts and lists, got a PosixPath"),
        ({"input.mean": [0.5]}, "odc.input.mean.1: a value is missing"),
        ({"input.mean": ["a", "b", "c"]}, "odc.input.mean.0: expected a valid number, got 'a'"),
        ({"input.std": [0, 1, 1]}, "odc.input.std.0: expected more than 0.0, got 0"),
        ({"views.0.jitter": [1]}, "odc.views.0.jitter.1: a value is missing"),
        ({"views.0.scale": [0.5, 0.2]}, "odc.views.0: scale must rise, got 0.5 to 0.2"),
        ({"views.0.scale": [0.0, 1.0]}, "odc.views.0.scale.0: expected more than 0.0, got 0.0"),
        ({"views.0.geometry": "round"}, "odc.views.0.geometry: expected one of 'random-resized', 'center'"),
        ({"views.9.size": 1}, "odc.views.9.size: expected a number from 0 to 0 in place of '9'"),
        ({"views": []}, "odc.views: expected 1 or more values"),
        ({"views": [{"size": 32, "sise": 1}]}, "odc.views.0.sise: there is no such setting"),
        ({"lr.x": 1}, "odc.lr.x: 0.06 is a single value, it has no setting 'x'"),
        ({"batch_size": 1}, "odc: batch_size: one view of one image has no variance for batch norm"),
        ({"neck_bn_group": 1}, "odc: neck_bn_group: one image has no variance for batch norm"),
        ({"views.0.count": 2}, "odc: views: a step sees one view of an image, not 2"),
        ({"metric": "foo"}, "odc.metric: expected one of 'dot', 'cosine' or 'l2', got 'foo'"),
        ({"schedule": "cosine"}, "odc.schedule: expected"),
        ({"schedule.warmup": 5}, "unknown setting 'warmup' in odc.schedule.warmup"),
        ({"schedule.kind": "linear"}, "odc.schedule: expected a kind among 'step', 'cosine'"),
        ({"schedule.milestones": [1, 500]}, "the rate would never drop at \\[500\\], beyond the 440 epochs"),
        ({"schedule.kind": "cosine", "schedule.warmup": 500}, "500 epochs are more than the 440 there are"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match=said) as caught:
        override(ODC, changes, "odc")
    assert caught.value.reason == "bad-config"
    assert "\n" not in str(caught.value)


def test_every_protocols_bounds_refuse_nonsense() -> None:
    knn = catalogue("paper")["imagenet_knn"].settings
    for ks in ([0, -3], ["a"], []):
        with pytest.raises(Fault, match=r"knn\.ks"):
            override(knn, {"ks": ks}, "knn")
    with pytest.raises(Fault, match=r"linear\.batch_size: expected at least 2, got 1"):
        override(catalogue("paper")["imagenet_linear"].settings, {"batch_size": 1}, "linear")


def test_several_fields_of_another_kind_are_set_at_once() -> None:
    changes = {"schedule.kind": "cosine", "schedule.start": 0.1, "schedule.warmup": 5, "schedule.final": 0.01}
    made, _ = override(ODC, changes, "odc")
    assert plain(made.schedule, every=True) == {"kind": "cosine", "start": 0.1, "warmup": 5, "final": 0.01}
    with pytest.raises(Fault, match="warmpu"):
        override(ODC, {"schedule.kind": "cosine", "schedule.final": 0.01, "schedule.warmpu": 5}, "odc")


def test_kinds_switch_and_lists_are_replaced() -> None:
    made, _ = override(ODC, {"schedule.warmup": 5, "schedule.kind": "cosine"}, "odc")
    assert made.schedule == Cosine(warmup=5)
    made, _ = override(
        recipes("deepcluster")["paper"][0], {"views": [{"size": 32}, {"size": 16, "count": 4}]}, "deepcluster"
    )
    assert [(view.size, view.count, view.flip) for view in made.views] == [(32, 1, 0.5), (16, 4, 0.5)]
    made, _ = override(ODC, {"views.0.size": 64, "input.mean": [0.1, 0.2, 0.3]}, "odc")
    assert (made.views[0].size, made.input.mean) == (64, (0.1, 0.2, 0.3))


def test_no_epochs_are_refused_where_there_were_some() -> None:
    with pytest.raises(Fault, match="0 epochs train nothing; the untrained network is the model `random`"):
        override(ODC, {"epochs": 0}, "odc")


def test_milestones_follow_epochs_and_say_so() -> None:
    made, said = override(ODC, {"epochs": 20}, "odc")
    assert made.schedule == Step(milestones=(18,), gamma=0.4)
    assert said == ["odc.schedule.milestones follow epochs (440 -> 20): [400] -> [18]"]
    assert override(ODC, {"epochs": 3}, "odc")[0].schedule.milestones == (2,), "it would never drop after 3"
    made, said = override(ODC, {"epochs": 20, "schedule.milestones": [5]}, "odc")
    assert (made.schedule.milestones, said) == ((5,), [])
    linear = catalogue("paper")["imagenet_linear"].settings
    made, said = override(linear, {"features.epochs": 9}, "imagenet_linear")
    assert made.features.schedule.milestones == (3, 6, 9)
    assert said == [
        "imagenet_linear.features.schedule.milestones follow epochs (90 -> 9): [30, 60, 90] -> [3, 6, 9]"
    ]


def test_the_notation_that_is_printed_is_the_one_that_is_read() -> None:
    for path, value in lines(plain(ODC)):
        made, _ = override(ODC, {path: value}, "odc")
        assert made == ODC


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.1", 0.1),
        ("true", True),
        ("True", True),
        ("[1, 2]", [1, 2]),
        ("cosine", "cosine"),
        ("[", "["),
    ],
)
def test_values_of_the_command_line_are_json_or_text(text: str, value: object) -> None:
    assert parsed(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "variant = 'huge'",
            "own.toml.variant: expected one of 'paper', 'photos', 'cifar', 'demo' or 'smoke', got 'huge'",
        ),
        ("variant = 3", "own.toml.variant: expected one of"),
        ("imagse = 'x'", "unknown key 'imagse'.*did you mean images"),
        ("images = 5", "own.toml.images: expected a text, got 5"),
        ("protocols = 'imagenet_knn'", "own.toml.protocols: expected a list like"),
        ("beside = 'random'", "own.toml.beside: expected a list like"),
        ("[data]\nimagenet = 5", "own.toml.data.imagenet: expected a text, got 5"),
        ("[data]\nimgenet = 'x'", "unknown data set 'imgenet'.*did you mean imagenet"),
        ("[odcc]\nlr = 1.0", "unknown model or benchmark 'odcc'"),
        ("exclude = 2020-01-01", "own.toml: exclude: expected a text, got a date; put it in quotes"),
        ("images = 2020-01-01T12:00:00Z", "own.toml: images: expected a text, got a date; put it in quotes"),
        ("[odc]\nepochs = 2020-01-01", "own.toml: odc.epochs: expected a text, got a date"),
        ("[odc]\nviews = [{size = 2020-01-01}]", "own.toml: odc.views.0.size: expected a text, got a date"),
        ("[imagenet_knn]\nks = [12:00:00]", "own.toml: imagenet_knn.ks.0: expected a text, got a time"),
        ("x = [", "not valid TOML"),
        ("x = " + "[" * 5000, "nested too deeply|not valid TOML"),
    ],
)
def test_a_suite_file_is_read_strictly(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(Fault, match=said):
        builtin.load(str(tmp_path / "own.toml"), None, {})


def test_tables_of_views_in_a_suite_file_replace_the_views(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        "variant = 'smoke'\n[[deepcluster.views]]\nsize = 32\n[[deepcluster.views]]\nsize = 16\n"
    )
    entry = builtin.load(str(tmp_path / "own.toml"), None, {}).entry("deepcluster")
    assert [view.size for view in entry.recipe.views] == [32, 16]


def test_a_folder_of_images_is_told_from_a_split_of_that_name(tmp_path: Path) -> None:
    """`imagenet/train` beside a data set of that name is the folder, unless [data] names the set."""
    own = tmp_path / "own.toml"
    own.write_text("images = 'imagenet/train'\n")
    assert builtin.load(str(own), None, {}).pretrained_on == tmp_path / "imagenet" / "train"
    own.write_text("images = 'imagenet/train'\n[data]\nimagenet = 'mine'\n")
    assert builtin.load(str(own), None, {}).pretrained_on == "imagenet/train"


def test_every_built_in_suite_shows_the_floors_beside_the_others() -> None:
    floors = ("random", "raw_pixels")
    assert [builtin.load(name, None, {}).beside for name in builtin.BUILT_IN] == [floors] * 4


def test_pairs_of_the_command_line_need_a_name_and_a_value() -> None:
    assert file.from_command_line(["odc.lr=0.1", "odc.views.0.size=8"]) == {
        "odc": {"lr": 0.1, "views.0.size": 8}
    }
    for pair in ("lr=1", "odc.lr", "odc.=1"):
        with pytest.raises(Fault, match=r"--set expects NAME\.FIELD=VALUE"):
            file.from_command_line([pair])


def test_a_list_is_asked_for_as_it_is_written() -> None:
    with pytest.raises(Fault, match=r"scale: expected a list like \[0\.2, 1\.0\], got '0\.2,1\.0'"):
        builtin.load("smoke", None, {"odc": {"views.0.scale": "0.2,1.0"}}).entry("odc")


def test_a_setting_that_came_later_moves_no_digest_until_it_is_used() -> None:
    """Digests of before there was `solarize`; it can be set all the same, and stands in what it decides."""
    known = {
        "swav_resnet10-narrow_demo": "c3ab57a363d3a61c",
        "rn50_in1k_swav_400ep_2x224_6x96": "61acd3a9a6b732a9",
    }
    by_name = {recipe.name: recipe for found in recipes("swav").values() for recipe in found}
    assert {name: key(by_name[name]) for name in known} == known
    made, _ = override(by_name["swav_resnet10-narrow_demo"], {"views.0.solarize": 0.2}, "swav")
    assert made.views[0].solarize == 0.2
    assert plain(made)["views"][0]["solarize"] == 0.2
    assert "solarize" not in plain(ODC)["views"][0]
    assert plain(ODC, every=True)["views"][0]["solarize"] == 0
    assert key(made) != known["swav_resnet10-narrow_demo"]


@pytest.mark.parametrize(
    ("model", "suite", "epochs", "said"),
    [
        ("swav", "cifar", 50, "swav.queue_from 50 is after the last of 50 epochs: no queue is used"),
        ("swav", "cifar", 51, ""),
        ("swav", "demo", 5, ""),  # which has no queue
        (
            "invariance_propagation",
            "demo",
            20,
            "propagate_from 20 is after the last of 20 epochs: nothing is",
        ),
        ("coke", "smoke", 3, "coke.mixture_from 3 is after the last of 3 epochs: nothing is averaged"),
        ("coke", "demo", 3, ""),
    ],
)
def test_a_part_of_a_method_that_fewer_epochs_never_reach_is_said(
    tmp_path: Path, model: str, suite: str, epochs: int, said: str
) -> None:
    notes = builtin.load(suite, tmp_path, {model: {"epochs": epochs}}).entry(model).notes
    assert said in " ".join(notes) if said else not notes
