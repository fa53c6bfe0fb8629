"""Pages have the seeds' form, cards say what the record says, and their commands run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contract.protocol import catalogue
from pretrain.base.faults import Fault
from reports import site
from reports.pages.about import about
from reports.pages.card import card, fields, train
from reports.pages.method import page
from reports.records import found
from reports.view import View
from tests.reports.store import CARD, PAPER, another, benchmark, pretraining, view
from zoo.suites.suite import recipes

LINEAR, KNN = PAPER["imagenet_linear"], PAPER["imagenet_knn"]
SEED = (  # headings of the seeds' pages with their columns behind Model and Config
    ("### VOC SVM / Low-shot SVM", "Best Layer | SVM | k=1 | k=2 | k=4 | k=8 | k=16 | k=32 | k=64 | k=96"),
    ("### ImageNet Linear Evaluation", "Feature1 | Feature2 | Feature3 | Feature4 | Feature5 | AvgPool"),
    (
        "### iNaturalist2018 Linear Evaluation",
        "Feature1 | Feature2 | Feature3 | Feature4 | Feature5 | AvgPool",
    ),
    ("### Places205 Linear Evaluation", "Feature1 | Feature2 | Feature3 | Feature4 | Feature5 | AvgPool"),
    ("### Semi-Supervised Classification", r"Fine-tuned Config | Top-1 (%) | Top-5 (%)"),
    ("#### Pascal VOC 2007 + 2012", "mAP | AP50"),
    ("#### COCO2017", "mAP(Box) | AP50(Box) | AP75(Box) | mAP(Mask) | AP50(Mask) | AP75(Mask)"),
    ("#### Pascal VOC 2012 + Aug", "mIOU"),
    ("#### Cityscapes", "mIOU"),
)


def written(home: Path, protocols: dict[str, object] = PAPER) -> Path:  # type: ignore[assignment]
    """The folder of the pages of a home."""
    site.bring(view(home, protocols), (), home / "pages")  # type: ignore[arg-type]
    return home / "pages"


@pytest.mark.parametrize("method", ["odc", "deepcluster", "deepclusterv2", "swav"])
def test_a_page_has_title_abstract_citation_and_every_table_in_order(tmp_path: Path, method: str) -> None:
    pretraining(tmp_path, method)
    text = (written(tmp_path) / f"{method}.md").read_text()
    said = about(method)
    assert text.startswith(
        f"# {said.name}\n\n## [{said.title}]({said.url})\n\n{said.abstract}\n\n## Citation\n"
    )
    assert "```bibtex\n@inproceedings{" in text
    assert "## Models and Benchmarks\n\n[Back to model_zoo.md](model_zoo.md)\n" in text
    at = 0
    for heading, columns in SEED:
        at = text.index(f"\n{heading}\n", at)
        assert columns in text[at : text.index("| --- |", at)], heading
    assert text.index("### Detection") < text.index("#### COCO2017") < text.index("### Segmentation")
    assert "`head10_steplr1e-1`" in text


def test_abstracts_are_our_own_words() -> None:
    """No run of eight words of the abstract that the papers have."""
    seeds = Path(__file__).parents[3] / "shared" / "seeds"
    if not seeds.is_dir():
        pytest.skip("no seeds to compare with")
    theirs = " ".join(re.findall(r"\w+", " ".join(path.read_text() for path in seeds.glob("*.txt")).lower()))
    for method in ("odc", "deepcluster", "deepclusterv2", "swav"):
        words = re.findall(r"\w+", about(method).abstract.lower())
        assert len(words) > 40
        runs = [" ".join(words[i : i + 8]) for i in range(len(words) - 7)]
        assert not [run for run in runs if run in theirs], method


def test_tables_that_a_suite_leaves_out_stand_on_the_page_all_the_same(tmp_path: Path) -> None:
    smoke = catalogue("smoke")
    benchmark(tmp_path, smoke["imagenet_knn"], {"k10_top1": 12.0})
    text = page(view(tmp_path, smoke, "smoke"), "odc")
    assert "table=cityscapes_segmentation" in text
    assert "`zoo plan odc --benchmarks imagenet_knn --suite smoke`" in text


def test_a_page_shows_its_method_and_the_reference_rows(tmp_path: Path) -> None:
    for model in ("odc", "swav", "random"):
        benchmark(tmp_path, KNN, {"k10_top1": 12.0}, model=model)
    text = (written(tmp_path) / "odc.md").read_text()
    assert "(../results/odc/imagenet_knn" in text
    assert "(../results/random/imagenet_knn" in text
    assert "swav/imagenet_knn" not in text
    assert not (tmp_path / "pages" / "random.md").exists()


def test_text_that_a_user_adds_to_a_page_stays(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    path = written(tmp_path) / "odc.md"
    path.write_text(path.read_text().replace("## Citation", "Mine.\n\n## Citation"))
    benchmark(tmp_path, KNN, {"k10_top1": 12.0})
    text = (written(tmp_path) / "odc.md").read_text()
    assert "Mine.\n" in text
    assert "12.0" in text


def test_the_summary_has_its_tables_with_remarks(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.42, "AvgPool_SwAV_top1": 60.0})
    text = (written(tmp_path) / "model_zoo.md").read_text()
    assert "- [ODC](odc.md)\n- model card: [odc](cards/odc.md)" in text
    assert "| Algorithm | Model | Config | Epochs | Download |" in text
    assert "[model](../models/odc-s0/backbone.safetensors) |" in text
    assert re.search(r"\| Algorithm \| Model \| Config \| Remarks \| Top-1 \(%\) \|", text)
    lines = [line for line in text.splitlines() if "imagenet_linear" in line and line.startswith("| ODC")]
    assert "|  | [53.42](" in lines[0]
    assert "| SwAV paper setting | [60.00](" in lines[1]
    for heading in ("COCO17 Object Detection and Instance Segmentation", "Pascal VOC12 + Aug Segmentation"):
        assert f"### {heading}\n" in text


def test_a_method_without_a_text_has_its_summary() -> None:
    assert about("supervised").abstract.startswith("cross-entropy on the true labels")
    assert about("given").name == "given"
    assert about("given").abstract == "Weights that were given as a file."
    assert about("taken_out_since").abstract.startswith("Its method is not in this zoo now")


def test_a_method_of_the_user_brings_its_text_along(tmp_path: Path) -> None:
    folder = tmp_path / "methods" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipes.py").write_text("TITLE, SUMMARY = 'Mine', 'a summary'\n")
    (folder / "page.toml").write_text("name = 'MINE'\nabstract = 'Of my own.'\n")
    code = "from reports.pages.about import about; print(about('mine'))"
    environment = {**os.environ, "ZOO_PLUGINS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "name='MINE'" in done.stdout, done.stderr
    assert "abstract='Of my own.'" in done.stdout


def test_the_card_has_the_fields_of_the_classic_cards_in_order() -> None:
    made = dict(fields(CARD))
    assert list(made) == [
        *("Parameters", "FLOPs", "File Size", "Training Data", "Training Resources", "Training Time"),
        *("Training Techniques", "Architecture", "ID", "LR", "Epochs", "Layers", "Classes", "Momentum"),
        *("Weight Decay", "Width Multiplier", "Online Deep Clustering Loss Temperature"),
    ]
    assert made["Parameters"] == "24 Million (23,508,032; 25,557,032 with a classifier)"
    assert made["FLOPs"] == "8.2 Billion (4.1 Billion multiply-adds)"
    assert made["File Size"] == "111.37 MiB"
    assert made["Training Data"] == "imagenet/train (1,281,167 images)"
    assert made["Training Resources"] == "8x H100"
    assert made["Training Time"] == "2 h 1 min (16.13 device hours)"
    assert made["LR"] == "0.03 per 256 images (0.06 at batch 512)"
    assert made["Weight Decay"] == "1e-05"
    assert dict(fields({}))["Parameters"] == ""


def rank(home: Path, value: float, n: int = 50_000) -> str:
    """The rank on the card of a model with that k-NN accuracy."""
    pretraining(home, "odc")
    benchmark(home, KNN, {"k10_top1": value}, n=n)
    return next(line for line in card(view(home), "odc").splitlines() if "| k=10 |" in line)


def test_the_rank_is_among_the_store_s_models_and_the_published_ones(tmp_path: Path) -> None:
    """Published: 38.5 60.5 42.9 47.8 55.6 63.9; of the store 50 and 20."""
    for model, value in (("swav", 50.0), ("random", 20.0)):
        benchmark(tmp_path, KNN, {"k10_top1": value}, model=model)
    assert rank(tmp_path, 45.0) == "| ImageNet k-NN | odc | k=10 | 45.0 | # 6 of 9 (6 published) |"
    assert rank(tmp_path, 99.0).endswith("# 1 of 9 (6 published) |")


def test_numbers_that_are_shown_alike_have_one_rank(tmp_path: Path) -> None:
    for model, value in (("swav", 45.04), ("random", 20.0)):
        benchmark(tmp_path, KNN, {"k10_top1": value}, model=model, n=300)
    assert rank(tmp_path, 44.96, n=300) == "| ImageNet k-NN | odc | k=10 | 45.0 | # 1 of 3 |"


def test_a_published_model_of_several_sources_counts_once(tmp_path: Path) -> None:
    """Eighteen models have a published AvgPool, ODC and SwAV in several rows; fourteen are above 53."""
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.0})
    text = card(view(tmp_path), "odc")
    assert "| AvgPool (MoCo) | 53.00 | # 15 of 19 (18 published) |" in text


def test_reference_rows_stand_below_the_others(tmp_path: Path) -> None:
    for model in ("random", "swav", "supervised", "odc"):
        benchmark(tmp_path, KNN, {"k10_top1": 1.0}, model=model)
    assert [row.model for row in view(tmp_path).rows] == ["odc", "swav", "supervised", "random"]


def test_models_measured_by_another_rule_or_on_other_data_have_no_rank_together(tmp_path: Path) -> None:
    benchmark(tmp_path, another(KNN, version=99), {"k10_top1": 50.0}, model="swav")
    benchmark(tmp_path, KNN, {"k10_top1": 50.0}, model="random", data="other")
    assert rank(tmp_path, 45.0, n=300).endswith("# 1 of 1 |")


def test_the_command_names_every_setting_that_is_not_the_recipe_s(tmp_path: Path) -> None:
    record = pretraining(tmp_path, "odc")
    assert train(view(tmp_path), view(tmp_path).row("odc")) == (
        "```bash\nzoo run odc --benchmarks none --suite paper\n```"
    )
    views = [{**record.protocol["settings"]["views"][0], "size": 64}]
    settings = {**record.protocol["settings"], "views": views, "epochs": 20}
    pretraining(tmp_path, "odc", protocol={**record.protocol, "settings": settings})
    said = train(view(tmp_path), view(tmp_path).row("odc"))
    assert sorted(re.findall(r"--set (\S+)", said)) == ["odc.epochs=20", "odc.views.0.size=64"]
    assert recipes("odc")["paper"][0].epochs != 20


def test_given_weights_have_a_card_without_a_training(tmp_path: Path) -> None:
    benchmark(tmp_path, KNN, {"k10_top1": 50.0}, model="mine")
    text = card(view(tmp_path), "mine")
    assert "its weights were given as a file" in text
    assert "| ImageNet k-NN | mine | k=10 | 50.0 |" in text
    with pytest.raises(Fault, match="unknown model 'nobody'"):
        card(view(tmp_path), "nobody")


FAILED: dict[str, Any] = {"status": "failed", "reason": "nan", "message": "diverged", "facts": {}}


def test_a_card_is_of_the_seed_that_was_trained_where_another_has_failed(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc", seed=0, **FAILED)
    pretraining(tmp_path, "odc", seed=1)
    benchmark(tmp_path, KNN, {"k10_top1": 50.0}, seed=1)
    text = card(view(tmp_path), "odc")
    assert "zoo run odc --benchmarks none --suite paper --seeds 1" in text
    assert "| Epochs | 440 |" in text
    assert "models/odc-s1/backbone.safetensors" in text


def test_a_model_whose_pretraining_has_failed_is_no_file_of_the_user_s(tmp_path: Path) -> None:
    named = {"name": "mine", "method": "odc", "recipe": "r", "config": "c"}
    pretraining(tmp_path, "odc", model=named, **FAILED)
    text = card(view(tmp_path), "mine")
    assert "given as a file" not in text
    assert "No record says how it was trained: failed: nan: diverged" in text
    assert text.startswith("# ODC: mine\n")
    assert view(tmp_path).methods == ["odc"]


@pytest.mark.slow
def test_the_commands_of_a_card_run(tmp_path: Path) -> None:
    """Trained by `zoo run`, the card's python loads the weights, and its command finds the model trained."""
    home = tmp_path / "runs" / "smoke"
    first = ["run", "random", "--benchmarks", "none", "--suite", "smoke"]
    zoo(first, tmp_path)
    text = card(View(found(home), list(catalogue("smoke").values()), "smoke"), "random")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    check = "\nassert features.shape == (1, net.dim), features.shape\nprint(net.input.size)"
    done = subprocess.run(
        [sys.executable, "-c", code + check], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "32\n"
    (command,) = re.findall(r"```bash\nzoo (.*?)\n```", text)
    assert "random pretrain: done (recorded)" in zoo(command.split(), tmp_path)


def zoo(words: list[str], where: Path) -> str:
    """What a command of the zoo says on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *words], cwd=where, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_a_benchmark_that_cannot_run_on_a_model_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """Raw pixels are no network that a detector could be built on."""
    for name, arch in (("raw_pixels", "pixels"), ("odc", "resnet50")):
        model = {"name": name, "method": name, "recipe": "r", "config": "c", "arch": arch}
        benchmark(tmp_path, KNN, {"top1": 50.0}, model, at=name)
    made = view(tmp_path)
    table = made.filled(made.table_of("coco17_detection"), published=False)
    assert {row[0].text: row[2].text for row in table.rows} == {"odc": "not asked", "raw_pixels": "skipped"}
    (said,) = [note for note in table.notes if note.startswith("raw_pixels: ")]
    assert said.startswith("raw_pixels: skipped: bad-config: coco17_detection runs on resnet50, ")
    assert "this model is of architecture pixels" in said
