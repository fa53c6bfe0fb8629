"""A foreign file becomes one of ours once, under a name that its content decides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.formats.adopting import adopted
from pretrain.nets.formats.contract import Flags
from tests.formats.sources import kept, trained
from zoo.weights.convert import convert


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(trained("resnet20").state_dict())


def test_what_is_adopted_is_a_file_of_ours_that_says_where_it_is_from(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    source = kept("moco", state, tmp_path)
    ours = adopted(source, tmp_path / "adopted", Flags(std=(0.2, 0.2, 0.2)))
    meta = checkpoint.describe(ours)
    assert meta.arch == "resnet20"
    assert meta.input.std == (0.2, 0.2, 0.2)
    assert meta.origin["layout"] == "moco"
    assert meta.origin["prefix"] == "module.encoder_q."
    assert meta.origin["flags"] == {"std": [0.2, 0.2, 0.2]}
    assert meta.origin["file"] == source.name
    assert len(meta.origin["source_sha256"]) == 64
    assert "order rgb: default of moco" in meta.origin["assumed"]
    assert "share" not in meta.origin
    assert torch.equal(checkpoint.load(ours).state_dict()["conv1.weight"], state["conv1.weight"])


def test_content_and_flags_decide_the_name(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = kept("moco", state, tmp_path)
    same = tmp_path / "another name"
    same.write_bytes(source.read_bytes())
    first, store = adopted(source, tmp_path / "a"), tmp_path / "a"
    assert adopted(same, store) == first
    assert adopted(source, store, Flags(size=64)) != first
    assert len(list(store.iterdir())) == 2


def test_equal_weights_of_two_layouts_are_one_model(state: dict[str, Tensor], tmp_path: Path) -> None:
    files = [adopted(kept(name, state, tmp_path), tmp_path / "a") for name in ("moco", "detectron2", "vissl")]
    assert len(set(files)) == 3
    assert len({str(checkpoint.describe(path).identity()) for path in files}) == 1


def test_a_file_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    checkpoint.save(path, trained("resnet20"), "resnet20", {"recipe": "r"})
    assert adopted(path, tmp_path / "a") == path
    assert not (tmp_path / "a").exists()
    with pytest.raises(Fault, match="says itself what --layout would"):
        adopted(path, tmp_path / "a", Flags(layout="moco"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Fault, match=r"truncated|damaged"):
        adopted(path, tmp_path / "a")


def test_a_part_says_its_share(state: dict[str, Tensor], tmp_path: Path) -> None:
    part = {name: one for name, one in state.items() if name != "layer3.2.conv2.weight"}
    torch.save(part, tmp_path / "x")
    meta = checkpoint.describe(adopted(tmp_path / "x", tmp_path / "a", Flags(allow_partial=0.9)))
    assert meta.origin["share"] == pytest.approx(94 / 95, abs=1e-6)
    assert meta.origin["missing"] == ["layer3.2.conv2.weight"]


def test_a_damaged_copy_is_made_anew(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = kept("plain", state, tmp_path)
    ours = adopted(source, tmp_path / "a")
    ours.write_bytes(b"")
    assert checkpoint.describe(adopted(source, tmp_path / "a")).arch == "resnet20"


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "x")
    with pytest.raises(Fault):
        adopted(tmp_path / "x", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_numbers_that_are_none_are_never_adopted(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**state, "conv1.weight": torch.full((16, 3, 3, 3), torch.nan)}, tmp_path / "x")
    with pytest.raises(Fault, match="not finite") as raised:
        adopted(tmp_path / "x", tmp_path / "a")
    assert raised.value.reason == "nan"


def test_the_second_time_loads_no_torch(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = kept("plain", state, tmp_path)
    ours = adopted(source, tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from pretrain.nets.formats.adopting import adopted\n"
        f"assert adopted(Path({str(source)!r}), Path({str(tmp_path / 'a')!r})) == Path({str(ours)!r})\n"
        "assert 'torch' not in sys.modules"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 0, done.stderr


def test_a_store_that_cannot_be_written_is_said(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = kept("plain", state, tmp_path)
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(Fault, match="cannot write"):
        adopted(source, tmp_path / "a")


@pytest.mark.slow
def test_a_model_of_ours_is_the_same_after_a_way_through_another_format(tmp_path: Path) -> None:
    net = trained("resnet18")  # its batch norms have counted 500 batches
    made = checkpoint.save(tmp_path / "ours", net, "resnet18", {"recipe": "r"})
    assert int(net.bn1.num_batches_tracked) == 500
    for to in ("torchvision", "detectron2", "mmdet"):
        convert(tmp_path / "ours", tmp_path / to, to, Flags())
        back = checkpoint.describe(adopted(tmp_path / to, tmp_path / "a"))
        assert back.sha256 == made.sha256
