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
    "typing.Any",
    "timm.data.config.PretrainedCfg",
)
_DICTS = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "vissl.utils.hydra_config.AttrDict",
    "vissl.config.attr_dict.AttrDict",
    "fvcore.common.config.CfgNode",
    "yacs.config.CfgNode",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "addict.addict.Dict",
)
_BUILTINS = {"dict": OrderedDict, "list": list, "int": Inert, "float": Inert, "str": Inert, "bool": Inert}


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """(stand-in, full name) of every class that is known to hold data alone."""
    made: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_named(name), name) for name in _PLAIN
    ]
    made += [(OrderedDict, name) for name in _DICTS]
    made += [(kind, f"builtins.{name}") for name, kind in _BUILTINS.items()]
    return made


def _named(name: str) -> type[Inert]:
    return type(name.rpartition(".")[2], (Inert,), {"__module__": "inert"})
