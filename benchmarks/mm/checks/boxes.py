"""Boxes as they are found on disk: read, checked, the odd ones counted; what cannot be used is an error by
name.

How odd boxes are treated, and the count that the record shows for it:

    boxes_clipped          partly outside the image: cut to it (COCO: in training; scored as in the file)
    boxes_dropped          outside the image, or without an area: not used (COCO: not in training, where an
                           image with no other box is background; at test pycocotools scores them like any)
    boxes_difficult        VOC: background in training, neither right nor wrong at test
    boxes_crowd            COCO: background in training, neither right nor wrong at test
    boxes_without_mask     COCO: train the box head alone, count for box AP, are crowd for mask AP
    boxes_without_image    COCO: not used
    images_without_boxes   not trained on; at test every detection on them is wrong
    images_not_listed      COCO: files in the folder that the json does not name: not used
    sizes_corrected        VOC: the XML gives no size or another one than the image: the image's
    classes_absent         named or declared, but without a box that training uses or that counts at test
    classes_only_in_train, classes_only_in_test
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.base.faults import Fault


@dataclass(frozen=True)
class Report:
    """What a list of images holds: class names, how often each
    oddity occurs, and the usable boxes of each class.
    """

    images: int
    classes: tuple[str, ...]
    odd: Counter[str] = field(default_factory=Counter)
    usable: Counter[str] = field(default_factory=Counter)


def merged(reports: Sequence[Report]) -> Report:
    """Several lists as one; classes in the order in which they come up."""
    odd, usable = Counter[str](), Counter[str]()
    for report in reports:
        odd.update(report.odd)
        usable.update(report.usable)
    classes = dict.fromkeys(name for report in reports for name in report.classes)
    return Report(sum(report.images for report in reports), tuple(classes), odd, usable)


def expect_boxes(report: Report, where: Path, purpose: str, smallest: int = 0) -> None:
    """Raises Fault (data-corrupt) if a list has no box to `purpose`, on an image of `smallest` px or more."""
    if not report.usable:
        size = f", on an image of at least {smallest} px" if smallest else ""
        raise Fault(
            "data-corrupt",
            f"{where}: none of its {report.images} images has a box to {purpose}, expected one or more that are not "
            f"difficult, crowd or outside the image{size}; correct the annotations or the list",
        )


def together(train: Report, test: Report) -> dict[str, int]:
    """The counts of both parts, `train_` and `test_` before the
    name, with the classes that only one of them has.
    """
    counts = dict[str, int]()
    for part, report in (("train", train), ("test", test)):
        odd = {**report.odd, "classes_absent": len(set(report.classes) - set(report.usable))}
        counts |= {f"{part}_{name}": n for name, n in sorted(odd.items()) if n}
    counts["classes_only_in_train"] = len(set(train.classes) - set(test.classes))
    counts["classes_only_in_test"] = len(set(test.classes) - set(train.classes))
    return counts
