"""What clusters of features look like: a gallery of their images, and a map of the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmarks.contract.pictures import CLUSTERS, COLUMNS, POINTS, Cluster, Gallery, Map
from benchmarks.pictures.kept import save, save_image
from pretrain.data import image
from pretrain.data.split import Split

SIDE = 48  # px of a thumbnail; a multiple of JPEG's blocks, so that neighbours do not bleed into each other
NEAREST = 8  # of COLUMNS
FEW = 30  # points, below which a neighbourhood embedding has nothing to work with
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def gallery(folder: Path, split: Split, x: Tensor, clusters: Tensor, seed: int) -> None:
    """Keeps the images of up to CLUSTERS clusters. x: unit features (N, D); clusters: (N,).

    Of many clusters those shown are spread evenly from the purest to the least pure.
    """
    assert split.labels is not None
    features, assigned = x.float().cpu(), clusters.cpu().numpy()
    ranked = _ranked(assigned, split.labels)
    shown = [ranked[i] for i in spread(len(ranked), CLUSTERS)]
    draw = np.random.default_rng(seed)
    sheet = Image.new("RGB", (COLUMNS * SIDE, max(1, len(shown)) * SIDE))
    rows = []
    for row, (purity, major, cluster) in enumerate(shown):
        members = np.flatnonzero(assigned == cluster)
        picked, nearest = chosen(features[torch.from_numpy(members)], members, draw)
        for column, i in enumerate(picked):
            sheet.paste(thumbnail(split, int(i)), (column * SIDE, row * SIDE))
        rows.append(Cluster(len(members), purity, split.classes[major][:200], nearest, len(picked)))
    save_image(folder / "gallery.jpg", sheet)
    how = f"{split.name}, k-means of the first restart"
    save(folder, Gallery("gallery.jpg", SIDE, len(ranked), how[:200], rows))


def _ranked(clusters: Ints, labels: Ints) -> list[tuple[float, int, int]]:
    """(purity, most frequent class, cluster), the purest first; of equals the larger, then the first."""
    found = []
    for cluster in np.unique(clusters):
        counts = np.bincount(labels[clusters == cluster])
        found.append((float(counts.max() / counts.sum()), int(counts.argmax()), int(cluster), counts.sum()))
    found.sort(key=lambda one: (-one[0], -one[3], one[2]))
    return [one[:3] for one in found]


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def chosen(x: Tensor, members: Ints, draw: np.random.Generator) -> tuple[list[int], int]:
    """Members of a cluster with features x (n, D): those nearest to the mean, then random others; and how
    many of the former.
    """
    order = torch.argsort(x @ x.mean(0), descending=True, stable=True).numpy()
    near, rest = members[order[:NEAREST]], members[order[NEAREST:]]
    others = np.sort(draw.permutation(rest)[: COLUMNS - NEAREST])
    return [int(i) for i in (*near, *others)], len(near)


def thumbnail(split: Split, i: int) -> Image.Image:
    """The centre square of an image, SIDE pixels wide."""
    return ImageOps.fit(image.read(split, i), (SIDE, SIDE), Image.Resampling.BICUBIC)


def features_map(folder: Path, split: Split, x: Tensor, seed: int) -> None:
    """Keeps a map of up to POINTS of the features x (N, D): t-SNE, of very few points their first two
    principal components.
    """
    assert split.labels is not None
    rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:POINTS])
    plane, how = flattened(x[torch.from_numpy(rows).to(x.device)].double().cpu().numpy())
    low, high = plane.min(0), plane.max(0)
    places = np.round((plane - low) / np.maximum(high - low, 1e-12), 4).clip(0, 1)
    labels = split.labels[rows]
    known, index = np.unique(labels, return_inverse=True)
    classes = [split.classes[label][:200] for label in known]
    x_, y_ = places.T.tolist()
    save(folder, Map(x_, y_, index.tolist(), classes, len(x), f"{split.name}, {how}"[:200]))


def flattened(x: Floats) -> tuple[Floats, str]:
    """Features (N, D) in the plane (N, 2), and how, in words. The same features give the same places."""
    centred = x - x.mean(0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(v[np.arange(len(v)), np.abs(v).argmax(1)])  # a direction has no sign of its own
    found = np.zeros((len(x), max(2, min(50, len(s)))))
    found[:, : min(50, len(s))] = (u * s * signs)[:, :50]
    if len(x) < FEW:
        return found[:, :2], "first two principal components"
    from sklearn.manifold import TSNE  # a second to import; only here

    perplexity = min(30.0, (len(x) - 1) / 3)
    begin = 1e-4 * found[:, :2] / max(float(found[:, 0].std()), 1e-12)
    embedding = TSNE(perplexity=perplexity, init=begin, random_state=0, n_jobs=1)
    return embedding.fit_transform(found), f"t-SNE (perplexity {perplexity:.3g}) of 50 principal components"
