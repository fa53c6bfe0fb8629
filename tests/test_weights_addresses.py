"""Which addresses of checkpoints are taken: the hub's too, those that say a hash, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from tests.weights_server import BODY, QUICK, Server, served
from zoo.weights.address import hashed_name, parsed
from zoo.weights.source import local


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with served(monkeypatch) as made:
        yield made


def test_a_hub_is_read_through_its_other_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed there, checked by the hub's tag; the token stays with the hub."""
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    found = local("hf://org/right@v1/deep/x.pth", tmp_path, QUICK)
    assert found.read_bytes() == BODY
    assert server.asked[0][0] == "/org/right/resolve/v1/deep/x.pth"
    told = {path.split("/")[1]: token for (path, _), token in zip(server.asked, server.tokens, strict=True)}
    assert told == {"org": "Bearer hf_private", "breaks": None}
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("source.json"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf://org/wrong@v1/x.pth", "the hub says 0000"),
        ("hf://org/size@v1/x.pth", "the hub says 7 bytes and the server that has it 1024000"),
        ("hf://org/two", "holds 2 checkpoints (a.pth, b.pth); name one as hf://org/two@main/FILE"),
    ],
)
def test_a_hub_s_word_is_checked(source: str, said: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        local(source, tmp_path, QUICK)
    assert said in str(caught.value)


def test_a_repository_s_one_backbone_needs_no_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = local("hf://org/right", tmp_path, QUICK)
    assert (found.name, found.read_bytes()) == ("backbone.safetensors", BODY)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert local("hf://org/right", tmp_path, QUICK) == found
    with pytest.raises(Fault, match="was never looked into"):
        local("hf://org/other", tmp_path, QUICK)


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "ftp://host/x.pth",
        "http://example.com/x.pth",
        "https://user:word@example.com/x.pth",
        "https://example.com/x.pth#md5=00",
        "hf://org",
        "hf://org/name@v1/../../other/x.pth",
    ],
)
def test_other_addresses_are_refused_in_a_sentence(source: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="give a path, https://HOST/FILE or hf://ORG") as caught:
        local(source, tmp_path)
    assert caught.value.reason == "bad-config"


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("odc_resnet50_8xb64-steplr-440e_in1k_20220225-a755d9c0.pth", "a755d9c0"),
        ("resnet50-20220825.pth", ""),  # a date
        ("moco_r50_v2-e3b0c442.pth", ""),  # the hash of nothing: OpenSelfSup's
        ("checkpoint-00090000.pth", ""),  # a counter
        ("pixpro_base_r50_400ep_md5_919c6612.pth", ""),  # not of SHA-256
        ("deepclusterv2_800ep_pretrain.pth.tar", ""),
        ("net-deadbeef.pth.tar", "deadbeef"),
    ],
)
def test_names_that_say_a_hash(name: str, digits: str) -> None:
    assert hashed_name(name) == digits


def test_a_name_cannot_leave_the_cache() -> None:
    remote = parsed("https://example.com/a/%2e%2e%2f%2e%2e%2fetc%2fx.pth")
    assert remote is not None
    assert "/" not in remote.name
    assert not remote.name.startswith(".")


def test_the_library_takes_addresses_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import zoo

    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(Fault, match=r"https://example\.org/x\.pth is not among the kept downloads"):
        zoo.load("https://example.org/x.pth")
