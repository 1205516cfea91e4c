"""The physical side of the in-memory stand-in: a clock, EC2, and the wrapper that runs a job on an instance.

Plain and slow on purpose: the wrapper works, pauses, writes and renews event by event, where the simulator computes.
Times are integer milliseconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import Any

from scheduler.commands import Start
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    FAILED,
    INTERRUPTED,
    TIMEOUT,
    AttemptEnded,
    InterruptionSeen,
    Lost,
    Notice,
    Ready,
)
from scheduler.job_record import Job
from scheduler.observation import PoolCount
from scheduler.settings import Settings
from sim.inputs import Dist, Pool, WorldInputs
from sim.services import Faults, Latencies, row
from sim.streams import Streams
from sim.weather import make_weather

# What comes first within a millisecond.
DOOR, MARKET, REPORT, TIMER, TICK = range(5)
NOT_YET = -1
HORIZON_MS = 1 << 40
TIMED_OUT = 124  # exit code of a command that coreutils' timeout ends


class Clock:
    """Virtual time: one heap in the order (time, rank, sequence)."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._heap: list[tuple[int, int, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def at(self, at_ms: int, rank: int, act: Callable[[], None]) -> None:
        heappush(self._heap, (at_ms, rank, next(self._number), act))

    def next(self) -> int:
        """Do what is next; returns its rank."""
        self.now_ms, rank, _, act = heappop(self._heap)
        act()
        return rank


class Latency:
    """The latency of an operation: the simulator's tables, from the same services data."""

    def __init__(self, inputs: WorldInputs) -> None:
        self._tables = Latencies(inputs.services, Streams(inputs.seed, inputs.world))
        self._made: dict[str, list[int]] = {}

    def __call__(self, operation: str, entity: int, index: int) -> int:
        if operation not in self._made:
            self._made[operation] = self._tables.table(operation)
        return self._made[operation][row(entity, index)]


@dataclass
class Instance:
    """What EC2 knows of an instance, and the wrapper that runs on it."""

    name: str
    number: int
    pool: Pool
    running_ms: int = NOT_YET
    ended_ms: int = NOT_YET
    doomed: bool = False
    wrapper: Wrapper | None = None


@dataclass(frozen=True)
class Heard:
    """What the wrapper calls: a renewal (true if the lease still holds), a safe checkpoint, the report of the end."""

    renew: Callable[[], bool]
    keep: Callable[[int], None]
    report: Callable[[str, Callable[[int], AttemptEnded]], None]


