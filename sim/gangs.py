"""Gangs in virtual time: n workers that start one job together, run it in step, and end with the first that fails.

The members are idle workers that the last of them takes along when it claims; he has the last rank. They are in step:
each is as slow as the slowest, and none goes on when one is gone. The job hears of the end once: when the last member
has ended well, or the first in any other way; then the others are told to stop, and say that they have. It counts one
attempt; the instance time of each member is metered like any other.
"""

# The parts of the driver know its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from scheduler.commands import Checkpoint, Claim, Complete, Fail, Release, Start
from scheduler.events import CHECKPOINTED, INTERRUPTED, AttemptEnded, JobClaimed
from scheduler.gangs import HOLD, START, turn
from sim.attempts import KEEPS_ALL
from sim.clock import REPORT
from sim.index import QueueClass
from sim.instances import NOT_YET, LivePool, LiveWorker
from sim.services import row

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld

OPERATIONS = (
    "seat_claim",
    "seat_start",
    "seat_join",
    "seat_renewal",
    "seat_look",
    "seat_ended",
)  # besides the usual
_Head = tuple[float, int]
_PLANNED = ("factor", "work_ms", "overhead_ms", "every_ms", "total_ms", "cause", "exit_code")  # of an attempt


class Gang:
    """The members that hold one lease of a job together, in the order of their ranks."""

    __slots__ = ("accounted", "epoch", "late_ms", "left", "members", "number", "pacer", "starts", "told")

    def __init__(self, number: int, epoch: int, members: list[LiveWorker]) -> None:
        self.number, self.epoch, self.members = number, epoch, members
        self.starts: list[Start] = []
        self.late_ms = 0  # how late the last of them is heard
        self.pacer = members[0]  # the slowest: all end when it ends
        self.left = 0  # how many have said how it ended on them
        self.accounted = False  # whether the attempt is over, and metered
        self.told = False  # whether the job knows how the attempt ended


