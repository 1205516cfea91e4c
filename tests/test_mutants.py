"""The rules bite: a core with one line changed does not survive a few hostile worlds.

Each mutant is a fault that a scheduler of batch jobs could have, and some have had: the first three lost jobs in 2019.
"""

from __future__ import annotations

import pytest
from mutation import Mutant, fresh_modules

SOURCES = ("exponential", "trace", "weibull")
WORLDS = 25  # of each source, at most: most mutants die in the first few

MUTANTS = (
    Mutant(
        "a job is deleted when it is claimed",
        "I7",
        "scheduler.worker",
        "return running, (Start(event.job, event.epoch, every_ms, event.timeout_ms),)",
        "return running, (Complete(event.job, event.epoch),)",
    ),
    Mutant(
        "an interruption spends a retry",
        "I9",
        "scheduler.events",
        "frozenset({INTERRUPTED, CHECKPOINTED,",
        "frozenset({CHECKPOINTED,",
    ),
    Mutant(
        "the backlog is launched again at each tick",
        "scale",
        "scheduler.fleet",
        "(need.busy + need.booting + need.idle)",
        "need.busy",
    ),
    Mutant(
        "whoever reports last completes the job",
        "I4",
        "scheduler.job",
        "    if event.epoch != job.epoch:\n        return job, ()  # fenced\n",
        "",
    ),
    Mutant(
        "an expired lease is not heard",
        "I9",
        "scheduler.job",
        'LeaseExpired: Row(lease_expired, ("queued", "leased"), "fenced")',
        'LeaseExpired: Row(stay, ("queued", "leased"), "fenced")',
    ),
    Mutant(
        "the lease of a new attempt expires with that of an old one",
        "I4",
        "scheduler.job",
        "    if event.epoch != job.epoch:\n        return job, ()\n",
        "",
    ),
    Mutant(
        "an interrupted job is queued at the tail",
        "order",
        "scheduler.job",
        "Queue(policy.order.key(waiting), purchase)",
        "Queue(policy.order.key(waiting) + waiting.epoch, purchase)",
    ),
    Mutant(
        "a lease keeps its epoch",
        "I4",
        "scheduler.job",
        'Job(job.ticket, "leased", job.epoch + 1,',
        'Job(job.ticket, "leased", job.epoch,',
    ),
    Mutant(
        "a leased job is claimed again",
        "I4",
        "scheduler.job",
        """        LeaseExpired: Row(lease_expired, ("queued", "leased"), "fenced"),
        Claimed: Row(stay, ("leased",), "refused"),""",
        """        LeaseExpired: Row(lease_expired, ("queued", "leased"), "fenced"),
        Claimed: Row(claimed, ("leased",), "refused"),""",
    ),
    Mutant(
        "a cancelled job runs on",
        "I3",
        "scheduler.job",
        'replace(job, phase="cancelled", epoch=job.epoch + 1)',
        "replace(job, epoch=job.epoch + 1)",
    ),
    Mutant(
        "a delayed job hears of an attempt that ended before",
        "I4",
        "scheduler.job",
        '    AttemptEnded: Row(stay, (), "fenced"),\n    LeaseExpired',
        '    AttemptEnded: Row(attempt_ended, (), "fenced"),\n    LeaseExpired',
    ),
    Mutant(
        "one retry too few",
        "I9",
        "scheduler.job",
        "failed.failures <= failed.ticket.spec.retries",
        "failed.failures < failed.ticket.spec.retries",
    ),
    Mutant(
        "dependants of a failed job wait for ever",
        "I9",
        "scheduler.job",
        "return failed, (GiveUp(event.cause), ReleaseDependants(False))",
        "return failed, (GiveUp(event.cause),)",
    ),
    Mutant(
        "dependants of a job that is done wait for ever",
        "I2",
        "scheduler.job",
        "_ENDED_WELL: tuple[JobCommand, ...] = (ReleaseDependants(True),)",
        "_ENDED_WELL: tuple[JobCommand, ...] = ()",
    ),
    Mutant(
        "a job starts when one of its dependencies is met",
        "I1",
        "scheduler.job",
        "return (waits, ()) if left else",
        "return",
    ),
    Mutant(
        "a dependency that is told twice counts twice",
        "I1",
        "scheduler.job",
        "min(job.waiting_for, event.left)",
        "job.waiting_for - 1",
    ),
    Mutant(
        "a delayed job is never queued again",
        "I9",
        "scheduler.job",
        'TimerFired: Row(delay_over, ("queued", "delayed"))',
        'TimerFired: Row(stay, ("queued", "delayed"))',
    ),
    Mutant(
        "checkpoints are forgotten",
        "I9",
        "scheduler.job",
        "    safe_ms = max(event.progress_ms, job.progress_ms)\n    if event.cause in",
        "    safe_ms = 0\n    if event.cause in",
    ),
    Mutant(
        "a second submission queues the job again",
        "I1",
        "scheduler.job",
        '    Submitted: Row(stay, (), "again"),',
        '    Submitted: Row(submitted, (), "again"),',
    ),
    Mutant(
        "the job's time limit is ignored",
        "timeout",
        "scheduler.worker",
        "Start(event.job, event.epoch, every_ms, event.timeout_ms)",
        "Start(event.job, event.epoch, every_ms, -1)",
    ),
    Mutant(
        "an idle worker stays for ever",
        "L2",
        "scheduler.worker",
        "    if event.name != KEEP_ALIVE:\n        return worker, ()",
        "    if event.name != BOOT:\n        return worker, ()",
    ),
    Mutant(
        "an agent that never registers is waited for",
        "L2",
        "scheduler.worker",
        'TimerFired: Row(timer_when_booting, ("stopping", "booting"), "never registered")',
        'TimerFired: Row(stay, ("stopping", "booting"), "never registered")',
    ),
    Mutant(
        "a worker is stopped as soon as it has booted",
        "L1",
        "scheduler.worker",
        'Ready: Row(ready, ("claiming",))',
        'Ready: Row(notice_without_job, ("stopping",))',
    ),
    Mutant(
        "no execution rolls over",
        "history",
        "scheduler.worker",
        "_report(worker, event)\n    if history < settings.roll_over_at:",
        "_report(worker, event)\n    if history > 0:",
    ),
    Mutant(
        "the job of a lost worker is not given back",
        "L1",
        "scheduler.worker",
        'return _without_job(worker, "gone"), (Release(worker.job, worker.epoch, INTERRUPTED, -1),)',
        'return _without_job(worker, "gone"), ()',
    ),
    Mutant(
        "the job of a worker that hears a notice is not given back",
        "I1",
        "scheduler.worker",
        "(Release(worker.job, worker.epoch, cause, -1), stop)",
        "(stop,)",
    ),
    Mutant(
        "a worker takes any report for that of its job",
        "I7",
        "scheduler.worker",
        "    if event.job != worker.job or event.epoch != worker.epoch:\n        return worker, ()\n    settings",
        "    settings",
    ),
    Mutant(
        "a failure is reported as a success",
        "I7",
        "scheduler.worker",
        "    if event.cause == DONE:\n        return Complete",
        "    if event.cause != CHECKPOINTED:\n        return Complete",
    ),
    Mutant(
        "the budget is no limit",
        "budget",
        "scheduler.fleet",
        "if seen.budget_usd and seen.spent_usd >= seen.budget_usd:",
        "if False:",
    ),
    Mutant(
        "launches go on after the budget is spent",
        "budget",
        "scheduler.fleet",
        'Tick: Row(stay, ("closed",), "the budget is spent")',
        'Tick: Row(tick, ("closed",), "the budget is spent")',
    ),
    Mutant(
        "two classes fill the same room of a pool",
        "I6",
        "scheduler.fleet",
        "                room[pool] -= count\n",
        "",
    ),
    Mutant(
        "each launch is counted on once more",
        "scale",
        "scheduler.policies.scale.backlog_and_busy",
        "need.busy + max(need.queued, need.booting + need.idle))",
        "need.busy + need.queued + need.booting + need.idle)",
    ),
)


def dies(mutant: Mutant | None) -> str:
    """Which rule a core broke in these worlds; "" if it lived."""
    with fresh_modules(mutant):
        from smoke import adversary, check, directed, meet

        try:
            for case in directed():
                check(case)
            adversary()
            for source in SOURCES:
                meet(source, WORLDS)
        except AssertionError as death:
            return str(death)
    return ""


def test_the_core_as_it_is_lives() -> None:
    assert dies(None) == ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_dies(mutant: Mutant) -> None:
    death = dies(mutant)
    assert death, f"{mutant.name}: nobody noticed"
    assert death.startswith(f"{mutant.rule}:"), death


def test_mutants_differ() -> None:
    assert len({mutant.source() for mutant in MUTANTS}) == len(MUTANTS) >= 12
