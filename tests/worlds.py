"""Random worlds for the tests: small, aggressive, and able to end. A strategy of hypothesis, and builders by hand.

Runtimes are minutes and spells of capacity longer, so that every job can end; all else is as bad as it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from faulty import RARE
from hypothesis import strategies as st

from scheduler.policies.move import (
    Greedy,
    NextSpotOracle,
    ShiftedGreedy,
    Stay,
    TimeSliced,
    UniformProgress,
    UniformProgressLiteral,
)
from scheduler.policies.order import EarliestDeadlineFirst, Fifo, PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.place import (
    CheapestRun,
    Delegated,
    Diversified,
    EvenOverZones,
    LowestPrice,
    OnDemandFallback,
    PriceCapacityOptimized,
    ShortOnSpot,
    SpotHedge,
)
from scheduler.policies.presets import PRESETS
from scheduler.policies.protect import AgeAware, Continuous, Daly, NoProtection, OnNotice, Periodic, Young
from scheduler.policies.retry import (
    DeadLetter,
    DecorrelatedJitter,
    EqualJitter,
    FullJitter,
    Immediate,
    Rules,
    Sideline,
    TokenBucket,
)
from scheduler.policies.scale import (
    BacklogAndBusy,
    DeadlineAware,
    DrainTime,
    HourOfDay,
    StaticStability,
    StepBands,
    TargetBacklog,
    VisibleBacklog,
)
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
from spotbed.published.builders import HOUR, MINUTE, ZONES, S, constant, flat, policy_of, pool, work_of

T = TypeVar("T")
SOURCES = ("exponential", "weibull", "trace", "lifetimes", "price")
FAULTS = tuple(sorted({*AT_THE_DOOR, *OF_CALLS}))  # every fault that the decoupled driver can inject
THROTTLED = (
    "ssm.send_command", "stepfunctions.send_task_success", "stepfunctions.start_execution", "stepfunctions.transition",
)  # fmt: skip
OPERATIONS = (
    "event", "report", "wake", "worker_start", "start", "order", "launch", "reordered", "missed", "delayed", "retried",
    "start_retried", "index_lag", "rebalance_alone",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Case:
    """A world and the policy that meets it. What a failing test prints of it fits on a screen."""

    inputs: WorldInputs
    policy: Policy
    made_by: str = "by hand"

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
        return f"{self.made_by}: Case(" + "\n  ".join(parts) + ")"


# by hand ------------------------------------------------------------------------------------------------------------
def steps(at_ms: list[int], usd_per_hour: list[float]) -> PricePath:
    return PricePath(np.array(at_ms, dtype=np.int64), np.array(usd_per_hour))


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
class Dice:
    """The choices of one world, all from one seed. Hypothesis chooses the seed and no more: where it makes each choice
    itself, it changes one of them that often changes nothing, and half of its worlds are the same."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, *options: T) -> T:
        return options[int(self.rng.integers(len(options)))]

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def job_classes(dice: Dice, number: int, fits_vcpus: int, gangs: tuple[int, ...]) -> JobClass:
    """A class whose jobs fit a slot of `fits_vcpus`."""
    poison = dice.chance(0.12)
    return JobClass(
        f"c{number}",
        vcpus=dice.pick(*(value for value in (0.5, 1.0, 2.0) if value <= fits_vcpus)),
        memory_gib=dice.pick(0.0, 1.0, 2.0),
        priority=dice.between(0, 3),
        deadline_ms=dice.pick(None, 40 * MINUTE, 3 * HOUR),
        timeout_ms=dice.pick(None, None, 5 * MINUTE, HOUR),
        retries=dice.between(0, 3),
        checkpointable=dice.chance(0.5),
        fail_probability=1.0 if poison else dice.pick(0.0, 0.0, 0.15),
        exit_code=dice.pick(0, 3),
        success_string_missing=dice.pick(0.0, 0.0, 0.1),
        input_gib=dice.pick(0.0, 2.0),
        output_gib=dice.pick(0.0, 1.0),
        licences={"solver": dice.between(1, 2)} if dice.chance(0.25) else {},
        late_penalty_usd_per_hour=dice.pick(0.0, 0.5),
        runtime_on={"m5": 1.3} if dice.chance(0.3) else {},
        gang=dice.pick(*gangs),
    )


def works(dice: Dice, slot_vcpus: int, gangs: tuple[int, ...]) -> Work:
    """50 to 70 jobs of a few minutes each, in a burst or over two hours, some waiting for others."""
    classes = tuple(job_classes(dice, number, slot_vcpus, gangs) for number in range(dice.between(1, 3)))
    count = dice.between(50, 70)
    rng = dice.rng
    span_ms = dice.pick(0, 30 * MINUTE, 2 * HOUR)
    submit = np.sort(rng.integers(0, span_ms + 1, count))
    runtime = rng.integers(20 * S, dice.pick(2, 6, 10) * MINUTE, count)
    estimate = (runtime * rng.uniform(0.7, 2.0, count)).astype(np.int64) if dice.chance(0.7) else np.full(count, -1)
    late = rng.random(count) < dice.pick(0.0, 0.1, 0.3)
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


