"""What the fleet may know, and how old it is.

Every field says where it comes from on AWS, how stale it is there, and how the simulator makes it (`SOURCES`). A field
whose source is None cannot be had on AWS: it exists to reproduce papers, and a policy that needs it cannot be deployed.
There is no future price, no true runtime and no interruption time here, so no policy can reach one.
"""

from __future__ import annotations

from scheduler.record import record


@record
class ClassCount:
    """One class of waiting work: a shape, a purchase option that it is bound to ("any" if none) and a tenant."""

    key: str
    shape: str
    purchase: str
    tenant: str
    vcpus: float
    memory_gib: float
    gpus: int
    queued: int
    queued_work_ms: int  # estimated work that waits
    oldest_ms: int  # submission of the oldest waiting job, -1 if none waits
    busy: int  # workers that run a job of this class
    booting: int  # workers launched for this class that are not ready yet
    idle: int  # workers launched for this class that have nothing to do
    seats: int = 1  # workers that the largest gang of this class that waits needs at once: with fewer it never starts


@record
class PoolCount:
    """One pool: instance type x zone x purchase option."""

    id: str
    instance_type: str
    az: str
    purchase: str
    vcpus: int
    memory_gib: float
    gpus: int
    max: int
    price_usd_per_hour: float
    on_demand_usd_per_hour: float
    booting: int
    busy: int
    idle: int
    last_launch: str  # "", "ok", "failed": outcome of the last request
    last_launch_ms: int
    interruptions: int  # instances lost to EC2 since the start
    worker_ms: int  # instance time since the start
    available_now: bool  # no AWS call answers this: only for reproducing papers
    last_interruption_ms: int = -1  # when EC2 last took an instance, -1 if it took none


@record
class JobSight:
    """A job with a deadline, as its record shows it; only for policies that move jobs."""

    job: str
    key: str
    phase: str  # "queued" | "leased"
    purchase: str  # what it runs on now: "spot", "on-demand", or "" when it waits
    bound: str  # the purchase option to which it is routed
    worker: str
    progress_ms: int  # work done so far, as far as the wrapper has reported it
    estimate_ms: int  # what its user said that it needs
    submit_ms: int
    deadline_ms: int
    seats: int = 1  # workers that it needs at once


@record
class Observation:
    classes: tuple[ClassCount, ...]
    pools: tuple[PoolCount, ...]
    jobs: tuple[JobSight, ...]
    spent_usd: float
    budget_usd: float  # 0: none
    changeover_ms: int  # startup or restore of an attempt, as configured
    reaction_ms: int = 0  # from a decision to a ready worker: a tick, launch and boot, as configured


@record
class Source:
    """Where a field comes from: the AWS call (None: no such call), its age there, and the simulator's way."""

    aws: str | None
    stale_s: float
    sim: str


_PLAN = Source("the deployed plan", 0.0, "the scenario")
_COUNTERS = Source("DynamoDB: transactional counters by pool and phase", 1.0, "exact counters")
_LAUNCHES = Source("Auto Scaling activity events on EventBridge", 5.0, "outcome of the last request")

SOURCES: dict[str, Source] = {
    "classes": Source("DynamoDB: transactional counters by class, read by the Fleet function", 1.0, "exact counters"),
    **{f"pools.{name}": _PLAN for name in ("id", "instance_type", "az", "purchase", "vcpus", "memory_gib", "gpus")},
    "pools.max": _PLAN,
    "pools.price_usd_per_hour": Source("ec2:DescribeSpotPriceHistory", 300.0, "the pool's price path now"),
    "pools.on_demand_usd_per_hour": Source("pricing:GetProducts", 86_400.0, "the list price of the catalogue"),
    "pools.booting": _COUNTERS,
    "pools.busy": _COUNTERS,
    "pools.idle": _COUNTERS,
    "pools.last_launch": _LAUNCHES,
    "pools.last_launch_ms": _LAUNCHES,
    "pools.interruptions": Source("EventBridge interruption and state-change events, counted", 5.0, "exact counters"),
    "pools.worker_ms": Source("DynamoDB: time of ended workers by pool", 60.0, "time of the instances that have ended"),
    "pools.last_interruption_ms": Source("EventBridge interruption events: the time of the last", 5.0, "its time"),
    "pools.available_now": Source(None, 0.0, "the pool's capacity now"),
    "jobs": Source("DynamoDB: index of unfinished jobs with a deadline", 1.0, "records of the live jobs"),
    "spent_usd": Source("DynamoDB: worker time by pool x price, summed by the Fleet function", 60.0, "the ledger now"),
    "budget_usd": _PLAN,
    "changeover_ms": _PLAN,
    "reaction_ms": _PLAN,
}

# What a policy may need that is no field of an observation -> why the fleet on AWS cannot have it.
FUTURE, INSTANCE_AGE, SHARED_BUCKET = "the future", "the age of the instance", "one bucket for all jobs"
TENANT_USE = "what each tenant uses"
NOT_HAD: dict[str, str] = {
    FUTURE: "which nobody has: it is a yardstick for simulations",
    INSTANCE_AGE: "which the simulator tells, and the functions on AWS do not yet",
    TENANT_USE: "which the simulator counts, and the functions on AWS do not yet",
    SHARED_BUCKET: "which the simulator keeps, and the functions on AWS do not yet",
}
