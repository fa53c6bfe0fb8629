"""Nothing hostile in a pickle runs, writes or grows, and what is only data is read or passed over."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import types
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from pretrain.base.faults import Fault
from pretrain.nets.formats.reading import read
from tests.formats.naming import detectron2
from tests.formats.sources import trained
from tests.formats.spoilt import bare, legacy, refused, zipped


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


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


def test_another_protocol_is_said_with_the_way_out(tmp_path: Path) -> None:
    torch.save(trained("resnet20").state_dict(), tmp_path / "x.pth", pickle_protocol=4)
    said = refused(tmp_path / "x.pth", "another protocol than 2", "zoo convert x.pth OUT --trust")
    assert "PyTorch 2.6" not in said


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
        "easy = known('easydict', 'EasyDict', dict); easy['lr'] = easy.lr = 1\n"
        "hydra = known('omegaconf.base', 'ContainerMetadata')\n"
        "place = known('pathlib._local', 'PosixPath')\n"
        "best = type(known('pytorch_lightning.callbacks.model_checkpoint', 'ModelCheckpoint'))\n"
        "import argparse, collections, pathlib, numpy\n"
        "hydra.resolver_cache = collections.defaultdict(dict, {'now': {}})\n"
        "state = torch.load(sys.argv[1])\n"
        "more = {'args': argparse.Namespace(lr=1), 'log': log, 'hyper': options, 'best': numpy.float64(0.5),\n"
        "        'path': pathlib.Path('/x'), 'rng': numpy.arange(3), 'tree': tree, 'place': place,\n"
        "        'easy': easy, 'hydra': hydra, 'callbacks': {best: {}}, 'torch': torch.__version__}\n"
        "torch.save({'state_dict': state, **more}, sys.argv[2])\n"
    )
    state = trained("resnet20").state_dict()
    torch.save(state, tmp_path / "state.pth")
    words = [sys.executable, "-c", source, str(tmp_path / "state.pth"), str(tmp_path / "x.pth")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "x.pth").report.share == 1


class Python2(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Text as Python 2 pickled it: bytes that may be those of a number."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_str(self, text: str) -> None:
        body = text.encode("latin1")
        self.write(b"U" + bytes([len(body)]) + body)
        self.memoize(text)

    dispatch[str] = save_str


def test_a_file_of_python_2_is_read(tmp_path: Path) -> None:
    module = types.ModuleType("python2")
    module.__dict__.update(
        Pickler=Python2, dump=lambda *words, protocol: Python2(words[1], protocol).dump(words[0])
    )
    body = {"epoch": 3, "best": np.float64(0.7), "state_dict": trained("resnet20").state_dict()}
    torch.save(body, tmp_path / "x.pth.tar", pickle_module=module, _use_new_zipfile_serialization=False)
    assert b"U\x05epoch" in (tmp_path / "x.pth.tar").read_bytes()
    assert read(tmp_path / "x.pth.tar").report.share == 1


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
