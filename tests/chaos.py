"""A hostile stand-in for AWS around the pure core: everything that the table, the events and the wrapper may do wrong.

Nothing is simulated in time. Messages wait in one bag, and an adversary picks what happens next: it delivers any of
them in any order, keeps copies, drops what AWS may drop, performs commands twice or late, lets instances die and leases
expire, and lets clocks disagree. Then it stops, the reaper does its work, and everything must end (L1, L2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from worlds import policy_of

from scheduler import commands as say
from scheduler import events as hear
from scheduler import job as job_role
from scheduler import worker as worker_role
from scheduler.job_record import Job, JobSpec, Rare, Ticket
from scheduler.policies.protect import NoProtection, OnNotice
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.policy import Policy
from scheduler.settings import Settings
from scheduler.worker import Badge, Worker

FINAL = frozenset({"done", "failed", "cancelled"})
WORK = 100  # what a job needs, in pieces
APPLICATION = frozenset({"failed", "string-missing", "timeout"})
DROPPED = (hear.Notice, hear.Rebalance, hear.Woken, hear.Lost, hear.AttemptEnded)  # what may never reach a worker
SKEW_MS = 60_000

_SHORT = Settings(keep_alive_ms=60_000, roll_over_at=100, checkpoint_write_ms=5_000)
ADVERSARY = (
    policy_of(_SHORT, retry=Immediate()),
    policy_of(replace(_SHORT, keep_alive_ms=0), protect=NoProtection(), retry=FullJitter(budget_ms=10_000)),
    policy_of(_SHORT, protect=OnNotice(rebalance="release")),
    policy_of(_SHORT, protect=OnNotice(rebalance="checkpoint")),
)


@dataclass
class Host:
    """An instance with its worker's record and its wrapper: `runs` is (job, epoch, work done)."""

    state: Worker
    alive: bool = True
    runs: tuple[str, int, int] | None = None
    timers: set[str] = field(default_factory=set)
    told: set[tuple[str, int]] = field(default_factory=set)  # starts that the wrapper has had
    turns_deaf: int = 0


