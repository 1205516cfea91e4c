"""What a journal tells of a run: its jobs, attempts, instances and launches. Times in ms, as the journal has them.

Facts say what no role hears (what a job is, where a worker runs, when an attempt truly began and ended). Where they
are missing, as in the journal of a stand-in, what the roles heard is taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scheduler import commands as orders
from scheduler import events
from scheduler.codec import decode
from scheduler.job_record import Ticket
from scheduler.observation import PoolCount
from scheduler.settings import Settings
from scheduler.worker import KEEP_ALIVE
from spotbed import metering
from spotbed.verify.lines import Line

NEVER = -1
RUNNING = "end-of-run"
INTERRUPTED = "interrupted"
_CLAIMS = {events.Ready: "worker_start", events.Woken: "wake"}  # why a worker claims -> the name of that delay
SPLIT = ("useful", "lost", "checkpoint", "failed")  # what the time of an attempt was for


@dataclass(slots=True)
class SeenJob:
    """A job. `status` is one of metering's; `completions` how often it was accepted as done."""

    ticket: Ticket
    after: tuple[str, ...]
    end_ms: int = NEVER
    status: int = metering.UNFINISHED
    completions: int = 0
    submissions: int = 0
    late_penalty_usd_per_hour: float = 0.0

    @property
    def given_up(self) -> bool:
        return self.status == metering.GAVE_UP

    @property
    def missed(self) -> bool:
        """Whether it has a deadline by which it was not done."""
        by_ms = self.ticket.deadline_ms
        return by_ms != NEVER and not (self.status == metering.DONE and self.end_ms <= by_ms)


@dataclass(slots=True)
class SeenAttempt:
    """One lease of a job. `start_ms` and `end_ms` are those of the wrapper where it said them (`told`); `split` is
    (useful, lost, checkpoint, failed) instance time where the run metered it."""

    job: str
    epoch: int
    worker: str
    claimed_ms: int
    base_ms: int
    after_ms: int  # when the worker had done with the one before it, or claimed this one
    every_ms: int = 0  # the work between two checkpoints; 0: none are written
    started: bool = False
    start_ms: int = NEVER
    end_ms: int = NEVER
    heard_ms: int = NEVER
    cause: str = ""
    exit_code: int = 0
    progress_ms: int = NEVER
    told: bool = False
    split: tuple[int, int, int, int] | None = None


@dataclass(slots=True)
class SeenInstance:
    """One worker's instance. `taken_ms` is when EC2 took it, or would have; `silent`: nobody was told."""

    worker: str
    pool: str
    requested_ms: int
    launched_ms: int
    ready_ms: int = NEVER
    ended_ms: int = NEVER
    reason: str = ""
    notice_ms: int = NEVER
    rebalance_ms: int = NEVER
    taken_ms: int = NEVER
    silent: bool = False
    metered: bool = False  # its times are those of the run's own meter


@dataclass(slots=True)
class Seen:
    """A run, as its journal tells it."""

    jobs: dict[str, SeenJob] = field(default_factory=dict)
    attempts: list[SeenAttempt] = field(default_factory=list)
    instances: dict[str, SeenInstance] = field(default_factory=dict)
    prices: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # pool -> (at_ms, USD per hour)
    pools: dict[str, PoolCount] = field(default_factory=dict)  # as the fleet saw them last
    room: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # pool -> (at_ms, instances); -1: any number
    launch_failures: dict[str, int] = field(default_factory=dict)
    looks: list[tuple[int, int]] = field(default_factory=list)  # jobs at a tick: (as the fleet saw, by this journal)
    ticks: list[int] = field(default_factory=list)  # at which the fleet ordered something
    settings: dict[str, int] = field(default_factory=dict)  # of the stack, where the journal says them
    problems: list[str] = field(default_factory=list)
    delays: dict[str, list[int]] = field(default_factory=dict)  # what took how long, in ms, by name
    timers: list[tuple[int, int]] = field(default_factory=list)  # of workers: (set for, fired after), in ms
    first_ms: int = 0
    last_ms: int = 0

    def delay(self, name: str, ms: int) -> None:
        self.delays.setdefault(name, []).append(ms)


