"""The page of a model's records: protocol, settings, versions, hashes and numbers of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from benchmarks.contract.result import Result
from benchmarks.contract.score import Score
from pretrain.base.faults import printable
from pretrain.base.settings import lines
from reports.html.places import Places
from reports.records import Kept, fingerprint, seeds

MOST, LONGEST = 2000, 400  # lines of a block, characters of a line
NONE = "–"


def shown(records: Kept, current: set[Path], places: Places) -> list[dict[str, Any]]:
    """What the template says of every record, those that tables show first, then by protocol and seed."""

    def order(one: tuple[Path, Result]) -> tuple[bool, bool, str, int, int, str]:
        path, record = one
        name = str(record.protocol.get("name", ""))
        return path not in current, name != "pretrain", name, record.trained, record.seed, str(path)

    return [_record(path, record, path in current, places) for path, record in sorted(records, key=order)]


def _record(path: Path, record: Result, current: bool, places: Places) -> dict[str, Any]:
    return {
        "id": places.anchor(path),
        "title": title(record),
        "seed": seeds(record.trained, record.seed),
        "status": record.status,
        "current": current,
        "head": list(_head(path, record, places)),
        "scores": [_score(score) for score in record.metrics],
        "missing": list(record.missing.items()),
        "blocks": [(name, text) for name, part in _parts(record) if (text := block(part))],
    }


def title(record: Result) -> str:
    """The title of a record's protocol, its name where it has none."""
    name = str(record.protocol.get("title") or record.protocol.get("name") or "unnamed")
    return "Pretraining" if name == "pretrain" else printable(name, LONGEST)


def _head(path: Path, record: Result, places: Places) -> Iterator[tuple[str, str]]:
    """What identifies a record."""
    protocol, identity, model = record.protocol, record.identity, record.model
    yield "Status", f"{record.status}{f': {record.reason}: {record.message}' if record.reason else ''}"
    yield "Protocol", f"{protocol.get('name', NONE)}, version {protocol.get('version', NONE)}"
    yield "How its numbers are chosen", str(protocol.get("choose") or NONE)
    yield "Source of the protocol", str(protocol.get("published") or NONE)
    yield "Source hash", str(protocol.get("source") or NONE)
    yield "Seed", seeds(record.trained, record.seed).removeprefix("seed ")
    yield "Weights (SHA-256)", str(identity.get("weights") or model.get("weights_sha256") or NONE)
    yield "Data fingerprints", fingerprint(record) or NONE
    yield "Numerics", str(identity.get("numerics") or NONE)
    yield "Key", record.key
    yield "Digest of the record", record.digest or NONE
    yield "Commit", f"{record.env.get('git') or NONE}{' (changed since)' if record.env.get('dirty') else ''}"
    yield "Device", str(record.env.get("device") or NONE)
    yield "Took", f"{record.cost['wall_s']:.1f} s" if "wall_s" in record.cost else NONE
    yield "Ended", record.time.get("end") or NONE
    yield "File", places.told(path)


def _parts(record: Result) -> Iterator[tuple[str, Any]]:
    """The parts that are shown when asked for."""
    yield "Settings", record.protocol.get("settings")
    yield "Versions and environment", {**record.env, "packages": record.identity.get("packages")}
    hidden = ("settings", "recipe", "packages")
    yield "Identity", {k: v for k, v in record.identity.items() if k not in hidden}
    yield "Model", record.model
    yield "Facts", record.facts
    yield "Cost", record.cost


def block(part: Any) -> Markup:
    """`path = value` per line, escaped; of very many, the first."""
    try:
        found = list(islice(lines(part), MOST + 1)) if part else []
    except RecursionError:
        return Markup("nested too deeply to be shown; the record has it")
    text = [printable(f"{path} = {_said(value)}", LONGEST) for path, value in found[:MOST]]
    return escape("\n".join([*text, "…the rest stands in the record"] if len(found) > MOST else text))


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _score(score: Score) -> dict[str, Any]:
    spread = (
        f"± {score.spread.std:.4g} over {len(score.spread.values)} {score.spread.kind}"
        if score.spread
        else ""
    )
    return {
        "name": score.name,
        "value": f"{score.value:.8g}",
        "unit": score.unit,
        "spread": spread,
        "split": score.split,
        "n": f"{score.n:,}",
        "chosen": "; ".join(_chosen(score)),
    }


def _chosen(score: Score) -> Sequence[str]:
    chosen, said = score.selection, [score.note] if score.note else []
    if chosen:
        said.append(f"{chosen.of} {chosen.choice} of {len(chosen.among)}, chosen on {chosen.on}")
    if score.honest:
        said.append(f"chosen without this split: {score.honest}")
    return said