class Wrapper:
    """The command on the instance: starts, renews the lease, works, writes checkpoints, and reports how it ended."""

    def __init__(self, clock: Clock, latency: Latency, settings: Settings, order: Start, number: int, job: Job,
                 runtime_ms: int, fails: int, heard: Heard) -> None:  # fmt: skip
        self._clock, self._settings, self._order, self._heard = clock, settings, order, heard
        self.key = (order.job, order.epoch)
        self._base_ms = job.progress_ms
        self._work_ms = runtime_ms - job.progress_ms
        self._fails = fails  # exit code with which the work ends
        self._report_ms = latency("report", number, order.epoch)
        self._worked_ms = self._safe_ms = 0  # by this attempt
        self._working_since_ms = NOT_YET
        self._plan = self._life = 0  # what is scheduled under another plan is void; renewals, under another life
        self._hung = self._leaving = False
        self._started = self._asked = False  # an order to leave that overtakes the start waits for it
        self._ends_ms = NOT_YET  # if nothing comes between
        self._later(latency("start", number, order.epoch), self._start)

    def kill(self) -> None:
        self._plan += 1
        self._life += 1

    def hang(self) -> None:
        """A peer of the gang is gone: the job waits for it for ever, and the wrapper goes on renewing."""
        self._hung = True
        if self._started:
            self._plan += 1
            self._stop_working()

    def stop(self) -> None:
        """The lease is lost: the job is killed, and the worker told."""
        self._report(INTERRUPTED, 0)

    def _later(self, after_ms: int, act: Callable[[], None], rank: int = REPORT) -> None:
        self._clock.at(self._clock.now_ms + after_ms, rank, partial(self._if_planned, self._plan, act))

    def _if_planned(self, plan: int, act: Callable[[], None]) -> None:
        if self._plan == plan:
            act()

    def _start(self) -> None:
        settings = self._settings
        self._started = True
        self._renew()
        if self._hung:
            return
        overhead_ms = settings.startup_ms + (settings.checkpoint_restore_ms if self._base_ms else 0)
        self._later(overhead_ms, self._work)
        every_ms = self._order.checkpoint_every_ms
        pauses = (self._work_ms - 1) // every_ms if every_ms > 0 else 0
        self._ends_ms = self._clock.now_ms + overhead_ms + self._work_ms + pauses * settings.checkpoint_write_ms
        if self._order.timeout_ms >= 0:
            self._later(self._order.timeout_ms, partial(self._report, TIMEOUT, TIMED_OUT), TIMER)
        if self._asked:
            self.checkpoint()

    def _renew(self) -> None:
        if self._heard.renew():
            at_ms = self._clock.now_ms + self._settings.lease_ms // 3
            self._clock.at(at_ms, DOOR, partial(self._lives_on, self._life))  # before an end in the same millisecond

    def _lives_on(self, life: int) -> None:
        if self._life == life:
            self._renew()

    def _next_ms(self) -> int:
        """Work until the next checkpoint or the end."""
        left_ms = self._work_ms - self._worked_ms
        return min(self._order.checkpoint_every_ms or left_ms, left_ms)

    def _work(self) -> None:
        self._working_since_ms = self._clock.now_ms
        last = self._next_ms() == self._work_ms - self._worked_ms
        self._later(self._next_ms(), self._finish if last else self._pause)

    def _stop_working(self) -> None:
        if self._working_since_ms != NOT_YET:
            self._worked_ms += self._clock.now_ms - self._working_since_ms
            self._working_since_ms = NOT_YET

    def _pause(self) -> None:
        self._stop_working()
        self._later(self._settings.checkpoint_write_ms, self._written)

    def _written(self) -> None:
        self._keep()
        self._work()

    def _keep(self) -> None:
        self._safe_ms = self._worked_ms
        self._heard.keep(self._base_ms + self._safe_ms)

    def _finish(self) -> None:
        self._stop_working()
        if self._fails:
            self._report(FAILED, self._fails)
            return
        self._keep()
        self._report(DONE, 0)

    def checkpoint(self) -> None:
        """Write a checkpoint and end, unless the work is done before that."""
        self._asked = True
        if not self._started or self._hung or self._leaving:
            return
        write_ms = self._settings.checkpoint_write_ms
        if self._clock.now_ms + write_ms >= self._ends_ms:
            return
        self._leaving = True
        self._plan += 1
        self._stop_working()
        self._later(write_ms if self._worked_ms > self._safe_ms else 0, self._leave)

    def _leave(self) -> None:
        self._keep()
        self._report(CHECKPOINTED, 0)

    def _report(self, cause: str, exit_code: int) -> None:
        """Put the end on the event bus, which brings it to Deliver."""
        self.kill()
        job, epoch = self.key
        event = partial(AttemptEnded, job=job, epoch=epoch, cause=cause, exit_code=exit_code,
                        progress_ms=self._base_ms + self._safe_ms)  # fmt: skip
        self._later(self._report_ms, partial(self._heard.report, f"{job}/{epoch}", event))


