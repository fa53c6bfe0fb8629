"""A published model's page: a Hugging Face model card, YAML front matter and Markdown.

Front matter: https://huggingface.co/docs/hub/model-cards, with results as its `model-index`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import yaml  # type: ignore[import-untyped]

from pretrain.base.faults import Fault
from reports.pages import card
from reports.pages.about import About, about
from reports.pages.evaluated import evaluated
from reports.pages.markdown import escape
from reports.pages.rank import results
from reports.tables.cells import Row
from reports.tables.marks import method
from reports.view import View, facts

TAGS = ("self-supervised-learning", "clustering", "image-feature-extraction")
TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101")  # with the names and the average of ours


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is published. input: of the backbone, as JSON values; dim: of its features; safetensors, pth:
    names of files, pth '' for none; files: (name, bytes, sha256); where: ORG/NAME on the hub, '' for none;
    view, row: of a model with records.
    """

    name: str
    arch: str
    input: Mapping[str, Any]
    dim: int
    weights: str
    safetensors: str
    pth: str
    files: Sequence[tuple[str, int, str]]
    source: Mapping[str, Any]
    where: str = ""
    view: View | None = None
    row: Row | None = None

    @property
    def said(self) -> About:
        """Of its method, in words."""
        return about(method(self.row) if self.row else "")

    @property
    def facts(self) -> dict[str, Any]:
        """Of its training; empty for weights that were given."""
        return facts(self.row) if self.row else {}


def readme(content: Content) -> str:
    """The page. Raises Fault where huggingface_hub is installed and refuses its front matter."""
    said = content.said
    parts = [f"# {escape(said.name)}: {escape(content.name)}" if content.row else f"# {escape(content.name)}"]
    parts += [said.abstract, "## Summary", _summary(content)]
    parts += ["## How do I load this model?", *_load(content)]
    if content.view and content.row:
        parts += ["## How do I train this model?", card.train(content.view, content.row)]
    if said.bibtex:
        parts += ["## Citation", f"```bibtex\n{said.bibtex}\n```"]
    if content.view and content.row:
        parts += ["## Results", results(content.view, content.row)]
    parts += ["## Files", _files(content)]
    text = f"---\n{_yaml(front(content))}---\n\n" + "\n\n".join(parts) + "\n"
    validated(text)
    return text


def front(content: Content) -> dict[str, Any]:
    """The front matter as values."""
    own = [method(content.row)] if content.row else []
    made: dict[str, Any] = {
        "library_name": "pytorch",
        "pipeline_tag": "image-feature-extraction",
        "tags": [*TAGS, *own, content.arch.replace(":", "-")],
    }
    if content.view and content.row and (found := list(_results(content.view, content.row))):
        made["model-index"] = [{"name": content.name, "results": found}]
    return made


def _results(view: View, row: Row) -> Iterator[dict[str, Any]]:
    """One entry per benchmark, with its metrics."""
    for _, group in groupby(evaluated(view, row), lambda one: one.benchmark):
        ones = list(group)
        first = ones[0]
        yield {
            "task": {"type": first.task, "name": first.title},
            "dataset": {"type": first.dataset, "name": first.dataset_name, "split": first.split},
            "metrics": [{"type": one.metric, "name": one.heading, "value": one.value} for one in ones],
        }


def validated(text: str) -> None:
    """Raises Fault where huggingface_hub cannot read a card; does nothing where it is not installed."""
    try:
        client = importlib.import_module("huggingface_hub")
    except ImportError:
        return
    try:
        client.ModelCard(text, ignore_metadata_errors=False)
    except (ValueError, TypeError, KeyError) as error:
        raise Fault("internal", f"huggingface_hub refuses the model card: {error}") from error


def _yaml(body: dict[str, Any]) -> str:
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000))


def _summary(content: Content) -> str:
    if content.row and content.facts:
        return card.summary(content.row)
    given = content.input
    lines = [("Architecture", content.arch), ("Features", str(content.dim)), ("Weights", content.weights)]
    lines += [
        ("Images", f"{given['size']} px of {given['resize']} px, mean {given['mean']}, std {given['std']}")
    ]
    lines += [("Source", str(content.source["file"]))] if "file" in content.source else []
    lines += _read_as(content.source.get("origin") or {})
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {escape(value)} |" for name, value in lines)])


def _read_as(origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How a file from elsewhere was read: a wrong assumption moves numbers."""
    lines = [("Layout", str(origin["layout"]))] if "layout" in origin else []
    lines += [("Assumed", "; ".join(origin["assumed"]))] if origin.get("assumed") else []
    return lines + ([("Warnings", "; ".join(origin["warnings"]))] if origin.get("warnings") else [])


def _load(content: Content) -> Iterator[str]:
    side = content.input["size"]
    takes = "what the network takes, with torchvision alone"
    if content.input.get("sobel"):
        takes = (
            "the two edges that the first convolution takes, with torchvision alone; the network below finds the "
            "edges itself, and takes `net.transform(image)[None]`"
        )
    yield (
        f"`transform.py` makes of a Pillow image {takes}. What comes back "
        f"are globally averaged features, {content.dim} per image. Run these beside the files."
    )
    if content.pth and content.arch in TORCHVISION:
        yield _python(
            "import torch",
            "import torchvision",
            "",
            f"net = torchvision.models.{content.arch}()",
            "net.fc = torch.nn.Identity()",
            f'net.load_state_dict(torch.load("{content.pth}", weights_only=True))',
            f"features = net.eval()(torch.zeros(1, 3, {side}, {side}))",
        )
        yield "Or with all five feature maps, `net.stages(images)`, by the zoo that has made it:"
    yield _python(
        "from pathlib import Path",
        "",
        "import torch",
        "",
        "from pretrain.nets.formats.reading import read",
        "",
        f'net = read(Path("{content.safetensors}")).backbone',
        f"features = net(torch.zeros(1, 3, {side}, {side}))",
    )
    place = f"hf://{content.where}" if content.where else content.safetensors
    yield f"Evaluate it on your own data:\n\n```bash\nzoo run mine --checkpoint {place} --all-benchmarks\n```"


def _python(*lines: str) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


def _files(content: Content) -> str:
    lines = [f"| {name} | {size:,} | `{digest}` |" for name, size, digest in content.files]
    return "\n".join(["| File | Bytes | SHA-256 |", "| --- | --- | --- |", *lines])