class Chaos:
    """Jobs a0, a1, ... and workers around the core. `calm` ends the hostilities."""

    def __init__(self, seed: int, policies: tuple[Policy, ...], jobs: int, hosts: int) -> None:
        self.random = Random(seed)
        self.policies, self.policy = policies, policies[0]
        self.most_hosts = hosts
        self.now_ms = 0
        self.calm = False
        self.seen: Counter[str] = Counter()
        self.bag: list[Callable[[], None]] = []
        self.records: dict[str, Job] = {}
        self.needs: dict[str, tuple[str, ...]] = {}
        self.unmet: dict[str, set[str]] = {}  # of those needs, the ones that have not ended well
        self.dependants: dict[str, list[str]] = {}
        self.indexed: set[str] = set()
        self.hosts: dict[str, Host] = {}
        self.timers: list[tuple[str, str]] = []
        self.completions: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.requested = 0
        for number in range(jobs):
            self._ticket(f"a{number}", number)

    def _ticket(self, name: str, number: int) -> None:
        draw = self.random
        spec = JobSpec("any", retries=draw.randrange(3), checkpointable=draw.random() < 0.5)
        needs = tuple(sorted({f"a{draw.randrange(number)}" for _ in range(draw.randrange(3))})) if number else ()
        self.needs[name], self.unmet[name] = needs, set(needs)
        for other in needs:
            self.dependants.setdefault(other, []).append(name)
        self.records[name] = Job(Ticket(name, spec, number), rare=Rare(waiting_for=len(needs)))
        self._send(lambda: self._job(name, hear.Submitted(self._time())), "sqs")

    # the bag ------------------------------------------------------------------------------------------------------
    def _often(self, probability: float) -> bool:
        return not self.calm and self.random.random() < probability

    def _send(self, deliver: Callable[[], None], what: str, *, may_drop: bool = False) -> None:
        """Put a message into the bag: once, twice, or not at all."""
        if may_drop and self._often(0.25):
            self.seen[f"{what} dropped"] += 1
            return
        self.bag.append(deliver)
        if self._often(0.25):
            self.seen[f"{what} twice"] += 1
            self.bag.append(deliver)

    def _time(self) -> int:
        """The time as some clock has it."""
        self.now_ms += 1_000
        return self.now_ms if self.calm else max(0, self.now_ms + self.random.randrange(-SKEW_MS, SKEW_MS))

    # steps of the core --------------------------------------------------------------------------------------------
    def _job(self, name: str, event: Any) -> None:
        before = self.records[name]
        if before.phase == "new" and not isinstance(event, hear.Submitted):
            self.bag.append(lambda: self._job(name, event))  # the door has not made the record yet
            return
        after, commands = job_role.step(before, event, self.policy)
        self._check_job(name, before, event, after, commands)
        self.records[name] = after
        for command in commands:
            self._order_job(name, after, command)

    def _check_job(self, name: str, before: Job, event: Any, after: Job, commands: tuple[Any, ...]) -> None:
        if before.phase in FINAL:
            assert (after, commands) == (before, ()), f"I3: {name} {before.phase} {event} {after}"
        if isinstance(event, hear.Cancelled) and before.phase not in FINAL:
            assert after.phase == "cancelled", f"I3: {name} is cancelled and {after.phase}"
        stale = isinstance(event, hear.AttemptEnded | hear.LeaseExpired) and (
            before.phase != "leased" or event.epoch != before.epoch
        )
        if stale:
            assert (after, commands) == (before, ()), f"I4: {name} takes a stale {event}"
            self.seen["stale write"] += 1
        grown = after.epoch - before.epoch
        assert grown == (after.phase == "leased" != before.phase or after.phase == "cancelled" != before.phase), (
            f"I4: {name} {before.phase} -> {after.phase}: epoch {before.epoch} -> {after.epoch}"
        )
        blamed = isinstance(event, hear.AttemptEnded) and event.cause in APPLICATION and not stale
        assert after.failures - before.failures == blamed, f"I9: {name} {event}: {before.failures} -> {after.failures}"
        assert after.progress_ms >= before.progress_ms, f"I9: {name} lost progress: {event}"
        if after.phase == "done" != before.phase:
            self.completions[name] += 1
            assert self.completions[name] == 1, f"I2: {name} is completed again"
        if after.phase == "queued" and before.phase == "held":
            open_ones = [other for other in self.needs[name] if self.records[other].phase != "done"]
            assert not open_ones, f"I1: {name} starts before {open_ones}"

    def _worker(self, name: str, event: Any) -> None:
        host = self.hosts[name]
        host.state, commands = worker_role.step(host.state, event, self.policy)
        twice = self._often(0.1)
        self.seen["commands performed twice"] += twice
        for command in commands * (1 + twice):  # the outbox was not cleared: all of it again
            _WORKER_ORDERS.get(type(command), Chaos._nothing)(self, name, host, command)

    # what jobs order ----------------------------------------------------------------------------------------------
    def _order_job(self, name: str, record: Job, command: Any) -> None:
        if isinstance(command, say.Queue):
            self.indexed.add(name)
            for other, host in self.hosts.items():
                if host.state.phase == "idle":
                    self._tell(other, lambda: hear.Woken(self._time()))
        elif isinstance(command, say.Delay):
            self.timers.append((name, "delay"))
        elif isinstance(command, say.SetTimer):
            self.timers.append((name, command.name))
        elif isinstance(command, say.ReleaseDependants):
            for other in self.dependants.get(name, []):
                if command.done:
                    self.unmet[other].discard(name)
                ended = partial(self._dependency_ended, other, len(self.unmet[other]) if command.done else None)
                self._send(ended, "dependency")

    def _dependency_ended(self, name: str, left: int | None) -> None:
        at_ms = self._time()
        self._job(name, hear.DependencyFailed(at_ms) if left is None else hear.DependencyMet(at_ms, left))

    # what workers order -------------------------------------------------------------------------------------------
    def _nothing(self, name: str, host: Host, command: Any) -> None:
        """Protect and RollOver change nothing here."""

    def _claim(self, name: str, host: Host, command: say.Claim) -> None:
        """A conditional write on a candidate of an index that may be old; the answer may come late, or never."""
        waiting = [job for job, record in self.records.items() if record.phase == "queued"]
        if self._often(0.2):
            self.seen["index stale"] += 1
            waiting = sorted(self.indexed)  # entries of jobs that have left the queue since
        if not waiting:
            self._tell(name, lambda: hear.NothingToClaim(self._time()))
            return
        job = self.random.choice(waiting)
        before = self.records[job]
        self._job(job, hear.Claimed(self._time(), name))
        record = self.records[job]
        if record.epoch == before.epoch or record.phase != "leased":
            self.seen["claim refused"] += 1
            self._tell(name, lambda: hear.NothingToClaim(self._time()))
            return
        progress, checkpointable = record.progress_ms, record.ticket.spec.checkpointable
        self._tell(
            name,
            lambda: hear.JobClaimed(self._time(), job, record.epoch, progress, -1, -1, checkpointable, 0),
        )

    def _start(self, name: str, host: Host, command: say.Start) -> None:
        key = (command.job, command.epoch)
        if not host.alive or key in host.told or self._often(0.05):
            self.seen["start undeliverable"] += key not in host.told
            return
        host.told.add(key)
        host.runs = (*key, self.records[command.job].progress_ms)

    def _checkpoint(self, name: str, host: Host, command: say.Checkpoint) -> None:
        if host.alive and host.runs is not None and host.runs[:2] == (command.job, command.epoch):
            self._ends(name, host, "checkpointed", host.runs[2])

    def _report(self, name: str, host: Host, command: Any) -> None:
        cause = "done" if isinstance(command, say.Complete) else command.cause
        progress = getattr(command, "progress_ms", WORK)
        if host.runs is not None and host.runs[:2] == (command.job, command.epoch):
            host.runs = None
        event = (command.job, command.epoch, cause, 0, progress)
        self._send(lambda: self._job(command.job, hear.AttemptEnded(self._time(), *event)), "write")

    def _stop(self, name: str, host: Host, command: say.Stop) -> None:
        self._dies(name, host)

    def _set_timer(self, name: str, host: Host, command: say.SetTimer) -> None:
        host.timers.add(command.name)

    # the world ----------------------------------------------------------------------------------------------------
    def _tell(self, name: str, make: Callable[[], Any]) -> None:
        droppable = isinstance(make(), DROPPED)
        self._send(lambda: self._worker(name, make()), "event", may_drop=droppable)

    def _ends(self, name: str, host: Host, cause: str, progress: int) -> None:
        assert host.runs is not None
        job, epoch, _ = host.runs
        host.runs = None
        self._tell(name, lambda: hear.AttemptEnded(self._time(), job, epoch, cause, 0, progress))

    def _dies(self, name: str, host: Host) -> None:
        if host.alive:
            host.alive, host.runs = False, None
            self._tell(name, lambda: hear.Lost(self._time()))

    def launch(self) -> None:
        """A new instance; its agent may never register."""
        name = f"w{self.requested}"
        self.requested += 1
        self.hosts[name] = Host(Worker(Badge(name, "p", "spot")), timers={worker_role.BOOT})
        if not self._often(0.15):
            self._tell(name, lambda: hear.Ready(self._time()))

    def work(self, name: str, host: Host) -> None:
        """The wrapper's attempt goes on, and may end."""
        if host.runs is None:
            return
        job, epoch, done = host.runs
        done += self.random.randrange(1, WORK)
        host.runs = (job, epoch, done)
        if self._often(0.15):
            self._ends(name, host, self.random.choice(sorted(APPLICATION)), 0)
        elif done >= WORK:
            self._ends(name, host, "done", WORK)

    def trouble(self) -> None:
        """One thing that the world, the user or the fleet does to somebody."""
        if not self.hosts:
            return
        name, host = self.random.choice(list(self.hosts.items()))
        kind = self.random.randrange(8)
        if kind == 0:
            self._tell(name, lambda: hear.Notice(self._time(), self.random.choice([1_000, 120_000])))
        elif kind == 1:
            self._tell(name, lambda: hear.Rebalance(self._time()))
        elif kind == 2:
            self.seen["instance lost"] += host.alive
            self._dies(name, host)
        elif kind == 3:
            self._tell(name, lambda: hear.StopOrdered(self._time(), "user"))
        elif kind == 4:
            self._tell(name, lambda: hear.MoveOrdered(self._time()))
        elif kind == 5:
            self._lease_expires_falsely()
        elif kind == 6 and self._often(0.05):
            self._cancel()
        else:
            self.policy = self.random.choice(self.policies)
            self.seen["policy changed"] += 1

    def _lease_expires_falsely(self) -> None:
        leased = [job for job, record in self.records.items() if record.phase == "leased"]
        if leased:
            job = self.random.choice(leased)
            self.seen["lease expired though alive"] += 1
            self._job(job, hear.LeaseExpired(self._time(), self.records[job].epoch))

    def _cancel(self) -> None:
        going_on = [job for job, record in self.records.items() if record.phase not in (*FINAL, "new")]
        if going_on:
            self.seen["cancelled"] += 1
            self._job(self.random.choice(going_on), hear.Cancelled(self._time()))

    def reap(self) -> None:
        """The reaper: leases without evidence of life, workers whose instance is gone, and workers that wait for a
        report that never comes."""
        for name, host in list(self.hosts.items()):
            state = host.state
            if not host.alive and state.phase != "gone":
                self._tell(name, lambda: hear.Lost(self._time()))
            elif host.alive and state.job and host.runs is None and self._is_deaf(host):
                lost = (state.job, state.epoch, "lease-lost", 0, -1)
                self._tell(name, lambda lost=lost: hear.AttemptEnded(self._time(), *lost))  # type: ignore[misc]
        held = {host.runs[:2] for host in self.hosts.values() if host.runs is not None}
        for job, record in list(self.records.items()):
            if record.phase == "leased" and (job, record.epoch) not in held and self._often_or_calm(0.1):
                self._job(job, hear.LeaseExpired(self._time(), record.epoch))

    def _often_or_calm(self, probability: float) -> bool:
        return self.calm or self.random.random() < probability

    def _is_deaf(self, host: Host) -> bool:
        """Nothing has been heard of its attempt for a while."""
        host.turns_deaf += 1
        return self.calm or host.turns_deaf % 5 == 0

    def fire(self) -> None:
        """A timer fires: the worker's (that of the boot only while it boots), or the job's."""
        for name, host in self.hosts.items():
            if host.timers and self._often_or_calm(0.2):
                timer = min(host.timers)
                host.timers.discard(timer)
                self._tell(name, lambda timer=timer: hear.TimerFired(self._time(), timer))  # type: ignore[misc]
        if self.timers and self._often_or_calm(0.3):
            job, timer = self.timers.pop(self.random.randrange(len(self.timers)))
            self._send(lambda: self._job(job, hear.TimerFired(self._time(), timer)), "timer")

    # turns --------------------------------------------------------------------------------------------------------
    def turn(self) -> None:
        """One of everything that may happen next."""
        if self.bag:
            self.bag.pop(self.random.randrange(len(self.bag)))()
        for name, host in list(self.hosts.items()):
            if host.alive and self._often_or_calm(0.3):
                self.work(name, host)
        if self._often(0.2):
            self.trouble()
        if self._often_or_calm(0.2):
            self.fire()
            self.reap()
        waiting = any(record.phase == "queued" for record in self.records.values())
        alive = sum(host.alive for host in self.hosts.values())
        if waiting and alive < self.most_hosts and self._often_or_calm(0.3):
            self.launch()

    def run(self, hostile_turns: int, calm_turns: int) -> None:
        """Hostilities, then calm, in which everything ends (L1) and no worker stays (L2)."""
        for _ in range(hostile_turns):
            self.turn()
        self.calm = True
        for _ in range(calm_turns):
            if self.is_over():
                break
            self.turn()
        open_jobs = {name: record.phase for name, record in self.records.items() if record.phase not in FINAL}
        assert not open_jobs, f"L1: {open_jobs}"
        left = {name: host.state.phase for name, host in self.hosts.items() if host.alive or host.state.phase != "gone"}
        assert not left, f"L2: {left}"
        for name, record in self.records.items():
            assert (record.phase == "done") == (self.completions[name] == 1), f"I2: {name}"

    def is_over(self) -> bool:
        """Nothing is left that could happen."""
        ended = all(record.phase in FINAL for record in self.records.values())
        return ended and not self.bag and all(host.state.phase == "gone" for host in self.hosts.values())


_WORKER_ORDERS: dict[type, Any] = {
    say.Claim: Chaos._claim,
    say.Start: Chaos._start,
    say.Checkpoint: Chaos._checkpoint,
    say.Complete: Chaos._report,
    say.Fail: Chaos._report,
    say.Release: Chaos._report,
    say.Stop: Chaos._stop,
    say.SetTimer: Chaos._set_timer,
}
