"""What all drivers share: the clock, the weather, the life of instances, and their metering.

An instance is requested, runs (billing starts), is ready (its agent has registered), and ends: stopped by us, or lost
to EC2. A driver says what the core hears of that, and when. Instance time is split by cause as it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from scheduler.policy import Policy
from sim.clock import MARKET, Clock
from sim.index import Demand
from sim.inputs import NEVER_MS, UNLIMITED, WorldInputs, runtime_factor
from sim.instances import FIRST_HOUR_MS, NOT_YET, LiveInstance, LivePool, LiveWorker
from sim.services import Faults, Latencies, Throttles, bucket, row
from sim.streams import Streams
from sim.weather import make_weather
from spotbed.journal import InstanceFact, Journal
from spotbed.metering import BOOT, IDLE, MINIMUM, USEFUL, JobColumns, Tally

_HOUR_MS = 3_600_000


class World:
    """One world under one policy, up to the level of instances. Subclasses drive the core's machines."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        self.inputs, self.policy, self.journal = inputs, policy, journal
        self.work, self.present = inputs.work, inputs.work.present()
        self.clock = Clock()
        self.streams = Streams(inputs.seed, inputs.world)
        weather = make_weather(inputs.pools, inputs.market, self.streams, _last_ms(inputs))
        self.pools = [LivePool(number, pool, weather[pool.id]) for number, pool in enumerate(inputs.pools)]
        self.pool_by_id = {pool.spec.id: pool for pool in self.pools}
        self.columns = JobColumns(len(self.work))
        self.tally = Tally(self.columns, [pool.use for pool in self.pools])
        self.latencies = Latencies(inputs.services, self.streams)
        self.faults = Faults(inputs.services, self.streams)
        self.throttles = Throttles(inputs.services)
        self.event_latency = self.latencies.table("event")
        self._recommends_alone = self.faults.active("ec2.rebalance_alone")
        self.rebalance_latency = self.latencies.table("rebalance_alone") if self._recommends_alone else []
        self.launch_bucket = bucket(inputs.services, "ec2.run_instances")
        self.instances_requested = 0
        self.live_instances = 0
        self.slots = inputs.slots_per_instance
        self.launch_latency = self.latencies.table("launch")
        for pool in self.pools:
            factors = {number: runtime_factor(klass, pool.spec.instance_type) for number, klass in self.present.items()}
            pool.factor = {number: factor for number, factor in factors.items() if factor != 1.0}
            pool.capacity = pool.weather.capacity_at(0)
            self.clock.process(self._watch(pool))

    # what a driver says -----------------------------------------------------------------------------------------
    def on_ready(self, worker: LiveWorker) -> None:
        """The agent has registered."""
        raise NotImplementedError

    def on_notice(self, worker: LiveWorker, lead_ms: int) -> None:
        """EC2 announces that the instance goes in `lead_ms`; negative: only a rebalance recommendation."""
        raise NotImplementedError

    def on_lost(self, worker: LiveWorker) -> None:
        """EC2 has taken the instance. The attempt that ran has not been accounted for yet."""
        raise NotImplementedError

    # launches ---------------------------------------------------------------------------------------------------
    def launch(self, pool: LivePool, count: int, demand: Demand) -> tuple[int, str]:
        """Request instances; returns how many were granted, and why the others were not."""
        now = self.clock.now_ms
        granted, reason = count, ""
        if self.launch_bucket is not None:
            granted, reason = self.launch_bucket.take_up_to(now, count), "ec2.run_instances"
        quota = self._quota_left(pool)
        if quota < granted:
            granted, reason = quota, "ec2.vcpu_quota"
        if granted < count:
            self.tally.limits[reason] = self.tally.limits.get(reason, 0) + count - granted
        for room, why in (
            (pool.spec.max - pool.live, "max"),  # slots that have stopped leave their instance in the group
            (pool.weather.launch_capacity_at(now) - pool.live, "capacity"),
        ):
            if room < granted:
                granted, reason = max(0, room), why
        for _ in range(granted):
            self._request(pool, demand)
        pool.last_launch, pool.last_launch_ms = ("ok" if granted == count else "failed"), now
        pool.use.launch_failures += count - granted
        return granted, reason

    def _quota_left(self, pool: LivePool) -> int:
        """How many more instances the account's vCPU quota for this purchase option admits."""
        quota = self.inputs.services.limit.get(f"ec2.vcpus.{pool.spec.purchase}")
        if quota is None:
            return UNLIMITED
        same = (other for other in self.pools if other.spec.purchase == pool.spec.purchase)
        used = sum(other.live * other.spec.vcpus for other in same)
        return max(0, int((quota - used) // max(1, pool.spec.vcpus)))

    def _request(self, pool: LivePool, demand: Demand) -> LiveInstance:
        now = self.clock.now_ms
        self.instances_requested += 1
        instance = LiveInstance(self.instances_requested, pool, pool.launched, now)
        pool.launched += 1
        for slot in range(self.slots):
            name = f"w{instance.number}" if self.slots == 1 else f"w{instance.number}.{slot}"
            instance.slots.append(LiveWorker(name, instance, demand))
        instance.slots_left = self.slots
        pool.instances[instance.number] = instance
        pool.live += 1
        self.live_instances += 1
        pool.booting += self.slots
        demand.booting += self.slots
        delay_ms = self.launch_latency[row(instance.number, 0)] + instance.fate.launch_ms
        self.clock.at(now + delay_ms, MARKET, self._runs, instance)
        if instance.fate.lost_at_ms is not None:
            self._doom(instance, max(now, instance.fate.lost_at_ms), announced=True)
        return instance

    def _runs(self, instance: LiveInstance) -> None:
        if instance.ended_ms != NOT_YET:
            return
        now = instance.launched_ms = self.clock.now_ms
        fate = instance.fate
        self._boots(instance, NEVER_MS if self.faults.occurs("ssm.agent_never_registers") else now + fate.boot_ms)
        if fate.lifetime_ms is not None:
            self._doom(instance, now + fate.lifetime_ms, announced=True)
        spot = instance.pool.spec.purchase == "spot"
        if self._recommends_alone and spot and self.faults.occurs("ec2.rebalance_alone"):
            at_ms = now + self.rebalance_latency[row(instance.number, 1)]
            self.clock.at(at_ms, MARKET, self._recommend, instance)

    def _boots(self, instance: LiveInstance, ready_ms: int) -> None:
        """The agent will register at `ready_ms`."""
        if ready_ms < NEVER_MS:
            self.clock.at(ready_ms, MARKET, self._ready, instance)

    def _ready(self, instance: LiveInstance) -> None:
        if instance.ended_ms != NOT_YET:
            return
        now = instance.ready_ms = self.clock.now_ms
        for worker in instance.slots:
            self._spend(worker, BOOT, instance.launched_ms, now)
            worker.idle_since_ms = now
            self.on_ready(worker)

    # losses -----------------------------------------------------------------------------------------------------
    def _watch(self, pool: LivePool) -> Generator[Any, Any, None]:
        """The process that follows a pool's capacity."""
        change = pool.weather.next_change(0)
        while change is not None:
            at_ms, capacity = change
            yield self.clock.wait(at_ms - self.clock.now_ms, MARKET)
            pool.capacity = capacity
            if pool.live > capacity:
                self._reclaim(pool, capacity)
            change = pool.weather.next_change(at_ms)

    def _reclaim(self, pool: LivePool, capacity: int) -> None:
        """The capacity has fallen: EC2 takes what is above it, in a burst; at once when the zone is out."""
        now = self.clock.now_ms
        standing = [instance for instance in pool.instances.values() if not instance.reclaimed]
        excess = len(standing) - capacity
        if excess <= 0:
            return
        out = pool.weather.outage_at(now)
        for instance in sorted(standing, key=lambda each: each.fate.order_u)[:excess]:
            instance.reclaimed = True
            lead_ms = 0 if out else instance.fate.notice_ms or 0
            at_ms = now + pool.weather.burst_offset_ms(now, instance.fate_number) + lead_ms
            self._doom(instance, at_ms, announced=not out)

    def _doom(self, instance: LiveInstance, at_ms: int, *, announced: bool) -> None:
        """The instance will be lost at `at_ms`; schedule what EC2 announces before."""
        if instance.lost_ms != NOT_YET and instance.lost_ms <= at_ms:
            return
        now, fate = self.clock.now_ms, instance.fate
        instance.lost_ms = at_ms
        ahead: list[tuple[int, Callable[[Any], None], Any]] = [(at_ms, self._lose, instance)]
        if announced and fate.notice_ms is not None:
            ahead.append((max(now, at_ms - fate.notice_ms), self._announce, (instance, at_ms)))
        if announced and fate.rebalance_ms is not None:
            ahead.append((max(now, at_ms - fate.rebalance_ms), self._recommend, instance))
            ahead.sort(key=_first_last)
        self._await((instance, ahead))

    def _await(self, instance_and_ahead: tuple[LiveInstance, list[Any]]) -> None:
        """What lies ahead of a doomed instance, the last first, comes one after the other: one entry of the heap."""
        instance, ahead = instance_and_ahead
        if instance.ended_ms == NOT_YET:
            self.clock.at(ahead[-1][0], MARKET, self._comes, instance_and_ahead)

    def _comes(self, instance_and_ahead: tuple[LiveInstance, list[Any]]) -> None:
        _, act, argument = instance_and_ahead[1].pop()
        act(argument)
        if instance_and_ahead[1]:
            self._await(instance_and_ahead)

    def _recommend(self, instance: LiveInstance) -> None:
        if instance.ended_ms == NOT_YET and instance.launched_ms != NOT_YET:
            self._fact("rebalance", instance)
            for worker in instance.slots:
                self.on_notice(worker, -1)

    def _announce(self, instance_and_end: tuple[LiveInstance, int]) -> None:
        instance, at_ms = instance_and_end
        if instance.ended_ms == NOT_YET and instance.lost_ms == at_ms and instance.launched_ms != NOT_YET:
            self._fact("notice", instance)
            for worker in instance.slots:
                self.on_notice(worker, at_ms - self.clock.now_ms)

    def _lose(self, instance: LiveInstance) -> None:
        """EC2 takes the instance."""
        if instance.ended_ms != NOT_YET or instance.lost_ms != self.clock.now_ms:
            return
        self._fact("interruption", instance)
        for worker in instance.slots:
            self.on_lost(worker)
        self._end(instance, "interrupted")

    # ends and metering ------------------------------------------------------------------------------------------
    def stop(self, worker: LiveWorker, reason: str) -> bool:
        """We stop this slot; the instance ends with its last one. True when the instance has ended now."""
        instance = worker.instance
        if instance.ended_ms != NOT_YET:
            return False
        instance.slots_left -= 1
        if instance.slots_left > 0:
            return False
        self._end(instance, reason)
        return True

    def _end(self, instance: LiveInstance, reason: str) -> None:
        now = instance.ended_ms = self.clock.now_ms
        pool = instance.pool
        pool.live -= 1
        self.live_instances -= 1
        del pool.instances[instance.number]
        if instance.launched_ms == NOT_YET:  # it never ran: nobody is billed, and nothing is interrupted
            return
        if reason == "interrupted":  # by EC2, or by us after its notice
            pool.use.interruptions += 1
            pool.last_interruption_ms = now
        for worker in instance.slots:
            if instance.ready_ms == NOT_YET:
                self._spend(worker, BOOT, instance.launched_ms, now)
            else:
                self._spend(worker, IDLE, worker.idle_since_ms, now)
            worker.ms[USEFUL] += worker.useful_ms
            worker.ms[IDLE] += worker.idle_ms
        self._charge(instance, reason)

    def _charge(self, instance: LiveInstance, reason: str) -> None:
        """Add the instance to its pool's use, by cause and as a whole."""
        pool, use, rule = instance.pool, instance.pool.use, self.inputs.billing
        start, end = instance.launched_ms, instance.ended_ms
        billed_ms = max(end - start, int(rule.minimum_s * 1000))
        by_ec2 = reason == "interrupted" and instance.lost_ms == end
        free = rule.first_hour_free and by_ec2 and end - start < FIRST_HOUR_MS
        instance.charged, instance.free = True, free
        for worker in instance.slots:
            self._flush(worker, free)
        extra_ms = billed_ms - (end - start)
        use.ms[MINIMUM] += extra_ms * self.slots
        use.instances += 1
        use.instance_ms += billed_ms
        if use.interruptions:
            pool.mtbf_ms = use.instance_ms // use.interruptions
        use.list_usd += billed_ms * pool.spec.on_demand_usd_per_hour / _HOUR_MS
        usd = 0.0
        if free:
            use.free_ms += billed_ms
            use.refunded_usd += pool.usd(start, start + billed_ms)
        else:
            use.usd[MINIMUM] += pool.usd(end, end + extra_ms)
            usd = pool.usd(start, start + billed_ms)
            use.instance_usd += usd
            if pool.spec.purchase == "on-demand" and self.inputs.billing.by_hour:
                self._charge_hours(pool, start, start + billed_ms)
        if self.journal is not None:
            self.journal.instance(instance_fact(instance, reason, extra_ms, usd))

    def _charge_hours(self, pool: LivePool, start_ms: int, end_ms: int) -> None:
        """Spread an instance's cost over the hours of the world: commitments hold hour by hour."""
        hours = self.tally.on_demand_usd_by_hour
        while start_ms < end_ms:
            hour = start_ms // _HOUR_MS
            until_ms = min(end_ms, (hour + 1) * _HOUR_MS)
            hours[hour] = hours.get(hour, 0.0) + pool.usd(start_ms, until_ms)
            start_ms = until_ms

    def _flush(self, worker: LiveWorker, free: bool) -> None:
        use, rate = worker.pool.use, worker.pool.usd_per_ms
        for cause, ms in enumerate(worker.ms):
            if ms:
                use.ms[cause] += ms
                if not free:
                    use.usd[cause] += (ms * rate if worker.usd is None else worker.usd[cause]) / self.slots
        if free:
            for job, usd in worker.job_usd:
                self.tally.jobs.usd[job] -= usd

    def _spend(self, worker: LiveWorker, cause: int, from_ms: int, to_ms: int) -> None:
        """Instance time of one slot that went to one cause."""
        worker.ms[cause] += to_ms - from_ms
        if worker.usd is not None and worker.pool.meter is not None:
            worker.usd[cause] += worker.pool.usd(from_ms, to_ms)

    def _reclassify(self, worker: LiveWorker, old: int, new: int, ms: int, usd: float) -> None:
        """Instance time of a slot, and what it cost there, was for another cause than was thought."""
        use, instance = worker.pool.use, worker.instance
        if not instance.charged:
            worker.ms[old] -= ms
            worker.ms[new] += ms
            if worker.usd is not None:
                worker.usd[old] -= usd
                worker.usd[new] += usd
            return
        use.ms[old] -= ms
        use.ms[new] += ms
        if not instance.free:
            use.usd[old] -= usd / self.slots
            use.usd[new] += usd / self.slots

    def spent_usd(self) -> float:
        """What instances have cost until now, those that run included."""
        now, total = self.clock.now_ms, 0.0
        for pool in self.pools:
            running = (each.launched_ms for each in pool.instances.values() if each.launched_ms != NOT_YET)
            total += pool.use.instance_usd + sum(pool.usd(start, now) for start in running)
        return total

    def _fact(self, kind: str, instance: LiveInstance) -> None:
        if self.journal is not None:
            self.journal.fact(
                self.clock.now_ms, kind, instance.slots[0].state.badge.id, {"pool": instance.pool.spec.id}
            )

    def event_delay_ms(self, worker: LiveWorker, index: int) -> int:
        """How long an event takes from EC2 or the instance to the worker's record."""
        return self.event_latency[row(worker.instance.number, index)]


def instance_fact(instance: LiveInstance, reason: str, minimum_ms: int, usd: float) -> InstanceFact:
    """The journal's entry of an instance that has ended."""
    slots = instance.slots
    return InstanceFact(
        worker=slots[0].state.badge.id,
        pool=instance.pool.spec.id,
        requested_ms=instance.requested_ms,
        launched_ms=instance.launched_ms,
        ready_ms=instance.ready_ms,
        ended_ms=instance.ended_ms,
        reason=reason,
        attempts=sum(worker.attempts for worker in slots),
        ms=tuple(sum(worker.ms[cause] for worker in slots) for cause in range(6)),
        minimum_ms=minimum_ms,
        usd=usd,
    )


def _first_last(entry: tuple[int, Any, Any]) -> int:
    return -entry[0]


def _last_ms(inputs: WorldInputs) -> int:
    """About how long the world lasts: until its last arrival and as much again."""
    last_ms = int(inputs.work.submit_ms[-1]) if len(inputs.work) else 0
    return 2 * last_ms + 7 * 86_400_000
