"""What a test leaves to look at: a few images with truth and prediction, and on request all predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from benchmarks.contract.pictures import DRAWINGS, Drawing, Drawn
from benchmarks.mm.bridge import keep
from benchmarks.pictures.clusters import spread
from benchmarks.pictures.drawn import Things, detections, label_maps
from benchmarks.pictures.kept import kept, save, save_image
from pretrain.base import files
from pretrain.data.image import rgb

IGNORED = 255  # label of pixels that do not count
HOW = "Truth on the left, prediction on the right."


class Looks(Hook):  # type: ignore[misc]
    """Draws DRAWINGS test images, spread evenly over the list, into `pictures/` below the job's folder.

    Of several processes each draws those that it tests. predictions: all of them are kept below `kept/`;
    background: a label of pixels that is not coloured.
    """

    priority = "LOW"

    def __init__(self, work: Path, predictions: bool, background: int | None = None) -> None:
        self.work, self.predictions, self.background = work, predictions, background
        self._wanted: dict[str, int] = {}
        self._found: list[dict[str, Any]] = []

    def before_val_epoch(self, runner: Runner) -> None:
        data, self._found = runner.val_dataloader.dataset, []
        with kept(self.work):
            paths = [data.get_data_info(i)["img_path"] for i in spread(len(data), DRAWINGS)]
            self._wanted = {path: i for i, path in enumerate(paths)}

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        classes = runner.val_dataloader.dataset.metainfo["classes"]
        for sample in outputs or ():
            with kept(self.work) as folder:
                if sample.img_path in self._wanted:
                    number = self._wanted[sample.img_path]
                    _draw(sample, classes, folder / f"drawn-{number}", self.background)
            if self.predictions:
                self._keep(sample, classes)
        if self._found and batch_idx + 1 == len(runner.val_dataloader):
            files.write_text(self.work / keep.FOLDER / f"boxes-{_rank()}.part", json.dumps(self._found))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if _rank() == 0:  # the scores were gathered: all processes have tested all of theirs
            _merged(self.work / keep.FOLDER)
            with kept(self.work) as folder:
                _gathered(folder)

    def _keep(self, sample: Any, classes: Sequence[str]) -> None:
        if "pred_sem_seg" in sample:
            labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
            path = self.work / keep.FOLDER / "labels" / f"{Path(sample.img_path).stem}.png"
            files.write(path, lambda aside: Image.fromarray(labels).save(aside, "PNG"))
        elif "masks" not in sample.pred_instances:  # with masks mmdet writes COCO's own files
            self._found += _boxes(sample, classes)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _draw(sample: Any, classes: Sequence[str], path: Path, background: int | None) -> None:
    image = rgb(Path(sample.img_path))
    if "pred_sem_seg" in sample:
        truth, found = (part.data[0].cpu().numpy() for part in (sample.gt_sem_seg, sample.pred_sem_seg))
        maps = truth.astype(np.int64), found.astype(np.int64)
        made, words = label_maps(image, *maps, IGNORED, background)
    else:
        made, words = detections(image, *_things(sample), classes)
    save_image(path.with_suffix(".jpg"), made)
    files.write_text(path.with_suffix(".txt"), words[:1000])


def _things(sample: Any) -> tuple[Things, Things]:
    truth, found = sample.gt_instances, sample.pred_instances
    masks = found.masks.cpu().numpy().astype(bool) if "masks" in found else None
    real = Things(_array(truth.bboxes), truth.labels.cpu().numpy())
    return real, Things(_array(found.bboxes), found.labels.cpu().numpy(), _array(found.scores), masks)


def _array(value: Any) -> Any:
    plain = value.tensor if hasattr(value, "tensor") else value  # mmdet has a class of its own for boxes
    return np.asarray(plain.cpu(), dtype=np.float64)


def _boxes(sample: Any, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The boxes of an image as COCO's results have them; images are named by their files."""
    found = sample.pred_instances
    rows = zip(_array(found.bboxes), _array(found.scores), found.labels.cpu().tolist(), strict=True)
    for (left, top, right, bottom), score, label in rows:
        yield {
            "image_id": Path(sample.img_path).stem,
            "category_id": label + 1,
            "category": classes[label],
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "score": float(score),
        }


def _merged(folder: Path) -> None:
    """Writes the boxes of all processes as one file; an image that two of them tested counts once."""
    boxes: dict[str, list[dict[str, Any]]] = {}
    for part in sorted(folder.glob("boxes-*.part")):
        mine: dict[str, list[dict[str, Any]]] = {}
        for one in json.loads(part.read_text(encoding="utf-8")):
            mine.setdefault(one["image_id"], []).append(one)
        boxes = {**mine, **boxes}
        part.unlink()
    if boxes:
        rows = [one for name in sorted(boxes) for one in boxes[name]]
        files.write_text(folder / "boxes.json", json.dumps(rows))


def _gathered(folder: Path) -> None:
    """Writes what says which images are drawn; all processes have drawn theirs."""
    images = []
    for said in sorted(folder.glob("drawn-*.txt")):
        images.append(Drawing(said.with_suffix(".jpg").name, said.read_text(encoding="utf-8")))
        said.unlink()
    if images:
        save(folder, Drawn(HOW, images))
