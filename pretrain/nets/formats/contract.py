"""What a layout declares, what a reader may be told, and what reading tells. No torch here.

A layout is how one family of programs keeps a backbone in a file: in which dict, behind which prefix,
under which names, next to which other tensors, and how pixels reached the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pretrain.base.faults import Fault
from pretrain.base.settings import AbovePositive, Share, plain, settings
from pretrain.data.view import IMAGENET_MEAN, IMAGENET_STD, Input, Side
from pretrain.nets.formats.naming import FEATURES, TORCHVISION, Naming

if TYPE_CHECKING:
    from pretrain.nets.backbone import Backbone

ANY = "*"  # a dict of any name
Stride = Literal["3x3", "1x1"]
Order = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]
Spread = tuple[AbovePositive, AbovePositive, AbovePositive]


def _of_unit(values: Triple) -> Triple:
    if max(values) > 2:
        raise ValueError(
            "is for pixels in [0, 1]; divide what is for pixels to 255 by 255, mean and std alike"
        )
    return values


Word = Annotated[str, Field(max_length=100, pattern=r"^[\x21-\x7e]*$")]


@settings
class Flags:
    """What a file does not say, said by the user; None: the layout's default.

    layout: its name; prefix: of the backbone's keys, all of it; arch: the architecture's name;
    stride: which convolution of a bottleneck has it (1x1: ResNet v1, 3x3: v1.5); order: of colours in the
    first convolution; mean, std: for pixels in [0, 1], in that order of colours; size, resize: px, see
    `Input`; allow_partial: the least share of the backbone's tensors that must be in the file.
    """

    layout: Word | None = None
    prefix: Word | None = None
    arch: Word | None = None
    stride: Stride | None = None
    order: Order | None = None
    mean: Annotated[Triple, AfterValidator(_of_unit)] | None = None
    std: Annotated[Spread, AfterValidator(_of_unit)] | None = None
    size: Side | None = None
    resize: Side | None = None
    allow_partial: Share = 1.0

    @property
    def given(self) -> dict[str, Any]:
        """Those that were set."""
        return {name: value for name, value in plain(self).items() if value != getattr(_NONE, name)}


_NONE = Flags()


@dataclass(frozen=True)
class Defaults:
    """How pixels reach a network of this layout where the file does not say."""

    size: int = 224
    resize: int = 256
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    order: Order = "rgb"
    stride: Stride = "3x3"


def cut(size: int, resize: int) -> None:
    """Raises Fault where a centre crop is larger than the images that it is cut from."""
    if resize < size:
        said = f"a centre crop of {size} px does not fit into images of {resize} px"
        raise Fault("bad-config", f"resize {resize}: {said}; expected {size} or more, or a smaller size")


SMALL = Defaults(size=32, resize=32)  # networks with a 3x3 stem


@dataclass(frozen=True)
class Layout:
    """One way to keep a backbone in a file.

    within: names of the dict that holds the tensors, best first; '' is the file itself, '*' any;
    roots: prefixes of the backbone's keys there, best first, behind wrappers such as `module.`;
    signs: patterns of which each must be found at the start of some key, wrappers taken off;
    outer: names of which each must stand in the file's outermost dict;
    names: how the keys behind the prefix are turned into ours;
    small: defaults of networks with a 3x3 stem; twins: architectures that shapes take for others;
    folded: batch norm is kept as a scale and a shift, its statistics are in them;
    teacher: what is taken is an average of another network in the file, which has the same architecture.
    """

    name: str
    title: str
    within: tuple[str, ...] = ("",)
    roots: tuple[str, ...] = ("",)
    signs: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    names: tuple[Naming, ...] = (TORCHVISION, FEATURES)
    defaults: Defaults = Defaults()
    small: Defaults = SMALL
    twins: dict[str, str] = field(default_factory=dict)
    folded: bool = False
    teacher: bool = False

    @property
    def weight(self) -> int:
        """How much speaks for it once it is recognised."""
        return len(self.signs) + len(self.outer) + sum(map(bool, self.roots[:1]))


@dataclass(frozen=True)
class Report:
    """What of a file became the backbone. Names of matched, missing and wrong tensors are ours; those of
    ignored and unexpected ones the file's.

    expected: number of tensors of the architecture, batch counters aside; wrong: of another shape;
    unexpected: behind the prefix and of no place in the architecture; ignored: all others of the file;
    assumed: what shapes cannot tell, as sentences; warnings: signs of an untrained or collapsed network.
    """

    layout: str
    within: str
    prefix: str
    expected: int
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the backbone that was in the file, in [0, 1]; 1 is a full match and nothing strange."""
        return len(self.matched) / max(1, self.expected + len(self.unexpected))


@dataclass(frozen=True)
class Loaded:
    """A backbone in evaluation mode, fp32 on the CPU, with all that is needed to use it.

    sha256: of the tensors, batch counters at 0: equal for equal weights, whatever the layout.
    """

    backbone: Backbone
    arch: str
    input: Input
    report: Report
    sha256: str
