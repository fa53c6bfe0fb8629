"""The zoo's weights file: `backbone.safetensors`, with all that is needed to use it in its header.

The header is JSON that `describe` reads without torch. Weights are identified by the hash of their tensors (a
file's own hash changes with its name or layout), and verified against it at every load: neither safetensors
nor pickle notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from pretrain.base import files
from pretrain.base.faults import Fault, printable
from pretrain.base.settings import plain, settings
from pretrain.data.view import Input

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.nets.backbone import Backbone

SCHEMA = "zoo.backbone/1"
HEADER = 8 << 20  # bytes; a thousand tensors take 0.1 MB
LONGEST = 200  # characters of a name
LARGEST = 1e18  # of a number: beyond every count and seed
ENTRIES, DEPTH = 10_000, 8  # values in `origin`, and dicts within dicts
Shapes = Mapping[str, tuple[int, ...]]


def _readable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


Name = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_readable)]


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    """Whatever a recipe's origin says, in names, finite numbers and containers of those."""
    left: list[tuple[tuple[Any, Any], int]] = [(one, 1) for one in value.items()]
    count = 0
    while left:
        (key, one), depth = left.pop()
        count += 1
        at = f"'{printable(str(key), 40)}'"
        if count > ENTRIES or depth > DEPTH:
            raise ValueError(f"holds more than {ENTRIES} values or {DEPTH} levels")
        if not isinstance(key, (str, int)) or (isinstance(key, str) and not _short(key)):
            raise ValueError(f"has a key {at} that is no name of {LONGEST} characters or fewer")
        if isinstance(one, (dict, list, tuple)):
            pairs: list[tuple[Any, Any]] = list(one.items() if isinstance(one, dict) else enumerate(one))
            left += [(pair, depth + 1) for pair in pairs]
        elif isinstance(one, (int, float)) and not (abs(one) <= LARGEST and math.isfinite(one)):
            raise ValueError(f"says of {at} a number that is not finite or beyond {LARGEST:g}")
        elif isinstance(one, str) and not _short(one):
            raise ValueError(f"says of {at} what is no text of {LONGEST} printable characters or fewer")
    return value


def _short(text: str) -> bool:
    return len(text) <= LONGEST and text.isprintable()


def _moderate(given: Input) -> Input:
    if any(abs(value) > 1000 for value in (*given.mean, *given.std)) or min(given.std) < 1e-6:
        raise ValueError("expected mean and std of pixels in [0, 1], each below 1000, std from 1e-6")
    return given


