"""Random worlds for the tests: small, aggressive, and able to end. Strategies of hypothesis, and builders by hand.

Runtimes are minutes and spells of capacity longer, so that every job can end; all else is as bad as it gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from scheduler.policies.move import Greedy, Stay, UniformProgress
from scheduler.policies.order import EarliestDeadlineFirst, Fifo, PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.place import Diversified, LowestPrice, OnDemandFallback, PriceCapacityOptimized
from scheduler.policies.presets import DEFAULTS, PRESETS
from scheduler.policies.protect import Continuous, Daly, NoProtection, OnNotice, Periodic
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.policies.scale import BacklogAndBusy, DrainTime, VisibleBacklog
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.door import FAULTS as AT_THE_DOOR
from sim.inputs import (
    Billing,
    Dist,
    Interruptions,
    JobClass,
    MarketInputs,
    Outage,
    Pool,
    PricePath,
    ServiceInputs,
    Work,
    WorldInputs,
)
from sim.troubles import FAULTS as OF_CALLS

S, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SOURCES = ("exponential", "weibull", "trace", "lifetimes", "price")
ZONES = ("us-east-1a", "us-east-1b")
FAULTS = tuple(sorted({*AT_THE_DOOR, *OF_CALLS}))  # every fault that the decoupled driver can inject
OPERATIONS = (
    "event", "report", "wake", "worker_start", "start", "order", "launch", "reordered", "missed", "delayed", "retried",
    "start_retried", "index_lag", "rebalance_alone",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Case:
    """A world and the policy that meets it. What a failing test prints of it fits on a screen."""

    inputs: WorldInputs
    policy: Policy

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would spell every field

    def __repr__(self) -> str:
        inputs, market = self.inputs, self.inputs.market
        pools = [f"{each.id}: {each.max} x {each.vcpus} vCPUs in {each.az}" for each in inputs.pools]
        parts = (
            f"seed {inputs.seed}, world {inputs.world}, {len(inputs.work)} jobs, slots {inputs.slots_per_instance}",
            f"{inputs.work.classes}", f"pools {pools}", f"licences {inputs.licences}, budget {inputs.budget_usd} USD",
            f"interruptions {market.interruptions.source}, notice {market.notice_probability}", f"{market.outages}",
            f"faults {inputs.services.probability}", f"limits {inputs.services.limit}", f"{self.policy}",
        )  # fmt: skip
        return "Case(" + "\n  ".join(parts) + ")"


# by hand ------------------------------------------------------------------------------------------------------------
def constant(seconds: float) -> Dist:
    return Dist("constant", {"value": seconds})


def flat(usd_per_hour: float) -> PricePath:
    return PricePath(np.zeros(1, dtype=np.int64), np.array([usd_per_hour]))


def steps(at_ms: list[int], usd_per_hour: list[float]) -> PricePath:
    return PricePath(np.array(at_ms, dtype=np.int64), np.array(usd_per_hour))


def pool(
    name: str = "spot",
    purchase: str = "spot",
    most: int = 10,
    *,
    price: PricePath | None = None,
    vcpus: int = 4,
    az: str = ZONES[0],
    boot_s: float = 60,
    instance_type: str = "c5.xlarge",
    list_usd: float = 0.17,
) -> Pool:
    """A pool that boots in `boot_s`."""
    path = price or flat(0.068 if purchase == "spot" else list_usd)
    return Pool(name, instance_type, az, purchase, most, vcpus, 16.0, 0, path, list_usd, constant(boot_s))


def work_of(
    classes: tuple[JobClass, ...],
    submit_ms: list[int],
    runtime_ms: list[int],
    *,
    klass: list[int] | None = None,
    after: Mapping[int, tuple[int, ...]] | None = None,
    estimated: bool = True,
) -> Work:
    """Jobs as listed; their first attempts succeed unless the class always fails."""
    count = len(submit_ms)
    runtime = np.array(runtime_ms, dtype=np.int64)
    return Work(
        classes,
        np.array(klass or [0] * count, dtype=np.int32),
        np.array(submit_ms, dtype=np.int64),
        runtime,
        runtime.copy() if estimated else np.full(count, -1, dtype=np.int64),
        np.ones(count, dtype=np.int32),
        np.full(count, 0.5),
        np.full(count, 0.5),
        after=after or {},
    )


def policy_of(settings: Settings | None = None, **points: object) -> Policy:
    """Our defaults, with some points replaced."""
    return Policy(**{**DEFAULTS, **points}, settings=settings or Settings())  # type: ignore[arg-type]


HOSTILE_JOBS = 60
SLOW = {name: (Dist("lognormal", {"median": 2.0, "p95": 10.0}),) for name in OPERATIONS}


def hostile(seed: int) -> WorldInputs:
    """Sixty jobs of minutes on two Spot pools and an on-demand one, slow events, and half an hour to live on Spot."""
    rng = np.random.default_rng(seed)
    classes = (
        JobClass("plain", vcpus=2, retries=2, checkpointable=True, output_gib=1.0),
        JobClass("rigid", vcpus=1, retries=1),
    )
    submit = np.sort(rng.integers(0, 30 * MINUTE, HOSTILE_JOBS)).tolist()
    runtime = rng.integers(MINUTE, 8 * MINUTE, HOSTILE_JOBS).tolist()
    work = work_of(classes, submit, runtime, klass=rng.integers(0, 2, HOSTILE_JOBS).tolist())
    pools = (pool("a", most=4), pool("b", most=4, az=ZONES[1]), pool("c", "on-demand", 2))
    market = MarketInputs(Interruptions("exponential", mean_ms=30.0 * MINUTE), launch=constant(5))
    services = ServiceInputs(SLOW, staging_gib_per_s=0.5)
    return WorldInputs(seed, 0, work, pools, market, services, drain_ms=48 * HOUR)


# random -------------------------------------------------------------------------------------------------------------
def _chance(probability: float) -> st.SearchStrategy[bool]:
    return st.integers(0, 99).map(lambda number: 20 <= number < 20 + 100 * probability)  # hypothesis loves the ends


@st.composite
def job_classes(draw: st.DrawFn, number: int, fits_vcpus: int, gangs: tuple[int, ...]) -> JobClass:
    """A class whose jobs fit a slot of `fits_vcpus`."""
    poison = draw(_chance(0.12))
    return JobClass(
        f"c{number}",
        vcpus=draw(st.sampled_from([value for value in (0.5, 1.0, 2.0) if value <= fits_vcpus])),
        memory_gib=draw(st.sampled_from([0.0, 1.0, 2.0])),
        priority=draw(st.integers(0, 3)),
        deadline_ms=draw(st.sampled_from([None, 40 * MINUTE, 3 * HOUR])),
        timeout_ms=draw(st.sampled_from([None, None, 5 * MINUTE, HOUR])),
        retries=draw(st.integers(0, 3)),
        checkpointable=draw(st.booleans()),
        fail_probability=1.0 if poison else draw(st.sampled_from([0.0, 0.0, 0.15])),
        exit_code=draw(st.sampled_from([0, 3])),
        success_string_missing=draw(st.sampled_from([0.0, 0.0, 0.1])),
        input_gib=draw(st.sampled_from([0.0, 2.0])),
        output_gib=draw(st.sampled_from([0.0, 1.0])),
        licences={"solver": draw(st.integers(1, 2))} if draw(_chance(0.25)) else {},
        late_penalty_usd_per_hour=draw(st.sampled_from([0.0, 0.5])),
        runtime_on={"m5": 1.3} if draw(_chance(0.3)) else {},
        gang=draw(st.sampled_from(gangs)),
    )


@st.composite
def works(draw: st.DrawFn, slot_vcpus: int, gangs: tuple[int, ...]) -> Work:
    """50 to 70 jobs of a few minutes each, in a burst or over two hours, some waiting for others."""
    classes = tuple(draw(job_classes(number, slot_vcpus, gangs)) for number in range(draw(st.integers(1, 3))))
    count = draw(st.integers(50, 70))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    span_ms = draw(st.sampled_from([0, 30 * MINUTE, 2 * HOUR]))
    submit = np.sort(rng.integers(0, span_ms + 1, count))
    runtime = rng.integers(20 * S, draw(st.sampled_from([2, 6, 10])) * MINUTE, count)
    estimate = (runtime * rng.uniform(0.7, 2.0, count)).astype(np.int64) if draw(_chance(0.7)) else np.full(count, -1)
    late = rng.random(count) < draw(st.sampled_from([0.0, 0.1, 0.3]))
    after = {
        index: tuple(sorted({int(earlier) for earlier in rng.integers(0, index, rng.integers(1, 3))}))
        for index in range(1, count)
        if late[index]
    }
    return Work(
        classes,
        rng.integers(0, len(classes), count, dtype=np.int32),
        submit,
        runtime,
        estimate,
        np.ones(count, dtype=np.int32),
        rng.random(count),
        rng.random(count),
        after=after,
    )


@st.composite
def price_paths(draw: st.DrawFn, usd_per_hour: float, *, moving: bool) -> PricePath:
    """A price that holds for ever, or one that changes every 20 to 90 minutes and is played in a loop."""
    if not moving:
        return flat(usd_per_hour)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    at_ms = np.r_[0, np.cumsum(rng.integers(20 * MINUTE, 90 * MINUTE, 8))]
    usd = usd_per_hour * rng.choice([0.6, 0.8, 1.0, 1.5], 9)
    usd[0], usd[-2], usd[-1] = usd_per_hour, usd_per_hour * 0.8, usd_per_hour * 0.8
    return PricePath(at_ms.astype(np.int64), usd)


@st.composite
def pool_lists(draw: st.DrawFn, source: str, slots: int) -> tuple[Pool, ...]:
    """One Spot and one on-demand pool that fit any class, and up to two more."""
    pools = []
    for number in range(draw(st.integers(2, 4))):
        purchase = ("spot", "on-demand")[number] if number < 2 else draw(st.sampled_from(["spot", "spot", "on-demand"]))
        kind, vcpus = draw(st.sampled_from([("c5.xlarge", 2), ("m5.2xlarge", 4)])) if number < 2 else ("c5.large", 1)
        list_usd = 0.085 * vcpus * slots
        moving = source == "price" or draw(_chance(0.3))
        path = draw(price_paths(0.4 * list_usd, moving=moving)) if purchase == "spot" else flat(list_usd)
        boot = draw(st.sampled_from([constant(30), Dist("lognormal", {"median": 60, "p95": 150})]))
        most, az = draw(st.integers(3 if number < 2 else 1, 12)), draw(st.sampled_from(ZONES))  # room for a gang
        name = f"p{number}-{purchase}"
        pools.append(Pool(name, kind, az, purchase, most, vcpus * slots, 4.0 * slots, 0, path, list_usd, boot))
    return tuple(pools)


@st.composite
def interruptions(draw: st.DrawFn, source: str, pools: tuple[Pool, ...]) -> Interruptions:
    """Aggressive, and still leaving every job a chance."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    burst_ms = draw(st.sampled_from([0, 30 * S, 3 * MINUTE]))
    if source == "exponential":
        return Interruptions("exponential", mean_ms=draw(st.sampled_from([10, 20, 60])) * MINUTE)
    if source == "weibull":
        up, down = (
            Dist("weibull", {"shape": draw(st.sampled_from([0.6, 1.0])), "scale": draw(st.sampled_from(scales))})
            for scales in ([1200.0, 2400.0], [300.0, 900.0])
        )
        return Interruptions("weibull", up=up, down=down, burst_ms=burst_ms)
    spot = [each.id for each in pools if each.purchase == "spot"]
    if source == "trace":
        capacity = {name: _capacity(rng) for name in spot}
        start = draw(st.sampled_from(["fixed", "random"]))
        return Interruptions("trace", capacity=capacity, burst_ms=burst_ms, start=start)
    if source == "lifetimes":
        times = np.sort(rng.choice(np.arange(2, 120), 12, replace=False)) * MINUTE
        return Interruptions("lifetimes", lifetimes_ms=times.astype(np.int64), survival=np.linspace(0.92, 0.1, 12))
    limits = {each.id: 1.2 * float(each.price.usd_per_hour[0]) for each in pools if each.purchase == "spot"}
    return Interruptions("price", max_price_usd_per_hour=limits, burst_ms=burst_ms)


