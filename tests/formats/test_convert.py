"""`convert` and `verify`: what they print, what they write, and what --trust does."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.reading import read
from tests.formats.sources import kept, trained
from zoo.weights.convert import convert
from zoo.weights.options import flags
from zoo.weights.verify import verify


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def test_a_file_is_converted_and_its_report_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = kept("moco", trained("resnet18").state_dict(), tmp_path)
    convert(source, tmp_path / "x.pth", "torchvision", Flags())
    out, told = capsys.readouterr()
    assert "layout moco in 'state_dict' behind 'module.encoder_q.': resnet18" in told
    assert "100 of 100 tensors matched, 0 missing" in told
    assert "module.encoder_k" not in out
    assert f"{tmp_path / 'x.pth'}: torchvision, resnet18" in out
    assert read(tmp_path / "x.pth").sha256 == read(source).sha256


def test_a_part_stays_one_in_a_file_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = trained("resnet18").state_dict()
    gone = [name for name in whole if name.startswith("layer4.")]
    torch.save({name: one for name, one in whole.items() if name not in gone} | {"layer4.9.x": torch.ones(1)},
               tmp_path / "part.pth")  # fmt: skip
    ours = tmp_path / "ours.safetensors"
    convert(tmp_path / "part.pth", ours, "ours", Flags(allow_partial=0.5))
    direct, again = read(tmp_path / "part.pth", Flags(allow_partial=0.5)).report, read(ours).report
    assert (again.share, set(again.missing)) == (direct.share, set(direct.missing))
    assert len(again.missing) > 20
    verify(ours, Flags(), as_json=False)
    assert f"{len(again.matched)} of 100 tensors matched" in capsys.readouterr().out
    convert(ours, tmp_path / "twice.safetensors", "ours", Flags())
    for one in (ours, tmp_path / "twice.safetensors"):
        with pytest.raises(Fault, match="of the backbone was in the file, and torchvision cannot say so"):
            convert(one, tmp_path / "x.pth", "torchvision", Flags())


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = kept("plain", trained("resnet20").state_dict(), tmp_path)
    before = source.read_bytes()
    with pytest.raises(Fault, match="is the file that is read"):
        convert(source, tmp_path / "." / source.name, "ours", Flags())
    assert source.read_bytes() == before


def test_code_runs_only_when_it_is_trusted_and_not_in_this_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, source = tmp_path / "ran", tmp_path / "x.pth"
    state = trained("resnet20").state_dict()
    torch.save({"state_dict": state, "extra": Runs(mark), "pid": Pid(tmp_path / "pid")}, source)
    with pytest.raises(Fault, match="--trust"):
        convert(source, tmp_path / "ours", "ours", Flags())
    assert not mark.exists()
    convert(source, tmp_path / "ours", "ours", Flags(), trust=True)
    assert mark.exists()
    assert "runs whatever code the file holds" in capsys.readouterr().err
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    assert read(tmp_path / "ours").arch == "resnet20"


class Pid:
    """Writes the number of the process that unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, (f"import os; open({str(self.path)!r}, 'w').write(str(os.getpid()))",)


@pytest.mark.parametrize("layout", ["solo-learn", "timm-training", "openselfsup-extracted"])
def test_a_trusted_file_is_of_the_layout_that_it_would_be_without_code(layout: str, tmp_path: Path) -> None:
    plain = kept(layout, trained("resnet18_small").state_dict(), tmp_path)
    body = torch.load(plain, weights_only=False)
    torch.save({**body, "callback": Runs(tmp_path / "ran")}, tmp_path / "x.ckpt")
    convert(tmp_path / "x.ckpt", tmp_path / "ours", "ours", Flags(), trust=True)
    found, expected = read(tmp_path / "ours"), read(plain)
    assert checkpoint.describe(tmp_path / "ours").origin["layout"] == layout
    assert (found.arch, found.input, found.sha256) == (expected.arch, expected.input, expected.sha256)