@settings
class Meta:
    """What travels with the weights. sha256: over the tensors, see `weights_hash`."""

    arch: Name
    input: Annotated[Input, AfterValidator(_moderate)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tensors: Annotated[int, Field(ge=1, le=1_000_000)]
    origin: Annotated[dict[str, Any], AfterValidator(_bounded)]  # recipe name and key, seed, epochs

    def identity(self) -> dict[str, Any]:
        """What of the weights decides a number: equal tensors
        behind another preprocessing give other features.
        """
        return {"weights": self.sha256, "arch": self.arch, "input": plain(self.input)}

    @property
    def recipe(self) -> str:
        """Name of the recipe that made the weights, '' where the header does not say."""
        return str(self.origin.get("recipe", ""))


_META = TypeAdapter(Meta)


def save(path: Path, backbone: Backbone, arch: str, origin: dict[str, Any]) -> Meta:
    """Writes the backbone, absent or complete, and returns its
    metadata. Raises Fault if a weight is not finite.
    """
    from safetensors.torch import save_file

    origin = {key: printable(one, LONGEST) if isinstance(one, str) else one for key, one in origin.items()}
    state = {name: _kept(name, tensor) for name, tensor in backbone.state_dict().items()}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise Fault(
                "nan", f"weights of {origin.get('recipe', arch)}: '{name}' is not finite; nothing was saved"
            )
    meta = Meta(
        arch=arch, input=backbone.input, sha256=weights_hash(state), tensors=len(state), origin=origin
    )
    header = {"schema": SCHEMA, "meta": json.dumps(plain(meta), sort_keys=True)}
    files.write(path, lambda aside: save_file(state, aside, metadata=header))
    return meta


def _kept(name: str, tensor: Tensor) -> Tensor:
    """A tensor as it is written. Counters of batches are 0: they decide no feature, and other programs' files
    lack them, so that equal weights have equal hashes.
    """
    made = tensor.detach().cpu().contiguous()
    return made * 0 if name.endswith("num_batches_tracked") else made


def hashed(net: nn.Module) -> str:
    """The hash of a network's tensors as `save` would write them."""
    return weights_hash({name: _kept(name, tensor) for name, tensor in net.state_dict().items()})


def describe(path: Path) -> Meta:
    """Metadata of a weights file, read from its header alone.
    Raises Fault naming what the file is instead.
    """
    return _header(path)[0]


def _header(path: Path) -> tuple[Meta, Shapes]:
    """The metadata, and the shape of every tensor that the file claims to hold; no tensor is read."""
    if not path.exists():
        raise Fault("data-missing", f"checkpoint {path} is not there")
    files.require_text(path)
    try:
        _sized(path)
        with safe_open(path, "numpy") as file:
            header = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if header.get("schema") != SCHEMA:
            said = printable(str(header.get("schema")), 40)
            raise ValueError(f"its header has schema {said}, this version reads {SCHEMA}")
        return _META.validate_json(header["meta"]), shapes
    except (OSError, SafetensorError) as error:
        said = _looks_like(path, error)
    except ValidationError as error:
        first = error.errors()[0]
        place = printable(".".join(map(str, first["loc"])), 60)
        said = f"its header's {place} is wrong ({first['msg'].removeprefix('Value error, ')})"
    except KeyError as error:
        said = f"its header has no {error}"
    except ValueError as error:
        said = str(error)
    raise Fault("weights-corrupt", f"{path} is not a backbone of this zoo: {said}")


def _sized(path: Path) -> None:
    """Raises ValueError where a header claims to be larger than it can be, OSError where there is no file."""
    if not path.is_file():  # a pipe would keep its reader waiting
        raise OSError(f"{path} is no regular file")
    with path.open("rb") as file:
        start = file.read(9)
    claimed, size = int.from_bytes(start[:8], "little"), path.stat().st_size
    if start[8:] == b"{" and claimed > min(HEADER, size - 8):
        raise ValueError(
            f"it is truncated or damaged: its header claims {claimed} bytes of {size}, expected {HEADER} or fewer"
        )


KINDS = {
    b"PK": "a torch.save file",
    b"\x80": "a pickle",
    b"<": "a web page",
    b"vers": "a Git-LFS pointer",
}


def _looks_like(path: Path, error: Exception) -> str:
    """What a file that is no safetensors file seems to be."""
    if not path.is_file():
        return "it is a folder" if path.is_dir() else "it is no regular file"
    with path.open("rb") as file:
        start = file.read(8)
    for magic, kind in KINDS.items():
        if start.startswith(magic):
            return f"it looks like {kind}"
    return f"it is empty or truncated ({len(start)} bytes)" if len(start) < 8 else f"{error}"


def load(path: Path) -> Backbone:
    """The backbone with every tensor matched and verified, fp32, eval mode, on the CPU.

    Raises Fault (weights-mismatch) listing missing and unexpected tensors, or (weights-corrupt) on a wrong
    hash.
    """
    from safetensors.torch import load_file

    from pretrain.nets.archs import build

    meta, shapes = _header(path)
    backbone = build(meta.arch, meta.input, seed=0)
    matching(_shapes(backbone.state_dict()), shapes, str(path))  # before anything is read or allocated
    try:
        state = load_file(path)
    except SafetensorError as error:
        size = path.stat().st_size
        raise Fault("weights-corrupt", f"{path} ({size} bytes) is truncated or damaged: {error}") from error
    strictly(backbone.state_dict(), state, str(path))
    if (found := weights_hash(state)) != meta.sha256:
        raise Fault(
            "weights-corrupt", f"{path}: weights hash {found[:12]}, its header says {meta.sha256[:12]}"
        )
    backbone.load_state_dict(state)
    return backbone.eval()


def strictly(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Raises Fault unless both hold the same names with the same shapes."""
    matching(_shapes(expected), _shapes(found), where)


def matching(expected: Shapes, found: Shapes, where: str) -> None:
    """Raises Fault (weights-mismatch) unless both are the same shapes under the same names."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [n for n in sorted(set(expected) & set(found)) if expected[n] != found[n]]
    if missing or extra or wrong:
        named = [[printable(name, 80) for name in names[:3]] for names in (missing, extra, wrong)]
        raise Fault(
            "weights-mismatch",
            f"{where}: {len(missing)} tensors missing {named[0]}, {len(extra)} unexpected {named[1]}, "
            f"{len(wrong)} of another shape {named[2]}; {len(expected)} expected",
        )


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def weights_hash(state: dict[str, Tensor]) -> str:
    """SHA-256 hex over sorted (name, dtype, shape, bytes)."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
