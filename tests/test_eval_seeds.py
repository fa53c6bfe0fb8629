"""One model evaluated with several seeds: a record each, one row with their mean, nothing trained twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests.planned import pretend
from zoo import request as requests
from zoo.plan.planner import Planner
from zoo.request import Trial, with_known
from zoo.show import tables
from zoo.store import Store
from zoo.suites.suite import Suite


def asked(suite: Suite, home: Path, *evaluations: int) -> requests.Request:
    trial = Trial(suite.entry("odc"), 0, evaluations)
    protocols = tuple(suite.catalogue().values())
    return requests.Request(suite, Store(home), (trial,), protocols, frozenset(["odc"]))


def finish(suite: Suite, request: requests.Request) -> None:
    for kind in (True, False):
        for job in Planner(request).plan():
            if (job.protocol is None) is kind and job.state != "done":
                pretend(job, suite)


def test_a_model_is_trained_once_and_evaluated_with_every_seed(suite: Suite, tmp_path: Path) -> None:
    plan = Planner(asked(suite, tmp_path, 0, 1, 2)).plan()
    assert [job.label for job in plan if job.protocol is None] == ["odc pretrain"]
    labels = [job.label for job in plan if job.protocol is not None and job.protocol.name == "clustering"]
    assert labels == ["odc clustering", "odc clustering evaluation 1", "odc clustering evaluation 2"]


def test_records_of_evaluation_seeds_are_kept_apart_and_found_again(suite: Suite, tmp_path: Path) -> None:
    request = asked(suite, tmp_path, 0, 1, 2)
    finish(suite, request)
    assert {job.state for job in Planner(request).plan()} == {"done"}
    assert len(list(tmp_path.glob("results/odc/clustering/*"))) == 3
    (known,) = Store(tmp_path).models()
    assert known.seeds == {0: (0, 1, 2)}


def test_tables_that_a_run_writes_keep_evaluations_that_it_was_not_asked_for(
    suite: Suite, tmp_path: Path
) -> None:
    finish(suite, asked(suite, tmp_path, 0, 2))
    request = asked(suite, tmp_path, 0)
    assert [trial.evaluations for trial in with_known(request).trials] == [(0, 2)]
    row = tables.row(suite.entry("odc"), Planner(with_known(request)).plan())
    assert len(row.records["clustering"]) == 2
    assert [trial.evaluations for trial in with_known(asked(suite, tmp_path, 1)).trials] == [(0, 1, 2)]


def test_an_evaluation_that_is_to_come_hides_none_of_those_there_are(suite: Suite, tmp_path: Path) -> None:
    finish(suite, asked(suite, tmp_path, 0, 1))
    plan = Planner(asked(suite, tmp_path, 0, 1, 2)).plan()
    assert [job.state for job in plan if job.name == "clustering"] == ["done", "done", "todo"]
    row = tables.row(suite.entry("odc"), plan)
    assert len(row.records["clustering"]) == 2


def test_seeds_that_share_a_record_are_one_number(suite: Suite, tmp_path: Path) -> None:
    """As those of raw pixels do: nothing is trained, so its weights are the same."""
    finish(suite, request := asked(suite, tmp_path, 0))
    plan = Planner(request).plan()
    row = tables.row(suite.entry("odc"), replace(plan, jobs=(*plan.jobs, *plan.jobs)))
    assert len(row.records["clustering"]) == 1


@pytest.mark.parametrize(("text", "seeds"), [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("5,1-2,1", (5, 1, 2))])
def test_seeds_are_numbers_or_ranges(text: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    request = requests.resolve(["random"], None, "smoke", tmp_path, [], "7", None, text)
    assert {trial.evaluations for trial in request.trials} == {seeds}
    assert {trial.seed for trial in request.trials} == {7}


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "0-99999", "1,,2", "99999999999999999999"])
def test_other_seeds_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="--seeds expects"):
        requests.resolve(["random"], None, "smoke", tmp_path, [], text)