def observe(lines: Iterable[Line], settings: Settings) -> Seen:
    """What the lines tell, which are in order of time, of a stack with these settings."""
    reader = _Reader(_silence_ms(settings))
    last_ms = 0
    for line in lines:
        if not reader.is_over(line):
            last_ms = line.at_ms
        reader.hear(line)
    return reader.finish(last_ms)


def _silence_ms(settings: Settings) -> int:
    """How long it takes, in the middle, to miss a worker of whose loss nobody tells: it last renewed its lease within a
    third of it before, and the fleet looks at its ticks."""
    return settings.lease_ms * 5 // 6 + settings.tick_ms // 2


class _Reader:
    def __init__(self, silence_ms: int) -> None:
        self.seen = Seen()
        self._silence_ms = silence_ms
        self._first = True
        self._attempts: dict[tuple[str, int], SeenAttempt] = {}
        self._last: dict[str, SeenAttempt] = {}  # by worker: what it claimed last
        self._running: dict[str, SeenAttempt] = {}  # by worker
        self._ordered: dict[str, list[int]] = {}  # pool -> times of launches whose workers are not known yet
        self._asked: dict[str, tuple[int, str]] = {}  # worker -> when it last claimed, and why
        self._queued_ms = NEVER  # when a job was last put into the index
        self._arrays: dict[str, tuple[str, ...]] = {}  # the names of their jobs
        self._open: set[str] = set()  # jobs that wait or run
        self._lost: dict[str, int] = {}
        self._stopped: dict[str, tuple[int, str]] = {}
        self._promised: dict[str, int] = {}  # worker -> when EC2 said that it would take it
        self._expired: set[tuple[str, int]] = set()
        self._timers: dict[tuple[str, str], tuple[int, int]] = {}  # worker, name -> when it was set, and for how long
        self._facts: dict[str, Callable[[Line], None]] = {
            "job": self._is_job, "worker": self._is_worker, "attempt": self._is_attempt, "instance": self._is_instance,
            "array": self._is_array, "stack": self._is_stack, "interruption": self._is_loss,
        }  # fmt: skip
        self._roles = {"job": self._job, "worker": self._worker, "fleet": self._fleet}

    def is_over(self, line: Line) -> bool:
        """Whether it changes nothing any more: a job that has ended is told something, as by who cancels it."""
        job = self.seen.jobs.get(line.subject) if line.role == "job" and not line.commands else None
        return job is not None and job.status != metering.UNFINISHED

    def hear(self, line: Line) -> None:
        if self._first:
            self.seen.first_ms, self._first = line.at_ms, False
        if line.fact:
            if line.fact in self._facts:
                self._facts[line.fact](line)
        else:
            self._roles[line.role](line)

    # facts ------------------------------------------------------------------------------------------------------
    def _is_stack(self, line: Line) -> None:
        self.seen.settings = dict(line.body["settings"])

    def _is_job(self, line: Line) -> None:
        if line.subject not in self.seen.jobs:
            ticket = decode(line.body["ticket"])
            late = float(line.body.get("late_penalty_usd_per_hour", 0.0))
            after = tuple(line.body.get("after", ()))
            self.seen.jobs[line.subject] = SeenJob(ticket, after, late_penalty_usd_per_hour=late)

    def _is_array(self, line: Line) -> None:
        count = int(line.body["tasks"])
        self._arrays[line.subject] = tuple(f"{line.subject}[{index}]" for index in range(count))

    def _is_worker(self, line: Line) -> None:
        pool = str(line.body["pool"])
        ordered = self._ordered.get(pool) or [line.at_ms]
        requested_ms = ordered.pop(0)
        self.seen.instances[line.subject] = SeenInstance(line.subject, pool, requested_ms, line.at_ms)

    def _is_attempt(self, line: Line) -> None:
        """The wrapper says how long the attempt took; a run that meters says all of it."""
        body = line.body
        epoch = int(body.get("epoch", body.get("attempt", 0)))
        attempt = self._attempts.get((line.subject, epoch))
        if attempt is None:
            self.seen.problems.append(f"an attempt of {line.subject!r} ended that was never claimed")
            return
        attempt.told = True
        if "lasted_ms" in body:
            attempt.end_ms, attempt.start_ms = line.at_ms, line.at_ms - int(body["lasted_ms"])
            return
        attempt.start_ms, attempt.end_ms = int(body["start_ms"]), int(body["end_ms"])
        attempt.cause = str(body["cause"])
        useful_ms, lost_ms, checkpoint_ms, failed_ms = (int(body[f"{name}_ms"]) for name in SPLIT)
        attempt.split = (useful_ms, lost_ms, checkpoint_ms, failed_ms)

    def _is_instance(self, line: Line) -> None:
        instance = self.seen.instances.get(line.subject)
        if instance is not None:
            instance.metered = True
            for name in ("requested_ms", "launched_ms", "ready_ms", "ended_ms"):
                setattr(instance, name, int(line.body[name]))
            instance.reason = str(line.body["reason"])

    def _is_loss(self, line: Line) -> None:
        self._promised[line.subject] = line.at_ms

    # jobs -------------------------------------------------------------------------------------------------------
    def _job(self, line: Line) -> None:
        job = self.seen.jobs.get(line.subject)
        if job is None:
            self.seen.problems.append(f"{line.subject!r} is heard of and was never submitted")
            return
        event = line.event
        if isinstance(event, events.Submitted):
            job.submissions += 1
        if isinstance(event, events.AttemptEnded):
            self._heard_end(line, event)
        if isinstance(event, events.LeaseExpired) and line.commands:
            self._expired.add((line.subject, event.epoch))
            self._ends(line.subject, event.epoch, line.at_ms, events.LEASE_LOST, 0, event.progress_ms)
        self._ordered_by_job(job, line)

    def _ordered_by_job(self, job: SeenJob, line: Line) -> None:
        for command in line.commands:
            if isinstance(command, orders.ReleaseDependants):
                self._final(job, line, command.done)
            elif isinstance(command, orders.Queue):
                self._queued_ms = line.at_ms
                self._open.add(line.subject)
            if isinstance(command, orders.ReleaseDependants | orders.Delay):
                self._open.discard(line.subject)

    def _final(self, job: SeenJob, line: Line, done: bool) -> None:
        job.completions += done
        if job.status == metering.UNFINISHED:
            cancelled = isinstance(line.event, events.Cancelled)
            job.status = metering.DONE if done else metering.CANCELLED if cancelled else metering.GAVE_UP
            job.end_ms = line.at_ms

    def _heard_end(self, line: Line, event: events.AttemptEnded) -> None:
        attempt = self._attempts.get((line.subject, event.epoch))
        if attempt is not None:
            attempt.heard_ms = line.at_ms
            attempt.progress_ms = max(attempt.progress_ms, event.progress_ms)

    # workers ----------------------------------------------------------------------------------------------------
    def _worker(self, line: Line) -> None:
        event, name = line.event, line.subject
        self._of_instance(line)
        match event:
            case events.JobClaimed():
                self._claimed(line, event)
            case events.NothingToClaim():
                self._answered(line)
            case events.AttemptEnded():
                self._ends(event.job, event.epoch, line.at_ms, event.cause, event.exit_code, event.progress_ms)
            case events.Lost():
                self._is_lost(line)
            case events.TimerFired() if (name, event.name) in self._timers:
                set_ms, after_ms = self._timers.pop((name, event.name))
                self.seen.timers.append((after_ms, line.at_ms - set_ms))
        for command in line.commands:
            if isinstance(command, orders.Claim):
                why = _CLAIMS.get(type(event), "claim")
                self._timers.pop((name, KEEP_ALIVE), None)
                self._asked[name] = (self._queued_ms if why == "wake" else line.at_ms, why)
            self._order(name, line.at_ms, command)

    def _of_instance(self, line: Line) -> None:
        instance = self.seen.instances.get(line.subject)
        if instance is None:
            self.seen.problems.append(f"worker {line.subject!r} is heard of and was never launched")
            instance = self.seen.instances[line.subject] = SeenInstance(line.subject, "", line.at_ms, line.at_ms)
        event = line.event
        if isinstance(event, events.Ready) and instance.ready_ms == NEVER:
            instance.ready_ms = line.at_ms
        elif isinstance(event, events.Notice) and instance.notice_ms == NEVER:
            instance.notice_ms = line.at_ms
            self._promised.setdefault(line.subject, line.at_ms + event.lead_ms)
        elif isinstance(event, events.Rebalance) and instance.rebalance_ms == NEVER:
            instance.rebalance_ms = line.at_ms

    def _claimed(self, line: Line, event: events.JobClaimed) -> None:
        why = self._answered(line)
        if event.job not in self.seen.jobs:
            self.seen.problems.append(f"{event.job!r} was claimed and never submitted")
        before = self._last.get(line.subject)
        after_ms = before.heard_ms if why == "claim" and before is not None else NEVER
        after_ms = line.at_ms if after_ms == NEVER else after_ms
        attempt = SeenAttempt(event.job, event.epoch, line.subject, line.at_ms, event.progress_ms, after_ms)
        self._last[line.subject] = attempt
        self._attempts[event.job, event.epoch] = attempt
        self.seen.attempts.append(attempt)
        self._running[line.subject] = attempt

    def _answered(self, line: Line) -> str:
        """Note how long it took from what made the worker claim to the answer; why it claimed."""
        asked_ms, why = self._asked.pop(line.subject, (NEVER, ""))
        if asked_ms != NEVER:
            self.seen.delay(why, line.at_ms - asked_ms)
        return why

    def _is_lost(self, line: Line) -> None:
        self._lost.setdefault(line.subject, line.at_ms)
        attempt = self._running.pop(line.subject, None)
        if attempt is None:
            return
        silent = (attempt.job, attempt.epoch) in self._expired
        self.seen.instances[line.subject].silent = silent
        if not silent and not attempt.cause:
            self._ends(attempt.job, attempt.epoch, line.at_ms, events.INTERRUPTED, 0, NEVER)

    def _ends(self, job: str, epoch: int, at_ms: int, cause: str, exit_code: int, progress_ms: int) -> None:
        attempt = self._attempts.get((job, epoch))
        if attempt is None or attempt.cause:
            return
        attempt.cause, attempt.exit_code, attempt.progress_ms = cause, exit_code, progress_ms
        if not attempt.told:
            attempt.end_ms = at_ms
        if cause != events.LEASE_LOST:
            self._running.pop(attempt.worker, None)

    def _order(self, worker: str, at_ms: int, command: Any) -> None:
        match command:
            case orders.Start():
                attempt = self._attempts[command.job, command.epoch]
                attempt.started, attempt.every_ms = True, command.checkpoint_every_ms
            case orders.Release():
                self._ends(command.job, command.epoch, at_ms, command.cause, 0, command.progress_ms)
            case orders.SetTimer():
                self._timers[worker, command.name] = (at_ms, command.after_ms)
            case orders.Stop():
                self._stopped.setdefault(worker, (at_ms, command.reason))

    # the fleet --------------------------------------------------------------------------------------------------
    def _fleet(self, line: Line) -> None:
        event, seen = line.event, self.seen
        if isinstance(event, events.Tick):
            seen.ticks.append(line.at_ms)
            seen.looks.append((sum(each.queued + each.busy for each in event.observation.classes), len(self._open)))
            for pool in event.observation.pools:
                seen.pools[pool.id] = pool
                seen.prices.setdefault(pool.id, []).append((line.at_ms, pool.price_usd_per_hour))
        elif isinstance(event, events.LaunchSucceeded) and event.pool in seen.room:
            seen.room[event.pool].append((line.at_ms, NEVER))
        elif isinstance(event, events.LaunchFailed):
            self._launch_failed(line.at_ms, event)
        for command in line.commands:
            if isinstance(command, orders.Launch):
                self._ordered.setdefault(command.pool, []).extend([line.at_ms] * command.count)

    def _launch_failed(self, at_ms: int, event: events.LaunchFailed) -> None:
        seen, pool = self.seen, event.pool
        seen.launch_failures[pool] = seen.launch_failures.get(pool, 0) + event.count
        ordered = self._ordered.get(pool, [])
        del ordered[len(ordered) - min(event.count, len(ordered)) :]
        if event.reason == "capacity":
            there = sum(each.pool == pool and self._is_there(each.worker) for each in seen.instances.values())
            seen.room.setdefault(pool, []).append((at_ms, there + len(ordered)))

    def _is_there(self, worker: str) -> bool:
        return worker not in self._stopped and worker not in self._lost

    # the end ----------------------------------------------------------------------------------------------------
    def finish(self, last_ms: int) -> Seen:
        seen = self.seen
        seen.last_ms = last_ms
        for instance in seen.instances.values():
            self._end_of(instance, last_ms)
        seen.last_ms = max([last_ms, *(each.ended_ms for each in seen.instances.values())])
        for attempt in seen.attempts:
            _times_of(attempt, seen.instances[attempt.worker], seen)
        usual_ms = round(statistics.median(seen.delays.get("start") or [0]))
        for attempt in seen.attempts:
            if attempt.start_ms == NEVER:  # its wrapper was taken before it could say anything
                attempt.start_ms = min(attempt.claimed_ms + usual_ms, attempt.end_ms)
        for name, job in seen.jobs.items():
            job.after = tuple(job_id for each in job.after for job_id in self._arrays.get(each, (each,)))
            if job.submissions != 1:
                seen.problems.append(f"{name!r} was submitted {job.submissions} times")
            if job.completions > 1:
                seen.problems.append(f"{name!r} was completed {job.completions} times")
        return seen

    def _end_of(self, instance: SeenInstance, last_ms: int) -> None:
        """When and why the instance ended, and when EC2 took it."""
        name = instance.worker
        stop_ms, reason = self._stopped.get(name, (NEVER, ""))
        lost_ms = self._lost.get(name, NEVER)
        promised_ms = self._promised.get(name, NEVER)
        if instance.silent:
            lost_ms = max(instance.launched_ms, lost_ms - self._silence_ms)
        by_ec2 = lost_ms != NEVER and (stop_ms == NEVER or lost_ms < stop_ms)
        if by_ec2:
            instance.taken_ms = min(lost_ms, promised_ms) if promised_ms != NEVER else lost_ms
        elif promised_ms != NEVER:
            instance.taken_ms = promised_ms
        if instance.metered:
            return
        if by_ec2:
            instance.ended_ms, instance.reason = instance.taken_ms, INTERRUPTED
        elif stop_ms != NEVER:
            instance.ended_ms, instance.reason = stop_ms, reason
        elif (name, KEEP_ALIVE) in self._timers:  # it idles, and will stop when that is over
            set_ms, after_ms = self._timers[name, KEEP_ALIVE]
            instance.ended_ms, instance.reason = set_ms + after_ms, "idle"
        else:
            instance.ended_ms, instance.reason = last_ms, RUNNING


def _times_of(attempt: SeenAttempt, instance: SeenInstance, seen: Seen) -> None:
    """An attempt ends with its instance at the latest; one that still runs, with the journal."""
    if attempt.end_ms == NEVER:
        attempt.end_ms = seen.last_ms
    if not attempt.told and attempt.cause in (events.INTERRUPTED, events.LEASE_LOST):
        attempt.end_ms = min(attempt.end_ms, instance.ended_ms)
    if attempt.told and attempt.started:
        seen.delay("start", attempt.start_ms - attempt.after_ms)
        if attempt.heard_ms != NEVER and attempt.cause != events.INTERRUPTED:
            seen.delay("report", attempt.heard_ms - attempt.end_ms)
