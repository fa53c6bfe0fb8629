"""What every folder of benchmarks/protocols must do: declare variants whose columns show what is scored."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from benchmarks.contract.protocol import PACKAGE, Protocol, catalogue
from pretrain.base import registry
from pretrain.base.settings import build, plain
from pretrain.data import dataset
from tests import golden
from zoo.suites.suite import VARIANTS

EVERY = [
    pytest.param(protocol, id=f"{variant}-{protocol.name}")
    for variant in VARIANTS
    for protocol in catalogue(variant).values()
]


@pytest.mark.parametrize("protocol", EVERY)
def test_what_it_reads_is_known(protocol: Protocol) -> None:
    assert protocol.data or protocol.roots
    for reference in protocol.data.values():
        name, _, split = reference.partition("/")
        assert split in dataset.find(name).counts
    for name in protocol.roots:
        assert dataset.find(name).layout
    assert (protocol.inventory is not None) == bool(protocol.roots)


@pytest.mark.parametrize("protocol", EVERY)
def test_its_settings_survive_their_json(protocol: Protocol) -> None:
    given = json.loads(json.dumps(plain(protocol.settings)))
    assert build(type(protocol.settings), given, protocol.name) == protocol.settings


@pytest.mark.parametrize("protocol", EVERY)
def test_it_says_where_it_comes_from_and_where_it_stands(protocol: Protocol) -> None:
    assert protocol.title
    assert protocol.source
    assert protocol.choose
    assert protocol.table.heading
    assert protocol.columns
    assert len({column.heading for column in protocol.columns}) == len(protocol.columns)


@pytest.mark.parametrize("family", registry.names(PACKAGE))
def test_a_function_of_one_task_carries_it_out(family: str) -> None:
    for protocol in (p for v in VARIANTS for p in catalogue(v).values() if p.family == family):
        assert list(inspect.signature(protocol.load()).parameters) == ["task"]


@pytest.mark.parametrize("name", catalogue("smoke"))
def test_every_column_shows_a_number_that_is_recorded(name: str) -> None:
    """Of the accepted records of the smoke suite, for every method."""
    for numbers in golden.accepted().values():
        scored = numbers.numbers.get(name, {})
        absent = [column.heading for column in catalogue("smoke")[name].columns if column.score not in scored]
        assert not absent, f"no number for {absent}, the record has {sorted(scored)}; run `make accept`"


def test_declarations_import_no_torch() -> None:
    code = (
        "import sys; from benchmarks.contract.protocol import catalogue; from zoo.suites.suite import recipes,"
        " METHODS; from pretrain.base import registry; catalogue('paper'); "
        "[recipes(n) for n in registry.names(METHODS)]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
