"""Shared by all tests: one thread, since two of them crawl on a busy machine, and the sample photographs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pretrain.data.embedded.digits import SMOKE, write
from tests import scenes
from tests.planned import PROTOCOLS
from zoo.suites.suite import Suite

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data sets of the smoke size, written once; nobody changes them."""
    root = tmp_path_factory.mktemp("digits") / "smoke"
    write(root, SMOKE)
    return root


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of sample photographs (ZOO_SAMPLE_DATA, or ../shared/data); tests that need it skip without
    it.
    """
    here = Path(__file__).parents[1]
    path = Path(os.environ.get("ZOO_SAMPLE_DATA", here.parent / "shared" / "data"))
    if not path.exists():
        pytest.skip(f"no sample photographs at {path}; set ZOO_SAMPLE_DATA")
    return path


@pytest.fixture(scope="session")
def sample(samples: Path) -> Callable[[str], Path]:
    """One folder of the samples by name; a test that asks for an absent one skips."""

    def find(name: str) -> Path:
        if not (samples / name).is_dir():
            pytest.skip(f"no {name} in the sample photographs at {samples}")
        return samples / name

    return find


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A suite of three protocols on a few images."""
    images = scenes.folder(tmp_path / "images", per_class=4)
    return Suite(
        name="own",
        variant="smoke",
        root=tmp_path,
        data={"imagenet": images},
        overrides={"odc": {"batch_size": 4, "clusters": 4, "epochs": 1}},
        protocols=PROTOCOLS,
    )
