"""The fleet role: how many instances it orders, where, and when it stops ordering."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from core_examples import HOUR, KEY, MINUTE, declared, endings, need, observation, policy_of, pool, sight, view, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.codec import decode, encode
from scheduler.commands import BudgetReached, Launch, Move, Route, StopWorker
from scheduler.events import InterruptionSeen, LaunchFailed, LaunchSucceeded, Tick
from scheduler.fleet import MACHINE, Fleet, class_key, step
from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.policies.place import LowestPrice
from scheduler.policies.scale import BacklogAndBusy, DrainTime, VisibleBacklog
from scheduler.policy import FleetView, Policy
from scheduler.record import record
from scheduler.table import UnknownTransition

CHEAPEST = policy_of(place=LowestPrice())


@record
class Sends:
    """A move policy that says what it was made to say."""

    where: str = "on-demand"
    moves: ClassVar[bool] = True

    def target(self, sight: JobSight, view: FleetView) -> str:
        return self.where


def launches(seen: Observation, policy: Policy = CHEAPEST, now_ms: int = 0) -> list[tuple[str, int]]:
    _, commands = step(Fleet(), Tick(now_ms, seen), policy)
    return [(each.pool, each.count) for each in commands if isinstance(each, Launch)]


def events(state: Fleet) -> Iterator[Any]:
    if state.version < 4:
        yield LaunchFailed(0, "spot-a", 2, "capacity")
        yield InterruptionSeen(0, "spot-a")
        yield Tick(0, observation([need(queued=3)], [pool()]))
    yield LaunchSucceeded(0, "spot-a", 3)
    yield Tick(0, observation())
    yield Tick(0, observation([need(queued=3)], [pool()], spent_usd=10.0, budget_usd=10.0))


# the table ----------------------------------------------------------------------------------------------------------
def test_each_row_ends_where_it_says_and_everywhere_that_it_says() -> None:
    steps, refusals = walk(MACHINE, [Fleet()], events, CHEAPEST)
    assert endings(steps) == declared(MACHINE)
    assert refusals == []


def test_an_event_of_another_role_is_refused() -> None:
    with pytest.raises(UnknownTransition, match="fleet: no transition from phase 'open'"):
        step(Fleet(), sight(), CHEAPEST)


def test_a_step_changes_nothing_and_repeats_itself() -> None:
    for before, event, result, commands in walk(MACHINE, [Fleet()], events, CHEAPEST)[0]:
        written = json.dumps([encode(before), encode(event)])
        assert step(*(decode(each) for each in json.loads(written)), CHEAPEST) == (result, commands)
        assert json.dumps([encode(before), encode(event)]) == written


def test_the_record_counts_what_it_is_told() -> None:
    fleet = Fleet()
    for event in (LaunchFailed(0, "a", 3, "capacity"), LaunchFailed(0, "a", 2, "quota"), InterruptionSeen(0, "a")):
        fleet = step(fleet, event, CHEAPEST)[0]
    fleet = step(fleet, Tick(0, observation([need(queued=4)], [pool()])), CHEAPEST)[0]
    assert fleet == Fleet(version=4, launched=4, failed_launches=5, interruptions=1)


# how many -----------------------------------------------------------------------------------------------------------
def test_as_many_workers_as_wait_less_those_on_their_way_and_those_that_idle() -> None:
    """desired = busy + max(backlog, booting); the busy ones cancel out, which is what the rule of 2019 forgot."""
    assert launches(observation([need(queued=7, busy=5, booting=2, idle=1)], [pool()])) == [("spot-a", 4)]
    assert launches(observation([need(queued=3, busy=5, booting=3)], [pool()])) == []
    assert launches(observation([need(queued=0, busy=5)], [pool()])) == []
    assert launches(observation([need(queued=7, busy=5)], [pool()]), policy_of(scale=VisibleBacklog())) == [
        ("spot-a", 2)
    ]


def test_a_pools_maximum_is_kept_across_classes() -> None:
    classes = [need("a", queued=6), need("b", queued=6)]
    seen = observation(classes, [pool("cheap", price=0.05, most=9, busy=1, booting=1), pool("dear", price=0.09)])
    _, commands = step(Fleet(), Tick(0, seen), CHEAPEST)
    assert commands == (Launch("cheap", 6, "a"), Launch("cheap", 1, "b"), Launch("dear", 5, "b"))


def test_a_place_policy_that_names_too_many_is_held_to_need_and_room() -> None:
    @record
    class Greedy(LowestPrice):
        def choose(self, view: FleetView, need: ClassCount, count: int) -> list[tuple[str, int]]:
            return [("a", 50), ("b", 50), ("c", -4)]

    pools = [pool("a", most=3), pool("b"), pool("c")]
    assert launches(observation([need(queued=5)], pools), policy_of(place=Greedy())) == [("a", 3), ("b", 2)]


def simulate(jobs: int, choices: list[int], policy: Policy, most: int = 1000) -> Counter[str]:
    """One burst of jobs met by ticks. At each tick some booting workers become ready (each takes a job, if one waits)
    and some attempts end (each worker takes the next job, or idles), as `choices` says. Counts what was ordered."""
    ordered: Counter[str] = Counter()
    queued, booting, busy, idle = jobs, 0, 0, 0
    for number, choice in enumerate([*choices, *[1 << 20] * (jobs + 2)]):
        seen = observation([need(queued=queued, booting=booting, busy=busy, idle=idle)],
                           [pool(most=most, booting=booting, busy=busy, idle=idle)])  # fmt: skip
        for command in step(Fleet(), Tick(number * MINUTE, seen), policy)[1]:
            ordered[type(command).__name__] += command.count if isinstance(command, Launch) else 1
        booting += ordered["Launch"] - (booting + busy + idle)
        ready = min(booting, choice % (booting + 1) if choice < 1 << 20 else booting)
        taken = min(queued, ready)
        booting, busy, idle, queued = booting - ready, busy + taken, idle + ready - taken, queued - taken
        ends = min(busy, choice % 3)
        again = min(queued, ends)
        busy, idle, queued = busy - ends + again, idle + ends - again, queued - again
    return ordered


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.lists(st.integers(0, 40), max_size=30))
def test_one_burst_of_n_jobs_launches_exactly_n(jobs: int, choices: list[int]) -> None:
    assert simulate(jobs, choices, CHEAPEST) == {"Launch": jobs}


def test_a_burst_larger_than_the_pool_fills_it_and_no_more() -> None:
    assert simulate(30, [0, 0, 3, 5], CHEAPEST, most=12) == {"Launch": 12}


def test_a_failed_launch_is_ordered_again_at_the_next_tick() -> None:
    """What was granted boots, what failed does not: the backlog shows it, no memory is needed."""
    assert launches(observation([need(queued=10)], [pool()])) == [("spot-a", 10)]
    assert launches(observation([need(queued=10, booting=7)], [pool(booting=7)])) == [("spot-a", 3)]


@given(
    st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=4),
    st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=4),
    st.sampled_from([CHEAPEST, policy_of(), policy_of(scale=VisibleBacklog())]),
)
@settings(deadline=None)
def test_the_fleet_never_stops_a_worker_nor_launches_beyond_need_and_room(
    classes: list[tuple[int, ...]], pools: list[tuple[int, ...]], policy: Policy
) -> None:
    """A booting worker is never stopped: there is no command for it. (What idles stops by itself.)"""
    seen = observation(
        [need(f"c{n}", queued=q, busy=b, booting=o, idle=i) for n, (q, b, o, i) in enumerate(classes)],
        [
            pool(f"p{n}", price=0.01 * (n + 1), most=m, booting=o, busy=b, idle=i)
            for n, (m, o, b, i) in enumerate(pools)
        ],
    )
    fleet, commands = step(Fleet(), Tick(0, seen), policy)
    assert not any(isinstance(each, StopWorker) for each in commands)
    by_pool, by_class = Counter[str](), Counter[str]()
    for each in commands:
        assert isinstance(each, Launch)
        assert each.count > 0
        by_pool[each.pool] += each.count
        by_class[each.serves] += each.count
    room, asked = view(seen).room, {each.key: each.queued for each in seen.classes}
    assert all(count <= room[name] for name, count in by_pool.items())
    assert all(count <= asked[name] for name, count in by_class.items())
    assert fleet.launched == by_pool.total()


# the budget ---------------------------------------------------------------------------------------------------------
def test_a_spent_budget_ends_launches_and_says_so_once() -> None:
    seen = observation([need(queued=5)], [pool()], spent_usd=500.0, budget_usd=500.0)
    fleet, commands = step(Fleet(), Tick(0, seen), CHEAPEST)
    assert (fleet.phase, commands) == ("closed", (BudgetReached(500.0, 500.0),))
    for minute in range(1, 4):
        more = replace(seen, spent_usd=500.0 + minute)
        assert step(fleet, Tick(minute * MINUTE, more), CHEAPEST) == (fleet, ())


def test_the_budget_bites_when_it_is_spent_and_not_before() -> None:
    almost = observation([need(queued=5)], [pool()], spent_usd=499.99, budget_usd=500.0)
    assert launches(almost) == [("spot-a", 5)]
    assert launches(replace(almost, spent_usd=1e9, budget_usd=0.0)) == [("spot-a", 5)]  # 0: there is none


# moves --------------------------------------------------------------------------------------------------------------
def fleet_of(*pools: PoolCount) -> list[PoolCount]:
    return list(pools) or [pool("spot-a"), pool("od", "on-demand", 0.17)]


def test_a_waiting_job_is_routed_once_and_gets_an_instance_where_it_goes() -> None:
    policy = policy_of(place=LowestPrice("any"), move=Sends("on-demand"))
    seen = observation([need(queued=1, queued_work_ms=HOUR)], fleet_of(), [sight()])
    _, commands = step(Fleet(), Tick(0, seen), policy)
    assert commands == (Route("a", "on-demand"), Launch("od", 1, class_key("4x8GiB", "on-demand", "*")))
    bound = class_key("4x8GiB", "on-demand", "*")
    later = observation(
        [need(bound, "on-demand", queued=1, booting=1)], fleet_of(), [sight(key=bound, bound="on-demand")]
    )
    assert step(Fleet(), Tick(MINUTE, later), policy)[1] == ()


def test_a_job_that_is_told_to_wait_gets_no_instance() -> None:
    policy = policy_of(place=LowestPrice("any"), move=Sends("wait"))
    _, commands = step(Fleet(), Tick(0, observation([need(queued=1)], fleet_of(), [sight()])), policy)
    assert commands == (Route("a", "none"),)


def test_a_running_job_that_moves_gets_an_instance_before_it_leaves() -> None:
    policy = policy_of(place=LowestPrice("any"), move=Sends("on-demand"))
    leased = sight(phase="leased", purchase="spot", worker="w7")
    _, commands = step(Fleet(), Tick(0, observation([need(busy=1)], fleet_of(), [leased])), policy)
    key = class_key("4x8GiB", "on-demand", "*")
    assert commands == (Route("a", "on-demand"), Move("w7"), Launch("od", 1, key))


@pytest.mark.parametrize(("where", "purchase"), [("stay", "spot"), ("spot", "spot"), ("wait", "spot")])
def test_a_running_job_that_is_where_it_should_be_is_left_alone(where: str, purchase: str) -> None:
    policy = policy_of(move=Sends(where))
    leased = sight(phase="leased", purchase=purchase, worker="w7")
    assert step(Fleet(), Tick(0, observation([need(busy=1)], fleet_of(), [leased])), policy)[1] == ()


def test_a_policy_that_does_not_move_is_not_asked() -> None:
    class Silent(Sends):
        moves: ClassVar[bool] = False

        def target(self, sight: JobSight, view: FleetView) -> str:
            raise AssertionError

    seen = observation([need(queued=1)], fleet_of(), [sight()])
    assert launches(seen, policy_of(place=LowestPrice(), move=Silent())) == [("spot-a", 1)]


def test_the_name_of_a_class_says_shape_purchase_and_tenant() -> None:
    assert class_key("4x8GiB", "spot", "*") == KEY


@pytest.mark.parametrize(
    ("there", "launched"), [(sight(seats=3), 3), (sight(seats=3, phase="leased", purchase="spot", worker="w7"), 3)]
)
def test_a_gang_moves_with_all_of_its_seats(there: JobSight, launched: int) -> None:
    """It takes three workers there, and leaves none to be launched where it was."""
    policy = policy_of(place=LowestPrice("any"), move=Sends("on-demand"))
    queued = 3 * (there.phase == "queued")
    seen = observation([need(queued=queued, busy=3 - queued, seats=3)], fleet_of(), [there])
    assert launches(seen, policy) == [("od", launched)]


def test_a_gang_that_moves_brings_its_size_and_its_work_to_a_class_that_is_there() -> None:
    """Drain time launches for both: the two hours of the others, and the gang's own two of three workers."""
    bound = class_key("4x8GiB", "on-demand", "*")
    policy = policy_of(place=LowestPrice("any"), move=Sends("on-demand"), scale=DrainTime(target_ms=2 * HOUR))
    gang = sight(seats=3, estimate_ms=2 * HOUR)
    for there_ms, launched in ((0, 3), (2 * HOUR, 4)):
        others = need(bound, "on-demand", queued=there_ms // HOUR, queued_work_ms=there_ms)
        here = need(queued=4, queued_work_ms=7 * HOUR, seats=3)
        seen = observation([here, others], fleet_of(), [gang])
        assert launches(seen, policy) == [("spot-a", 1), ("od", launched)]


def test_scale_sees_the_class_as_the_moves_have_left_it() -> None:
    """Two wait on Spot, one of them is sent to on-demand: one instance each."""
    policy = policy_of(place=LowestPrice("any"), move=Sends("on-demand"), scale=BacklogAndBusy())
    seen = observation([need(queued=2)], fleet_of(pool("spot-a"), pool("od", "on-demand", 0.17)), [sight()])
    assert launches(seen, policy) == [("spot-a", 1), ("od", 1)]
