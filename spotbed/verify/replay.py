"""A run played again: the same jobs, launches, boots and losses at their times, and the decisions made anew.

The world is made of what the journal tells. Its clock begins a whole number of ticks before the first tick at which the
fleet ordered anything, so that ticks fall where they fell.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.inputs import (
    UNLIMITED,
    Dist,
    Int64,
    MarketInputs,
    Pool,
    Recorded,
    ServiceInputs,
    Work,
    WorldInputs,
)
from spotbed import metering
from spotbed.build import Blueprint, service_inputs
from spotbed.errors import InputError, Problem
from spotbed.ledger import Bill
from spotbed.metering import Tally
from spotbed.metrics import metrics
from spotbed.policies.compose import Composed
from spotbed.services_preset import ServicesPreset
from spotbed.verify.account import Terms, price_path, tally_of
from spotbed.verify.lines import Line
from spotbed.verify.observed import NEVER, Seen, SeenInstance, SeenJob, observe
from spotbed.verify.operations import operations_of
from spotbed.verify.work import work_of_run
from spotbed.worlds import bill_of, simulate

_DAY_MS = 86_400_000
_S = 1000.0


@dataclass(frozen=True)
class Deployed:
    """What ran: the scenario that was planned, its policy with the settings of the stack, and whether the prices are
    those that the fleet saw (else the scenario's)."""

    made: Blueprint
    composed: Composed
    policy: Policy
    sees_prices: bool = True

    @property
    def preset(self) -> ServicesPreset:
        """The services of the scenario."""
        return self.made.preset_of(self.composed)


@dataclass(frozen=True)
class Measured:
    """One run in numbers: metrics by name, and its bill."""

    metrics: Mapping[str, float]
    bill: Bill
    tally: Tally


@dataclass(frozen=True)
class Run:
    """A deployed run in the time of a world: what was seen, the jobs in order, and its work and pools."""

    seen: Seen
    jobs: Sequence[str]
    work: Work
    pools: tuple[Pool, ...]
    left_out: int  # jobs that were cancelled before they ran
    operations: Mapping[str, int]  # how often the functions did what


def run_of(lines: Sequence[Line], deployed: Deployed) -> Run:
    """The run that a journal tells of. Raises InputError when it ran in pools that the scenario does not have."""
    settings = deployed.policy.settings
    moved = _shifted(lines, _origin_ms(observe(lines, settings), settings.tick_ms))
    seen = observe(moved, settings)
    _refuse_other_pools(seen, deployed)
    _refuse_gangs(seen)
    kept = {name: job for name, job in seen.jobs.items() if _counts(name, job, seen)}
    jobs = sorted(kept, key=lambda name: seen.jobs[name].ticket.submit_ms)
    pools = deployed.made.pools
    if deployed.sees_prices:
        pools = tuple(replace(pool, price=price_path(seen.prices.get(pool.id, ()), pool.price)) for pool in pools)
    operations = operations_of(moved, deployed.policy)
    return Run(seen, jobs, work_of_run(seen, jobs), pools, len(seen.jobs) - len(jobs), operations)


def _refuse_other_pools(seen: Seen, deployed: Deployed) -> None:
    known = {pool.id for pool in deployed.made.pools}
    others = sorted({each.pool for each in seen.instances.values() if each.pool} - known)
    if others:
        message = f"ran in pool {others[0]!r}, which the scenario does not have; it has {', '.join(sorted(known))}."
        hint = "Where AWS chooses among the pools (a `place` that delegates), nothing tells which type an instance was."
        raise InputError(Problem(message, "journal", hint=hint))


def _refuse_gangs(seen: Seen) -> None:
    gang = next((name for name, job in seen.jobs.items() if job.ticket.spec.gang > 1), "")
    if gang:
        message = f"{gang!r} ran on several workers at once: runs with gangs are not played again."
        raise InputError(Problem(message, "journal", hint="A simulation of the scenario shows gangs: spotbed run."))


def _counts(name: str, job: SeenJob, seen: Seen) -> bool:
    """Whether a job can be played again: not one that was cancelled before it had run."""
    return job.status != metering.CANCELLED or any(each.job == name and each.started for each in seen.attempts)


def _origin_ms(seen: Seen, tick_ms: int) -> int:
    first = min((job.ticket.submit_ms for job in seen.jobs.values()), default=seen.first_ms)
    if not seen.ticks:
        return first
    return seen.ticks[0] - -(-max(0, seen.ticks[0] - first) // tick_ms) * tick_ms


def _shifted(lines: Sequence[Line], origin_ms: int) -> list[Line]:
    """The lines in the time of the world."""
    return [_moved(line, origin_ms) for line in lines]


def _moved(line: Line, origin_ms: int) -> Line:
    body = dict(line.body)
    for name in ("start_ms", "end_ms", "requested_ms", "launched_ms", "ready_ms", "ended_ms"):
        if name in body and body[name] != NEVER:
            body[name] = int(body[name]) - origin_ms
    if line.fact == "job":
        ticket = dict(body["ticket"])
        for name in ("submit_ms", "deadline_ms"):
            if ticket.get(name, NEVER) != NEVER:
                ticket[name] = ticket[name] - origin_ms
        body["ticket"] = ticket
    return replace(line, at_ms=line.at_ms - origin_ms, body=body)


# live ---------------------------------------------------------------------------------------------------------------
def measure(run: Run, deployed: Deployed) -> Measured:
    """The run as it was: its bill and its metrics."""
    renewals = int(deployed.preset.value("renewals_per_lease"))
    known = deployed.preset.operations["decoupled"]
    operations = {name: count for name, count in run.operations.items() if name in known}
    terms = Terms(run.pools, deployed.policy.settings, deployed.made.billing, renewals, operations)
    numbers = {name: number for number, name in enumerate(run.jobs)}
    return _measured(deployed, tally_of(run.seen, numbers, terms), run.work)


def _measured(deployed: Deployed, tally: Tally, work: Work) -> Measured:
    bill = bill_of(deployed.made, deployed.composed, tally, work)
    return Measured(metrics(tally, work, deployed.made.pool_facts(), bill.total_usd), bill, tally)


# again --------------------------------------------------------------------------------------------------------------
def replay(run: Run, deployed: Deployed, preset: ServicesPreset | None = None) -> Measured:
    """The run played again, with these services (else the scenario's)."""
    inputs = world_of(run, deployed, preset or deployed.preset)
    policy = replace(deployed.policy, settings=_settings(run.seen, deployed.policy.settings))
    return _measured(deployed, simulate(inputs, policy), run.work)


def world_of(run: Run, deployed: Deployed, preset: ServicesPreset) -> WorldInputs:
    """The world in which it is played again."""
    seen, scenario = run.seen, deployed.made.scenario
    unfinished = any(seen.jobs[name].status == metering.UNFINISHED for name in run.jobs)
    last_ms = int(run.work.submit_ms[-1]) if len(run.work) else 0
    inputs = WorldInputs(
        seed=scenario.seed,
        world=0,
        work=run.work,
        pools=tuple(replace(pool, boot=_typical_boot(seen, pool.id)) for pool in run.pools),
        market=_market(seen, run.pools),
        services=_services(seen, preset),
        billing=deployed.made.billing,
        budget_usd=scenario.capacity.budget or 0.0,
        licences=dict(scenario.capacity.licences),
        slots_per_instance=scenario.capacity.slots_per_instance,
    )
    return replace(inputs, drain_ms=max(0, seen.last_ms - last_ms)) if unfinished else inputs


def _settings(seen: Seen, settings: Settings) -> Settings:
    """The stack's. What a wrapper does before and after the work is part of the work that it tells of, so startup and
    restoring take no time of their own, unless the run has metered them apart."""
    if any(attempt.split for attempt in seen.attempts):
        return settings
    return replace(settings, startup_ms=0, checkpoint_restore_ms=0, checkpoint_write_ms=0)


def _services(seen: Seen, preset: ServicesPreset) -> ServiceInputs:
    """Nothing goes wrong but what did. A launch took as long as it took; so did the start of a worker whose agent's
    registration nobody noted."""
    services = service_inputs(preset, "decoupled")
    return replace(services, probability={}, latency={**services.latency, "launch": ()})


def _market(seen: Seen, pools: Sequence[Pool]) -> MarketInputs:
    recorded = {pool.id: tuple(_recorded(each) for each in _of_pool(seen, pool.id)) for pool in pools}
    launches = [each.launch_ms for pool in recorded.values() for each in pool]
    return MarketInputs(
        launch=_constant(launches),
        recorded=recorded,
        room={pool: _steps(points) for pool, points in seen.room.items()},
    )


def _of_pool(seen: Seen, pool: str) -> list[SeenInstance]:
    """In the order in which they were asked for."""
    return sorted((each for each in seen.instances.values() if each.pool == pool), key=lambda each: each.requested_ms)


def _recorded(instance: SeenInstance) -> Recorded:
    """What the instance met. One that was never ready boots for as long as it was there, and longer."""
    ready_ms = instance.ready_ms if instance.ready_ms != NEVER else instance.ended_ms + _DAY_MS
    taken_ms = None if instance.taken_ms == NEVER else instance.taken_ms

    def before(at_ms: int) -> int | None:
        return None if at_ms == NEVER or taken_ms is None else max(0, taken_ms - at_ms)

    return Recorded(
        launch_ms=instance.launched_ms - instance.requested_ms,
        boot_ms=ready_ms - instance.launched_ms,
        lost_ms=taken_ms,
        notice_ms=before(instance.notice_ms),
        rebalance_ms=before(instance.rebalance_ms),
        silent=instance.silent,
    )


def _steps(points: Sequence[tuple[int, int]]) -> tuple[Int64, Int64]:
    """How many instances a launch may reach, over time."""
    whole = [(0, NEVER), *points]
    room = [UNLIMITED if count == NEVER else count for _, count in whole]
    return np.array([at for at, _ in whole], dtype=np.int64), np.array(room, dtype=np.int64)


def _typical_boot(seen: Seen, pool: str) -> Dist:
    """The boot time of instances that the recorded run did not have."""
    boots = [
        each.ready_ms - each.launched_ms
        for each in seen.instances.values()
        if each.pool == pool and each.ready_ms != NEVER
    ]
    every = [each.ready_ms - each.launched_ms for each in seen.instances.values() if each.ready_ms != NEVER]
    return _constant(boots or every)


def _constant(values_ms: Sequence[int]) -> Dist:
    return Dist("constant", {"value": statistics.median(values_ms) / _S if values_ms else 0.0})
