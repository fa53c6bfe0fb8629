"""A checkpoint as dicts of tensors, wherever it comes from; nothing in it is ever executed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pretrain.base import files
from pretrain.base.faults import Fault, printable
from pretrain.nets.formats import array_pickle, inert, kinds

NODES, DEPTH, NAME = 1_000_000, 12, 400  # values and levels that are looked at; characters of a key
CONFIG = 1_000_000  # characters of a config
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|global ([\w.]+)|blocked module ([\w.]+)", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """A dict with tensors in it. within: names of the dicts around it; outer: names in the outermost one;
    config: the text of an OpenMMLab config beside it, '' for none.
    """

    within: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    outer: frozenset[str]
    config: str = ""

    @property
    def where(self) -> str:
        return ".".join(self.within)

    def called(self, prefix: str, asked: str) -> bool:
        """Whether a user means this prefix in this dict, by the prefix alone or behind the dict's name."""
        return asked in (prefix, f"{self.where}.{prefix}")


def states(path: Path) -> list[State]:
    """Every dict of a file that holds tensors, outermost first. Raises Fault where there are none."""
    tree = _tree(path)
    if isinstance(tree, Mapping):
        outer, config = frozenset(key for key in tree if isinstance(key, str)), _config(tree)
        found = [State(within, tensors, outer, config) for within, tensors in _walk(tree, path)]
    else:
        found = []
    if not found:
        said = f"it holds {_shown(tree)} and no named tensors; expected a state_dict"
        raise Fault("weights-mismatch", f"{path}: {said}")
    return found


def _config(tree: Mapping[Any, Any]) -> str:
    """The config that OpenMMLab's packages keep as text: `config` until 2022, then `cfg`."""
    meta = tree.get("meta")
    texts = [meta.get(name) for name in ("config", "cfg")] if isinstance(meta, Mapping) else []
    return "\n".join(text[:CONFIG] for text in texts if isinstance(text, str))


def _shown(tree: Any) -> str:
    """What a file without named tensors holds, in words."""
    if not isinstance(tree, Mapping):
        return "a " + type(tree).__name__
    names = ", ".join(printable(str(key), 40) for key in list(tree)[:5])
    return f"a dict with {names}" if names else "a dict"  # of a trusted file only tensors are copied


def _tree(path: Path) -> Any:
    kind = kinds.of(path)
    if kind == "safetensors":
        return _safetensors(path)
    if kind == "zip":
        kinds.whole(path)
    return _arrays(path) if kind == "pickle" else _torch(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    files.require_text(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise kinds.refused(
            path, f"it is a damaged safetensors file ({printable(str(error), 200)})"
        ) from error


def _torch(path: Path) -> Any:
    """What torch.save wrote, by its weights-only unpickler."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(inert.stand_ins()):
            warnings.simplefilter("ignore")  # of other protocols: the error, if there is one, says it
            # Latin-1: text of Python 2 may be the bytes of a number.
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise kinds.refused(path, "it claims more tensors than there is memory") from error
    except Exception as error:  # of any kind: the bytes of a damaged or hostile pickle decide which
        raise _unsafe(path, str(error) or type(error).__name__) from error


def _unsafe(path: Path, said: str) -> Fault:
    """The fault of a file that torch's safe reader refuses."""
    match = _GLOBAL.search(said)
    said = said.partition("WeightsUnpickler error:")[2].partition("Check the documentation")[0] or said
    if "Unsupported operand" in said:
        why = (
            "it is damaged, or pickled by another protocol than 2, which torch's safe reader does not follow"
        )
        return kinds.refused(path, f"{why}; {_trust(path)}")
    if match is None:
        return kinds.refused(
            path, f"it is damaged or no checkpoint ({printable(' '.join(said.split()), 200)})"
        )
    name = printable(next(filter(None, match.groups())), 80)
    return kinds.refused(path, f"it needs {name} to be run, which no table of weights does; {_trust(path)}")


def _trust(path: Path) -> str:
    return (
        "ask for a file of tensors alone, or, if you trust whoever made it as you trust a program, run "
        f"`zoo convert {printable(path.name, 80)} OUT --trust`"
    )


def _arrays(path: Path) -> Any:
    try:
        return _tensors(array_pickle.read(path))
    except array_pickle.Wrong as error:
        said = f"{error}; of plain pickles only arrays are read, as Detectron keeps them; {_trust(path)}"
        raise kinds.refused(path, said) from None


def _tensors(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _tensors(one) for key, one in tree.items()}
    if hasattr(tree, "dtype"):
        return torch.from_numpy(tree.astype(tree.dtype.newbyteorder("=")))
    return tree


def _walk(tree: Mapping[Any, Any], path: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """(names, tensors) of every dict that holds tensors under names."""
    left: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), tree)]
    seen, count = set[int](), 0
    while left:
        within, node = left.pop(0)
        if id(node) in seen:  # a pickle may hold itself
            continue
        seen.add(id(node))
        if (count := count + len(node)) > NODES or len(within) > DEPTH:
            raise kinds.refused(path, f"it holds more than {NODES} values or {DEPTH} levels of dicts")
        named = {key: one for key, one in node.items() if isinstance(key, str) and len(key) <= NAME}
        tensors = {key: one for key, one in named.items() if _dense(one)}
        if tensors:
            yield within, tensors
        left += [((*within, key), one) for key, one in named.items() if isinstance(one, Mapping)]


def _dense(one: Any) -> bool:
    """Whether it is a tensor of numbers that lie in memory, each element for itself."""
    return (
        isinstance(one, Tensor)
        and one.layout is torch.strided
        and one.device.type == "cpu"
        and not one.is_quantized
        and one.numel() * one.element_size() <= one.untyped_storage().nbytes()
    )
