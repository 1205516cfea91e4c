"""Making a stack of a plan, and removing it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.progress import progress
from spotbed.cli.stack import Place, Profile, Where, session_for, where
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from aws.account import Prepared
    from aws.plan import Plan
    from aws.removal import Found, Removal

app = typer.Typer()
_STILL = "what was not removed yet; nothing is launched any more, and CloudFormation ends by itself what it deletes"
_CHANGE = ["stack", "action", "resource", "type"]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@command(app)
def apply(
    terminal: Terminal,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What `spotbed plan` wrote.")],
    target: Annotated[Where, typer.Option(help="Into an account, or as processes of this machine.")] = Where.aws,
    stack: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a local stack: its name; else the scenario's.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, should a table, bucket, queue or group be replaced or removed.")
    ] = False,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="That of the plan; any other is refused.")
    ] = None,
    profile: Profile = None,
) -> int:
    """Deploy exactly what a plan says, and nothing else; a second time there is nothing to do.

    In an account it shows what CloudFormation would add, change,
    replace or remove, then does it and waits.

    A local stack keeps the plan's policy, and waits shorter:
    a lease of 15 s, a tick of 1 s, a keep-alive of 5 s.
    """
    from datetime import UTC, datetime

    from aws.plan import read_plan

    wanted = read_plan(plan, datetime.now(UTC))
    if target is Where.local:
        return _apply_here(terminal, wanted, stack)
    return _apply_there(terminal, wanted, stack, region, profile, yes=yes)


def _apply_here(terminal: Terminal, plan: Plan, name: str | None) -> int:
    from aws.local.stack import apply_local
    from aws.plan import specs_of

    made = apply_local(
        name or re.sub("[^A-Za-z0-9]+", "-", plan.scenario).strip("-"),
        plan.policy,
        specs_of(plan.pools),
        sources=plan.policy_sources,
        plan=plan.text(),
    )
    terminal.result(Table(["stack", "folder"], [[made.name, str(made.folder)]]))
    terminal.note(f"The stack runs, and goes on in the background. Next: spotbed submit FILE --stack {made.name}")
    return OK


def _apply_there(
    terminal: Terminal, plan: Plan, name: str | None, region: str | None, profile: str | None, *, yes: bool
) -> int:
    from aws.account import account_of, discard, perform, prepare
    from aws.session import Session
    from spotbed.errors import InputError, Problem

    wanted = account_of(plan)
    if name not in (None, wanted.stack):
        message = f"the plan's target calls the stack {wanted.stack!r}."
        raise InputError(Problem(message, path="--stack", value=name, hint="Leave it out."))
    session = Session(region or wanted.region, profile)
    with progress(terminal, f"{wanted.stack} in {wanted.region}") as bar, keeping("every stack as it was"):
        prepared = prepare(plan, session, bar.update)
    _show_changes(terminal, prepared)
    if not prepared.changes:
        terminal.note(f"Nothing to do: {wanted.stack} is as the plan says.")
    elif prepared.losses and not yes and not typer.confirm(_asks(prepared), err=True):
        discard(prepared)
        terminal.note("Nothing was deployed.")
        return FAILURE
    with progress(terminal, f"{wanted.stack} in {wanted.region}") as bar:
        perform(prepared.heard_by(bar.update))
    if prepared.changes:
        idle_usd = plan.idle.usd_per_month[wanted.network.out]
        terminal.note(
            f"Deployed: {wanted.stack} in account {session.identity.account}. While no job runs it costs about "
            f"${idle_usd:,.0f} a month. Next: spotbed submit FILE --stack {wanted.stack} --region {wanted.region}"
        )
    return OK


@contextlib.contextmanager
def keeping(what: str) -> Iterator[None]:
    """An interruption without words says that this is kept."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        raise KeyboardInterrupt(str(interrupted) or what) from None


