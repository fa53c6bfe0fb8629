"""Where in a file a backbone may stand, and which layouts say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from torch import Tensor

from pretrain.base import registry
from pretrain.base.faults import unknown
from pretrain.nets.formats.contract import ANY, Layout
from pretrain.nets.formats.naming import Naming
from pretrain.nets.formats.opening import State
from pretrain.nets.formats.shapes import Fit, nearest, shape_of

PACKAGE = "pretrain.nets.formats.layouts"
PLAIN = "plain"  # the layout of whatever no other layout knows
WRAPPERS = re.compile(r"((module|_orig_mod|model|net|network|learner)\.)*")
INNER = ("", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.")  # around a backbone alone


@cache
def layouts() -> dict[str, Layout]:
    """Every layout by name."""
    modules = [registry.load(PACKAGE, name) for name in registry.names(PACKAGE)]
    return {layout.name: layout for module in modules for layout in module.LAYOUTS}


@dataclass(frozen=True)
class Candidate:
    """A backbone in a file, as a layout sees it. prefix: of its keys, all of it; keys: theirs by our
    names.
    """

    layout: Layout
    state: State
    prefix: str
    keys: dict[str, str]
    fit: Fit

    @property
    def place(self) -> tuple[str, str]:
        return self.state.where, self.prefix

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The matched tensors by our names."""
        return {name: self.state.tensors[self.keys[name]] for name in self.fit.matched}


def candidates(
    states: list[State], layout: str | None, prefix: str | None, arch: str | None
) -> list[Candidate]:
    """Every way to read a file, best first. Raises Fault on an unknown layout."""
    known = layouts()
    if layout is not None and layout not in known:
        raise unknown("layout", layout, known)
    asked = [known[layout]] if layout else list(known.values())
    found = [one for each in asked for one in _of(each, states, prefix, arch)]
    return sorted(found, key=lambda one: (one.fit.share, one.layout.weight), reverse=True)


def _of(layout: Layout, states: list[State], prefix: str | None, arch: str | None) -> Iterator[Candidate]:
    """How a layout reads a file: at the best of its places, a plain one at every place."""
    free = layout.name == PLAIN or prefix is not None
    for within in layout.within:
        for state in states:
            if within not in (ANY, state.within[-1] if state.within else ""):
                continue
            if not state.outer.issuperset(layout.outer):
                continue
            found = [
                one
                for root in ([""] if prefix is not None else layout.roots)
                for one in _rooted(layout, state, root, prefix, arch, free)
            ]
            if found and layout.name != PLAIN:
                yield max(found, key=lambda one: one.fit.share)
                return
            yield from found


def _rooted(
    layout: Layout, state: State, root: str, prefix: str | None, arch: str | None, free: bool
) -> Iterator[Candidate]:
    for names, inner in product(layout.names, INNER if root else ("",)):
        for start in _starts(state, root + inner + names.anchor, free):
            if prefix is not None and not state.called(start + root, prefix):
                continue
            wrapper = WRAPPERS.match(start)
            assert wrapper is not None, "it matches the empty string"
            if _signed(layout, state, wrapper[0]):
                yield _candidate(layout, state, start + root + inner, names, arch)


def _starts(state: State, anchor: str, free: bool) -> Iterator[str]:
    """What stands before a first convolution, recognised by its input of three colours or two edges."""
    for key, tensor in state.tensors.items():
        if key.endswith(anchor) and tensor.ndim == 4 and tensor.shape[1] in (2, 3):
            start = key[: -len(anchor)]
            if (not start or start.endswith(".")) and (free or WRAPPERS.fullmatch(start)):
                yield start


def _signed(layout: Layout, state: State, wrapper: str) -> bool:
    keys = [key.removeprefix(wrapper) for key in state.tensors]
    return all(any(re.match(sign, key) for key in keys) for sign in layout.signs)


def _candidate(layout: Layout, state: State, prefix: str, names: Naming, arch: str | None) -> Candidate:
    keys = {names.ours(k.removeprefix(prefix)): k for k in state.tensors if k.startswith(prefix)}
    inside = frozenset(n for n, key in keys.items() if names.inside(key.removeprefix(prefix)))
    shapes = {name: shape_of(state.tensors[key]) for name, key in keys.items()}
    sobel = state.tensors[prefix + names.anchor].shape[1] == 2
    return Candidate(layout, state, prefix, keys, nearest(shapes, inside, sobel, arch, layout.folded))
