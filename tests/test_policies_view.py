"""No policy can peek: what policies are given holds nothing of the future, by its fields and by trying."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, get_args, get_type_hints

import numpy as np
import pytest
from worlds import HOUR, MINUTE, policy_of, pool, steps, work_of

from scheduler.events import JobClaimed
from scheduler.job_record import Job
from scheduler.observation import SOURCES, ClassCount, JobSight, Observation, PoolCount, Source
from scheduler.policies.move import UniformProgress
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Daly
from scheduler.policies.retry import FullJitter
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import POINTS, FleetView, Policy
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Interruptions, JobClass, MarketInputs, ServiceInputs, WorldInputs

# Everything that a policy can reach. A field that is added anywhere must be added here, after asking: does its value
# depend on anything that has not happened yet, or on what only the world knows of a job?
REACHABLE = {
    "FleetView": "now_ms observation room",
    "Observation": "classes pools jobs spent_usd budget_usd changeover_ms reaction_ms",
    "ClassCount": "key shape purchase tenant vcpus memory_gib gpus queued queued_work_ms oldest_ms busy booting idle "
    "seats",
    "PoolCount": "id instance_type az purchase vcpus memory_gib gpus max price_usd_per_hour on_demand_usd_per_hour "
    "booting busy idle last_launch last_launch_ms interruptions worker_ms available_now last_interruption_ms",
    "JobSight": "job key phase purchase bound worker progress_ms estimate_ms submit_ms deadline_ms seats",
    "Job": "ticket phase epoch progress_ms purchase rare",
    "Rare": "failures interruptions delayed_ms waiting_for bound exit_code alike last_delay_ms",
    "Ticket": "id spec submit_ms estimate_ms deadline_ms slots",
    "JobSpec": "name vcpus memory_gib gpus priority tenant retries checkpointable timeout_ms gang licences",
    "JobClaimed": "at_ms job epoch progress_ms estimate_ms timeout_ms checkpointable mtbf_ms",
    "Settings": "seed lease_ms tick_ms keep_alive_ms boot_timeout_ms roll_over_at events_per_cycle "
    "checkpoint_write_ms checkpoint_restore_ms startup_ms reaction_ms",
}


def reachable(kind: Any, found: dict[str, set[str]]) -> dict[str, set[str]]:
    """The fields of a type and of all types within it, by name of the type."""
    for inner in get_args(kind):
        reachable(inner, found)
    if hasattr(kind, "_fields") or dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        found[kind.__name__] = set(hints)
        for hint in hints.values():
            reachable(hint, found)
    return found


def test_all_that_a_policy_can_reach_is_listed() -> None:
    found: dict[str, set[str]] = {}
    for kind in (FleetView, Job, JobClaimed, Settings, ClassCount, JobSight):
        reachable(kind, found)
    assert found == {name: set(names.split()) for name, names in REACHABLE.items()}


def test_every_field_of_an_observation_says_where_it_comes_from() -> None:
    fields = {each.name for each in dataclasses.fields(Observation)} - {"classes", "pools", "jobs"}
    fields |= {"classes", "jobs"} | {f"pools.{each.name}" for each in dataclasses.fields(PoolCount)}
    assert SOURCES.keys() == fields
    assert all(isinstance(each, Source) and each.sim and each.stale_s >= 0 for each in SOURCES.values())


def test_only_the_capacity_itself_cannot_be_had_on_aws() -> None:
    assert [name for name, source in SOURCES.items() if source.aws is None] == ["pools.available_now"]


# trying -------------------------------------------------------------------------------------------------------------
class Recorder:
    """A part of a policy that writes down all that it is given and then decides as another."""

    moves: ClassVar[bool] = True

    def __init__(self, part: Any, seen: list[tuple[str, Any]]) -> None:
        self._part, self._seen = part, seen

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def recorded(*given: Any) -> Any:
            self._seen.append((name, tuple(_without_room(each) for each in given)))
            return method(*given)

        return recorded


def _without_room(value: Any) -> Any:
    """A view's room is a dictionary that the fleet fills up while it decides: keep what it was."""
    return (value.now_ms, value.observation, dict(value.room)) if isinstance(value, FleetView) else value


def time_of(given: Sequence[Any]) -> int | None:
    """When a policy was asked, as far as what it was given tells."""
    for each in given:
        if isinstance(each, JobClaimed):
            return each.at_ms
        if isinstance(each, tuple) and len(each) == 3:
            return int(each[0])
    return given[1] if len(given) == 2 and isinstance(given[1], int) and isinstance(given[0], Job) else None


