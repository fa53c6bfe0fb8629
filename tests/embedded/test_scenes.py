"""Scenes show what their labels say; held-out scenes show held-out scans only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.data.embedded import drawing
from pretrain.data.embedded.digits import write
from tests.embedded.reading import lines, tight_box
from tests.embedded.tiny import TINY


def test_boxes_are_the_extent_of_what_can_be_seen() -> None:
    rng = np.random.default_rng(0)
    hidden = 0
    for first in range(60):
        scene = drawing.group(rng, "train", first % 10, 96, (96, 84), others=3)
        total = np.sum([thing.mask for thing in scene.things], axis=0)
        assert total.max() == 1, "no pixel shows two digits"
        assert scene.things[0].label == first % 10
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            assert tight_box(thing.mask) == [x0, y0, x1 - x0, y1 - y0]
            hidden += thing.difficult
    assert hidden > 0


def test_scans_are_divided_among_the_splits() -> None:
    parts = [{row for rows in drawing.scans(split) for row in rows} for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    assert [len(part) for part in parts] == pytest.approx([1797 * 0.75, 1797 / 8, 1797 / 8], rel=0.05)


def test_every_held_out_image_shows_held_out_scans_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With training scans made full squares and the others small dots, one look tells which an image
    shows.
    """
    scans, target = drawing.load()
    train = [row for rows in drawing.scans("train") for row in rows]
    fake = np.zeros_like(scans)
    fake[:, 5:7, 5:7] = 255
    fake[train, 2:10, 2:10] = 255
    monkeypatch.setattr(drawing, "load", lambda: (fake, target))
    write(tmp_path / "root", TINY)
    data = tmp_path / "root"

    def light(paths: list[Path]) -> float:
        """Share of pixels in an ink's range, mean over images."""
        return float(
            np.mean(
                [(np.asarray(Image.open(path).convert("RGB")).min(axis=2) > 125).mean() for path in paths]
            )
        )

    def listed(folder: Path, names: Path) -> list[Path]:
        return [folder / line.rpartition(" ")[0] for line in lines(names)]

    def voc(year: str, name: str) -> list[Path]:
        base = data / "VOCdevkit" / year
        return [base / f"JPEGImages/{i}.jpg" for i in lines(base / f"ImageSets/Main/{name}.txt")]

    pairs = [
        tuple(listed(data / f"imagenet/{name}", data / f"imagenet/meta/{name}.txt") for name in ("train", "val")),
        *(tuple(listed(data / folder, data / set_ / f"meta/{name}.txt") for name in ("train", "val"))
          for set_, folder in (("inat18", "inat18/train_val2018"), ("places205", "places205/images"))),
        (voc("VOC2007", "train"), voc("VOC2007", "val") + voc("VOC2007", "test")),
        (voc("VOC2012", "train"), voc("VOC2012", "val")),
        tuple(sorted((data / f"coco/{name}2017").iterdir()) for name in ("train", "val")),
        tuple(sorted((data / f"cityscapes/leftImg8bit/{name}").rglob("*.png")) for name in ("train", "val")),
    ]  # fmt: skip
    for shown_in_training, held_out in pairs:
        assert light(shown_in_training) > 3 * light(held_out), held_out[0]


def test_textures_cannot_be_told_by_colour_but_differ() -> None:
    rng = np.random.default_rng(0)
    for kind in drawing.TEXTURES:
        image = drawing.texture(rng, kind, 48, 32)
        assert image.size == (48, 32)
        assert np.asarray(image).std() > 5
