"""Policies: six plug-in points, each one question, each a small frozen dataclass or a plain object with the method.

A policy sees only what it is given: a job's record, or a `FleetView`. It has no clock and no randomness of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

from scheduler.events import JobClaimed
from scheduler.job_record import Job
from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.record import record
from scheduler.settings import Settings

NOTHING_NEEDED: frozenset[str] = frozenset()


class Routing(NamedTuple):
    """On which purchase option a queued job may run ("any", "spot", "on-demand"), and when to ask again (0: never)."""

    purchase: str
    reconsider_ms: int = 0


ROUTINGS: Mapping[str, Routing] = {name: Routing(name) for name in ("any", "spot", "on-demand")}  # for ever


class FleetView(NamedTuple):
    """What a fleet policy sees at a tick. `room` is how many more instances each pool may hold."""

    now_ms: int
    observation: Observation
    room: Mapping[str, int]


class TenantUse(NamedTuple):
    """What a tenant uses: jobs in flight, the time of its attempts (which decays with the order's half-life), and the
    estimated work that was started for it since somebody last waited for a job of this tenant in vain."""

    in_flight: int
    used_ms: float
    served_ms: int


NO_USE = TenantUse(0, 0.0, 0)


class RankView(NamedTuple):
    """What `rank` sees beside the jobs. `tenants` is empty unless the order needs it."""

    now_ms: int
    tenants: Mapping[str, TenantUse] = MappingProxyType({})


class Order(Protocol):
    """Which waiting job next? A static sort key: the lowest is first; equal keys go by submission.

    An order with `rank(view, jobs)` sorts the `first` jobs of the index again when a worker claims: the first of them
    that can be had is claimed. One with `select(view)`, or `reserve(view)`, sees the whole queue (architecture
    central).
    """

    def key(self, job: Job) -> float: ...


class Place(Protocol):
    """Where does new capacity come from?"""

    def route(self, job: Job, now_ms: int) -> Routing: ...

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        """At most `count` instances in all, as (pool id, how many), within `view.room`."""
        ...


class Scale(Protocol):
    """How many workers should serve this class of work? A gang needs `need.seats` that are free at once; with fewer
    workers in all it waits for ever."""

    def desired(self, view: FleetView, need: ClassCount) -> int: ...


class Retry(Protocol):
    """The application failed for the `job.failures`-th time, tries are left: after how long again? None: give up."""

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None: ...


class Protect(Protocol):
    """When to write checkpoints, and what to do on a notice or a rebalance recommendation."""

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int: ...

    def on_notice(self, checkpointable: bool, lead_ms: int, settings: Settings) -> str:
        """RUN_ON, CHECKPOINT or RELEASE."""
        ...

    def on_rebalance(self, checkpointable: bool, settings: Settings) -> str: ...


class MovePolicy(Protocol):
    """Should a job with a deadline run elsewhere? "stay", "spot", "on-demand", "wait" (a job that waits goes on doing
    so, one that runs is left alone) or "pause" (one that runs leaves its worker and waits)."""

    moves: ClassVar[bool]

    def target(self, sight: JobSight, view: FleetView) -> str: ...


RUN_ON, CHECKPOINT, RELEASE = "run-on", "checkpoint", "release"


@record
class Policy:
    """The six points and the settings. `architecture` names the machines: decoupled, legacy-2019 or central."""

    order: Order
    place: Place
    scale: Scale
    retry: Retry
    protect: Protect
    move: MovePolicy
    settings: Settings = Settings()
    architecture: str = "decoupled"


POINTS = ("order", "place", "scale", "retry", "protect", "move")


def needs_of(policy: Policy) -> frozenset[str]:
    """The observations that the policy's parts declare to need, as keys of `observation.SOURCES`."""
    parts = (getattr(policy, point) for point in POINTS)
    return frozenset().union(*(getattr(part, "needs", NOTHING_NEEDED) for part in parts))


def sees_jobs(policy: Policy) -> bool:
    """Whether the fleet must list the jobs with a deadline for this policy."""
    return policy.move.moves or getattr(policy.scale, "sees_jobs", False)


def is_steady(policy: Policy) -> bool:
    """Whether the policy wants to be asked at each tick, also while nothing waits: it holds workers in reserve."""
    return policy.move.moves or getattr(policy.scale, "steady", False)


def fits(need: ClassCount, pool: PoolCount) -> bool:
    """Whether a job of this class can run on an instance of this pool."""
    return (
        need.vcpus <= pool.vcpus
        and need.memory_gib <= pool.memory_gib
        and need.gpus <= pool.gpus
        and need.purchase in ("any", pool.purchase)
    )