CLASSES = (
    JobClass("plain", vcpus=2.0, fail_probability=0.2, retries=9),
    JobClass("late", vcpus=2.0, deadline_ms=9 * HOUR, checkpointable=True),
)
RUNTIME_MS = [MINUTE * minutes for minutes in (20, 90, 45, 200, 30, 150, 70, 15, 240, 60)]
SUBMIT_MS = [MINUTE * minutes for minutes in (0, 0, 10, 20, 40, 60, 70, 90, 110, 130)]
LEFT_ALONE_MS = 2 * HOUR + 10 * MINUTE


def world(
    capacity: dict[str, list[tuple[int, int]]], price: list[tuple[int, float]], runtime_ms: list[int]
) -> WorldInputs:
    work = work_of(CLASSES, SUBMIT_MS, runtime_ms, klass=[number % 2 for number in range(10)])
    traces = {
        name: (np.array([at for at, _ in points], dtype=np.int64), np.array([n for _, n in points], dtype=np.int64))
        for name, points in capacity.items()
    }
    moving = steps([at for at, _ in price], [usd for _, usd in price])
    return WorldInputs(
        seed=3,
        world=0,
        work=replace(work, estimate_ms=np.array(RUNTIME_MS, dtype=np.int64), outcome_u=np.linspace(0.05, 0.95, 10)),
        pools=(pool("spot-a", price=moving), pool("spot-b"), pool("od", "on-demand", most=4)),
        market=MarketInputs(Interruptions("trace", capacity=traces, burst_ms=0), notice_lead_ms=2 * MINUTE),
        services=ServiceInputs(),
    )


def views(inputs: WorldInputs) -> tuple[list[tuple[str, Any]], list[int]]:
    """All that the policy was given in a run, and when each job ended."""
    seen: list[tuple[str, Any]] = []
    base = policy_of(
        Settings(checkpoint_write_ms=30_000, checkpoint_restore_ms=30_000),
        place=LowestPrice("any"), scale=BacklogAndBusy(), retry=FullJitter(base_ms=60_000), protect=Daly(),
        move=UniformProgress(available="now"),
    )  # fmt: skip
    parts = {point: Recorder(getattr(base, point), seen) for point in POINTS}
    tally = DecoupledWorld(inputs, Policy(**parts, settings=base.settings)).run()
    return seen, list(tally.jobs.end_ms)


def until(seen: list[tuple[str, Any]], at_ms: int) -> list[tuple[str, Any]]:
    """What was given up to the last time at or before `at_ms`."""
    times = [time_of(given) for _, given in seen]
    last = max(place for place, time in enumerate(times) if time is not None and time <= at_ms)
    first_after = next(place for place, time in enumerate(times) if time is not None and time > at_ms)
    assert last < first_after
    return seen[: last + 1]


CAPACITY = {"spot-a": [(0, 3), (50 * MINUTE, 1), (100 * MINUTE, 4)], "spot-b": [(0, 2), (80 * MINUTE, 0)]}
PRICE = [(0, 0.07), (60 * MINUTE, 0.10)]


@pytest.fixture(scope="module")
def told() -> tuple[list[tuple[str, Any]], list[int]]:
    return views(world(CAPACITY, PRICE, RUNTIME_MS))


def futures(ends: list[int]) -> dict[str, WorldInputs]:
    """Worlds that are the same until LEFT_ALONE_MS and in each of which something else happens later."""
    later = LEFT_ALONE_MS + 1
    losing = {**CAPACITY, "spot-a": [*CAPACITY["spot-a"], (later, 0)]}
    running = [
        runtime + 37 * MINUTE if end > LEFT_ALONE_MS else runtime for runtime, end in zip(RUNTIME_MS, ends, strict=True)
    ]
    assert running != RUNTIME_MS
    assert running[0] == RUNTIME_MS[0]
    return {
        "interruptions": world(losing, PRICE, RUNTIME_MS),
        "capacity": world({**CAPACITY, "spot-b": [*CAPACITY["spot-b"], (later, 9)]}, PRICE, RUNTIME_MS),
        "prices": world(CAPACITY, [*PRICE, (later, 0.01)], RUNTIME_MS),
        "runtimes": world(CAPACITY, PRICE, running),
    }


@pytest.mark.parametrize("what", ["interruptions", "capacity", "prices", "runtimes"])
def test_another_future_gives_the_same_views_until_it_comes(
    what: str, told: tuple[list[tuple[str, Any]], list[int]]
) -> None:
    seen, ends = told
    other, _ = views(futures(ends)[what])
    before = until(seen, LEFT_ALONE_MS)
    assert other[: len(before)] == before
    assert other != seen  # the future did come


def test_every_point_was_asked_before_the_futures_part(told: tuple[list[tuple[str, Any]], list[int]]) -> None:
    asked = {name for name, _ in until(told[0], LEFT_ALONE_MS)}
    assert asked == {"key", "route", "choose", "desired", "delay_ms", "checkpoint_every_ms", "on_notice", "target"}
