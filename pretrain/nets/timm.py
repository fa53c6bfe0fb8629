"""Networks of timm (pytorch-image-models, Wightman 2019) as backbones: `timm:NAME`. timm is optional."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from pretrain.base.faults import Fault, printable
from pretrain.data.view import Input
from pretrain.nets.backbone import MAPS, Backbone
from pretrain.nets.names import TIMM
from pretrain.nets.sobel import Sobel

if TYPE_CHECKING:
    from torch._subclasses.fake_tensor import FakeTensorMode

# What lets a network see images of another size than it was made for; each is tried, for none knows them all.
SIZES: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class Timm(Backbone):
    """A network of timm without its classifier, its tensors under timm's names behind `net.`.

    Its maps are chosen by `depths_of`. Its feature is timm's own, pooled and before the classifier, which
    may be another number of channels than the last map has.
    """

    def __init__(self, net: nn.Module, given: Input) -> None:
        super().__init__()
        self.input, self.net = given, net
        self.sobel = Sobel() if given.sobel else None
        self.dims, self._indices, self._again = depths_of(net)
        self.dim = int(getattr(net, "head_hidden_size", None) or getattr(net, "num_features"))  # noqa: B009

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps (B, C_i, H_i, W_i), finest first."""
        return self.depths(x)[:-1]

    def depths(self, x: Tensor) -> list[Tensor]:
        """The maps, then timm's pooled feature as a map of one place."""
        if self.sobel is not None:
            x = self.sobel(x)
        net: Any = self.net
        try:
            last, maps = net.forward_intermediates(x, indices=self._indices, output_fmt="NCHW")
        except AssertionError as error:  # how timm says that windows or patches do not fit
            cfg, side = net.pretrained_cfg, x.shape[-1]
            said = f"timm:{cfg.get('architecture', '')} takes no images of {side} px ({error})"
            raise Fault("bad-config", f"{said}; it was made for {cfg['input_size'][-1]} px") from error
        feature = net.forward_head(last, pre_logits=True)
        return [*maps[:1] * self._again, *maps, feature.flatten(1)[:, :, None, None]]


def depths_of(net: nn.Module) -> tuple[list[int], list[int], int]:
    """Channels of the five maps, timm's indices of those taken, and how often the first of them stands again.

    Of a pyramid the last five; one of four stages (ConvNeXt, Swin) has its first stage as Feature1, too. Of
    blocks that are all of one stride (vision transformers, mixers) those at a fifth, two, three, four fifths
    and the end of the depth, rounded.
    """
    stages: Sequence[Any] = list(getattr(net, "feature_info", None) or ())
    count, strides = len(stages), {one["reduction"] for one in stages}
    if count > MAPS and len(strides) == 1:
        taken = [max(1, math.floor(count * k / MAPS + 0.5)) - 1 for k in range(1, MAPS + 1)]
    else:
        taken = list(range(max(0, count - MAPS), count))
    again = MAPS - len(taken)
    channels = [int(stages[i]["num_chs"]) for i in taken]
    return channels[:1] * again + channels, taken, again


def build(arch: str, given: Input) -> Timm:
    """An untrained network of timm. Raises Fault (dependency-missing, bad-config)."""
    return Timm(made(arch, given), given)


def made(arch: str, given: Input, pretrained: bool = False) -> Any:
    """timm's own network without a classifier. Raises Fault on an unknown name, or one without maps."""
    timm, name = library(arch), arch.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]) or "/" in name:
        near = timm.list_models(f"*{name.partition('.')[0]}*")[:5] or timm.list_models(f"{name[:6]}*")[:5]
        said = f"; did you mean {', '.join(near)}?" if near else ""
        raise Fault("bad-config", f"timm {timm.__version__} has no network '{printable(name, 60)}'{said}")
    with unset_fake_temporarily() as mode:  # timm computes with numbers of tensors while it builds
        net = _created(timm, name, 2 if given.sobel else 3, pretrained)
    if mode is not None:
        net._apply(cast("FakeTensorMode", mode).from_tensor)
    if not all(hasattr(net, one) for one in ("forward_intermediates", "forward_head", "feature_info")):
        raise Fault("bad-config", f"{arch} gives no maps of its stages (timm's forward_intermediates)")
    return net


def _created(timm: Any, name: str, channels: int, pretrained: bool) -> Any:
    for more in SIZES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return timm.create_model(
                    name, pretrained=pretrained, num_classes=0, in_chans=channels, **more
                )
        except TypeError as error:
            unknown = error
        except RuntimeError as error:
            if "tag" not in str(error):
                raise
            raise Fault("bad-config", f"timm:{name}: {printable(str(error), 200)}") from error
    raise unknown


def library(arch: str) -> Any:
    """The package. Raises Fault (dependency-missing) where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        said = f"{arch} needs the package {error.name or 'timm'}; run `pip install timm`"
        raise Fault("dependency-missing", said) from None


def prepared(net: Any) -> tuple[Input, str]:
    """How pixels reach a network as timm's data config says, and the name of its interpolation."""
    config = importlib.import_module("timm.data").resolve_data_config({}, model=net)
    size = int(config["input_size"][-1])
    resize = max(size, math.floor(size / config["crop_pct"]))
    given = Input(size=size, resize=resize, mean=tuple(config["mean"]), std=tuple(config["std"]))
    return given, str(config["interpolation"])
