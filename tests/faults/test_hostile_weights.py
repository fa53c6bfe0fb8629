"""A weights file that lies, or is none, is refused in one sentence before anything is allocated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.base.faults import Fault
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build
from tests.faults.hostile import DEEP, EVIL, LONG, refused


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "backbone.safetensors"
    net = build("resnet10_narrow", Input(size=32, resize=32), 3)
    checkpoint.save(path, net, "resnet10_narrow", {"recipe": "r", "seed": 0})
    return path


def header(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes behind it."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def rewritten(path: Path, head: str | bytes, tensors: bytes) -> None:
    raw = head if isinstance(head, bytes) else head.encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + tensors)


def meta(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {**body, **changes}


METAS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "steps-up-for-hash": (meta(sha256="../../../../x"), "sha256 is wrong"),
    "upper-case-hash": (meta(sha256="A" * 64), "sha256 is wrong"),
    "number-for-hash": (meta(sha256=5), "sha256 is wrong"),
    "line-end-behind-hash": (meta(sha256="a" * 64 + "\n"), "sha256 is wrong"),
    "escapes-in-arch": (meta(arch=EVIL[:-1]), "arch is wrong"),
    "long-arch": (meta(arch="x" * 10**6), "arch is wrong"),
    "no-arch": (meta(arch=""), "arch is wrong"),
    "null-input": (meta(input=None), "input is wrong"),
    "nan-mean": (
        meta(input={"size": 32, "resize": 32, "mean": [float("nan"), 0, 0]}),
        "input.mean.0 is wrong",
    ),
    "huge-mean": (meta(input={"size": 32, "resize": 32, "mean": [1e30, 0, 0]}), "input is wrong"),
    "tiny-std": (meta(input={"size": 32, "resize": 32, "std": [1e-30, 1, 1]}), "input is wrong"),
    "huge-size": (meta(input={"size": 10**9, "resize": 32}), "input.size is wrong"),
    "tensors": (meta(tensors=10**30), "tensors is wrong"),
    "origin-list": (meta(origin=[]), "origin is wrong"),
    "escapes-in-recipe": (meta(origin={"recipe": EVIL[:-1]}), "says of 'recipe'"),
    "long-recipe": (meta(origin={"recipe": "x" * 10**6}), "says of 'recipe'"),
    "evil-key": (meta(origin={EVIL[:-1]: 1}), "has a key"),
    "nan-epochs": (meta(origin={"epochs": float("nan")}), "not finite"),
    "huge-epochs": (meta(origin={"epochs": 10**400}), "not finite or beyond"),
    "deep-origin": (lambda body: {**body, "origin": nested(50)}, "more than"),
    "large-origin": (meta(origin={str(i): i for i in range(20_000)}), "more than"),
    "unknown-key": (meta(**{"more\x1b": 1}), "is wrong"),
    "null": (lambda body: None, "is wrong"),
    "list": (lambda body: [body], "is wrong"),
}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize("name", METAS)
@pytest.mark.case(36)
def test_metadata_out_of_bounds_is_refused(saved: Path, name: str) -> None:
    change, said = METAS[name]
    head, tensors = header(saved)
    body = json.loads(head["__metadata__"]["meta"])
    head["__metadata__"]["meta"] = json.dumps(change(body))
    rewritten(saved, json.dumps(head), tensors)
    with pytest.raises(Fault) as raised:
        checkpoint.describe(saved)
    assert said in refused(raised, "weights-corrupt", saved)


@pytest.mark.parametrize("text", [DEEP, LONG, "\0", "", '{"sha256": NaN}'])
@pytest.mark.case(36)
def test_metadata_that_is_no_json_is_refused(saved: Path, text: str) -> None:
    head, tensors = header(saved)
    head["__metadata__"]["meta"] = text
    rewritten(saved, json.dumps(head), tensors)
    with pytest.raises(Fault) as raised:
        checkpoint.describe(saved)
    refused(raised, "weights-corrupt", saved)


def shape(*sizes: int) -> Callable[[dict[str, Any]], None]:
    return lambda head: head["conv1.weight"].update(shape=list(sizes))


def overlapping(head: dict[str, Any]) -> None:
    one, other = list(head)[1:3]
    head[one]["data_offsets"] = head[other]["data_offsets"]


def reversed_offsets(head: dict[str, Any]) -> None:
    head["conv1.weight"]["data_offsets"].reverse()


def beyond(head: dict[str, Any]) -> None:
    head["conv1.weight"]["data_offsets"] = [0, 10**15]


def dtype(head: dict[str, Any]) -> None:
    head["conv1.weight"]["dtype"] = "F99"


LAYOUTS = {
    "huge-shape": shape(10**9, 10**9),
    "overflowing-shape": shape(2**63, 2**63),
    "negative-shape": shape(-1, 3),
    "beyond-64-bits": shape(10**30),
    "overlapping": overlapping,
    "reversed-offsets": reversed_offsets,
    "beyond-the-end": beyond,
    "dtype": dtype,
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.case(36)
def test_a_layout_that_lies_is_refused(saved: Path, name: str) -> None:
    head, tensors = header(saved)
    LAYOUTS[name](head)
    rewritten(saved, json.dumps(head), tensors)
    for read in (checkpoint.describe, checkpoint.load):
        with pytest.raises(Fault) as raised:
            read(saved)
        refused(raised, "weights-corrupt", saved)


def test_a_tensor_without_elements_but_of_absurd_shape_is_refused(saved: Path) -> None:
    head, tensors = header(saved)
    head["conv1.weight2"] = {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [len(tensors)] * 2}
    rewritten(saved, json.dumps(head), tensors)
    with pytest.raises(Fault, match="1 unexpected") as raised:
        checkpoint.load(saved)
    refused(raised, "weights-mismatch", saved)


def test_a_tensor_that_is_named_twice_is_refused(saved: Path) -> None:
    head, tensors = header(saved)
    text = json.dumps(head)
    twice = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})[1:-1]
    rewritten(saved, f"{text[:-1]}, {twice}}}", tensors)
    with pytest.raises(Fault) as raised:
        checkpoint.load(saved)
    refused(raised, "weights-corrupt", saved)


def test_shapes_are_compared_before_tensors_are_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, tensors = header(saved)
    head["large"] = {"dtype": "F32", "shape": [2**38], "data_offsets": [len(tensors), len(tensors) + 2**40]}
    rewritten(saved, json.dumps(head), tensors)
    os.truncate(saved, saved.stat().st_size + 2**40)  # a terabyte of nothing, which takes no room on disk
    with pytest.raises(Fault, match="1 unexpected") as raised:
        checkpoint.load(saved)
    refused(raised, "weights-mismatch", saved)


CONTENTS = {
    "huge-header-claimed": (2**40).to_bytes(8, "little") + b"{}",
    "header-of-all-bits": b"\xff" * 8 + b"{",
    "large-header": (20 << 20).to_bytes(8, "little") + b"{" * (20 << 20),
    "deep-header": (200_000).to_bytes(8, "little") + DEEP.encode(),
    "zeros": bytes(4096),
    "text": b"weights",
    "escapes": b"\x1b[2J" * 99,
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.case(8, 36)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(CONTENTS[name])
    with pytest.raises(Fault) as raised:
        checkpoint.describe(path)
    said = refused(raised, "weights-corrupt", path)
    assert ("its header claims" in said) == ("header" in name and name != "deep-header")


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    os.mkfifo(path)
    with pytest.raises(Fault, match="it is no regular file"):
        checkpoint.describe(path)
    with pytest.raises(Fault, match="it is a folder"):
        checkpoint.describe(tmp_path)


def test_what_is_saved_can_be_read(tmp_path: Path) -> None:
    net = build("resnet10_narrow", Input(size=32, resize=32), 3)
    made = checkpoint.save(tmp_path / "b", net, "resnet10_narrow", {"recipe": "x" * 999 + EVIL[:-1]})
    assert checkpoint.describe(tmp_path / "b") == made
    assert len(made.recipe) <= 200
    assert made.recipe.isprintable()
