"""What a job has to do: operations of networks and of clustering, pixels to read, and what was measured
elsewhere for trainers that are not ours. No torch here.

Heads, losses and optimisers are not counted: a few per cent, but for the wide heads of an AlexNet or VGG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.contract.protocol import Protocol
from pretrain.data.view import Input, View
from pretrain.train.recipe import Recipe
from zoo.plan import flops
from zoo.plan.devices import Precision

CACHED = 1 << 30  # bytes: sets whose decoded images fit are decoded once, as pretrain/data/loader keeps them
SVM_SECONDS = 53.0  # core-seconds of the whole grid on one map of VOC07 (docs/performance.md), by images^2
SVM_IMAGES = 5_011
SVM_CORES = 8  # that it is taken to keep busy: beyond, memory binds
FEATURES = 2048  # values of an average, as of a ResNet-50
# Seconds of one V100 for an image of a training step, from detectron2's model zoo: R50-C4 0.551 s and Mask
# R-CNN R50-FPN 0.261 s for 16 images on eight of them; sides of about 800 px.
DETECTION = {"faster_rcnn_c4": 0.551 * 8 / 16, "mask_rcnn_fpn": 0.261 * 8 / 16}
DETECTION_SIDE = 800


@dataclass(frozen=True)
class Images:
    """How many there are, and px of each as stored."""

    count: int
    px: float

    @property
    def kept(self) -> bool:
        """Whether their loader decodes them once."""
        return self.count * 3 * self.px <= CACHED


class Work(NamedTuple):
    """network: FLOPs at `precision`; products: FLOPs in fp32, of k-means, memories and neighbours; decoded,
    cut, coloured: px; v100: seconds of one of those in fp32; solver: core-seconds; together: whether all
    devices share it.
    """

    network: float = 0.0
    products: float = 0.0
    decoded: float = 0.0
    cut: float = 0.0
    coloured: float = 0.0
    v100: float = 0.0
    solver: float = 0.0
    precision: Precision = "fp32"
    together: bool = True


def pretraining(recipe: Recipe, images: Images) -> Work | None:
    """Of a whole training; None where the architecture is not known."""
    if not recipe.epochs:
        return Work()
    passes = sum(view.count * (_forward(recipe, view.size) or 0.0) for view in recipe.views)
    centre = _forward(recipe, recipe.input.size)
    if centre is None:
        return None
    seen = recipe.epochs * recipe.per_epoch(images.count) * recipe.batch_size
    swept, products = recipe.beside(images.count)
    area = sum(view.count * view.size**2 for view in recipe.views)
    return Work(
        network=(flops.TRAINING * passes + _targets(recipe)) * seen + centre * swept,
        products=products,
        decoded=images.px * (images.count if images.kept else seen + swept),
        cut=area * seen + recipe.input.size**2 * swept,
        coloured=seen * sum(v.count * v.size**2 for v in recipe.views if coloured(v)),
        precision=recipe.precision,
    )


def _forward(recipe: Recipe, side: int) -> float | None:
    return flops.forward(recipe.arch, side, recipe.input.sobel)


def coloured(view: View) -> bool:
    """Whether a view's colours change."""
    return any(view.jitter) or view.gray > 0 or view.blur > 0 or view.mix > 0


def _targets(recipe: Recipe) -> float:
    """FLOPs of an image through the network that is not trained."""
    sides = [view.size for view in recipe.views for _ in range(view.count)]
    return sum(_forward(recipe, side) or 0.0 for side in sides[: recipe.taught()])


Sizes = dict[str, Images]  # by role


@dataclass(frozen=True)
class Model:
    """A backbone; forward: FLOPs of one image at its input size."""

    arch: str
    input: Input
    forward: float

    def at(self, side: int, output_stride: int = 32) -> float:
        """FLOPs of an image of another size."""
        found = flops.forward(self.arch, side, self.input.sobel, output_stride)
        assert found is not None
        return found


def benchmark(protocol: Protocol, arch: str, given: Input, images: Sizes) -> Work | None:
    """Of a benchmark of a backbone; of a protocol that is not known here, one pass over all its images.

    None where the architecture is not known.
    """
    one = flops.forward(arch, given.size, given.sobel)
    if one is None:
        return None
    done = FAMILIES.get(protocol.family, _passed)(protocol, Model(arch, given, one), images)
    if done is None:
        return None
    return done._replace(together=protocol.together or bool(protocol.roots))


