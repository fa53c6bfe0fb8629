"""`zoo publish`: a model as a folder that others can load, cite and check, and as a repository on the hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.contract.protocol import version
from pretrain.base import files
from pretrain.base.faults import Fault, unknown
from pretrain.base.settings import plain
from pretrain.nets.formats.contract import Flags, Loaded
from reports.pages import hub, metafile
from reports.pages.hub import Content
from reports.records import PRETRAIN, fingerprint
from reports.tables.cells import Missing, Row
from reports.view import View, pretraining
from zoo.kept import kept
from zoo.options import SuiteOption
from zoo.plan.counted import of_suite
from zoo.suites import builtin
from zoo.weights import pushing
from zoo.weights.address import parsed, shown
from zoo.weights.options import flags, reading
from zoo.weights.source import local, sha256

NOW = Flags()
MANIFEST, README = "manifest.json", "README.md"
SCHEMA = "zoo.published/1"
ENDING = (
    r"(-[0-9a-f]{8,64})?(\.(pth|pt|th|ckpt|bin|tar|pkl|torch|safetensors))+$"  # what a file's name adds to it
)

Model = Annotated[
    str, typer.Argument(help="A model of the results folder, or a checkpoint: file or address.")
]
Folder = Annotated[Path, typer.Option("--out", help="The folder to write; new, empty or published before.")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder of results. Default: runs/<suite>.")]
Named = Annotated[str, typer.Option("--name", help="What to call it; by default as it is called here.")]
Hub = Annotated[str, typer.Option("--hub", help="ORG/NAME on Hugging Face to push it to.")]


@dataclass(frozen=True)
class Subject:
    """What is published. view, row: of a model with records; source: where the weights are from; flags: how
    they are read.
    """

    name: str
    weights: Path
    source: dict[str, Any]
    recipe: dict[str, Any]
    view: View | None = None
    row: Row | None = None
    flags: Flags = NOW


@reading
def command(
    model: Model,
    out: Folder,
    suite: SuiteOption = "demo",
    home: Home = None,
    name: Named = "",
    to: Hub = "",
    **read: Any,
) -> None:
    """Write weights, card, transform and manifest of a model into a folder, and push it to the hub."""
    if to:
        pushing.ready(to)
    subject = replace(chosen(model, suite, home, name), flags=flags(**read))
    for line in publish(subject, out, to):
        print(line)
    if to:
        print(f"pushed: {pushing.push(out, to)}")


def chosen(model: str, suite: str, home: Path | None, name: str = "") -> Subject:
    """A model by its name in a folder of results, or a checkpoint. Raises Fault on neither or an odd name."""
    place = builtin.home(suite, home)
    if parsed(model) is not None or Path(model).is_file():
        return _given(model, name)
    protocols = tuple(builtin.load(suite, home, {}).catalogue().values())
    records, damaged = kept(place)
    view = View(records, protocols, suite, of_suite(suite, home), damaged)
    names = [row.model for row in view.rows if row.weights is not None]
    if model not in names and model in {row.model for row in view.rows}:
        trained = view.row(model).records.get(PRETRAIN)
        if isinstance(trained, Missing):
            said = f"{place} has no weights of '{model}': pretraining {trained.word}: {trained.why}"
            raise Fault("data-missing", f"{said}; run it again")
        said = f"{place} holds numbers of '{model}', and no weights that were trained there; give its checkpoint file"
        raise Fault("data-missing", f"{said}: `zoo publish FILE --name {model}`")
    if model not in names:
        if "/" in model or not names:
            said = f"'{model}' is no file, and {place} holds no such model; give a checkpoint or --home"
            raise Fault("data-missing", said)
        raise unknown("model", model, names, str(place))
    return _trained(view, view.row(model), name)


def publish(subject: Subject, out: Path, where: str = "") -> list[str]:
    """Writes the folder, absent or complete, and returns a line per file. where: ORG/NAME on the hub.

    Raises Fault: bad-config where the folder holds other files; as `reading.read` and `bundle.weights` do.
    """
    from pretrain.nets.formats.reading import read
    from zoo.weights import bundle

    vacant(out)
    loaded = read(subject.weights, subject.flags)
    _as_recorded(subject, loaded.sha256)
    with _whole(out) as folder:
        pth = bundle.weights(loaded, folder, subject.name)
        bundle.settings(folder, subject.name, loaded, subject.recipe)
        bundle.transform(folder, subject.name, loaded.input)
        content = Content(
            name=subject.name, arch=loaded.arch, input=plain(loaded.input), dim=loaded.backbone.dim,
            weights=loaded.sha256, safetensors=bundle.SAFETENSORS, pth=pth, files=_listed(folder),
            source=_source(subject, loaded), where=where, view=subject.view, row=subject.row,
        )  # fmt: skip
        files.write_text(folder / metafile.FILE, metafile.metafile(content))
        files.write_text(folder / metafile.INDEX, metafile.index())
        files.write_text(folder / README, hub.readme(content))
        _manifest(folder, content)
    listed = json.loads((out / MANIFEST).read_text())["files"]
    return [f"{out / one['name']}: {one['bytes']:,} bytes, SHA-256 {one['sha256'][:12]}" for one in listed]


def _source(subject: Subject, loaded: Loaded) -> dict[str, Any]:
    """Where the weights are from; of a file from elsewhere also its layout, flags and what was assumed."""
    from pretrain.nets.formats.adopting import origin

    if subject.row is not None or "origin" in subject.source:
        return subject.source
    path, digest = subject.weights, subject.source["sha256"]
    return {**subject.source, "origin": origin(loaded, path.name, digest, subject.flags)}


def _as_recorded(subject: Subject, weights: str) -> None:
    """Raises Fault where the file is not the one that the records are of."""
    record = pretraining(subject.row) if subject.row else None
    told = record.facts.get("weights") if record else None
    known = str(told.get("weights", weights)) if isinstance(told, dict) else weights
    if known != weights:
        said = f"weights {weights[:12]}, and its records are of {known[:12]}"
        raise Fault("weights-mismatch", f"{subject.weights}: {said}; run `zoo run {subject.name}` again")


def vacant(out: Path) -> None:
    """Raises Fault unless a folder can be written without loss: absent, empty, or published before."""
    files.require_text(out.absolute())  # what is written is read again
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise Fault("bad-config", f"--out {out} is no folder; name another")
    others = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()} - _ours(out)
    if others:
        said = f"--out {out} holds other files ({', '.join(sorted(others)[:3])}); name a new folder"
        raise Fault("bad-config", said)


def _ours(out: Path) -> set[str]:
    """Names of the files that a publication before has left."""
    try:
        body = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        names = {str(one["name"]) for one in body["files"]} if body["schema"] == SCHEMA else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {*names, MANIFEST}


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when it is complete."""
    with files.explained(out):
        parent = Path(os.path.abspath(out)).parent
        parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        folder, old = aside / "new", aside / "old"
        folder.mkdir()
        yield folder
        with files.explained(out):
            if out.exists():
                out.rename(old)
            try:
                folder.rename(out)
            except OSError:
                if old.exists():
                    old.rename(out)
                raise
            files.flush(parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _manifest(folder: Path, content: Content) -> None:
    body = {
        "schema": SCHEMA,
        "name": content.name,
        "arch": content.arch,
        "input": dict(content.input),
        "weights_sha256": content.weights,
        "source": dict(content.source),
        "made_by": f"cluster-zoo {version('cluster-zoo')}",
        "files": [{"name": name, "bytes": size, "sha256": digest} for name, size, digest in _listed(folder)],
    }
    files.write_text(folder / MANIFEST, json.dumps(body, indent=2) + "\n")


def _listed(folder: Path) -> list[tuple[str, int, str]]:
    """(name, bytes, SHA-256) of every file."""
    return [(path.name, path.stat().st_size, sha256(path)) for path in sorted(folder.iterdir())]


def _given(model: str, name: str) -> Subject:
    """A checkpoint; what a file of ours says of its origin goes along."""
    from pretrain.nets import checkpoint
    from pretrain.nets.formats.ours import is_ours

    path = local(model)
    source: dict[str, Any] = {"file": path.name, "sha256": sha256(path)}
    if parsed(model) is not None:
        source["address"] = shown(model)
    if is_ours(path):
        source["origin"] = checkpoint.describe(path).origin
    called = name or re.sub(ENDING, "", path.name)
    return Subject(_named(called), path, source, {})


def _trained(view: View, row: Row, name: str) -> Subject:
    record = pretraining(row)
    assert row.weights is not None
    source: dict[str, Any] = {"suite": view.suite, "model": row.model}
    recipe: dict[str, Any] = {}
    if record is not None:
        source |= {"recipe": record.model.get("recipe"), "seed": record.seed, "record": record.key}
        source |= {"data": fingerprint(record), "end": record.time.get("end")}
        recipe = dict(record.protocol.get("settings") or {})
    return Subject(_named(name or row.model), row.weights, source, recipe, view, row)


def _named(name: str) -> str:
    """A name that files can have. Raises Fault on another."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name) or name == "manifest":
        raise Fault("bad-config", f"--name {name!r}: expected 1 to 80 letters, digits, '.', '_' or '-'")
    return name
