"""Pictures are bounded, repeat themselves, carry nothing of the files they come from, and cost no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.contract import pictures
from benchmarks.contract.pictures import Confusion, Drawn, Gallery, Map, load
from benchmarks.mm.bridge import keep
from benchmarks.pictures.clusters import SIDE, chosen, features_map, flattened, gallery, spread
from benchmarks.pictures.confusion import confusion
from benchmarks.pictures.drawn import Things, colour, detections, label_maps
from benchmarks.pictures.kept import kept, save_image, take
from benchmarks.protocols.clustering import protocol as clustering
from benchmarks.protocols.clustering import run as clustering_run
from benchmarks.protocols.knn import protocol as knn
from benchmarks.protocols.knn import run as knn_run
from pretrain.base.faults import Fault
from pretrain.data.sets import imagenet
from pretrain.data.split import Split
from tests import scenes
from tests.test_clustering import task


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return imagenet.read(scenes.folder(tmp_path_factory.mktemp("images"), 16, 3), "val")


def test_a_gallery_shows_the_nearest_images_first_and_the_purest_cluster_first(
    tmp_path: Path, split: Split
) -> None:
    x = torch.zeros(48, 4)
    x[:, 0], x[:, 1] = 1.0, torch.linspace(0, 1, 48)
    clusters = torch.tensor([2] * 16 + [1] * 8 + [0] * 24)  # class 0; half of class 1; the rest
    gallery(tmp_path, split, x, clusters, 0)
    made = load(tmp_path)["gallery"]
    assert isinstance(made, Gallery)
    assert [(c.size, c.purity, c.majority) for c in made.clusters] == [
        (16, 1.0, "class0"), (8, 1.0, "class1"), (24, pytest.approx(2 / 3), "class2"),
    ]  # fmt: skip
    assert [(c.nearest, c.shown) for c in made.clusters] == [(8, 12), (8, 8), (8, 12)]
    with Image.open(tmp_path / made.sheet) as sheet:
        assert sheet.size == (12 * SIDE, 3 * SIDE)
        tones = np.asarray(sheet.resize((12, 3), Image.Resampling.BOX)).mean(2)
    assert tones[0].max() < tones[1, :8].min()  # class0 is darker than class1
    assert tones[1, 8:].max() < 5  # eight members leave four places black


def test_the_nearest_are_nearest_to_the_mean() -> None:
    x = torch.nn.functional.normalize(torch.tensor([[1.0, a] for a in np.linspace(-1, 1, 21)]), dim=1)
    picked, nearest = chosen(x, np.arange(100, 121), np.random.default_rng(0))
    assert nearest == 8
    assert set(picked[:8]) <= set(range(106, 115))
    assert picked[0] == 110
    assert len(set(picked)) == 12


def test_many_clusters_are_spread_over_all_of_them() -> None:
    assert spread(3, 30) == [0, 1, 2]
    found = spread(1000, 30)
    assert (found[0], found[-1], len(set(found))) == (0, 999, 30)


@pytest.mark.slow
def test_a_map_puts_classes_that_lie_apart_apart_and_is_the_same_again(tmp_path: Path, split: Split) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 0.05, (48, 8)) + np.eye(8)[split.labels]).float()  # type: ignore[index]
    features_map(tmp_path, split, x, 0)
    first = (tmp_path / "map.json").read_bytes()
    features_map(tmp_path, split, x, 0)
    assert (tmp_path / "map.json").read_bytes() == first
    made = load(tmp_path)["map"]
    assert isinstance(made, Map)
    assert made.classes == ["class0", "class1", "class2"]
    places, labels = np.stack([made.x, made.y], 1), np.array(made.label)
    means = np.stack([places[labels == i].mean(0) for i in range(3)])
    nearest = np.linalg.norm(places[:, None] - means, axis=2).argmin(1)
    assert (nearest == labels).all()


@pytest.mark.parametrize("n", [1, 2, 5, 29])
def test_few_images_have_a_map_too(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, 3))
    plane, how = flattened(x)
    assert plane.shape == (n, 2)
    assert "principal" in how


def test_confusions_are_counted_and_of_many_classes_the_worst_are_kept(tmp_path: Path) -> None:
    classes = [f"c{i}" for i in range(40)]
    truth = torch.arange(40).repeat(3)
    answers = truth.clone()
    answers[:30] = (truth[:30] + 1) % 30  # 0 to 29 are taken for the next one once
    answers[39] = 5
    confusion(tmp_path, answers, truth, classes, "how")
    made = load(tmp_path)["confusion"]
    assert isinstance(made, Confusion)
    assert made.of == 40
    assert made.classes == classes[:30]
    assert [made.counts[0][0], made.counts[0][1], made.counts[29][0]] == [2, 1, 1]
    assert made.others == [0] * 30
    answers[0] = 35
    confusion(tmp_path, answers, truth, classes, "how")
    again = load(tmp_path)["confusion"]
    assert isinstance(again, Confusion)
    assert again.others[0] == 1


def test_boxes_are_drawn_where_they_are_and_only_those_that_are_likely() -> None:
    image = Image.new("RGB", (320, 240))
    truth = Things(np.array([[10.0, 20, 100, 120]]), np.array([1]))
    scores = np.array([0.9, 0.2])
    found = Things(np.array([[30.0, 40, 200, 220], [1, 1, 319, 239]]), np.array([0, 1]), scores)
    made, words = detections(image, truth, found, ("cat", "dog"))
    assert made.size == (2 * 320 + 4, 240)
    assert words == "truth: dog; 1 found with a score of at least 0.3: cat"
    assert made.getpixel((60, 120)) == colour(1)
    assert made.getpixel((324 + 30, 200)) == colour(0)
    assert made.getpixel((324 + 318, 100)) == (0, 0, 0)


def test_masks_tint_what_they_cover() -> None:
    mask = np.zeros((1, 240, 320), dtype=bool)
    mask[:, 100:200, 100:200] = True
    found = Things(np.array([[100.0, 100, 200, 200]]), np.array([0]), np.array([1.0]), mask)
    nothing = Things(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    made, words = detections(Image.new("RGB", (320, 240)), nothing, found, ("cat",))
    assert made.getpixel((324 + 150, 170)) == tuple(round(0.5 * part) for part in colour(0))
    assert words.startswith("truth: nothing; 1 found")


def test_label_maps_stand_beside_each_other_without_ignored_pixels() -> None:
    truth, found = np.zeros((240, 320), dtype=np.int64), np.ones((240, 320), dtype=np.int64)
    truth[:, :160], found[:, :80] = 255, 0
    made, words = label_maps(Image.new("RGB", (320, 240)), truth, found, 255, background=0)
    assert words == "0.0 % of its pixels right"
    assert made.getpixel((40, 40)) == made.getpixel((300, 40)) == (0, 0, 0)  # ignored; background
    assert made.getpixel((324 + 300, 40)) == tuple(round(0.5 * part) for part in colour(1))


def test_images_are_kept_without_metadata_and_the_same_again(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    image.info["comment"] = b"who I am"
    image.save(tmp_path / "in.jpg", exif=exif, comment=b"who I am")
    with Image.open(tmp_path / "in.jpg") as opened:
        for name in ("a", "b"):
            save_image(tmp_path / f"{name}.jpg", opened)
    content = (tmp_path / "a.jpg").read_bytes()
    assert content == (tmp_path / "b.jpg").read_bytes()
    assert b"Exif" not in content
    assert b"who I am" not in content


@pytest.mark.parametrize(
    ("run", "protocol", "kinds"),
    [
        (clustering_run.run, clustering.SMOKE[0], {"gallery", "map"}),
        (knn_run.run, knn.SMOKE[0], {"confusion"}),
    ],
)
def test_protocols_keep_their_pictures_and_lose_no_number_without_them(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run: Callable[..., Any],
    protocol: Any,
    kinds: set[str],
) -> None:
    asked = task(tmp_path, protocol, **({"ks": (3,)} if "confusion" in kinds else {}))
    whole = run(replace(asked, work=tmp_path / "whole"))
    assert load(tmp_path / "whole" / pictures.FOLDER).keys() == kinds
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*.*"))
    assert size < 400_000
    (tmp_path / "full").write_text("a file, where a folder should be")
    assert run(replace(asked, work=tmp_path / "full")).scores == whole.scores
    assert capsys.readouterr().err.count("pictures not kept: ") == 1


def test_pictures_go_with_the_record_in_place_of_older_ones(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "record"
    for place in (work / "pictures", folder / "pictures", folder / keep.FOLDER):
        place.mkdir(parents=True)
    (work / "pictures" / "new").touch()
    (folder / "pictures" / "old").touch()
    take(work, folder, (pictures.FOLDER, keep.FOLDER))
    assert [path.name for path in (folder / "pictures").iterdir()] == ["new"]
    assert not (folder / keep.FOLDER).exists()  # of numbers that are no more


def test_an_interrupt_is_no_failure_of_a_picture(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), kept(tmp_path):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "body",
    [
        {"how": "x", "images": [{"file": "../../etc/passwd", "words": ""}]},
        {"how": "x", "images": [{"file": "a.svg", "words": ""}]},
        {"how": "x" * 201, "images": []},
        {"how": "x", "images": [{"file": "a.jpg", "words": ""}] * 7},
        {"how": "x", "images": [], "more": 1},
    ],
)
def test_what_is_no_picture_is_left_out(tmp_path: Path, body: dict[str, Any]) -> None:
    (tmp_path / "drawn.json").write_text(json.dumps(body))
    assert load(tmp_path) == {}
    (tmp_path / "drawn.json").write_text(json.dumps({"how": "x", "images": []}))
    assert load(tmp_path) == {"drawn": Drawn("x", [])}


def test_files_that_are_large_or_no_jpeg_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(10))
    assert pictures.jpeg(path) is not None
    path.write_bytes(b"<svg onload=alert(1)>")
    assert pictures.jpeg(path) is None
    path.write_bytes(b"\xff\xd8\xff" + bytes(pictures.LARGEST))
    assert pictures.jpeg(path) is None
    assert pictures.jpeg(tmp_path) is None


def test_what_to_keep_is_a_list_of_known_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keep.VARIABLE, raising=False)
    assert keep.asked() == frozenset()
    monkeypatch.setenv(keep.VARIABLE, "predictions, weights,")
    assert keep.asked() == {"predictions", "weights"}
    monkeypatch.setenv(keep.VARIABLE, "prediction")
    with pytest.raises(Fault, match="unknown word 'prediction' in ZOO_KEEP; did you mean predictions"):
        keep.asked()
