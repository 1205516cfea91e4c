"""What the simulator is given: plain data, with no files, no YAML and no policy in it.

`spotbed.build` makes these from a scenario. Times are integer milliseconds since the start of the world, unless a
name says otherwise; money is USD; memory and storage are GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
UNLIMITED = 1 << 30
NEVER_MS = 1 << 60


@dataclass(frozen=True, slots=True)
class JobClass:
    """What all jobs of one class share. One class is one shape (vcpus, memory, gpus) of work."""

    name: str
    vcpus: float = 1.0
    memory_gib: float = 0.0
    gpus: int = 0
    priority: int = 0
    tenant: str = "default"
    deadline_ms: int | None = None  # after the submission
    timeout_ms: int | None = None  # of one attempt
    retries: int = 3
    checkpointable: bool = False
    fail_probability: float = 0.0
    exit_code: int = 0  # with which a failing attempt (fail_probability) ends; 0 is read as 1 there
    success_string_missing: float = 0.0
    input_gib: float = 0.0
    output_gib: float = 0.0
    after: tuple[str, ...] = ()  # ids of jobs or names of classes
    gang: int = 1
    licences: Mapping[str, int] = field(default_factory=dict)
    late_penalty_usd_per_hour: float = 0.0
    runtime_on: Mapping[str, float] = field(default_factory=dict)  # instance type or family -> factor on the runtime
    stop_on_first_success: bool = False  # an array is done with the first of its jobs that is


def runtime_factor(job_class: JobClass, instance_type: str) -> float:
    """Factor on the runtime of a class on an instance type: by the type if it is named, else by its family, else 1."""
    factors = job_class.runtime_on
    return factors.get(instance_type, factors.get(instance_type.partition(".")[0], 1.0))


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of one world, in order of submission; every column has length n.

    `runtime_ms` is the work itself on the reference type; `estimate_ms` what the user asked for (-1: nothing).
    `outcome_u` and `string_u` in [0, 1) decide the first attempt's exit code and success string.
    `after` holds, for the few jobs that wait for others, the indices of those jobs. `outcomes` holds, for jobs of which
    it is known how their attempts end, (cause, exit code) by epoch; the last holds from there on.
    """

    classes: tuple[JobClass, ...]
    klass: npt.NDArray[np.int32]  # index into classes
    submit_ms: Int64
    runtime_ms: Int64
    estimate_ms: Int64
    slots: npt.NDArray[np.int32]  # processors of a fixed cluster; 1 on pools
    outcome_u: Float64
    string_u: Float64
    ids: tuple[str, ...] | None = None  # None: "{class}-{index}"
    after: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    user: npt.NDArray[np.int32] | None = None  # the log's user number, for predictors
    outcomes: Mapping[int, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    groups: tuple[tuple[int, int], ...] = ()  # arrays that stop with their first success: (first job, jobs)

    def __len__(self) -> int:
        return len(self.submit_ms)

    def present(self) -> dict[int, JobClass]:
        """The classes of which there is a job, by their number: what only others ask for must cost nothing."""
        jobs = np.bincount(self.klass, minlength=len(self.classes)).tolist()
        return {number: klass for number, klass in enumerate(self.classes) if jobs[number]}

    def job_id(self, index: int) -> str:
        """The id of job `index`, unique within the world."""
        if self.ids is not None:
            return self.ids[index]
        return f"{self.classes[self.klass[index]].name}-{index}"


@dataclass(frozen=True, slots=True)
class Dist:
    """A distribution of a duration, sampled by `sim.distributions`.

    kind: constant {value} | exponential {mean} | lognormal {median, p95} | weibull {shape, scale} | uniform {low, high}
    | empirical {values}; all durations in seconds.
    """

    kind: str
    params: Mapping[str, float] = field(default_factory=dict)
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PricePath:
    """A piecewise constant price: `usd_per_hour[i]` holds from `at_ms[i]` until `at_ms[i + 1]`; at_ms[0] is 0."""

    at_ms: Int64
    usd_per_hour: Float64


@dataclass(frozen=True, slots=True)
class Pool:
    """Instance type x zone x purchase option."""

    id: str
    instance_type: str
    az: str
    purchase: str  # "spot" | "on-demand"
    max: int
    vcpus: int
    memory_gib: float
    gpus: int
    price: PricePath
    on_demand_usd_per_hour: float  # list price of the type: the saving is measured against it
    boot: Dist
    os: str = "linux"


@dataclass(frozen=True, slots=True)
class Interruptions:
    """How a world takes Spot capacity away; a pool with purchase "on-demand" never loses any.

    source: none | exponential | weibull | trace | lifetimes | price. `capacity` maps pool id -> (at_ms, count): a step
    function of how many instances EC2 has there (for trace); `start` is "fixed", "random" or "every" with `every_ms`:
    world i reads the trace from another offset. Prices from a trace take the same offset.
    """

    source: str = "none"
    mean_ms: float = 0.0
    up: Dist | None = None
    down: Dist | None = None
    burst_ms: int = 180_000
    capacity: Mapping[str, tuple[Int64, Int64]] = field(default_factory=dict)
    start: str = "fixed"
    start_ms: int = 0
    every_ms: int = 0
    scale: float = 1.0  # multiplies the trace's time axis
    lifetimes_ms: Int64 | None = None  # sorted event times of an empirical lifetime distribution
    survival: Float64 | None = None  # Kaplan-Meier survival at those times
    max_price_usd_per_hour: Mapping[str, float] = field(default_factory=dict)  # by pool id (for price)


@dataclass(frozen=True, slots=True)
class Outage:
    az: str
    from_ms: int
    until_ms: int
    launches_fail: bool = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one instance met in a run that is played again."""

    launch_ms: int  # from the request to running
    boot_ms: int  # from running to ready
    lost_ms: int | None = None  # the moment at which EC2 took it; None: it did not
    notice_ms: int | None = None  # how long before that the notice came; None: none came
    rebalance_ms: int | None = None  # the same for the rebalance recommendation
    silent: bool = False  # nobody was told of the loss


@dataclass(frozen=True, slots=True)
class MarketInputs:
    """The market of a world. `recorded`: pool id -> what its first instances meet, in the order of their launch; the
    others are drawn. `room`: pool id -> (at_ms, count), how many instances a launch may reach there, as recorded."""

    interruptions: Interruptions = field(default_factory=Interruptions)
    notice_probability: float = 1.0
    notice_lead_ms: int = 120_000
    rebalance_probability: float = 0.0
    rebalance_lead_ms: int = 600_000
    launch: Dist = Dist("constant", {"value": 0.0})
    outages: tuple[Outage, ...] = ()
    recorded: Mapping[str, tuple[Recorded, ...]] = field(default_factory=dict)
    room: Mapping[str, tuple[Int64, Int64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceInputs:
    """The services of a world, from the services data.

    `latency`: operation -> the calls that it makes one after the other, as distributions in seconds. `occasional`:
    calls that it makes besides, each with a probability. `probability`: faults by name. `limit`: quotas by name; a
    limit that is absent does not bite.
    """

    latency: Mapping[str, tuple[Dist, ...]] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)
    limit: Mapping[str, float] = field(default_factory=dict)
    staging_gib_per_s: float = 0.0  # 0: staging takes no time
    occasional: Mapping[str, tuple[tuple[float, Dist], ...]] = field(default_factory=dict)
    count_staleness_s: float = 0.0  # how old the counters are that the fleet sees
    renewals_per_lease: int = 3
    cycle_transitions: float = 3.0  # of Step Functions, from one event of a worker to the next
    cycle_lambda_s: float = 0.0  # time in functions for one event of a worker


@dataclass(frozen=True, slots=True)
class HeadNode:
    """The head node of the `central` architecture."""

    usd_per_hour: float = 0.0
    dispatch_per_s: float = 0.0  # 0: no limit
    fails: tuple[tuple[int, int], ...] = ()  # (at_ms, for_ms)


@dataclass(frozen=True, slots=True)
class Billing:
    """The billing rules of instances, from the price book."""

    minimum_s: float = 60.0
    first_hour_free: bool = False  # instances that EC2 interrupts within their first hour are not charged
    by_hour: bool = False  # keep the on-demand cost of each hour, for commitments


@dataclass(frozen=True, slots=True)
class WorldInputs:
    """Everything that a world is made of, but for the policy."""

    seed: int
    world: int
    work: Work
    pools: tuple[Pool, ...]
    market: MarketInputs
    services: ServiceInputs
    billing: Billing = Billing()
    horizon_ms: int = NEVER_MS  # arrivals stop
    drain_ms: int = 30 * 86_400_000  # after the horizon: what is then not ended is unfinished
    budget_usd: float = 0.0
    licences: Mapping[str, int] = field(default_factory=dict)
    slots_per_instance: int = 1
    head_node: HeadNode = HeadNode()
    legacy: Mapping[str, float] = field(default_factory=dict)  # settings of the services data, read by legacy-2019
    cluster_slots: int = 0  # processors of a fixed cluster; 0: there are pools
