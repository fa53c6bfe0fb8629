"""`zoo cluster` and `zoo embed`: any folder of images, bad ones among them."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from pretrain.base.faults import Fault
from pretrain.nets import checkpoint, clusters
from tests import clustered, planned, scenes
from zoo.clusters import commands, sheets
from zoo.clusters.model import find, weights
from zoo.suites.suite import Suite

app = typer.Typer()
app.command()(commands.cluster)
app.command()(commands.embed)


def zoo(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of images, 18 in all, in nested folders."""
    return scenes.folder(tmp_path_factory.mktemp("images"), per_class=3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder: a backbone, and clusters beside it around the features of three kinds of images."""
    return clustered.model(tmp_path / "model")


@pytest.mark.parametrize("head", [0, 1])
def test_images_are_assigned_by_what_was_kept(model: Path, images: Path, tmp_path: Path, head: int) -> None:
    zoo("cluster", model, images, "--out", tmp_path / "a.csv", "--head", head)
    found = table(tmp_path / "a.csv")
    assert [row["file"] for row in found][:2] == ["train/class0/000.png", "train/class0/001.png"]
    assert len(found) == 18
    backbone, (_, kept) = checkpoint.load(model), clusters.load(model.with_name(clusters.NAME))
    for row in found:
        with Image.open(images / row["file"]) as image, torch.no_grad():
            z = backbone(backbone.transform(image)[None])
        expected = (z.double() - kept.centroids[head].double()).norm(dim=1).numpy()
        assert [int(row["cluster"]), int(row["second"])] == list(expected.argsort()[:2])
        assert float(row["distance"]) == pytest.approx(expected.min(), rel=1e-5)
        assert float(row["second_distance"]) == pytest.approx(np.sort(expected)[1], rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "model"]


def test_k_means_finds_clusters_where_none_are_kept(model: Path, images: Path, tmp_path: Path) -> None:
    model.with_name(clusters.NAME).unlink()
    with pytest.raises(Fault, match=r"left no clusters beside it.*give --clusters K"):
        zoo("cluster", model, images, "--out", tmp_path / "a.csv")
    zoo("cluster", model, images, "--out", tmp_path / "a.csv", "--clusters", 3)
    zoo("cluster", model, images, "--out", tmp_path / "b.csv", "--clusters", 3)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert {row["cluster"] for row in table(tmp_path / "a.csv")} == {"0", "1", "2"}
    with pytest.raises(Fault, match="--clusters 19: expected at most as many as images, got 18"):
        zoo("cluster", model, images, "--out", tmp_path / "a.csv", "--clusters", 19)


def test_a_single_cluster_has_no_second(model: Path, images: Path, tmp_path: Path) -> None:
    zoo("cluster", model, images, "--out", tmp_path / "a.csv", "--clusters", 1)
    assert {(row["cluster"], row["second"], row["second_distance"]) for row in table(tmp_path / "a.csv")} == {
        ("0", "", "")
    }


def test_parquet_says_what_csv_says(model: Path, images: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for ending in ("csv", "parquet"):
        zoo("cluster", model, images, "--out", tmp_path / f"a.{ending}", "--clusters", 2)
    one, other = pandas.read_csv(tmp_path / "a.csv"), pandas.read_parquet(tmp_path / "a.parquet")
    assert (
        list(one.columns)
        == list(other.columns)
        == ["file", "cluster", "distance", "second", "second_distance"]
    )
    assert (one["cluster"] == other["cluster"]).all()
    assert np.allclose(one["second_distance"], other["second_distance"], rtol=1e-8)


def test_sheets_show_the_nearest_first(model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "cluster-00099.png").touch()
    zoo("cluster", model, images, "--out", tmp_path / "a.csv", "--clusters", 2,
        "--sheets", tmp_path / "sheets", "--sheet-images", 4)  # fmt: skip
    found = table(tmp_path / "a.csv")
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == ["cluster-00000.png", "cluster-00001.png"]
    mine = sorted((row for row in found if row["cluster"] == "0"), key=lambda row: float(row["distance"]))
    step = sheets.SIDE + sheets.GAP
    with Image.open(tmp_path / "sheets" / names[0]) as sheet, Image.open(images / mine[0]["file"]) as first:
        assert sheet.size == (min(4, len(mine)) * step + sheets.GAP, step + sheets.GAP)
        corner = sheet.crop((sheets.GAP, sheets.GAP, step, step))
        assert np.array_equal(np.asarray(corner), np.asarray(first.convert("RGB").resize(corner.size)))


@pytest.fixture
def spoilt(images: Path, tmp_path: Path) -> Path:
    """The same images with one that is damaged."""
    import shutil

    shutil.copytree(images, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "train" / "class1" / "001.png").write_bytes(b"no image")
    return tmp_path / "spoilt"


def test_bad_images_are_named(model: Path, spoilt: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"class1/001.png cannot be decoded .* or leave it out with --skip-bad"):
        zoo("cluster", model, spoilt, "--out", tmp_path / "a.csv")


@pytest.mark.parametrize("more", [[], ["--clusters", "2"]])
def test_bad_images_are_left_out_and_listed(
    model: Path, spoilt: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = spoilt / "train" / "class1" / "\udcff.png"  # a name that is no UTF-8
    (spoilt / "train" / "class1" / "001.png").rename(bad)
    zoo("cluster", model, spoilt, "--out", tmp_path / "a.csv", "--skip-bad", *more)
    found = table(tmp_path / "a.csv")
    assert len(found) == 17
    assert "train/class1/001.png" not in {row["file"] for row in found}
    assert (tmp_path / "a.csv.bad.txt").read_bytes() == os.fsencode(f"{bad}\n")
    assert "1 of 18 images, which cannot be read" in capsys.readouterr().err


def test_features_of_good_images_stand_beside_their_names(model: Path, spoilt: Path, tmp_path: Path) -> None:
    zoo("embed", model, spoilt, "--out", tmp_path / "f.npy", "--skip-bad")
    x, names = np.load(tmp_path / "f.npy"), (tmp_path / "f.txt").read_text().splitlines()
    assert len(names) == len(x) == 17
    assert np.isfinite(x).all()
    backbone = checkpoint.load(model)
    for name, row in zip(names, x, strict=True):
        with Image.open(spoilt / name) as image, torch.no_grad():
            expected = backbone(backbone.transform(image)[None])[0]
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)


def test_a_name_that_a_list_cannot_say_is_told_before_anything_is_computed(
    model: Path, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("one.png", "two\nlines.png"):
        (folder / name).write_bytes((images / "train" / "class0" / "000.png").read_bytes())
    with pytest.raises(Fault, match=r"two\\nlines.png' holds a line end, .*; rename it, or take parquet"):
        zoo("embed", model, folder, "--out", tmp_path / "f.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "photos"]


def test_an_image_that_was_replaced_is_read_again_whatever_its_size_and_time_say(
    model: Path, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "some"
    shutil.copytree(images / "train" / "class0", folder)
    zoo("embed", model, folder, "--out", tmp_path / "f.npy")
    before, stat = np.load(tmp_path / "f.npy"), (folder / "000.png").stat()
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "png")
    (folder / "000.png").write_bytes(picture.getvalue().ljust(stat.st_size, b"\0"))
    os.utime(folder / "000.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    zoo("embed", model, folder, "--out", tmp_path / "f.npy")
    after = np.load(tmp_path / "f.npy")
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1:], after[1:])


def test_features_as_parquet(model: Path, images: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for ending in ("npy", "parquet"):
        zoo("embed", model, images, "--out", tmp_path / f"f.{ending}", "--layer", "res5")
    found = pandas.read_parquet(tmp_path / "f.parquet")
    assert np.array_equal(np.stack(found["features"].tolist()), np.load(tmp_path / "f.npy"))
    assert list(found["file"]) == (tmp_path / "f.txt").read_text().splitlines()


def test_layers_that_are_not_there(model: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"--layer: expected one of avg, res1, .*, neck, got 'conv5'"):
        zoo("embed", model, images, "--out", tmp_path / "f.npy", "--layer", "conv5")
    zoo("embed", model, images, "--out", tmp_path / "f.npy", "--layer", "neck")
    model.with_name(clusters.NAME).unlink()
    with pytest.raises(Fault, match="no projection was kept beside it; take another --layer"):
        zoo("embed", model, images, "--out", tmp_path / "f.npy", "--layer", "neck")
    model.with_name("result.json").touch()
    with pytest.raises(Fault, match=r"delete .*, or take another --layer$"):
        zoo("embed", model, images, "--out", tmp_path / "f.npy", "--layer", "neck")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster", "MODEL", "IMAGES", "--out", "a.txt"], "expected a name that ends in .csv or .parquet"),
        (["embed", "MODEL", "IMAGES", "--out", "a.csv"], "expected a name that ends in .npy or .parquet"),
        (["cluster", "MODEL", "nowhere", "--out", "a.csv"], "nowhere is not there"),
        (
            ["cluster", "MODEL", "IMAGES", "--out", "a.csv", "--head", "2"],
            "expected a head from 0 to 1, got 2",
        ),
        (["cluster", "nothing.pth", "IMAGES", "--out", "a.csv"], "checkpoint nothing.pth is not there"),
        (["cluster", "odc", "IMAGES", "--out", "a.csv"], "found none; run `zoo run odc`"),
    ],
)
def test_wrong_words(
    model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": str(model), "IMAGES": str(images)}
    with pytest.raises(Fault, match=said):
        zoo(*(names.get(word, word) for word in words))


def test_clusters_of_other_weights_are_refused(model: Path, images: Path, tmp_path: Path) -> None:
    meta, kept = clusters.load(model.with_name(clusters.NAME))
    clusters.save(model.with_name(clusters.NAME), kept, meta.method, "0" * 64)
    with pytest.raises(Fault, match="belongs to other weights"):
        zoo("cluster", model, images, "--out", tmp_path / "a.csv")


def test_a_model_is_found_by_its_name_and_seed(suite: Suite, tmp_path: Path) -> None:
    home = tmp_path / "home"
    planned.finish(suite, home)
    assert weights("odc", home) == next(home.glob("models/odc-s0-*/backbone.safetensors"))
    assert weights(str(suite.entry("odc").recipe.name), home) == weights("odc", home)
    assert find("odc", home).clustering is None
    with pytest.raises(Fault, match="its weights of seed 3 are not in"):
        weights("odc", home, 3)
    with pytest.raises(Fault, match=r"unknown model 'odcc'.*did you mean odc"):
        weights("odcc", home)
