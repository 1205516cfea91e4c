"""The driver of the central scheduler on pools: instances, market and attempts as under the decoupled one, but a head
node holds the queue and sends each job to a free worker.

It starts at most as many jobs in a second as it can. While it is down nothing is dispatched, launched or recorded:
running attempts go on, and what they report, what is submitted and which workers are lost it hears when it has
recovered. There are no queues and no functions, so none of their latencies, faults and charges: the head node is
what is paid for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from scheduler import worker as worker_role
from scheduler.central import licences_free
from scheduler.central_record import Dispatch, JobEnded, QueueClass, Running, SlotsChanged, Waiting
from scheduler.commands import Claim, Queue
from scheduler.events import AttemptEnded, NothingToClaim, Tick, Woken
from scheduler.job_record import Job
from scheduler.observation import Observation
from scheduler.policy import Policy
from sim import index
from sim.clock import TIMER
from sim.decoupled import DecoupledWorld
from sim.gangs import Gangs
from sim.head import Head, HeadedWorld, first_state
from sim.inputs import ServiceInputs, WorldInputs
from sim.instances import NOT_YET, LivePool, LiveWorker
from spotbed.journal import Journal

# Of instances; the others are of services that are not used.
_FAULTS = frozenset({"ssm.agent_never_registers", "ec2.rebalance_alone"})
_LATENCIES = frozenset({"launch", "rebalance_alone"})
_LEFT = frozenset({"leaving", "stopping", "gone"})
_BUSY = frozenset({"running", "noticed", "draining", "moving"})
# Operations of the services data by what the drivers count.
_METERED = {
    "submit": "submit", "claim_hit": "dispatch", "start": "start", "complete": "complete", "fail": "fail",
    "release": "requeue", "launch": "launch", "stop": "stop", "tick": "tick", "renewal": "heartbeat",
}  # fmt: skip


class CentralWorld(HeadedWorld, DecoupledWorld):
    """One world under a central policy. `run()` returns its tally."""

    usual = False  # its workers claim what the head node says

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(replace(inputs, services=_without_services(inputs.services)), policy, journal)
        if any(klass.gang > 1 for klass in self.present.values()):
            self.index.gangs = True
            self.gangs = Gangs(self)
            self._perform_worker[Claim] = self._claim
        self._choose = self._candidate
        state = first_state(inputs.head_node, inputs.licences, picks=False)
        self.head = Head(inputs.head_node, state, self.clock, policy, journal, self._dispatch, self._answer)
        self.free: set[LiveWorker] = set()  # as the head node knows them
        self.asking: dict[LiveWorker, None] = {}  # free ones that have had no answer yet, in the order of asking
        self.running: dict[LiveWorker, tuple[Running, list[LiveWorker]]] = {}  # with all that run the same job
        self.badges: dict[index.QueueClass, QueueClass] = {}
        self._dispatched: index.QueueClass | None = None  # the job that a worker is just being given

    def _close(self) -> None:
        super()._close()
        if len(self.work):
            self.tally.head_node_ms = self.tally.end_ms - int(self.work.submit_ms[0])

    def _metered(self) -> dict[str, int]:
        counts = self._counted()
        return {name: counts[count] for count, name in _METERED.items() if counts[count]}

    # what goes through the head node ----------------------------------------------------------------------------
    def _worker(self, worker: LiveWorker, event: Any) -> None:
        if self.head.is_down:
            self.head.miss(partial(self._worker_hears_late, worker), event)
            return
        super()._worker(worker, event)
        phase = worker.state.phase
        if phase in _BUSY:
            return
        if worker in self.running:
            self._over(worker)
        if worker in self.free and phase in _LEFT:
            self._leaves(worker)

    def _leaves(self, worker: LiveWorker) -> None:
        """The head node forgets a free worker that goes. One that still waits for an answer has it now."""
        self.free.remove(worker)
        self.asking.pop(worker, None)
        self.head.tell(SlotsChanged(self.clock.now_ms, worker.pool.spec.id, -1))
        if worker.state.phase == "leaving":
            self._worker(worker, NothingToClaim(self.clock.now_ms))

    def _worker_hears_late(self, worker: LiveWorker, event: Any) -> None:
        if isinstance(event, AttemptEnded):
            worker.ended = event
        self._worker(worker, event)

    def _fleet(self, event: Any) -> None:
        """While the head node is down nothing is launched; a busy one wants workers for what it will start."""
        if not isinstance(event, Tick):
            if self.head.is_down:
                self.head.miss(self._fleet, event)
            else:
                super()._fleet(event)
        elif not self.head.is_down:
            super()._fleet(replace(event, observation=self._observed(event.observation)))

    def _observed(self, seen: Observation) -> Observation:
        """The backlog, as far as the head node can dispatch it until the next tick: workers for more would idle."""
        gap_us = self.head.state.gap_us
        if not gap_us:
            return seen
        most = max(1, self.policy.settings.tick_ms * 1_000 // gap_us)
        classes = []
        for need in seen.classes:
            queued = min(need.queued, most)
            most -= queued
            work_ms = need.queued_work_ms * queued // max(1, need.queued)
            classes.append(replace(need, queued=queued, queued_work_ms=work_ms))
        return replace(seen, classes=tuple(classes))

    def _timer(self, timer: tuple[LiveWorker, int, str]) -> None:
        """No idle worker is stopped while jobs wait for it, or by a head node that is down."""
        worker, number, name = timer
        waits = worker.timer == number and (self.head.is_down or self._is_wanted(worker.pool))
        if name == worker_role.KEEP_ALIVE and waits:
            self.clock.at(self.clock.now_ms + self.policy.settings.keep_alive_ms, TIMER, self._timer, timer)
        else:
            super()._timer(timer)

    def _is_wanted(self, pool: LivePool) -> bool:
        """Whether a job waits that could run here, now or when more workers of its gang have come."""
        state = self.head.state
        return any(
            backlog.first is not None and pool.spec.id in backlog.badge.sites and licences_free(state, backlog.badge)
            for backlog in state.backlogs
        )

    # the queue --------------------------------------------------------------------------------------------------
    def _queue(self, number: int, before: Job, command: Queue) -> None:
        super()._queue(number, before, command)
        record = self.records[number]
        ticket = record.ticket
        queue = self.index.class_of(ticket.spec, command.purchase)
        badge = self.badges.get(queue) or self.badges.setdefault(queue, self._badge(queue))
        left_ms = -1 if ticket.estimate_ms < 0 else index.work_left_ms(record)
        place = (command.key, number)
        self.head.queue(badge, Waiting(place, ticket.id, queue.seats, left_ms, ticket.submit_ms, self._user_of(number)))

    def _badge(self, queue: index.QueueClass) -> QueueClass:
        """What the head node knows of a class. A gang for which all its pools together are too small runs nowhere."""
        pools = [pool for pool in self.pools if self.serves(pool, queue.demand)]
        fits = sum(pool.spec.max for pool in pools) * self.slots >= queue.seats
        sites = tuple(pool.spec.id for pool in pools) if fits else ()
        licences = "".join(f"|{name}:{count}" for name, count in queue.licences)
        return QueueClass(f"{queue.demand.key}|{queue.seats}{licences}", sites, queue.size, queue.licences)

    def _user_of(self, number: int) -> str:
        users = self.work.user if hasattr(self.policy.order, "predict") else None
        return "" if users is None else str(users[number])

    def _leave_index(self, record: Job) -> None:
        super()._leave_index(record)
        self.head.withdraw(record.ticket.id)

    def _wake(self, queue: index.QueueClass) -> None:
        """No worker takes a job by itself."""

    # dispatch ---------------------------------------------------------------------------------------------------
    def _dispatch(self, command: Dispatch) -> None:
        """Free workers of its pools claim this job; one that is idle is woken for it."""
        running = command.running
        number = running.place[1]
        record = self.records[number]
        queue = self.index.class_of(record.ticket.spec, record.purchase)
        left_ms = index.work_left_ms(record)
        queue.leave(left_ms)  # it is taken out of the middle
        chosen = index.QueueClass(queue.demand, queue.licences, queue.seats)
        chosen.push(0.0, number, left_ms)
        workers = [self._free_worker(self.pool_by_id[site]) for site, count in running.sites for _ in range(count)]
        asked = [worker in self.asking for worker in workers]
        for worker in workers:
            self.asking.pop(worker, None)
            self.running[worker] = (running, workers)
        if self.gangs is not None and len(workers) > 1:
            self.gangs._take(workers, chosen)  # noqa: SLF001 of the same driver
            return
        self._dispatched = chosen
        if asked[0]:
            self._claim(workers[0], Claim())
        else:
            self._worker(workers[0], Woken(self.clock.now_ms))
        self._dispatched = None

    def _free_worker(self, pool: LivePool) -> LiveWorker:
        while True:
            worker = pool.idle_workers.popleft()
            worker.listed = False
            if worker in self.free and worker.instance.ended_ms == NOT_YET:
                self.free.remove(worker)
                return worker

    def _candidate(self, pool: LivePool) -> index.QueueClass | None:
        return self._dispatched

    def _claim(self, worker: LiveWorker, command: Claim) -> None:
        """The worker takes what was dispatched to it; else it is free, and has its answer after the next pass."""
        if self._dispatched is not None:
            super()._claim(worker, command)
            return
        if worker in self.running:
            self._over(worker)
        worker.timer += 1
        self.asking[worker] = None
        self._recount(worker, "idle")
        if worker not in self.free:
            self.free.add(worker)
            self.head.tell(SlotsChanged(self.clock.now_ms, worker.pool.spec.id, 1))

    def _answer(self) -> None:
        """After a pass: who asked and got nothing may idle. One that would stop at once, although a job waits for it,
        asks on."""
        asked, self.asking = self.asking, {}
        for worker in asked:
            if self.policy.settings.keep_alive_ms == 0 and self._is_wanted(worker.pool):
                self.asking[worker] = None
            else:
                self._worker(worker, NothingToClaim(self.clock.now_ms))

    def _over(self, worker: LiveWorker) -> None:
        """The attempt has ended: the slots of all that ran it are free, until their workers go."""
        running, workers = self.running[worker]
        for each in workers:
            del self.running[each]
            self.free.add(each)
        self.head.tell(JobEnded(self.clock.now_ms, running))


def _without_services(services: ServiceInputs) -> ServiceInputs:
    """What is left of the services: the launch, the quotas of EC2, staging."""
    return replace(
        services,
        limit={name: value for name, value in services.limit.items() if name.startswith("ec2.")},
        latency={name: dists for name, dists in services.latency.items() if name in _LATENCIES},
        probability={name: value for name, value in services.probability.items() if name in _FAULTS},
        count_staleness_s=0.0,  # it counts what it has in memory
    )
