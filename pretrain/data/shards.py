"""Images inside tar files, as WebDataset lays them out: `<part>-0000.tar ...`, read in any order.

Two kinds of shards. Images below class folders (`n01440764/x.JPEG`) are those folders, packed. Images with a
number beside them (`x.jpg` and `x.cls`, or `x.json` with `label` or `cls`) are classes `0`, `1`, ..., written
with as many digits as the largest needs. Either way a split has the images, ids and fingerprint that the same
files have once they lie in class folders; unpacking them is never needed.

Where each image lies is found out once per shard and kept under `.index/` with a checksum.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.data.lists import LARGEST_LABEL
from pretrain.data.split import IMAGE_ENDINGS, Packed, Split

FORMAT = 1  # of an index
LABEL_BYTES = 1 << 20  # a .json beside an image, at most


class Member(NamedTuple):
    """An image of a shard: bytes `length` from `offset`; label: '' where its folder is its class."""

    offset: int
    length: int
    label: str
    name: str


Members = list[tuple[int, Member]]  # the number of the shard of each


def found(root: Path, part: str) -> list[Path]:
    """The shards of a part, sorted: `<root>/<part>-*.tar`, `<root>/<part>.tar` or `<root>/<part>/*.tar`."""
    beside = [*root.glob(f"{part}-*.tar"), *root.glob(f"{part}.tar")]
    return sorted(beside) or sorted((root / part).glob("*.tar"))


def split(name: str, folder: Path, shards: Sequence[Path]) -> Split:
    """A split as if the images lay below `folder` by class. Raises Fault (data-corrupt) naming the shard."""
    members = [(shard, member) for shard, path in enumerate(shards) for member in indexed(path)]
    wrappers = {folder.name, shards[0].parent.name, shards[0].stem.partition("-")[0]}
    members = _unwrapped(members, wrappers)
    width = max((len(member.label) for _, member in members), default=0)
    placed = sorted((_class(m, width, shards[s]), _file(m, width), s, m) for s, m in members)
    if not placed:
        raise Fault("data-missing", f"{name}: no image with a class in {', '.join(map(str, shards))}")
    names = [file for _, file, *_ in placed]
    for first, second in pairwise(placed):
        if first[1] == second[1]:
            said = f"{shards[first[2]]} and {shards[second[2]]} both hold {first[1]}"
            advice = "remove one of them, or where they are two images name them apart"
            raise Fault("data-corrupt", f"{name}: {said}; {advice}")
    classes = tuple(sorted({label for label, *_ in placed}))
    number = {label: i for i, label in enumerate(classes)}
    labels = np.array([number[label] for label, *_ in placed], dtype=np.int64)
    where = np.array([(s, m.offset, m.length) for *_, s, m in placed], dtype=np.int64)
    return Split(
        name, folder, tuple(names), labels, classes, tuple(shards), packed=Packed(tuple(shards), where)
    )


def _unwrapped(members: Members, wrappers: Collection[str]) -> Members:
    """The images without the folder of the part, where that was packed with its class folders in it."""
    parts = [member.name.split("/") for _, member in members]
    if any(member.label for _, member in members) or len({path[0] for path in parts}) != 1:
        return members
    if parts[0][0] not in wrappers or any(len(path) < 3 for path in parts):
        return members
    return [(shard, member._replace(name=member.name.partition("/")[2])) for shard, member in members]


def _class(member: Member, width: int, shard: Path) -> str:
    if member.label:
        return member.label.zfill(width)
    folder, _, rest = member.name.partition("/")
    if width or not rest:
        raise Fault("data-corrupt", f"{shard}: {member.name} has no class: no folder, no .cls, no .json")
    return folder


def _file(member: Member, width: int) -> str:
    return f"{member.label.zfill(width)}/{member.name}" if member.label else member.name


def indexed(shard: Path) -> list[Member]:
    """The images of a shard, from its index if that is whole and of this very file; else they are listed."""
    kept = shard.parent / ".index" / f"{shard.name}.txt"
    stat = shard.stat()
    header = f"{FORMAT} {stat.st_size} {stat.st_mtime_ns}"
    with suppress(OSError, ValueError):
        first, _, body = kept.read_text(encoding="utf-8").partition("\n")
        if first == f"{header} {sha256(body.encode()).hexdigest()}":
            return [_parsed(line) for line in body.splitlines()]
    members = _listed(shard)
    body = "".join("\t".join(map(str, member)) + "\n" for member in members)
    with suppress(Fault, OSError):  # a folder that cannot be written: listed again next time
        files.write_text(kept, f"{header} {sha256(body.encode()).hexdigest()}\n{body}")
    return members


def _parsed(line: str) -> Member:
    offset, length, label, name = line.split("\t")
    return Member(int(offset), int(length), label, name)


def _listed(shard: Path) -> list[Member]:
    """Images of a tar file with their labels. Raises Fault on what is no plain file within the shard."""
    images, labels = list[tarfile.TarInfo](), dict[str, str]()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in _plain(tar, shard):
                key, ending = os.path.splitext(member.name)
                if ending.lower() in IMAGE_ENDINGS:
                    images.append(member)
                elif ending in (".cls", ".json") and (label := _label(tar, member, shard)):
                    labels[key] = label
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise Fault("data-corrupt", f"{shard} is no whole tar file ({error}); fetch it again") from None
    keys = [os.path.splitext(image.name)[0] for image in images]
    return [
        Member(image.offset_data, image.size, labels.get(key, ""), image.name)
        for image, key in zip(images, keys, strict=True)
    ]


def _plain(tar: tarfile.TarFile, shard: Path) -> Iterator[tarfile.TarInfo]:
    size = shard.stat().st_size
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # else it remembers every member it has seen
        if member.isdir():
            continue
        name, kind = PurePosixPath(member.name), ""
        if not member.isreg() or member.issparse():
            kind = "is a link, a device or sparse"
        elif name.is_absolute() or ".." in name.parts or not member.name.isprintable():
            kind = "has a name that leads elsewhere"
        elif member.size < 0 or member.offset_data + member.size > size:
            raise Fault("data-corrupt", f"{shard}: {member.name!r} reaches beyond its end; fetch it again")
        if kind:
            raise Fault("data-corrupt", f"{shard}: {member.name!r} {kind}; pack plain files alone")
        if not any(part.startswith(".") for part in name.parts):
            member.name = str(name)
            yield member
    if tar.fileobj is not None:  # tarfile stops in silence at a header that is damaged
        tar.fileobj.seek(tar.offset)
        if (block := tar.fileobj.read(tarfile.BLOCKSIZE)).strip(b"\0") or not block:
            raise tarfile.ReadError(f"no end mark at byte {tar.offset}")


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> str:
    """The number in a .cls or .json file; '' where a .json has none."""
    body = tar.fileobj
    if body is None or member.size > LABEL_BYTES:
        raise Fault("data-corrupt", f"{shard}: {member.name} is larger than a label can be")
    body.seek(member.offset_data)
    text: object = body.read(member.size).decode(errors="replace").strip()
    if member.name.endswith(".json"):
        try:
            said = json.loads(str(text))
        except (ValueError, RecursionError):
            said = None
        text = said.get("label", said.get("cls", "")) if isinstance(said, dict) else None
    if text == "":
        return ""
    if not str(text).isdecimal() or not str(text).isascii() or int(str(text)[:9]) > LARGEST_LABEL:
        raise Fault(
            "data-corrupt", f"{shard}: {member.name} must hold the number of a class, got {text!r:.60}"
        )
    return str(int(str(text)))
