"""A deployed stack, as its user handles it, in an account or on this machine: submit, look, fetch, cancel, drain."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spotbed.cli.command import Options, command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from aws.session import Session
    from aws.stack import JobLine, Stack

app = typer.Typer()
_AWS_FAILED = 4


class Where(StrEnum):
    """Where a stack is."""

    aws = "aws"
    local = "local"


_PANEL = "Which stack"
Name = Annotated[
    str | None,
    typer.Option(
        "--stack", metavar="NAME", help="Its name; may be left out where there is only one.", rich_help_panel=_PANEL
    ),
]
Target = Annotated[
    Where | None,
    typer.Option(
        "--target",
        help="In an account, or on this machine. Left out: here if a local stack has the name, else in an account.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(metavar="REGION", help="Of AWS; else as the AWS command line has it.", rich_help_panel=_PANEL),
]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of ~/.aws/config; else as the AWS command line has it.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True)
class Place(Options):
    """Where a stack is looked for. Left out: here if a local stack has the name, else in an account."""

    target: Target = None
    region: Region = None
    profile: Profile = None


Job = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]


@command(app)
def status(
    terminal: Terminal,
    stack: Name = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s (AWS: 15 s), until interrupted.")] = False,
    *,
    place: Place,
) -> int:
    """Jobs and workers by phase, instances, and messages in the queues.

    Exits with 4 when the fleet launches nothing more: the spend cap is reached,
    or the workers of a pool never became ready.
    """
    import time

    mine = chosen(stack, place)
    code = _show_status(terminal, mine.status())
    while watch:
        time.sleep(mine.look_every_s)
        code = _show_status(terminal, mine.status())
    return code


def _show_status(terminal: Terminal, found: dict[str, Any]) -> int:
    rows = [[f"{what} {name}", count] for what in ("jobs", "workers") for name, count in sorted(found[what].items())]
    rows += [[f"queue {name}", count] for name, count in found["queues"].items()]
    rows += [["instances", len(found["instances"])], ["executions", found["executions"]]]
    terminal.result(Table(["what", "count"], rows), found)
    if found["drained"]:
        terminal.note(f"{found['name']} drains: nothing is launched. spotbed resume --stack {found['name']} ends that.")
    if found["cap_reached"]:
        terminal.alert(_cap(found["name"]))
    stopped = {name: pool["stopped"] for name, pool in found["pools"].items() if pool["stopped"]}
    for name, why in stopped.items():
        terminal.alert(f"error: nothing is launched in pool {name} any more: {why}")
    if stopped:
        terminal.alert(_way_on(found["name"]))
    return _AWS_FAILED if stopped or found["cap_reached"] else OK


def _cap(name: str) -> str:
    return (
        "error: the spend cap is reached: nothing is launched any more.\n"
        "Kept: all jobs; they wait, and what runs goes on.\n"
        f"To go on: raise spend_cap in TARGET.yaml, plan and apply, and launch again: spotbed resume --stack {name}"
    )


def _way_on(name: str) -> str:
    return (
        "Kept: all jobs; they wait.\n"
        "To go on: see why its instances do not report (has the image the SSM agent? does the network lead to SSM, S3 "
        f"and Lambda? aws ec2 get-console-output), mend that, and launch again: spotbed resume --stack {name}"
    )


@command(app)
def submit(
    terminal: Terminal,
    path: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="Jobs as JSON or JSON lines; or a folder with one executable.")
    ],
    stack: Name = None,
    *,
    place: Place,
) -> None:
    """Submit jobs. Of a folder the one executable is run; what it writes there is its output.

    A job that is there already is not submitted again.
    """
    known: list[str] = []
    ids = chosen(stack, place).submit(path, known.append)
    terminal.result(Table(["job"], [[each] for each in ids]), {"jobs": ids, "known": known})
    if known:
        terminal.alert(f"There already, and not submitted again: {', '.join(known)}. Another id makes another job.")


@command(app)
def jobs(
    terminal: Terminal,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One job: its last attempts.")] = None,
    stack: Name = None,
    *,
    place: Place,
) -> None:
    """All jobs, in the order of submission; or one with its attempts.

    The cost is an estimate: time under a lease, at the pool's price.
    """
    mine = chosen(stack, place)
    if job is not None:
        _show_job(terminal, mine.job(job))
        return
    lines = mine.jobs()
    columns = ["job_id", "phase", "attempts", "interruptions", "exit_code", "cost_usd", "holder"]
    rows = [[getattr(line, column) for column in columns] for line in lines]
    terminal.result(Table(columns, rows), {"jobs": [asdict(line) for line in lines]}, data=lambda: _all(lines))


def _show_job(terminal: Terminal, line: JobLine) -> None:
    from spotbed.quantities import format_timestamp

    def at(ms: int | None) -> str:
        return "" if ms is None else format_timestamp(datetime.fromtimestamp(ms // 1000, UTC))

    rows = [
        [
            each["attempt"],
            each["pool"],
            each["worker"],
            at(each["started_ms"]),
            at(each.get("ended_ms")),
            each.get("cause"),
        ]
        for each in line.attempt_log
    ]
    columns = ["attempt", "pool", "worker", "started", "ended", "cause"]
    terminal.result(Table(columns, rows), asdict(line))
    terminal.note(f"{line.job_id}: {line.phase}, about ${line.cost_usd:,.4f}")


def _all(lines: Sequence[JobLine]) -> Table:
    return Table.of_records([asdict(line) for line in lines])


@command(app)
def logs(
    terminal: Terminal,
    job: Job,
    stack: Name = None,
    *,
    place: Place,
) -> None:
    """The whole output of the last attempt of a job that has ended, as it was written."""
    content = chosen(stack, place).logs(job)
    if terminal.format is Format.json:
        terminal.document({"job_id": job, "log": content.decode("utf-8", "replace")})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


@command(app)
def fetch(
    terminal: Terminal,
    job: Job,
    stack: Name = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to; what is there is replaced.")] = Path(),
    *,
    place: Place,
) -> None:
    """Bring the outputs of a job that is done."""
    paths = [str(path) for path in chosen(stack, place).fetch(job, out)]
    terminal.result(Table(["fetched"], [[path] for path in paths]), {"fetched": paths})


@command(app)
def cancel(
    terminal: Terminal,
    job: Job,
    stack: Name = None,
    *,
    place: Place,
) -> int:
    """End a job, also while it runs, or all that is open of an array. Exits with 1 for what has ended already."""
    phase = chosen(stack, place).cancel(job)
    terminal.result(Table(["job", "phase"], [[job, phase]]), {"job_id": job, "phase": phase})
    return OK if phase == "cancelled" else FAILURE


@command(app)
def drain(
    terminal: Terminal,
    stack: Name = None,
    *,
    place: Place,
) -> None:
    """Launch nothing any more, and let every worker end after what it does now."""
    mine = chosen(stack, place)
    mine.drain()
    terminal.note(f"{mine.name} drains: spotbed status --stack {mine.name} --watch")


@command(app)
def resume(
    terminal: Terminal,
    stack: Name = None,
    *,
    place: Place,
) -> None:
    """Launch again: after a drain, after a higher spend cap, and in pools that were given up."""
    mine = chosen(stack, place)
    mine.resume()
    terminal.note(f"{mine.name} launches again: spotbed status --stack {mine.name} --watch")


# which stack --------------------------------------------------------------------------------------------------------
def chosen(name: str | None, place: Place) -> Stack:
    """The stack that is meant. Raises InputError when that cannot be told, OutsideError when it is not there."""
    from aws.deployed import deployed
    from aws.local.stack import LocalStack

    if where(name, place) is Where.local:
        return LocalStack(_only(_local_names(), "on this machine") if name is None else name)
    session = session_for(name, place)
    if name is None:
        from aws.deployed import scheduler_names

        name = _only(scheduler_names(session), f"in {session.region} of the account {session.identity.account}")
    return deployed(name, session)


def where(name: str | None, place: Place) -> Where:
    """Where a stack is looked for: where the options say; else here, if there is one of this name (or any, without a
    name or anything that only AWS has)."""
    if place.target is not None:
        return place.target
    here = _local_names()
    if name is None:
        return Where.local if here and place == Place() else Where.aws
    return Where.local if name in here else Where.aws


def session_for(name: str | None, place: Place) -> Session:
    """A session with AWS. Raises InputError, which tells of the local stacks, where nobody has said that AWS is meant
    and there is no way to it."""
    from aws.session import Session
    from spotbed.errors import InputError, OutsideError, Problem

    meant = place != Place()
    try:
        session = Session(place.region, place.profile)
        if meant or session.has_credentials:
            return session
    except OutsideError:
        if meant:
            raise
    what = "there is no local stack." if name is None else f"there is no local stack {name!r}; there are: {_listed()}."
    hint = (
        "AWS was not asked: there are no credentials, or no region. Start one here: spotbed apply PLAN --target local."
    )
    raise InputError(Problem(what, path="stack", value=name, hint=hint))


def _only(names: Sequence[str], place: str) -> str:
    from spotbed.errors import InputError, Problem

    if len(names) == 1:
        return names[0]
    says = f"which of {', '.join(names)}?" if names else f"there is none {place}."
    hint = "Give --stack NAME." if names else "Start one: spotbed apply PLAN."
    raise InputError(Problem(says, path="stack", hint=hint))


def _local_names() -> list[str]:
    from aws.local.stack import names

    return names()


def _listed() -> str:
    return ", ".join(_local_names()) or "none"
