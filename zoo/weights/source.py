"""`local`: a checkpoint given as a path, `https://...` or `hf://...`, as a file on this machine.

Downloads are kept in ~/.cache/cluster-zoo, or in `ZOO_CACHE`, and used again without asking the server; with
`ZOO_OFFLINE=1` it is never asked. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.weights import transfer
from zoo.weights.address import Remote, endpoint, parsed, repository, shown
from zoo.weights.transfer import Patience, Seen, Told

PATIENCE = Patience()
NOTE = "source.json"  # beside a download: its address and hash
# Of what may be a checkpoint.
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin", ".tar", ".pkl", ".torch")
CUSTOMARY = ("backbone.safetensors", "model.safetensors", "pytorch_model.bin")
BLOCK = 1 << 20


def local(source: str | Path, cache: Path | None = None, patience: Patience = PATIENCE) -> Path:
    """The file of a source: a path as it is, anything else downloaded once and checked.

    cache: folder of downloads. Raises Fault: bad-config on an address that is not read; data-missing where
    the file is not there, or offline and not kept; weights-corrupt on another hash than was told; upstream
    where the server fails.
    """
    remote = parsed(str(source))
    if remote is None:
        return Path(source)
    cache = cache or _cache()
    if not remote.url:
        remote = _chosen(remote, cache, patience)
    place = _folder(remote, cache) / remote.name
    if _kept(place, remote):
        return place
    if offline():
        said = (
            "is not among the kept downloads, and ZOO_OFFLINE forbids to fetch it; unset it, or give a path"
        )
        raise Fault("data-missing", f"{shown(remote.key)} {said}")
    with files.explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        if not _kept(place, remote):
            _download(remote, place, patience)
    return place


def _cache() -> Path:
    """The folder of downloads. Raises Fault."""
    if place := os.environ.get("ZOO_CACHE"):
        return Path(place)
    return files.homely("~/.cache/cluster-zoo", "ZOO_CACHE to a folder for downloads")


def offline() -> bool:
    """Whether servers must not be asked."""
    return os.environ.get("ZOO_OFFLINE", "").lower() not in ("", "0", "false", "no")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(remote: Remote, cache: Path) -> Path:
    return cache / "files" / hashlib.sha256(remote.key.encode()).hexdigest()[:24]


def _kept(place: Path, remote: Remote) -> bool:
    """Whether a download is there, is what was downloaded, and is what the source says."""
    try:
        note = json.loads((place.parent / NOTE).read_text())
        known = note["url"] == remote.key and sha256(place) == note["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return known and str(note["sha256"]).startswith(remote.sha256)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """While one process downloads a file, others wait for it."""
    lock = FileLock(place.parent / ".lock")
    with files.explained(place):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that downloads {place.name}", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(remote: Remote, place: Path, patience: Patience) -> None:
    part = place.with_name(f"{place.name}.part")
    with _bar(remote.name) as seen:
        told = transfer.fetch(remote.url, part, patience, seen)
    found = sha256(part)
    try:
        _verified(remote, told, found)
    except Fault:
        part.unlink()
        raise
    finally:
        part.with_suffix(".tag").unlink(missing_ok=True)
    note = {"url": remote.key, "sha256": found, "bytes": part.stat().st_size, "tag": told.tag}
    with files.explained(place):
        files.write_text(place.parent / NOTE, json.dumps(note, indent=1) + "\n")
        files.flush(part)
        os.replace(part, place)


def _verified(remote: Remote, told: Told, found: str) -> None:
    """Raises Fault where the file is not what its address or the hub says."""
    linked = told.linked if remote.hub and len(told.linked) == 64 else ""
    for expected, who in ((remote.sha256, "its address"), (linked, "the hub")):
        if not found.startswith(expected):
            said = f"SHA-256 {found[: max(12, len(expected))]}, {who} says {expected}; nothing was kept"
            raise Fault("weights-corrupt", f"{shown(remote.key)}: {said}; try again or ask who publishes it")
    if not told.framed and not (remote.sha256 or linked):
        said = "the server does not say how long the file is; add #sha256=HEX to the address, to tell it is whole"
        raise Fault("upstream", f"{shown(remote.key)}: {said} (what came has {found})")


@contextmanager
def _bar(name: str) -> Iterator[Seen]:
    """A progress bar on stderr; the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda size, total: progress.update(task, completed=size, total=total)


def _chosen(remote: Remote, cache: Path, patience: Patience) -> Remote:
    """The one checkpoint of a repository whose file was not named; remembered for times without network."""
    owner, name, revision = repository(remote)
    note = _folder(remote, cache) / "file.txt"
    if note.is_file():
        return _file(remote, note.read_text())
    if offline():
        said = "was never looked into, and ZOO_OFFLINE forbids to; unset it, or name the file"
        raise Fault("data-missing", f"{remote.key} {said}")
    body = transfer.text(
        f"{endpoint()}/api/models/{owner}/{name}/revision/{quote(revision, safe='%')}", patience
    )
    try:
        listed = [str(one["rfilename"]) for one in json.loads(body)["siblings"]]
    except (ValueError, KeyError, TypeError):
        raise Fault("upstream", f"{remote.key}: the hub's answer is no list of files; name one") from None
    found = _checkpoint(remote, [one for one in listed if one.endswith(SUFFIXES)])
    files.write_text(note, found)
    return _file(remote, found)


def _checkpoint(remote: Remote, names: list[str]) -> str:
    for name in CUSTOMARY:
        if name in names:
            return name
    if len(names) != 1:
        said = f"holds {len(names)} checkpoints ({', '.join(names[:5])})" if names else "holds no checkpoint"
        raise Fault("data-missing", f"{remote.key} {said}; name one as {remote.key}/FILE")
    return names[0]


def _file(remote: Remote, name: str) -> Remote:
    found = parsed(f"{remote.key}/{name}")
    assert found is not None
    return replace(found, sha256=remote.sha256 or found.sha256)
