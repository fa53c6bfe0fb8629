"""The embedded data sets of the smoke size, under the name that all tests of this folder use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root(digits: Path) -> Path:
    return digits
