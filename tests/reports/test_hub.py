"""Front matter is what the hub reads, metafiles have OpenMMLab's fields, numbers keep their data's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.pages import hub, metafile
from reports.pages.card import fields, summary, train
from reports.pages.evaluated import evaluated
from reports.pages.hub import Content
from tests.reports.store import CARD, PAPER, benchmark, pretraining, view
from zoo.suites.suite import recipes

LINEAR = PAPER["imagenet_linear"]
INPUT = {
    "size": 224,
    "resize": 256,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "sobel": False,
}
FILES = [("model.safetensors", 10, "a" * 64)]
GIVEN = Content(
    name="mine",
    arch="resnet50",
    input=INPUT,
    dim=2048,
    weights="b" * 64,
    safetensors="model.safetensors",
    pth="mine-bbbbbbbb.pth",
    files=FILES,
    source={"file": "mine.pth"},
)


def of(home: Path, model: str = "odc", **more: Any) -> Content:
    shown = view(home)
    return replace(GIVEN, name=model, view=shown, row=shown.row(model), **more)


def front(text: str) -> Any:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_page_of_a_model_with_records(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.424, "Feature1_top1": 14.8})
    text = hub.readme(of(tmp_path))
    assert text.index("# ODC: odc") < text.index("## Summary") < text.index("## How do I load this model?")
    assert text.index("## How do I train this model?") < text.index("## Citation") < text.index("## Results")
    (one,) = front(text)["model-index"]
    (result,) = one["results"]
    assert one["name"] == "odc"
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "imagenet-1k", "name": "ImageNet-1k", "split": "val"}
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values == {"Feature1": 14.8, "AvgPool (MoCo)": 53.42}


def test_numbers_of_other_images_do_not_pass_for_imagenet_s(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.42}, n=300)
    (found,) = evaluated(view(tmp_path), view(tmp_path).row("odc"))
    assert not found.known
    assert found.dataset_name == "imagenet of suite paper"
    assert found.dataset == "paper-imagenet"


def test_of_several_seeds_the_numbers_are_those_of_the_weights(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    for seed, value in ((0, 50.0), (1, 60.0)):
        benchmark(tmp_path, LINEAR, {"AvgPool_top1": value}, seed=seed)
    assert [one.value for one in evaluated(view(tmp_path), view(tmp_path).row("odc"))] == [50.0]


def test_numbers_of_another_seed_s_weights_are_not_those_of_a_publication(tmp_path: Path) -> None:
    """Seed 0 is published, and was not evaluated by this benchmark."""
    pretraining(tmp_path, "odc")
    pretraining(tmp_path, "odc", seed=1, facts={"card": CARD, "weights": {"weights": "w1"}})
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 60.0}, seed=1, weights="w1")
    assert list(evaluated(view(tmp_path), view(tmp_path).row("odc"))) == []
    text = hub.readme(of(tmp_path))
    assert "model-index" not in front(text)
    assert "- imagenet_linear: seed 0 not run" in text


def test_what_makes_a_number_doubtful_is_published_with_it(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    alarms = {"alarms": ["9 images of val are in train"]}
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 60.0}, facts=alarms)
    assert "- imagenet_linear: in doubt: 9 images of val are in train" in hub.readme(of(tmp_path))


def test_the_page_of_given_weights_says_what_is_known() -> None:
    text = hub.readme(GIVEN)
    assert "model-index" not in front(text)
    assert "## How do I train this model?" not in text
    assert "net = torchvision.models.resnet50()" in text
    assert "| Source | mine.pth |" in text
    assert "torchvision.models" not in hub.readme(replace(GIVEN, arch="resnet50_v1"))


def test_the_hub_s_client_reads_the_front_matter(tmp_path: Path) -> None:
    client = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.42})
    read = client.ModelCard(hub.readme(of(tmp_path)))
    (result,) = read.data.eval_results
    expected = client.EvalResult(
        task_type="image-classification",
        task_name="ImageNet linear evaluation",
        dataset_type="imagenet-1k",
        dataset_name="ImageNet-1k",
        dataset_split="val",
        metric_type="accuracy",
        metric_name="AvgPool (MoCo)",
        metric_value=53.42,
    )
    assert replace(result, task_name=expected.task_name) == expected
    assert read.data.model_name == "odc"


def test_the_metafile_has_openmmlab_s_form(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, LINEAR, {"AvgPool_top1": 53.42, "AvgPool_SwAV_top1": 60.0})
    body = yaml.safe_load(metafile.metafile(of(tmp_path, where="org/name")))
    (collection,), (model,) = body["Collections"], body["Models"]
    assert list(collection) == ["Name", "Metadata", "Paper", "README"]
    assert list(collection["Metadata"]) == [
        *("Training Data", "Training Techniques", "Training Resources", "Architecture"),
    ]
    assert collection["Metadata"]["Training Resources"] == "8x H100"
    assert collection["Paper"]["URL"].startswith("https://arxiv.org/")
    assert list(model) == ["Name", "In Collection", "Metadata", "Results", "Config", "Weights"]
    assert model["Results"] == [
        {
            "Task": "Self-Supervised Image Classification",
            "Dataset": "ImageNet-1k",
            "Metrics": {"Top 1 Accuracy": 53.42},
        }
    ]
    assert model["Config"] == "odc.json"
    assert model["Weights"] == "https://huggingface.co/org/name/resolve/main/mine-bbbbbbbb.pth"
    given = yaml.safe_load(metafile.metafile(GIVEN))
    assert given["Models"][0]["Results"] is None
    assert given["Models"][0]["Weights"] == "mine-bbbbbbbb.pth"


SEED = {  # of the field's card of the three models, by its words
    "Layers": "50",
    "Classes": "1000",
    "Momentum": "0.9",
    "Width Multiplier": "1",
    "DeepCluster-v2 Loss Temperature": "0.1",
}
NAMES = (
    "rn50_in1k_deepclusterv2_400ep_2x160_4x96",
    "rn50_in1k_deepclusterv2_400ep_2x224",
    "rn50_in1k_deepclusterv2_800ep_2x224_6x96",
)
CLASSIC = (
    *("Parameters", "FLOPs", "File Size", "Training Data", "Training Resources", "Training Time"),
    *("Training Techniques", "Architecture", "ID", "LR", "Epochs", "Layers", "Classes", "Momentum"),
    *("Weight Decay", "Width Multiplier", "DeepCluster-v2 Loss Temperature"),
)


@pytest.fixture(scope="module")
def network() -> dict[str, Any]:
    """What a card says of the network of the three."""
    from pretrain.nets.archs import build
    from pretrain.train import model_card

    recipe = recipes("deepclusterv2")["paper"][0]
    net = build(recipe.arch, recipe.input, 0)
    return {
        "parameters": model_card.parameters(net),
        "parameters_with_classifier": model_card.parameters(net) + 2049 * 1000,
        "macs": model_card.forward_flops(net, recipe.input.size) // 2,
        "architecture": model_card.blocks(net),
        "layers": model_card.layers(net),
    }


@pytest.mark.parametrize("i", range(3))
def test_the_field_s_card_of_deepclusterv2(i: int, network: dict[str, Any]) -> None:
    """What its recipe and its network say is what the card has, but for its weight decay of 0."""
    from pretrain.train import model_card

    recipe = recipes("deepclusterv2")["paper"][i]
    assert recipe.arch == "resnet50"
    told = {
        **CARD,
        **network,
        "id": recipe.name,
        "method": model_card.title("deepclusterv2"),
        "techniques": recipe.techniques(),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "weight_decay": recipe.weight_decay,
        "temperature": recipe.temperature,  # type: ignore[attr-defined]
        **model_card.rates(recipe),
    }
    made = dict(fields(told))
    assert tuple(made) == CLASSIC
    assert all(made.values())
    assert made["ID"] == recipe.name == NAMES[i]
    assert "25,557,032 with a classifier" in made["Parameters"]  # 26 Million
    assert "4.1 Billion multiply-adds" in made["FLOPs"]  # 4 Billion
    assert made["LR"] == "0.3 per 256 images (4.8 at batch 4096)"
    assert made["Epochs"] == ("400", "400", "800")[i]
    assert {name: made[name] for name in SEED} == SEED
    techniques, blocks = made["Training Techniques"], made["Architecture"]
    assert all(word in techniques for word in ("DeepCluster", "Weight decay", "SGD with momentum"))
    for word in (
        "1x1 Convolution",
        "Bottleneck Residual Block",
        "Batch Normalization",
        "Global Average Pooling",
    ):
        assert word in blocks
    for word in ("Residual Block", "Residual Connection", "ReLU", "Max Pooling"):
        assert word in blocks


@pytest.mark.parametrize("i", range(3))
def test_the_command_trains_the_recipe_of_the_card(i: int, tmp_path: Path) -> None:
    """By the recipe's name, or by the name that was given to it, which means nothing elsewhere."""
    recipe = recipes("deepclusterv2")["paper"][i]
    for name, said in ((recipe.name, ""), ("mine", " --as mine")):
        home = tmp_path / name
        model = {"name": name, "method": "deepclusterv2", "recipe": recipe.name, "config": recipe.config}
        pretraining(home, "deepclusterv2", recipe=i, model=model)
        told = train(view(home), view(home).row(name))
        assert told == f"```bash\nzoo run {recipe.name} --benchmarks none --suite paper{said}\n```"


def test_energy_stands_on_the_card_where_it_was_read(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    assert "Energy" not in summary(view(tmp_path).row("odc"))
    pretraining(tmp_path, "odc", cost={"wall_s": 1.0, "energy_gpu_j": 7.2e6, "energy_cpu_j": 1.8e6})
    line = "| Energy | 2.5 kWh (GPUs 2, processors 0.5; all that ran there) |"
    assert line in summary(view(tmp_path).row("odc"))
