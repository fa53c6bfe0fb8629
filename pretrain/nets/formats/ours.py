"""This zoo's own files, which say everything themselves."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open

from pretrain.base.faults import Fault, printable
from pretrain.base.settings import changed
from pretrain.data.view import Input
from pretrain.nets import checkpoint
from pretrain.nets.formats import kinds
from pretrain.nets.formats.contract import Flags, Loaded, Report

OURS = "ours"
ARCH, INPUT = "zoo.arch", "zoo.input"  # in the header of a safetensors file that was exported
_INPUT = TypeAdapter(Input)


def is_ours(path: Path) -> bool:
    """Whether a file says that it is one of this zoo. Reads its header alone, without torch. Raises Fault."""
    return _header(path).get("schema", "").startswith("zoo.backbone/")


def noted(path: Path, flags: Flags) -> Flags:
    """The flags, with what a safetensors file that this zoo exported says in its header where nothing was
    told.

    Raises Fault (weights-corrupt) where it says what cannot be.
    """
    header = _header(path)
    if ARCH not in header or INPUT not in header:
        return flags
    try:
        told = _INPUT.validate_json(header[INPUT])
        said = {
            "arch": header[ARCH],
            "size": told.size,
            "resize": max(told.resize, flags.size or 0),
            "mean": told.mean,
            "std": told.std,
        }
        return changed(flags, **{name: one for name, one in said.items() if getattr(flags, name) is None})
    except ValueError as error:
        first = " ".join(str(error).split())
        raise kinds.refused(
            path, f"its header's {ARCH} or {INPUT} is wrong ({printable(first, 200)})"
        ) from None


def _header(path: Path) -> dict[str, str]:
    """The text in the header of a safetensors file; empty for any other. Raises Fault where it is no
    checkpoint.
    """
    if kinds.of(path) != "safetensors":
        return {}
    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return {}  # whoever reads it says what is wrong


def read_ours(path: Path, flags: Flags) -> Loaded:
    """A file of this zoo, verified; one that was made of a part of a backbone is still that part.

    Raises Fault where it is damaged, or told otherwise than it says.
    """
    from pretrain.nets.formats import sanity

    no_flags(path, flags)
    meta, net = checkpoint.describe(path), checkpoint.load(path)
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    lacking = meta.origin.get("missing", []) if "share" in meta.origin else []
    report = Report(
        OURS,
        "",
        "",
        len(names),
        matched=tuple(name for name in names if name not in lacking),
        missing=tuple(map(str, lacking)),
        unexpected=tuple(map(str, meta.origin.get("unexpected", []))),
        warnings=tuple(sanity.warnings(net)),
    )
    return Loaded(net, meta.arch, meta.input, report, meta.sha256)


def no_flags(path: Path, flags: Flags) -> None:
    """Raises Fault where a file of this zoo is told what it says itself."""
    told = {name: value for name, value in flags.given.items() if (name, value) != ("layout", OURS)}
    if told and set(told) != {"allow_partial"}:
        said = ", ".join("--" + name.replace("_", "-") for name in told)
        raise Fault(
            "bad-config", f"{path} is a file of this zoo and says itself what {said} would; leave it out"
        )
