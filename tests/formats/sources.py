"""One backbone, kept as every program keeps it: what tests of layouts read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretrain.data.view import Input
from pretrain.nets.archs import build
from pretrain.nets.backbone import Backbone
from tests.formats.naming import (
    State,
    behind,
    detectron2,
    head,
    lightning,
    other,
    sequential,
    training,
    transformers,
    twins,
    vissl,
)


def trained(arch: str, seed: int = 1, sobel: bool = False) -> Backbone:
    """Seeded weights with statistics as if of training."""
    net = build(arch, Input(size=64, resize=64, sobel=sobel), seed)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.normal_(generator=generator).mul_(0.1)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(500)
    return net.eval()


# Name of a fixture: (name of its layout, what is saved).
LAYOUTS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "torchvision": ("torchvision", lambda s: {**s, **head("fc.weight", "fc.bias")}),
    "plain": ("plain", dict),
    "plain-nested": ("plain", lambda s: {"a": {"b": {"module." + n: t for n, t in s.items()}}}),
    "compiled": ("plain", lambda s: {"model": behind("_orig_mod.module.", s)}),
    "swav": (
        "swav",
        lambda s: behind("module.", {**s, **head("projection_head.0.weight", "prototypes.weight")}),
    ),
    "swav-training": (
        "swav",
        lambda s: training(behind("module.", {**s, **head("projection_head.0.weight", "prototypes.weight")})),
    ),
    "deepclusterv2": (
        "deepclusterv2",
        lambda s: behind(
            "module.", {**s, **head("projection_head.0.weight", "prototypes.prototypes0.weight")}
        ),
    ),
    "vissl": ("vissl", vissl),
    "vissl-features": ("vissl", lambda s: vissl(s, feature=True)),
    "vissl-converted": ("vissl", lambda s: {"model_state_dict": behind("_feature_blocks.", s)}),
    "mmselfsup0": (
        "mmselfsup0",
        lambda s: {
            "meta": {"epoch": 1},
            "state_dict": {**behind("backbone.", s), **head("neck.fc0.weight", "head.fc_cls.weight")},
            "optimizer": {},
        },
    ),
    "mmselfsup0-moco": (
        "mmselfsup0",
        lambda s: {
            "meta": {},
            "state_dict": {
                **behind("encoder_q.0.", s),
                **behind("encoder_k.0.", other(s)),
                **head("encoder_q.1.mlp.0.weight", "queue"),
            },
        },
    ),
    "mmselfsup1": (
        "mmselfsup1",
        lambda s: {
            "meta": {},
            "message_hub": {},
            "param_schedulers": [],
            "state_dict": {
                **behind("backbone.", s),
                **head("neck.fc0.weight", "head.loss.prototypes.weight", "memory_bank.centroids"),
            },
        },
    ),
    "openselfsup-extracted": (
        "openselfsup-extracted",
        lambda s: {"state_dict": dict(s), "author": "OpenSelfSup"},
    ),
    "mmpretrain": (
        "mmpretrain",
        lambda s: {
            "meta": {},
            "state_dict": {**behind("backbone.", s), **head("head.layers.fc.weight")},
        },
    ),
    "mmpretrain-swav": (
        "mmpretrain",
        lambda s: {
            "meta": {},
            "state_dict": {
                **behind("backbone.", s),
                **head("head.loss_module.prototypes.weight", "neck.norm.weight"),
            },
        },
    ),
    "timm-training": (
        "timm-training",
        lambda s: {
            "epoch": 2,
            "version": 2,
            "arch": "resnet50",
            "state_dict": other(s),
            "state_dict_ema": dict(s),
        },
    ),
    "moco": (
        "moco",
        lambda s: training(
            behind(
                "module.",
                {
                    **behind("encoder_q.", s),
                    **behind("encoder_k.", other(s)),
                    **head("encoder_q.fc.0.weight", "queue", "queue_ptr"),
                },
            )
        ),
    ),
    "moco-model": (
        "moco",
        lambda s: {"model": twins("encoder_q.", "encoder_k.", s), "epoch": 9},
    ),
    "pixpro": (
        "pixpro",
        lambda s: {
            "model": {
                **twins("module.encoder.", "module.encoder_k.", s),
                **head("module.projector.linear1.weight", "module.projector_k.linear1.weight"),
            }
        },
    ),
    "pycontrast": (
        "pycontrast",
        lambda s: {
            "model": {**behind("module.encoder.", s), **head("module.head.0.weight")},
            "contrast": head("memory"),
            "model_ema": behind("encoder.", other(s)),
        },
    ),
    "moco3": (
        "moco3",
        lambda s: training(
            {
                **behind("module.base_encoder.", s),
                **behind("module.momentum_encoder.", other(s)),
                **head("module.predictor.0.weight"),
            }
        ),
    ),
    "simsiam": (
        "simsiam",
        lambda s: training(
            behind("module.", {**behind("encoder.", s), **head("encoder.fc.0.weight", "predictor.0.weight")})
        ),
    ),
    "coke": (
        "coke",
        lambda s: training(
            behind("module.", {**behind("encoder.", s), **head("pre_center_0", "encoder.fc.0.weight")})
        ),
    ),
    "barlow": (
        "barlow",
        lambda s: {
            "epoch": 1,
            "model": behind("module.", {**behind("backbone.", s), **head("projector.0.weight")}),
        },
    ),
    "invp": ("invp", lambda s: {**training(behind("module.", s)), "memory_banks": torch.ones(4, 2)}),
    "solo-learn": (
        "solo-learn",
        lambda s: lightning(
            {
                **behind("backbone.", s),
                **behind("momentum_backbone.", other(s)),
                **head("projector.0.weight", "prototypes.0.weight", "classifier.weight"),
            }
        ),
    ),
    "solo-learn-compiled": (
        "solo-learn",
        lambda s: lightning(
            {**twins("backbone._orig_mod.", "momentum_backbone._orig_mod.", s), **head("projector.0.weight")}
        ),
    ),
    "moco-parallel": (
        "moco",
        lambda s: training(twins("encoder_q.module._orig_mod.", "encoder_k.module._orig_mod.", s)),
    ),
    "lightly": (
        "lightly",
        lambda s: lightning(
            {**behind("backbone.", sequential(s)), **head("projection_head.layers.0.weight", "prototypes.w")}
        ),
    ),
    "lightly-named": (
        "lightly",
        lambda s: lightning(
            {
                **behind("backbone.", s),
                **behind("backbone_momentum.", other(s)),
                **head("projection_head.layers.0.weight"),
            }
        ),
    ),
    "lightly-short": (
        "lightly",
        lambda s: lightning(
            {**behind("backbone.", sequential(s, first=2)), **head("projection_head.layers.0.weight")}
        ),
    ),
    "byol": (
        "byol",
        lambda s: {
            **behind("online_encoder.net.", s),
            **behind("target_encoder.net.", other(s)),
            **head("online_predictor.0.weight"),
        },
    ),
    "byol-network": (
        "byol",
        lambda s: {
            "model": twins("module.online_network.encoder.", "module.target_network.encoder.", sequential(s))
        },
    ),
    "unpooled": ("plain", lambda s: {**behind("f.", sequential(s, first=3)), **head("g.0.weight")}),
    "byol-dicts": (
        "byol-online",
        lambda s: {
            "online_network_state_dict": behind("encoder.", sequential(s)),
            "target_network_state_dict": behind("encoder.", sequential(other(s))),
        },
    ),
    "dino": (
        "dino",
        lambda s: {
            "student": behind("module.", {**behind("backbone.", other(s)), **head("head.mlp.0.weight")}),
            "teacher": {**behind("backbone.", s), **head("head.mlp.0.weight")},
            "dino_loss": {"center": torch.ones(1, 4)},
        },
    ),
    "teacher": ("teacher", lambda s: {"student": dict(other(s)), "teacher": dict(s)}),
    "teacher-prefix": (
        "teacher-prefix",
        lambda s: {**behind("student.backbone.", other(s)), **behind("teacher.backbone.", s)},
    ),
    "transformers": (
        "transformers",
        lambda s: {**behind("resnet.", transformers(s)), **head("classifier.1.weight", "classifier.1.bias")},
    ),
    "transformers-trunk": ("transformers", transformers),
    "detectron2": (
        "detectron2",
        lambda s: {"model": detectron2(s), "__author__": "MOCO", "matching_heuristics": True},
    ),
}


def kept(name: str, state: State, folder: Path) -> Path:
    """The file of a fixture."""
    path, body = folder / f"{name}.bin", LAYOUTS[name][1](state)
    if name == "detectron2":
        path.write_bytes(pickle.dumps(body))
    else:
        torch.save(body, path)
    return path
