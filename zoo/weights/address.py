"""Where a checkpoint lies when it is no path: `https://...` and `hf://org/name@revision/file`.

A fragment `#sha256=HEX` says what the file must be, as do the last 8 or more hex digits of a name such as
`resnet50-1a2b3c4d.pth` (torchvision's custom, and OpenMMLab's). Plain http is for servers of this machine.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from pretrain.base.faults import Fault, printable

HUB = "https://huggingface.co"
EXPECTED = "a path, https://HOST/FILE or hf://ORG/NAME@REVISION/FILE"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # a Path has lost one of two slashes
_REPOSITORY = re.compile(r"([\w.-]+)/([\w.-]+?)(?:@([^/@]+))?(?:/(.+))?", re.ASCII)
_NAMED = re.compile(r"(?<!md5)[-_]([0-9a-f]{8,64})(?:\.pth|\.pt|\.bin|\.tar|\.pkl|\.torch|\.safetensors)+")
# What is no SHA-256 of the file: a date, a counter of steps, and the hash of nothing, after which OpenSelfSup
# named files that it had not yet written (moco_r50_v2-e3b0c442.pth).
_OTHER = re.compile(r"(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d|00\d{6,}|e3b0c442")


@dataclass(frozen=True)
class Remote:
    """A file somewhere else. key: what a cache knows it by; url: where it is asked for, '' for a repository
    whose file is not named; name: of the file; sha256: its first hex digits or all, '' where it is not told;
    hub: whether the server's tag of a large file is its SHA-256, as Hugging Face has it.
    """

    key: str
    url: str
    name: str
    sha256: str = ""
    hub: bool = False


def parsed(source: str) -> Remote | None:
    """What a source means; None for a path. Raises Fault (bad-config) on an address that is not read."""
    match = _SCHEME.fullmatch(source)
    if match is None:
        return None
    scheme, rest = match[1].lower(), match[2]
    if scheme == "hf":
        return _hub(source, *_fragment(source, rest))
    if scheme not in ("http", "https"):
        raise _refused(source, f"'{printable(scheme, 20)}' is not read")
    rest, sha256 = _fragment(source, rest)
    url = f"{scheme}://{rest}"
    allowed(url)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return Remote(url, url, _safe(name), sha256 or hashed_name(name))


def repository(remote: Remote) -> tuple[str, str, str]:
    """Owner, name and revision of a Hugging Face source."""
    match = _REPOSITORY.fullmatch(remote.key.removeprefix("hf://"))
    assert match is not None
    return match[1], match[2], match[3] or "main"


def endpoint() -> str:
    """The hub's address: `HF_ENDPOINT`, or Hugging Face. Raises Fault as `allowed` does."""
    found = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    allowed(found)
    return found


def allowed(url: str) -> None:
    """Raises Fault unless an address is https, or http to this machine, and holds no password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise _refused(url, "it is no address") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise _refused(url, "it is no address")
    if "@" in parts.netloc:
        raise _refused(url, "an address with a user's name or password in it ends up in records")
    if parts.scheme == "http" and not loopback(host):
        raise _refused(url, "plain http can be changed on its way; use https")


def loopback(host: str) -> bool:
    """Whether a host's name means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(url: str) -> str:
    """An address for messages: without its query, which may hold a signature."""
    return printable(url.partition("#")[0].partition("?")[0], 200)


def hashed_name(name: str) -> str:
    """The hex digits of a SHA-256 that a file's name ends in, '' for none."""
    match = _NAMED.search(name)
    if match is None or match.end() != len(name) or _OTHER.fullmatch(match[1]):
        return ""
    return match[1]


def _hub(source: str, rest: str, sha256: str) -> Remote:
    match = _REPOSITORY.fullmatch(rest)
    if match is None or {".", ".."} & set(rest.split("/")):
        raise _refused(
            source, "expected hf://ORG/NAME, hf://ORG/NAME@REVISION or hf://ORG/NAME@REVISION/FILE"
        )
    owner, name, revision, file = match[1], match[2], match[3] or "main", match[4] or ""
    key = f"hf://{owner}/{name}@{revision}" + (f"/{file}" if file else "")
    if not file:
        return Remote(key, "", "", sha256, hub=True)
    url = f"{endpoint()}/{owner}/{name}/resolve/{quote(revision, safe='%')}/{quote(file)}"
    last = file.rpartition("/")[2]
    return Remote(key, url, _safe(last), sha256 or hashed_name(last), hub=True)


def _fragment(source: str, rest: str) -> tuple[str, str]:
    """An address without its fragment, and the hash that this says."""
    rest, _, fragment = rest.partition("#")
    if not fragment:
        return rest, ""
    match = re.fullmatch(r"sha256=([0-9A-Fa-f]{8,64})", fragment)
    if match is None:
        raise _refused(source, "behind # stands sha256= and 8 to 64 hex digits")
    return rest, match[1].lower()


def _safe(name: str) -> str:
    """A name for the file in a cache."""
    return re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII).lstrip(".")[-150:] or "checkpoint"


def _refused(source: str, why: str) -> Fault:
    return Fault("bad-config", f"source {shown(source)}: {why}; give {EXPECTED}")
