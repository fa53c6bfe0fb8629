"""Tables between markers, in any Markdown file: what stands around them is kept byte for byte.

    <!-- zoo:begin table=imagenet_knn method=odc -->
    <!-- zoo:end -->

Markers inside of a fenced block of code are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pretrain.base.faults import Fault, printable

BEGIN = re.compile(r"[ \t]*<!--\s*zoo:begin\b((?:(?!-->).)*)-->[ \t]*")
END = re.compile(r"[ \t]*<!--\s*zoo:end\s*-->[ \t]*")
EITHER = re.compile(r"[ \t]*<!--\s*zoo:(?:begin|end)\b")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
BOM = "\ufeff"  # what some editors put in front of a file's first line

Render = Callable[[dict[str, str]], str]


@dataclass(frozen=True)
class Block:
    """Numbers of the lines of two markers, and what the first one says."""

    first: int
    last: int
    asked: dict[str, str]


def marked(asked: str, text: str = "") -> str:
    """A pair of markers with a text in between."""
    return f"<!-- zoo:begin {asked} -->\n\n{text}{chr(10) * 2 if text else ''}<!-- zoo:end -->"


def count(text: str, where: str) -> int:
    """How many pairs of markers a text has. Raises Fault as `rewritten` does."""
    return len(list(_blocks(_lines(text), where)))


def rewritten(text: str, render: Render, where: str) -> str:
    """The text with what `render` gives between every pair of markers, in the text's own line ends. Raises
    Fault on a marker without its other half, naming the line.
    """
    lines = _lines(text)
    kept, after = list[str](), 0
    for block in _blocks(lines, where):
        kept += lines[after : block.first + 1]
        ending = "\r\n" if lines[block.first].endswith("\r\n") else "\n"
        kept.append(f"\n{render(block.asked).strip()}\n\n".replace("\n", ending))
        after = block.last
    return "".join([*kept, *lines[after:]])


def _lines(text: str) -> list[str]:
    """Lines that end at \\n alone: splitlines knows others, which are text to Markdown."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _blocks(lines: list[str], where: str) -> Iterator[Block]:
    begun: tuple[int, dict[str, str]] | None = None
    fence = ""
    for i, line in enumerate(lines):
        bare = line.rstrip("\r\n").removeprefix("" if i else BOM)
        if begun is None and (fence or FENCE.match(bare)):
            fence = _fence(fence, bare)
            continue
        if found := BEGIN.fullmatch(bare):
            if begun is not None:
                raise _fault(
                    where, i, f"begins inside of the block of line {begun[0] + 1}; end that one first"
                )
            begun = i, _asked(found[1], where, i)
        elif END.fullmatch(bare):
            if begun is None:
                raise _fault(where, i, "ends what has not begun; remove it")
            yield Block(begun[0], i, begun[1])
            begun = None
        elif EITHER.match(bare):
            raise _fault(where, i, "has to stand alone on its line")
    if begun is not None:
        raise _fault(where, begun[0], "has no `<!-- zoo:end -->`; add one below it")


def _fence(open_: str, line: str) -> str:
    """The fence that is open after a line, '' for none."""
    found = FENCE.match(line)
    if found is None:
        return open_
    mark, rest = found[1], found[2]
    if not open_:
        return "" if mark[0] == "`" and "`" in rest else mark
    closes = mark[0] == open_[0] and len(mark) >= len(open_) and not rest.strip()
    return "" if closes else open_


def _asked(text: str, where: str, line: int) -> dict[str, str]:
    pairs = [word.partition("=") for word in text.split()]
    if wrong := [name for name, equals, value in pairs if not (name and equals and value)]:
        raise _fault(where, line, f"expected NAME=VALUE, got '{wrong[0]}'")
    asked = {name: value for name, _, value in pairs}
    if len(asked) < len(pairs):
        raise _fault(where, line, "says a NAME twice; keep one of them")
    if "table" not in asked:
        raise _fault(where, line, "expected table=NAME")
    return asked


def _fault(where: str, line: int, said: str) -> Fault:
    return Fault("bad-config", f"{printable(where)} line {line + 1}: marker {said}")
