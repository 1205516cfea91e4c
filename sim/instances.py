"""What the drivers know of instances and pools while a world runs: physical facts, beside the records of the core."""

from __future__ import annotations

from collections import deque
from typing import Any

from scheduler.worker import Badge, Worker
from sim.index import Demand, QueueClass
from sim.inputs import UNLIMITED, Pool
from sim.prices import PriceMeter
from sim.weather import Fate, PoolWeather
from spotbed.metering import PoolUse

NOT_YET = -1
FIRST_HOUR_MS = 3_600_000  # in which EC2 may refund an instance that it takes
# The phases of each counter of workers. One that claims or leaves stays in the counter that it was in.
PASSING = frozenset({"claiming", "leaving"})
COUNTERS = {
    "booting": frozenset({"booting"}) | PASSING,
    "idle": frozenset({"idle"}) | PASSING,
    "busy": frozenset({"running", "noticed", "draining", "moving"}) | PASSING,
    "": frozenset({"stopping", "gone"}) | PASSING,
}


class LivePool:
    """A pool while the world runs. Counters of workers are as the table has them; `live` is what EC2 runs."""

    __slots__ = (
        "booting",
        "busy",
        "capacity",
        "classes",
        "classes_version",
        "factor",
        "idle",
        "idle_workers",
        "instances",
        "last_interruption_ms",
        "last_launch",
        "last_launch_ms",
        "launched",
        "live",
        "meter",
        "mtbf_ms",
        "number",
        "only_class",
        "spec",
        "usd_per_ms",
        "use",
        "weather",
    )

    def __init__(self, number: int, spec: Pool, weather: PoolWeather) -> None:
        self.number, self.spec, self.weather = number, spec, weather
        self.use = PoolUse(spec.id)
        path = weather.price
        self.meter = PriceMeter(path) if len(path.at_ms) > 1 else None
        self.usd_per_ms = float(path.usd_per_hour[0]) / 3_600_000
        self.booting = self.busy = self.idle = self.live = self.launched = 0
        self.mtbf_ms = 0  # time of the instances that have ended for each that EC2 took, 0 while it took none
        self.capacity = UNLIMITED
        self.last_launch, self.last_launch_ms = "", 0
        self.last_interruption_ms = -1
        self.idle_workers: deque[LiveWorker] = deque()
        self.instances: dict[int, LiveInstance] = {}
        self.classes: list[list[QueueClass]] = []
        self.only_class: QueueClass | None = None  # if there is one class that fits here, and it needs no licence
        self.classes_version = -1
        self.factor: dict[int, float] = {}  # job class -> factor on the runtime, where it is not 1

    def usd(self, from_ms: int, to_ms: int) -> float:
        """What one instance costs here between two times; negative when the second comes first (an attempt that was to
        start later than its instance ended gives the time between back)."""
        if self.meter is None:
            return (to_ms - from_ms) * self.usd_per_ms
        if to_ms < from_ms:
            return -self.meter.integral_usd(to_ms, from_ms)
        return self.meter.integral_usd(from_ms, to_ms)

    def usd_per_hour(self, at_ms: int) -> float:
        """The price at a time."""
        return self.usd_per_ms * 3_600_000 if self.meter is None else self.meter.usd_per_hour_at(at_ms)


class LiveInstance:
    """An instance from the request to its end."""

    __slots__ = (
        "charged",
        "ended_ms",
        "fate",
        "fate_number",
        "free",
        "launched_ms",
        "lost_ms",
        "number",
        "pool",
        "ready_ms",
        "reclaimed",
        "requested_ms",
        "slots",
        "slots_left",
    )

    def __init__(self, number: int, pool: LivePool, fate_number: int, requested_ms: int) -> None:
        self.number, self.pool, self.requested_ms = number, pool, requested_ms
        self.fate_number = fate_number
        self.fate: Fate = pool.weather.fate(fate_number)
        self.launched_ms = self.ready_ms = self.ended_ms = self.lost_ms = NOT_YET
        self.reclaimed = False
        self.charged = self.free = False  # whether its use is in its pool's, and whether EC2 forgave it
        self.slots: list[LiveWorker] = []
        self.slots_left = 0


class LiveWorker:
    """One slot of an instance: the core's record, and the attempt that runs."""

    __slots__ = (
        "at_ms",
        "attempts",
        "base_ms",
        "cause",
        "claimed",
        "counted",
        "demand",
        "ended",
        "epoch",
        "every_ms",
        "exit_code",
        "factor",
        "gang",
        "idle_ms",
        "idle_since_ms",
        "instance",
        "job",
        "job_demand",
        "job_usd",
        "lease",
        "listed",
        "ms",
        "overhead_ms",
        "phases",
        "pool",
        "run",
        "safe_ms",
        "state",
        "timer",
        "total_ms",
        "usd",
        "useful_ms",
        "work_ms",
    )

    def __init__(self, name: str, instance: LiveInstance, demand: Demand) -> None:
        pool = instance.pool
        self.instance, self.pool, self.demand = instance, pool, demand
        self.state = Worker(Badge(name, pool.spec.id, pool.spec.purchase))
        self.counted, self.phases = "booting", COUNTERS["booting"]
        self.job = -1  # index of the job whose attempt runs here and is not metered yet
        self.claimed = -1  # index of the last job that was claimed
        self.job_demand: Demand = demand
        self.run = 0  # number of the attempt here; what is scheduled for another run is void
        self.timer = 0
        self.attempts = 0
        self.idle_since_ms = NOT_YET
        self.ms = [0] * 6  # by cause, as in metering.INSTANCE_CAUSES without the minimum, and without these two:
        self.useful_ms = self.idle_ms = 0
        self.lease: Any = None  # the record of the job as it was leased to this worker
        self.usd: list[float] | None = None if pool.meter is None else [0.0] * 6
        self.job_usd: list[tuple[int, float]] = []  # what EC2 may still refund
        self.at_ms = self.overhead_ms = self.work_ms = self.every_ms = self.total_ms = 0
        self.base_ms = self.safe_ms = self.exit_code = 0
        self.factor = 1.0
        self.cause = ""
        self.listed = False  # among the idle workers of the pool
        self.epoch = 0  # of the attempt that runs; the core's record forgets it with a release
        self.ended: Any = None  # the last AttemptEnded
        self.gang: Any = None  # the gang of which the attempt is a member (sim.gangs)
