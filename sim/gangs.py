"""Gangs in virtual time: n workers that start one job together, run it in step, and end with the first that ends.

The members are idle workers that the last of them takes along when it claims. They are in step: each is as slow as the
slowest, all write their checkpoints at once, and what one reports at the end is true of all. The job counts one attempt
and hears one report; the instance time of each member is metered like any other.
"""

# The parts of the driver know its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from scheduler.commands import Claim, Complete, Fail, Release, Start
from scheduler.events import CHECKPOINTED, INTERRUPTED, AttemptEnded, JobClaimed
from scheduler.gangs import HOLD, START, turn
from sim.attempts import KEEPS_ALL
from sim.clock import REPORT
from sim.index import QueueClass
from sim.instances import NOT_YET, LivePool, LiveWorker
from sim.services import row

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld

_Head = tuple[float, int]
_PLANNED = ("factor", "work_ms", "overhead_ms", "every_ms", "total_ms", "cause", "exit_code")  # of an attempt


class Gang:
    """The members that hold one lease of a job together; the first is the one that claimed it."""

    __slots__ = ("epoch", "late_ms", "members", "number", "pacer", "starts", "told")

    def __init__(self, number: int, epoch: int, members: list[LiveWorker]) -> None:
        self.number, self.epoch, self.members = number, epoch, members
        self.starts: list[Start] = []
        self.late_ms = 0  # how late the last of them is heard
        self.pacer = members[0]  # the slowest: all end when it ends
        self.told = False  # whether the job knows how the attempt ended


