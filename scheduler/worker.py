"""The worker role: the machine that serves one slot, from the request to gone.

    booting -> claiming <-> running -> noticed | draining | moving -> stopping -> gone
                  '--> idle --^

It claims, starts, waits for the end to be reported (a callback, never a poll), reports it to the job, and claims again.
With nothing to claim it waits for `keep_alive` and stops. On a notice it writes a checkpoint, or lets the job go at
once, so that the job waits for nothing. What comes late, or twice, is expected: every phase has rows for it.
"""

from __future__ import annotations

from typing import TypeAlias

from scheduler.commands import (
    Checkpoint,
    Claim,
    Complete,
    Fail,
    Release,
    RollOver,
    SetTimer,
    Start,
    Stop,
    WorkerCommand,
)
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    INTERRUPTED,
    UNSTARTED,
    AttemptEnded,
    JobClaimed,
    Lost,
    MoveOrdered,
    Notice,
    NothingToClaim,
    Ready,
    Rebalance,
    StopOrdered,
    TimerFired,
    Woken,
)
from scheduler.policy import CHECKPOINT, RELEASE, Policy
from scheduler.record import record
from scheduler.table import Machine, Row, stay

BOOT, KEEP_ALIVE = "boot", "keep-alive"


@record
class Badge:
    """What is fixed when the worker is requested."""

    id: str
    pool: str
    purchase: str


@record
class Worker:
    """The worker record. `history` counts the events of the present execution, `generation` the executions."""

    badge: Badge
    phase: str = "booting"
    job: str = ""
    epoch: int = 0
    checkpointable: bool = False
    history: int = 0
    generation: int = 0


Result: TypeAlias = tuple[Worker, tuple[WorkerCommand, ...]]
_CLAIM: tuple[WorkerCommand, ...] = (Claim(),)
_STOP_INTERRUPTED = Stop("interrupted")
_LAST_STOP = {"noticed": _STOP_INTERRUPTED, "draining": Stop("drained"), "moving": Stop("moved")}


def _phase(worker: Worker, phase: str) -> Worker:
    return Worker(
        worker.badge, phase, worker.job, worker.epoch, worker.checkpointable, worker.history, worker.generation
    )


def _without_job(worker: Worker, phase: str) -> Worker:
    return Worker(worker.badge, phase, "", 0, False, worker.history, worker.generation)


def ready(worker: Worker, event: Ready, policy: Policy) -> Result:
    return _phase(worker, "claiming"), _CLAIM


def job_claimed(worker: Worker, event: JobClaimed, policy: Policy) -> Result:
    every_ms = policy.protect.checkpoint_every_ms(event, policy.settings) if event.checkpointable else 0
    running = Worker(
        worker.badge, "running", event.job, event.epoch, event.checkpointable, worker.history, worker.generation
    )
    return running, (Start(event.job, event.epoch, every_ms, event.timeout_ms),)


def nothing_to_claim(worker: Worker, event: NothingToClaim, policy: Policy) -> Result:
    keep_alive_ms = policy.settings.keep_alive_ms
    if keep_alive_ms == 0:
        return _phase(worker, "stopping"), (Stop("idle"),)
    return _phase(worker, "idle"), (SetTimer(KEEP_ALIVE, keep_alive_ms),)


def woken(worker: Worker, event: Woken, policy: Policy) -> Result:
    return _phase(worker, "claiming"), _CLAIM


def timer_when_idle(worker: Worker, event: TimerFired, policy: Policy) -> Result:
    if event.name != KEEP_ALIVE:
        return worker, ()
    return _phase(worker, "stopping"), (Stop("idle"),)


def timer_when_booting(worker: Worker, event: TimerFired, policy: Policy) -> Result:
    """The agent never registered."""
    if event.name != BOOT:
        return worker, ()
    return _phase(worker, "stopping"), (Stop("never-registered"),)


def _report(worker: Worker, event: AttemptEnded) -> WorkerCommand:
    if event.cause == DONE:
        return Complete(worker.job, worker.epoch)
    if event.cause == CHECKPOINTED:
        cause = INTERRUPTED if worker.phase == "noticed" else CHECKPOINTED
        return Release(worker.job, worker.epoch, cause, event.progress_ms)
    return Fail(worker.job, worker.epoch, event.cause, event.exit_code, event.progress_ms)


