"""A model whose recipe adapts to the number of images has its row, under the name that was asked for."""

from pathlib import Path

from tests import scenes
from zoo.plan.planner import Planner
from zoo.request import resolve
from zoo.show.tables import row


def test_a_recipe_that_adapts_has_its_row(tmp_path: Path) -> None:
    scenes.folder(tmp_path / "imagenet", per_class=100)
    (tmp_path / "own.toml").write_text(
        'variant = "photos"\nimages = "imagenet/train"\nbeside = []\n[data]\nimagenet = "imagenet"\n'
    )
    asked = resolve(["odc"], ["imagenet_knn"], str(tmp_path / "own.toml"), tmp_path / "home", [])
    plan = Planner(asked).plan()
    (entry,) = asked.entries
    assert {job.entry for job in plan} != {entry}, "it adapted"
    found = row(entry, plan)
    assert (found.model, set(found.records)) == ("odc", {"pretrain", "imagenet_knn"})
