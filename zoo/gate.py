"""`zoo gate`: records against a committed baseline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence, Set
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pretrain.base import files
from pretrain.base.faults import LONGEST, Fault, printable
from reports.gate import baseline, verdicts
from reports.gate.compare import Verdict, code, compare
from zoo.kept import kept
from zoo.options import Out, SuiteOption
from zoo.plan.counted import of_suite
from zoo.suites import builtin


class Form(StrEnum):
    """table: for people; json; junit: for test reports; markdown: for pull requests."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"


FORMS: dict[Form, Callable[[Sequence[Verdict]], str]] = {
    Form.TABLE: verdicts.table,
    Form.JSON: verdicts.as_json,
    Form.JUNIT: verdicts.junit,
    Form.MARKDOWN: verdicts.summary,
}


def command(
    path: Annotated[Path, typer.Option("--baseline", help="JSON file of the numbers to hold.")],
    accept: Annotated[bool, typer.Option("--accept", help="Rewrite the baseline instead.")] = False,
    suite: SuiteOption = "demo",
    out: Out = None,
    form: Annotated[Form, typer.Option("--format", help=Form.__doc__)] = Form.TABLE,
    junit: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML here.")] = None,
    summary: Annotated[Path | None, typer.Option("--summary", help="Also write Markdown here.")] = None,
) -> None:
    """Compare the records of a suite with a committed baseline; exit code 3 where they do not hold it."""
    if accept and (junit or summary or form is not Form.TABLE):
        said = "--accept writes a baseline and gives no verdict: it takes no --format, --junit or --summary"
        raise Fault("bad-config", said)
    planned = of_suite(suite, out)
    raise typer.Exit(gate(builtin.home(suite, out), path, accept, form, junit, summary, planned))


def gate(
    home: Path,
    path: Path,
    accept: bool = False,
    form: Form = Form.TABLE,
    junit: Path | None = None,
    summary: Path | None = None,
    planned: Set[Path] = frozenset(),
) -> int:
    """Compares the records of a home with the baseline at `path`, prints the verdict and writes it to the
    files asked for; the exit code: 0 passed, 3 not. accept: rewrites the baseline instead, and says what
    changes. Raises Fault where there are no records, or no baseline.
    """
    records, damaged = kept(home)
    if not records:
        raise Fault("data-missing", f"{home} holds no record to compare; run `zoo run` first")
    measured = baseline.measured(records, planned, damaged)
    if accept:
        return _accept(path, measured)
    judged = compare(baseline.read(path), measured)
    print(FORMS[form](judged).rstrip("\n"))
    for file, write in ((junit, verdicts.junit), (summary, verdicts.summary)):
        if file is not None:
            files.write_text(file, write(judged))
    return code(judged)


def _accept(path: Path, measured: baseline.Measured) -> int:
    before = compare(baseline.read(path), measured) if path.exists() else []
    made = baseline.accept(path, measured)
    changed = [verdict for verdict in before if verdict.state != "pass"]
    if changed:
        print(verdicts.table(changed))
    for model, protocol in sorted(measured.stale):
        said = f"not among them: {model} {protocol}: stale, its records are of other weights; run it again"
        print(printable(said, LONGEST), file=sys.stderr)
    print(f"accepted {len(made.entries)} numbers: {path}", file=sys.stderr)
    return 0
