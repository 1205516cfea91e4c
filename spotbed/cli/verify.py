"""Live against simulated: a deployed run held to its replay and to its prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import GATE_FAILED, OK
from spotbed.cli.stack import Name, Place, chosen, session_for
from spotbed.cli.tables import Format, Table, to_markdown, to_text
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from aws.canary import Decision
    from aws.stack import Stack
    from spotbed.verify.lines import Line
    from spotbed.verify.replay import Deployed, Run
    from spotbed.verify.verdict import Verdict

app = typer.Typer()


class Services(StrEnum):
    """With which services a run is played again."""

    planned = "planned"
    measured = "measured"


Journal = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A journal that was kept, in place of the stack's.", show_default=False),
]
Plan = Annotated[
    Path | None, typer.Option(metavar="PLAN", help="The plan that was applied; else the one that the stack keeps.")
]
Scenario = Annotated[Path | None, typer.Option(metavar="FILE", help="Where the plan's scenario is, if it was moved.")]


@command(app)
def verify(
    terminal: Terminal,
    stack: Name = None,
    plan: Plan = None,
    journal: Journal = None,
    scenario: Scenario = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Nothing before it (2026-11-23T20:00:00Z); else before the plan was made."),
    ] = None,
    services: Annotated[
        Services | None,
        typer.Option(
            help="Play it again with the latencies of the scenario, or with those of the run. Left out: planned in an "
            "account, measured for a local stack.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the services as this run had them, as a preset for scenarios."),
    ] = None,
    *,
    place: Place,
) -> int:
    """Price and measure a deployed run, play it again in the simulator, and say how far apart they are.

    The jobs, launches, boots and losses are those of its journal; the decisions are made anew. Exits with 3 when a
    limit is broken: against the replay, or (in an account) against what the plan predicted.
    """
    from spotbed.verify.latencies import recalibrated
    from spotbed.verify.lines import since as from_moment
    from spotbed.verify.replay import run_of
    from spotbed.verify.verdict import verdict

    lines, planned = _lines_and_plan(stack, place, plan, journal)
    lines = from_moment(lines, _moment_ms(since, planned))
    is_local = any(line.fact == "stack" and line.body.get("target") == "local" for line in lines)
    deployed = _deployed(planned, lines, scenario)
    run = run_of(lines, deployed)
    fitted = recalibrated(run, deployed)
    as_measured = services is Services.measured or (services is None and is_local)
    found = verdict(
        run,
        deployed,
        planned["prediction"],
        services=fitted.preset if as_measured else None,
        binding=not is_local,
    )
    canary = _canary(run, found, planned["prediction"])
    _show(terminal, found, canary, [asdict(row) for row in fitted.rows])
    if write is not None:
        from spotbed.files import write_text

        write_text(write, fitted.document())
        terminal.note(f"Written: {write}. In a scenario: services: {{preset: {write}}}")
    if is_local and found.held:
        terminal.note("A local stack is no EC2: what was predicted is shown, and does not decide.")
    goes_back = canary.action == "roll back" and not is_local
    return GATE_FAILED if goes_back or not found.passed else OK


def _canary(run: Run, found: Verdict, prediction: Mapping[str, Any]) -> Decision:
    """What the canary's rule says of the whole run."""
    from aws.canary import Window, decide, most_within
    from aws.prediction import Prediction, limits

    jobs, live = run.seen.jobs.values(), found.live.metrics
    window = Window(
        seconds=(run.seen.last_ms - run.seen.first_ms) / 1000,
        jobs_done=int(live["jobs_done"]),
        duplicate_completions=int(live["duplicate_completions"]),
        lost_jobs=int(live["jobs_lost"]),
        dead_letters=most_within([job.end_ms for job in jobs if job.given_up], "DeadLetters"),
        deadline_misses=most_within([job.ticket.deadline_ms for job in jobs if job.missed], "DeadlineMisses"),
        cost_usd=live["cost_usd"],
    )
    return decide(limits(Prediction.model_validate(prediction)), window)


@command(app)
def rebuild(
    terminal: Terminal,
    stack: Name = None,
    from_table: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE", help="The job table that was restored, if it was lost; its name begins with STACK-jobs-."
        ),
    ] = None,
    *,
    place: Place,
) -> None:
    """After a loss of tables: make workers, leases, indexes and counters again from the jobs and the instances.

    With --from-table, the jobs are those of the restored table; all instances are stopped, what has ended since is
    found in the bucket, and jobs that were submitted since have to be submitted again.
    """
    mine = chosen(stack, place)
    buckets = sorted({mine.address.bucket, mine.address.results})
    found = mine.rebuild(from_table or "", buckets)
    terminal.result(Table(["what", "count"], [[name, count] for name, count in found.items()]), found)


def _lines_and_plan(
    stack: str | None, place: Place, plan: Path | None, journal: Path | None
) -> tuple[list[Line], Mapping[str, Any]]:
    from spotbed.verify.lines import read_journal

    if journal is not None and plan is not None:
        return read_journal(journal), read_applied(plan)
    mine = chosen(stack, place)
    lines = lines_of_stack(mine, place) if journal is None else read_journal(journal)
    return lines, mine.plan() if plan is None else read_applied(plan)