def attempt_ended(worker: Worker, event: AttemptEnded, policy: Policy) -> Result:
    """Report, and take the next job; in a new execution when this one's history grows long."""
    if event.job != worker.job or event.epoch != worker.epoch:
        return worker, ()
    settings = policy.settings
    history = worker.history + settings.events_per_cycle
    report = _report(worker, event)
    if history < settings.roll_over_at:
        return Worker(worker.badge, "claiming", "", 0, False, history, worker.generation), (report, _CLAIM[0])
    generation = worker.generation + 1
    return Worker(worker.badge, "claiming", "", 0, False, 0, generation), (report, RollOver(generation), _CLAIM[0])


def attempt_ended_at_last(worker: Worker, event: AttemptEnded, policy: Policy) -> Result:
    """The attempt has ended and the worker must go."""
    if event.job != worker.job or event.epoch != worker.epoch:
        return worker, ()
    return _without_job(worker, "stopping"), (_report(worker, event), _LAST_STOP[worker.phase])


def attempt_ended_late(worker: Worker, event: AttemptEnded, policy: Policy) -> Result:
    """The wrapper's report came after the worker had let the job go: the job's epoch decides."""
    if event.job != worker.job or event.epoch != worker.epoch:
        return worker, ()
    return _without_job(worker, worker.phase), (_report(worker, event),)


def _leave(worker: Worker, answer: str, policy: Policy) -> Result:
    """Do what the protect policy says about the running attempt of an instance that will go."""
    if answer == CHECKPOINT:
        return _phase(worker, "noticed"), (Checkpoint(worker.job, worker.epoch),)
    if answer == RELEASE:
        release = Release(worker.job, worker.epoch, INTERRUPTED, -1)
        return _without_job(worker, "stopping"), (release, _STOP_INTERRUPTED)
    return _phase(worker, "noticed"), ()


def notice_when_running(worker: Worker, event: Notice, policy: Policy) -> Result:
    answer = policy.protect.on_notice(worker.checkpointable, event.lead_ms, policy.settings)
    return _leave(worker, answer, policy)


def rebalance_when_running(worker: Worker, event: Rebalance, policy: Policy) -> Result:
    answer = policy.protect.on_rebalance(worker.checkpointable, policy.settings)
    if answer not in (CHECKPOINT, RELEASE):
        return worker, ()
    return _leave(worker, answer, policy)