class Ec2:
    """Pools with a recorded capacity, instances, and what EC2 says of them on the event bus. Of the world's weather it
    takes only the order in which the instances of a pool go.

    `say(worker, make)` puts an event on the bus for a worker; `say_fleet` tells the fleet of an interruption. What the
    bus drops is drawn as in the simulator.
    """

    def __init__(self, inputs: WorldInputs, clock: Clock, latency: Latency, say: Callable[[str, Any], None],
                 say_fleet: Callable[[Any], None]) -> None:  # fmt: skip
        self._inputs, self._clock, self._latency = inputs, clock, latency
        self._say, self._say_fleet = say, say_fleet
        self._faults = Faults(inputs.services, Streams(inputs.seed, inputs.world))
        self.pools = {pool.id: pool for pool in inputs.pools}
        self.instances: dict[str, Instance] = {}
        self._capacity = {pool.id: _capacity(inputs, pool) for pool in inputs.pools}
        self._weather = make_weather(inputs.pools, inputs.market, Streams(inputs.seed, inputs.world), HORIZON_MS)
        self._last_launch = {pool.id: ("", 0) for pool in inputs.pools}
        self._interruptions = dict.fromkeys(self.pools, 0)
        self._last_interruption_ms = dict.fromkeys(self.pools, -1)
        self._worker_ms = dict.fromkeys(self.pools, 0)
        for pool, steps in self._capacity.items():
            for at_ms, _ in steps[1:]:
                clock.at(at_ms, MARKET, partial(self._changes, pool))

    def live(self, pool: str) -> list[Instance]:
        return [each for each in self.instances.values() if each.pool.id == pool and each.ended_ms == NOT_YET]

    def _most(self, pool: str) -> int:
        return [count for at_ms, count in self._capacity[pool] if at_ms <= self._clock.now_ms][-1]

    def room(self, pool: str) -> int:
        return self._most(pool) - len(self.live(pool))

    def launch(self, pool: str, count: int) -> list[Instance]:
        """As many instances as there is room for, at most `count`."""
        now, granted = self._clock.now_ms, max(0, min(count, self.room(pool)))
        self._last_launch[pool] = ("ok" if granted == count else "failed", now)
        launched = []
        for _ in range(granted):
            number = len(self.instances) + 1
            instance = self.instances[f"w{number}"] = Instance(f"w{number}", number, self.pools[pool])
            wait_ms = _constant_ms(self._inputs.market.launch) + self._latency("launch", number, 0)
            self._clock.at(now + wait_ms, MARKET, partial(self._runs, instance))
            launched.append(instance)
        return launched

    def _runs(self, instance: Instance) -> None:
        if instance.ended_ms == NOT_YET:
            instance.running_ms = self._clock.now_ms
            boot_ms = _constant_ms(instance.pool.boot)
            self._clock.at(self._clock.now_ms + boot_ms, MARKET, partial(self._registers, instance))

    def _registers(self, instance: Instance) -> None:
        if instance.ended_ms == NOT_YET and not self._drops():
            self._say(instance.name, Ready)

    def _drops(self) -> bool:
        return self._faults.occurs("eventbridge.drop")

    def _changes(self, pool: str) -> None:
        """What is above the new capacity goes, all at once; after a notice, if the market gives any."""
        now, market = self._clock.now_ms, self._inputs.market
        end_ms = now + (market.notice_lead_ms if market.notice_probability else 0)
        standing = sorted((each for each in self.live(pool) if not each.doomed), key=self._turn)
        for instance in standing[: max(0, len(standing) - self._most(pool))]:
            instance.doomed = True
            self._clock.at(end_ms, MARKET, partial(self._take, instance))
            if end_ms > now and instance.running_ms != NOT_YET and not self._drops():
                self._say(instance.name, lambda at_ms: Notice(at_ms, max(0, end_ms - at_ms)))

    def _turn(self, instance: Instance) -> float:
        same_pool = [each for each in self.instances.values() if each.pool is instance.pool]
        return self._weather[instance.pool.id].fate(same_pool.index(instance)).order_u

    def _take(self, instance: Instance) -> None:
        if instance.ended_ms != NOT_YET:
            return
        self._end(instance, "interrupted")
        if not self._drops():
            self._say(instance.name, Lost)
            self._say_fleet(InterruptionSeen(self._clock.now_ms, instance.pool.id))

    def terminate(self, instance: Instance, reason: str) -> None:
        if instance.ended_ms == NOT_YET:
            self._end(instance, reason)
            self._say(instance.name, Lost)

    def _end(self, instance: Instance, reason: str) -> None:
        now, pool = self._clock.now_ms, instance.pool.id
        instance.ended_ms = now
        if reason == "interrupted":
            self._interruptions[pool] += 1
            self._last_interruption_ms[pool] = now
        if instance.running_ms != NOT_YET:
            self._worker_ms[pool] += max(now - instance.running_ms, int(self._inputs.billing.minimum_s * 1000))
        if instance.wrapper is not None:
            instance.wrapper.kill()
            for other in self.instances.values():
                if other.wrapper is not None and other is not instance and other.wrapper.key == instance.wrapper.key:
                    other.wrapper.hang()

    def count(self, pool: Pool, booting: int, busy: int, idle: int) -> PoolCount:
        """The pool as the fleet sees it, with the counters of the worker table."""
        price = float(pool.price.usd_per_hour[0])
        return PoolCount(
            pool.id, pool.instance_type, pool.az, pool.purchase, pool.vcpus, pool.memory_gib, pool.gpus, pool.max,
            price, pool.on_demand_usd_per_hour, booting, busy, idle, *self._last_launch[pool.id],
            self._interruptions[pool.id], self._worker_ms[pool.id], self.room(pool.id) > 0,
            self._last_interruption_ms[pool.id],
        )  # fmt: skip


def _capacity(inputs: WorldInputs, pool: Pool) -> list[tuple[int, int]]:
    trace = inputs.market.interruptions.capacity.get(pool.id)
    return [(0, 1 << 30)] if trace is None else list(zip(trace[0].tolist(), trace[1].tolist(), strict=True))


def _constant_ms(dist: Dist) -> int:
    assert dist.kind == "constant"
    return round(dist.params["value"] * 1000)
