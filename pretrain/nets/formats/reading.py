"""`read`: a checkpoint of any known layout as a backbone, with a report of what was taken and what was
assumed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from pretrain.base.faults import Fault
from pretrain.data.view import IMAGENET_MEAN, Input
from pretrain.nets import checkpoint
from pretrain.nets.archs import build, require
from pretrain.nets.backbone import Backbone
from pretrain.nets.formats import explaining, sanity, timm
from pretrain.nets.formats.candidates import Candidate, candidates
from pretrain.nets.formats.contract import Defaults, Flags, Loaded, Report, Triple, cut
from pretrain.nets.formats.filling import filled, front
from pretrain.nets.formats.opening import State, states
from pretrain.nets.formats.ours import is_ours, noted, read_ours
from pretrain.nets.names import TIMM

NOW = Flags()
STRIDES = {"resnet50": "resnet50_v1", "resnet101": "resnet101_v1"}  # with the stride in the first 1x1
_STYLE = re.compile(r"\bstyle\s*=\s*'(\w+)'")
_TRIPLE = r"\b{}\s*=\s*\[\s*(\d+\.?\d*),\s*(\d+\.?\d*),\s*(\d+\.?\d*),?\s*\]"  # of an OpenMMLab config


def read(path: Path, flags: Flags = NOW) -> Loaded:
    """The backbone of a file, its layout told by content.

    Raises:
        Fault: data-missing; weights-corrupt, where the file is no checkpoint or needs code to be run;
            weights-mismatch, where it holds no backbone, a part of one, or several; bad-config, where a
            flag does not fit.
    """
    if is_ours(path):
        return read_ours(path, flags)
    flags = noted(path, flags)
    found = states(path)
    if flags.arch is not None and flags.arch.startswith(TIMM):
        return timm.read(path, found, flags)
    if flags.layout == timm.NAME:
        raise Fault("bad-config", f"--layout {timm.NAME} needs --arch {TIMM}NAME, timm's name of the network")
    chosen = _chosen(path, found, flags)
    defaults = _said(chosen.state, _defaults(chosen))
    arch, assumed = _arch(chosen, defaults, flags)
    given = _input(chosen, defaults, flags, arch, assumed)
    order = flags.order or defaults.order
    net = filled(path, chosen, arch, given, order)
    return Loaded(net, arch, given, _report(chosen, found, assumed, net), hashed(net))


def hashed(net: Backbone) -> str:
    """SHA-256 of the tensors, see `checkpoint.weights_hash`."""
    return checkpoint.weights_hash(net.state_dict())


def _chosen(path: Path, found: list[State], flags: Flags) -> Candidate:
    """The one way to read the file. Raises Fault where there is none, or more than one."""
    if flags.arch is not None:
        require(flags.arch)
    ways = candidates(found, flags.layout, flags.prefix, flags.arch)
    if not ways or not ways[0].fit.matched:
        raise explaining.unreadable(path, found, flags)
    best = ways[0]
    if best.fit.share < flags.allow_partial:
        raise explaining.partly(path, best, found, flags.allow_partial)
    top = [one for one in ways if _rank(one) == _rank(best)]
    groups = {(one.place, one.layout.defaults, one.layout.small): one for one in reversed(top)}
    different = [one for one in groups.values() if not _same(one, best)]
    if best.layout.teacher and flags.layout is None:
        # A teacher that another network was distilled from is no average of it.
        others = {one.place: one for one in ways if one.fit.share == best.fit.share}
        different += [one for one in others.values() if one.fit.arch != best.fit.arch]
    if different:
        raise explaining.ambiguous(path, [best, *different])
    return best


def _rank(one: Candidate) -> tuple[float, int]:
    return one.fit.share, one.layout.weight


def _same(one: Candidate, other: Candidate) -> bool:
    """Whether two ways to read a file give the same network."""
    if (one.layout.defaults, one.layout.small) != (other.layout.defaults, other.layout.small):
        return False
    if one.place == other.place:
        return True
    mine, theirs = one.tensors, other.tensors
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def _defaults(chosen: Candidate) -> Defaults:
    with torch.device("meta"):
        small = build(chosen.fit.arch, Input(size=32, resize=32), 0).small_stem
    return chosen.layout.small if small else chosen.layout.defaults


def _said(state: State, defaults: Defaults) -> Defaults:
    """The defaults, with what the file says itself: a config of OpenMMLab's, or detectron2's pixel_mean and
    pixel_std. BGR is told by ImageNet's mean in that order; v1 by its style, in detectron2 by a std of 1.
    """
    mean, std = _triple(state, "mean"), _triple(state, "std")
    first = set(_STYLE.findall(state.config)) == {"caffe"}
    if mean is not None and std is not None:
        bgr = all(abs(one - other) < 0.01 for one, other in zip(mean, reversed(IMAGENET_MEAN), strict=True))
        defaults = replace(defaults, mean=mean, std=std, order="bgr" if bgr else "rgb")
        first = first or (not state.config and max(std) < 0.01)
    return replace(defaults, stride="1x1") if first else defaults


def _triple(state: State, name: str) -> Triple | None:
    """The mean or std of pixels to 255 that a file says, for pixels in [0, 1]; None for none, or several."""
    found = {tuple(map(float, one)) for one in re.findall(_TRIPLE.format(name), state.config)}
    kept = [one for key, one in state.tensors.items() if key.rpartition(".")[2] == f"pixel_{name}"]
    found |= {tuple(one.double().flatten().tolist()) for one in kept if one.numel() == 3}
    if len(found) != 1:
        return None
    first, second, third = (float(f"{value / 255:.6g}") for value in found.pop())
    bounds = (0.01, 1) if name == "mean" else (0.001, 1)  # others are of pixels in [0, 1], or none
    fits = all(bounds[0] < value <= bounds[1] for value in (first, second, third))
    return (first, second, third) if fits else None


def _arch(chosen: Candidate, defaults: Defaults, flags: Flags) -> tuple[str, list[str]]:
    """The architecture, and what was assumed about it as shapes do not tell."""
    arch = chosen.fit.arch
    if flags.arch is not None:
        return arch, []
    if arch in chosen.layout.twins:
        twin = chosen.layout.twins[arch]
        return twin, [
            f"{twin}, not {arch} of the same shapes: default of {chosen.layout.name}; --arch changes it"
        ]
    if arch not in STRIDES:
        if flags.stride is not None:
            raise Fault("bad-config", f"--stride: a {arch} has no bottleneck of stride 2; leave it out")
        return arch, []
    stride = flags.stride or defaults.stride
    said = f"stride in the {stride}: {_source('stride', flags, chosen, defaults)}"
    return (STRIDES[arch] if stride == "1x1" else arch), [said]


def _input(chosen: Candidate, defaults: Defaults, flags: Flags, arch: str, assumed: list[str]) -> Input:
    """How pixels reach the network; each value that no shape tells is noted in `assumed`. Colours are RGB."""
    order = flags.order or defaults.order
    mean, std = flags.mean or defaults.mean, flags.std or defaults.std
    size = flags.size or defaults.size
    resize = flags.resize or (defaults.resize if flags.size is None else max(size, defaults.resize))
    cut(size, resize)
    for name, value in (("order", order), ("mean", mean), ("std", std), ("size", size), ("resize", resize)):
        shown = value if isinstance(value, (str, int)) else "/".join(f"{one:.4g}" for one in value)
        assumed.append(f"{name} {shown}: {_source(name, flags, chosen, defaults)}")
    if chosen.fit.sobel:
        kept = "in the file" if front(chosen.state) else "two input channels, kernels not kept"
        assumed.append(f"Sobel front-end: {kept}")
    if order == "bgr":
        mean, std = (mean[2], mean[1], mean[0]), (std[2], std[1], std[0])
    return Input(size=size, resize=resize, mean=mean, std=std, sobel=chosen.fit.sobel)


def _source(name: str, flags: Flags, chosen: Candidate, defaults: Defaults) -> str:
    if getattr(flags, name) is not None:
        return "as told"
    kept = getattr(defaults, name) == getattr(_defaults(chosen), name)
    return f"default of {chosen.layout.name}" if kept else "the file says so"


def _report(chosen: Candidate, found: list[State], assumed: list[str], net: Backbone) -> Report:
    fit, used = chosen.fit, {id(one) for one in chosen.tensors.values()}
    strange = tuple(chosen.keys[name] for name in fit.strange)
    others = [
        ".".join((*state.within, key))
        for state in found
        for key, tensor in state.tensors.items()
        if id(tensor) not in used and not (state is chosen.state and key in strange)
    ]
    return Report(
        layout=chosen.layout.name,
        within=chosen.state.where,
        prefix=chosen.prefix,
        expected=fit.expected,
        matched=fit.matched,
        missing=fit.missing,
        wrong=fit.wrong,
        unexpected=strange,
        ignored=tuple(others),
        assumed=tuple(assumed),
        warnings=tuple(sanity.warnings(net, untrained=not chosen.layout.folded)),
    )