def notice_without_job(worker: Worker, event: Notice, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (_STOP_INTERRUPTED,)


def notice_when_claiming(worker: Worker, event: Notice | StopOrdered, policy: Policy) -> Result:
    return _phase(worker, "leaving"), ()


def claimed_when_leaving(worker: Worker, event: JobClaimed, policy: Policy) -> Result:
    release = Release(event.job, event.epoch, UNSTARTED, -1)
    if worker.phase == "leaving":
        return _phase(worker, "stopping"), (release, _STOP_INTERRUPTED)
    return worker, (release,)


def nothing_when_leaving(worker: Worker, event: NothingToClaim, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (_STOP_INTERRUPTED,)


def stop_ordered(worker: Worker, event: StopOrdered, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (Stop(event.reason),)


def stop_when_running(worker: Worker, event: StopOrdered, policy: Policy) -> Result:
    """Finish the attempt first."""
    return _phase(worker, "draining"), ()


def move_when_running(worker: Worker, event: MoveOrdered, policy: Policy) -> Result:
    if not worker.checkpointable:
        release = Release(worker.job, worker.epoch, CHECKPOINTED, -1)
        return _without_job(worker, "stopping"), (release, Stop("moved"))
    return _phase(worker, "moving"), (Checkpoint(worker.job, worker.epoch),)


def notice_when_moving(worker: Worker, event: Notice, policy: Policy) -> Result:
    """The checkpoint is being written already."""
    return _phase(worker, "noticed"), ()


def lost_with_job(worker: Worker, event: Lost, policy: Policy) -> Result:
    return _without_job(worker, "gone"), (Release(worker.job, worker.epoch, INTERRUPTED, -1),)


def lost(worker: Worker, event: Lost, policy: Policy) -> Result:
    return _without_job(worker, "gone"), ()


def _ignore(phase: str, *kinds: type) -> dict[type, Row]:
    return {kind: Row(stay, (phase,), "late or of no interest") for kind in kinds}


TABLE: dict[str, dict[type, Row]] = {
    "booting": {
        Ready: Row(ready, ("claiming",)),
        TimerFired: Row(timer_when_booting, ("stopping", "booting"), "never registered"),
        Notice: Row(notice_without_job, ("stopping",)),
        StopOrdered: Row(stop_ordered, ("stopping",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("booting", Rebalance, Woken, MoveOrdered),
    },
    "claiming": {
        JobClaimed: Row(job_claimed, ("running",)),
        NothingToClaim: Row(nothing_to_claim, ("idle", "stopping")),
        Notice: Row(notice_when_claiming, ("leaving",)),
        StopOrdered: Row(notice_when_claiming, ("leaving",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("claiming", Ready, Rebalance, Woken, TimerFired, AttemptEnded, MoveOrdered),
    },
    "leaving": {
        JobClaimed: Row(claimed_when_leaving, ("stopping",), "unstarted"),
        NothingToClaim: Row(nothing_when_leaving, ("stopping",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("leaving", Ready, Notice, Rebalance, Woken, TimerFired, AttemptEnded, StopOrdered, MoveOrdered),
    },
    "idle": {
        Woken: Row(woken, ("claiming",)),
        TimerFired: Row(timer_when_idle, ("stopping", "idle"), "keep-alive is over"),
        Notice: Row(notice_without_job, ("stopping",)),
        StopOrdered: Row(stop_ordered, ("stopping",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("idle", Ready, Rebalance, NothingToClaim, AttemptEnded, MoveOrdered),
    },
    "running": {
        AttemptEnded: Row(attempt_ended, ("claiming", "running"), "fenced"),
        Notice: Row(notice_when_running, ("noticed", "stopping")),
        Rebalance: Row(rebalance_when_running, ("running", "noticed", "stopping")),
        StopOrdered: Row(stop_when_running, ("draining",)),
        MoveOrdered: Row(move_when_running, ("moving", "stopping")),
        Lost: Row(lost_with_job, ("gone",)),
        **_ignore("running", Ready, Woken, TimerFired, NothingToClaim, JobClaimed),
    },
    "draining": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "draining"), "fenced"),
        Notice: Row(notice_when_running, ("noticed", "stopping")),
        Rebalance: Row(rebalance_when_running, ("draining", "noticed", "stopping")),
        MoveOrdered: Row(move_when_running, ("moving", "stopping")),
        Lost: Row(lost_with_job, ("gone",)),
        **_ignore("draining", Ready, Woken, TimerFired, NothingToClaim, JobClaimed, StopOrdered),
    },
    "moving": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "moving"), "fenced"),
        Notice: Row(notice_when_moving, ("noticed",)),
        Lost: Row(lost_with_job, ("gone",)),
        **_ignore("moving", Ready, Rebalance, Woken, TimerFired, NothingToClaim, JobClaimed, StopOrdered, MoveOrdered),
    },
    "noticed": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "noticed"), "fenced"),
        Lost: Row(lost_with_job, ("gone",)),
        **_ignore(
            "noticed", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim, JobClaimed
        ),
    },
    "stopping": {
        JobClaimed: Row(claimed_when_leaving, ("stopping",), "unstarted"),
        AttemptEnded: Row(attempt_ended_late, ("stopping",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("stopping", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim),
    },
    "gone": {
        JobClaimed: Row(claimed_when_leaving, ("gone",), "unstarted"),
        AttemptEnded: Row(attempt_ended_late, ("gone",)),
        **_ignore("gone", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim, Lost),
    },
}

MACHINE: Machine[Worker] = Machine("worker", "booting", TABLE)
step = MACHINE.step