def _show_changes(terminal: Terminal, prepared: Prepared) -> None:
    rows = [[each.stack, each.action, each.resource, each.type] for each in prepared.changes]
    document = {
        "account": prepared.session.identity.account,
        "region": prepared.target.region,
        "stack": prepared.target.stack,
        "changes": [dict(zip(_CHANGE, row, strict=True)) for row in rows],
        "notes": list(prepared.notes),
    }
    if rows or terminal.format is not Format.table:
        terminal.result(Table(_CHANGE, _in_short(prepared)), document, data=lambda: Table(_CHANGE, rows))
    for note in prepared.notes:
        terminal.alert(f"Note: {note}")


def _in_short(prepared: Prepared) -> list[list[object]]:
    """Every change of a resource, but one line for all that is added to a stack."""
    rows: list[list[object]] = []
    for each in prepared.change_sets:
        added = sum(change.action == "add" for change in each.changes)
        if added:
            rows.append([each.stack, "add", f"{added} resource{'s' * (added > 1)}", ""])
        rows += [[one.stack, one.action, one.resource, one.type] for one in each.changes if one.action != "add"]
    return rows


def _asks(prepared: Prepared) -> str:
    listed = ", ".join(f"{each.action} {each.stack} {each.resource}" for each in prepared.losses)
    return f"This takes away {' and '.join(prepared.lost)}: {listed}. Go on?"


@command(app)
def destroy(
    terminal: Terminal,
    stack: Annotated[str, typer.Argument(metavar="NAME", help="The stack.")],
    yes: Yes = False,
    now: Annotated[
        bool, typer.Option("--now", help="In an account: do not wait until running jobs have ended.")
    ] = False,
    *,
    place: Place,
) -> int:
    """Remove a stack with its jobs, tables and outputs. It asks before.

    In an account it drains first: workers end what they do, unless --now.
    Then all is removed that bills, also the teams' buckets with what is in them.
    """
    if where(stack, place) is Where.local:
        return _destroy_here(terminal, stack, yes=yes)
    return _destroy_there(terminal, stack, place, yes=yes, now=now)


def _destroy_here(terminal: Terminal, name: str, *, yes: bool) -> int:
    from aws.local import stack as stacks

    question = f"Remove the local stack {name!r}, with all jobs and outputs that were not fetched?"
    if not yes and not typer.confirm(question, err=True):
        terminal.note("Nothing was removed.")
        return FAILURE
    stacks.destroy(name)
    terminal.note(f"Removed: {name}. Nothing of it runs, and nothing is kept.")
    return OK


def _destroy_there(terminal: Terminal, name: str, place: Place, *, yes: bool, now: bool) -> int:
    from aws.removal import Removal

    session = session_for(name, place)
    with progress(terminal, f"{name} in {session.region}") as bar:
        removal = Removal(name, session, bar.update)
        found = removal.find()
    if not yes and not typer.confirm(_asks_to_remove(found, session.identity.account, session.region), err=True):
        terminal.note("Nothing was removed.")
        return FAILURE
    with progress(terminal, f"{name} in {session.region}") as bar, keeping(_STILL):
        removal.heard = bar.update
        try:
            removal.run(found, now=now)
        finally:
            _show_removed(terminal, removal)
    terminal.note(f"Nothing of {name} is left in {session.region}.")
    return OK


def _asks_to_remove(found: Found, account: str, region: str) -> str:
    stacks = ", ".join(found.stacks()) or "what is left of it"
    full = f" and all that is in the buckets {', '.join(found.buckets)}" if found.buckets else ""
    return f"Remove {stacks} from {region} of the account {account}, with all jobs{full}?"


def _show_removed(terminal: Terminal, removal: Removal) -> None:
    rows = [[each.what, each.name] for each in removal.removed]
    terminal.result(Table(["removed", "name"], rows), {"stack": removal.name, "removed": [
        {"what": what, "name": name} for what, name in rows]})  # fmt: skip
