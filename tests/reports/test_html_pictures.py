"""A model's page shows the pictures that jobs have kept, whole and harmless whatever their files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.contract.pictures import (
    Cluster,
    Confusion,
    Drawing,
    Drawn,
    Gallery,
    Kind,
    Map,
    dump,
)
from reports.html.site import pages, write
from tests.reports.store import PAPER, benchmark, view
from tests.reports.test_html import HOSTILE, Page

KNN, BOXES = PAPER["imagenet_knn"], PAPER["voc0712_detection"]


def keep(record: Path, *kinds: Kind) -> None:
    """Pictures beside a record, as a job leaves them."""
    folder = record.parent / "pictures"
    folder.mkdir()
    for kind in kinds:
        name, text = dump(kind)
        (folder / name).write_bytes(text)
    for i, name in enumerate(("gallery", "drawn-0")):
        Image.new("RGB", (12 * 48, 3 * 48), (200, 40 * i, 0)).save(folder / f"{name}.jpg")


def every(name: str) -> tuple[Kind, ...]:
    """A picture of each kind, with this name for every class."""
    clusters = [Cluster(20, 0.75, name, 8, 12), Cluster(3, 0.5, name, 3, 3)]
    return (
        Gallery("gallery.jpg", 48, 2, "how", clusters),
        Map([0.0, 1.0, 0.5], [0.0, 1.0, 0.5], [0, 1, 1], [name, name], 3, "how"),
        Confusion([name, name], [[3, 1], [0, 4]], [2, 0], 9, "how"),
        Drawn("how", [Drawing("drawn-0.jpg", f"truth: {name}"[:1000])]),
    )


def page(home: Path) -> str:
    """The page of the model odc."""
    return dict(pages(view(home), home))["models/odc.html"].decode()


def test_every_kind_is_shown_with_words_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    keep(benchmark(tmp_path, KNN, {"k10_top1": 1.0}), *every("cat"))
    text = page(tmp_path)
    shown = Page(text)
    for words in ("20 images, 75 % of class cat", "Map of the features", "Confusions", "truth: cat"):
        assert words in shown.text, words
    labels = [words.get("aria-label") or "" for tag, words in shown.elements if tag == "svg"]
    assert "Cluster 1: images nearest to the centroid" in labels
    assert "Cluster 2: random members" not in labels
    (image,) = [words for tag, words in shown.elements if tag == "img"]
    assert image["alt"] == "truth: cat"
    assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    uses = [words["href"] for tag, words in shown.elements if tag == "use"]
    assert {(href or "#")[1:] for href in uses} == {w["id"] for tag, w in shown.elements if tag == "image"}
    assert [words["class"] for tag, words in shown.elements if tag == "td" and "class" in words][-4:] == [
        "h5 own", "h2", "h0", "h9 own",
    ]  # fmt: skip
    assert text.count('r="1"/>') == 3


def test_the_first_seed_that_has_some_is_shown_and_none_where_none_has(tmp_path: Path) -> None:
    benchmark(tmp_path, KNN, {"k10_top1": 1.0})
    assert "in pictures" not in page(tmp_path)
    keep(benchmark(tmp_path, KNN, {"k10_top1": 1.0}, seed=1), *every("cat"))
    assert page(tmp_path).count("in pictures") == 1
    assert "Record of seed 1" in page(tmp_path)


def test_the_page_stays_whole_whatever_pictures_say(tmp_path: Path) -> None:
    for i, name in enumerate(HOSTILE):
        made = benchmark(tmp_path, KNN, {"k10_top1": 1.0}, model={"name": f"m{i}", "method": "m"}, at=str(i))
        keep(made, *every(name[:200]))
    write(view(tmp_path), tmp_path / "site", tmp_path)
    for path in (tmp_path / "site" / "models").iterdir():
        found = Page(path.read_text())
        assert [tag for tag, _ in found.elements].count("script") == 1
        assert not [name for _, words in found.elements for name in words if name.startswith("on")]
        assert [tag for tag, _ in found.elements].count("img") == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xd8\xff" + bytes(2 << 20),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"",
    ],
)
def test_an_image_that_is_none_is_left_out(tmp_path: Path, damage: bytes) -> None:
    made = benchmark(tmp_path, KNN, {"k10_top1": 1.0})
    keep(made, *every("cat"))
    for name in ("gallery.jpg", "drawn-0.jpg"):
        (made.parent / "pictures" / name).write_bytes(damage)
    text = page(tmp_path)
    assert "data:image/jpeg" not in text
    assert "Map of the features" in text


def test_a_picture_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    made = benchmark(tmp_path, KNN, {"k10_top1": 1.0})
    keep(made, *every("cat"))
    (made.parent / "pictures" / "map.json").write_text("[" * 100_000)
    wrong = {"classes": ["a"], "counts": [[1, 2]], "others": [0], "of": 1, "how": "x"}
    (made.parent / "pictures" / "confusion.json").write_text(json.dumps(wrong))
    text = page(tmp_path)
    assert "Map of the features" not in text
    assert "Confusions" not in text
    assert "Test images" in text


def test_bars_say_what_they_are_of(tmp_path: Path) -> None:
    facts = {"per_class": {"cat": 25.0}, "per_class_of": "AP50"}
    benchmark(tmp_path, BOXES, {"mAP": 50.0}, facts=facts)
    assert f"{BOXES.name}: AP50 by class</h2>" in page(tmp_path)
