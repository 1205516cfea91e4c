"""A deployed stack, as its user handles it: apply a plan, submit, look, fetch, cancel, drain, remove."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from aws.local.stack import JobLine, LocalStack

app = typer.Typer()
_LOOK_EVERY_S = 2.0
_AWS_FAILED = 4
Stack = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which stack; may be left out where there is only one.")
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]


class Where(StrEnum):
    """What a plan is applied to."""

    aws = "aws"
    local = "local"


@command(app)
def apply(
    terminal: Terminal,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What `spotbed plan` wrote.")],
    target: Annotated[Where, typer.Option(help="An account, or processes on this machine.")] = Where.aws,
    stack: Annotated[str | None, typer.Option(metavar="NAME", help="Its name; else the scenario's.")] = None,
) -> None:
    """Deploy exactly what a plan says. A local stack runs its jobs as processes of this machine.

    A local stack keeps the plan's policy, and waits shorter: a lease of 15 s, a tick of 1 s, a keep-alive of 5 s.
    """
    from datetime import UTC, datetime

    from aws.plan import read_plan
    from spotbed.errors import OutsideError

    wanted = read_plan(plan, datetime.now(UTC))
    if target is Where.aws:
        how = "give --target local, or deploy aws/templates by SAM as docs/deploy.md says"
        raise OutsideError("This version applies plans to a local fleet only.", "the plan", how, exit_code=_AWS_FAILED)
    from aws.local.stack import apply_local

    pools = [pool.spec() for pool in wanted.pools]
    name = stack or re.sub("[^A-Za-z0-9]+", "-", wanted.scenario).strip("-")
    made = apply_local(name, wanted.policy, pools, sources=wanted.policy_sources)
    terminal.result(Table(["stack", "folder"], [[made.name, str(made.folder)]]))
    terminal.note(f"The stack runs, and goes on in the background. Next: spotbed submit FILE --stack {made.name}")


@command(app)
def status(
    terminal: Terminal,
    stack: Stack = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until interrupted.")] = False,
) -> None:
    """Jobs and workers by phase, instances, and messages in the queues."""
    import time

    mine = _stack(stack)
    _show_status(terminal, mine.status())
    while watch:
        time.sleep(_LOOK_EVERY_S)
        _show_status(terminal, mine.status())


def _show_status(terminal: Terminal, found: dict[str, Any]) -> None:
    rows = [[f"{what} {name}", count] for what in ("jobs", "workers") for name, count in sorted(found[what].items())]
    rows += [[f"queue {name}", count] for name, count in found["queues"].items()]
    rows += [["instances", len(found["instances"])], ["executions", found["executions"]]]
    terminal.result(Table(["what", "count"], rows), found)


@command(app)
def submit(
    terminal: Terminal,
    path: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="Jobs as JSON or JSON lines; or a folder with one executable.")
    ],
    stack: Stack = None,
) -> None:
    """Submit jobs. Of a folder the one executable is run; what it writes there is its output."""
    ids = _stack(stack).submit(path)
    terminal.result(Table(["job"], [[each] for each in ids]), {"jobs": ids})


@command(app)
def jobs(terminal: Terminal, stack: Stack = None) -> None:
    """All jobs, in the order of submission."""
    lines = _stack(stack).jobs()
    columns = ["job_id", "phase", "attempts", "interruptions", "exit_code", "holder"]
    rows = [[getattr(line, column) for column in columns] for line in lines]
    terminal.result(Table(columns, rows), {"jobs": [asdict(line) for line in lines]}, data=lambda: _all(lines))


def _all(lines: Sequence[JobLine]) -> Table:
    return Table.of_records([asdict(line) for line in lines])


@command(app)
def logs(terminal: Terminal, job: Job, stack: Stack = None) -> None:
    """The whole output of the last attempt of a job that has ended, as it was written."""
    content = _stack(stack).logs(job)
    if terminal.format is Format.json:
        terminal.document({"job_id": job, "log": content.decode("utf-8", "replace")})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


@command(app)
def fetch(
    terminal: Terminal,
    job: Job,
    stack: Stack = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to; what is there is replaced.")] = Path(),
) -> None:
    """Bring the outputs of a job that is done."""
    paths = [str(path) for path in _stack(stack).fetch(job, out)]
    terminal.result(Table(["fetched"], [[path] for path in paths]), {"fetched": paths})


@command(app)
def cancel(terminal: Terminal, job: Job, stack: Stack = None) -> int:
    """End a job, also while it runs. Exits with 1 for one that has ended already."""
    phase = _stack(stack).cancel(job)
    terminal.result(Table(["job", "phase"], [[job, phase]]), {"job_id": job, "phase": phase})
    return OK if phase == "cancelled" else FAILURE


@command(app)
def drain(terminal: Terminal, stack: Stack = None) -> None:
    """Launch nothing any more, and let every worker end after what it does now."""
    mine = _stack(stack)
    mine.drain()
    terminal.note(f"{mine.name} drains: spotbed status --stack {mine.name} --watch")


@command(app)
def destroy(
    terminal: Terminal,
    stack: Annotated[str, typer.Argument(metavar="NAME", help="The stack.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Remove a stack with its jobs, tables and outputs. It asks before."""
    from aws.local import stack as stacks

    question = f"Remove the local stack {stack!r}, with all jobs and outputs that were not fetched?"
    if not yes and not typer.confirm(question, err=True):
        terminal.note("Nothing was removed.")
        return FAILURE
    stacks.destroy(stack)
    terminal.note(f"Removed: {stack}. Nothing of it runs, and nothing is kept.")
    return OK


def _stack(name: str | None) -> LocalStack:
    from aws.local.stack import LocalStack, names
    from spotbed.errors import InputError, Problem

    if name is None:
        known = names()
        if len(known) != 1:
            says = f"which of {', '.join(known)}?" if known else "there is none."
            hint = "Give --stack NAME." if known else "Start one: spotbed apply PLAN --target local."
            raise InputError(Problem(f"stack: {says}", hint=hint))
        name = known[0]
    return LocalStack(name)