def price_paths(dice: Dice, usd_per_hour: float, *, moving: bool) -> PricePath:
    """A price that holds for ever, or one that changes every 20 to 90 minutes and is played in a loop."""
    if not moving:
        return flat(usd_per_hour)
    rng = dice.rng
    at_ms = np.r_[0, np.cumsum(rng.integers(20 * MINUTE, 90 * MINUTE, 8))]
    usd = usd_per_hour * rng.choice([0.6, 0.8, 1.0, 1.5], 9)
    usd[0], usd[-2], usd[-1] = usd_per_hour, usd_per_hour * 0.8, usd_per_hour * 0.8
    return PricePath(at_ms.astype(np.int64), usd)


def pool_lists(dice: Dice, source: str, slots: int) -> tuple[Pool, ...]:
    """One Spot and one on-demand pool that fit any class, and up to two more."""
    pools = []
    for number in range(dice.between(2, 4)):
        purchase = ("spot", "on-demand")[number] if number < 2 else dice.pick("spot", "spot", "on-demand")
        kind, vcpus = dice.pick(("c5.xlarge", 2), ("m5.2xlarge", 4)) if number < 2 else ("c5.large", 1)
        list_usd = 0.085 * vcpus * slots
        moving = source == "price" or dice.chance(0.3)
        path = price_paths(dice, 0.4 * list_usd, moving=moving) if purchase == "spot" else flat(list_usd)
        boot = dice.pick(constant(30), Dist("lognormal", {"median": 60, "p95": 150}))
        most, az = dice.between(3 if number < 2 else 1, 12), dice.pick(*ZONES)  # room for a gang
        name = f"p{number}-{purchase}"
        pools.append(Pool(name, kind, az, purchase, most, vcpus * slots, 4.0 * slots, 0, path, list_usd, boot))
    return tuple(pools)


def interruptions(dice: Dice, source: str, pools: tuple[Pool, ...]) -> Interruptions:
    """Aggressive, and still leaving every job a chance."""
    rng = dice.rng
    burst_ms = dice.pick(0, 30 * S, 3 * MINUTE)
    if source == "exponential":
        return Interruptions("exponential", mean_ms=dice.pick(10, 20, 60) * MINUTE)
    if source == "weibull":
        up, down = (
            Dist("weibull", {"shape": dice.pick(0.6, 1.0), "scale": dice.pick(*scales)})
            for scales in ([1200.0, 2400.0], [300.0, 900.0])
        )
        return Interruptions("weibull", up=up, down=down, burst_ms=burst_ms)
    spot = [each.id for each in pools if each.purchase == "spot"]
    if source == "trace":
        capacity = {name: _capacity(rng) for name in spot}
        start = dice.pick("fixed", "random")
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


def markets(dice: Dice, source: str, pools: tuple[Pool, ...]) -> MarketInputs:
    outages = []
    for _ in range(dice.between(0, 2)):
        begin = dice.between(2, 120) * MINUTE
        length = dice.between(5, 40) * MINUTE
        outages.append(Outage(dice.pick(*ZONES), begin, begin + length, dice.chance(0.5)))
    return MarketInputs(
        interruptions=interruptions(dice, source, pools),
        notice_probability=dice.pick(0.0, 0.7, 1.0, 1.0),
        notice_lead_ms=dice.pick(3 * S, 3 * S, 30 * S, 120 * S),
        rebalance_probability=dice.pick(0.0, 0.5),
        rebalance_lead_ms=dice.pick(MINUTE, 10 * MINUTE),
        launch=dice.pick(constant(0), Dist("exponential", {"mean": 10.0})),
        outages=tuple(outages),
    )


def services(dice: Dice, pools: tuple[Pool, ...]) -> ServiceInputs:
    """Latencies of seconds, faults in most worlds, and limits that bite in some."""
    slow = dice.pick(0.0, 0.3, 2.0)
    latency = {name: (Dist("lognormal", {"median": slow, "p95": 4 * slow}),) for name in OPERATIONS if slow}
    faults = () if dice.chance(0.2) else (*FAULTS, *RARE)
    limit: dict[str, float] = {}
    if dice.chance(0.4):
        limit |= {"ec2.run_instances.bucket": dice.between(1, 5), "ec2.run_instances.refill": 0.05}
    if dice.chance(0.4):
        largest = max(each.vcpus for each in pools)
        limit |= {f"ec2.vcpus.{each.purchase}": largest * dice.between(3, 6) for each in pools[:2]}
    if dice.chance(0.3):
        limit |= {f"{name}.bucket": dice.pick(1, 5) for name in THROTTLED}
        limit |= {f"{name}.refill": dice.pick(2.0, 10.0) for name in THROTTLED}
        limit["lambda.concurrency"] = dice.pick(1, 3)
    return ServiceInputs(
        latency=latency,
        probability={name: dice.pick(0.1, 0.25, 0.4) for name in faults},
        limit=limit,
        staging_gib_per_s=dice.pick(0.0, 0.5),
        count_staleness_s=dice.pick(0.0, 0.0, 5.0, 45.0),
        cycle_lambda_s=dice.pick(0.0, 1.0),
    )


