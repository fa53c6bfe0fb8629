"""What stands around markers is kept byte for byte; a marker without its other half is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pretrain.base.faults import Fault
from reports import site
from reports.pages.markers import rewritten
from tests.reports.store import PAPER, benchmark, view
from zoo.cli import app

BEGIN, END = "<!-- zoo:begin table=imagenet_knn -->", "<!-- zoo:end -->"


def shown(asked: dict[str, str]) -> str:
    return "|" + ",".join(f"{name}:{value}" for name, value in asked.items()) + "|\n"


def test_what_is_asked_stands_between_the_markers() -> None:
    text = f"a\n{BEGIN}\nold\n{END}\nb"
    assert rewritten(text, shown, "x") == f"a\n{BEGIN}\n\n|table:imagenet_knn|\n\n{END}\nb"
    two = f"{BEGIN}\n{END}\nmiddle\n  <!--zoo:begin table=b method=odc-->  \n{END}"
    assert rewritten(two, shown, "x").count("|table:") == 2
    assert "|table:b,method:odc|" in rewritten(two, shown, "x")


@pytest.mark.case(25)
def test_it_is_idempotent() -> None:
    once = rewritten(f"{BEGIN}\n{END}\n", shown, "x")
    assert rewritten(once, shown, "x") == once


def test_markers_in_code_are_text() -> None:
    for fence in ("```", "~~~~", "```markdown"):
        bare = fence.rstrip("markdown")
        text = f"{fence}\n{BEGIN}\nexample\n{END}\n{bare}\n"
        assert rewritten(text, shown, "x") == text
    text = f"````\n```\n{BEGIN}\n````\n{BEGIN}\n{END}\n"
    assert rewritten(text, shown, "x").count("|table") == 1
    assert rewritten(f"see `{BEGIN}` here\n", shown, "x") == f"see `{BEGIN}` here\n"


def test_a_fence_inside_of_a_block_does_not_hide_its_end() -> None:
    assert rewritten(f"{BEGIN}\n```\n{END}\nb\n", shown, "x").endswith(f"{END}\nb\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a\n{BEGIN}\n", "x line 2: marker has no"),
        (f"{END}\n", "x line 1: marker ends what has not begun"),
        (f"{BEGIN}\n{BEGIN}\n{END}\n", "x line 2: marker begins inside of the block of line 1"),
        (f"<!-- zoo:begin knn -->\n{END}\n", "expected NAME=VALUE, got 'knn'"),
        (f"<!-- zoo:begin method=odc -->\n{END}\n", "expected table=NAME"),
        (f"<!-- zoo:begin table=a table=b -->\n{END}\n", "says a NAME twice"),
        (f"a\n{BEGIN}{END}\n", "x line 2: marker has to stand alone on its line"),
        (f"{BEGIN} text\n", "x line 1: marker has to stand alone on its line"),
    ],
)
def test_a_wrong_marker_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(Fault, match=said.replace("(", r"\(")):
        rewritten(text, shown, "x")


AROUND = b"\xef\xbb\xbf# Mine\t \r\n\r\n\xff not utf-8 \x0c\x85\xe2\x80\xa8 odd line ends\r\n"


def test_a_mark_of_the_byte_order_hides_no_marker() -> None:
    text = f"\ufeff{BEGIN}\n{END}\n"
    assert rewritten(text, shown, "x") == f"\ufeff{BEGIN}\n\n|table:imagenet_knn|\n\n{END}\n"


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.case(25)
def test_bytes_around_markers_stay_as_they_are(tmp_path: Path, eol: bytes) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    page, after = tmp_path / "page.md", b"end without a newline"
    page.write_bytes(AROUND + eol.join([BEGIN.encode(), b"old", END.encode(), after]))
    assert site.bring(view(tmp_path), [page]) == [page]
    got = page.read_bytes()
    assert got.startswith(AROUND + BEGIN.encode() + eol)
    assert got.endswith(END.encode() + eol + after)
    inside = got[len(AROUND) : -len(after)]
    assert b"[12.3](results/odc/imagenet_knn/0/result.json)" in inside
    assert inside.count(b"\n") == inside.count(eol)


def test_a_check_writes_nothing_and_says_which_pages_differ(tmp_path: Path) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    page, folder = tmp_path / "page.md", tmp_path / "pages"
    page.write_text(f"{BEGIN}\n{END}\n")
    before = page.read_bytes()
    missing = site.bring(view(tmp_path), [page], folder, check=True)
    assert missing[0] == page
    assert page.read_bytes() == before
    assert not folder.exists()
    site.bring(view(tmp_path), [page], folder)
    assert site.bring(view(tmp_path), [page], folder, check=True) == []
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 15.0})
    stale = [path.name for path in site.bring(view(tmp_path), [page], folder, check=True)]
    assert stale == ["page.md", "odc.md", "odc.md"]


def test_a_model_s_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    benchmark(tmp_path / "a", PAPER["imagenet_knn"], {}, model={"name": "../../x", "method": "odc"})
    with pytest.raises(Fault, match=r"'\.\./\.\./x' cannot be a page's"):
        site.bring(view(tmp_path / "a"), (), tmp_path / "pages")


def test_a_method_s_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    benchmark(tmp_path / "a", PAPER["imagenet_knn"], {}, model={"name": "x", "method": "../../x"})
    with pytest.raises(Fault, match=r"method name '\.\./\.\./x' cannot be a page's"):
        site.bring(view(tmp_path / "a"), (), tmp_path / "pages")
    assert not (tmp_path / "x.md").exists()


def test_a_page_that_is_a_link_stays_one(tmp_path: Path) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    page, real = tmp_path / "page.md", tmp_path / "real.md"
    real.write_text(f"{BEGIN}\n{END}\n")
    page.symlink_to(real)
    assert site.bring(view(tmp_path), [page]) == [page]
    assert page.is_symlink()
    assert "12.3" in real.read_text()


def test_a_page_without_markers_is_no_page_to_fill(tmp_path: Path) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    page = tmp_path / "page.md"
    page.write_text(f"text\r{BEGIN}\r{END}\r")
    with pytest.raises(Fault, match=r"page .*page\.md has no markers"):
        site.bring(view(tmp_path), [page], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ["--check"],
        ["--check", "--html", "site"],
        ["--to", "a.csv"],
        ["--json", "--html", "site"],
        ["--json", "--format", "csv"],
    ],
)
def test_an_option_that_would_not_be_heeded_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["report", "--suite", "paper", "--out", ".", *words])
    assert isinstance(done.exception, Fault), done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_relative_to_the_page(tmp_path: Path) -> None:
    benchmark(tmp_path / "home", PAPER["imagenet_knn"], {"k10_top1": 12.34})
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(f"{BEGIN}\n{END}\n")
    site.bring(view(tmp_path / "home"), [page])
    assert "(../home/results/odc/imagenet_knn/0/result.json)" in page.read_text()


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("table=imagenet_knm", "did you mean imagenet_knn"),
        ("table=imagenet_knn metod=odc", "did you mean method"),
        ("table=card model=ocd", "did you mean odc"),
        ("table=imagenet_knn method=ocd", "did you mean odc"),
        ("table=imagenet_knn published=never", "known: no, yes"),
        ("table=imagenet_knn model=odc", "unknown word of a marker of imagenet_knn 'model'"),
    ],
)
def test_an_unknown_name_in_a_marker_changes_no_page(tmp_path: Path, marker: str, said: str) -> None:
    benchmark(tmp_path, PAPER["imagenet_knn"], {"k10_top1": 12.34})
    good, bad = tmp_path / "good.md", tmp_path / "wrong.md"
    good.write_text(f"{BEGIN}\n{END}\n")
    bad.write_text(f"<!-- zoo:begin {marker} -->\n{END}\n")
    with pytest.raises(Fault, match=said):
        site.bring(view(tmp_path), [good, bad])
    assert good.read_text() == f"{BEGIN}\n{END}\n"
    with pytest.raises(Fault, match=r"page .*absent\.md is not there"):
        site.bring(view(tmp_path), [tmp_path / "absent.md"])
