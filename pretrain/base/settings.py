"""Settings: frozen dataclasses whose fields carry their bounds. They are checked whenever one is made or
changed.

A setting has a path: `views.0.size` is the size of the first view, `schedule.warmup` the warm-up of the
schedule. The same notation stands in `--set`, in a suite's TOML file and in what `zoo plan` and `zoo explain`
print.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from pretrain.base.faults import Fault, unknown

T = TypeVar("T")

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0)]
AbovePositive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]

_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass of keyword fields that refuses what its annotations do not allow."""
    return checked_dataclass(cls, frozen=True, kw_only=True, config=_RULES)  # type: ignore[return-value]


def changed(value: T, **changes: Any) -> T:
    """The same settings with fields replaced, checked anew:
    `DEMO = changed(PAPER, epochs=20)` says what differs.
    """
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def added(default: T) -> T:
    """Default of a setting that came later. While it has it `plain` leaves it out, so that what was digested
    before the setting was there keeps its digest.
    """
    return dataclasses.field(default=default, metadata={"added": True})


class Adaptive:
    """Settings of which some follow when others are changed."""

    def follow(self, body: dict[str, Any], touched: frozenset[str]) -> list[str]:
        """Adapts the JSON of the settings to be, `self` being those before; a sentence for whatever followed.

        touched: names of the fields that were changed on purpose.
        """
        return []


def plain(value: Any, every: bool = False) -> Any:
    """Settings as JSON values. every: also those that came later and are at their defaults, see `added`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: plain(one, every) for field, one in pairs if every or _stands(field, one)}
    if isinstance(value, (tuple, list)):
        return [plain(item, every) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, every) for key, item in value.items()}
    return value


def _stands(field: dataclasses.Field[Any], value: Any) -> bool:
    return not field.metadata.get("added") or value != field.default


def lines(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every setting of JSON values, as `override` takes them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from lines(item, f"{at}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from lines(item, f"{at}.{i}".lstrip("."))
    else:
        yield at, value


def parsed(text: str) -> Any:
    """A value of the command line: JSON where it is JSON, else
    the text itself; `true` in any case is JSON, too.
    """
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)
    except (json.JSONDecodeError, RecursionError):
        return text


def override(value: T, changes: Mapping[str, Any], where: str) -> tuple[T, list[str]]:
    """The same settings with those at some paths replaced, and a sentence for each that followed from
    another.

    Raises Fault on an unknown path (naming the nearest), a value of another type or one beyond its bounds.
    """
    body, emptied = plain(value, every=True), list[Any]()
    for path in sorted(
        changes, key=lambda path: (not path.endswith("kind"), path)
    ):  # another kind empties the rest
        _put(body, path.split("."), changes[path], f"{where}.{path}", emptied)
    said = [f"{where}.{line}" for line in _follow(value, body, frozenset(changes))]
    return build(type(value), body, where), said


def build(kind: type[T], body: Any, where: str) -> T:
    """Settings of a class from JSON values. Raises Fault in
    one sentence that names setting, bound and value.
    """
    try:
        text = json.dumps(body)
    except TypeError as error:  # from Python anything can come, a NumPy number among it
        said = str(error).removeprefix("Object of type ").partition(" ")[0]
        raise Fault("bad-config", f"{where}: expected plain numbers, texts and lists, got a {said}") from None
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)  # true is no 1, "3" no 3
    except ValidationError as error:
        raise _explained(error.errors()[0], body, where) from None


def _put(body: Any, path: list[str], new: Any, where: str, emptied: list[Any]) -> None:
    """Replaces what stands at a path of JSON values; emptied: settings just switched to another kind, whose
    fields are not there yet.
    """
    step, rest = path[0], path[1:]
    if isinstance(body, list):
        if not step.isdigit() or int(step) >= len(body):
            raise Fault(
                "bad-config", f"{where}: expected a number from 0 to {len(body) - 1} in place of '{step}'"
            )
        at: Any = int(step)
    elif isinstance(body, dict):
        if step not in body and not any(body is one for one in emptied):
            raise unknown("setting", step, body, where)
        at = step
    else:
        raise Fault(
            "bad-config", f"{where}: {json.dumps(body)} is a single value, it has no setting '{step}'"
        )
    if rest:
        if rest == ["kind"] and isinstance(body[at], dict) and body[at].get("kind") != new:
            body[at] = {"kind": new}
            emptied.append(body[at])
        else:
            _put(body[at], rest, new, where, emptied)
    else:
        body[at] = new


def _follow(before: Any, body: Any, paths: frozenset[str]) -> list[str]:
    """Lets every adaptive part of settings follow what was changed in it; a sentence for each that did."""
    if not dataclasses.is_dataclass(before) or not isinstance(body, dict):
        return []
    said = (
        before.follow(body, frozenset(p.partition(".")[0] for p in paths))
        if isinstance(before, Adaptive)
        else []
    )
    for field in dataclasses.fields(before):
        inside = frozenset(p.removeprefix(f"{field.name}.") for p in paths if p.startswith(f"{field.name}."))
        if inside:
            followed = _follow(getattr(before, field.name), body[field.name], inside)
            said += [f"{field.name}.{line}" for line in followed]
    return said


# How a bound is said; {} stands for its value.
_BOUNDS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
    "literal_error": ("expected", "one of {}"),
    "union_tag_invalid": ("expected_tags", "a kind among {}"),
    "too_short": ("min_length", "{} or more values"),
    "too_long": ("max_length", "{} values or fewer"),
    "tuple_type": ("", "a list like [0.2, 1.0]"),
    "list_type": ("", "a list like ['a', 'b']"),
    "string_type": ("", "a text"),
    "string_too_short": ("min_length", "a text of {} or more characters"),
}


def _explained(error: Any, body: Any, where: str) -> Fault:
    """What is wrong with settings, as a sentence. error: one of
    pydantic's, with `type`, `loc`, `msg` and `input`.
    """
    path, kind = ".".join([where, *_steps(error["loc"], body)]), error["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return Fault("bad-config", f"{path}: there is no such setting")
    if kind.startswith("missing"):
        return Fault("bad-config", f"{path}: a value is missing")
    if kind == "value_error":
        return Fault("bad-config", f"{path}: {error['msg'].removeprefix('Value error, ')}")
    name, said = _BOUNDS.get(kind, ("", error["msg"].removeprefix("Input should be ").partition(",")[0]))
    said = said.format(error["ctx"][name]) if name else said
    return Fault("bad-config", f"{path}: expected {said}, got {_shown(error['input'])}")


def _steps(loc: tuple[int | str, ...], body: Any) -> Iterator[str]:
    """The path of an error; pydantic adds a step for the kind of a union, which no path of ours has."""
    for step in loc:
        if isinstance(body, dict) and step not in body and step == body.get("kind"):
            continue
        yield str(step)
        inside = isinstance(body, dict) and step in body
        inside |= isinstance(body, list) and isinstance(step, int) and step < len(body)
        body = body[step] if inside else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
