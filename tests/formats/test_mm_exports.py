"""MMDetection and MMSegmentation load what is exported for them, and give equal features; what MMEngine saves
is read.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.mm.worker import ops
from pretrain.nets.formats.exporting import export
from pretrain.nets.formats.reading import read
from tests.formats.naming import behind, head
from tests.formats.sources import trained
from tests.formats.test_exporting import loaded

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported


@pytest.fixture(autouse=True)
def their_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read as in a process of theirs, not as a worker of ours reads its own states."""
    ops.install()
    from mmengine.runner.checkpoint import CheckpointLoader, load_from_local

    monkeypatch.setattr(CheckpointLoader, "_schemes", {"": load_from_local})


@pytest.mark.parametrize(
    "arch", ["resnet18", *(pytest.param(r50, marks=pytest.mark.slow) for r50 in ("resnet50", "resnet50_v1"))]
)
@pytest.mark.parametrize("to", ["mmdet", "mmseg"])
def test_their_resnet_has_equal_features(arch: str, to: str, tmp_path: Path) -> None:
    if to == "mmdet":
        from mmdet.models.backbones import ResNet
    else:
        from mmseg.models.backbones import ResNet
    given = loaded(arch)
    path = tmp_path / "x.pth"
    told = export(given, path, to, {})
    style = "caffe" if arch.endswith("v1") else "pytorch"
    assert f"style '{style}'" in told[0]
    depth = int(arch.removeprefix("resnet").removesuffix("_v1"))
    theirs = ResNet(depth=depth, style=style, init_cfg={"type": "Pretrained", "checkpoint": str(path)})
    theirs.init_weights()
    theirs.eval()  # returns None
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        out = theirs(x)
        for ours, one in zip(given.backbone.stages(x)[1:], out, strict=True):
            torch.testing.assert_close(ours, one, rtol=1e-6, atol=1e-6)


def test_what_mmengine_saves_while_it_trains_is_read(tmp_path: Path) -> None:
    """Its logs are objects that hold methods of their own class."""
    from mmengine.config import ConfigDict
    from mmengine.logging import MessageHub

    hub = MessageHub("training")
    hub.update_scalar("train/loss", 1.0)
    hub.update_info("iter", 3)
    state = {**behind("backbone.", trained("resnet20").state_dict()), **head("head.loss.weight")}
    meta = {"epoch": 1, "cfg": ConfigDict(lr=0.1), "dataset_meta": {"classes": ("a", "b")}}
    body = {"meta": meta, "state_dict": state, "message_hub": hub.state_dict(), "param_schedulers": []}
    torch.save(body, tmp_path / "epoch_1.pth")
    found = read(tmp_path / "epoch_1.pth")
    assert (found.report.layout, found.arch, found.report.share) == ("mmselfsup1", "resnet20", 1)
