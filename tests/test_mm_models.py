"""The paper-scale detectors and segmentation networks are the published ones, on our weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.worker import ops
from benchmarks.protocols.detection import protocol as detection_protocols
from benchmarks.protocols.segmentation import protocol as segmentation_protocols
from pretrain.base.faults import Fault
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build

pytest.importorskip("mmengine", reason="mmdet and mmsegmentation are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the mm packages warn when they are imported

PROTOCOLS = {p.name: p for p in (*detection_protocols.PAPER, *segmentation_protocols.PAPER)}
MEAN, STD = (0.5, 0.4, 0.3), (0.228, 0.2, 0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 with statistics that are nobody's default, its batch norms included."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    net = build("resnet50", Input(size=224, resize=256, mean=MEAN, std=STD), seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, tensor in net.state_dict().items():
            if "running" in name:
                tensor.uniform_(0.5, 1.5)
    checkpoint.save(path, net, "resnet50", {})
    return path


class Models:
    """Configurations and models of the paper suite, each made once."""

    def __init__(self, weights: Path, work: Path) -> None:
        ops.install()
        self.weights, self.work = weights, work
        self.made: dict[str, tuple[Any, nn.Module]] = {}

    def config(self, name: str, weights: Path, counts: dict[str, int] | None = None, **changes: Any) -> Any:
        from benchmarks.mm.worker import detection, segmentation
        from benchmarks.mm.worker.data import Data

        settings = changed(PROTOCOLS[name].settings, **changes)
        place = {"weights": weights, "root": self.work, "work": self.work}
        job = Job(**place, sha256="", seed=0, gpus=0, settings=settings)
        classes = 80 if name == "coco17_detection" else 20 if "detection" in name else settings.classes
        truth = self.work / "truth.json"
        truth.write_text('{"images": [], "annotations": [], "categories": []}')
        data = Data(
            tuple(map(str, range(classes))), [{"type": "T"}], {"ann_file": str(truth)}, 0, counts or {}
        )
        module: Any = detection if "detection" in name else segmentation
        return module.build(job, settings, data)

    def model(self, cfg: Any) -> nn.Module:
        from mmdet.registry import MODELS as DETECTORS
        from mmengine.registry import DefaultScope
        from mmseg.registry import MODELS as SEGMENTORS

        scope = cfg.default_scope
        with DefaultScope.overwrite_default_scope(scope):
            built: nn.Module = (DETECTORS if scope == "mmdet" else SEGMENTORS).build(cfg.model)
            built.init_weights()  # type: ignore[operator]  # as mm's runner does after building
        return built

    def __call__(self, name: str) -> tuple[Any, nn.Module]:
        if name not in self.made:
            cfg = self.config(name, self.weights)
            self.made[name] = cfg, self.model(cfg)
        return self.made[name]


@pytest.fixture(scope="module")
def models(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(weights, tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize(
    "name", [n if n.startswith("voc07") else pytest.param(n, marks=pytest.mark.slow) for n in PROTOCOLS]
)
def test_every_tensor_of_the_checkpoint_is_in_the_model(models: Models, weights: Path, name: str) -> None:
    from benchmarks.mm.worker.backbone import matched

    model = models(name)[1]
    assert matched(model, weights) == 318  # 53 convolutions and 53 batch norms of five tensors each
    first = next(model.get_submodule("backbone.net").parameters())
    with torch.no_grad():
        first[0] += 1
        with pytest.raises(Fault, match=r"1 of 318 tensors differ from .*conv1\.weight"):
            matched(model, weights)
        first[0] -= 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_batch_norms_are_synchronised_and_trained(models: Models, name: str) -> None:
    model = models(name)[1].train()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 53
    assert all(isinstance(norm, nn.SyncBatchNorm) and norm.training for norm in norms)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_pixels_are_normalised_as_the_checkpoint_says(models: Models, name: str) -> None:
    prepare: Any = models(name)[1].get_submodule("data_preprocessor")
    blue, green, red = 10, 100, 200
    image = torch.tensor([blue, green, red], dtype=torch.uint8)[:, None, None].expand(3, 64, 64)
    inputs = prepare.cast_data([image])[0][[2, 1, 0]]
    expected = [(value / 255 - m) / s for value, m, s in zip((red, green, blue), MEAN, STD, strict=True)]
    got = (inputs.float() - prepare.mean) / prepare.std
    assert got[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert (
        prepare._channel_conversion if hasattr(prepare, "_channel_conversion") else prepare.channel_conversion
    )


def test_c4_has_one_more_norm_after_res5(models: Models) -> None:
    cfg, model = models("voc0712_detection")
    head = model.get_submodule("roi_head.shared_head")
    norm: Any = head.get_submodule("norm")
    assert norm.num_features == 2048
    with torch.no_grad():
        model.eval()
        cells = torch.rand(2, 1024, 14, 14)
        last = head.get_submodule("layer4")(cells)
        assert torch.equal(head(cells), norm(last))
        assert last.shape == (2, 2048, 7, 7)
    assert isinstance(model.get_submodule("backbone.net.layer4"), nn.Identity)
    anchors = cfg.model.rpn_head.anchor_generator
    assert [16 * scale for scale in anchors.scales] == [32, 64, 128, 256, 512]
    assert anchors.strides == [16]
    assert (cfg.model.rpn_head.feat_channels, cfg.model.train_cfg.rpn.allowed_border) == (1024, 0)
    assert cfg.model.roi_head.bbox_head.num_classes == 20
    assert cfg.model.test_cfg.rcnn == {
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.5},
        "max_per_img": 100,
    }
    assert (cfg.model.train_cfg.rcnn.sampler.num, cfg.model.train_cfg.rcnn.sampler.pos_fraction) == (
        512,
        0.25,
    )


def test_fpn_heads_have_convolutions_and_norms(models: Models) -> None:
    cfg, model = models("coco17_detection")
    box: Any = model.get_submodule("roi_head.bbox_head")
    mask: Any = model.get_submodule("roi_head.mask_head")
    assert (len(box.shared_convs), len(box.shared_fcs), box.shared_fcs[0].out_features) == (4, 1, 1024)
    assert len(mask.convs) == 4
    neck: Any = model.get_submodule("neck")
    convolutions = [*neck.lateral_convs, *neck.fpn_convs, *box.shared_convs, *mask.convs]
    assert all(isinstance(layer.norm, nn.SyncBatchNorm) for layer in convolutions)
    assert cfg.model.rpn_head.anchor_generator.strides == [4, 8, 16, 32, 64]
    assert type(mask).__name__ == "FCNMaskHead"


@pytest.mark.parametrize("name", ["voc12aug_segmentation", "cityscapes_segmentation"])
def test_segmentation_keeps_the_plain_stem_and_dilates(models: Models, name: str) -> None:
    cfg, model = models(name)
    net: Any = model.get_submodule("backbone.net")
    assert net.conv1.kernel_size == (7, 7)
    assert "pretrained" not in cfg.model
    assert [block.conv2.dilation[0] for block in (*net.layer3, *net.layer4)] == [1, 2, 2, 2, 2, 2, 2, 4, 4]
    maps = model.get_submodule("backbone")(torch.zeros(1, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(256, 16, 16), (512, 8, 8), (1024, 8, 8), (2048, 8, 8)]
    head, side = cfg.model.decode_head, cfg.model.auxiliary_head
    assert (head.channels, head.num_convs, head.concat_input, head.dropout_ratio) == (512, 2, True, 0.1)
    assert (side.channels, side.num_convs, side.in_index, side.loss_decode.loss_weight) == (256, 1, 2, 0.4)
    city = name.startswith("city")
    assert {head.num_classes, side.num_classes} == {19 if city else 21}
    assert {head.align_corners, side.align_corners} == {city}
    window = {"mode": "slide", "crop_size": (769, 769), "stride": (513, 513)}
    assert cfg.model.test_cfg == (window if city else {"mode": "whole"})


@pytest.mark.slow
def test_stages_equal_mms_own_resnet(models: Models, weights: Path) -> None:
    from mmdet.models.backbones import ResNet as Detector
    from mmseg.models.backbones import ResNet as Segmentor

    state = checkpoint.load(weights).state_dict()
    image = torch.rand(1, 3, 64, 96)
    dilated = Segmentor(
        50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True, style="pytorch"
    )
    pairs = {"coco17_detection": Detector(50, style="pytorch"), "voc12aug_segmentation": dilated}
    for name, theirs in pairs.items():
        theirs.load_state_dict(state)
        theirs.eval()  # which returns nothing
        ours = models(name)[1].get_submodule("backbone").eval()
        with torch.no_grad():
            for a, b in zip(ours(image), theirs(image), strict=True):
                torch.testing.assert_close(a, b)


def test_a_sobel_backbone_stands_before_mms_heads(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "sobel.safetensors"
    net = build("resnet10_narrow", Input(size=32, resize=32, sobel=True), seed=0).eval()
    checkpoint.save(path, net, "resnet10_narrow", {})
    for name in ("voc0712_detection", "voc12aug_segmentation"):
        model = models.model(models.config(name, path))
        from benchmarks.mm.worker.backbone import matched

        assert matched(model, path) == 72
        first: Any = model.get_submodule("backbone.net")
        assert first.conv1.weight.shape[1] == 2
        image = torch.rand(1, 3, 32, 32)
        expected = net.stages(image)[3 if "detection" in name else 1]
        torch.testing.assert_close(model.get_submodule("backbone").eval()(image)[0], expected)


@pytest.mark.parametrize("arch", ["alexnet", "vgg16_bn"])
def test_only_resnets_have_the_stages_that_the_heads_need(models: Models, tmp_path: Path, arch: str) -> None:
    from benchmarks.mm.worker.backbone import shape

    path = tmp_path / "plain.safetensors"
    checkpoint.save(path, build(arch, Input(size=224, resize=256), seed=0), arch, {})
    with pytest.raises(Fault, match=f"holds a {arch}, .* need a ResNet with four stages") as error:
        shape(path)
    assert error.value.reason == "bad-config"


def test_boxes_without_masks_bring_the_head_that_leaves_them_out(models: Models, weights: Path) -> None:
    cfg = models.config("coco17_detection", weights, {"train_boxes_without_mask": 1})
    assert cfg.model.roi_head.mask_head.type == "PartlyMasked"


def test_published_lengths_and_rates(models: Models) -> None:
    voc, coco, aug, city = (models.config(name, models.weights) for name in PROTOCOLS)
    assert (voc.train_cfg.max_iters, voc.param_scheduler[1].milestones) == (24_000, [18_000, 22_000])
    assert (voc.param_scheduler[0].start_factor, voc.param_scheduler[0].end) == (0.001, 100)
    assert (coco.train_cfg.max_epochs, coco.param_scheduler[1].milestones) == (12, [8, 11])
    assert (coco.param_scheduler[1].by_epoch, coco.param_scheduler[0].by_epoch) == (True, False)
    assert coco.param_scheduler[0].end == 1_000
    assert {cfg.default_hooks.checkpoint.max_keep_ckpts for cfg in (voc, coco, aug, city)} == {2}
    for cfg in (voc, coco):
        assert cfg.optim_wrapper.optimizer == {
            "type": "SGD",
            "lr": 0.02,
            "momentum": 0.9,
            "weight_decay": 1e-4,
        }
        assert cfg.train_dataloader.batch_size == 16
    for cfg, length, batch in ((aug, 20_000, 16), (city, 40_000, 8)):
        assert cfg.optim_wrapper.optimizer == {
            "type": "SGD",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 5e-4,
        }
        (decay,) = cfg.param_scheduler
        assert (decay.type, decay.power, decay.end) == ("PolyLR", 0.9, length)
        assert decay.eta_min == pytest.approx(1e-4)
        assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size) == (length, batch)


def test_published_pictures(models: Models) -> None:
    voc, coco, aug, city = (models.config(name, models.weights) for name in PROTOCOLS)
    scorers = [cfg.val_evaluator.type for cfg in (voc, coco, aug, city)]
    assert scorers == ["VocScores", "CocoScores", "MeanIoU", "MeanIoU"]
    sides = [[scale[1] for scale in cfg.train_dataloader.dataset.pipeline[2].scales] for cfg in (voc, coco)]
    assert sides == [list(range(480, 801, 32)), [640, 672, 704, 736, 768, 800]]
    for cfg in (voc, coco):
        assert cfg.val_dataloader.dataset.pipeline[1].scale == (1333, 800)
        assert cfg.model.data_preprocessor.pad_size_divisor == 32
        assert "RepeatDataset" not in str(cfg.train_dataloader)
    for cfg, scale, crop in ((aug, (2048, 512), 512), (city, (2049, 1025), 769)):
        steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
        assert (steps["RandomResize"].scale, steps["RandomResize"].ratio_range) == (scale, (0.5, 2.0))
        assert (steps["RandomCrop"].crop_size, steps["RandomCrop"].cat_max_ratio) == ((crop, crop), 0.75)
        assert "PhotoMetricDistortion" in steps
        assert "Pad" not in steps  # padded after normalisation, by the preprocessor
        padding = cfg.model.data_preprocessor
        assert (padding.pad_val, padding.seg_pad_val, padding.size) == (0, 255, (crop, crop))
        assert cfg.val_dataloader.dataset.pipeline[1].scale == scale
