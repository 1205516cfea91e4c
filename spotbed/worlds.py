"""One world under one policy: simulated, billed, measured. What a process of a comparison does."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import numpy as np

from scheduler.policy import Policy
from sim.inputs import Work, WorldInputs
from spotbed import metering
from spotbed.build import Blueprint
from spotbed.journal import Journal
from spotbed.ledger import Bill, make_bill
from spotbed.metering import Tally
from spotbed.metrics import job_times, late_penalty_usd, metrics
from spotbed.policies.compose import Composed


@dataclass(slots=True)
class WorldResult:
    """What is kept of a world that was not the representative one."""

    label: str
    world: int
    metrics: dict[str, float]
    bill: Bill
    samples: list[tuple[int, int, int, int, int]]
    limits: dict[str, int]
    refunded_usd: float
    done: bytes  # one byte a job: whether it ended well
    bounds: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class WorldRun:
    """A world with all that the simulator left, for frames and reports."""

    result: WorldResult
    inputs: WorldInputs
    tally: Tally
    journal: Journal | None


def simulate(inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> Tally:
    """Run one world with the driver of the policy's architecture. Garbage collection is off meanwhile: nothing of a
    run is cyclic, and looking for cycles in a million records costs more than the run."""
    from sim.drivers import driver_of

    enabled = gc.isenabled()
    gc.disable()
    try:
        tally: Tally = driver_of(policy.architecture, inputs)(inputs, policy, journal).run()
        return tally
    finally:
        if enabled:
            gc.enable()


def run_world(
    made: Blueprint, composed: Composed, number: int, *, seed: int | None = None, journal: bool = False
) -> WorldRun:
    """Simulate world `number` under a policy, and bill it."""
    inputs, notes = made.world(number, composed, seed)
    kept = Journal() if journal else None
    tally = simulate(inputs, made.policy(composed), kept)
    bill = bill_of(made, composed, tally, inputs.work)
    facts = made.pool_facts() if tally.pools else []
    values = metrics(tally, inputs.work, facts, bill.total_usd, inputs.slots_per_instance)
    result = WorldResult(
        composed.label,
        number,
        values,
        bill,
        tally.samples,
        tally.limits,
        sum(use.refunded_usd for use in tally.pools),
        (np.frombuffer(tally.jobs.status, dtype=np.int8) == metering.DONE).tobytes(),
        notes=[*notes, *tally.notes],
    )
    return WorldRun(result, inputs, tally, kept)


def bill_of(made: Blueprint, composed: Composed, tally: Tally, work: Work) -> Bill:
    """The bill from the first submission to the end of the run."""
    start_ms = int(work.submit_ms[0]) if len(work) else 0
    hours = max(0, tally.end_ms - start_ms) / 3_600_000
    penalty = late_penalty_usd(job_times(tally, work), work, tally.end_ms)
    return make_bill(
        tally,
        made.pool_facts() if tally.pools else [],
        composed.architecture,
        made.book,
        made.preset_of(composed),
        made.costs(composed),
        slots=made.scenario.capacity.slots_per_instance,
        hours=hours,
        penalty_usd=penalty,
    )
