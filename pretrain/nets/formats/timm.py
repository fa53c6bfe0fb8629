"""Networks of timm from files under timm's names, and from timm itself: `arch` says which network it is.

timm's names are also those of DeiT's, DINO's and other releases of vision transformers; the file is compared
with what timm builds, so that nothing here knows a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.base.faults import Fault, printable
from pretrain.data.view import Input
from pretrain.nets import checkpoint, timm
from pretrain.nets.formats import sanity
from pretrain.nets.formats.contract import Flags, Loaded, Report, cut
from pretrain.nets.formats.opening import State
from pretrain.nets.formats.shapes import COUNTER
from pretrain.nets.names import TIMM

NAME = "timm"
# Dicts of a file, best first: an average of weights, then a teacher, is what a training script reports on.
WITHIN = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model", "student", "")
# Words in a prefix, best first: what has none of the four stands between; a momentum twin is not evaluated.
WORDS = ({"ema"}, {"teacher"}, set[str](), {"momentum", "target", "k"})
SHOWN = 3  # keys that a message names


@dataclass(frozen=True)
class Place:
    """Where in a file a network stands: keys by timm's names."""

    state: State
    prefix: str
    keys: dict[str, str]
    matched: tuple[str, ...]


def read(path: Path, found: list[State], flags: Flags) -> Loaded:
    """The network of timm that flags.arch names, from the dicts of a file.

    Raises:
        Fault: dependency-missing, without timm; bad-config, for an unknown name or a flag that does not fit;
            weights-mismatch, where the file does not hold the network, with the nearest tensors.
    """
    assert flags.arch is not None, "it is chosen by its architecture"
    _fitting(flags)
    own = timm.made(flags.arch, Input(size=32, resize=32))
    given, assumed = _input(own, flags)
    net = timm.Timm(own, given)
    expected = {n: t for n, t in own.state_dict().items() if not n.endswith(COUNTER)}
    places = sorted(_places(found, expected, flags.prefix), key=_rank)
    if not places:
        keys = [key for state in found for key in state.tensors]
        behind = f" behind '{flags.prefix}'" if flags.prefix else ""
        said = f"no {flags.arch}{behind} among its {len(keys)} tensors ({_some(keys)})"
        raise Fault("weights-mismatch", f"{path}: {said}; name the network that it is with --arch timm:NAME")
    report = _report(places[0], found, own, expected, tuple(assumed))
    if report.share < flags.allow_partial:
        raise _partly(path, flags, report)
    tensors = {n: places[0].state.tensors[places[0].keys[n]] for n in report.matched}
    state = own.state_dict() | {n: t.to(expected[n].dtype) for n, t in tensors.items()}
    own.load_state_dict(_rgb(own, state) if flags.order == "bgr" else state)
    net.eval()
    report = replace(report, warnings=(*_heads(report.prefix, own), *sanity.warnings(net)))
    return Loaded(net, flags.arch, given, report, checkpoint.hashed(net))


def _heads(prefix: str, own: Any) -> Iterator[str]:
    """A sentence where a network has other heads of attention than timm's, which no shape tells: MoCo v3's
    ViT-S (its vits.py) has 12.
    """
    if not re.search(r"(^|\.)(base|momentum)_encoder\.", prefix) or getattr(own, "embed_dim", 0) != 384:
        return
    heads = own.blocks[0].attn.num_heads
    if heads != 12:
        yield f"a ViT-S of MoCo v3's repository has 12 heads and timm's {heads}: its features are others here"


def pretrained(arch: str) -> Loaded:
    """A network with the weights that timm itself has of it, from its cache or the network.

    Raises:
        Fault: dependency-missing; bad-config; data-missing, where there are no weights or they cannot be had.
    """
    try:
        own = timm.made(arch, Input(size=32, resize=32), pretrained=True)
    except Fault:
        raise
    except Exception as error:  # of any kind: hub, certificates, proxies and sockets each have their own
        said = printable(" ".join(str(error).split()), 160) or type(error).__name__
        raise Fault(
            "data-missing",
            f"the pretrained weights of {arch} cannot be had ({said}); fetch them where there is a network and say "
            f"`zoo run NAME --checkpoint FILE --arch {arch}`",
        ) from error
    given, assumed = _input(own, Flags())
    net = timm.Timm(own, given).eval()
    names = tuple(name for name in own.state_dict() if not name.endswith(COUNTER))
    source = own.pretrained_cfg.get("hf_hub_id") or own.pretrained_cfg.get("url") or "timm"
    tag = own.pretrained_cfg.get("tag") or ""
    where = f"weights of {source}" + (f", tag {tag}" if tag else "")
    warned = tuple(sanity.warnings(net))
    report = Report(NAME, "", "", len(names), names, assumed=(where, *assumed), warnings=warned)
    return Loaded(net, arch, given, report, checkpoint.hashed(net))


def _fitting(flags: Flags) -> None:
    if flags.layout not in (None, NAME):
        raise Fault(
            "bad-config", f"--layout {flags.layout}: a {flags.arch} has the layout {NAME}; leave it out"
        )
    if flags.stride is not None:
        raise Fault("bad-config", f"--stride: the strides of a {flags.arch} are timm's; leave it out")


