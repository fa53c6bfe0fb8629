"""The data sets of a job: checked, counted, and stated as mm wants them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.datasets import XMLDataset
from mmdet.registry import DATASETS

from benchmarks.mm.bridge.job import Job
from benchmarks.mm.bridge.settings import Detection, Segmentation
from benchmarks.mm.checks import boxes, coco_boxes, label_maps, voc_boxes
from benchmarks.mm.checks.image_files import expect, listed, sizes
from benchmarks.mm.checks.label_maps import Pair
from pretrain.base import files

SMALLEST = 32  # px; mmdet does not train on images with a shorter side


@dataclass(frozen=True)
class Data:
    """classes: names by label; train, test: mm data sets without a pipeline; images: of the test part;

    counts: what the record says about odd annotations.
    """

    classes: tuple[str, ...]
    train: list[dict[str, Any]]
    test: dict[str, Any]
    images: int
    counts: dict[str, int]


@DATASETS.register_module()
class VocBoxes(XMLDataset):  # type: ignore[misc]
    """A VOC list whose boxes `voc_boxes.things` reads: training sees what the check has counted."""

    def parse_data_info(self, img_info: dict[str, Any]) -> dict[str, Any]:
        path = Path(self.sub_data_root) / img_info["file_name"]
        (size,) = sizes([path])
        found, _ = voc_boxes.things(Path(img_info["xml_path"]), size)
        instances = [
            {"bbox": list(one.box), "bbox_label": self.cat2label[one.name], "ignore_flag": int(one.difficult)}
            for one in found
            if one.name in self.cat2label
        ]
        return {
            **img_info,
            "img_path": str(path),
            "width": size[0],
            "height": size[1],
            "instances": instances,
        }


def prepare(job: Job) -> Data:
    """The job's data sets after every annotation was read.
    Raises Fault naming what is absent or cannot be used.
    """
    if isinstance(job.settings, Segmentation):
        return _label_maps(job, job.settings)
    return (_voc if job.settings.model == "faster_rcnn_c4" else _coco)(job, job.settings)


def _voc(job: Job, settings: Detection) -> Data:
    parts = [voc_boxes.check_voc(job.root, name, SMALLEST) for name in settings.train_lists]
    train, test = boxes.merged(parts), voc_boxes.check_voc(job.root, settings.test_list)
    for name, part in zip(settings.train_lists, parts, strict=True):
        boxes.expect_boxes(part, voc_boxes.voc_list(job.root, name), "train on", SMALLEST)
    boxes.expect_boxes(test, voc_boxes.voc_list(job.root, settings.test_list), "test on")
    _expect(settings.counts, train.images, test.images)
    counts = boxes.together(train, test)

    def stated(name: str) -> dict[str, Any]:
        year = name.partition("/")[0]
        return {
            "type": "VocBoxes",
            "data_root": str(job.root),
            "ann_file": _list(job, name, listed(voc_boxes.voc_list(job.root, name))),
            "data_prefix": {"sub_data_root": f"{year}/"},
            "metainfo": {"classes": classes},
            "filter_cfg": {"filter_empty_gt": True, "min_size": SMALLEST},
        }

    classes = tuple(sorted({*train.classes, *test.classes}))
    return Data(
        classes, [stated(n) for n in settings.train_lists], stated(settings.test_list), test.images, counts
    )


def _list(job: Job, name: str, names: Iterable[str]) -> str:
    """The path of a list of the names as they were checked: of one that is on disk mm would read a byte-order
    mark and blanks at the end of a line as part of a name, and without one it looks for files by other rules.
    """
    copy = job.work / f"list_{name.replace('/', '_')}.txt"
    files.write_text(copy, "".join(f"{line}\n" for line in names))
    return str(copy)


def _coco(job: Job, settings: Detection) -> Data:
    train = [_instances(job, name, "train", SMALLEST) for name in settings.train_lists]
    test = _instances(job, settings.test_list, "test", 0)
    for one in train:
        coco_boxes.same_classes(one.report, test.report, (one.path, test.path))
        boxes.expect_boxes(one.report, one.path, "train on", SMALLEST)
    boxes.expect_boxes(test.report, test.path, "test on")
    report = boxes.merged([one.report for one in train])
    _expect(settings.counts, report.images, test.report.images)
    sets = [one.stated(coco_boxes.with_empty_masks(one.content)) for one in train]
    counts = boxes.together(report, test.report)
    return Data(report.classes, sets, test.stated(test.content), test.report.images, counts)


@dataclass(frozen=True)
class _Instances:
    """One instances file: where it is, where its checked copy goes, what it holds."""

    path: Path
    copy: Path
    folder: Path
    content: dict[str, Any]
    report: boxes.Report

    def stated(self, content: dict[str, Any]) -> dict[str, Any]:
        files.write_text(self.copy, json.dumps(content))
        return {
            "type": "CocoDataset",
            "ann_file": str(self.copy),
            "data_prefix": {"img": str(self.folder)},
            "metainfo": {"classes": self.report.classes},
            "filter_cfg": {"filter_empty_gt": True, "min_size": SMALLEST},
        }


def _instances(job: Job, name: str, part: str, smallest: int) -> _Instances:
    path, folder = job.root / "annotations" / f"instances_{name}.json", job.root / name
    content = coco_boxes.read_coco(path)
    report = coco_boxes.check_coco(path, content, folder, smallest)
    return _Instances(path, job.work / f"{part}_{path.name}", folder, coco_boxes.completed(content), report)


def _label_maps(job: Job, settings: Segmentation) -> Data:
    root = job.root

    def pairs(one: tuple[str, str]) -> list[Pair]:
        voc = settings.layout == "voc"
        return (
            label_maps.voc_pairs(root / "VOC2012", *one) if voc else label_maps.cityscapes_pairs(root, one[0])
        )

    train, test = [pairs(one) for one in settings.train_lists], pairs(settings.test_list)
    _expect(settings.counts, sum(map(len, train)), len(test))
    odd = label_maps.check([pair for part in train for pair in part], settings.classes)
    counts = _prefixed("train", odd) | _prefixed("test", label_maps.check(test, settings.classes))
    classes = tuple(map(str, range(settings.classes)))
    make = _voc_masks if settings.layout == "voc" else _city_masks
    sets = [make(job, one, classes) for one in (*settings.train_lists, settings.test_list)]
    return Data(classes, sets[:-1], sets[-1], len(test), counts)


def _voc_masks(job: Job, part: tuple[str, str], classes: tuple[str, ...]) -> dict[str, Any]:
    root = job.root / "VOC2012"
    return {
        "type": "BaseSegDataset",
        "data_root": str(root),
        "ann_file": _list(job, part[0], listed(label_maps.voc_list(root, part[0]))),
        "data_prefix": {"img_path": "JPEGImages", "seg_map_path": part[1]},
        "metainfo": {"classes": classes},
        "img_suffix": ".jpg",
    }


def _city_masks(job: Job, part: tuple[str, str], classes: tuple[str, ...]) -> dict[str, Any]:
    folder, pairs = job.root / "leftImg8bit" / part[0], label_maps.cityscapes_pairs(job.root, part[0])
    images = sorted(str(pair.image.relative_to(folder)) for pair in pairs)
    return {
        "type": "BaseSegDataset",
        "data_root": str(job.root),
        "ann_file": _list(job, part[0], (name.removesuffix(label_maps.CITY_IMAGE) for name in images)),
        "data_prefix": {"img_path": f"leftImg8bit/{part[0]}", "seg_map_path": f"gtFine/{part[0]}"},
        "metainfo": {"classes": classes},
        "img_suffix": label_maps.CITY_IMAGE,
        "seg_map_suffix": label_maps.CITY_MASK,
    }


def _prefixed(part: str, odd: Mapping[str, int]) -> dict[str, int]:
    return {f"{part}_{name}": n for name, n in sorted(odd.items()) if n}


def _expect(counts: tuple[int, int], train: int, test: int) -> None:
    expect(train, counts[0], "the training part")
    expect(test, counts[1], "the test part")
