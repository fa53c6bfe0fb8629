"""The zoo's weights file: `backbone.safetensors`, with all that is needed to use it in its header.

The header is JSON that `describe` reads without torch. Weights are identified by the hash of their tensors (a file's
own hash changes with its name or layout), and verified against it at every load: neither safetensors nor pickle
notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain import files
from pretrain.faults import Fault
from pretrain.recipe import Input

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.backbone import Backbone

SCHEMA = "zoo.backbone/1"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What travels with the weights. sha256: over the tensors, see `weights_hash`."""

    arch: str
    input: Input
    sha256: str
    tensors: int
    origin: dict[str, Any]  # recipe name and key, seed, epochs


def save(path: Path, backbone: Backbone, arch: str, origin: dict[str, Any]) -> Meta:
    """Writes the backbone, absent or complete, and returns its metadata. Raises Fault if a weight is not finite."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise Fault("nan", f"weights of {origin.get('recipe', arch)}: '{name}' is not finite; nothing was saved")
    meta = Meta(arch=arch, input=backbone.input, sha256=weights_hash(state), tensors=len(state), origin=origin)
    header = {"schema": SCHEMA, "meta": json.dumps(asdict(meta), sort_keys=True)}
    files.write(path, lambda aside: save_file(state, aside, metadata=header))
    return meta


def describe(path: Path) -> Meta:
    """Metadata of a weights file, read from its header alone. Raises Fault naming what the file is instead."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            if len(start) < 8 or size > 100_000_000:
                raise ValueError(_looks_like(start))
            header = json.loads(file.read(size))["__metadata__"]
        if header["schema"] != SCHEMA:
            raise ValueError(f"schema {header['schema']}, this version reads {SCHEMA}")
        meta = json.loads(header["meta"])
    except FileNotFoundError:
        raise Fault("data-missing", f"checkpoint {path} is not there") from None
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise Fault("weights-corrupt", f"{path} is not a backbone of this zoo: {error}") from None
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in meta.pop("input").items()}
    return Meta(input=Input(**given), **meta)


def _looks_like(start: bytes) -> str:
    kinds = {
        b"PK": "a torch.save file",
        b"\x80": "a pickle",
        b"<": "a web page",
        b"vers": "a Git-LFS pointer",
    }
    for magic, kind in kinds.items():
        if start.startswith(magic):
            return f"it looks like {kind}"
    return f"it is empty or truncated ({len(start)} bytes read)" if len(start) < 8 else "unknown format"


def load(path: Path) -> Backbone:
    """The backbone with every tensor matched and verified, fp32, eval mode, on the CPU.

    Raises Fault (weights-mismatch) listing missing and unexpected tensors, or (weights-corrupt) on a wrong hash.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from pretrain.backbone import build

    meta = describe(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        size = path.stat().st_size
        raise Fault("weights-corrupt", f"{path} ({size} bytes) is truncated or damaged: {error}") from error
    backbone = build(meta.arch, meta.input, seed=0)
    strictly(backbone.state_dict(), state, str(path))
    if (found := weights_hash(state)) != meta.sha256:
        raise Fault("weights-corrupt", f"{path}: weights hash {found[:12]}, its header says {meta.sha256[:12]}")
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
