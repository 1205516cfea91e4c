"""The rules of "nothing lost", as a journal that checks each entry while it is written (docs/invariants.md).

It knows the rules and not the core: from what the entries say it keeps a small model of its own of jobs, leases and
workers. A broken rule is an AssertionError that begins with the rule's name. `reckoning` checks the end of a world.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler import commands as say
from scheduler import events as hear
from scheduler.observation import ClassCount
from scheduler.policies.retry import Immediate
from scheduler.policies.retry.backoff import Backoff
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import FleetView, Policy
from sim.inputs import WorldInputs
from spotbed.journal import AttemptFact, InstanceFact, Journal

FINAL = frozenset({"done", "failed", "cancelled"})
NOT_THE_JOBS_FAULT = frozenset({"interrupted", "checkpointed", "released", "lease-lost", "unstarted"})
LEFT_OVER_EVENTS = 1_000  # of an execution's history, for what comes between two claims


def demand(rule: str, holds: bool, *said: object) -> None:
    """The rule holds, or the test fails with its name and what is known."""
    if not holds:
        raise AssertionError(" ".join([f"{rule}:", *map(str, said)]))


@dataclass
class JobModel:
    """A job, as far as the rules go. `kind` says with which others it stands in line."""

    number: int
    kind: tuple[object, ...]
    retries: int
    timeout_ms: int
    gang: int
    waits_for: frozenset[str]
    phase: str = "new"
    epoch: int = 0
    holder: str = ""
    failures: int = 0
    progress_ms: int = 0
    delayed_ms: int = 0
    key: float = 0.0
    purchase: str = ""
    queued_before: bool = False


@dataclass
class WorkerModel:
    """A worker: what it holds, what its wrapper has reported, and whether it may still take jobs."""

    holds: tuple[str, int] | None = None
    ended: set[tuple[str, int, str]] = field(default_factory=set)
    ready: bool = False
    leaving: bool = False
    gone: bool = False
    cycles: int = 0


class Watch(Journal):
    """A journal that refuses what must not be. `seen` counts the troubles that were met."""

    def __init__(self, inputs: WorldInputs, policy: Policy) -> None:
        super().__init__()
        self.inputs, self.policy = inputs, policy
        self.jobs = {job_id(inputs, index): _model(inputs, index) for index in range(len(inputs.work))}
        self.waiting: dict[tuple[object, ...], set[str]] = defaultdict(set)
        self.workers: dict[str, WorkerModel] = defaultdict(WorkerModel)
        self.now_ms = 0
        self.closed = False
        self.seen: Counter[str] = Counter()
        self.attempts: list[AttemptFact] = []
        self.instances: list[InstanceFact] = []
        self.facts: dict[str, Counter[str]] = defaultdict(Counter)
        self.notices: Counter[str] = Counter()
        self._hear = {"job": self._job, "worker": self._worker, "fleet": self._fleet}

    # each entry ---------------------------------------------------------------------------------------------------
    def step(self, role: str, subject: str, event: Any, commands: Sequence[Any]) -> None:
        demand("I8", event.at_ms >= self.now_ms, subject, event, "came at", self.now_ms)
        self.now_ms = event.at_ms
        super().step(role, subject, event, commands)
        self._hear[role](subject, event, commands)

    def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
        self.facts[subject][kind] += 1
        super().fact(at_ms, kind, subject, body)

    def attempt(self, fact: AttemptFact) -> None:
        self.attempts.append(fact)
        super().attempt(fact)

    def instance(self, fact: InstanceFact) -> None:
        self.instances.append(fact)
        super().instance(fact)

    # jobs ---------------------------------------------------------------------------------------------------------
    def _job(self, name: str, event: Any, commands: Sequence[Any]) -> None:
        job = self.jobs[name]
        kinds = tuple(type(command) for command in commands if type(command) is not say.SetTimer)
        if job.phase in FINAL:
            demand("I3", not commands, name, "has ended:", job.phase, event, commands)
            self.seen["heard after the end"] += 1
            return
        _JOB_HEARS[type(event)](self, name, job, event, kinds)
        for command in commands:
            if isinstance(command, say.Queue):
                self._in_line(name, job, command)
            elif isinstance(command, say.Delay):
                job.delayed_ms += command.after_ms

    def _in_line(self, name: str, job: JobModel, command: say.Queue) -> None:
        """A job that was interrupted keeps its place: its key never grows."""
        kept = not job.queued_before or command.key <= job.key
        demand("order", kept, name, "lost its place:", job.key, command.key)
        self.waiting[*job.kind, job.purchase].discard(name)
        job.key, job.purchase, job.queued_before = command.key, command.purchase, True
        self.waiting[*job.kind, job.purchase].add(name)

    def _submitted(self, name: str, job: JobModel, event: Any, kinds: tuple[type, ...]) -> None:
        if job.phase != "new":
            demand("I1", not kinds, name, "was submitted again:", kinds)
            self.seen["submitted twice"] += 1
            return
        self._into(name, job, "held" if self._waits(job) else "queued", kinds)

    def _waits(self, job: JobModel) -> bool:
        return any(self.jobs[other].phase != "done" for other in job.waits_for)

    def _dependency_met(self, name: str, job: JobModel, event: Any, kinds: tuple[type, ...]) -> None:
        if job.phase == "held":
            self._into(name, job, "held" if self._waits(job) else "queued", kinds)
        else:
            demand("I1", not kinds, name, job.phase, kinds)

    def _dependency_failed(self, name: str, job: JobModel, event: Any, kinds: tuple[type, ...]) -> None:
        failed = any(self.jobs[other].phase in ("failed", "cancelled") for other in job.waits_for)
        demand("I1", failed, name, "hears of a failure among", job.waits_for)
        self._into(name, job, "failed", kinds)

    def _claimed(self, name: str, job: JobModel, event: hear.Claimed, kinds: tuple[type, ...]) -> None:
        demand("I4", not kinds, name, "a claim orders nothing:", kinds)
        if job.phase != "queued":
            self.seen["claim refused"] += 1
            return
        line = self.waiting[*job.kind, job.purchase]
        first = min(line, key=lambda other: (self.jobs[other].key, self.jobs[other].number))
        demand("order", first == name, name, job.key, "was taken before", first, self.jobs[first].key)
        line.discard(name)
        job.phase, job.holder = "leased", event.worker
        job.epoch += 1

    def _attempt_ended(self, name: str, job: JobModel, event: hear.AttemptEnded, kinds: tuple[type, ...]) -> None:
        if job.phase != "leased" or event.epoch != job.epoch:
            demand("I4", not kinds, name, "took a stale write:", event, kinds)
            self.seen["stale write refused"] += 1
        elif event.cause == "done":
            self._into(name, job, "done", kinds)
        else:
            self._ended_badly(name, job, event, kinds)

    def _ended_badly(self, name: str, job: JobModel, event: hear.AttemptEnded, kinds: tuple[type, ...]) -> None:
        job.progress_ms = max(job.progress_ms, event.progress_ms)
        if event.cause in NOT_THE_JOBS_FAULT:
            self._into(name, job, "queued", kinds)
            return
        job.failures += 1
        retry = self.policy.retry
        spent = isinstance(retry, Backoff) and job.delayed_ms >= retry.budget_ms
        may_give_up = not isinstance(retry, Immediate | Backoff) and say.GiveUp in kinds
        if job.failures > job.retries or spent or may_give_up:
            self._into(name, job, "failed", kinds)
        else:
            self._into(name, job, "delayed" if say.Delay in kinds else "queued", kinds)

    def _lease_expired(self, name: str, job: JobModel, event: hear.LeaseExpired, kinds: tuple[type, ...]) -> None:
        if job.phase != "leased" or event.epoch != job.epoch:
            demand("I4", not kinds, name, "heard of an old lease:", event, kinds)
            return
        self.seen["lease expired"] += 1
        job.progress_ms = max(job.progress_ms, getattr(event, "progress_ms", -1))
        self._into(name, job, "queued", kinds)

    def _rerouted(self, name: str, job: JobModel, event: Any, kinds: tuple[type, ...]) -> None:
        """A timer or a route: a job in line may change lines, a delay may be over, and nothing else."""
        if job.phase == "delayed" and isinstance(event, hear.TimerFired) and event.name == "delay":
            self._into(name, job, "queued", kinds)
        elif job.phase != "queued":
            demand("I4", not kinds, name, "is", job.phase, "and hears", event, kinds)

    def _into(self, name: str, job: JobModel, phase: str, kinds: tuple[type, ...]) -> None:
        """The commands are those of the phase that the rules ask for."""
        rule, wanted = _ORDERED[phase]
        demand(rule, kinds == wanted, name, "should be", phase, "but orders", [kind.__name__ for kind in kinds])
        job.phase, job.holder = phase, ""

    # workers ------------------------------------------------------------------------------------------------------
    def _worker(self, name: str, event: Any, commands: Sequence[Any]) -> None:
        worker = self.workers[name]
        if isinstance(event, hear.Ready):
            worker.ready = True
        elif isinstance(event, hear.JobClaimed):
            self._takes(name, worker, event)
        elif isinstance(event, hear.AttemptEnded):
            worker.ended.add((event.job, event.epoch, event.cause))
        elif isinstance(event, hear.Lost):
            worker.gone = worker.leaving = True
        elif isinstance(event, hear.Notice):
            self.notices[name.partition(".")[0]] += 1
            self.seen["notice after the end"] += worker.gone or self._taken(name)
        for command in commands:
            self._ordered(name, worker, event, command)

    def _taken(self, name: str) -> bool:
        """Whether EC2 has taken the instance, though the worker may not know."""
        return self.facts[name]["interruption"] > 0 or self.facts[f"{name.partition('.')[0]}.0"]["interruption"] > 0

    def _takes(self, name: str, worker: WorkerModel, event: hear.JobClaimed) -> None:
        job = self.jobs[event.job]
        demand("I4", job.epoch == event.epoch and (job.holder == name or job.gang > 1), name, "does not hold", event)
        demand("I4", worker.holds is None, name, "holds", worker.holds, "and claims", event)
        demand("I9", event.progress_ms == job.progress_ms, name, "should go on from", job.progress_ms, event)
        worker.holds = (event.job, event.epoch)

    def _ordered(self, name: str, worker: WorkerModel, event: Any, command: Any) -> None:
        if isinstance(command, say.Claim | say.Start):
            demand("L2", not worker.leaving, name, "has left and orders", command)
        if isinstance(command, say.Start):
            self._started(name, worker, command)
        elif isinstance(command, say.Complete | say.Fail | say.Release):
            self._reported(name, worker, command)
        elif isinstance(command, say.Stop):
            self._stopped(name, worker, event, command)
        elif isinstance(command, say.RollOver):
            self.seen["rolled over"] += 1
            worker.cycles = 0

    def _started(self, name: str, worker: WorkerModel, command: say.Start) -> None:
        job = self.jobs[command.job]
        demand("I4", worker.holds == (command.job, command.epoch), name, worker.holds, command)
        demand("timeout", command.timeout_ms == job.timeout_ms, command, "should be limited to", job.timeout_ms)
        worker.cycles += 1
        settings = self.policy.settings
        history = worker.cycles * settings.events_per_cycle
        most = settings.roll_over_at + settings.events_per_cycle + LEFT_OVER_EVENTS * (settings.roll_over_at > 5_000)
        demand("history", history < most, name, "has a history of", history)

    def _reported(self, name: str, worker: WorkerModel, command: Any) -> None:
        key = (command.job, command.epoch)
        demand("I4", worker.holds == key, name, "holds", worker.holds, "and orders", command)
        if isinstance(command, say.Complete):
            demand("I7", (*key, "done") in worker.ended, name, "says done of what has not ended:", command)
        elif isinstance(command, say.Fail):
            demand("I9", command.cause not in NOT_THE_JOBS_FAULT, name, "blames the job:", command)
            demand("I7", (*key, command.cause) in worker.ended, name, "says failed of what has not ended:", command)
        else:
            demand("I9", command.cause in NOT_THE_JOBS_FAULT, name, "excuses the job:", command)
        worker.holds = None

    def _stopped(self, name: str, worker: WorkerModel, event: Any, command: say.Stop) -> None:
        worker.leaving = True
        demand("I1", worker.holds is None, name, "stops and keeps", worker.holds)
        allowed = worker.ready or isinstance(event, hear.Notice | hear.TimerFired)
        demand("scale", allowed, name, "is stopped while it boots:", event, command)
        self.seen["agent never registered"] += command.reason == "never-registered"

    # fleet --------------------------------------------------------------------------------------------------------
    def _fleet(self, name: str, event: Any, commands: Sequence[Any]) -> None:
        if isinstance(event, hear.LaunchFailed):
            self.seen[f"launch failed: {event.reason}"] += 1
        if not isinstance(event, hear.Tick):
            demand("fleet", not commands, event, commands)
            return
        for need in event.observation.classes:
            counts = need.queued, need.queued_work_ms, need.busy, need.booting, need.idle
            demand("I1", min(counts) >= 0, "a counter is negative:", need)
        self._counted(event)
        if any(isinstance(command, say.BudgetReached) for command in commands):
            demand("budget", not self.closed, "said twice:", commands)
            self.closed = True
        launches = [command for command in commands if isinstance(command, say.Launch)]
        if launches:
            routed = (self.jobs[command.job] for command in commands if isinstance(command, say.Route))
            self._launched(event, launches, sum(job.gang for job in routed))
        stopped = [command for command in commands if isinstance(command, say.StopWorker)]
        demand("scale", not stopped, "the fleet stops workers:", stopped)

    def _counted(self, event: hear.Tick) -> None:
        """The fleet sees as many jobs as wait, unless its counters are old."""
        seen = sum(need.queued for need in event.observation.classes)
        there = sum(job.gang for job in self.jobs.values() if job.phase == "queued")
        stale = self.inputs.services.count_staleness_s > 0
        demand("fleet", stale or seen == there, there, "wait, and the fleet is told of", seen)
        self.seen["stale counts"] += seen != there

    def _launched(self, event: hear.Tick, launches: list[say.Launch], routed: int) -> None:
        seen = event.observation
        within = not seen.budget_usd or seen.spent_usd < seen.budget_usd
        demand("budget", within and not self.closed, seen.spent_usd, "of", seen.budget_usd, "spent:", launches)
        wanted: Counter[str] = Counter()
        by_pool: Counter[str] = Counter()
        for launch in launches:
            by_pool[launch.pool] += launch.count
            wanted[launch.serves] += launch.count
        for pool in seen.pools:
            room = pool.max - pool.booting - pool.busy - pool.idle
            demand("I6", by_pool[pool.id] <= max(0, room), pool.id, "has room for", room, "not", by_pool[pool.id])
        if self.policy.move.moves:  # moves shift work between classes before the launches
            queued = sum(need.queued for need in seen.classes) + routed
            fits = wanted.total() <= queued or getattr(self.policy.scale, "steady", False)  # that holds a reserve
            demand("scale", fits, queued, "jobs wait or move, and", wanted, "are launched")
            return
        for need in seen.classes:
            missing = self._missing(FleetView(event.at_ms, seen, {}), need)
            demand("scale", wanted[need.key] <= missing, need.key, "lacks", missing, "gets", wanted[need.key])

    def _missing(self, view: FleetView, need: ClassCount) -> int:
        """How many workers a class lacks: what the scale policy wants, without those that are there or on their way."""
        scale = self.policy.scale
        if isinstance(scale, BacklogAndBusy):
            wanted = min(scale.max_workers, need.busy + max(need.queued, need.booting + need.idle))
        else:
            wanted = scale.desired(view, need)
        return max(0, wanted - need.busy - need.booting - need.idle)


def job_id(inputs: WorldInputs, index: int) -> str:
    """The name of a job."""
    return inputs.work.job_id(index)


def _model(inputs: WorldInputs, index: int) -> JobModel:
    work = inputs.work
    klass = work.classes[work.klass[index]]
    kind = (klass.vcpus, klass.memory_gib, klass.gpus, klass.gang, tuple(sorted(klass.licences.items())))
    waits_for = frozenset(job_id(inputs, other) for other in work.after.get(index, ()))
    timeout_ms = -1 if klass.timeout_ms is None else klass.timeout_ms
    return JobModel(index, kind, klass.retries, timeout_ms, klass.gang, waits_for)


# phase -> the rule that asks for it, and the commands that go with it (timers apart)
_ORDERED: dict[str, tuple[str, tuple[type, ...]]] = {
    "held": ("I1", ()),
    "queued": ("I9", (say.Queue,)),
    "delayed": ("I9", (say.Delay,)),
    "done": ("I2", (say.ReleaseDependants,)),
    "failed": ("I9", (say.GiveUp, say.ReleaseDependants)),
}
_JOB_HEARS: dict[type, Any] = {
    hear.Submitted: Watch._submitted,
    hear.DependencyMet: Watch._dependency_met,
    hear.DependencyFailed: Watch._dependency_failed,
    hear.Claimed: Watch._claimed,
    hear.AttemptEnded: Watch._attempt_ended,
    hear.LeaseExpired: Watch._lease_expired,
    hear.TimerFired: Watch._rerouted,
    hear.Routed: Watch._rerouted,
}
