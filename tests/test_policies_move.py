"""Whether a job with a deadline should run elsewhere: the decisions of "Can't Be Late" from its formulas, by hand.

C work left, R time left, d changeover, ep(t) = t C0 / R0 the progress of a uniform pace, cp the progress made. All here
have C0 = 4 h, R0 = 8 h (so ep(t) = t / 2) and d = 12 min, if nothing else is said. Where d is split between the restore
and the way to a ready worker makes no difference.
"""

from __future__ import annotations

from dataclasses import astuple

import pytest
from core_examples import HOUR, KEY, MINUTE, need, observation, policy_of, pool, sight, view
from hypothesis import given
from hypothesis import strategies as st

from scheduler.draw import draw
from scheduler.events import Tick
from scheduler.fleet import Fleet, tick
from scheduler.observation import PoolCount
from scheduler.policies.move import (
    Greedy,
    NextSpotOracle,
    ShiftedGreedy,
    Stay,
    TimeSliced,
    UniformProgress,
    UniformProgressLiteral,
    must_run_now,
    spot_is_up,
    work_left_ms,
)
from scheduler.policy import FleetView, MovePolicy

D = 12 * MINUTE
SPOT, OD = pool("spot-a"), pool("od", "on-demand", 0.17)
EMPTY = pool("spot-a", available_now=False, last_launch="failed", last_launch_ms=0)


def at(now_ms: int, *pools: PoolCount) -> FleetView:
    seen = observation([need(queued=1)], pools or (SPOT, OD), changeover_ms=D // 3, reaction_ms=2 * D // 3)
    return view(seen, now_ms)


UP = (SPOT, OD)
DOWN = (EMPTY, OD)
IDLE = sight()
FRESH = {"avoid_ms": 100 * HOUR}  # a failure is not forgiven within these tests


# the terms ----------------------------------------------------------------------------------------------------------
def test_work_left_is_the_estimate_less_the_progress_and_never_negative() -> None:
    assert work_left_ms(sight(progress_ms=HOUR)) == 3 * HOUR
    assert work_left_ms(sight(progress_ms=5 * HOUR)) == 0


def test_the_safety_net_is_reached_when_what_is_left_is_less_than_the_work_and_two_changeovers() -> None:
    """R < C + 2d: 8 h - t < 4 h + 24 min from t = 3 h 36 min on."""
    last_ms = 8 * HOUR - 4 * HOUR - 2 * D
    assert not must_run_now(IDLE, at(last_ms))
    assert must_run_now(IDLE, at(last_ms + 1))
    assert not must_run_now(sight(progress_ms=HOUR), at(last_ms + HOUR))


def test_spot_is_up_by_what_was_seen_or_by_what_only_a_paper_knows() -> None:
    failed = pool("spot-a", available_now=True, last_launch="failed", last_launch_ms=0)
    assert not spot_is_up(IDLE, at(299_999, failed), "launches", 300_000)
    assert spot_is_up(IDLE, at(300_000, failed), "launches", 300_000)
    assert spot_is_up(IDLE, at(0, failed), "now", 300_000)
    assert not spot_is_up(IDLE, at(0, pool(available_now=False)), "now", 0)


def test_a_pool_that_the_job_does_not_fit_into_does_not_count() -> None:
    assert not spot_is_up(IDLE, at(0, pool(vcpus=2), OD), "launches", 0)
    assert not spot_is_up(IDLE, at(0, OD), "now", 0)
    assert spot_is_up(IDLE, at(0, pool("x", vcpus=2), SPOT), "launches", 0)


# greedy -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("now_ms", "pools", "target"),
    [
        (0, UP, "spot"),
        (0, DOWN, "wait"),
        (3 * HOUR, DOWN, "wait"),
        (3 * HOUR + 36 * MINUTE, DOWN, "wait"),
        (3 * HOUR + 36 * MINUTE + 1, DOWN, "on-demand"),
        (3 * HOUR + 36 * MINUTE + 1, UP, "on-demand"),
    ],
)
def test_greedy_takes_spot_if_it_is_up_else_waits_until_the_safety_net(
    now_ms: int, pools: tuple[PoolCount, ...], target: str
) -> None:
    assert Greedy(**FRESH).target(IDLE, at(now_ms, *pools)) == target


