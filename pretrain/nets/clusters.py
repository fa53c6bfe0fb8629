"""What a clustering method has learnt beside its backbone: `clusters.safetensors`, in the model's folder.

    z    the backbone's features through the projection (linear, scale, ReLU, unit length, as the header says)
    d    the distance of z (B, D) to each of the K centroids of a head, by the metric; the nearest wins

The header names the digest of the backbone that the file belongs to. It is no part of the backbone's hash,
and no benchmark reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.settings import plain, settings
from pretrain.nets.backbone import Backbone
from pretrain.nets.checkpoint import Name, weights_hash
from pretrain.nets.heads import Unit

NAME = "clusters.safetensors"
SCHEMA = "zoo.clusters/1"
Metric = Literal["l2", "cosine", "dot", "classifier"]
Kind = Literal["linear", "scale", "relu", "unit"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1, le=1 << 30)]


@settings
class Meta:
    """What the header says. layers: of the projection; pool: kernel and stride of the max-pooling before it,
    where it reads the last map; backbone, sha256: digests of the backbone's tensors and of these.
    """

    method: Name
    metric: Metric
    layers: tuple[Kind, ...]
    pool: tuple[int, int] | None
    heads: Count
    clusters: Count
    dim: Count
    backbone: Digest
    sha256: Digest


_META = TypeAdapter(Meta)


@dataclass(frozen=True)
class Layer:
    """One step of a projection. linear: x a^T + b; scale: x a + b; relu and unit need no numbers."""

    kind: Kind
    a: Tensor | None = None
    b: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.kind == "relu":
            return x.relu()
        if self.kind == "unit":
            return F.normalize(x)
        assert self.a is not None
        assert self.b is not None
        return F.linear(x, self.a, self.b) if self.kind == "linear" else x * self.a + self.b


@dataclass(frozen=True)
class Clustering:
    """How features become clusters. centroids: (Q, K, D) of Q heads; bias: (Q, K), of a classifier.

    Distances, smaller is nearer. l2: Euclidean; cosine: 1 - z . C; dot: - z . C; classifier: the negative log
    of the share that the softmax gives.
    """

    metric: Metric
    centroids: Tensor
    layers: tuple[Layer, ...] = ()
    bias: Tensor | None = None
    pool: tuple[int, int] | None = None

    @torch.no_grad()
    def project(self, backbone: Backbone, x: Tensor) -> Tensor:
        """z (B, D) fp32 of normalised images (B, 3, H, W)."""
        if self.pool is None:
            z: Tensor = backbone(x).float()
        else:
            z = F.max_pool2d(backbone.stages(x)[-1], *self.pool).flatten(1).float()
        for layer in self.layers:
            z = layer(z)
        return z

    @torch.no_grad()
    def distances(self, z: Tensor, head: int = 0) -> Tensor:
        """(B, K) fp32 of z (B, D) to the centroids of a head."""
        c = self.centroids[head]
        if self.metric == "l2":
            far: Tensor = torch.cdist(z, c, compute_mode="donot_use_mm_for_euclid_dist")
            return far
        scores = z @ c.T
        if self.metric == "classifier":
            assert self.bias is not None
            log: Tensor = F.log_softmax(scores + self.bias[head], 1)
            return -log
        return 1 - scores if self.metric == "cosine" else -scores

    def to(self, device: torch.device) -> Clustering:
        """The same on a device."""
        moved = {name: one.to(device) for name, one in tensors(self).items()}
        return _built(self.metric, tuple(layer.kind for layer in self.layers), self.pool, moved)


def projection(*modules: nn.Module) -> tuple[Layer, ...]:
    """The layers of a neck in eval mode. Batch norm becomes its scale and shift, dropout is nothing.

    Raises ValueError on a module of another kind.
    """
    return tuple(layer for module in modules for layer in _layers(module))


def _layers(module: nn.Module) -> Iterator[Layer]:
    if isinstance(module, nn.Sequential):
        for inner in module:
            yield from _layers(inner)
    elif isinstance(module, nn.Linear):
        bias = torch.zeros(module.out_features) if module.bias is None else module.bias
        yield Layer("linear", _kept(module.weight), _kept(bias))
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        yield _scale(module)
    elif isinstance(module, nn.ReLU):
        yield Layer("relu")
    elif isinstance(module, Unit):
        yield Layer("unit")
    elif not isinstance(module, (nn.Identity, nn.Dropout)):
        raise ValueError(f"clusters: no projection is kept of a {type(module).__name__}")


def _scale(norm: nn.modules.batchnorm._BatchNorm) -> Layer:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    a = (norm.running_var.double() + norm.eps).rsqrt()
    a = a if norm.weight is None else a * norm.weight.double()
    b = -norm.running_mean.double() * a
    b = b if norm.bias is None else b + norm.bias.double()
    return Layer("scale", _kept(a.float()), _kept(b.float()))


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().contiguous().clone()


def tensors(clustering: Clustering) -> dict[str, Tensor]:
    """All tensors by the names that they have in the file."""
    found = {"centroids": clustering.centroids}
    if clustering.bias is not None:
        found["bias"] = clustering.bias
    for i, layer in enumerate(clustering.layers):
        if layer.a is not None and layer.b is not None:
            found |= {f"layers.{i}.a": layer.a, f"layers.{i}.b": layer.b}
    return found


def save(path: Path, clustering: Clustering, method: str, backbone: str) -> Meta:
    """Writes the file, absent or complete; backbone: the digest of its weights. Raises Fault (nan)."""
    from safetensors.torch import save_file

    state = {name: _kept(one) for name, one in tensors(clustering).items()}
    for name, one in state.items():
        if not bool(one.isfinite().all()):
            raise Fault("nan", f"clusters of {method}: '{name}' is not finite; nothing was saved")
    q, k, d = clustering.centroids.shape
    kinds = tuple(layer.kind for layer in clustering.layers)
    digest = weights_hash(state)
    meta = Meta(
        method=method, metric=clustering.metric, layers=kinds, pool=clustering.pool,
        heads=q, clusters=k, dim=d, backbone=backbone, sha256=digest,
    )  # fmt: skip
    header = {"schema": SCHEMA, "meta": json.dumps(plain(meta), sort_keys=True)}
    files.write(path, lambda aside: save_file(state, aside, metadata=header))
    return meta


def keep(folder: Path, clustering: Clustering | None, method: str, backbone: str) -> None:
    """Writes a model's clusters beside its backbone, where its method has some. Raises Fault."""
    if clustering is not None:
        save(folder / NAME, clustering, method, backbone)


