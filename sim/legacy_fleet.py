"""The instances of `legacy-2019`: queues, groups, the function that scales them, and the boot of a worker.

A worker is ready when its status checks have passed, as WaitEC2 sees them, and only then protected against scale-in. An
instance that EC2 takes is replaced when the group wants more than it has.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from scheduler import legacy
from scheduler.policy import Policy
from sim.clock import FOREVER_MS, MARKET, TICK, TIMER
from sim.index import Demand, shape_name
from sim.inputs import WorldInputs
from sim.instances import NOT_YET, LiveInstance, LivePool, LiveWorker
from sim.legacy_execution import LiveExecution
from sim.legacy_group import Group, launch_view
from sim.legacy_jobs import LegacyJobs
from sim.legacy_queue import Message, MessageQueue
from sim.legacy_settings import LegacySettings
from sim.services import row
from sim.submissions import Submissions
from sim.world import World
from spotbed.journal import Journal

ANY = "any"


class LegacyFleet(World):
    """A world up to the level of queues and groups: one queue and one group per shape of work, as one stack each."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        self.slots = 1  # one job at a time, whatever the instance
        self.settings = LegacySettings.of(inputs.legacy)
        self.submissions = Submissions(inputs)
        self.jobs = LegacyJobs(self.tally, self.submissions.dependencies)
        self.groups: dict[str, Group] = {}
        self.group_of_class = [self._group(number) for number in range(len(self.work.classes))]
        self.executions: dict[int, LiveExecution] = {}  # by instance, until that ends
        self.live_executions = 0
        self.orphans: set[int] = set()  # instances that run, protected, with no execution
        self.registered: set[int] = set()  # instances whose agent has registered
        self.boot_ms = 0  # time of functions that wait for a boot
        self.begin_latency = self.latencies.table("worker_start")
        self.ready_latency = self.latencies.table("ready")
        if inputs.budget_usd:
            self.tally.notes.append("legacy-2019 knows no budget: its launches went on.")

    def _group(self, klass: int) -> Group:
        spec = self.submissions.specs[klass]
        shape = shape_name(spec)
        found = self.groups.get(shape)
        if found is None:
            queue = MessageQueue(self.settings.count_staleness_ms)
            found = self.groups[shape] = Group(Demand(shape, ANY, spec), queue, self.settings.max_instances)
        return found

    # the queues -------------------------------------------------------------------------------------------------
    def _arrivals(self, now_ms: int) -> int:
        submissions = self.submissions
        while submissions.next_ms <= now_ms:
            number, job = submissions.next_job()
            if self.jobs.submit(number, job.waiting_for, now_ms):
                self._submit(number)
        return submissions.next_ms

    def _submit(self, number: int) -> None:
        now, queue = self.clock.now_ms, self.group_of_class[self.submissions.klass[number]].queue
        self.tally.count("submit")
        queue.send(Message(number, 0), now)
        if self.faults.occurs("sqs.duplicate"):
            self.jobs.add_copy(number)
            queue.send(Message(number, 0), now)

    # the function that scales -----------------------------------------------------------------------------------
    def _ticks(self) -> Generator[Any, Any, None]:
        """EC2Scale, once a minute. While nothing waits and nothing lives, it is counted up to the next arrival."""
        period_ms = self.settings.scale_period_ms
        yield self.clock.wait(0, TICK)
        while True:
            for group in self.groups.values():
                self._scale(group)
            self._sample()
            steps, ahead = 1, self.submissions.next_ms
            if not self.live_instances and not self.live_executions and not self._waiting() and ahead < FOREVER_MS:
                steps = max(1, -(-(ahead - self.clock.now_ms) // period_ms))
            self.tally.count("scale_tick", steps * len(self.groups))
            yield self.clock.wait(steps * period_ms, TICK)

    def _waiting(self) -> int:
        return sum(group.queue.visible + group.queue.in_flight for group in self.groups.values())

    def _sample(self) -> None:
        waiting, pools = sum(group.queue.visible for group in self.groups.values()), self.pools
        booting, busy = sum(pool.booting for pool in pools), sum(pool.busy for pool in pools)
        self.tally.samples.append((self.clock.now_ms, waiting, booting, busy, sum(pool.idle for pool in pools)))

    def _scale(self, group: Group) -> None:
        now = self.clock.now_ms
        event = legacy.QueueCounted(now, group.queue.count(now))
        group.scaler, commands = legacy.scale_step(group.scaler, event, None)
        for command in commands:
            if self.journal is not None and command.count != group.desired:
                self.journal.step("fleet", group.scaler.queue, event, commands)
            group.desired = command.count
        self._reconcile(group)

    # the group --------------------------------------------------------------------------------------------------
    def _reconcile(self, group: Group) -> None:
        """The group launches or ends instances until it has as many as it is told, as far as it can."""
        missing = group.missing
        if missing < 0:
            for instance in group.victims(-missing, self.clock.now_ms):
                self._end(instance, "scale-in")
        elif missing > 0:
            self._scale_out(group, missing)

    def _scale_out(self, group: Group, missing: int) -> None:
        """Launch by the allocation strategy; where a pool grants less, ask again without it."""
        view, need = launch_view(group.demand, self.pools, self.clock.now_ms)
        room = dict(view.room)
        while missing > 0:
            chosen = self.policy.place.choose(view._replace(room=room), need, missing)
            if not chosen:
                return
            for name, count in chosen:
                granted, _ = self.launch(self.pool_by_id[name], count, group.demand)
                missing -= granted
                room[name] = room[name] - granted if granted == count else 0

    def _may_launch(self, group: Group) -> bool:
        """Whether the group will want more than it has, once its count is up to date, and has where to go."""
        view, need = launch_view(group.demand, self.pools, self.clock.now_ms)
        wanted = min(group.queue.visible, self.settings.max_instances)
        return wanted > len(group.members) and bool(self.policy.place.choose(view, need, 1))

    # instances --------------------------------------------------------------------------------------------------
    def _request(self, pool: LivePool, demand: Demand) -> LiveInstance:
        """The instance joins its group, and the event `pending` begins an execution, unless it does not come."""
        instance = super()._request(pool, demand)
        group = self.groups[demand.shape]
        group.members[instance.number] = instance
        if not self.faults.occurs("eventbridge.drop"):
            begin_ms = self.clock.now_ms + self.begin_latency[row(instance.number, 0)]
            self.executions[instance.number] = LiveExecution(instance.slots[0], group, begin_ms)
            self.live_executions += 1
        return instance

    def _runs(self, instance: LiveInstance) -> None:
        super()._runs(instance)
        if instance.launched_ms == self.clock.now_ms:
            self.clock.at(self._status_seen_ms(instance), MARKET, self._status_ok, instance)

    def _ready(self, instance: LiveInstance) -> None:
        """The agent has registered. The worker waits for more: see `_status_ok`."""
        if instance.ended_ms == NOT_YET:
            self.registered.add(instance.number)

    def _status_seen_ms(self, instance: LiveInstance) -> int:
        """When WaitEC2 sees that both status checks have passed: it looks every 15 s."""
        passed_ms = max(instance.fate.boot_ms, self.ready_latency[row(instance.number, 0)])
        execution = self.executions.get(instance.number)
        begin_ms = instance.launched_ms if execution is None else execution.begin_ms
        period_ms = self.settings.status_check_period_ms
        waited_ms = max(0, self.clock.now_ms + passed_ms - begin_ms)
        return max(self.clock.now_ms, begin_ms + -(-waited_ms // period_ms) * period_ms)

    def _status_ok(self, instance: LiveInstance) -> None:
        super()._ready(instance)

    def _end(self, instance: LiveInstance, reason: str) -> None:
        self.groups[instance.slots[0].demand.shape].leave(instance)
        self.orphans.discard(instance.number)
        self.registered.discard(instance.number)
        self._recount(instance.slots[0], "")
        super()._end(instance, reason)
        if reason == "interrupted":
            self.clock.at(self.clock.now_ms, TIMER, self._replace, instance)

    def _replace(self, instance: LiveInstance) -> None:
        group = self.groups[instance.slots[0].demand.shape]
        if group.missing > 0:
            self._reconcile(group)

    def _recount(self, worker: LiveWorker, phase: str) -> None:
        """Move the worker to the counter of its phase: booting, busy, idle, or none."""
        for counters in (worker.pool, worker.demand):
            if worker.counted:
                setattr(counters, worker.counted, getattr(counters, worker.counted) - 1)
            if phase:
                setattr(counters, phase, getattr(counters, phase) + 1)
        worker.counted = phase

    # the end ----------------------------------------------------------------------------------------------------
    def _is_over(self) -> bool:
        """Nothing is left to do, nor anybody but orphans, which nothing ends; or nothing can ever be done."""
        if self.clock.now_ms > self.submissions.last_ms + self.inputs.drain_ms:
            return True
        if self.submissions.next_ms < FOREVER_MS or self.live_executions:
            return False
        return self._is_stuck() if self._waiting() else self.live_instances == len(self.orphans)

    def _is_stuck(self) -> bool:
        """Jobs wait, no execution lives, and the instances that are left will stay and fill their groups or pools."""
        left = [pool for pool in self.pools if pool.instances]
        if any(instance.lost_ms != NOT_YET for pool in left for instance in pool.instances.values()):
            return False
        if any(pool.weather.next_change(self.clock.now_ms) is not None for pool in left):
            return False
        waiting = [group for group in self.groups.values() if group.queue.visible + group.queue.in_flight]
        return not any(group.queue.in_flight or self._may_launch(group) for group in waiting)