def test_greedy_leaves_a_job_on_demand_to_the_end() -> None:
    for now_ms in (0, 3 * HOUR, 7 * HOUR):
        assert Greedy().target(sight(phase="leased", purchase="on-demand"), at(now_ms)) == "stay"


# uniform progress ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("progress_ms", "target"), [(0, "on-demand"), (HOUR - 1, "on-demand"), (HOUR, "wait"), (2 * HOUR, "wait")]
)
def test_uniform_progress_buys_on_demand_when_it_is_behind_where_greedy_waits(progress_ms: int, target: str) -> None:
    """Two hours in, Spot is empty: ep = 1 h."""
    seen = at(2 * HOUR, *DOWN)
    assert UniformProgress(**FRESH).target(sight(progress_ms=progress_ms), seen) == target
    assert Greedy(**FRESH).target(sight(progress_ms=progress_ms), seen) == "wait"


def test_uniform_progress_takes_spot_whenever_an_idle_job_can_have_it() -> None:
    for progress_ms in (0, 3 * HOUR):
        assert UniformProgress().target(sight(progress_ms=progress_ms), at(2 * HOUR, *UP)) == "spot"


@pytest.mark.parametrize("policy", [Greedy(), UniformProgress()])
def test_a_job_stays_on_spot_as_long_as_it_can_still_make_it_on_demand(policy: MovePolicy) -> None:
    """R < C + d: an attempt that keeps its pace has the same slack all along; one that writes checkpoints has not."""
    for now_ms, progress_ms in ((0, 0), (3 * HOUR, 0), (7 * HOUR, 4 * HOUR - 48 * MINUTE)):
        assert policy.target(sight(phase="leased", purchase="spot", progress_ms=progress_ms), at(now_ms)) == "stay"
    running = sight(phase="leased", purchase="spot", progress_ms=HOUR)
    last_ms = 8 * HOUR - 3 * HOUR - D
    assert policy.target(running, at(last_ms)) == "stay"
    assert policy.target(running, at(last_ms + 1)) == "on-demand"


@pytest.mark.parametrize(
    ("progress_ms", "pools", "target"),
    [
        (72 * MINUTE, UP, "spot"),  # ep(2 h + 2d) = 72 min
        (72 * MINUTE - 1, UP, "stay"),
        (3 * HOUR, DOWN, "stay"),
    ],
)
def test_uniform_progress_leaves_on_demand_when_spot_is_up_and_it_is_ahead_by_two_changeovers(
    progress_ms: int, pools: tuple[PoolCount, ...], target: str
) -> None:
    leased = sight(phase="leased", purchase="on-demand", progress_ms=progress_ms)
    assert UniformProgress(**FRESH).target(leased, at(2 * HOUR, *pools)) == target


def test_behind_the_safety_net_a_job_stays_on_demand_to_the_end() -> None:
    late = sight(progress_ms=0)
    assert UniformProgress().target(late, at(3 * HOUR + 36 * MINUTE + 1, *UP)) == "on-demand"
    # all work done but 1 h, 1 h 20 min left: ahead of the pace, and yet R < C + 2d
    nearly = sight(phase="leased", purchase="on-demand", progress_ms=3 * HOUR)
    behind = at(6 * HOUR + 40 * MINUTE, *UP)
    assert must_run_now(nearly, behind)
    assert UniformProgress().target(nearly, behind) == "stay"


def test_the_pace_starts_at_the_submission() -> None:
    later = sight(submit_ms=10 * HOUR, deadline_ms=18 * HOUR, progress_ms=HOUR)
    assert UniformProgress(**FRESH).target(later, at(12 * HOUR, *DOWN)) == "wait"
    assert UniformProgress(**FRESH).target(later, at(12 * HOUR + 1, *DOWN)) == "on-demand"


@given(st.integers(0, 8 * HOUR), st.integers(0, 4 * HOUR), st.booleans(), st.sampled_from(["", "spot", "on-demand"]))
def test_a_job_that_can_only_just_make_it_is_on_demand_or_goes_there(
    now_ms: int, progress_ms: int, up: bool, purchase: str
) -> None:
    seen = at(now_ms, *(UP if up else DOWN))
    one = sight(phase="leased" if purchase else "queued", purchase=purchase, progress_ms=progress_ms)
    slack_ms = 8 * HOUR - now_ms - (4 * HOUR - progress_ms)
    for policy in (Greedy(), UniformProgress()):
        target = policy.target(one, seen)
        if purchase == "on-demand":
            assert target == "stay" or (target == "spot" and slack_ms >= 2 * D)
        elif slack_ms < (D if purchase else 2 * D):
            assert target == "on-demand"
        elif purchase:
            assert target == "stay"


