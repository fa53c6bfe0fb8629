"""A foreign file becomes one of ours, once: everything behind it sees one format."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pretrain.base import identity
from pretrain.base.faults import Fault
from pretrain.nets import checkpoint
from pretrain.nets.formats.contract import Flags, Loaded
from pretrain.nets.formats.ours import is_ours, no_flags

VERSION = 3  # of the arithmetic from a foreign file to ours; raised when a conversion changes
FETCHED = 1  # likewise, of what timm has
BLOCK = 1 << 20
SENTENCES = 20  # kept in a header
NOW = Flags()


def adopted(path: Path, folder: Path, flags: Flags = NOW) -> Path:
    """The path of our file with the weights of a file of any layout: itself if it is ours, else one in
    `folder`.

    Its name is the digest of the source's bytes and the flags, so that the second call converts nothing, and
    loads no torch. Its header's `origin` says layout, flags, sha256 and name of the source, what was
    assumed, what was warned of, and under `share` how much of a partly matched backbone was there. Raises
    Fault as `read` does.
    """
    if is_ours(path):
        no_flags(path, flags)
        checkpoint.describe(path)
        return path
    source = sha256(path)
    key = identity.digest({"version": VERSION, "source": source, "flags": flags.given})
    place = folder / f"{key}.safetensors"
    if place.exists() and _readable(place):
        return place
    from pretrain.nets.formats.reading import read

    loaded = read(path, flags)
    checkpoint.save(place, loaded.backbone, loaded.arch, origin(loaded, path.name, source, flags))
    return place


def fetched(arch: str, folder: Path) -> Path:
    """The path of our file with the weights that timm has of a network of its own, `timm:NAME`.

    Once it is in `folder`, neither timm nor a network is needed to find it. Raises Fault as
    `timm.pretrained` does.
    """
    key = identity.digest({"version": FETCHED, "pretrained": arch})
    place = folder / f"{key}.safetensors"
    if place.exists() and _readable(place):
        return place
    from pretrain.nets.formats.timm import pretrained

    loaded = pretrained(arch)
    said = {"layout": loaded.report.layout, "assumed": _short(loaded.report.assumed), "recipe": arch}
    if loaded.report.warnings:
        said["warnings"] = _short(loaded.report.warnings)
    checkpoint.save(place, loaded.backbone, loaded.arch, said)
    return place


def origin(loaded: Loaded, name: str, source: str, flags: Flags) -> dict[str, Any]:
    """Where weights come from, for a header of ours. name, source: the file's name and its sha256."""
    report = loaded.report
    said: dict[str, Any] = {
        "layout": report.layout,
        "flags": flags.given,
        "file": name,
        "source_sha256": source,
        "within": report.within[: checkpoint.LONGEST],
        "prefix": report.prefix[: checkpoint.LONGEST],
        "assumed": _short(report.assumed),
    }
    if report.warnings:
        said["warnings"] = _short(report.warnings)
    if report.share < 1:
        said["share"] = round(report.share, 6)
        said["missing"] = [name[: checkpoint.LONGEST] for name in (*report.missing, *report.wrong)]
        said["unexpected"] = [name[: checkpoint.LONGEST] for name in report.unexpected]
    return said


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _short(texts: tuple[str, ...]) -> list[str]:
    return [text[: checkpoint.LONGEST] for text in texts[:SENTENCES]]


def _readable(place: Path) -> bool:
    try:
        checkpoint.describe(place)
    except Fault:
        return False
    return True
