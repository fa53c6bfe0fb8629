"""The options of `zoo convert`, `zoo verify` and --checkpoint: what a checkpoint does not say of itself."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from pretrain.base import settings
from pretrain.base.faults import Fault
from pretrain.nets.formats.contract import Flags

_READING = "How --checkpoint is read, where it does not say so itself"

LayoutOption = Annotated[
    str | None,
    typer.Option("--layout", rich_help_panel=_READING, help="Of the file, where its content tells two."),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", rich_help_panel=_READING, help="Of the backbone's keys, such as module.encoder_q."
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        rich_help_panel=_READING,
        help="Architecture, where shapes tell two; timm:NAME for one of timm.",
    ),
]
Stride = Annotated[
    str | None,
    typer.Option(
        "--stride", rich_help_panel=_READING, help="Of a bottleneck: in its 3x3 (v1.5) or its 1x1 (v1)."
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order", rich_help_panel=_READING, help="Of colours that the network expects: rgb or bgr."
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean", rich_help_panel=_READING, help="Three numbers for pixels in [0, 1]: 0.485,0.456,0.406."
    ),
]
Std = Annotated[str | None, typer.Option("--std", rich_help_panel=_READING, help="Likewise.")]
Size = Annotated[
    int | None,
    typer.Option(
        "--size", rich_help_panel=_READING, help="Side in px of the images that the network was made for."
    ),
]
Resize = Annotated[
    int | None,
    typer.Option("--resize", rich_help_panel=_READING, help="Short side in px before the centre crop."),
]
Partial = Annotated[
    float | None,
    typer.Option(
        "--allow-partial",
        rich_help_panel=_READING,
        help="Least share of the backbone that must be there; every table shows it.",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code that the file holds, in a process of its own.")
]


OPTIONS: dict[str, Any] = {
    "layout": LayoutOption,
    "prefix": Prefix,
    "arch": Arch,
    "stride": Stride,
    "order": Order,
    "mean": Mean,
    "std": Std,
    "size": Size,
    "resize": Resize,
    "allow_partial": Partial,
}


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which takes the options above as **read: for `flags`, without a frame of its own."""
    all_own = signature(command, eval_str=True).parameters.values()
    own = [one for one in all_own if one.kind is not Parameter.VAR_KEYWORD]
    more = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=OPTIONS[name]) for name in OPTIONS
    ]
    command.__signature__ = Signature([*own, *more])  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
    return command


def flags(**given: Any) -> Flags:
    """The flags that were given: options by their names, None for absent. Raises Fault on a value out of
    bounds.
    """
    body = {name: value for name, value in given.items() if value is not None}
    for name in ("mean", "std"):
        if name in body:
            body[name] = _triple(name, body[name])
    return settings.build(Flags, body, "checkpoint")


def _triple(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise Fault(
            "bad-config", f"--{name} expects three numbers like 0.485,0.456,0.406, got '{text}'"
        ) from None
