"""What a file is, by its first bytes. Nothing of it is read but those, and the list of members of a zip."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import Literal

from pretrain.base import files
from pretrain.base.faults import Fault, printable

Kind = Literal["zip", "legacy", "pickle", "safetensors"]
LEGACY = (
    b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch.save before 1.6: its magic number, pickled
)
HEADER = 64 << 20  # bytes of a safetensors header: 300,000 tensors
MEMBERS = 100_000  # of a zip: a ResNet-50 with its optimizer has 500

# What else may lie under the name of a checkpoint.
STRANGE: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git-LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"<", "a web page; what was downloaded is an error or a log-in page"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them; convert it to PyTorch first"),
    (b"\x93NUMPY", "a NumPy array; expected a checkpoint with named tensors"),
    (b"GGUF", "a GGUF file of a language model"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
    (b"{", "JSON text; where it is the index of weights in several files, save them in one"),
)


def of(path: Path) -> Kind:
    """The kind of a checkpoint. Raises Fault, saying what the file is instead."""
    start = _start(path)
    if start[:2] == b"PK":
        return _archive(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= HEADER:
        if int.from_bytes(start[:8], "little") > path.stat().st_size - 8:
            raise refused(path, "it is a truncated safetensors file: its header is longer than the file")
        return "safetensors"
    if start[:1] == b"\x80":
        return "legacy" if LEGACY in start[:24] else "pickle"
    raise refused(path, _named(start))


def _named(start: bytes) -> str:
    if not start.strip(b"\0"):
        return "it is empty" if not start else "its first bytes are all zero: a download that did not finish"
    for magic, said in STRANGE:
        if start.lstrip().startswith(magic) or start.startswith(magic):
            return f"it is {said}"
    if start[257:262] == b"ustar":
        return "it is a tar archive; unpack it first"
    if start[:1] == b"\x08" and b"pytorch" in start[:64]:
        return "it is an ONNX file; give the checkpoint that it was exported from"
    return f"its first bytes are {start[:8].hex(' ')}, which no format known here starts with"


def _start(path: Path) -> bytes:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise Fault("data-missing", f"checkpoint {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise refused(
            path, "it is a folder; name the file in it" if stat.S_ISDIR(mode) else "it is no regular file"
        )
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise Fault("data-missing", f"checkpoint {path}: {error.strerror}") from None


def _archive(path: Path) -> Kind:
    """A zip file, if it is as torch.save writes it: not compressed, so that it holds no more than its
    size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeError) as error:
        raise refused(path, f"it is a damaged or truncated zip archive ({error})") from None
    names = {one.filename.rpartition("/")[2] for one in members}
    if len(members) > MEMBERS:
        raise refused(path, f"it is a zip archive of {len(members)} members, expected {MEMBERS} or fewer")
    if any(one.filename.endswith(".npy") for one in members):
        raise refused(path, "it is a NumPy archive; expected a checkpoint with named tensors")
    if "data.pkl" not in names:
        shown = ", ".join(printable(name, 40) for name in sorted(names)[:3])
        raise refused(path, f"it is a zip archive of {len(names)} other files ({shown}), none of torch.save")
    if "constants.pkl" in names:
        said = "it is a TorchScript program, which is code; save the state_dict() of its source instead"
        raise refused(path, said)
    packed = [one for one in members if one.compress_type != zipfile.ZIP_STORED]
    if packed:
        name = printable(packed[0].filename, 40)
        raise refused(path, f"its member '{name}' is compressed, which torch.save never does")
    if (claimed := sum(one.file_size for one in members)) > path.stat().st_size:
        raise refused(path, f"its members claim {claimed} bytes of {path.stat().st_size}: they overlap")
    return "zip"


def whole(path: Path) -> None:
    """Raises Fault where a member of a zip file differs from its checksum: a hole in a download would give
    other features.
    """
    try:
        files.whole(path)
    except Exception as error:  # of any kind: the bytes of a damaged archive decide which
        raise refused(path, f"it is damaged ({printable(str(error), 80)}); fetch it again") from None


def refused(path: Path, why: str) -> Fault:
    """The fault of a file that cannot be read."""
    return Fault("weights-corrupt", f"{path}: {why}")
