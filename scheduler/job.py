"""The job role: from the submission to one of three ends, fenced by the lease epoch.

    new -> held -> queued <-> leased -> done | failed | cancelled
                     ^--- delayed <-'

An attempt that ends for a reason of the infrastructure puts the job back and costs none of its retries; one that ends
for a reason of the application costs one and may be delayed by the retry policy. Whatever carries an epoch other than
the record's is stale, and changes nothing: so a job may run twice, but it ends once.
"""

from __future__ import annotations

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
from scheduler.job_record import Job
from scheduler.policy import Policy
from scheduler.table import Machine, Row, stay

Result: TypeAlias = tuple[Job, tuple[JobCommand, ...]]
RECONSIDER = "reconsider"
_ENDED_WELL: tuple[JobCommand, ...] = (ReleaseDependants(True),)


def _queued(
    job: Job,
    policy: Policy,
    now_ms: int,
    epoch: int,
    failures: int,
    interruptions: int,
    progress: int,
    delayed_ms: int = -1,
) -> Result:
    """The record in phase queued, and the order to index it."""
    ticket = job.ticket
    waiting = Job(
        ticket,
        "queued",
        epoch,
        failures,
        interruptions,
        progress,
        job.purchase,
        job.bound,
        0,
        job.delayed_ms if delayed_ms < 0 else delayed_ms,
    )
    if job.bound:
        purchase, reconsider_ms = job.bound, 0
    else:
        purchase, reconsider_ms = policy.place.route(waiting, now_ms)
    if purchase != waiting.purchase:
        waiting = Job(
            ticket, "queued", epoch, failures, interruptions, progress, purchase, job.bound, 0, waiting.delayed_ms
        )
    queue = Queue(policy.order.key(waiting), purchase)
    return waiting, ((queue, SetTimer(RECONSIDER, reconsider_ms)) if reconsider_ms else (queue,))


def _same(job: Job, phase: str) -> Job:
    return Job(
        job.ticket,
        phase,
        job.epoch,
        job.failures,
        job.interruptions,
        job.progress_ms,
        job.purchase,
        job.bound,
        job.waiting_for,
        job.delayed_ms,
    )


def submitted(job: Job, event: Submitted, policy: Policy) -> Result:
    if job.waiting_for:
        return _same(job, "held"), ()
    return _queued(job, policy, event.at_ms, 0, 0, 0, 0)


def dependency_met(job: Job, event: DependencyMet, policy: Policy) -> Result:
    left = job.waiting_for - 1
    if left > 0:
        return Job(job.ticket, "held", waiting_for=left), ()
    return _queued(job, policy, event.at_ms, 0, 0, 0, 0)


def dependency_failed(job: Job, event: DependencyFailed, policy: Policy) -> Result:
    return _same(job, "failed"), (GiveUp("dependency"), ReleaseDependants(False))


def claimed(job: Job, event: Claimed, policy: Policy) -> Result:
    return Job(
        job.ticket,
        "leased",
        job.epoch + 1,
        job.failures,
        job.interruptions,
        job.progress_ms,
        job.purchase,
        job.bound,
        0,
        job.delayed_ms,
    ), ()


def routed(job: Job, event: Routed, policy: Policy) -> Result:
    bound = Job(
        job.ticket,
        job.phase,
        job.epoch,
        job.failures,
        job.interruptions,
        job.progress_ms,
        job.purchase,
        event.purchase,
        0,
        job.delayed_ms,
    )
    if job.phase != "queued" or job.purchase == event.purchase:
        return bound, ()
    return _queued(bound, policy, event.at_ms, job.epoch, job.failures, job.interruptions, job.progress_ms)


def timer_in_queue(job: Job, event: TimerFired, policy: Policy) -> Result:
    """The place policy asked to be asked again."""
    queued, commands = _queued(job, policy, event.at_ms, job.epoch, job.failures, job.interruptions, job.progress_ms)
    if queued.purchase == job.purchase:
        return job, tuple(command for command in commands if type(command) is SetTimer)
    return queued, commands


def delay_over(job: Job, event: TimerFired, policy: Policy) -> Result:
    if event.name == RECONSIDER:
        return job, ()
    return _queued(job, policy, event.at_ms, job.epoch, job.failures, job.interruptions, job.progress_ms)


def attempt_ended(job: Job, event: AttemptEnded, policy: Policy) -> Result:
    if event.epoch != job.epoch:
        return job, ()  # fenced
    if event.cause == DONE:
        return Job(
            job.ticket,
            "done",
            job.epoch,
            job.failures,
            job.interruptions,
            event.progress_ms,
            job.purchase,
            job.bound,
            0,
            job.delayed_ms,
        ), _ENDED_WELL
    progress = event.progress_ms if event.progress_ms > job.progress_ms else job.progress_ms
    if event.cause in INFRASTRUCTURE:
        interruptions = job.interruptions + (event.cause in (INTERRUPTED, LEASE_LOST))
        return _queued(job, policy, event.at_ms, job.epoch, job.failures, interruptions, progress)
    return _application_failed(job, event, policy, progress)


def _application_failed(job: Job, event: AttemptEnded, policy: Policy, progress: int) -> Result:
    """Spend a retry. The next attempt goes on from the last whole checkpoint, as after an interruption."""
    failures = job.failures + 1
    failed = Job(
        job.ticket,
        "failed",
        job.epoch,
        failures,
        job.interruptions,
        progress,
        job.purchase,
        job.bound,
        0,
        job.delayed_ms,
    )
    delay_ms: int | None = None
    if failures <= job.ticket.spec.retries:
        u = draw(policy.settings.seed, job.ticket.id, job.epoch, "retry")
        delay_ms = policy.retry.delay_ms(failed, event.cause, u)
    if delay_ms is None:
        return failed, (GiveUp(event.cause), ReleaseDependants(False))
    if delay_ms == 0:
        return _queued(failed, policy, event.at_ms, job.epoch, failures, job.interruptions, progress)
    return Job(
        job.ticket,
        "delayed",
        job.epoch,
        failures,
        job.interruptions,
        progress,
        job.purchase,
        job.bound,
        0,
        job.delayed_ms + delay_ms,
    ), (Delay(delay_ms),)


def lease_expired(job: Job, event: LeaseExpired, policy: Policy) -> Result:
    if event.epoch != job.epoch:
        return job, ()
    return _queued(job, policy, event.at_ms, job.epoch, job.failures, job.interruptions + 1, job.progress_ms)


def cancelled(job: Job, event: Cancelled, policy: Policy) -> Result:
    """A cancelled job takes a new epoch, so what still runs of it can no longer complete."""
    ended = Job(
        job.ticket,
        "cancelled",
        job.epoch + 1,
        job.failures,
        job.interruptions,
        job.progress_ms,
        job.purchase,
        job.bound,
        0,
        job.delayed_ms,
    )
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
