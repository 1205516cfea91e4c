"""Scenarios: are they valid, what does one world give, and which policy is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.engines import Engines
from spotbed.cli.failures import GATE_FAILED, INVALID_INPUT, OK, told
from spotbed.cli.progress import progress
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from spotbed.api import Comparison
    from spotbed.errors import Problem

app = typer.Typer()
Scenario = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario in YAML.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change a key of the scenario; may be repeated.")
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Skip lines of job logs and prices that cannot be read.")]
Out = Annotated[Path | None, typer.Option(help="The folder to write; below reports/ if not given.")]


@command(app)
def validate(
    terminal: Terminal,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scenarios and targets in YAML.")],
    lenient: Lenient = False,
) -> int:
    """Tell all errors of scenarios, and of the files they name, with file, line and column. Nothing is run.

    A file that says `schema: spotbed/target/v1` is checked as the inputs of an account.
    """
    verdicts = [Verdict(str(file), _problems(file, lenient)) for file in files]
    if terminal.format is Format.table:
        terminal.text("\n".join(verdict.told() for verdict in verdicts))
    else:
        rows = [[verdict.file, verdict.valid, len(verdict.problems)] for verdict in verdicts]
        document = {"files": [verdict.to_dict() for verdict in verdicts]}
        terminal.result(Table(["file", "valid", "problems"], rows), document)
    return OK if all(verdict.valid for verdict in verdicts) else INVALID_INPUT


def _problems(file: Path, lenient: bool) -> list[Problem]:
    from aws.target import is_target, validate_target
    from spotbed import api

    return validate_target(file) if is_target(file) else api.validate(file, lenient=lenient)


@command(app)
def run(
    terminal: Terminal,
    file: Scenario,
    policy: Annotated[
        str | None, typer.Option(metavar="LABEL", help="One of the scenario's policies; else its first.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Another seed than the scenario's.")] = None,
    overrides: Overrides = None,
    lenient: Lenient = False,
    out: Out = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="Keep no journal: for runs too long to keep one.")
    ] = False,
) -> None:
    """Run one world under one policy, and write its journal, tables and report."""
    from spotbed import api, results

    with progress(terminal, f"run {file.name}") as bar:
        done = api.run_scenario(
            file,
            policy=policy,
            seed=seed,
            overrides=settings(file, overrides, lenient),
            out=out,
            journal=not no_journal,
            progress=bar,
            warn=warn(terminal),
        )
    estimates = results.estimates_table(done.results)
    place = {column: index for index, column in enumerate(estimates.columns)}
    rows = [[row[place["metric"]], row[place["mean"]], row[place["unit"]]] for row in estimates.rows]
    terminal.result(Table(["metric", "value", "unit"], rows), done.results)
    tell_notes(terminal, done.notes)
    terminal.note(f"Written: {done.path} (open {done.path / 'report.html'})")


@command(app)
def compare(
    terminal: Terminal,
    file: Scenario,
    baseline: Annotated[str | None, typer.Option(metavar="LABEL", help="Another baseline than the scenario's.")] = None,
    replications: Annotated[int | None, typer.Option(min=1, metavar="N", help="How many worlds.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="P%", help="Run worlds until every mean cost is so precise, such as 2%."),
    ] = None,
    at_most: Annotated[
        int | None, typer.Option("--max", min=2, metavar="N", help="With --precision: no more worlds than this.")
    ] = None,
    overrides: Overrides = None,
    lenient: Lenient = False,
    policies: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="LABEL", help="Only this one and the baseline; may be repeated."),
    ] = None,
    out: Out = None,
    *,
    engines: Engines,
) -> int:
    """Run all policies on the same worlds: means with intervals, paired differences, gates, and the report."""
    from spotbed import api
    from spotbed.precision import wanted_precision

    wanted = wanted_precision(precision, at_most)
    with progress(terminal, f"compare {file.name}") as bar:
        comparison = api.compare_scenario(
            file,
            baseline=baseline,
            replications=replications,
            engine=engines.chosen(),
            out=out,
            overrides=settings(file, overrides, lenient),
            policies=tuple(policies) if policies else None,
            precision=wanted,
            progress=bar,
            warn=warn(terminal),
        )
    return show_comparison(terminal, comparison)


def settings(file: Path, overrides: list[str] | None, lenient: bool) -> list[str]:
    """The overrides that were given, and those that --lenient stands for in this scenario."""
    from spotbed import api

    settings = list(overrides or ())
    return [*settings, *api.lenient_settings(file, settings)] if lenient else settings


def warn(terminal: Terminal) -> Callable[[Sequence[Problem]], None]:
    """Warnings are heard also with --quiet."""
    from spotbed.scenario.problems import render_all

    return lambda warnings: terminal.alert(render_all(warnings))


def tell_notes(terminal: Terminal, notes: Sequence[str]) -> None:
    for note in notes:
        terminal.note(f"note: {note}")


def show_comparison(terminal: Terminal, comparison: Comparison) -> int:
    """Print a comparison and where it was written; the exit code says whether all gates passed."""
    from spotbed import results

    found = comparison.results
    terminal.result(results.results_table(found), found, data=lambda: results.estimates_table(found))
    tell_notes(terminal, comparison.notes)
    terminal.note(f"Written: {comparison.path} (open {comparison.path / 'index.html'})")
    failed = [gate for gate in found["gates"] if not gate["passed"]]
    for gate in failed:
        terminal.alert(f"gate failed: {gate['rule']} for {gate['policy']}")
    return GATE_FAILED if failed else OK


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation found in one file: errors, and warnings that stop nothing."""

    file: str
    problems: list[Problem]

    @property
    def valid(self) -> bool:
        """Whether there are no errors."""
        from spotbed.scenario.problems import is_error

        return not any(is_error(problem) for problem in self.problems)

    def told(self) -> str:
        """For people."""
        words = [told(self.problems)] if self.problems else []
        return "\n".join([*words, f"{self.file}: valid"] if self.valid else words)

    def to_dict(self) -> dict[str, object]:
        """For programs."""
        from spotbed.scenario.problems import is_error

        problems = [{"error": is_error(problem), **asdict(problem)} for problem in self.problems]
        return {"file": self.file, "valid": self.valid, "problems": problems}
