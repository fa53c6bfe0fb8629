"""A file that is something else is told by its first bytes, and nothing hostile in one runs, writes or
grows.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.nets.formats import kinds
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from tests.formats.sources import detectron2, trained

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
    "onnx": (b"\x08\x08\x12\x07pytorch" + bytes(90), "ONNX"),
    "program": (b"\x7fELF" + bytes(90), "a program"),
    "script": (b"#!/bin/sh\nrm -rf /\n", "a script"),
    "escapes": (b"\x1b[2J" * 99, "first bytes are 1b 5b 32 4a"),
    "zip": (b"PK\x03\x04 not", "damaged or truncated zip"),
    "header": ((2**40).to_bytes(8, "little") + b"{}", "first bytes are"),
    "short": ((999).to_bytes(8, "little") + b'{"a":', "truncated safetensors"),
    "nested": ((60_000).to_bytes(8, "little") + b"[" * 60_000, "first bytes are"),
}


def refused(path: Path, *said: str) -> str:
    with pytest.raises(Fault) as raised:
        read(path)
    text = str(raised.value)
    assert raised.value.reason == "weights-corrupt", text
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 800
    assert all(one in text for one in said), text
    return text


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.case(8)
def test_what_is_no_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    content, said = CONTENTS[name]
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", said)


def test_a_folder_a_pipe_and_nothing_are_named_at_once(tmp_path: Path) -> None:
    refused(tmp_path, "it is a folder")
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


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def zipped(body: Any, path: Path) -> None:
    torch.save(body, path)


def legacy(body: Any, path: Path) -> None:
    torch.save(body, path, _use_new_zipfile_serialization=False)


def tensors(body: Any, path: Path) -> None:
    save_file(body, path)


def bare(body: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(body))


@pytest.mark.parametrize("save", [zipped, legacy, bare])
@pytest.mark.parametrize("place", ["outside", "inside", "key"])
@pytest.mark.case(34)
def test_nothing_of_a_hostile_pickle_runs(
    save: Callable[[Any, Path], None], place: str, tmp_path: Path
) -> None:
    mark, path = tmp_path / "ran", tmp_path / "x.pth"
    evil = Runs(mark)
    save({"outside": evil, "inside": {"model": {"a": evil}}, "key": [{1: (evil,)}]}[place], path)
    refused(path, "system", "zoo convert x.pth OUT --trust")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x.pth"]


def program(*ops: bytes) -> bytes:
    return b"\x80\x02" + b"".join(ops) + b"."


BINUNICODE = b"X\x01\x00\x00\x00a"
PICKLES = {
    "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    "eval": b"\x80\x02cbuiltins\neval\n" + BINUNICODE + b"\x85R.",
    "import": b"\x80\x02cimportlib\nimport_module\n" + BINUNICODE + b"\x85R.",
    "inst": b"(S'touch ran'\nios\nsystem\n.",
    "memo": program(b"}", b"r\xff\xff\xff\xff"),
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".",
    "persistent": program(b"Pabc\n"),
    "extension": program(b"\x84\xff\xff\xff\x7f"),
    "tuples": b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "stop": b"\x80\x02.",
    "long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "setstate": b"\x80\x02cnumpy\nndarray\n}b.",
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.case(34)
def test_a_hostile_program_of_a_pickle_ends_in_a_sentence(name: str, tmp_path: Path) -> None:
    for i, start in enumerate((b"", program(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"))):
        path = tmp_path / f"x{i}.pkl"
        path.write_bytes(start + (start and b"\x80\x02M\xe9\x03.\x80\x02}.") + PICKLES[name])
        began = time.monotonic()
        with pytest.raises(Fault) as raised:
            read(path)
        assert raised.value.reason in ("weights-corrupt", "weights-mismatch")
        assert time.monotonic() - began < 5
    assert not (tmp_path / "ran").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 << 20  # KiB


def array(**changes: Any) -> bytes:
    """A pickle of one array, as NumPy writes it, with other notes."""
    said = {"shape": (2,), "dtype": "f4", "data": bytes(8), **changes}

    class Kind:
        def __reduce__(self) -> Any:
            return np.dtype, (said["dtype"], False, True), (3, "<", None, None, None, -1, -1, 0)

    class One:
        def __reduce__(self) -> Any:
            made = (np.ndarray, (0,), b"b")
            reconstruct = np.ones(1).__reduce__()[0]
            return reconstruct, made, (1, said["shape"], Kind(), False, said["data"])

    return pickle.dumps({"model": {"stem.conv1.weight": One()}, "__author__": "x"}, protocol=2)


ARRAYS = {
    "huge-shape": {"shape": (2**40, 2**40)},
    "negative-shape": {"shape": (-1,)},
    "more-than-there-is": {"shape": (3,)},
    "objects": {"dtype": "O8", "data": [1, 2]},
    "text": {"dtype": "U2"},
    "void": {"dtype": "V8"},
    "many-dims": {"shape": (1,) * 90, "data": bytes(4)},
    "number-for-shape": {"shape": 2},
    "no-bytes": {"data": None},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(array(**ARRAYS[name]))
    refused(path, "whose bytes are not" if name in SIZES else "an array of ")


SIZES = ("huge-shape", "more-than-there-is", "no-bytes")


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_arrays_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    from pretrain.nets.formats import array_pickle

    given: dict[str, Any] = {
        "a": np.arange(6, dtype=">f8").reshape(2, 3),
        "b": np.asfortranarray(np.eye(3)),
        "s": np.float32(2),
    }
    if protocol == 0:
        given = {"a": given["a"]}
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps(given, protocol=protocol))
    found = array_pickle.read(path)
    assert all(np.array_equal(found[name], given[name]) for name in given if name != "s")


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


def test_another_protocol_is_said_with_the_way_out(tmp_path: Path) -> None:
    torch.save(trained("resnet20").state_dict(), tmp_path / "x.pth", pickle_protocol=4)
    said = refused(tmp_path / "x.pth", "another protocol than 2", "zoo convert x.pth OUT --trust")
    assert "PyTorch 2.6" not in said


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


def test_options_and_logs_beside_the_tensors_are_passed_over(tmp_path: Path) -> None:
    """Classes that hold data alone, under the names that other programs have; none of them is imported."""
    source = (
        "import sys, types, torch\n"
        "def known(module, name, base=object):\n"
        "    words = module.split('.')\n"
        "    names = ['.'.join(words[:i + 1]) for i in range(len(words))]\n"
        "    made = [sys.modules.setdefault(name, types.ModuleType(name)) for name in names][-1]\n"
        "    setattr(made, name, type(name, (base,), {'__module__': module}))\n"
        "    return getattr(made, name)()\n"
        "log = known('mmengine.logging.history_buffer', 'HistoryBuffer'); log.values = [1]\n"
        "options = known('lightning.fabric.utilities.data', 'AttributeDict', dict); options['lr'] = 1\n"
        "tree = known('yacs.config', 'CfgNode', dict); tree['lr'] = 1\n"
        "place = known('pathlib._local', 'PosixPath')\n"
        "import argparse, pathlib, numpy\n"
        "state = torch.load(sys.argv[1])\n"
        "more = {'args': argparse.Namespace(lr=1), 'log': log, 'hyper': options, 'best': numpy.float64(0.5),\n"
        "        'path': pathlib.Path('/x'), 'rng': numpy.arange(3), 'tree': tree, 'place': place}\n"
        "torch.save({'state_dict': state, **more}, sys.argv[2])\n"
    )
    state = trained("resnet20").state_dict()
    torch.save(state, tmp_path / "state.pth")
    words = [sys.executable, "-c", source, str(tmp_path / "state.pth"), str(tmp_path / "x.pth")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "x.pth").report.share == 1


def test_other_classes_are_named_with_the_way_out(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "model": torch.nn.Linear(2, 2)}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "Linear", "--trust")


def test_a_namespace_alone_is_no_way_around(tmp_path: Path) -> None:
    torch.save({"args": Namespace(hook=Runs(tmp_path / "ran"))}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "system")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_arrays_names_no_other_class(tmp_path: Path) -> None:
    body = {"model": detectron2(trained("resnet20").state_dict()), "cfg": Namespace(lr=1)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(body))
    refused(tmp_path / "x.pkl", "argparse.Namespace")


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