# all ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", [Stay(), Greedy(), UniformProgress()])
def test_a_job_without_a_deadline_or_an_estimate_is_never_moved(policy: MovePolicy) -> None:
    for without in ({"deadline_ms": -1}, {"estimate_ms": -1}):
        assert policy.target(sight(**without), at(2 * HOUR, *DOWN)) == "stay"


def test_only_policies_that_may_move_a_job_ask_to_see_it() -> None:
    assert [policy.moves for policy in (Stay(), Greedy(), UniformProgress())] == [False, True, True]
    assert Stay().target(IDLE, at(7 * HOUR)) == "stay"


@pytest.mark.parametrize("kind", [Greedy, UniformProgress])
def test_reading_the_capacity_itself_is_marked_as_what_aws_cannot_give(kind: type) -> None:
    assert kind(available="now").needs == {"pools.available_now"}
    assert kind().needs == frozenset()


def test_the_jobs_class_is_found_by_its_key() -> None:
    other = need("other", queued=1, vcpus=64.0)
    seen = view(observation([other, need(KEY, queued=1)], UP))
    assert Greedy().target(IDLE, seen) == "spot"


# time-sliced --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("now_ms", "sliced"), [(0, "wait"), (156 * MINUTE, "wait"), (157 * MINUTE, "on-demand")])
def test_a_slice_must_bring_its_share_where_greedy_waits_for_the_last_moment(now_ms: int, sliced: str) -> None:
    """Two slices of 4 h, each with 2 h of work; 1 h is done. On-demand from 4 h - 1 h - 24 min = 2 h 36 min on."""
    waiting = sight(progress_ms=HOUR)
    assert TimeSliced(slices=2, **FRESH).target(waiting, at(now_ms, *DOWN)) == sliced
    assert Greedy(**FRESH).target(waiting, at(now_ms, *DOWN)) == "wait"


def test_a_slice_that_has_brought_its_share_waits_where_uniform_progress_never_leaves_its_pace() -> None:
    """Two slices; at 2 h with nothing done: the slice can still make it, the pace of ep = 1 h is missed."""
    assert TimeSliced(slices=2, **FRESH).target(sight(), at(90 * MINUTE, *DOWN)) == "wait"
    assert UniformProgress(**FRESH).target(sight(), at(90 * MINUTE, *DOWN)) == "on-demand"
    assert TimeSliced(slices=2, **FRESH).target(sight(progress_ms=2 * HOUR), at(3 * HOUR, *DOWN)) == "wait"


def test_a_job_leaves_on_demand_for_spot_when_the_share_of_its_slice_is_done() -> None:
    done = sight(phase="leased", purchase="on-demand", progress_ms=2 * HOUR)
    short = sight(phase="leased", purchase="on-demand", progress_ms=2 * HOUR - 1)
    policy = TimeSliced(slices=2, **FRESH)
    assert policy.target(done, at(3 * HOUR, *UP)) == "spot"
    assert policy.target(done, at(3 * HOUR, *DOWN)) == "stay"
    assert policy.target(short, at(3 * HOUR, *UP)) == "stay"
    assert policy.target(done, at(4 * HOUR, *UP)) == "stay"  # the next slice has begun


def test_one_slice_is_greedy_for_a_job_that_waits() -> None:
    for minutes in range(0, 8 * 60, 7):
        for pools in (UP, DOWN):
            seen = at(minutes * MINUTE, *pools)
            assert TimeSliced(slices=1, **FRESH).target(IDLE, seen) == Greedy(**FRESH).target(IDLE, seen)


