"""Pickles of NumPy arrays, as Detectron keeps its models, read without NumPy's or anyone's unpickling code.

Python's own unpickler in its slow, bounds-checked form; every class is replaced by one of ours that only
takes notes, and an array is made when its notes have been checked.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_DTYPE = re.compile(r"[fiub][1248]|bool")
_ORDER = {"<": "<", ">": ">", "|": "|", "=": "="}
DIMS = 8


class Wrong(ValueError):  # noqa: N818 - what is wrong with a pickle, in its words
    """A pickle that is no dict of arrays."""


class _Notes:
    """What a pickle says of an array or a dtype."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, tuple) else ()


class _Array(_Notes):
    pass


class _Dtype(_Notes):
    pass


class _Scalar(_Notes):
    pass


def _array(*arguments: Any) -> _Array:
    return _Array(*arguments)


def _array5(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    """An array as protocol 5 has it, in the terms of those below."""
    if order not in ("C", "F"):
        raise Wrong("it holds an array with axes in an order of its own")
    made = _Array()
    made.state = (1, shape, dtype, order == "F", data)
    return made


def _encoded(text: Any, _: Any = None) -> bytes:
    """Bytes as Python 2 and protocols below 3 keep them."""
    return text.encode("latin1") if isinstance(text, str) else b""


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Notes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array5 for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
}


class _Reader(pickle._Unpickler):  # the C version reserves memory for whatever number a pickle names
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def load_bytearray8(self: Any) -> None:
        """The bytes that are there: Python's own reserves memory for whatever length a pickle names."""
        size = int.from_bytes(self.read(8), "little")
        self.append(self.read(size))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise Wrong(f"it names {module}.{name}, which is neither array nor container")
        return _KNOWN[module, name]

    def persistent_load(self, _: Any) -> Any:
        raise Wrong("it refers to objects outside of it")


def read(path: Path) -> Any:
    """The object with NumPy arrays for arrays. Raises Wrong."""
    try:
        return made(_Reader(io.BytesIO(path.read_bytes()), encoding="latin1").load())
    except Wrong:
        raise
    except Exception as error:  # of any kind: the bytes of a damaged or hostile pickle decide which
        raise Wrong(f"it is a damaged pickle ({type(error).__name__}: {error})") from error


def made(found: Any, depth: int = 0) -> Any:
    """Arrays for notes, in dicts within dicts; anything else than text, numbers and those is left out."""
    if depth > 8:
        raise Wrong("it holds dicts within dicts, more than 8 deep")
    if isinstance(found, dict):
        return {key: made(one, depth + 1) for key, one in found.items() if isinstance(key, str)}
    if isinstance(found, _Array):
        return _checked(found)
    return found if isinstance(found, (str, int, float, bool)) else None


def _checked(notes: _Array) -> np.ndarray[Any, Any]:
    """The array. Raises Wrong unless shape, type and bytes agree."""
    if len(notes.state) != 5:
        raise Wrong("it holds an array without a state")
    _, shape, dtype, fortran, data = notes.state
    data = _encoded(data) if isinstance(data, str) else data
    if not (
        isinstance(shape, tuple) and len(shape) <= DIMS and all(type(n) is int and n >= 0 for n in shape)
    ):
        raise Wrong("it holds an array of no shape")
    kind = _kind(dtype)
    size = math.prod(shape) * kind.itemsize
    if not isinstance(data, bytes) or len(data) != size:
        raise Wrong(f"it holds an array of shape {shape!s:.60} whose bytes are not {size:.0f}")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran is True else "C").copy()


def _kind(notes: Any) -> np.dtype[Any]:
    name = notes.arguments[0] if isinstance(notes, _Dtype) and notes.arguments else None
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise Wrong("it holds an array of objects or of no type of numbers")
    order = notes.state[1] if len(notes.state) > 1 and isinstance(notes.state[1], str) else "="
    return np.dtype("bool") if name in ("bool", "b1") else np.dtype(_ORDER.get(order, "=") + name)
