"""Numbers belong to the weights that gave them, and ten thousand of them are no burden."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.contract import result
from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests import planned
from tests.faults import commands
from zoo.plan.planner import Planner
from zoo.suites.suite import Given, Suite, Trained

RECORDS = 10_000
SECONDS = 60.0  # that a busy machine may take to list them; an idle one takes a few
MIB = 1024


def save(path: Path, suite: Suite, seed: int) -> str:
    """Weights drawn by a seed; their hash."""
    entry = suite.entry("odc")
    assert isinstance(entry, Trained)
    backbone = build(entry.recipe.arch, entry.recipe.input, seed)
    checkpoint.save(path, backbone, entry.recipe.arch, {})
    return checkpoint.describe(path).sha256


@pytest.mark.case(7)
def test_the_hash_of_nothing_is_not_that_of_weights(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    true = save(path, suite, 0)
    nothing = hashlib.sha256().hexdigest()
    path.write_bytes(path.read_bytes().replace(true.encode(), nothing.encode()))
    with pytest.raises(Fault, match=rf"weights hash {true[:12]}, its header says {nothing[:12]}") as raised:
        checkpoint.load(path)
    assert raised.value.reason == "weights-corrupt"


@pytest.mark.case(26)
def test_other_weights_under_the_same_path_are_another_number(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(path, suite, 0)
    request = planned.request(suite, tmp_path / "home", Given("mine", path))
    old = {job.name: job for job in Planner(request).plan()}["imagenet_knn"]
    planned.pretend(old, suite)
    assert {job.name: job for job in Planner(request).plan()}["imagenet_knn"].state == "done"
    save(path, suite, 1)
    new = {job.name: job for job in Planner(request).plan()}["imagenet_knn"]
    assert new.state == "stale"
    assert new.key != old.key
    assert old.path is not None
    assert old.path.exists(), "the old number stays"


# A process counts what its parent held when it was forked, so a small one stands between.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.case(42)
def test_ten_thousand_records_are_listed_in_seconds(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "flush", lambda path: None)  # as many flushes would take minutes
    own = commands.suite(tmp_path / "own", ["imagenet_knn"])
    planned.finish(suite, tmp_path / "made")
    (template,) = [r for _, r in result.every(tmp_path / "made") if r.protocol.get("name") == "imagenet_knn"]
    for n in range(RECORDS):
        key = f"{n:016x}"
        record = template.model_copy(update={"key": key, "seed": n % 10, "identity": {"n": n}})
        model = {**template.model, "seed": n % 10}
        record = record.model_copy(update={"model": model})
        result.write(own.parent / "out" / "results" / "odc" / "imagenet_knn" / key / "result.json", record)
    for words in (["status", "--json"], ["report"]):
        begin = time.monotonic()
        line = [sys.executable, "-c", MEASURED, *commands.argv(own, *words)]
        done = subprocess.run(line, capture_output=True, text=True, env=commands.ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begin < SECONDS
        assert int(done.stdout) < 1024 * MIB
