"""The bound of all `move` policies: against every schedule of small cases, by its laws, and under the simulator."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import HOUR, MINUTE, flat, policy_of, pool, work_of

from scheduler.policies.move import Greedy, ShiftedGreedy, TimeSliced, UniformProgress, UniformProgressLiteral
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Continuous
from scheduler.policy import MovePolicy
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Interruptions, JobClass, MarketInputs, ServiceInputs, WorldInputs
from spotbed.metering import DONE
from spotbed.omniscient import omniscient_cost

K = 3.0
IDLE, SPOT, ON_DEMAND = range(3)


def bound(available: list[bool], work: int, changeover: int = 0, tick: int = 1, k: float = K) -> float:
    return omniscient_cost(available, tick_ms=tick, work_ms=work, changeover_ms=changeover, price_ratio=k)


def by_all_schedules(available: list[bool], work: int, changeover: int, tick: int) -> float:
    """The least cost of all 3^n schedules."""
    least = math.inf
    for schedule in product(range(3), repeat=len(available)):
        if any(state == SPOT and not up for state, up in zip(schedule, available, strict=True)):
            continue
        changes = sum(new != old and new != IDLE for old, new in pairwise((IDLE, *schedule)))
        running = sum(state != IDLE for state in schedule)
        if running * tick >= changes * changeover + work:
            least = min(least, schedule.count(SPOT) + K * schedule.count(ON_DEMAND))
    return least


traces = st.lists(st.booleans(), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(0, 30), st.integers(0, 9), st.integers(1, 4))
@example([True, False, True], 7, 9, 3)
@example([True], 0, 5, 2)
def test_no_schedule_costs_less_and_one_costs_as_much(
    available: list[bool], work: int, changeover: int, tick: int
) -> None:
    assert bound(available, work, changeover, tick) == by_all_schedules(available, work, changeover, tick)


def test_with_spot_all_the_time_or_never_the_cost_is_that_of_the_work_and_one_changeover() -> None:
    assert bound([True] * 20, 10, 3) == 13
    assert bound([False] * 20, 10, 3) == 13 * K
    assert bound([True] * 13, 10, 3) == 13
    assert bound([True] * 12, 10, 3) == math.inf
    assert bound([True] * 2, 3) == math.inf


@settings(deadline=None)
@given(traces, st.integers(0, 40), st.integers(0, 5), st.randoms(use_true_random=False))
def test_more_spot_never_costs_more(available: list[bool], work: int, changeover: int, random: object) -> None:
    more = [up or random.random() < 0.3 for up in available]  # type: ignore[attr-defined]
    assert bound(more, work, changeover) <= bound(available, work, changeover)


def greedy(available: list[bool], work: int, changeover: int) -> float:
    """Greedy by ticks: Spot if it is up, else wait, until waiting a tick more would miss the deadline: then on-demand,
    to the end unless a changeover back costs nothing."""
    left, state, cost, bound_to_end = work, IDLE, 0.0, False
    for tick, up in enumerate(available):
        if left <= 0:
            break
        entering = 0 if state == SPOT else changeover
        can_spot = up and len(available) - tick - left - entering >= (changeover or 0)
        if bound_to_end or not (can_spot or len(available) - tick - 1 >= left + changeover):
            new, bound_to_end = (SPOT, False) if up and not changeover else (ON_DEMAND, changeover > 0)
        else:
            new = SPOT if can_spot else IDLE
        left += changeover * (new not in (IDLE, state)) - (new != IDLE)
        cost += (0.0, 1.0, K)[new]
        state = new
    return cost if left <= 0 else math.inf


@settings(deadline=None)
@given(traces, st.integers(0, 60))
def test_without_a_changeover_greedy_is_as_good_as_who_knows_everything(available: list[bool], work: int) -> None:
    assert greedy(available, work, 0) == bound(available, work, 0)


@settings(deadline=None)
@given(st.lists(st.integers(5, 40), min_size=2, max_size=8), st.booleans(), st.floats(0.4, 0.95), st.integers(1, 4))
def test_greedy_costs_at_most_k_times_as_much(spells: list[int], up: bool, fraction: float, changeover: int) -> None:
    """Spells longer than a changeover; and k times is nearly reached when Spot comes too late."""
    available: list[bool] = []
    for number, length in enumerate(spells):
        available += [up ^ bool(number % 2)] * length
    work = max(1, int(fraction * (len(available) - 2 * changeover)))
    least = bound(available, work, changeover)
    if math.isfinite(least):
        assert least <= greedy(available, work, changeover) <= K * least + 1e-9


def test_the_ratio_k_is_reached_when_spot_comes_just_after_the_last_moment() -> None:
    """Idle until the last moment, on-demand to the end; whoever knew would have begun the same on Spot."""
    available = [False] * 99 + [True] * 101
    assert greedy(available, 100, 1) == 101 * K
    assert bound(available, 100, 1) == 101
    assert bound([False] * 98 + [True] * 102, 100, 1) == 101


# under the simulator ------------------------------------------------------------------------------------------------
TICK = 10 * MINUTE


def simulated(available: list[bool], work_ms: int, changeover_ms: int, move: MovePolicy) -> float:
    """The cost of one job in the decoupled scheduler, in ticks at the price of Spot."""
    steps = [n for n, up in enumerate(available) if n == 0 or up != available[n - 1]]
    at_ms = np.array([n * TICK for n in steps], dtype=np.int64)
    capacity = {"spot": (at_ms, np.array([int(available[n]) for n in steps], dtype=np.int64))}
    job = JobClass("job", deadline_ms=len(available) * TICK, checkpointable=True)
    pools = (
        pool("spot", most=1, price=flat(1.0), boot_s=0, list_usd=K),
        pool("od", "on-demand", 1, boot_s=0, list_usd=K),
    )
    market = MarketInputs(Interruptions("trace", capacity=capacity, burst_ms=0), notice_probability=0.0)
    inputs = WorldInputs(1, 0, work_of((job,), [0], [work_ms]), pools, market, ServiceInputs())
    settings = Settings(tick_ms=MINUTE, keep_alive_ms=0, startup_ms=changeover_ms, reaction_ms=MINUTE)
    policy = policy_of(settings, place=LowestPrice("any"), protect=Continuous(), move=move)
    tally = DecoupledWorld(inputs, policy).run()
    assert list(tally.jobs.status) == [DONE]
    assert tally.jobs.end_ms[0] <= len(available) * TICK
    return sum(use.instance_usd for use in tally.pools) * HOUR / TICK


@pytest.mark.parametrize("seed", range(6))
def test_no_policy_of_ours_costs_less_in_the_simulator(seed: int) -> None:
    """Random spells, a changeover of one tick. Ours may change within a tick: a tick is allowed for some changes."""
    rng = np.random.default_rng(seed)
    available: list[bool] = []
    for number in range(40):
        available += [number % 2 == seed % 2] * int(rng.integers(3, 25))
    available = available[:120]
    work_ms = 72 * TICK
    least = omniscient_cost(available, tick_ms=TICK, work_ms=work_ms, changeover_ms=TICK, price_ratio=K)
    moves: tuple[MovePolicy, ...] = (
        Greedy("now"), UniformProgress("now"), UniformProgressLiteral("now"), TimeSliced(4, "now"),
        ShiftedGreedy(4, "now"),
    )  # fmt: skip
    costs = {type(move).__name__: simulated(available, work_ms, TICK, move) for move in moves}
    assert min(costs.values()) >= least - 4, (least, costs)
    assert max(costs.values()) <= K * 75