def settings_of(dice: Dice) -> Settings:
    return Settings(
        seed=dice.between(0, 1000),
        lease_ms=dice.pick(45, 120, 300) * S,
        tick_ms=dice.pick(20, 60) * S,
        keep_alive_ms=dice.pick(0, 0, 30, 120) * S,
        boot_timeout_ms=dice.pick(4, 10) * MINUTE,
        roll_over_at=dice.pick(60, 20_000),
        checkpoint_write_ms=dice.pick(0, 5, 20) * S,
        checkpoint_restore_ms=dice.pick(0, 10) * S,
        startup_ms=dice.pick(0, 5) * S,
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
    SpotHedge(),
    EvenOverZones("any"),
    CheapestRun("c5=2", "any"),
    ShortOnSpot(mtbf_ms=HOUR),
    Delegated("capacity-optimized"),
)
SCALES = (
    *[BacklogAndBusy()] * 5,  # ours: half of the worlds
    *[BacklogAndBusy(max_workers=6)] * 2,
    VisibleBacklog(),
    DrainTime(target_ms=20 * MINUTE),
    TargetBacklog(),
    StepBands(),
    DeadlineAware(),
    HourOfDay("0=1 1=3"),
    StaticStability(2),
)
RETRIES = (
    Immediate(),
    FullJitter(),
    FullJitter(base_ms=60_000, budget_ms=90_000),
    EqualJitter(),
    DecorrelatedJitter(),
    TokenBucket(capacity=20),
    Rules("1*=exit"),
    Sideline(after=1, aside_ms=20 * MINUTE),
    DeadLetter(),
)
PROTECTS = (
    NoProtection(),
    OnNotice(),
    OnNotice(rebalance="checkpoint"),
    OnNotice(rebalance="release"),
    Periodic(every_ms=MINUTE),
    Daly(),
    Continuous(),
    Young(),
    AgeAware(),
)
MOVES = (
    Greedy(),
    Greedy(available="now"),
    UniformProgress(),
    UniformProgress(available="now", avoid_ms=0),
    UniformProgressLiteral(),
    TimeSliced(),
    ShiftedGreedy(),
    NextSpotOracle(((0, HOUR), (2 * HOUR, 9 * HOUR))),
)
DECOUPLED = tuple(name for name, (_, architecture, _) in PRESETS.items() if architecture == "decoupled")


def policies(dice: Dice) -> Policy:
    """A built-in policy, or the points mixed."""
    settings = settings_of(dice)
    if dice.chance(0.3):
        _, _, points = PRESETS[dice.pick(*DECOUPLED)]
        return policy_of(settings, **points)
    moves = dice.chance(0.3)
    return policy_of(
        settings,
        order=dice.pick(*ORDERS),
        place=LowestPrice("any") if moves else dice.pick(*PLACES),
        scale=dice.pick(*SCALES),
        retry=dice.pick(*RETRIES),
        protect=dice.pick(*PROTECTS),
        move=dice.pick(*MOVES) if moves else Stay(),
    )


def case_of(source: str, seed: int, gangs: tuple[int, ...] = (1,)) -> Case:
    """A world whose Spot capacity comes and goes by `source`, and a policy. Each class takes its size from `gangs`."""
    dice = Dice(seed, SOURCES.index(source))
    slots = dice.pick(1, 1, 1, 2, 3)
    pools = pool_lists(dice, source, slots)
    inputs = WorldInputs(
        seed=dice.between(0, 1 << 32),
        world=dice.between(0, 3),
        work=works(dice, min(each.vcpus for each in pools[:2]) // slots, gangs),
        pools=pools,
        market=markets(dice, source, pools),
        services=services(dice, pools),
        billing=Billing(dice.pick(0.0, 60.0), dice.chance(0.5), by_hour=dice.chance(0.5)),
        drain_ms=240 * HOUR,  # where all goes wrong at once, seventy jobs of minutes take two days and more
        budget_usd=dice.pick(0.3, 2.0) if dice.chance(0.1) else 0.0,
        licences={"solver": dice.between(2, 5)},
        slots_per_instance=slots,
    )
    return Case(inputs, policies(dice), f"case_of({source!r}, {seed}, {gangs})")


def cases(source: str, gangs: tuple[int, ...] = (1,)) -> st.SearchStrategy[Case]:
    """Worlds whose Spot capacity comes and goes by `source`."""
    return st.integers(0, (1 << 64) - 1).map(lambda seed: case_of(source, seed, gangs))
