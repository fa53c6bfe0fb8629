"""How keys are turned into ours, which are torchvision's: a list of replacements, each at one place of a
key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A key of what stands behind the backbone, or beside it, under any naming.
_BACKBONE = re.compile(
    r"(conv|bn|norm|gn|layer|stage|stem|res|features|downsample|attnpool|cls_token|pos_embed|patch_embed|blocks)\d*\b"
)


@dataclass(frozen=True)
class Naming:
    """anchor: name of the first convolution's weight; rules: (pattern at the start of a key, replacement),
    each applied once, in order; heads: patterns of keys that are no backbone's.
    """

    anchor: str
    rules: tuple[tuple[str, str], ...] = ()
    heads: tuple[str, ...] = ()

    def ours(self, key: str) -> str:
        """Our name of a key."""
        for pattern, new in self.rules:
            key = re.sub(pattern, new, key, count=1)
        return key

    def inside(self, key: str) -> bool:
        """Whether a key that has no place in an architecture looks like part of a backbone all the same."""
        if any(re.match(pattern, key) for pattern in self.heads):
            return False
        return bool(_BACKBONE.match(self.ours(key)))


TORCHVISION = Naming("conv1.weight")
FEATURES = Naming("features.0.weight")


def _children(first: int) -> Naming:
    """torch.nn.Sequential of a ResNet's children: the names are lost, their order stays. first: layer1's."""
    return Naming(
        "0.weight",
        (
            (r"^0\.", "conv1."),
            (r"^1\.", "bn1."),
            *((rf"^{i + first}\.", f"layer{i + 1}.") for i in range(4)),
            (r"\.shortcut\.", ".downsample."),
        ),
    )


# With ReLU and pooling; without pooling, as for CIFAR; without either.
SEQUENTIAL, UNPOOLED, SHORT_SEQUENTIAL = _children(4), _children(3), _children(2)
# kuangliu's CIFAR networks, and what was copied from them: shortcut for downsample.
SHORTCUT = Naming("conv1.weight", ((r"\.shortcut\.", ".downsample."),))

# nn.DataParallel around the convolutions alone.
PARALLEL_FEATURES = Naming("features.module.0.weight", ((r"^features\.module\.", "features."),))

DETECTRON2 = Naming(
    "stem.conv1.weight",
    (
        (r"^stem\.conv1\.norm\.", "bn1."),
        (r"^stem\.conv1\.", "conv1."),
        *((rf"^res{i + 1}\.", f"layer{i}.") for i in range(1, 5)),
        (r"\.conv(\d)\.norm\.", r".bn\1."),
        (r"\.shortcut\.norm\.", ".downsample.1."),
        (r"\.shortcut\.(?=weight$)", ".downsample.0."),
    ),
    heads=(r"stem\.fc\b",),
)

# Stages, their blocks (`layers`) and a block's convolutions (`layer`) are counted from 0.
TRANSFORMERS = Naming(
    "embedder.embedder.convolution.weight",
    (
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        *((rf"^encoder\.stages\.{i}\.layers\.", f"layer{i + 1}.") for i in range(4)),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
        *((rf"\.layer\.{i}\.convolution\.", f".conv{i + 1}.") for i in range(3)),
        *((rf"\.layer\.{i}\.normalization\.", f".bn{i + 1}.") for i in range(3)),
    ),
)

# Caffe2's blobs, as Detectron kept the networks of MSRA: batch norm is a scale and a shift.
_BRANCH = {"1": "downsample.0", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_NORM = {"1": "downsample.1", "2a": "bn1", "2b": "bn2", "2c": "bn3"}
CAFFE2 = Naming(
    "conv1_w",
    (
        (r"^conv1_w$", "conv1.weight"),
        (r"^res_conv1_bn_", "bn1_"),
        *(
            (rf"^res{i + 1}_(\d+)_branch{part}_bn_", rf"layer{i}.\1.{norm}_")
            for i in range(1, 5)
            for part, norm in _NORM.items()
        ),
        *(
            (rf"^res{i + 1}_(\d+)_branch{part}_w$", rf"layer{i}.\1.{conv}.weight")
            for i in range(1, 5)
            for part, conv in _BRANCH.items()
        ),
        (r"_s$", ".weight"),
        (r"_b$", ".bias"),
    ),
    heads=(r"fc1000", r"pred", r"conv1_b$"),
)
