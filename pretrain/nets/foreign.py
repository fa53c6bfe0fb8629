"""Any module as a backbone: networks of other programs, evaluated as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.base.faults import Fault, printable
from pretrain.base.settings import build, plain
from pretrain.data.view import IMAGENET_MEAN, IMAGENET_STD, Input
from pretrain.nets import checkpoint
from pretrain.nets.backbone import Backbone
from pretrain.nets.formats.contract import cut
from pretrain.nets.names import FOREIGN

Triple = tuple[float, float, float]
Maps = Callable[[Tensor], Sequence[Tensor]]
CROP = 0.875  # side of the centre crop in the short side, as networks for ImageNet are tested
SMALL = 64  # px up to which nothing is cropped


class Foreign(Backbone):
    """A module that turns images (B, 3, H, W) into features (B, D), or into a map (B, C, H', W') that is
    averaged.

    Its output is its one map, the last (a vector is a map of one place), so that protocols on Feature1 to
    Feature4 say that it has none. maps: a function of the images that gives five maps, finest first; the
    feature then still is the module's.
    """

    def __init__(self, module: nn.Module, given: Input, name: str, maps: Maps | None = None) -> None:
        super().__init__()
        self.module, self.input, self.name, self._maps = module, given, name, maps
        self.small_stem = given.size <= SMALL
        self.dims, self.dim = [], 0
        self._look()

    @property
    def arch(self) -> str:
        """What stands for the architecture in records: foreign:NAME."""
        return FOREIGN + self.name

    def identity(self) -> dict[str, Any]:
        """What of the weights decides a number, as `checkpoint.Meta.identity` says it of a file."""
        return {"weights": checkpoint.hashed(self), "arch": self.arch, "input": plain(self.input)}

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five maps, or the module's output alone."""
        return [self._last(x)] if self._maps is None else list(self._maps(x))

    def depths(self, x: Tensor) -> list[Tensor]:
        """The maps, then the module's output."""
        if self._maps is None:
            last = self._last(x)
            return [last, last]
        return [*self._maps(x), self._last(x)]

    def _last(self, x: Tensor) -> Tensor:
        out = self.module(x)
        if not isinstance(out, Tensor) or out.ndim not in (2, 4) or len(out) != len(x):
            shown = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise Fault(
                "bad-config",
                f"module '{self.name}': expected features (N, D) or a map (N, C, H, W) of {tuple(x.shape)}, "
                f"got {shown}; wrap it in a module that gives one tensor",
            )
        return out if out.ndim == 4 else out[:, :, None, None]

    @torch.no_grad()
    def _look(self) -> None:
        """Sees what the module gives for two blank images of its size; its training mode stays."""
        modes = {module: module.training for module in self.module.modules()}
        one = next((p for p in (*self.module.parameters(), *self.module.buffers())), torch.zeros(0))
        blank = torch.zeros(2, 3, self.input.size, self.input.size, device=one.device)
        self.module.eval()
        try:
            *maps, last = self.depths(blank)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            said = printable(" ".join(str(error).split()), 200)
            raise Fault(
                "bad-config",
                f"module '{self.name}' fails on images {tuple(blank.shape)} ({said}); give another size",
            ) from error
        finally:
            for module, training in modes.items():
                module.training = training
        if self._maps is not None and [m.ndim for m in maps] != [4] * 5:
            shown = [tuple(m.shape) for m in maps]
            raise Fault(
                "bad-config", f"maps of module '{self.name}': expected five (N, C, H, W), got {shown}"
            )
        self.dims, self.dim = [m.shape[1] for m in maps], last.shape[1]


def foreign(
    module: nn.Module,
    *,
    size: int,
    mean: Triple = IMAGENET_MEAN,
    std: Triple = IMAGENET_STD,
    name: str = "module",
    resize: int | None = None,
    maps: Maps | None = None,
) -> Foreign:
    """A backbone around a module of any kind; the module itself is kept, not a copy.

    size: px of its images; mean, std: of RGB in [0, 1]; name: of the model, as records show it; resize: px of
    the short side before the centre crop, by default size / 0.875 (size itself up to 64 px); maps: five maps
    of images, if it has any.

    Raises:
        Fault: bad-config, for a name that is none, values out of bounds, or an output that is no feature.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise Fault("bad-config", f"model name {name!r} must be 1-80 letters, digits, '.', '_' or '-'")
    short = resize or (size if size <= SMALL else round(size / CROP))
    cut(size, short)
    given = build(Input, {"size": size, "resize": short, "mean": mean, "std": std}, name)
    return Foreign(module, given, name, maps)