def _passed(protocol: Protocol, model: Model, images: Sizes) -> Work:
    """One pass over all images."""
    n = sum(role.count for role in images.values())
    decoded = sum(role.count * role.px for role in images.values())
    return Work(network=model.forward * n, decoded=decoded, cut=model.input.size**2 * n)


def _knn(protocol: Protocol, model: Model, images: Sizes) -> Work:
    pairs = images["train"].count * images["val"].count
    return _passed(protocol, model, images)._replace(products=2.0 * pairs * FEATURES)


def _linear(protocol: Protocol, model: Model, images: Sizes) -> Work:
    """Training images in every view and the test images, every epoch."""
    s = protocol.settings
    solvers = [s.solver] if hasattr(s, "solver") else [s.features, s.average, s.average_swav]
    epochs, train, val = max(solver.epochs for solver in solvers), images["train"], images["val"]
    passes = epochs * (len(s.views) * train.count + val.count)
    decoded = sum((1 if role.kept else epochs) * role.count * role.px for role in (train, val))
    colour = sum(coloured(view) for view in s.views) * epochs * train.count
    area = model.input.size**2
    return Work(model.forward * passes, 0.0, decoded, area * passes, area * colour, precision=s.precision)


def _svm(protocol: Protocol, model: Model, images: Sizes) -> Work:
    """Low-shot has its five maps in the cache where the whole SVM was there before: it counts as if not."""
    solver = 5 * SVM_SECONDS * (images["train"].count / SVM_IMAGES) ** 2
    return _passed(protocol, model, images)._replace(solver=solver)


def _semi(protocol: Protocol, model: Model, images: Sizes) -> Work:
    """The grid on all labelled images; the honest choice once more on most of them, tested on the others."""
    s, train, val = protocol.settings, images["train"], images["val"]
    settings = 1 if model.input.sobel and s.sobel is not None else len(s.lrs) * len(s.head_multipliers)
    again = s.honest and settings > 1
    shown = s.epochs * train.count * (1 + again * (1 - 1 / s.held_out))
    tested = val.count + again * train.count / s.held_out
    network = settings * model.forward * (flops.TRAINING * shown + tested)
    px = train.px * (train.count if train.kept else shown) + val.px * val.count
    area = model.input.size**2 * (shown + tested)
    return Work(network, 0.0, px, area, precision=s.precision)


def _detection(protocol: Protocol, model: Model, images: Sizes) -> Work | None:
    """From published seconds of a ResNet-50 at sides of 800 px, by operations; a tested image counts a third
    of one in training. None where the number of training images decides and is not declared.
    """
    s, (train, test) = protocol.settings, protocol.settings.counts
    if s.unit == "epochs" and not train:
        return None
    seen = s.length * (s.reference_batch if s.unit == "iterations" else train)
    whole = flops.forward("resnet50", DETECTION_SIDE)
    assert whole
    scale = model.at(max(s.train_sides)) / whole
    return Work(v100=DETECTION[s.model] * scale * (seen + test / flops.TRAINING))


def _segmentation(protocol: Protocol, model: Model, images: Sizes) -> Work:
    """The dilated backbone and the 3x3 convolutions of both heads, on crops; a test image counts as two."""
    s, last = protocol.settings, FEATURES
    widths = last * s.head_channels + s.head_channels**2 + (last + s.head_channels) * s.head_channels
    cells = (s.crop / s.output_stride) ** 2
    heads = 2.0 * 9 * cells * (widths + last // 2 * s.side_channels)
    one = model.at(s.crop, s.output_stride) + heads
    return Work(network=one * (flops.TRAINING * s.iterations * s.reference_batch + 2 * s.counts[1]))


FAMILIES: dict[str, Callable[[Protocol, Model, Sizes], Work | None]] = {
    "knn": _knn,
    "linear": _linear,
    "transfer": _linear,
    "voc_svm": _svm,
    "semi_supervised": _semi,
    "detection": _detection,
    "segmentation": _segmentation,
}
