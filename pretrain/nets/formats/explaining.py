"""Why a file is not read: the nearest explanation, in one sentence."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pretrain.base.faults import Fault, printable
from pretrain.nets.archs import ARCHS
from pretrain.nets.formats.candidates import Candidate, candidates
from pretrain.nets.formats.contract import Flags
from pretrain.nets.formats.opening import State
from pretrain.nets.names import TIMM

SHOWN = 3  # keys that a message names

HUGGING = "a transformer under names of Hugging Face's transformers"

# Networks that are none of this zoo's, by a key that only they have.
OTHERS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)embeddings\.patch_embeddings\.", HUGGING),
    (r"(^|\.)(register_tokens|blocks\.0\.ls1\.gamma)", "a vision transformer of DINOv2"),
    (r"(^|\.)mask_token$", "a masked autoencoder or another vision transformer"),
    (r"(^|\.)(cls_token|pos_embed|patch_embed\.|encoder\.layers\.encoder_layer_0\.)", "a vision transformer"),
    (r"(^|\.)layers\.0\.blocks\.0\.attn\.", "a Swin transformer"),
    (r"(^|\.)attnpool\.", "a ResNet of CLIP, with attention pooling"),
    (r"(^|\.)stages\.0\.(blocks\.)?0\.(gamma|dwconv|conv_dw)", "a ConvNeXt"),
    (r"(^|\.)(conv1|stem)\.0\.(weight|conv)", "a ResNet with a deep stem (ResNet-C, -D or a timm variant)"),
    (r"(^|\.)layer1\.0\.(se|attn)\.", "a ResNet with squeeze-and-excitation or attention"),
    (r"(^|\.)features\.denseblock1\.", "a DenseNet"),
    (r"(^|\.)conv_stem\.", "an EfficientNet or a MobileNet"),
    (r"(^|\.)features\.0\.0\.", "an EfficientNet, a MobileNet or a ConvNeXt of torchvision"),
    (r"^(module\.)?linear\.(weight|bias)$", "a linear classifier without its backbone"),
)


def unreadable(path: Path, states: list[State], flags: Flags) -> Fault:
    """The fault of a file in which no layout finds a backbone, or not the layout or prefix that was told."""
    keys = [key for state in states for key in state.tensors]
    for pattern, said in OTHERS:
        if any(re.search(pattern, key) for key in keys):
            if said == HUGGING:
                more = "which are not read; save it under timm's or torchvision's, or give zoo.evaluate the module"
                return _fault(path, f"it holds {said}, {more}")
            known = ", ".join(sorted(ARCHS))
            more = f"if the names are timm's, --arch {TIMM}NAME reads it"
            return _fault(path, f"it holds {said}, which is none of the architectures here ({known}); {more}")
    for state in states:
        if stem := _stem(state):
            count = state.tensors[stem].shape[1]
            said = f"its first convolution '{printable(stem, 60)}' has {count} input channels"
            return _fault(
                path, f"{said}, expected 3 (colours) or 2 (Sobel edges); such images are not read here"
            )
    asked = f" as layout {flags.layout} keeps it" if flags.layout else ""
    asked += f" behind '{flags.prefix}'" if flags.prefix else ""
    said = f"no backbone{asked} among its {len(keys)} tensors ({_some(keys)})"
    return _fault(path, f"{said}; {_hint(states, flags)}")


def _stem(state: State) -> str | None:
    """The first convolution of a ResNet for images of other channels, if there is one."""
    for key, tensor in state.tensors.items():
        start = key.removesuffix("conv1.weight")
        if key != start and tensor.ndim == 4 and f"{start}layer1.0.conv1.weight" in state.tensors:
            return key if tensor.shape[1] not in (2, 3) else None
    return None


def partly(path: Path, best: Candidate, states: list[State], least: float) -> Fault:
    """The fault of a file that holds only a part of a backbone, or one that is somewhat different."""
    fit = best.fit
    parts = [
        f"{len(names)} {word} ({_some(names)})"
        for word, names in (
            ("missing", fit.missing),
            ("of another shape", fit.wrong),
            ("unknown", fit.strange),
        )
        if names
    ]
    if not all(best.state.tensors[best.keys[name]].is_floating_point() for name in fit.wrong):
        parts.append("some hold whole numbers, as quantised weights do")
    said = f"nearest is {fit.arch} as {best.layout.name} keeps it, with {len(fit.matched)} of {fit.expected} tensors"
    if best.prefix:
        said += f" behind '{printable(best.prefix, 60)}'"
    keys = [key for state in states for key in state.tensors]
    other = [text for pattern, text in OTHERS if any(re.search(pattern, key) for key in keys)]
    if other:
        parts.append(f"it looks like {other[0]}")
    if fit.wrong or fit.strange:
        parts.append(f"if it is another network under timm's names, --arch {TIMM}NAME reads it")
    enough = f"--allow-partial {int(fit.share * 1000) / 1000:.3f} takes it as it is, and every table says so"
    wanted = "" if least == 1 else f", {least:.3f} are asked for and {fit.share:.3f} are there"
    return _fault(path, f"{said}{wanted}: {'; '.join(parts)}; {enough}")


def ambiguous(path: Path, groups: list[Candidate]) -> Fault:
    """The fault of a file that can be read in several ways which differ."""
    alone = Counter(one.prefix for one in groups)
    ways = [_way(one, alone[one.prefix] > 1) for one in groups]
    return _fault(
        path, f"it can be read in {len(ways)} ways that differ; choose one of: {', or '.join(ways)}"
    )


def _way(one: Candidate, within: bool) -> str:
    """The flags for a way to read a file. within: whether its prefix must say the dict, too."""
    prefix = f"{one.state.where}.{one.prefix}" if within else one.prefix
    where = f" (in {printable(one.state.where, 60)})" if one.state.within and not within else ""
    return f"--layout {one.layout.name} --prefix '{printable(prefix, 60)}'{where}"


def _hint(states: list[State], flags: Flags) -> str:
    """What the keys of the largest dict have in common, and the flags that read the file if others do not."""
    largest = max(states, key=lambda state: len(state.tensors))
    firsts = Counter(key.partition(".")[0] + "." for key in largest.tensors if "." in key)
    if not firsts:
        return "expected names such as layer1.0.conv1.weight"
    start, count = firsts.most_common(1)[0]
    total = len(largest.tensors)
    amount = f"all {total}" if count == total else f"{count} of {total}"
    said = f"{amount} keys of its dict '{printable(largest.where, 60)}' start with {printable(start, 60)}"
    ways = candidates(states, None, None, flags.arch) if flags.layout or flags.prefix is not None else []
    if not ways or ways[0].fit.share < flags.allow_partial:
        return said
    name, prefix = ways[0].layout.name, printable(ways[0].prefix, 60)
    more = f" --prefix '{prefix}'" if flags.prefix is not None else ""
    return f"{said}: {name} layout, pass --layout {name}{more}"


def _some(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:SHOWN])
    return shown + (", ..." if len(names) > SHOWN else "")


def _fault(path: Path, said: str) -> Fault:
    return Fault("weights-mismatch", f"{path}: {said}")
