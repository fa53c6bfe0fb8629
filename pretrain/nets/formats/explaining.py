"""Why a file is not read: the nearest explanation, in one sentence."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pretrain.base.faults import Fault, printable
from pretrain.nets.archs import ARCHS
from pretrain.nets.formats.candidates import Candidate, layouts
from pretrain.nets.formats.opening import State
from pretrain.nets.names import TIMM

SHOWN = 3  # keys that a message names

# Networks that are none of this zoo's, by a key that only they have.
OTHERS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(register_tokens|blocks\.0\.ls1\.gamma)", "a vision transformer of DINOv2"),
    (r"(^|\.)mask_token$", "a masked autoencoder or another vision transformer"),
    (r"(^|\.)(cls_token|pos_embed|patch_embed\.|encoder\.layers\.encoder_layer_0\.)", "a vision transformer"),
    (r"(^|\.)layers\.0\.blocks\.0\.attn\.", "a Swin transformer"),
    (r"(^|\.)attnpool\.", "a ResNet of CLIP, with attention pooling"),
    (r"(^|\.)stages\.0\.(blocks\.)?0\.(gamma|dwconv|conv_dw)", "a ConvNeXt"),
    (r"(^|\.)(conv1|stem)\.0\.(weight|conv)", "a ResNet with a deep stem (ResNet-C, -D or a timm variant)"),
    (r"(^|\.)layer1\.0\.(se|attn)\.", "a ResNet with squeeze-and-excitation or attention"),
    (r"(^|\.)features\.denseblock1\.", "a DenseNet"),
    (r"(^|\.)(conv_stem|features\.0\.0)\.", "an EfficientNet or a MobileNet"),
    (r"^(module\.)?linear\.(weight|bias)$", "a linear classifier without its backbone"),
)


def unreadable(path: Path, states: list[State], asked: str | None) -> Fault:
    """The fault of a file in which no layout finds a backbone."""
    keys = [key for state in states for key in state.tensors]
    for pattern, said in OTHERS:
        if any(re.search(pattern, key) for key in keys):
            known = ", ".join(sorted(ARCHS))
            more = f"if timm has it, --arch {TIMM}NAME reads it"
            return _fault(path, f"it holds {said}, which is none of the architectures here ({known}); {more}")
    count = f"{len(keys)} tensors ({_some(keys)})"
    if asked:
        return _fault(path, f"no backbone as layout {asked} keeps it among its {count}; {_hint(states)}")
    return _fault(path, f"no backbone among its {count}; {_hint(states)}")


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
    said = f"nearest is {fit.arch} as {best.layout.name} keeps it, with {len(fit.matched)} of {fit.expected} tensors"
    if best.prefix:
        said += f" behind '{printable(best.prefix, 60)}'"
    keys = [key for state in states for key in state.tensors]
    other = [text for pattern, text in OTHERS if any(re.search(pattern, key) for key in keys)]
    if other:
        parts.append(f"it looks like {other[0]}")
    enough = f"--allow-partial {int(fit.share * 1000) / 1000:.3f} takes it as it is, and every table says so"
    wanted = "" if least == 1 else f", {least:.3f} are asked for and {fit.share:.3f} are there"
    return _fault(path, f"{said}{wanted}: {'; '.join(parts)}; {enough}")


def ambiguous(path: Path, groups: list[Candidate]) -> Fault:
    """The fault of a file that can be read in several ways which differ."""
    ways = [
        f"--layout {one.layout.name} --prefix '{printable(one.prefix, 60)}'{_within(one)}" for one in groups
    ]
    return _fault(
        path, f"it can be read in {len(ways)} ways that differ; choose one of: {', or '.join(ways)}"
    )


def _within(one: Candidate) -> str:
    return f" (in {printable(one.state.where, 60)})" if one.state.within else ""


def _hint(states: list[State]) -> str:
    """What the keys of the largest dict have in common, and whose layout starts like that."""
    largest = max(states, key=lambda state: len(state.tensors))
    firsts = Counter(key.partition(".")[0] + "." for key in largest.tensors if "." in key)
    if not firsts:
        return "expected names such as layer1.0.conv1.weight"
    start, count = firsts.most_common(1)[0]
    total = len(largest.tensors)
    amount = f"all {total}" if count == total else f"{count} of {total}"
    said = f"{amount} keys of its dict '{printable(largest.where, 60)}' start with {printable(start, 60)}"
    near = next((one for one in layouts().values() if start in one.roots), None)
    return f"{said}: {near.name} layout, pass --layout {near.name}" if near else said


def _some(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:SHOWN])
    return shown + (", ..." if len(names) > SHOWN else "")


def _fault(path: Path, said: str) -> Fault:
    return Fault("weights-mismatch", f"{path}: {said}")
