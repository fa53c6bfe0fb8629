"""Whether the lines of a suite's `exclude` name images of the plan: what names none leaves nothing out."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pretrain.base.faults import Fault, printable
from pretrain.data import exclude
from zoo.plan.datasets import Datasets


def sentence(datasets: Datasets) -> str:
    """How many lines name no image of what the plan reads, '' where every one does. Raises Fault (bad-config)
    where none does and none could: all data are there, and no line names a file.
    """
    path, splits = datasets.suite.exclude, datasets.splits_read()
    if path is None or not any(found for _, found in splits):
        return ""
    lines = exclude.listed(path)
    used = {line for _, found in splits for line in (found.left_out if found else ())}
    unused = {line: place for line, place in lines.items() if line not in used}
    if not unused:
        return ""
    there = all(found for _, found in splits)
    if not used and there and not any(map(os.path.exists, unused.values())):
        raise _nothing(datasets, unused)
    said = f"{len(unused)} of the {len(lines)} lines of {path} name no image that is read here"
    return f"exclude: {said}, first '{printable(next(iter(unused)))}'"


def _nothing(datasets: Datasets, lines: Mapping[str, str]) -> Fault:
    path, (reference, _) = datasets.suite.exclude, datasets.splits_read()[0]
    line, place = next(iter(lines.items()))
    image = os.path.abspath(datasets.split(reference).path(0))
    said = f"exclude: not one of the {len(lines)} lines of {path} names an image, first '{printable(line)}'"
    compared = f"which is {printable(place)}, where an image is {printable(image)}"
    return Fault(
        "bad-config", f"{said}, {compared}; write absolute paths, or such from the folder of the file"
    )
