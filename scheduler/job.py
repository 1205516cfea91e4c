"""The job role: from the submission to one of three ends, fenced by the lease epoch.

    new -> held -> queued <-> leased -> done | failed | cancelled
                     ^--- delayed <-'

An attempt that ends for a reason of the infrastructure puts the job back and costs none of its retries; one that ends
for a reason of the application costs one and may be delayed by the retry policy. Whatever carries an epoch other than
the record's is stale, and changes nothing: so a job may run twice, but it ends once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from scheduler.commands import Delay, GiveUp, JobCommand, Queue, ReleaseDependants, SetTimer, Unqueue
from scheduler.draw import draw
from scheduler.events import (
    DONE,
    INFRASTRUCTURE,
    INTERRUPTED,
    LEASE_LOST,
    AttemptEnded,
    Cancelled,
    Claimed,
    DependencyFailed,
    DependencyMet,
    LeaseExpired,
    Routed,
    Submitted,
    TimerFired,
)
from scheduler.job_record import Job, Rare
from scheduler.policy import Policy
from scheduler.table import Machine, Row, stay

Result: TypeAlias = tuple[Job, tuple[JobCommand, ...]]
RECONSIDER = "reconsider"
_ENDED_WELL: tuple[JobCommand, ...] = (ReleaseDependants(True),)


def _queued(job: Job, policy: Policy, now_ms: int) -> Result:
    """The record in phase queued, with the counters that `job` has, and the order to index it."""
    bound = job.rare.bound
    purchase, reconsider_ms = (bound, 0) if bound else policy.place.route(job, now_ms)
    waiting = Job(job.ticket, "queued", job.epoch, job.progress_ms, purchase, job.rare)
    queue = Queue(policy.order.key(waiting), purchase)
    return waiting, ((queue, SetTimer(RECONSIDER, reconsider_ms)) if reconsider_ms else (queue,))


def submitted(job: Job, event: Submitted, policy: Policy) -> Result:
    if job.rare.waiting_for:
        return replace(job, phase="held"), ()
    return _queued(job, policy, event.at_ms)


def dependency_met(job: Job, event: DependencyMet, policy: Policy) -> Result:
    left = min(job.waiting_for, event.left)
    waits = replace(job, rare=replace(job.rare, waiting_for=left))
    return (waits, ()) if left else _queued(waits, policy, event.at_ms)


def dependency_failed(job: Job, event: DependencyFailed, policy: Policy) -> Result:
    return replace(job, phase="failed"), (GiveUp("dependency"), ReleaseDependants(False))


def claimed(job: Job, event: Claimed, policy: Policy) -> Result:
    leased = Job(job.ticket, "leased", job.epoch + 1, job.progress_ms, job.purchase, job.rare)
    return leased, ()


def routed(job: Job, event: Routed, policy: Policy) -> Result:
    bound = replace(job, rare=replace(job.rare, bound=event.purchase))
    if job.phase != "queued" or job.purchase == event.purchase:
        return bound, ()
    return _queued(bound, policy, event.at_ms)


def timer_in_queue(job: Job, event: TimerFired, policy: Policy) -> Result:
    """The place policy asked to be asked again."""
    queued, commands = _queued(job, policy, event.at_ms)
    if queued.purchase == job.purchase:
        return job, tuple(command for command in commands if type(command) is SetTimer)
    return queued, commands


def delay_over(job: Job, event: TimerFired, policy: Policy) -> Result:
    if event.name == RECONSIDER:
        return job, ()
    return _queued(job, policy, event.at_ms)


def attempt_ended(job: Job, event: AttemptEnded, policy: Policy) -> Result:
    if event.epoch != job.epoch:
        return job, ()  # fenced
    if event.cause == DONE:
        return Job(job.ticket, "done", job.epoch, event.progress_ms, job.purchase, job.rare), _ENDED_WELL
    safe_ms = max(event.progress_ms, job.progress_ms)
    if event.cause in INFRASTRUCTURE:
        lost = event.cause in (INTERRUPTED, LEASE_LOST)
        return _queued(_with(job, job.phase, job.failures, job.interruptions + lost, safe_ms), policy, event.at_ms)
    return _application_failed(_with(job, "failed", job.failures + 1, job.interruptions, safe_ms), event, policy)


def _with(job: Job, phase: str, failures: int, interruptions: int, progress_ms: int) -> Job:
    """The record after an attempt. (`dataclasses.replace` would take five times as long.)"""
    old = job.rare
    rare = Rare(
        failures, interruptions, old.delayed_ms, old.waiting_for, old.bound, old.exit_code, old.alike, old.last_delay_ms
    )
    return Job(job.ticket, phase, job.epoch, progress_ms, job.purchase, rare)


def _application_failed(failed: Job, event: AttemptEnded, policy: Policy) -> Result:
    """Spend a retry. The next attempt goes on from the last whole checkpoint, as after an interruption."""
    old, exit_code = failed.rare, event.exit_code
    alike = old.alike + 1 if exit_code == old.exit_code else 1
    failed = replace(failed, rare=replace(old, exit_code=exit_code, alike=alike))
    delay_ms: int | None = None
    if failed.failures <= failed.ticket.spec.retries:
        u = draw(policy.settings.seed, failed.ticket.id, failed.epoch, "retry")
        delay_ms = policy.retry.delay_ms(failed, event.cause, u)
    if delay_ms is None:
        return failed, (GiveUp(event.cause), ReleaseDependants(False))
    if delay_ms == 0:
        return _queued(failed, policy, event.at_ms)
    rare = replace(failed.rare, delayed_ms=failed.delayed_ms + delay_ms, last_delay_ms=delay_ms)
    return replace(failed, phase="delayed", rare=rare), (Delay(delay_ms),)


def lease_expired(job: Job, event: LeaseExpired, policy: Policy) -> Result:
    if event.epoch != job.epoch:
        return job, ()
    safe_ms = max(event.progress_ms, job.progress_ms)
    return _queued(_with(job, job.phase, job.failures, job.interruptions + 1, safe_ms), policy, event.at_ms)


def cancelled(job: Job, event: Cancelled, policy: Policy) -> Result:
    """A cancelled job takes a new epoch, so what still runs of it can no longer complete."""
    ended = replace(job, phase="cancelled", epoch=job.epoch + 1)
    release = ReleaseDependants(False)
    return ended, ((Unqueue(), release) if job.phase == "queued" else (release,))


_ENDED = {
    kind: Row(stay, (), "final")
    for kind in (
        Submitted,
        DependencyMet,
        DependencyFailed,
        Claimed,
        AttemptEnded,
        LeaseExpired,
        Routed,
        TimerFired,
        Cancelled,
    )
}


def _final(phase: str) -> dict[type, Row]:
    return {kind: Row(row.handler, (phase,), row.note) for kind, row in _ENDED.items()}


_WAITING_LATE = {  # a late end of an attempt, a second submission, an expired lease that was already given back
    Submitted: Row(stay, (), "again"),
    DependencyMet: Row(stay, (), "again"),
    DependencyFailed: Row(stay, (), "late"),
    AttemptEnded: Row(stay, (), "fenced"),
    LeaseExpired: Row(stay, (), "late"),
}


def _late(phase: str) -> dict[type, Row]:
    return {kind: Row(row.handler, (phase,), row.note) for kind, row in _WAITING_LATE.items()}


TABLE: dict[str, dict[type, Row]] = {
    "new": {
        Submitted: Row(submitted, ("held", "queued")),
    },
    "held": {
        DependencyMet: Row(dependency_met, ("held", "queued")),
        DependencyFailed: Row(dependency_failed, ("failed",)),
        Cancelled: Row(cancelled, ("cancelled",)),
        Submitted: Row(stay, ("held",), "again"),
        TimerFired: Row(stay, ("held",), "late"),
        Routed: Row(stay, ("held",), "early"),
    },
    "queued": {
        **_late("queued"),
        Claimed: Row(claimed, ("leased",), "epoch + 1"),
        Routed: Row(routed, ("queued",)),
        TimerFired: Row(timer_in_queue, ("queued",), "reconsider the purchase option"),
        Cancelled: Row(cancelled, ("cancelled",)),
    },
    "delayed": {
        **_late("delayed"),
        TimerFired: Row(delay_over, ("queued", "delayed")),
        Claimed: Row(stay, ("delayed",), "refused"),
        Routed: Row(routed, ("delayed",)),
        Cancelled: Row(cancelled, ("cancelled",)),
    },
    "leased": {
        **_late("leased"),
        AttemptEnded: Row(attempt_ended, ("done", "queued", "delayed", "failed", "leased"), "by cause; fenced"),
        LeaseExpired: Row(lease_expired, ("queued", "leased"), "fenced"),
        Claimed: Row(stay, ("leased",), "refused"),
        Routed: Row(routed, ("leased",)),
        TimerFired: Row(stay, ("leased",), "late"),
        Cancelled: Row(cancelled, ("cancelled",), "epoch + 1"),
    },
    "done": _final("done"),
    "failed": _final("failed"),
    "cancelled": _final("cancelled"),
}

MACHINE: Machine[Job] = Machine("job", "new", TABLE)
step = MACHINE.step
