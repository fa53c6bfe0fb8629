"""What a model says of every image of a folder, in the order of the files' names, by parts that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.features import channels_last, pool
from pretrain.base.faults import Fault, Reason
from pretrain.base.identity import digest, shortened
from pretrain.base.numerics import numerics
from pretrain.data import image
from pretrain.data.fingerprint import state
from pretrain.data.loader import Loader, open_loader
from pretrain.data.split import Split, from_folder, require
from pretrain.data.view import centre_view
from pretrain.nets.backbone import MAPS, Backbone
from pretrain.nets.clusters import Clustering
from zoo.clusters.model import Model
from zoo.clusters.rows import Growing, Part, Shape, Values, finite

Take = Callable[[Backbone, Tensor], Tensor]  # normalised images (B, 3, S, S) -> (B, width)
Report = Callable[[int, int], None]
BATCH = 256
BAD: tuple[Reason, ...] = ("data-missing", "data-corrupt")
AVERAGE, NECK = "avg", "neck"
LAYERS = (AVERAGE, *(f"res{i}" for i in range(1, MAPS + 1)), NECK)


def images(folder: Path) -> Split:
    """Every image below a folder, at any depth, sorted by name. Raises Fault (data-missing)."""
    return from_folder(folder.name or "images", require(folder, "images at any depth below the folder"))


def taking(layer: str, model: Model) -> Take:
    """What is taken of a backbone: avg, its feature; res1 to res5, a map pooled to at most 9,216 values, as
    the linear protocols see it; neck, what its clusters are found by. Raises Fault.
    """
    if layer not in LAYERS:
        raise Fault("bad-config", f"--layer: expected one of {', '.join(LAYERS)}, got '{layer}'")
    if layer == AVERAGE:
        return lambda backbone, x: backbone(x)
    if layer == NECK:
        return projecting(model)
    depth, have = int(layer[-1]), len(model.backbone.dims)
    if depth <= MAPS - have:
        raise Fault("bad-config", f"--layer {layer}: the backbone gives only the last {have} of {MAPS} maps")
    return lambda backbone, x: pool(backbone.stages(x))[depth - 1 - MAPS].flatten(1)


def projecting(model: Model) -> Take:
    """The projection that was kept beside a model. Raises Fault where there is none."""
    if model.clustering is None:
        said = f"no projection was kept beside it; {_again(model.path)}take another --layer"
        raise Fault("data-missing", f"{model.path}: {said}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.clustering.to(device).project


def advice(path: Path) -> str:
    """What to do where no clusters are kept beside a model."""
    return f"{_again(path)}give --clusters K, and k-means finds K clusters in the images themselves"


def _again(path: Path) -> str:
    """How a model that was trained here gets what its method keeps; '' of any other file."""
    record = path.with_name("result.json")
    if not record.exists():
        return ""
    said = f"delete {record} and run `zoo run` for it again, which trains nothing while its state.pt is there"
    return f"{said} (its method must have clusters), or "


def nearest(clustering: Clustering, z: Tensor, head: int) -> Tensor:
    """(B, 4) float64: nearest centroid, its distance, the second nearest, its distance; the lowest number
    wins a tie. NaN where there is but one.
    """
    distances = clustering.distances(z, head).double()
    found = distances.new_full((len(z), 4), float("nan"))
    for at in range(0, min(4, 2 * distances.shape[1]), 2):
        best = distances.min(1).values
        index = (distances == best[:, None]).int().argmax(1)
        found[:, at], found[:, at + 1] = index.double(), best
        distances = distances.scatter(1, index[:, None], float("inf"))
    return found


@dataclass(frozen=True)
class Reading:
    """A folder on its way through a model. what: names `take` in words; skip_bad: whether images that cannot
    be read are left out.
    """

    model: Model
    split: Split
    take: Take
    what: str
    dtype: str = "float32"
    skip_bad: bool = False

    def into(self, target: Path, report: Report) -> Growing:
        """The array of all images, complete, in the working files beside a target. Raises Fault: nan, what
        the reader says of a bad image, disk-full.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        backbone = self.model.backbone.eval().to(device).to(memory_format=torch.channels_last)
        given = backbone.input
        loader = open_loader(self.split, [centre_view(given)], given, 0, device)
        with numerics("fp32"), torch.no_grad():
            width = self.take(backbone, torch.zeros(2, 3, given.size, given.size, device=device)).shape[1]
            growing = Growing(target, self._identity(), Shape(len(self.split), width, self.dtype))
            growing.fill(lambda first, last: self._part(backbone, loader, first, last, width), report)
        if len(growing.bad) == len(self.split):
            first = growing.bad[min(growing.bad)]
            growing.forget()
            raise Fault("data-corrupt", f"{self.split.root}: none of its images can be read; {first}")
        return growing

    def _identity(self) -> str:
        """Of weights, images and arithmetic: files count by name and state."""
        listed = hashlib.sha256()
        for i, name in enumerate(self.split.files):
            now = state(str(self.split.path(i)))
            listed.update(f"{name}\0{now}\n".encode(errors="surrogateescape"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        what = [self.model.identity, self.what, self.dtype, self.skip_bad, torch.__version__, device]
        return digest([*what, BATCH, shortened(listed)])

    def _part(self, backbone: Backbone, loader: Loader, first: int, last: int, width: int) -> Part:
        ids = np.arange(first, last, dtype=np.int64)
        try:
            return Part(self._values(backbone, loader, ids), {})
        except Fault as fault:
            if fault.reason not in BAD:
                raise
            if not self.skip_bad:
                raise Fault(fault.reason, f"{fault}; or leave it out with --skip-bad") from None
        bad = {int(i): said for i in ids if (said := _wrong(self.split, int(i)))}
        values = np.full((last - first, width), np.nan, dtype=self.dtype)
        good = np.array([i for i in ids if i not in bad], dtype=np.int64)
        if len(good):
            values[good - first] = self._values(backbone, loader, good)
        return Part(values, bad)

    def _values(self, backbone: Backbone, loader: Loader, ids: npt.NDArray[np.int64]) -> Values:
        found = [
            self.take(backbone, channels_last(batch.views[0])).cpu().numpy()
            for batch in loader.batches(ids, BATCH, epoch=0)
        ]
        values: Values = np.concatenate(found)
        ahead = values if self.dtype == "float32" else values[:, :2]  # of two clusters the second may be none
        if (row := finite(ahead)) >= 0:
            raise Fault(
                "nan", f"{self.what} of {self.split.path(int(ids[row]))} is not finite; check the weights"
            )
        return values


def _wrong(split: Split, i: int) -> str:
    """What is wrong with an image, '' where nothing is."""
    try:
        image.read(split, i)
    except Fault as fault:
        return str(fault)
    return ""
