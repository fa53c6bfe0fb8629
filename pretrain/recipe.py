"""Recipes: everything that decides a pretraining run, as frozen dataclasses. No torch here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pretrain.faults import Fault, unknown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Input:
    """How pixels reach the backbone; travels with the weights, so every protocol prepares images alike.

    size: side in px that the model was trained at; resize: short side in px before a centre crop;
    mean, std: RGB, for pixels in [0, 1];
    sobel: the fixed two-channel edge front-end of DeepCluster after normalisation.
    """

    size: int
    resize: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    sobel: bool = False


@dataclass(frozen=True, kw_only=True)
class View:
    """One augmented view of an image. Sizes in px; probabilities and strengths as in the papers.

    geometry: `random-resized` crops an area of `scale` (share of the image) with aspect ratio 3/4 to 4/3;
    `center` resizes the short side to `resize` and crops the centre; `warp` resizes the short side to
    `resize` (0: not at all), then distorts to a square; `random-crop` takes a random square of `size` out of the
    centre square of `resize`.
    """

    size: int
    count: int = 1
    geometry: Literal["random-resized", "center", "warp", "random-crop"] = "random-resized"
    scale: tuple[float, float] = (0.08, 1.0)
    resize: int = 256
    flip: float = 0.5
    rotate: float = 0.0  # degrees, uniform in +-rotate
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # brightness, contrast, saturation, hue
    jitter_p: float = 1.0
    gray: float = 0.0  # probability
    mix: float = 0.0  # strength of a random 3x3 colour mixing, 0: none
    blur: float = 0.0  # probability of a Gaussian blur
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # px
    lighting: float = 0.0  # std of AlexNet's PCA colour noise


def centre_view(given: Input) -> View:
    """Short side to `resize`, centre crop of `size`, nothing random: the evaluation view of a backbone."""
    return View(size=given.size, geometry="center", resize=given.resize, flip=0.0)


def sized(view: View, given: Input) -> View:
    """The view at the size that a backbone was trained at: a protocol's own sizes are those of 224-px models."""
    return dataclasses.replace(view, size=given.size, resize=given.resize)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Learning rate times `gamma` at each milestone (epochs)."""

    milestones: tuple[int, ...] = ()
    gamma: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up from `start` to 1 over `warmup` epochs, then cosine to `final`: factors of the peak rate."""

    warmup: int = 0
    start: float = 0.0
    final: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A pretraining run. A method's own constants are fields of its subclass.

    name: unique over the zoo; version: raised by hand when the arithmetic of the method changes;
    batch_size: images per step over all processes; lr: at that batch size, no hidden scaling;
    precision: of the network's forward and backward (memories, centroids and losses are fp32).
    """

    name: str
    version: int = 1
    arch: str
    input: Input
    views: tuple[View, ...]
    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.9
    weight_decay: float
    optimizer: Literal["sgd", "larc"] = "sgd"
    schedule: Step | Cosine = field(default=Step())
    precision: Literal["bf16", "fp32"] = "bf16"
    sync_bn: bool = False
    bn_group: int = 0  # with sync_bn: images whose batch-norm statistics are shared, 0: the whole batch
    log_every: int = 50  # iterations
    check_every: int = 0  # iterations between checks of the method's invariants, 0: only when replicas are compared


def facts(value: Any) -> Any:
    """A recipe or settings object as JSON values, with the name of its class where the type matters."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: facts(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **named}
    if isinstance(value, (tuple, list)):
        return [facts(item) for item in value]
    if isinstance(value, dict):
        return {str(key): facts(item) for key, item in value.items()}
    return value


# Reporting intervals and the like: they decide what is printed, never a number.
_CIRCUMSTANCES = ("name", "log_every", "check_every")


def key(value: Any, **more: Any) -> str:
    """Hash of what decides a number: SHA-256 hex over canonical JSON of the facts, names left out."""
    decisive = {k: v for k, v in facts(value).items() if k not in _CIRCUMSTANCES}
    text = json.dumps({"facts": decisive, **facts(more)}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def override(value: Any, changes: dict[str, Any], where: str) -> Any:
    """The same dataclass with fields replaced; `a.b` reaches into a field, `a.0.b` into an item of a tuple.

    Raises Fault on an unknown key (naming the nearest), a value of another type or not among those allowed, or a number
    that is not finite.
    """
    for path, raw in changes.items():
        value = _set(value, path.split("."), raw, f"{where}.{path}")
    return value


def _set(value: Any, path: list[str], raw: Any, where: str) -> Any:
    fields = [f.name for f in dataclasses.fields(value)]
    if path[0] not in fields:
        raise unknown("setting", path[0], fields, where)
    old = getattr(value, path[0])
    new = _like(old, raw, where) if len(path) == 1 else _inside(old, path[1:], raw, where)
    hint = get_type_hints(type(value))[path[0]]
    if get_origin(hint) is Literal and new not in get_args(hint):
        raise Fault("bad-config", f"{where}: expected one of {', '.join(map(str, get_args(hint)))}, got {new!r}")
    return dataclasses.replace(value, **{path[0]: new})


def _inside(old: Any, path: list[str], raw: Any, where: str) -> Any:
    """`old` with one of its fields, or a field of its item number path[0], replaced."""
    if dataclasses.is_dataclass(old):
        return _set(old, path, raw, where)
    if not (isinstance(old, tuple) and path[0].isdigit() and int(path[0]) < len(old) and len(path) > 1):
        raise Fault("bad-config", f"{where}: {old!r} has no field '{path[0]}'")
    at = int(path[0])
    return (*old[:at], _inside(old[at], path[1:], raw, where), *old[at + 1 :])


def _like(old: Any, raw: Any, where: str) -> Any:
    """`raw` as the type of `old`; text (from the command line) is parsed, other values must already fit."""
    if isinstance(raw, str) and not isinstance(old, str):
        try:
            raw = json.loads(raw.lower() if raw.lower() in ("true", "false") else raw)
        except json.JSONDecodeError:
            raise Fault("bad-config", f"{where}: expected a value like {old!r}, got '{raw}'") from None
    if not _finite(raw):
        raise Fault("bad-config", f"{where}: expected finite numbers like {old!r}, got {raw!r}")
    if isinstance(old, tuple) and isinstance(raw, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in raw)
    if isinstance(old, float) and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if type(raw) is not type(old):
        raise Fault("bad-config", f"{where}: expected {type(old).__name__} like {old!r}, got {raw!r}")
    return raw


def _finite(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
