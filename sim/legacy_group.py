"""The Auto Scaling group of `legacy-2019`: one per shape of work, with its queue. AWS's own code, so a model of it.

The group keeps as many instances as it is told. It launches by the policy's `place` (its allocation strategy). It ends
instances by the default termination policy, in which protected ones do not count: in the zone with most of them, the
instance closest to its next billing hour first; of equals, any. A worker whose execution has died stays protected.
"""

from __future__ import annotations

from collections import Counter

from scheduler.legacy import Scaler
from scheduler.observation import ClassCount, Observation, PoolCount
from scheduler.policy import FleetView
from sim.index import Demand
from sim.instances import NOT_YET, LiveInstance, LivePool
from sim.legacy_queue import MessageQueue

_HOUR_MS = 3_600_000


class Group:
    """A stack's queue and group. `desired` is what the last SetDesiredCapacity left of it."""

    __slots__ = ("demand", "desired", "members", "protected", "queue", "scaler")

    def __init__(self, demand: Demand, queue: MessageQueue, max_instances: int) -> None:
        self.demand, self.queue = demand, queue
        self.scaler = Scaler(demand.shape, max_instances)
        self.desired = 0
        self.members: dict[int, LiveInstance] = {}
        self.protected: set[int] = set()

    def leave(self, instance: LiveInstance) -> None:
        """The instance is no member any more."""
        self.members.pop(instance.number, None)
        self.protected.discard(instance.number)

    @property
    def missing(self) -> int:
        """How many instances the group wants to launch; negative: to end."""
        return self.desired - len(self.members)

    def victims(self, count: int, now_ms: int) -> list[LiveInstance]:
        """At most `count` unprotected instances, in the order in which they are ended."""
        open_to_it: dict[str, list[LiveInstance]] = {}
        for instance in self.members.values():
            if instance.number not in self.protected:
                open_to_it.setdefault(instance.pool.spec.az, []).append(instance)
        for here in open_to_it.values():
            here.sort(key=lambda each: (_to_billing_hour_ms(each, now_ms), each.fate.order_u), reverse=True)
        sizes = Counter(instance.pool.spec.az for instance in self.members.values())
        chosen: list[LiveInstance] = []
        while len(chosen) < count and open_to_it:
            zone = max(sorted(open_to_it), key=sizes.__getitem__)
            sizes[zone] -= 1
            chosen.append(open_to_it[zone].pop())
            if not open_to_it[zone]:
                del open_to_it[zone]
        return chosen


def _to_billing_hour_ms(instance: LiveInstance, now_ms: int) -> int:
    """Time until the instance's next whole hour; an hour while it is still pending."""
    if instance.launched_ms == NOT_YET:
        return _HOUR_MS
    return _HOUR_MS - (now_ms - instance.launched_ms) % _HOUR_MS


def launch_view(demand: Demand, pools: list[LivePool], now_ms: int) -> tuple[FleetView, ClassCount]:
    """What the allocation strategy sees: the pools with their prices and room, and the class that it launches for."""
    need = demand.count(-1)
    seen = Observation((need,), tuple(_pool_count(pool, now_ms) for pool in pools), (), 0.0, 0.0, 0)
    return FleetView(now_ms, seen, {pool.spec.id: max(0, pool.spec.max - pool.live) for pool in pools}), need


def _pool_count(pool: LivePool, now_ms: int) -> PoolCount:
    spec, use = pool.spec, pool.use
    return PoolCount(
        id=spec.id,
        instance_type=spec.instance_type,
        az=spec.az,
        purchase=spec.purchase,
        vcpus=spec.vcpus,
        memory_gib=spec.memory_gib,
        gpus=spec.gpus,
        max=spec.max,
        price_usd_per_hour=pool.usd_per_hour(now_ms),
        on_demand_usd_per_hour=spec.on_demand_usd_per_hour,
        booting=pool.booting,
        busy=pool.busy,
        idle=pool.idle,
        last_launch=pool.last_launch,
        last_launch_ms=pool.last_launch_ms,
        interruptions=use.interruptions,
        worker_ms=use.instance_ms,
        available_now=False,
    )