class Gangs:
    """Puts itself before the claims, starts and reports of a world whose work has gangs."""

    def __init__(self, world: DecoupledWorld) -> None:
        self.world = world
        commands = world._perform_worker
        self._claim, self._report = commands[Claim], world._report
        self._start: Callable[..., None] = commands[Start]
        world._report = self.reported
        self._checkpoint: Callable[..., None] = commands[Checkpoint]
        commands[Claim], commands[Start], commands[Checkpoint] = self.claim, self.start, self.checkpoint
        for kind in (Complete, Fail, Release):
            commands[kind] = self._told(commands[kind])
        for name in OPERATIONS:
            world.operations[name] = 0
        self._idle_since: dict[LiveWorker, int] = {}
        self._chosen: QueueClass | None = None
        world._choose = lambda pool: self._chosen

    # claims -----------------------------------------------------------------------------------------------------
    def claim(self, worker: LiveWorker, command: Claim) -> None:
        """Take a gang for all of its members, a job that may pass, or nothing."""
        world = self.world
        waiting = self._heads(worker.pool)
        self._leave_idle(worker)
        gang, limit = self._turn(worker, waiting)
        if gang is not None:
            self._take([*self._free(worker, gang)[: gang.seats - 1], worker], gang)
            return
        self._chosen = self._first(worker.pool, limit)
        if self._chosen is not None and world.ranked is not None:
            world.ranked.put_best_first(self._chosen, limit)
        if self._chosen is None:
            worker.timer += 1
            world._nothing_to_claim(worker, gathers=any(self._gathers(queue) for _, queue in waiting))
            self._in_order(worker)
        else:
            self._claim(worker, command)

    def _leave_idle(self, worker: LiveWorker) -> None:
        """One that looks again of itself is not idle meanwhile."""
        if worker.listed:
            worker.listed = False
            worker.pool.idle_workers.remove(worker)
            self.world.operations["recount_idle"] += 1

    def _in_order(self, worker: LiveWorker) -> None:
        """Those that became idle in the same millisecond are in the order of their names."""
        idle = worker.pool.idle_workers
        if not worker.listed:
            return
        now = self._idle_since[worker] = self.world.clock.now_ms
        same = [each for each in idle if self._idle_since[each] == now]
        for each in same:
            idle.remove(each)
        idle.extend(sorted(same, key=lambda each: each.state.badge.id))

    def _turn(
        self, worker: LiveWorker, waiting: list[tuple[_Head, QueueClass]]
    ) -> tuple[QueueClass | None, _Head | None]:
        """(the class whose first gang starts, the place in the queue that nothing may pass)."""
        for number, (head, queue) in enumerate(waiting):
            answer = turn(queue.seats, 1 + len(self._free(worker, queue)), self._alive(queue))
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

    def _free(self, worker: LiveWorker, queue: QueueClass) -> list[LiveWorker]:
        """The idle workers that could go with the one that asks: not those for which an older gang waits. (Whether
        their instances are there, nobody knows who has not been told.)"""
        found: list[LiveWorker] = []
        head = queue.first(self.world.records)
        for pool in self._pools(queue):
            if pool is worker.pool or self._heads(pool)[0][0] == head:
                found += [each for each in pool.idle_workers if each.state.phase == "idle"]
        return found

    def _take(self, members: list[LiveWorker], queue: QueueClass) -> None:
        """One conditional write: the new epoch of the job, and the records of all of its members."""
        world = self.world
        now = world.clock.now_ms
        number, record = queue.pop(world.records)
        leased = world._lease(number, record, members[0])
        world.operations["claim_hit"] += 1
        world.operations["seat_claim"] += len(members) - 1
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
        for pool in self._pools(gang):
            waiting = sum(demand.queued for demand in {queue.demand: 0 for queue in self._classes(pool)})
            for worker in [each for each in pool.idle_workers if each.state.phase == "idle"][:waiting]:
                pool.idle_workers.remove(worker)
                worker.listed = False
                self.world._hint(worker)

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
        self.world.operations["seat_start"] += others
        self.world.operations["seat_join"] += others + 1
        running = [each for each in gang.members if each.job >= 0]
        for _ in range(len(gang.members) - len(running)):  # whose instances are gone, as will soon be known
            self._keeps_licences(gang)
        if not running:
            return
        gang.pacer = max(running, key=lambda each: each.total_ms)
        for member in running:
            for name in _PLANNED:
                setattr(member, name, getattr(gang.pacer, name))

    def checkpoint(self, worker: LiveWorker, command: Checkpoint) -> None:
        """All members are told; the checkpoint is that of the first."""
        if worker.gang is not None:
            self.world.operations["order"] += len(worker.gang.members) - 1
        self._checkpoint(worker, command)

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
        self._account(gang, first, cause, cause)
        if "out" in gib:
            gib["out"] = min(gib["out"], written)  # the job's output, once
        for member in gang.members:
            if member is not first:
                world.clock.at(world.clock.now_ms, REPORT, self._reports, (member, gang, cause, first.exit_code))
        self._reports((first, gang, cause, first.exit_code))

    def _reports(self, report: tuple[LiveWorker, Gang, str, int]) -> None:
        """A member reports, whose instance is still there."""
        member, gang, cause, exit_code = report
        if member.gang is gang and member.instance.ended_ms == NOT_YET:
            world, job = self.world, member.state.job
            world.operations["report"] += 1
            now, safe_ms = world.clock.now_ms, member.safe_ms
            member.ended = AttemptEnded(now, job, gang.epoch, cause, exit_code, safe_ms)
            world._worker(member, member.ended)

    def broken(self, worker: LiveWorker, cause: str) -> int:
        """The attempt has ended on one member, and so on all: none goes on without the others. Returns the job's safe
        progress."""
        return self._account(worker.gang, worker, cause, INTERRUPTED)

    def expired(self, gang: Gang) -> None:
        """The lease of one member has expired, and the job has heard so: all are told to stop."""
        gang.told = True
        self._stop(gang, len(gang.members))

    def _stop(self, gang: Gang, told: int) -> None:
        """Tell members to stop: their wrappers find that the lease is lost, and say that they have stopped."""
        world, now = self.world, self.world.clock.now_ms
        world.operations["order"] += told
        if not gang.accounted:
            self._account(gang, next((each for each in gang.members if each.job >= 0), None), INTERRUPTED, INTERRUPTED)
        for member in gang.members:
            if member.gang is gang:
                self._renewed_since(gang, member, now)
                at_ms = now + world.order_latency[row(gang.number, gang.epoch)]
                world.clock.at(at_ms, REPORT, self._stops, (member, gang))
        world.silent = [(now, *each[1:]) if each[1].gang is gang else each for each in world.silent]

    def _renewed_since(self, gang: Gang, member: LiveWorker, now: int) -> None:
        """What its wrapper has renewed from the end of the attempt until that was known."""
        if member.instance.ended_ms == NOT_YET and member.at_ms >= 0:
            since_ms, renewal_ms = member.at_ms, self.world.renewal_ms
            times = max(0, now - since_ms) // renewal_ms - max(0, member.idle_since_ms - since_ms) // renewal_ms
            self.world.operations["seat_renewal" if member is not gang.members[0] else "renewal"] += times

    def _stops(self, stopped: tuple[LiveWorker, Gang]) -> None:
        member, gang = stopped
        if member.gang is gang and member.instance.ended_ms == NOT_YET:
            at_ms = self.world.clock.now_ms + self.world.report_latency[row(gang.number, gang.epoch)]
            self.world.clock.at(at_ms, REPORT, self._reports, (member, gang, INTERRUPTED, 0))

    def _account(self, gang: Gang, first: LiveWorker | None, cause: str, other: str) -> int:
        """Meter all members: the first with `cause`, the others with `other`. The job counts them as one attempt."""
        world, number, operations = self.world, gang.number, self.world.operations
        columns, tick_ms = world.columns, world.policy.settings.tick_ms
        gang.accounted = True
        if first is None:  # nobody has started
            world._take_licences(world.submissions.spec_of(number).licences, -1)
            return world.records[number].progress_ms if number in world.records else -1
        once, safe_ms = (0, 0), 0
        for member in [first, *(each for each in gang.members if each is not first)]:
            member.run += 1
            if member.job < 0:
                continue
            renewals, checkpoints = operations["renewal"], operations["checkpoint"]
            progress_ms = world._account(member, cause if member is first else other)
            if member is not gang.members[0]:
                operations["seat_renewal"] += operations["renewal"] - renewals
                operations["renewal"], operations["checkpoint"] = renewals, checkpoints  # the first writes those of all
            if member is first:
                safe_ms, once = progress_ms, (columns.useful_ms[number], columns.interruptions[number])
                operations["seat_look"] += max(0, member.idle_since_ms // tick_ms - member.at_ms // tick_ms)
            else:
                self._keeps_licences(gang)
                member.safe_ms = safe_ms
        columns.useful_ms[number], columns.interruptions[number] = once
        return safe_ms

    def _keeps_licences(self, gang: Gang) -> None:
        """What a member has given back was not its own: a gang has one set."""
        self.world._take_licences(self.world.submissions.spec_of(gang.number).licences, 1)

    def _told(self, perform: Callable[[LiveWorker, Any], None]) -> Callable[[LiveWorker, Any], None]:
        """The job is told once how the attempt ended: when the last member has ended well, or the first in another way.
        In the second case the others are told to stop."""

        def performed(worker: LiveWorker, command: Any) -> None:
            gang = worker.gang
            if gang is None:
                perform(worker, command)
                return
            gang.left += 1
            well = command.__class__ is Complete
            self.world.operations["late"] += gang.told
            self.world.operations["seat_ended"] += well and not gang.told
            if not gang.told and (not well or gang.left == len(gang.members)):
                gang.told = True
                perform(worker, command)
                worker.gang = None
                if not well:
                    self._stop(gang, len(gang.members) - 1)
            worker.gang = None

        return performed
