"""Verdicts as a table, JSON, JUnit XML, and Markdown for a pull request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from pretrain.base.faults import LONGEST, printable
from reports.gate.compare import FAILING, WARNING, Verdict, code, counts
from reports.pages.markdown import escape
from reports.tables.marks import signed

SIGNS = {
    "pass": "✅",
    "rose": "⚠️",
    "new": "⚠️",
    **dict.fromkeys(FAILING, "❌"),
}
HEAD = ("Model", "Benchmark", "Metric", "Baseline", "Now", "Difference", "Tolerance", "Verdict")


def table(verdicts: Sequence[Verdict]) -> str:
    """Aligned text, a line per number."""
    lines = [[head.lower() for head in HEAD], *(_cells(verdict) for verdict in verdicts)]
    wide = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    text = ["  ".join(cell.ljust(size) for cell, size in zip(line, wide, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in [*text, counts(verdicts)])


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts with the exit code that they come to."""
    body = {
        "schema": "zoo.gate/1",
        "code": code(verdicts),
        "summary": counts(verdicts),
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    return json.dumps(body, indent=1, allow_nan=False)


def junit(verdicts: Sequence[Verdict]) -> str:
    """JUnit XML: a test case per number; what rose or is new passes, with a line of output that says so."""
    failures = sum(verdict.state in FAILING for verdict in verdicts)
    suite = ElementTree.Element(
        "testsuite",
        name="zoo gate",
        tests=str(len(verdicts)),
        failures=str(failures),
        errors="0",
        skipped="0",
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=printable(f"{verdict.model}.{verdict.protocol}", LONGEST),
            name=printable(verdict.metric, LONGEST),
        )
        if verdict.state in FAILING:
            failure = ElementTree.SubElement(case, "failure", type=verdict.state, message=_said(verdict))
            failure.text = _said(verdict)
        elif verdict.state in WARNING:
            ElementTree.SubElement(case, "system-out").text = f"warning: {_said(verdict)}"
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Markdown for a pull request: what failed and what rose first, the rest folded."""
    passed = code(verdicts) == 0
    loud = [verdict for verdict in verdicts if verdict.state not in ("pass", "new")]
    parts = [f"## {'✅' if passed else '❌'} Zoo gate: {counts(verdicts)}"]
    if loud:
        parts.append(_grid(loud))
        parts.append("\n".join(f"- {escape(f'{v.name}: {v.why}')}" for v in loud if v.why))
    for state, said in (("new", "not in the baseline"), ("pass", "passed")):
        if quiet := [verdict for verdict in verdicts if verdict.state == state]:
            folded = f"<summary>{len(quiet)} {said}</summary>\n\n{_grid(quiet)}"
            parts.append(f"<details>{folded}\n\n</details>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(verdicts: Sequence[Verdict]) -> str:
    lines = [list(HEAD), ["---"] * len(HEAD)]
    for verdict in verdicts:
        *cells, state = map(escape, _cells(verdict, why=False))
        lines.append([*cells, f"{SIGNS[verdict.state]} {state}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(verdict: Verdict, why: bool = True) -> list[str]:
    known = verdict.expected is not None and verdict.got is not None
    difference = signed((verdict.got or 0) - (verdict.expected or 0), 2) if known else "–"
    state = f"{verdict.state}: {verdict.why}" if why and verdict.why else verdict.state
    numbers = [_number(verdict.expected), _number(verdict.got), difference, _number(verdict.tolerance)]
    names = [printable(name) for name in (verdict.model, verdict.protocol, verdict.metric)]
    return [*names, *numbers, state]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _said(verdict: Verdict) -> str:
    numbers = f"baseline {_number(verdict.expected)}, now {_number(verdict.got)}"
    allowed = f", tolerance {_number(verdict.tolerance)}" if verdict.tolerance is not None else ""
    return f"{verdict.state}: {numbers}{allowed}" + (f": {verdict.why}" if verdict.why else "")
