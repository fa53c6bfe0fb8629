"""Images that a file lists are left out of a split, by whichever of their paths it names them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pretrain.base.faults import Fault
from pretrain.data.split import Packed, Split


def listed(path: Path) -> dict[str, str]:
    """The lines of a file and the absolute path that each names. A name can hold any bytes. Raises Fault."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        said = f"exclude: {path} cannot be read ({error.strerror})"
        raise Fault("bad-config", f"{said}; name a file with a path of an image on each line") from None
    return {
        line: os.path.abspath(path.parent / line) for line in filter(None, map(str.strip, text.split("\n")))
    }


def without(split: Split, path: Path) -> Split:
    """The split without the images that a file lists, and which of its lines name one. Raises Fault."""
    lines, known = dict[str, list[str]](), _Paths()
    for line, place in listed(path).items():
        for one in known.of(place):
            lines.setdefault(one, []).append(line)
    root, kept, used = os.path.abspath(split.root), list[int](), set[str]()
    for i, file in enumerate(split.files):
        named = [line for one in known.of(f"{root}/{file}") if one in lines for line in lines[one]]
        used.update(named)
        if not named:
            kept.append(i)
    return _with(split, kept, path, tuple(sorted(used)))


def _with(split: Split, kept: list[int], path: Path, lines: tuple[str, ...]) -> Split:
    return replace(
        split,
        files=tuple(split.files[i] for i in kept),
        labels=None if split.labels is None else split.labels[kept],
        sources=(*split.sources, path),
        excluded=len(split.files) - len(kept),
        left_out=lines,
        packed=split.packed and Packed(split.packed.shards, split.packed.where[kept]),
    )


class _Paths:
    """Under which paths a file may be known: its own, through no linked folder, and where a link leads.

    A folder is looked at once: resolving a million images one by one takes minutes.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, str, frozenset[str]]] = {}

    def of(self, path: str) -> set[str]:
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = _looked_at(folder)
        plain, real, links = self._folders[folder]
        found = {f"{plain}/{name}", f"{real}/{name}"}
        return found | {os.path.realpath(f"{real}/{name}")} if name in links else found


def _looked_at(folder: str) -> tuple[str, str, frozenset[str]]:
    """A folder's path, the one behind all links, and the names in it that are links."""
    plain, real, links = os.path.abspath(folder or "/"), os.path.realpath(folder or "/"), list[str]()
    with suppress(OSError), os.scandir(real) as entries:  # of packed images there is no folder
        links = [entry.name for entry in entries if entry.is_symlink()]
    return plain, real, frozenset(links)