def _input(own: Any, flags: Flags) -> tuple[Input, list[str]]:
    """How pixels reach the network: as told, or as timm's data config says; each is noted."""
    config, interpolation = timm.prepared(own)
    size = flags.size or config.size
    resize = flags.resize or max(size, round(config.resize * size / config.size))
    cut(size, resize)
    mean, std = flags.mean or config.mean, flags.std or config.std
    tag = (getattr(own, "pretrained_cfg", None) or {}).get("tag")
    source = f"timm, for its weights {tag}" if tag else "timm"
    assumed = []
    for name, value in (("mean", mean), ("std", std), ("size", size), ("resize", resize)):
        shown = str(value) if isinstance(value, int) else "/".join(f"{one:.4g}" for one in value)
        assumed.append(f"{name} {shown}: {'as told' if getattr(flags, name) is not None else source}")
    if interpolation != "bilinear":
        assumed.append(f"interpolation {interpolation}: timm; here images are resized bilinearly")
    if flags.order == "bgr":
        mean, std = (mean[2], mean[1], mean[0]), (std[2], std[1], std[0])
    return Input(size=size, resize=resize, mean=mean, std=std), assumed


def _places(found: list[State], expected: dict[str, Tensor], prefix: str | None) -> Iterator[Place]:
    """Every prefix of every dict behind which the first tensors of the network stand."""
    anchors = [name for name, tensor in expected.items() if tensor.ndim][:SHOWN]
    for state in found:
        starts = {key[: -len(name)] for name in anchors for key in state.tensors if key.endswith(name)}
        for start in sorted(one for one in starts if not one or one.endswith(".")):
            if prefix is not None and not state.called(start, prefix):
                continue
            keys = {key.removeprefix(start): key for key in state.tensors if key.startswith(start)}
            there = {n: _kind(state.tensors[key]) for n, key in keys.items() if n in expected}
            matched = tuple(n for n, t in expected.items() if there.get(n) == _kind(t))
            if matched:
                yield Place(state, start, keys, matched)


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    """Shape, and whether its numbers are real: quantised weights are whole, and have a scale elsewhere."""
    return tuple(tensor.shape), tensor.is_floating_point()


def _rank(one: Place) -> tuple[int, int, int, str]:
    name = one.state.within[-1] if one.state.within else ""
    said = set(re.split(r"[._]", one.prefix))
    word = next((i for i, words in enumerate(WORDS) if words & said), WORDS.index(set()))
    return -len(one.matched), WITHIN.index(name) if name in WITHIN else len(WITHIN), word, one.prefix


def _report(
    place: Place, found: list[State], own: Any, expected: dict[str, Tensor], assumed: tuple[str, ...]
) -> Report:
    kept, heads = {place.keys[n] for n in place.matched}, _classifier(own)
    tops = {name.partition(".")[0] for name in expected}
    strange = tuple(
        key
        for name, key in place.keys.items()
        if name not in expected
        and name.partition(".")[0] in tops
        and not name.endswith(COUNTER)
        and not name.startswith(heads)
    )
    ignored = tuple(
        ".".join((*state.within, key))
        for state in found
        for key in state.tensors
        if not (state is place.state and (key in kept or key in strange))
    )
    return Report(
        layout=NAME,
        within=place.state.where,
        prefix=place.prefix,
        expected=len(expected),
        matched=place.matched,
        missing=tuple(n for n in expected if n not in place.keys),
        wrong=tuple(n for n in expected if n in place.keys and n not in place.matched),
        unexpected=strange,
        ignored=ignored,
        assumed=assumed,
    )


def _classifier(own: Any) -> tuple[str, ...]:
    """What the names of the classifier start with."""
    named = own.pretrained_cfg.get("classifier") or ()
    return tuple(f"{one}." for one in ([named] if isinstance(named, str) else named))


def _rgb(own: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolutions turned, so that they expect RGB."""
    named = own.pretrained_cfg.get("first_conv") or ()
    firsts = [f"{one}.weight" for one in ([named] if isinstance(named, str) else named)]
    return state | {n: torch.flip(state[n], (1,)) for n in firsts}


def _partly(path: Path, flags: Flags, report: Report) -> Fault:
    parts = [
        f"{len(names)} {word} ({_some(names)})"
        for word, names in (
            ("missing", report.missing),
            ("of another shape", report.wrong),
            ("unknown", report.unexpected),
        )
        if names
    ]
    said = f"{len(report.matched)} of the {report.expected} tensors of {flags.arch} are there"
    enough = int(report.share * 1000) / 1000
    return Fault(
        "weights-mismatch",
        f"{path}: {said}: {'; '.join(parts)}; name the network that it is with --arch {TIMM}NAME, or take it as it "
        f"is with --allow-partial {enough:.3f}",
    )


def _some(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:SHOWN])
    return shown + (", ..." if len(names) > SHOWN else "")
