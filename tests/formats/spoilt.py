"""Files of weights that are to be spoilt: how they are saved, and what refuses them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pretrain.base.faults import Fault
from pretrain.nets.formats.reading import read


def refused(path: Path, *said: str) -> str:
    """What reading says of a file that must not be believed."""
    with pytest.raises(Fault) as raised:
        read(path)
    text = str(raised.value)
    assert raised.value.reason == "weights-corrupt", text
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 800
    assert all(one in text for one in said), text
    return text


def zipped(body: Any, path: Path) -> None:
    torch.save(body, path)


def legacy(body: Any, path: Path) -> None:
    torch.save(body, path, _use_new_zipfile_serialization=False)


def tensors(body: Any, path: Path) -> None:
    save_file(body, path)


def bare(body: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(body))
