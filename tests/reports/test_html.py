"""The site is whole whatever stands in records, its links lead somewhere, and its charts show the numbers."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pretrain.base.faults import Fault
from reports.html.places import filed
from reports.html.site import write
from tests.reports.store import CARD, PAPER, SMALL, benchmark, pretraining, view

KNN, LINEAR, SHOTS, SVM = (
    PAPER[n] for n in ("imagenet_knn", "imagenet_linear", "voc07_low_shot", "voc07_svm")
)
VOID = {"meta", "link", "img", "input", "br", "path", "circle", "rect"}
BIDI = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f"
HOSTILE = [
    "pipe|in|it",
    "line\nend\r\n\x00\x1b[31m",
    "</script></style></title><script>alert(1)</script><img src=x onerror=alert(1)>",
    "{{ 7*7 }}{% raw %}{# x #}${7*7}",
    f"left{BIDI}right",
    "x" * 300,
    "'\"><a href='javascript:alert(1)'>",
    "../../../etc/passwd",
    "",
    "Ünïcode 模型",
]


class Page(HTMLParser):
    """What a page says: its elements with their attributes, its text, and whether they are nested well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def values(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [words[name] or "" for _, words in self.elements if name in words]


def site(home: Path, protocols: dict[str, object] = PAPER) -> Path:  # type: ignore[assignment]
    """The folder of the site of a home."""
    write(view(home, protocols), home / "site", home)  # type: ignore[arg-type]
    return home / "site"


def pages(folder: Path) -> dict[Path, Page]:
    """Every page of a site."""
    return {path.resolve(): Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}


def hostile(home: Path) -> Path:
    """A home whose every word is hostile."""
    for i, name in enumerate(HOSTILE):
        model = {"name": name, "method": name, "config": name, "recipe": name}
        facts = {"per_class": {word: 10.0 + k for k, word in enumerate(HOSTILE)}, name: {name: [name]}}
        more = {"facts": facts, "env": {name: name}, "missing": {name: name}, "suite": name}
        benchmark(home, KNN, {"k10_top1": 1.0 + i}, model=dict(model), at=f"{i}a", **more)
        failure = {"status": "failed", "reason": "data-missing", "message": name}
        benchmark(home, LINEAR, {}, model=dict(model), at=f"{i}b", **failure)
    return home


@pytest.mark.case(37, 38)
def test_pages_stay_whole_whatever_names_and_classes_say(tmp_path: Path) -> None:
    found = pages(site(hostile(tmp_path)))
    assert len(found) == 2 + 2 * len(HOSTILE)
    for path, page in found.items():
        text = path.read_text()
        assert not [sign for sign in BIDI + "\x00\x1b" if sign in text], path
        assert [tag for tag, _ in page.elements].count("img") == 0
        scripts = [words for tag, words in page.elements if tag == "script"]
        assert len(scripts) <= 2, path
        assert not [name for _, words in page.elements for name in words if name.startswith("on")]
        assert text.count("7*7") == 2 * text.count("{{ 7*7 }}{% raw %}{# x #}${7*7}")
    assert (tmp_path / "site").resolve() in {path.parent for path in found}  # nothing has left the folder


def test_every_link_leads_to_a_page_and_a_place_on_it_and_none_leaves_the_site(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, SHOTS, {c.score: 20.0 for c in SHOTS.columns}, facts={"per_class": {"cat": 1.0}})
    found = pages(site(hostile(tmp_path)))
    links = 0
    for path, page in found.items():
        ids = page.values("id")
        assert len(ids) == len(set(ids)), path
        for name in ("aria-labelledby",):
            assert set(page.values(name)) <= set(ids), path
        for href in page.values("href"):
            if href == "data:,":
                continue
            to, _, anchor = href.partition("#")
            target = (path.parent / to).resolve() if to else path
            assert target in found, (path, href)
            links += 1
            if target.name != "compare.html" and anchor:
                assert anchor in found[target].values("id"), (path, href)
        assert not page.values("src")
    assert links > 100


def test_a_number_leads_to_its_record_with_protocol_settings_versions_and_hashes(tmp_path: Path) -> None:
    path = benchmark(
        tmp_path, KNN, {"k10_top1": 12.3456}, env={"git": "abc123", "versions": {"torch": "9.9"}}
    )
    folder = site(tmp_path)
    text = (folder / "index.html").read_text()
    href = text[: text.index(">12.3</a>")].rpartition('href="')[2].strip('"')
    page, _, anchor = href.partition("#")
    record = (folder / page).read_text().partition(f'id="{anchor}"')[2]
    shown = Page(f"<p>{record.partition('>')[2].partition('</article>')[0]}</p>").text
    for words in (
        "imagenet_knn, version",
        "12.3456",
        "wodc",
        "val=aaaa",
        "abc123",
        "torch = 9.9",
        "temperature = ",
    ):
        assert words in shown, words
    assert str(path.relative_to(tmp_path)) in shown
    assert str(tmp_path) not in text + shown


def test_a_failed_benchmark_is_shown_with_its_reason(tmp_path: Path) -> None:
    failure = {"status": "failed", "reason": "data-missing", "message": "no images at /data"}
    benchmark(tmp_path, KNN, {}, **failure)
    folder = site(tmp_path)
    assert '<a href="records/odc.html">failed</a>' in (folder / "index.html").read_text()
    for page in ("models/odc.html", "records/odc.html"):
        assert "data-missing: no images at /data" in (folder / page).read_text()


def test_older_records_stay_readable_and_say_so(tmp_path: Path) -> None:
    benchmark(tmp_path, KNN, {"k10_top1": 1.0}, at="old", time={"start": "", "end": "2025"})
    benchmark(tmp_path, KNN, {"k10_top1": 2.0}, at="new")
    text = (site(tmp_path) / "records" / "odc.html").read_text()
    assert text.count("<article") == 2
    assert text.index("2026-01-01") < text.index("Replaced by a newer record") < text.index("<dd>2025</dd>")


def test_same_records_same_bytes(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc")
    hostile(tmp_path)
    first = {path: path.read_bytes() for path in site(tmp_path).rglob("*.html")}
    assert {path: path.read_bytes() for path in site(tmp_path).rglob("*.html")} == first


def test_a_home_without_records_has_a_site(tmp_path: Path) -> None:
    assert sorted(path.name for path in site(tmp_path).iterdir()) == ["compare.html", "index.html"]


@pytest.mark.parametrize("name", ["index.html", "thesis.tex"])
def test_a_folder_of_other_files_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    other = tmp_path / "site" / name
    other.parent.mkdir()
    other.write_text("<p>mine</p>")
    with pytest.raises(Fault, match=rf"site holds other files \({name}\); name a new folder"):
        site(tmp_path)
    assert [path.name for path in other.parent.iterdir()] == [name]
    assert other.read_text() == "<p>mine</p>"


def test_a_site_is_written_over_an_older_one_and_beside_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "site" / ".git").mkdir(parents=True)
    index = site(tmp_path) / "index.html"
    first = index.read_text()
    generator = '<meta name="generator" content="cluster-zoo">\n'
    assert generator in first
    index.write_text(first.replace(generator, ""))  # as it was before it named what wrote it
    (tmp_path / "site" / "notes.txt").touch()
    assert (site(tmp_path) / "index.html").read_text() == first


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    with pytest.raises(Fault, match="site"):
        write(view(tmp_path), tmp_path / "site", tmp_path)


@pytest.mark.parametrize(
    "card", [{"file_mib": "much"}, {"seconds": 1e308, "parameters": True}, {"epochs": {}}]
)
def test_odd_facts_of_a_pretraining_do_not_break_its_page(tmp_path: Path, card: dict[str, object]) -> None:
    pretraining(tmp_path, "odc", facts={"card": {**CARD, **card}, "weights": {"weights": "w"}})
    assert '<h2 id="facts">' in (site(tmp_path) / "models" / "odc.html").read_text()


def test_names_that_differ_in_case_or_signs_get_files_of_their_own() -> None:
    names = ["odc", "ODC", "o/dc", "o.dc", "", "..", "-x", "x" * 61, "x" * 62, "odc~", "模型"]
    files = [filed(name) for name in names]
    assert files[0] == "odc"
    assert len({name.lower() for name in files}) == len(names)
    assert not [name for name in files if "/" in name or name.startswith((".", "-")) or len(name) > 80]


def test_published_curves_stand_behind_with_a_warning_where_the_rule_is_another(tmp_path: Path) -> None:
    scores = {column.score: 20.0 + i for i, column in enumerate(SHOTS.columns)}
    benchmark(tmp_path, SHOTS, scores, n=4952)
    text = (site(tmp_path) / "models" / "odc.html").read_text()
    assert "ODC, 440 epochs, published in docs/MODEL_ZOO.md @ OpenSelfSup 1db69ec" in text
    assert text.index('class="line quiet') < text.index('class="line s0"')
    assert "not to be compared" not in text
    small = SMALL["voc07_low_shot"]
    benchmark(
        tmp_path, small, {column.score: 20.0 for column in small.columns}, time={"start": "", "end": "2027"}
    )
    text = (site(tmp_path, SMALL) / "models" / "odc.html").read_text()
    assert "not to be compared with this one: settings other than the published ones" in text


def test_a_reason_that_holds_for_several_benchmarks_is_said_once(tmp_path: Path) -> None:
    pretraining(tmp_path, "odc", status="failed", reason="nan", message="diverged", facts={})
    text = (site(tmp_path, SMALL) / "models" / "odc.html").read_text()
    lines = re.findall(r"<li>([^<]*failed: [^<]*)</li>", text)
    assert lines[0] == "pretrain: failed: nan: diverged"
    assert len(lines) == 2
    assert lines[1].startswith("voc07_svm, voc07_low_shot, ")
    assert lines[1].endswith(": failed: pretraining failed: nan: diverged")


def test_bars_show_every_class_the_best_first(tmp_path: Path) -> None:
    benchmark(tmp_path, SVM, {"mAP": 50.0}, facts={"per_class": {"cat": 25.0, "dog": 50.0, "odd": "no"}})
    text = (site(tmp_path) / "models" / "odc.html").read_text()
    dog, cat = text.index("<bdi>dog</bdi>"), text.index("<bdi>cat</bdi>")
    assert dog < text.index('width="100.0"') < cat < text.index('width="50.0"')
    assert "<bdi>odd</bdi>" not in text


def test_a_seed_is_one_of_training(tmp_path: Path) -> None:
    for trained, seed in ((0, 0), (0, 1), (1, 0)):
        model = {"name": "odc", "method": "odc", "recipe": "odc", "config": "c", "seed": trained}
        benchmark(tmp_path, KNN, {"k20_top1": 50.0}, model, seed=seed, at=f"-{trained}")
    made = site(tmp_path)
    text = (made / "index.html").read_text()
    row = text[text.index('<a href="models/odc.html">') :]
    assert '<td class="num">2</td><td class="num"><a' in row
    assert ">3</a>" in row
    records = (made / "records" / "odc.html").read_text()
    said = ["seed 0", "seed 0 evaluation 1", "seed 1 evaluation 0"]
    assert re.findall(r"</bdi>, (seed [^<]*)</h2>", records) == said


def test_curves_are_means_over_seeds_with_their_range(tmp_path: Path) -> None:
    for seed, losses in ((0, (4.0, 2.0, 1.0)), (1, (6.0, 4.0))):
        pretraining(tmp_path, "odc", seed=seed)
        lines = [json.dumps({"epoch": i + 1, "loss": loss}) for i, loss in enumerate(losses)]
        (tmp_path / "models" / f"odc-s{seed}" / "metrics.jsonl").write_text("\n".join(lines))
    text = (site(tmp_path) / "models" / "odc.html").read_text()
    rows = text[text.index("Numbers of “Loss”") :]
    assert '<th scope="row">1</th><td class="num">5 (4 to 6)</td>' in rows
    assert '<th scope="row">2</th><td class="num">3 (2 to 4)</td>' in rows
    assert '<th scope="row">3</th>' not in rows.partition("</table>")[0]
    assert 'class="band s0"' in text


@pytest.mark.slow
@pytest.mark.case(42)
def test_a_thousand_records_render_in_seconds(tmp_path: Path) -> None:
    """A tenth of 10,000 records; the whole of it takes ten times as long."""
    for model in range(20):
        for i in range(50):
            protocol = list(PAPER.values())[i % 10]
            scores = {column.score: float(i + model) for column in protocol.columns}
            benchmark(tmp_path, protocol, scores, model=f"m{model}", seed=i // 10)
    shown = view(tmp_path)
    begun = time.process_time()
    write(shown, tmp_path / "site", tmp_path)
    assert time.process_time() - begun < 4
