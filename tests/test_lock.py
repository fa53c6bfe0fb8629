"""requirements.lock and constraints.txt name the same versions, and every line has a hash."""

import importlib.metadata
import re

import pytest

from tests import lock


def test_the_lock_has_a_hash_of_every_pinned_package() -> None:
    pinned, locked = lock.pins(lock.ROOT / "constraints.txt"), lock.pins(lock.LOCK)
    assert {name: locked.get(name) for name in pinned} == pinned
    lines = [line for line in lock.LOCK.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_lock_holds_what_is_declared() -> None:
    try:
        needed = importlib.metadata.requires("cluster-zoo") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the project is not installed here")
    names = {lock.normal(re.split(r"[\s<>=!~;\[]", line)[0]) for line in needed if "extra ==" not in line}
    assert names - set(lock.pins(lock.LOCK)) == set()
