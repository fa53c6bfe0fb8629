"""The zoo's weights file: `backbone.safetensors`, with all that is needed to use it in its header.

The header is JSON that `describe` reads without torch. Weights are identified by the hash of their tensors (a
file's own hash changes with its name or layout), and verified against it at every load: neither safetensors
nor pickle notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.settings import plain, settings
from pretrain.data.view import Input

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.nets.backbone import Backbone

SCHEMA = "zoo.backbone/1"


@settings
class Meta:
    """What travels with the weights. sha256: over the tensors, see `weights_hash`."""

    arch: Annotated[str, Field(max_length=200)]
    input: Input
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tensors: Annotated[int, Field(ge=1, le=1_000_000)]
    origin: dict[str, Any]  # recipe name and key, seed, epochs

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

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
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


def describe(path: Path) -> Meta:
    """Metadata of a weights file, read from its header alone.
    Raises Fault naming what the file is instead.
    """
    if not path.exists():
        raise Fault("data-missing", f"checkpoint {path} is not there")
    try:
        with safe_open(path, "numpy") as file:
            header = file.metadata() or {}
        if header.get("schema") != SCHEMA:
            raise ValueError(f"its header has schema {header.get('schema')}, this version reads {SCHEMA}")
        return _META.validate_json(header["meta"])
    except (OSError, SafetensorError) as error:
        raise Fault(
            "weights-corrupt", f"{path} is not a backbone of this zoo: {_looks_like(path, error)}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        said = f"its header's {'.'.join(map(str, first['loc']))} is wrong ({first['msg']})"
        raise Fault("weights-corrupt", f"{path} is not a backbone of this zoo: {said}") from None
    except (ValueError, KeyError) as error:
        raise Fault("weights-corrupt", f"{path} is not a backbone of this zoo: {error}") from None


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

    meta = describe(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        size = path.stat().st_size
        raise Fault("weights-corrupt", f"{path} ({size} bytes) is truncated or damaged: {error}") from error
    backbone = build(meta.arch, meta.input, seed=0)
    strictly(backbone.state_dict(), state, str(path))
    if (found := weights_hash(state)) != meta.sha256:
        raise Fault(
            "weights-corrupt", f"{path}: weights hash {found[:12]}, its header says {meta.sha256[:12]}"
        )
    backbone.load_state_dict(state)
    return backbone.eval()


def strictly(expected: dict[str, Tensor], found: dict[str, Tensor], where: str) -> None:
    """Raises Fault unless both hold the same names with the same shapes."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [n for n in sorted(set(expected) & set(found)) if expected[n].shape != found[n].shape]
    if missing or extra or wrong:
        raise Fault(
            "weights-mismatch",
            f"{where}: {len(missing)} tensors missing {missing[:3]}, {len(extra)} unexpected {extra[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}; {len(expected)} expected",
        )


def weights_hash(state: dict[str, Tensor]) -> str:
    """SHA-256 hex over sorted (name, dtype, shape, bytes)."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
