"""Builds the fleet's `Observation` from the counters of a running world."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.policy import sees_jobs
from sim.clock import MARKET
from sim.index import Demand
from sim.instances import LivePool, LiveWorker

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld


def observe(world: DecoupledWorld) -> Observation:
    """What the fleet sees now. Jobs with a deadline are listed only for policies that move them."""
    now = world.clock.now_ms
    settings = world.policy.settings
    return Observation(
        classes=tuple(_class(world, demand) for demand in world.index.demands.values()),
        pools=tuple(_pool(pool, now, world.slots) for pool in world.pools),
        jobs=_sights(world) if sees_jobs(world.policy) else (),
        spent_usd=world.spent_usd() if world.inputs.budget_usd else 0.0,
        budget_usd=world.inputs.budget_usd,
        changeover_ms=settings.startup_ms + settings.checkpoint_restore_ms,
        reaction_ms=settings.reaction_ms,
    )


class Counters:
    """The counters that the fleet reads are some time old: those of now, where `count_staleness_s` is 0."""

    def __init__(self, world: DecoupledWorld) -> None:
        self._world = world
        self._stale_ms = round(world.inputs.services.count_staleness_s * 1000)
        self._kept: deque[tuple[int, Observation]] = deque()  # by the time of which they are, the oldest first

    def prepare(self, tick_in_ms: int) -> None:
        """The next tick comes in `tick_in_ms`: keep the counters that it will see, or a later one, if they are older
        than the time between two ticks."""
        if self._stale_ms:
            now, tick_ms = self._world.clock.now_ms, self._world.policy.settings.tick_ms
            ahead_ms = tick_in_ms - self._stale_ms
            of_ms = now + (ahead_ms if ahead_ms >= 0 else ahead_ms % tick_ms)
            self._world.clock.at(max(now + 1, of_ms), MARKET, self._keep, of_ms)

    def _keep(self, of_ms: int) -> None:
        self._kept.append((of_ms, observe(self._world)))
        self._forget()

    def _forget(self) -> None:
        """Keep one that is old enough, and those after it."""
        kept, then_ms = self._kept, self._world.clock.now_ms - self._stale_ms
        while len(kept) > 1 and kept[1][0] <= then_ms:
            kept.popleft()

    def seen(self, now: Observation) -> Observation:
        """What the fleet sees of the world as it is now."""
        if not self._kept:
            return now
        self._forget()
        kept = self._kept[0][1]
        return replace(now, classes=kept.classes, pools=kept.pools)


def _class(world: DecoupledWorld, demand: Demand) -> ClassCount:
    index, submit_ms = world.index, world.work.submit_ms
    count = demand.count(index.oldest_ms(demand, lambda number: int(submit_ms[number])))
    if not index.gangs:
        return count
    seats = (queue.seats for queue in demand.queues if queue)
    return replace(count, seats=max(seats, default=1))


def _pool(pool: LivePool, now_ms: int, slots: int) -> PoolCount:
    spec, use = pool.spec, pool.use
    return PoolCount(
        id=spec.id,
        instance_type=spec.instance_type,
        az=spec.az,
        purchase=spec.purchase,
        vcpus=spec.vcpus // slots,
        memory_gib=spec.memory_gib / slots,
        gpus=spec.gpus // slots,
        max=spec.max * slots,
        price_usd_per_hour=pool.usd_per_hour(now_ms),
        on_demand_usd_per_hour=spec.on_demand_usd_per_hour,
        booting=pool.booting,
        busy=pool.busy,
        idle=pool.idle,
        last_launch=pool.last_launch,
        last_launch_ms=pool.last_launch_ms,
        interruptions=use.interruptions,
        worker_ms=use.instance_ms,
        last_interruption_ms=pool.last_interruption_ms,
        available_now=pool.weather.launch_capacity_at(now_ms) > pool.live,
    )


def _sights(world: DecoupledWorld) -> tuple[JobSight, ...]:
    holders = {worker.job: worker for worker in world.workers.values() if worker.job >= 0}
    sights = []
    world.sighted = {}
    for number, record in world.records.items():
        ticket = record.ticket
        if ticket.deadline_ms < 0 or record.phase not in ("queued", "leased"):
            continue
        worker = holders.get(number)
        queue = world.index.class_of(ticket.spec, record.purchase)
        progress_ms = record.progress_ms + (_progress_ms(world, worker) if worker else 0)
        world.sighted[ticket.id] = number
        sights.append(
            JobSight(
                ticket.id,
                queue.demand.key,
                record.phase,
                worker.pool.spec.purchase if worker else "",
                record.bound,
                worker.state.badge.id if worker else "",
                progress_ms,
                ticket.estimate_ms,
                ticket.submit_ms,
                ticket.deadline_ms,
                queue.seats,
            )
        )
    return tuple(sights)


def _progress_ms(world: DecoupledWorld, worker: LiveWorker) -> int:
    """Work done by the attempt that runs, as its wrapper reports it."""
    worked, _ = world._progress(worker, world.clock.now_ms - worker.at_ms)  # noqa: SLF001 of the same driver
    return worked if worker.factor == 1.0 else int(worked / worker.factor)
