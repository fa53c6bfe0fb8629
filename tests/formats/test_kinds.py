"""A file that is something else is told by its first bytes, and one that is damaged or lies is refused."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.nets.formats import kinds
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from tests.formats.naming import detectron2
from tests.formats.sources import trained
from tests.formats.spoilt import bare, legacy, refused, tensors, zipped

TAR = bytes(257) + b"ustar" + bytes(300)
CONTENTS = {
    "empty": (b"", "it is empty"),
    "zeros": (bytes(4096), "all zero"),
    "web": (b"<!DOCTYPE html><html>403</html>" * 9, "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08" + bytes(90), "gzip archive; unpack"),
    "xz": (b"\xfd7zXZ\0" + bytes(90), "xz archive"),
    "tar": (b"resnet.pth" + TAR[10:], "tar archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
    "numpy": (b"\x93NUMPY" + bytes(90), "NumPy array"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(90), "PNG image"),
    "json": (b'{"message": "Not Found"}', "JSON"),
    "index": (
        b'{"metadata": {}, "weight_map": {"a": "1.safetensors"}}',
        "index of weights in several files, save",
    ),
    "onnx": (b"\x08\x08\x12\x07pytorch" + bytes(90), "ONNX"),
    "program": (b"\x7fELF" + bytes(90), "a program"),
    "script": (b"#!/bin/sh\nrm -rf /\n", "a script"),
    "escapes": (b"\x1b[2J" * 99, "first bytes are 1b 5b 32 4a"),
    "zip": (b"PK\x03\x04 not", "damaged or truncated zip"),
    "header": ((2**40).to_bytes(8, "little") + b"{}", "first bytes are"),
    "short": ((999).to_bytes(8, "little") + b'{"a":', "truncated safetensors"),
    "nested": ((60_000).to_bytes(8, "little") + b"[" * 60_000, "first bytes are"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.case(8)
def test_what_is_no_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    content, said = CONTENTS[name]
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", said)


def test_a_folder_a_pipe_and_nothing_are_named_at_once(tmp_path: Path) -> None:
    refused(tmp_path, "it is a folder; name the file in it")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no regular file")
    with pytest.raises(Fault) as raised:
        read(tmp_path / "absent")
    assert raised.value.reason == "data-missing"


def test_archives_that_are_no_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    refused(path.with_suffix(".npz"), "NumPy archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "1 other files (readme.txt)")
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), path)
    refused(path, "TorchScript program")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.case(5)
def test_a_truncated_checkpoint_is_refused(share: float, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(4000)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def test_a_hole_in_a_file_of_torch_is_noticed(tmp_path: Path) -> None:
    """torch reads a member whatever its checksum."""
    state, path = trained("resnet20").state_dict(), tmp_path / "x.pth"
    torch.save(state, path)
    content, kept = bytearray(path.read_bytes()), state["layer3.1.conv1.weight"].numpy().tobytes()
    at = content.index(kept) + 64
    content[at : at + 4096] = bytes(4096)
    path.write_bytes(bytes(content))
    refused(path, "it is damaged (Bad CRC-32 for file", "fetch it again")


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(trained("resnet20").state_dict(), tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(tmp_path / "x.pth").report.share == 1


@pytest.mark.case(35)
def test_a_compressed_archive_is_refused_before_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50 << 20))
    assert path.stat().st_size < 1 << 20
    refused(path, "is compressed, which torch.save never does")


@pytest.mark.case(35)
def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(40_000)}, path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # of the last member, in the directory at the end
    content[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(bytes(content))
    refused(path, "its members claim ", "they overlap")


@pytest.mark.case(35)
def test_an_archive_of_more_members_than_any_checkpoint_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "MEMBERS", 2)
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "members, expected 2 or fewer")


def test_a_view_of_one_number_does_not_become_a_terabyte(tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(trained("resnet20").state_dict())
    state["conv1.weight"] = torch.ones(1).expand(16, 3, 3, 3)
    state["more"] = torch.ones(1).expand(2**20, 2**20)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(Fault, match="no backbone"):
        read(tmp_path / "x.pth")


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    state: dict[str, Any] = dict(trained("resnet20").state_dict())
    state["state_dict"] = state
    torch.save(state, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth").arch == "resnet20"


def test_names_do_harm_to_no_terminal(tmp_path: Path) -> None:
    torch.save({"\x1b[31m\u202e" * 9: torch.ones(2), "a\n" * 300: torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(Fault) as raised:
        read(tmp_path / "x.pth")
    assert str(raised.value).isprintable()


@pytest.mark.case(36)
def test_a_header_of_an_export_that_lies_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    state = {n: t.contiguous() for n, t in trained("resnet20").state_dict().items()}
    head = {"zoo.arch": "resnet20", "zoo.input": json.dumps({"size": 10**9, "resize": 1})}
    (tmp_path / "x").write_bytes(save(state, head))
    refused(tmp_path / "x", "zoo.input")


def damaged(content: bytes, seed: int) -> bytes:
    """A file with a few bytes changed, mostly where its structure stands: at both ends."""
    random = np.random.default_rng(seed)
    made = bytearray(content)
    for at in random.choice([*range(900), *range(len(made) - 900, len(made))], size=4, replace=False):
        made[at] = random.integers(256)
    return bytes(made)


@pytest.mark.slow
@pytest.mark.parametrize("save", [zipped, legacy, bare, tensors])
def test_whatever_bytes_change_the_answer_is_a_network_or_a_sentence(
    save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    state = trained("resnet20").state_dict()
    save({"model": detectron2(state), "__author__": "x"} if save is bare else dict(state), path)
    content = path.read_bytes()
    for seed in range(25):
        path.write_bytes(damaged(content, seed))
        reason = answer(path)
        assert reason in ("", "weights-corrupt", "weights-mismatch")


def answer(path: Path) -> str:
    """The reason of the fault that reading raises, '' for none; any other exception goes on."""
    try:
        read(path, Flags(allow_partial=0.5))
    except Fault as fault:
        return fault.reason
    return ""