@pytest.mark.slow
def test_a_module_that_was_saved_whole_needs_trust(tmp_path: Path) -> None:
    import torchvision.models

    torch.save(torchvision.models.resnet18(weights=None), tmp_path / "x.pth")
    with pytest.raises(Fault, match=r"ResNet.*--trust"):
        read(tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)
    assert read(tmp_path / "ours").arch == "resnet18"


@pytest.mark.slow
def test_a_plain_pickle_of_tensors_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(dict(trained("resnet20").state_dict())))
    with pytest.raises(Fault, match=r"torch.*--trust"):
        read(tmp_path / "x.pkl")
    convert(tmp_path / "x.pkl", tmp_path / "ours", "ours", Flags(), trust=True)
    assert read(tmp_path / "ours").arch == "resnet20"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False])
def test_classes_that_are_not_installed_do_not_keep_a_trusted_file_from_being_read(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """InstDisc keeps its memory bank beside the weights, as an object of its own repository."""
    module = types.ModuleType("lib_of_theirs")
    module.Bank = type("Bank", (torch.nn.Linear,), {"__module__": "lib_of_theirs"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lib_of_theirs", module)
    state = trained("resnet20").state_dict()
    body = {
        "epoch": 200,
        "state_dict": state,
        "lemniscate": module.Bank(2, 3),
        "seen": {module.Bank(1, 1): 1},
    }
    torch.save(body, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)
    assert read(tmp_path / "ours").report.share == 1
    assert capsys.readouterr().err.count("left out, it cannot be imported here: lib_of_theirs.Bank") == 1


@pytest.mark.slow
def test_what_fails_when_trusted_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"\x80\x02cbuiltins\nint\nX\x01\x00\x00\x00a\x85R.")
    with pytest.raises(Fault, match="the process that read it failed"):
        convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)
    torch.save({"lr": 1}, tmp_path / "x.pth")
    with pytest.raises(Fault, match=r"x\.pth: it holds a dict"):  # not the copy that was read
        convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)


def test_nothing_is_asked_to_be_trusted_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Fault) as raised:
        convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)
    assert raised.value.reason == "data-missing"
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_arrays_where_tensors_are_expected_need_trust(tmp_path: Path) -> None:
    state = {name: one.numpy() for name, one in trained("resnet20").state_dict().items()}
    torch.save({"model": state}, tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "ours", "ours", Flags(), trust=True)
    assert read(tmp_path / "ours").arch == "resnet20"


def test_what_is_no_number_is_null_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = dict(trained("resnet20").state_dict())
    state["conv1.weight"] = torch.full_like(state["conv1.weight"], torch.nan)
    torch.save(state, tmp_path / "x.pth")
    verify(tmp_path / "x.pth", Flags(), as_json=True)
    out = capsys.readouterr().out
    assert "NaN" not in out
    assert json.loads(out)["features"]["mean_length"] is None


def test_verify_prints_everything_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = kept("swav", trained("resnet18").state_dict(), tmp_path)
    verify(source, Flags())
    out = capsys.readouterr().out
    assert "std 0.228/0.224/0.225" not in out.splitlines()[0]
    for said in ("layout swav", "assumed: std 0.228", "module.projection_head (1)", "features of the"):
        assert said in out
    verify(source, Flags(), as_json=True)
    body = json.loads(capsys.readouterr().out)
    assert body["share"] == 1
    assert len(body["matched"]) == body["expected"] == 100
    assert body["sha256"] == read(source).sha256
    assert [one.name for one in tmp_path.iterdir()] == [source.name]


def test_options_of_the_command_line_become_flags() -> None:
    made = flags(layout="moco", mean="0.5,0.5,0.5", size=96, stride=None, allow_partial=0.9)
    assert made == Flags(layout="moco", mean=(0.5, 0.5, 0.5), size=96, allow_partial=0.9)
    assert flags() == Flags()
    for wrong in (
        {"mean": "a,b"},
        {"mean": "1,2"},
        {"std": "0,0,0"},
        {"mean": "123.675,116.28,103.53"},
        {"std": "58.395,57.12,57.375"},
        {"stride": "2"},
        {"allow_partial": 0.0},
    ):
        with pytest.raises(Fault) as raised:
            flags(**wrong)
        assert raised.value.reason == "bad-config"
