"""Stand-ins for classes that checkpoints mention beside their tensors: logs, options, configurations.

torch's weights-only unpickler calls nothing but what it is given. For the names below it is given
stand-ins that do nothing and keep nothing; any other name ends the reading. No foreign module is imported.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Inert:
    """Takes whatever a pickle says about an object, and keeps none of it."""

    def __new__(cls, *_: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_PLAIN = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib._local.Path",  # as Python 3.13 calls them
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "pathlib._local.PurePosixPath",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.logging.message_hub.MessageHub",
    "mmcv.utils.config.Config",
    "mmengine.config.config.Config",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.StringNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.BytesNode",
    "omegaconf.nodes.EnumNode",
    "omegaconf.nodes.PathNode",
    "omegaconf.nodes.UnionNode",
    "typing.Any",
    "typing.Dict",
    "typing.List",
    "timm.data.config.PretrainedCfg",
    "torch.torch_version.TorchVersion",
    *(
        f"{package}.callbacks.{name}"  # Lightning before 1.5 had the classes of its callbacks for names
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "early_stopping.EarlyStopping",
            "lr_monitor.LearningRateMonitor",
            "model_checkpoint.ModelCheckpoint",
        )
    ),
)
_DICTS = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "vissl.utils.hydra_config.AttrDict",
    "vissl.config.attr_dict.AttrDict",
    "detectron2.config.config.CfgNode",
    "easydict.EasyDict",
    "fvcore.common.config.CfgNode",
    "munch.Munch",
    "yacs.config.CfgNode",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "addict.addict.Dict",
)
_BUILTINS = {"dict": OrderedDict, "list": list, "int": Inert, "float": Inert, "str": Inert, "bool": Inert}


class Method(Inert):
    """What a pickle asks of `getattr`, as MMEngine's logs do for their own methods: nothing is looked up."""


def _dict(*_: Any) -> dict[Any, Any]:
    """An empty dict, whatever its default was to be."""
    return {}


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """(stand-in, full name) of every class that is known to hold data alone."""
    made: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_named(name), name) for name in _PLAIN
    ]
    made += [(OrderedDict, name) for name in _DICTS]
    made += [(kind, f"builtins.{name}") for name, kind in _BUILTINS.items()]
    made += [(Method, "builtins.getattr"), (_dict, "collections.defaultdict")]
    return made


def _named(name: str) -> type[Inert]:
    return type(name.rpartition(".")[2], (Inert,), {"__module__": "inert"})
