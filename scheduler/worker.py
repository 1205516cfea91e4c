"""The worker role: the machine that serves one slot, from the request to gone.

    booting -> claiming <-> running -> noticed | draining | moving -> stopping -> gone
                  '--> idle --^

It claims, starts, waits for the end to be reported (a callback, never a poll), reports it to the job, and claims again.
With nothing to claim it waits for `keep_alive` and stops; while a gang gathers that it could serve, it stays. On a
notice it writes a checkpoint, or lets the job go at once, so that the job waits for nothing. What comes late, or twice,
is expected: every phase has rows for it.
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
    INFRASTRUCTURE,
    INTERRUPTED,
    RELEASED,
    UNSTARTED,
    AttemptEnded,
    JobClaimed,
    Lost,
    MoveOrdered,
    NothingToClaim,
    Notice,
    Ready,
    Rebalance,
    StopOrdered,
    TimerFired,
    Woken,
)
from scheduler.policy import CHECKPOINT, RELEASE, Policy
from scheduler.record import record
from scheduler.table import Machine, Row, stay

BOOT, KEEP_ALIVE, GATHER = "boot", "keep-alive", "gather"


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
_STOP_INTERRUPTED, _STOP_MOVED = Stop("interrupted"), Stop("moved")
_LAST_STOP = {"noticed": _STOP_INTERRUPTED, "draining": Stop("drained"), "moving": _STOP_MOVED}


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
    if every_ms > 0 and worker.badge.purchase == "on-demand":
        every_ms = 0  # EC2 does not take these back; a move writes its own checkpoint
    running = Worker(
        worker.badge, "running", event.job, event.epoch, event.checkpointable, worker.history, worker.generation
    )
    return running, (Start(event.job, event.epoch, every_ms, event.timeout_ms),)


def nothing_to_claim(worker: Worker, event: NothingToClaim, policy: Policy) -> Result:
    keep_alive_ms = policy.settings.keep_alive_ms
    if event.gathers:
        return _phase(worker, "idle"), (SetTimer(GATHER, max(keep_alive_ms, policy.settings.tick_ms)),)
    if keep_alive_ms == 0:
        return _phase(worker, "stopping"), (Stop("idle"),)
    return _phase(worker, "idle"), (SetTimer(KEEP_ALIVE, keep_alive_ms),)


def woken(worker: Worker, event: Woken, policy: Policy) -> Result:
    return _claims_again(worker, policy)


def _claims_again(worker: Worker, policy: Policy) -> Result:
    """Claim; looking for nothing grows the history as attempts do."""
    history = worker.history + policy.settings.events_per_cycle
    if history < policy.settings.roll_over_at:
        return Worker(worker.badge, "claiming", "", 0, False, history, worker.generation), _CLAIM
    generation = worker.generation + 1
    return Worker(worker.badge, "claiming", "", 0, False, 0, generation), (RollOver(generation), *_CLAIM)


def timer_when_idle(worker: Worker, event: TimerFired, policy: Policy) -> Result:
    if event.name == GATHER:
        return _claims_again(worker, policy)
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
    if event.cause in INFRASTRUCTURE:
        taken = event.cause == CHECKPOINTED and worker.phase == "noticed"
        return Release(worker.job, worker.epoch, INTERRUPTED if taken else event.cause, event.progress_ms)
    return Fail(worker.job, worker.epoch, event.cause, event.exit_code, event.progress_ms)


def attempt_ended(worker: Worker, event: AttemptEnded, policy: Policy) -> Result:
    """Report, and take the next job; in a new execution when this one's history grows long."""
    if event.job != worker.job or event.epoch != worker.epoch:
        return worker, ()
    settings = policy.settings
    history = worker.history + settings.events_per_cycle
    report = Complete(worker.job, worker.epoch) if event.cause == DONE else _report(worker, event)
    if history < settings.roll_over_at:
        return Worker(worker.badge, "claiming", "", 0, False, history, worker.generation), (report, _CLAIM[0])
    generation = worker.generation + 1
    return Worker(worker.badge, "claiming", "", 0, False, 0, generation), (report, RollOver(generation), _CLAIM[0])


def attempt_ended_at_last(worker: Worker, event: AttemptEnded, policy: Policy) -> Result:
    """The attempt has ended and the worker must go."""
    if event.job != worker.job or event.epoch != worker.epoch:
        return worker, ()
    return _without_job(worker, "stopping"), (_report(worker, event), _LAST_STOP[worker.phase])


def _asked(worker: Worker, phase: str) -> Result:
    """The attempt shall write a checkpoint and end."""
    return _phase(worker, phase), (Checkpoint(worker.job, worker.epoch),)


def _released(worker: Worker, cause: str, stop: Stop) -> Result:
    """The attempt is given up at once, so that its job waits for nothing."""
    return _without_job(worker, "stopping"), (Release(worker.job, worker.epoch, cause, -1), stop)


def notice_when_running(worker: Worker, event: Notice, policy: Policy) -> Result:
    """Do what the protect policy says about the attempt of an instance that will go."""
    answer = policy.protect.on_notice(worker.checkpointable, event.lead_ms, policy.settings)
    if answer == CHECKPOINT:
        return _asked(worker, "noticed")
    if answer == RELEASE:
        return _released(worker, INTERRUPTED, _STOP_INTERRUPTED)
    return _phase(worker, "noticed"), ()