def describe(path: Path) -> Meta:
    """What the header says. Raises Fault where there is no such file, or it is another."""
    return _header(path)[0]


def load(path: Path) -> tuple[Meta, Clustering]:
    """The header and the clustering, verified, on the CPU. Raises Fault as `describe` does."""
    meta, state = _header(path, whole=True)
    if weights_hash(state) != meta.sha256:
        raise Fault("weights-corrupt", f"{path}: its tensors differ from its header's digest; {_AGAIN}")
    try:
        found = _built(meta.metric, meta.layers, meta.pool, state)
    except KeyError as error:
        raise Fault("weights-corrupt", f"{path} lacks the tensor {error}; {_AGAIN}") from None
    if tuple(found.centroids.shape) != (meta.heads, meta.clusters, meta.dim):
        raise Fault("weights-corrupt", f"{path}: centroids of another shape than its header says; {_AGAIN}")
    return meta, found


_AGAIN = "delete it and run the pretraining again"


def _header(path: Path, whole: bool = False) -> tuple[Meta, dict[str, Tensor]]:
    if not path.is_file():
        raise Fault("data-missing", f"{path} is not there")
    try:
        with safe_open(path, "pt") as file:
            said: dict[str, Any] = file.metadata() or {}
            if said.get("schema") != SCHEMA:
                raise ValueError(f"schema {said.get('schema')}, this version reads {SCHEMA}")
            names = file.keys() if whole else ()
            return _META.validate_json(said["meta"]), {name: file.get_tensor(name) for name in names}
    except ValidationError as error:
        first = error.errors()[0]
        why = f"its header's {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        why = str(error)
    raise Fault("weights-corrupt", f"{path} holds no clusters of this zoo: {why}; {_AGAIN}")


def _built(
    metric: Metric, kinds: tuple[Kind, ...], pool: tuple[int, int] | None, state: dict[str, Tensor]
) -> Clustering:
    """The clustering of these tensors. Raises KeyError where one is missing."""
    layers = tuple(
        Layer(kind, state[f"layers.{i}.a"], state[f"layers.{i}.b"])
        if kind in ("linear", "scale")
        else Layer(kind)
        for i, kind in enumerate(kinds)
    )
    bias = state["bias"] if metric == "classifier" else None
    return Clustering(metric, state["centroids"], layers, bias, pool)
