"""The driver of the central scheduler on pools: instances, market and attempts as under the decoupled one, but a head
node holds the queue and sends each job to a free worker.

It starts at most as many jobs in a second as it can. While it is down nothing is dispatched, launched or recorded:
running attempts go on, and what they report, what is submitted and which workers are lost it hears when it has
recovered. There are no queues and no functions, so none of their latencies, faults and charges: the head node is
what is paid for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scheduler import worker as worker_role
from scheduler.central import Dispatch, JobEnded, QueueClass, Running, SlotsChanged, Waiting
from scheduler.commands import Claim, Complete, Fail, Queue, Release
from scheduler.events import NothingToClaim, Tick, Woken
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim import index
from sim.clock import TIMER
from sim.decoupled import DecoupledWorld
from sim.head import Head, HeadedWorld, first_state
from sim.inputs import WorldInputs
from sim.instances import NOT_YET, LivePool, LiveWorker
from spotbed.journal import Journal

_FAULTS = frozenset({"ssm.agent_never_registers"})  # of instances; the others are of services that are not used
_LEFT = frozenset({"leaving", "stopping", "gone"})
# Operations of the services data by what the drivers count.
_METERED = {
    "submit": "submit", "claim_hit": "dispatch", "start": "start", "complete": "complete", "fail": "fail",
    "release": "requeue", "launch": "launch", "stop": "stop", "tick": "tick", "renewal": "heartbeat",
}  # fmt: skip


class CentralWorld(HeadedWorld, DecoupledWorld):
    """One world under a central policy. `run()` returns its tally."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        kept = {name: value for name, value in inputs.services.probability.items() if name in _FAULTS}
        inputs = replace(inputs, services=replace(inputs.services, probability=kept))
        super().__init__(inputs, policy, journal)
        state = first_state(inputs.head_node, inputs.licences, picks=False)
        self.head = Head(inputs.head_node, state, self.clock, policy, journal, self._dispatch, self._answer)
        self.free: set[LiveWorker] = set()  # as the head node knows them
        self.asking: dict[LiveWorker, None] = {}  # free ones that have had no answer yet, in the order of asking
        self.running: dict[LiveWorker, Running] = {}
        self.badges: dict[index.QueueClass, QueueClass] = {}
        self._dispatched: index.QueueClass | None = None

    def _close(self) -> None:
        super()._close()
        if len(self.work):
            self.tally.head_node_ms = self.tally.end_ms - int(self.work.submit_ms[0])

    def _metered(self) -> dict[str, int]:
        return {name: self.operations[count] for count, name in _METERED.items() if self.operations[count]}

    # what waits for the head node -------------------------------------------------------------------------------
    def _worker(self, worker: LiveWorker, event: Any) -> None:
        """A worker's events go through the head node. It counts the free ones, and forgets those that go."""
        if self.head.is_down:
            self.head.miss(lambda late: self._worker(worker, late), event)
            return
        super()._worker(worker, event)
        if worker in self.free and worker.state.phase in _LEFT:
            self.free.remove(worker)
            self.asking.pop(worker, None)
            self.head.tell(SlotsChanged(self.clock.now_ms, worker.pool.spec.id, -1))
            if worker.state.phase == "leaving":
                self._worker(worker, NothingToClaim(self.clock.now_ms))

    def _fleet(self, event: Any) -> None:
        """While the head node is down nothing is launched."""
        if not self.head.is_down:
            super()._fleet(event)
        elif not isinstance(event, Tick):
            self.head.miss(self._fleet, event)

    def _timer(self, timer: tuple[LiveWorker, int, str]) -> None:
        """No idle worker is stopped while jobs wait for it, or by a head node that is down."""
        worker, number, name = timer
        waits = self.head.is_down or (self.index.waiting and self._candidate(worker.pool) is not None)
        if name == worker_role.KEEP_ALIVE and waits and worker.timer == number:
            self.clock.at(self.clock.now_ms + self.policy.settings.keep_alive_ms, TIMER, self._timer, timer)
        else:
            super()._timer(timer)

    # the queue --------------------------------------------------------------------------------------------------
    def _queue(self, number: int, before: Job, command: Queue) -> None:
        super()._queue(number, before, command)
        record = self.records[number]
        ticket = record.ticket
        queue = self.index.class_of(ticket.spec, command.purchase)
        badge = self.badges.get(queue) or self.badges.setdefault(queue, self._badge(queue))
        left_ms = -1 if ticket.estimate_ms < 0 else index.work_left_ms(record)
        self.head.queue(badge, Waiting((command.key, number), ticket.id, 1, left_ms, ticket.submit_ms))

    def _badge(self, queue: index.QueueClass) -> QueueClass:
        sites = tuple(pool.spec.id for pool in self.pools if self.serves(pool, queue.demand))
        licences = "".join(f"|{name}:{count}" for name, count in queue.licences)
        return QueueClass(queue.demand.key + licences, sites, queue.size, queue.licences)

    def _leave_index(self, record: Job) -> None:
        super()._leave_index(record)
        self.head.withdraw(record.ticket.id)

    def _wake(self, queue: index.QueueClass) -> None:
        """No worker takes a job by itself."""

    # dispatch ---------------------------------------------------------------------------------------------------
    def _dispatch(self, command: Dispatch) -> None:
        """A free worker of the pool claims this job; one that is idle is woken for it."""
        number = command.running.place[1]
        record = self.records[number]
        queue = self.index.class_of(record.ticket.spec, record.purchase)
        self._dispatched = index.QueueClass(queue.demand, queue.licences)
        self._dispatched.push(0.0, number)
        worker = self._free_worker(self.pool_by_id[command.site])
        self.free.remove(worker)
        self.running[worker] = command.running
        if worker in self.asking:
            del self.asking[worker]
            self._claim(worker, Claim())
        else:
            self._worker(worker, Woken(self.clock.now_ms))
        self._dispatched = None

    def _free_worker(self, pool: LivePool) -> LiveWorker:
        while True:
            worker = pool.idle_workers.popleft()
            if worker in self.free and worker.instance.ended_ms == NOT_YET:
                return worker

    def _candidate(self, pool: LivePool) -> index.QueueClass | None:
        return self._dispatched or super()._candidate(pool)

    def _claim(self, worker: LiveWorker, command: Claim) -> None:
        """The worker takes what was dispatched to it; else it is free, and has its answer after the next pass."""
        if self._dispatched is not None:
            super()._claim(worker, command)
            return
        worker.timer += 1
        self.asking[worker] = None
        self._recount(worker, "idle")
        if worker not in self.free:
            self.free.add(worker)
            self.head.tell(SlotsChanged(self.clock.now_ms, worker.pool.spec.id, 1))

    def _answer(self) -> None:
        """After a pass: who asked and got nothing may idle. One that would stop at once, although a busy head node has a
        job for it, asks on."""
        asked, self.asking = self.asking, {}
        for worker in asked:
            if self.policy.settings.keep_alive_ms == 0 and self.index.waiting and self._candidate(worker.pool):
                self.asking[worker] = None
            else:
                self._worker(worker, NothingToClaim(self.clock.now_ms))

    def _over(self, worker: LiveWorker) -> None:
        """The attempt here has ended: its slot is free, until the worker goes."""
        running = self.running.pop(worker, None)
        if running is not None:
            self.free.add(worker)
            self.head.tell(JobEnded(self.clock.now_ms, worker.pool.spec.id, running))

    def _complete(self, worker: LiveWorker, command: Complete) -> None:
        self._over(worker)
        super()._complete(worker, command)

    def _fail(self, worker: LiveWorker, command: Fail) -> None:
        self._over(worker)
        super()._fail(worker, command)

    def _release(self, worker: LiveWorker, command: Release) -> None:
        self._over(worker)
        super()._release(worker, command)