def rebalance_when_running(worker: Worker, event: Rebalance, policy: Policy) -> Result:
    """Leaving on a recommendation is a move, and no interruption: EC2 has taken nothing."""
    answer = policy.protect.on_rebalance(worker.checkpointable, policy.settings)
    if answer == CHECKPOINT:
        return _asked(worker, "moving")
    if answer == RELEASE:
        return _released(worker, RELEASED, _STOP_MOVED)
    return worker, ()


def notice_without_job(worker: Worker, event: Notice, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (_STOP_INTERRUPTED,)


def notice_when_claiming(worker: Worker, event: Notice, policy: Policy) -> Result:
    return _phase(worker, "leaving"), ()


def claimed_when_leaving(worker: Worker, event: JobClaimed, policy: Policy) -> Result:
    release = Release(event.job, event.epoch, UNSTARTED, -1)
    if worker.phase == "leaving":
        return _phase(worker, "stopping"), (release, _STOP_INTERRUPTED)
    return worker, (release,)


def claimed_when_busy(worker: Worker, event: JobClaimed, policy: Policy) -> Result:
    """A claim that was performed twice may take a second job; the same answer again changes nothing."""
    if event.job == worker.job and event.epoch == worker.epoch:
        return worker, ()
    return worker, (Release(event.job, event.epoch, UNSTARTED, -1),)


def nothing_when_leaving(worker: Worker, event: NothingToClaim, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (_STOP_INTERRUPTED,)


def stop_ordered(worker: Worker, event: StopOrdered, policy: Policy) -> Result:
    return _phase(worker, "stopping"), (Stop(event.reason),)


def stop_when_running(worker: Worker, event: StopOrdered, policy: Policy) -> Result:
    """Finish the attempt first."""
    return _phase(worker, "draining"), ()


def move_when_running(worker: Worker, event: MoveOrdered, policy: Policy) -> Result:
    return _asked(worker, "moving") if worker.checkpointable else _released(worker, RELEASED, _STOP_MOVED)


def notice_when_moving(worker: Worker, event: Notice, policy: Policy) -> Result:
    """The checkpoint is being written already."""
    return _phase(worker, "noticed"), ()


def lost_with_job(worker: Worker, event: Lost, policy: Policy) -> Result:
    return _without_job(worker, "gone"), (Release(worker.job, worker.epoch, INTERRUPTED, -1),)


def lost(worker: Worker, event: Lost, policy: Policy) -> Result:
    return _without_job(worker, "gone"), ()


def _ignore(phase: str, *kinds: type) -> dict[type, Row]:
    return {kind: Row(stay, (phase,), "late or of no interest") for kind in kinds}


def _busy(phase: str) -> dict[type, Row]:
    return {
        JobClaimed: Row(claimed_when_busy, (phase,), "second answer to a claim"),
        Lost: Row(lost_with_job, ("gone",)),
    }


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
        StopOrdered: Row(stop_ordered, ("stopping",)),
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
        JobClaimed: Row(job_claimed, ("running",), "second answer to a claim"),
        TimerFired: Row(timer_when_idle, ("stopping", "claiming", "idle"), "keep-alive is over; or a gang gathers"),
        Notice: Row(notice_without_job, ("stopping",)),
        StopOrdered: Row(stop_ordered, ("stopping",)),
        Lost: Row(lost, ("gone",)),
        **_ignore("idle", Ready, Rebalance, NothingToClaim, AttemptEnded, MoveOrdered),
    },
    "running": {
        AttemptEnded: Row(attempt_ended, ("claiming", "running"), "fenced"),
        Notice: Row(notice_when_running, ("noticed", "stopping")),
        Rebalance: Row(rebalance_when_running, ("running", "moving", "stopping")),
        StopOrdered: Row(stop_when_running, ("draining",)),
        MoveOrdered: Row(move_when_running, ("moving", "stopping")),
        **_busy("running"),
        **_ignore("running", Ready, Woken, TimerFired, NothingToClaim),
    },
    "draining": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "draining"), "fenced"),
        Notice: Row(notice_when_running, ("noticed", "stopping")),
        Rebalance: Row(rebalance_when_running, ("draining", "moving", "stopping")),
        MoveOrdered: Row(move_when_running, ("moving", "stopping")),
        **_busy("draining"),
        **_ignore("draining", Ready, Woken, TimerFired, NothingToClaim, StopOrdered),
    },
    "moving": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "moving"), "fenced"),
        Notice: Row(notice_when_moving, ("noticed",)),
        **_busy("moving"),
        **_ignore("moving", Ready, Rebalance, Woken, TimerFired, NothingToClaim, StopOrdered, MoveOrdered),
    },
    "noticed": {
        AttemptEnded: Row(attempt_ended_at_last, ("stopping", "noticed"), "fenced"),
        **_busy("noticed"),
        **_ignore("noticed", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim),
    },
    "stopping": {
        JobClaimed: Row(claimed_when_leaving, ("stopping",), "unstarted"),
        Lost: Row(lost, ("gone",)),
        **_ignore("stopping", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim),
        **_ignore("stopping", AttemptEnded),
    },
    "gone": {
        JobClaimed: Row(claimed_when_leaving, ("gone",), "unstarted"),
        **_ignore("gone", Ready, Notice, Rebalance, Woken, TimerFired, StopOrdered, MoveOrdered, NothingToClaim, Lost),
        **_ignore("gone", AttemptEnded),
    },
}

MACHINE: Machine[Worker] = Machine("worker", "booting", TABLE)
step = MACHINE.step
