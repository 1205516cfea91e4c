"""Planning a deployment: what was compared is what would be deployed, or there is no plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import GATE_FAILED, OK
from spotbed.cli.tables import Format, Table, to_markdown, to_text
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from aws.evidence import Check
    from aws.plan import Plan

app = typer.Typer()
_PER_JOBS = "cost_usd_per_1000_jobs"


@command(app)
def plan(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The scenario that was compared.")],
    policy: Annotated[str, typer.Option(metavar="LABEL", help="The policy to deploy.")],
    record: Annotated[Path, typer.Option(metavar="DIR", help="The folder that `spotbed compare` wrote.")],
    target: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TARGET.yaml; without it the plan is for a local fleet only.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="PLAN", help="Where to write the plan.")] = None,
) -> int:
    """Say what a deployment would make, cost and be held to; refuse it unless its comparison allows it.

    Nothing is deployed, and AWS is not asked. Exits with 3 if the deploy gate does not hold: the policy must be cheaper
    than the baseline, must miss no more deadlines, break no invariant, and be what was compared, byte for byte.
    """
    from datetime import UTC, datetime

    from aws.plan import make_plan, write_plan

    planned = make_plan(file, policy, record, target, datetime.now(UTC))
    if planned.plan is not None and out is not None:
        write_plan(planned.plan, out)
    _show(terminal, planned.checks, planned.plan)
    failed = [check for check in planned.checks if not check.passed]
    for check in failed:
        terminal.alert(f"deploy gate failed: {check.check}: {check.detail}")
    for note in planned.notes:
        terminal.note(note)
    if planned.plan is None:
        terminal.note("No plan was written.")
        return GATE_FAILED
    if out is None:
        terminal.note("No plan was written: name its file with -o.")
    else:
        terminal.note(f"Written: {out} (expires at {planned.plan.expires_at}). Next: spotbed apply {out}")
    return OK


def _show(terminal: Terminal, checks: Sequence[Check], plan: Plan | None) -> None:
    """The checks alone where there is no plan; as CSV, the checks in any case."""
    gate = Table.of_records([asdict(check) for check in checks])
    if terminal.format in (Format.json, Format.csv) or plan is None:
        document = {"passed": plan is not None, "checks": [asdict(check) for check in checks]}
        terminal.result(gate, document if plan is None else plan.document())
        return
    blocks = [_block(terminal, title, table) for title, table in (("Deploy gate", gate), *_tables(plan))]
    terminal.text("\n\n".join([*blocks, *_words(plan)]))


def _block(terminal: Terminal, title: str, table: Table) -> str:
    if terminal.format is Format.markdown:
        return f"### {title}\n\n{to_markdown(table)}"
    return f"{title}\n{to_text(table, width=None, color=False)}"


def _tables(plan: Plan) -> list[tuple[str, Table]]:
    kinds = Counter((change.stack, change.type) for change in plan.change_set)
    rows = [[stack, kind, count] for (stack, kind), count in kinds.items()]
    made = [("Would be made", Table(["stack", "type", "resources"], rows))] if rows else []
    network = {"nat": plan.idle.nat, "endpoints": plan.idle.endpoints}
    common = sum(line.usd for line in plan.idle.common)
    chosen = None if plan.account is None else plan.account.network.out
    idle = [
        [name, sum(line.usd for line in lines), common, plan.idle.usd_per_month[name], name == chosen]
        for name, lines in network.items()
    ]
    return [*made, ("Idle, USD a month", Table(["way out", "network", "all else", "together", "chosen"], idle))]


def _words(plan: Plan) -> list[str]:
    from spotbed.report.metric_words import shown_ends

    found = plan.prediction.per_job[_PER_JOBS]
    ends = "" if found.ci95 is None else " [{:,.2f}, {:,.2f}]".format(*shown_ends(found.ci95))
    low, high = found.low or 0.0, found.high or 0.0
    mean = "n/a" if found.mean is None else f"${found.mean:,.2f}{ends}"
    strategy = f"the pool of each instance, by {plan.delegated}: modelled, not our code"
    delegated = strategy if plan.delegated else "nothing: our code names the pool of every launch"
    return [
        f"Expected for 1,000 jobs: {mean}, 95 % interval of the mean over {plan.prediction.worlds} worlds; "
        f"a single run: ${low:,.2f} to ${high:,.2f} in 95 % of them.",
        f"Delegated to AWS: {delegated}. Which instances EC2 grants and interrupts is its own, and was modelled.",
        f"Package: {len(plan.package.files)} files, {plan.package.bytes:,} bytes, sha256 {plan.package.sha256}.",
    ]