def _capacity(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A recording of 2 to 4 hours, played in a loop: short spells of 0 to 3 instances, and an hour with room."""
    at_ms = np.r_[0, np.cumsum(rng.integers(5 * MINUTE, 25 * MINUTE, 8)), 0]
    at_ms[-1] = at_ms[-2] + HOUR
    count = np.r_[rng.integers(0, 4, 8), 20, 20]
    return at_ms.astype(np.int64), count.astype(np.int64)


@st.composite
def markets(draw: st.DrawFn, source: str, pools: tuple[Pool, ...]) -> MarketInputs:
    outages = []
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(2, 120)) * MINUTE
        length = draw(st.integers(5, 40)) * MINUTE
        outages.append(Outage(draw(st.sampled_from(ZONES)), begin, begin + length, draw(st.booleans())))
    return MarketInputs(
        interruptions=draw(interruptions(source, pools)),
        notice_probability=draw(st.sampled_from([0.0, 0.7, 1.0])),
        notice_lead_ms=draw(st.sampled_from([3 * S, 30 * S, 120 * S])),
        rebalance_probability=draw(st.sampled_from([0.0, 0.5])),
        rebalance_lead_ms=draw(st.sampled_from([MINUTE, 10 * MINUTE])),
        launch=draw(st.sampled_from([constant(0), Dist("exponential", {"mean": 10.0})])),
        outages=tuple(outages),
    )


@st.composite
def services(draw: st.DrawFn, pools: tuple[Pool, ...]) -> ServiceInputs:
    """Latencies of seconds, faults in most worlds, and limits that bite in some."""
    slow = draw(st.sampled_from([0.0, 0.3, 2.0]))
    latency = {name: (Dist("lognormal", {"median": slow, "p95": 4 * slow}),) for name in OPERATIONS if slow}
    faults = () if draw(_chance(0.2)) else FAULTS
    limit: dict[str, float] = {}
    if draw(_chance(0.4)):
        limit |= {"ec2.run_instances.bucket": draw(st.integers(1, 5)), "ec2.run_instances.refill": 0.05}
    if draw(_chance(0.4)):
        largest = max(each.vcpus for each in pools)
        limit |= {f"ec2.vcpus.{each.purchase}": largest * draw(st.integers(3, 6)) for each in pools[:2]}
    return ServiceInputs(
        latency=latency,
        probability={name: draw(st.sampled_from([0.1, 0.25, 0.4])) for name in faults},
        limit=limit,
        staging_gib_per_s=draw(st.sampled_from([0.0, 0.5])),
        count_staleness_s=draw(st.sampled_from([0.0, 0.0, 5.0, 45.0])),
    )


@st.composite
def settings_of(draw: st.DrawFn) -> Settings:
    return Settings(
        seed=draw(st.integers(0, 1000)),
        lease_ms=draw(st.sampled_from([45, 120, 300])) * S,
        tick_ms=draw(st.sampled_from([20, 60])) * S,
        keep_alive_ms=draw(st.sampled_from([0, 0, 30, 120])) * S,
        boot_timeout_ms=draw(st.sampled_from([4, 10])) * MINUTE,
        roll_over_at=draw(st.sampled_from([60, 20_000])),
        checkpoint_write_ms=draw(st.sampled_from([0, 5, 20])) * S,
        checkpoint_restore_ms=draw(st.sampled_from([0, 10])) * S,
        startup_ms=draw(st.sampled_from([0, 5])) * S,
    )


ORDERS = (Fifo(), PriorityWithAgeing(), ShortestJobFirst(), EarliestDeadlineFirst())
PLACES = (
    LowestPrice(),
    LowestPrice("on-demand"),
    LowestPrice("any"),
    PriceCapacityOptimized(),
    Diversified(),
    Diversified(on_demand_floor=0.3),
    OnDemandFallback(after_wait_ms=10 * MINUTE, after_interruptions=2),
    OnDemandFallback(base=LowestPrice(), after_wait_ms=0, after_interruptions=1),
)
SCALES = (BacklogAndBusy(), BacklogAndBusy(max_workers=6), VisibleBacklog(), DrainTime(target_ms=20 * MINUTE))
RETRIES = (Immediate(), FullJitter(), FullJitter(base_ms=60_000, budget_ms=90_000))
PROTECTS = (
    NoProtection(),
    OnNotice(),
    OnNotice(rebalance="checkpoint"),
    OnNotice(rebalance="release"),
    Periodic(every_ms=MINUTE),
    Daly(),
    Continuous(),
)
MOVES = (Greedy(), Greedy(available="now"), UniformProgress(), UniformProgress(available="now", avoid_ms=0))
DECOUPLED = tuple(name for name, (_, architecture, _) in PRESETS.items() if architecture == "decoupled")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A built-in policy, or the points mixed."""
    settings = draw(settings_of())
    if draw(_chance(0.3)):
        _, _, points = PRESETS[draw(st.sampled_from(DECOUPLED))]
        return policy_of(settings, **points)
    moves = draw(_chance(0.3))
    return policy_of(
        settings,
        order=draw(st.sampled_from(ORDERS)),
        place=LowestPrice("any") if moves else draw(st.sampled_from(PLACES)),
        scale=draw(st.sampled_from(SCALES)),
        retry=draw(st.sampled_from(RETRIES)),
        protect=draw(st.sampled_from(PROTECTS)),
        move=draw(st.sampled_from(MOVES)) if moves else Stay(),
    )


@st.composite
def cases(draw: st.DrawFn, source: str, gangs: tuple[int, ...] = (1,)) -> Case:
    """A world whose Spot capacity comes and goes by `source`, and a policy. Each class takes its size from `gangs`."""
    slots = draw(st.sampled_from([1, 1, 1, 2, 3]))
    pools = draw(pool_lists(source, slots))
    inputs = WorldInputs(
        seed=draw(st.integers(0, 1 << 16)),
        world=draw(st.integers(0, 3)),
        work=draw(works(min(each.vcpus for each in pools[:2]) // slots, gangs)),
        pools=pools,
        market=draw(markets(source, pools)),
        services=draw(services(pools)),
        billing=Billing(draw(st.sampled_from([0.0, 60.0])), draw(st.booleans()), by_hour=draw(st.booleans())),
        drain_ms=48 * HOUR,
        budget_usd=draw(st.sampled_from([0.3, 2.0])) if draw(_chance(0.1)) else 0.0,
        licences={"solver": draw(st.integers(2, 5))},
        slots_per_instance=slots,
    )
    return Case(inputs, draw(policies()))