# randomised shifted greedy ------------------------------------------------------------------------------------------
def test_the_slices_of_a_job_are_shifted_by_its_own_draw_where_time_sliced_has_one_bound_for_all() -> None:
    """Two slices: the first ends at (1 - u) x 4 h, with (1 - u) x 2 h of work due, so on-demand from half of that on,
    less two changeovers: some jobs of one submission go there, others wait."""
    policy, names = ShiftedGreedy(slices=2, **FRESH), [f"job-{number}" for number in range(40)]
    seen = at(40 * MINUTE, *DOWN)
    for name in names:
        first_ms = (1 - draw(0, name, "shift")) * 4 * HOUR
        past = first_ms <= 40 * MINUTE
        ends_ms = first_ms + 4 * HOUR if past else first_ms
        late = ends_ms - 40 * MINUTE < ends_ms / 2 + 2 * D
        assert policy.target(sight(name), seen) == ("on-demand" if late else "wait"), name
    targets = {policy.target(sight(name), seen) for name in names}
    assert targets == {"wait", "on-demand"}
    assert {TimeSliced(slices=2, **FRESH).target(sight(name), seen) for name in names} == {"wait"}


# uniform progress by the letter -------------------------------------------------------------------------------------
def test_by_the_letter_a_job_that_is_ahead_leaves_on_demand_where_the_released_code_stays() -> None:
    """ep(2 h + 2d) = 72 min."""
    literal = UniformProgressLiteral(**FRESH)
    for progress_ms, pools, target, released in (
        (72 * MINUTE, DOWN, "pause", "stay"),
        (72 * MINUTE - 1, DOWN, "stay", "stay"),
        (72 * MINUTE, UP, "spot", "spot"),
    ):
        leased = sight(phase="leased", purchase="on-demand", progress_ms=progress_ms)
        assert literal.target(leased, at(2 * HOUR, *pools)) == target
        assert UniformProgress(**FRESH).target(leased, at(2 * HOUR, *pools)) == released


def test_a_job_that_pauses_leaves_its_worker_and_is_bound_to_nothing() -> None:
    leased = sight(phase="leased", purchase="on-demand", worker="w1", progress_ms=3 * HOUR)
    seen = observation([need(busy=1)], DOWN, [leased], changeover_ms=D)
    orders = tick(Fleet(), Tick(2 * HOUR, seen), policy_of(move=UniformProgressLiteral(**FRESH)))[1]
    assert [(type(each).__name__, *astuple(each)) for each in orders] == [("Route", "a", "none"), ("Move", "w1")]


# the oracle ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("purchase", "least_ms"), [("", 18 * MINUTE), ("on-demand", 36 * MINUTE)])
def test_the_oracle_lets_a_spell_go_by_that_does_not_pay_where_uniform_progress_takes_it(
    purchase: str, least_ms: int
) -> None:
    """k = 3, d = 12 min: k d / (k - 1) = 18 min from idle, twice that from on-demand."""
    phase = "leased" if purchase else "queued"
    ahead = sight(phase=phase, purchase=purchase, progress_ms=2 * HOUR)
    for length_ms, taken in ((least_ms, False), (least_ms + 1, True)):
        oracle = NextSpotOracle(spells=((2 * HOUR, 2 * HOUR + length_ms), (5 * HOUR, 6 * HOUR)), price_ratio=3.0)
        assert (oracle.target(ahead, at(2 * HOUR, *UP)) == "spot") == taken
        assert oracle.target(ahead, at(2 * HOUR + length_ms, *UP)) == ("stay" if purchase else "wait")
    assert UniformProgress().target(ahead, at(2 * HOUR, *UP)) == "spot"


def test_the_oracle_says_that_it_needs_the_future() -> None:
    assert NextSpotOracle().needs == {"the future"}


@pytest.mark.parametrize("policy", [TimeSliced(), ShiftedGreedy(), UniformProgressLiteral(), NextSpotOracle()])
def test_all_share_the_safety_net_and_leave_jobs_without_a_deadline_alone(policy: MovePolicy) -> None:
    last_ms = 8 * HOUR - 4 * HOUR - 2 * D
    assert policy.target(IDLE, at(last_ms + 1, *UP)) == "on-demand"
    on_demand = sight(phase="leased", purchase="on-demand")
    assert policy.target(on_demand, at(last_ms + 1, *UP)) == "stay"
    running = sight(phase="leased", purchase="spot", progress_ms=HOUR)
    assert [policy.target(running, at(5 * HOUR - D + late)) for late in (0, 1)] == ["stay", "on-demand"]
    assert policy.target(sight(deadline_ms=-1), at(HOUR)) == "stay"
