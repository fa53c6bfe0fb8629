"""Records below a folder: which of them count, as rows of tables and as a frame. No torch, no data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contract.result import Result, readable
from benchmarks.contract.score import Score
from pretrain.base.faults import Fault
from pretrain.base.identity import digest

if TYPE_CHECKING:
    import pandas

PRETRAIN = "pretrain"
Kept = Sequence[tuple[Path, Result]]
GIVEN = "given"  # the method in the records of a model whose weights are a file of the user's
PARTS = ("models", "results")  # of a suite's home; its other folders hold data and caches


def found(folder: Path) -> list[tuple[Path, Result]]:
    """Every readable record below a folder, or a suite's home, in path order."""
    return [(path, record) for path in files(folder) if (record := readable(path)) is not None]


def files(folder: Path) -> list[Path]:
    """The files of records below a folder, or a suite's home, readable or not, in path order."""
    inside = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    return [path for part in inside for path in sorted(part.rglob("result.json"))]


def current(records: Kept, planned: Set[Path] = frozenset()) -> list[tuple[Path, Result]]:
    """A record of every trial: of those planned, or else of all, the newest.

    Of benchmarks only those count whose weights the pretraining that counts for the model has left, with
    the seed that it was trained with; of a model whose weights were given, those of its newest record.
    """
    newest = _newest(((path, r) for path, r in records if r.protocol.get("name") == PRETRAIN), planned)
    weights = {_model(r): w for _, r in newest if (w := _behind(r.facts.get("weights")))}
    rest = [(path, r) for path, r in records if r.protocol.get("name") != PRETRAIN]
    weights = _given(r for _, r in rest) | weights
    return [*newest, *_newest(((path, r) for path, r in rest if _fits(r, weights.get(_model(r)))), planned)]


def trial(record: Result) -> tuple[str, str, int, int]:
    """Model, protocol, the seed that the model was trained with, and the record's own."""
    names = str(record.model.get("name", "")), str(record.protocol.get("name", ""))
    return *names, record.trained, record.seed


def seeds(trained: int, seed: int) -> str:
    """The seed of a model and that of its evaluation in words."""
    own = f"seed {trained}"
    return own if seed == trained else f"{own} evaluation {seed}"


def _model(record: Result) -> tuple[str, int]:
    """The model of a record and the seed that it was trained with."""
    return str(record.model.get("name", "")), record.trained


def _newest(records: Iterable[tuple[Path, Result]], planned: Set[Path]) -> list[tuple[Path, Result]]:
    ordered = sorted(records, key=lambda one: (one[0] in planned, one[1].time.get("end", ""), one[0]))
    last = {trial(record): (path, record) for path, record in ordered}
    return [last[key] for key in sorted(last)]


def weights_left(record: Result) -> str:
    """The digest of the weights that a pretraining has left; '' where it failed."""
    left = record.facts.get("weights")
    return str(left.get("weights", "")) if isinstance(left, dict) else ""


def _given(records: Iterable[Result]) -> dict[tuple[str, int], str]:
    """The weights of models that are files of the user's, whatever seed they are evaluated with: the newest.

    Another file may have been given the same name since.
    """
    mine = [r for r in records if r.model.get("method") == GIVEN and r.identity.get("weights")]
    ordered = sorted(mine, key=lambda record: record.time.get("end", ""))
    newest = {str(r.model.get("name", "")): _behind(r.identity) for r in ordered}
    return {_model(r): newest[str(r.model.get("name", ""))] for r in mine}


def _behind(said: object) -> str:
    """Digest of what of the weights decides a number, the preprocessing too; '' where nothing is known."""
    if not isinstance(said, dict) or not said.get("weights"):
        return ""
    return digest([said.get(part) for part in ("weights", "arch", "input")])


def _fits(record: Result, weights: str | None) -> bool:
    """Whether a benchmark is of these weights; a failed one need not have known any."""
    mine = _behind(record.identity)
    return weights is None or not mine or mine == weights


def records(folder: Path | str) -> pandas.DataFrame:
    """Every record below a folder as a frame: a row per score, and one without a value for a record that has
    none. Columns are those of `table`. Raises Fault where there is no record, or no pandas.
    """
    kept = found(Path(folder))
    if not kept:
        raise Fault("data-missing", f"{folder} holds no readable result.json; run `zoo run` first")
    return frame(kept)


def frame(kept: Kept) -> pandas.DataFrame:
    """The records as a frame."""
    try:
        import pandas
    except ImportError:
        raise Fault("dependency-missing", "frames need pandas; pip install pandas") from None
    return pandas.DataFrame(table(kept), columns=list(COLUMNS)).astype(KINDS)


KINDS = {
    "version": "Int64",
    "trained": "Int64",
    "seed": "Int64",
    "n": "Int64",
    "value": "float64",
    "std": "float64",
}
WORDS = ("metric", "unit", "better", "split", "selected", "choice", "selected_on", "honest")  # of a score
COLUMNS = (
    *("suite", "model", "method", "recipe", "config", "trained", "seed"),
    *("protocol", "version", "status", "reason"),
    *(
        "metric",
        "value",
        "unit",
        "better",
        "split",
        "n",
        "std",
        "selected",
        "choice",
        "selected_on",
        "honest",
    ),
    *("weights", "data", "key", "end", "path"),
)


def table(kept: Kept) -> list[dict[str, Any]]:
    """The rows of the frame. Values are unrounded; std: that of a score's own repeats; trained: the seed that
    the model was trained with, seed: the record's own.
    """
    return [line for path, record in kept for line in _lines(path, record)]


def _lines(path: Path, record: Result) -> Iterator[dict[str, Any]]:
    name = record.model.get
    head = {
        "suite": record.suite,
        **{field: name("name" if field == "model" else field, "") for field in COLUMNS[1:5]},
        "trained": record.trained,
        "seed": record.seed,
        "protocol": record.protocol.get("name", ""),
        "version": record.protocol.get("version"),
        "status": record.status,
        "reason": record.reason or "",
        "weights": str(record.identity.get("weights") or name("weights_sha256", "")),
        "data": fingerprint(record),
        "key": record.key,
        "end": record.time.get("end", ""),
        "path": str(path),
    }
    for score in record.metrics:
        yield {**head, **_score(score)}
    if not record.metrics:
        yield {**head, **dict.fromkeys(WORDS, "")}


def _score(score: Score) -> dict[str, Any]:
    chosen = score.selection
    return {
        "metric": score.name,
        **{name: getattr(score, name) for name in ("value", "unit", "better", "split", "n", "honest")},
        "std": score.spread.std if score.spread else None,
        "selected": chosen.of if chosen else "",
        "choice": chosen.choice if chosen else "",
        "selected_on": chosen.on if chosen else "",
    }


def fingerprint(record: Result) -> str:
    """The fingerprints of the data that a record is of, in one word per role."""
    data = record.identity.get("data")
    if isinstance(data, dict):
        return " ".join(f"{role}={value}" for role, value in sorted(data.items()))
    return str(data or "")


def rule(record: Result) -> str:
    """Digest of what a record's protocol was asked to do: name, version, settings, arithmetic."""
    parts = ("protocol", "settings", "version", "numerics")
    return digest({part: record.identity.get(part) for part in parts})
