"""mmengine's `last_checkpoint`: a file that names the newest state of a training.

It is believed about files of the job's own folder alone. No torch and no mm package here.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from pretrain.base import files
from pretrain.base.faults import Fault

NAME = "last_checkpoint"
LONGEST = 4096  # characters of a path


def target(work: Path) -> Path | None:
    """The state that `last_checkpoint` names, symbolic links resolved; None where there is no such file.

    Raises:
        Fault: weights-corrupt, if it names anything but a whole file inside of `work`.
    """
    if not (work / NAME).exists():
        return None
    path = _inside(work)
    if path is None:
        raise Fault(
            "weights-corrupt",
            f"{work / NAME} names {_named(work)!r}, expected a whole checkpoint inside of {work}: it is not opened; "
            f"delete {work / NAME} to train from the start",
        )
    return path


def mend(work: Path) -> str:
    """Points `last_checkpoint` to the newest whole file of the folder, or removes it, where it names none.

    A kill or a full disk in the middle of a save leaves such a name, and so does a folder that was moved;
    mmengine fails on it at every later start. Returns a sentence where a file outside of the folder was
    named, else "".
    """
    if not (work / NAME).exists() or _inside(work):
        return ""
    named = _named(work)
    whole = sorted(filter(None, (_whole(path, work) for path in work.glob("*.pth"))), key=_time)
    if whole:
        files.write_text(work / NAME, str(whole[-1]))
    else:
        (work / NAME).unlink()
    found = _resolved(Path(named))
    outside = named and not (found and found.is_relative_to(work.resolve()))
    then = f"goes on from {whole[-1].name}" if whole else "starts anew"
    return (
        f"{work / NAME} named {named!r}, outside of the job's folder: ignored, the training {then}"
        if outside
        else ""
    )


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _named(work: Path) -> str:
    with (work / NAME).open("rb") as file:
        return file.read(LONGEST).decode(errors="replace").strip().replace("\0", "?")


def _inside(work: Path) -> Path | None:
    named = _named(work)
    return _whole(Path(named), work) if named else None


def _whole(path: Path, work: Path) -> Path | None:
    """The resolved path of a complete file of torch.save inside of `work`.

    Complete: it is a zip archive, whose directory is written last.
    """
    found = _resolved(path)
    if found is None or not found.is_relative_to(work.resolve()):
        return None
    return found if found.is_file() and zipfile.is_zipfile(found) else None


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # too long a name, a loop of links
        return None