def lines_of_stack(mine: Stack, place: Place) -> list[Line]:
    """The journal of a stack that runs. Raises InputError for one that has not heard of a job."""
    from aws.local.stack import LocalStack
    from aws.logs import journal_of
    from spotbed.errors import InputError, Problem
    from spotbed.verify.lines import lines_of

    if isinstance(mine, LocalStack):
        lines = lines_of(mine.journal())
    else:
        session = session_for(mine.name, place)
        lines = lines_of(journal_of(session.client("logs"), mine.name))
    if not any(line.fact == "job" for line in lines):
        raise InputError(Problem(f"stack {mine.name} has heard of no job yet.", hint="Submit some: spotbed submit."))
    return lines


def _moment_ms(since: str | None, plan: Mapping[str, Any]) -> int:
    """From when on a run is verified. Raises InputError."""
    from spotbed.errors import InputError, Problem
    from spotbed.quantities import UnitError, parse_timestamp

    text = since or plan.get("created_at")
    if text is None:
        return 0
    try:
        return round(parse_timestamp(text).timestamp() * 1000)
    except UnitError as error:
        raise InputError(Problem(f"{error.message}.", path="--since", value=text, hint=error.hint)) from None


def read_applied(path: Path) -> dict[str, Any]:
    """A plan that was applied, however old. Raises InputError."""
    from spotbed.errors import InputError, Problem

    try:
        found = json.loads(path.read_text("utf-8"))
        _ = found["prediction"]["per_job"], found["policy"]["settings"], found["scenario_file"]
    except OSError as error:
        raise InputError(Problem(f"cannot be read ({error.strerror}).", str(path))) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(Problem("is no plan.", str(path), hint="`spotbed plan` writes one.")) from None
    return dict(found)


def _deployed(plan: Mapping[str, Any], lines: Sequence[Line], scenario: Path | None) -> Deployed:
    """What ran. Raises InputError when the scenario is not there, or is not the one that was planned."""
    from dataclasses import replace

    from scheduler.settings import Settings
    from spotbed.api import ready
    from spotbed.errors import InputError, Problem
    from spotbed.scenario.load import load_scenario
    from spotbed.verify.replay import Deployed

    file = scenario or Path(plan["scenario_file"])
    if not file.is_file():
        hint = "Say where it is: --scenario FILE."
        raise InputError(Problem(f"the plan's scenario {str(file)!r} is not here.", path="scenario", hint=hint))
    made = ready(load_scenario(file, plan["overrides"]), worlds=1)
    if made.scenario.sha256 != plan["hashes"]["scenario"]:
        raise InputError(Problem("is not the scenario that was planned.", str(file), hint="Take that one again."))
    composed = made.composed[plan["label"]]
    told = next((line.body["settings"] for line in lines if line.fact == "stack"), plan["policy"]["settings"])
    policy = replace(made.policy(composed), settings=Settings(**told))
    return Deployed(made, composed, policy)


# showing ------------------------------------------------------------------------------------------------------------
_ROW = ["what", "name", "live", "replayed", "error", "limit", "passed"]
_HELD = ["name", "live", "low", "high", "inside"]


def _show(terminal: Terminal, found: Verdict, canary: Decision, latencies: Sequence[dict[str, Any]]) -> None:
    rows = [asdict(row) for row in found.rows]
    document = {
        "schema_version": 1,
        "passed": found.passed,
        "rows": rows,
        "prediction": [asdict(each) for each in found.held],
        "checks": [asdict(each) for each in found.checks],
        "canary": asdict(canary),
        "latencies": list(latencies),
        "notes": list(found.notes),
    }
    if terminal.format in (Format.json, Format.csv):
        terminal.result(Table.of_records(rows), document)
    else:
        blocks = [_block(terminal, title, table) for title, table in _tables(found, rows, latencies)]
        rule = f"As a canary: {'; '.join([canary.action, *canary.reasons])}."
        terminal.text("\n\n".join([*blocks, rule, *found.notes]))
    for row in found.rows:
        if not row.passed:
            terminal.alert(f"limit broken: {row.name}: {row.live:g} live, {row.replayed:g} played again ({row.why})")
    for check in found.checks:
        if not check.passed:
            terminal.alert(f"limit broken: {check.check}: {check.detail}")
    for held in found.held:
        if held.binding and not held.inside:
            terminal.alert(f"limit broken: {held.name}: {held.live:g}, predicted {held.low:g} to {held.high:g}")


def _tables(
    found: Verdict, rows: Sequence[dict[str, Any]], latencies: Sequence[dict[str, Any]]
) -> list[tuple[str, Table]]:
    tables = [
        ("Live against played again", Table(_ROW, [[_shown(name, row[name]) for name in _ROW] for row in rows])),
        ("The journal", Table.of_records([asdict(each) for each in found.checks])),
        ("Latencies, in seconds", Table.of_records(latencies)),
    ]
    if found.held:
        held = [[_shown(name, getattr(each, name)) for name in _HELD] for each in found.held]
        tables.insert(1, ("Live against predicted", Table(_HELD, held)))
    return [(title, table) for title, table in tables if table.rows]


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return "n/a"
    if name == "error":
        return f"{value:+.1%}"
    return f"{value:.4g}" if isinstance(value, float) else value


def _block(terminal: Terminal, title: str, table: Table) -> str:
    if terminal.format is Format.markdown:
        return f"### {title}\n\n{to_markdown(table)}"
    return f"{title}\n{to_text(table, width=None, color=False)}"
