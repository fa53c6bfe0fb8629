"""Whether the labels of two splits mean the same classes: by name, or by the numbers that a list states."""

from __future__ import annotations

from collections.abc import Mapping

from pretrain.base.faults import Fault
from pretrain.data.split import Split


def require_same_classes(splits: Mapping[str, Split]) -> None:
    """Raises Fault (data-corrupt) where a split's labels do not mean what those of the split `train` mean.

    Class names must be equal, also where they are numbers. Lists number classes and need not show every one:
    there no label may lie beyond those of `train`, and a class folder has one number on both sides.
    """
    train = splits.get("train")
    if train is None or train.labels is None:
        return
    for split in splits.values():
        if split.labels is None or split is train:
            continue
        if split.numbered or train.numbered:
            _require_same_numbers(split, train)
        elif split.classes != train.classes:
            raise _differing(split, train)


def _differing(split: Split, train: Split) -> Fault:
    called = _called(train, split)
    only = [
        f"only in {a.name}: {_some(called[a.name] - called[b.name])}"
        for a, b in ((train, split), (split, train))
    ]
    said = f"{split.name} ({split.root}) and {train.name} ({train.root}) must have the same classes"
    return Fault("data-corrupt", f"{said}; {'; '.join(only)}; complete or remove these classes")


def _called(*splits: Split) -> dict[str, set[str]]:
    """The classes of splits by name of the split; numbers without the noughts in front that shards of more
    classes give them, where they differ without, too.
    """
    called = {split.name: set(split.classes) for split in splits}
    bare = {name: {label.lstrip("0") or "0" for label in labels} for name, labels in called.items()}
    numbers = all(label.isdecimal() for labels in called.values() for label in labels)
    return bare if numbers and len(set(map(frozenset, bare.values()))) > 1 else called


def _require_same_numbers(split: Split, train: Split) -> None:
    if len(split.classes) > len(train.classes):
        said = f"labels up to {len(split.classes) - 1}, {train.name} only up to {len(train.classes) - 1}"
        raise Fault("data-corrupt", f"{split.name} has {said}; use lists of the same classes")
    if split.numbered and train.numbered:
        _require_same_folders(split, train)
        return
    listed, named = (split, train) if split.numbered else (train, split)
    seen = _folders_in_place(listed, named)
    if named is split and len(split.classes) < len(train.classes) and set(split.classes) - seen:
        said = f"{split.name} ({split.root}) has {len(split.classes)} class folders, numbered in their order"
        expected = f"expected the {len(train.classes)} of {train.sources[0]}"
        raise Fault("data-corrupt", f"{said}, {expected}; complete them, or list {split.name}, too")


def _require_same_folders(split: Split, train: Split) -> None:
    """Raises Fault where two lists give a class folder two numbers."""
    found, expected = _numbers(split), _numbers(train)
    for folder in sorted(set(found) & set(expected)):
        if found[folder] != expected[folder]:
            said = f"{split.sources[0]} gives images in '{folder}' the label {found[folder]}, "
            said += f"{train.sources[0]} gives {expected[folder]}"
            raise Fault("data-corrupt", f"{said}; number the classes of both lists alike")


def _numbers(listed: Split) -> dict[str, int]:
    """The label of every folder that images lie in, by its name; empty where folders are not classes."""
    assert listed.labels is not None
    folders = [file.rpartition("/")[0].rpartition("/")[2] for file in listed.files]
    pairs = set(zip(folders, listed.labels.tolist(), strict=True))
    alone = len(pairs) == len({folder for folder, _ in pairs}) == len({label for _, label in pairs})
    return dict(pairs) if alone and len(pairs) > 1 else {}


def _folders_in_place(listed: Split, named: Split) -> set[str]:
    """The class folders of a split that paths of a list begin with. Raises Fault where the list gives one
    another number than its place in the order.
    """
    assert listed.labels is not None
    place, seen = {name: i for i, name in enumerate(named.classes)}, set[str]()
    for file, label in zip(listed.files, listed.labels.tolist(), strict=True):
        folder, below, _ = file.removeprefix("./").partition("/")
        if not below or folder not in place:
            continue
        if place[folder] != label:
            said = (
                f"{listed.sources[0]} gives {file} the label {label}, but '{folder}' is class {place[folder]}"
            )
            where = f"of {named.name} ({named.root}), whose folders are numbered in their order"
            raise Fault(
                "data-corrupt", f"{said} {where}; number the list like that, or list {named.name}, too"
            )
        seen.add(folder)
    return seen


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"