class Gangs:
    """Puts itself before the claims, starts and reports of a world whose work has gangs."""

    def __init__(self, world: DecoupledWorld) -> None:
        self.world = world
        commands = world._perform_worker
        self._claim, self._report = commands[Claim], world._report
        self._start: Callable[..., None] = commands[Start]
        world._report = self.reported
        commands[Claim], commands[Start] = self.claim, self.start
        for kind in (Complete, Fail, Release):
            commands[kind] = self._told(commands[kind])
        self._chosen: QueueClass | None = None
        world._choose = lambda pool: self._chosen

    # claims -----------------------------------------------------------------------------------------------------
    def claim(self, worker: LiveWorker, command: Claim) -> None:
        """Take a gang for all of its members, a job that may pass, or nothing."""
        world = self.world
        waiting = self._heads(worker.pool) if _may_take_part(worker, "claiming") else []
        gang, limit = self._turn(worker, waiting)
        if gang is not None:
            self._take(self._members(worker, gang)[: gang.seats], gang)
            return
        self._chosen = self._first(worker.pool, limit)
        if self._chosen is None:
            worker.timer += 1
            world._nothing_to_claim(worker, gathers=any(self._gathers(queue) for _, queue in waiting))
        else:
            self._claim(worker, command)

    def _turn(
        self, worker: LiveWorker, waiting: list[tuple[_Head, QueueClass]]
    ) -> tuple[QueueClass | None, _Head | None]:
        """(the class whose first gang starts, the place in the queue that nothing may pass)."""
        for number, (head, queue) in enumerate(waiting):
            answer = turn(queue.seats, len(self._members(worker, queue)), self._alive(queue))
            if answer == START:
                return queue, None
            if answer == HOLD and number == 0:
                return None, head
        return None, None

    def _heads(self, pool: LivePool) -> list[tuple[_Head, QueueClass]]:
        """The first of each class of gangs that this pool serves, the oldest first."""
        world = self.world
        found = []
        for queue in self._classes(pool):
            if queue.seats > 1 and (not queue.licences or world._licences_free(queue)):
                head = queue.first(world.records)
                if head is not None:
                    found.append((head, queue))
        return sorted(found, key=lambda each: each[0])

    def _classes(self, pool: LivePool) -> Iterator[QueueClass]:
        if pool.classes_version != self.world.index.version:
            self.world._renew_classes(pool)
        return (queue for group in pool.classes for queue in group)

    def _first(self, pool: LivePool, limit: _Head | None) -> QueueClass | None:
        """The class of the next job that is no gang: of the largest shape the first in order, and before `limit`."""
        world = self.world
        best: tuple[int, _Head, QueueClass] | None = None
        for queue in self._classes(pool):
            if queue.seats == 1 and (not queue.licences or world._licences_free(queue)):
                head = queue.first(world.records)
                if head is None or (limit is not None and head > limit):
                    continue
                if best is None or (-queue.size, head) < best[:2]:
                    best = (-queue.size, head, queue)
        return None if best is None else best[2]

    def _pools(self, queue: QueueClass) -> list[LivePool]:
        return [pool for pool in self.world.pools if self.world.serves(pool, queue.demand)]

    def _alive(self, queue: QueueClass) -> int:
        return sum(pool.booting + pool.busy + pool.idle for pool in self._pools(queue))

    def _gathers(self, queue: QueueClass) -> bool:
        """Whether it is worth waiting for the others: they live, or can be launched."""
        if self.world.fleet.phase == "closed":
            return self._alive(queue) >= queue.seats
        return sum(pool.spec.max for pool in self._pools(queue)) * self.world.slots >= queue.seats

    def _members(self, worker: LiveWorker, queue: QueueClass) -> list[LiveWorker]:
        """The worker that asks, and the idle ones that could go with it: not those for which an older gang waits."""
        members = [worker]
        head = queue.first(self.world.records)
        for pool in self._pools(queue):
            if pool is worker.pool or self._heads(pool)[0][0] == head:
                members += [each for each in dict.fromkeys(pool.idle_workers) if _may_take_part(each, "idle")]
        return members

    def _take(self, members: list[LiveWorker], queue: QueueClass) -> None:
        """One conditional write: the new epoch of the job, and the records of all of its members."""
        world = self.world
        now = world.clock.now_ms
        number, record = queue.pop(world.records)
        leased = world._lease(number, record, members[0])
        world.operations["claim_hit"] += len(members)
        ticket = leased.ticket
        spec = ticket.spec
        world._take_licences(spec.licences, 1)
        gang = Gang(number, leased.epoch, members)
        for member in members:
            member.lease = leased
            self._join(member, gang)
            member.job_demand = queue.demand
            queue.demand.busy += 1
        for member in members:
            event = JobClaimed(now, ticket.id, leased.epoch, leased.progress_ms, ticket.estimate_ms, spec.timeout_ms,
                               spec.checkpointable, member.pool.mtbf_ms)  # fmt: skip
            world._worker(member, event)
        self._wake_others(queue)

    def _join(self, member: LiveWorker, gang: Gang) -> None:
        member.gang = gang
        member.timer += 1
        member.job = member.claimed = gang.number
        if member.listed:
            member.listed = False
            member.pool.idle_workers.remove(member)

    def _wake_others(self, gang: QueueClass) -> None:
        """Those that were idle for the gang and are not in it may take what waits behind it."""
        world = self.world
        for pool in self._pools(gang):
            for queue in self._classes(pool):
                for _ in range(min(pool.idle, queue.demand.queued)):
                    world._wake(queue)

    # attempts ---------------------------------------------------------------------------------------------------
    def start(self, worker: LiveWorker, command: Start, late_ms: int = 0) -> None:
        """The members start when all of them know that they shall."""
        gang = worker.gang
        if gang is None:
            self._start(worker, command, late_ms)
            return
        gang.starts.append(command)
        gang.late_ms = max(gang.late_ms, late_ms)
        if len(gang.starts) == len(gang.members):
            self._start_all(gang)

    def _start_all(self, gang: Gang) -> None:
        every = {each.checkpoint_every_ms for each in gang.starts}
        often = KEEPS_ALL if KEEPS_ALL in every else min((each for each in every if each > 0), default=0)
        first = gang.starts[0]
        command = Start(first.job, first.epoch, often, first.timeout_ms)
        attempts = self.world.columns.attempts
        before, others = attempts[gang.number], len(gang.members) - 1
        for member in gang.members:
            self._start(member, command, gang.late_ms)
        attempts[gang.number] = before + 1  # one, though each of them is started
        self.world.operations["start"] += others
        gang.pacer = max(gang.members, key=lambda each: each.total_ms)
        for member in gang.members:
            for name in _PLANNED:
                setattr(member, name, getattr(gang.pacer, name))

    def reported(self, planned: tuple[LiveWorker, int]) -> None:
        """The report of the slowest member, or of one that has written a checkpoint, ends the attempt of all."""
        worker, run = planned
        gang = worker.gang
        if gang is None:
            self._report(planned)
        elif worker.run == run and (worker is gang.pacer or worker.cause == CHECKPOINTED):
            self._ended(gang, worker)

    def _ended(self, gang: Gang, first: LiveWorker) -> None:
        """All members report; one that was asked for a checkpoint does so before the others."""
        world, cause, gib = self.world, first.cause, self.world.tally.gib
        for member in gang.members:
            member.total_ms, member.safe_ms = first.total_ms, first.safe_ms
        written = gib.get("out", 0.0) + world.submissions.staged_gib(gang.number)[1]
        safe_ms = self._account(gang, first, cause, cause)
        if "out" in gib:
            gib["out"] = min(gib["out"], written)  # the job's output, once
        world.operations["report"] += len(gang.members)
        for member in [first, *(each for each in gang.members if each is not first)]:
            state = member.state
            event = AttemptEnded(world.clock.now_ms, state.job, gang.epoch, cause, first.exit_code, safe_ms)
            member.ended = event
            world._worker(member, event)

    def broken(self, worker: LiveWorker, cause: str) -> int:
        """The attempt has ended on one member, and so on all: what the others run stops when its peer is gone. Returns
        the job's safe progress."""
        world, gang = self.world, worker.gang
        safe_ms = self._account(gang, worker, cause, INTERRUPTED)
        at_ms = world.clock.now_ms + world.report_latency[row(gang.number, gang.epoch)]
        for member in gang.members:
            if member is not worker:
                world.clock.at(at_ms, REPORT, self._hears, (member, gang, safe_ms))
        return safe_ms

    def _hears(self, report: tuple[LiveWorker, Gang, int]) -> None:
        """A member whose instance is still there reports that its peers are gone."""
        member, gang, safe_ms = report
        if member.gang is gang and member.instance.ended_ms == NOT_YET:
            world, state = self.world, member.state
            world.operations["report"] += 1
            member.ended = AttemptEnded(world.clock.now_ms, state.job, gang.epoch, INTERRUPTED, 0, safe_ms)
            world._worker(member, member.ended)

    def _account(self, gang: Gang, first: LiveWorker, cause: str, other: str) -> int:
        """Meter all members: the first with `cause`, the others with `other`. The job counts them as one attempt."""
        world, number = self.world, gang.number
        columns = world.columns
        safe_ms = world._account(first, cause)
        once = columns.useful_ms[number], columns.interruptions[number]
        for member in gang.members:
            member.run += 1
            if member is not first:
                world._account(member, other)
                world._take_licences(world.submissions.spec_of(number).licences, 1)
                member.safe_ms = safe_ms
        columns.useful_ms[number], columns.interruptions[number] = once
        return safe_ms

    def _told(self, perform: Callable[[LiveWorker, Any], None]) -> Callable[[LiveWorker, Any], None]:
        """The first member that says how the attempt ended tells the job; it is one fact, however many say it."""

        def performed(worker: LiveWorker, command: Any) -> None:
            gang = worker.gang
            if gang is None or not gang.told:
                perform(worker, command)
            if gang is not None:
                gang.told, worker.gang = True, None

        return performed


def _may_take_part(worker: LiveWorker, phase: str) -> bool:
    """Whether it is in that phase, and its agent answers."""
    return worker.state.phase == phase and worker.instance.ended_ms == NOT_YET
