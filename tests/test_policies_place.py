"""Where capacity comes from: for each built-in a decision by hand that its nearest neighbour makes otherwise."""

from __future__ import annotations

import pytest
from core_examples import HOUR, MINUTE, job, need, observation, pool, ticket, view
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place import (
    Diversified,
    LowestPrice,
    OnDemandFallback,
    PriceCapacityOptimized,
    candidates,
    failed_lately,
    fill,
)
from scheduler.policy import Place, Routing

NEED = need(queued=1)
OD = pool("od", "on-demand", 0.17)
POLICIES: list[Place] = [
    LowestPrice(), LowestPrice("on-demand"), LowestPrice("any"), PriceCapacityOptimized(), Diversified(),
    Diversified(0.3, 0.4), OnDemandFallback(), OnDemandFallback(Diversified()),
]  # fmt: skip


def choose(policy: Place, pools: list[PoolCount], count: int, of: ClassCount = NEED, now_ms: int = 0) -> dict[str, int]:
    return dict(policy.choose(view(observation([of], pools), now_ms), of, count))


# what all share -----------------------------------------------------------------------------------------------------
def test_a_class_goes_where_it_fits_and_where_it_may() -> None:
    pools = [pool("small", vcpus=2), pool("lean", memory_gib=4.0), pool("fits"), OD]
    seen = view(observation([NEED], pools))
    assert [each.id for each in candidates(seen, need(purchase="any"), "any")] == ["fits", "od"]
    assert [each.id for each in candidates(seen, need(purchase="spot"), "any")] == ["fits"]
    assert [each.id for each in candidates(seen, need(purchase="any"), "on-demand")] == ["od"]
    assert candidates(seen, need(purchase="none"), "any") == []


def test_filling_takes_the_pools_in_order_as_far_as_each_has_room() -> None:
    pools = [pool("a", most=2), pool("b", most=5, busy=5), pool("c", most=9)]
    seen = view(observation([NEED], pools))
    assert fill(seen, pools, 4) == [("a", 2), ("c", 2)]
    assert fill(seen, pools, 99) == [("a", 2), ("c", 9)]


def test_a_pool_has_failed_lately_for_as_long_as_it_is_avoided() -> None:
    failed = pool(last_launch="failed", last_launch_ms=1_000)
    for now_ms, lately in ((1_000, True), (300_999, True), (301_000, False)):
        assert failed_lately(view(observation(), now_ms), failed, 300_000) == lately
    assert not failed_lately(view(observation(), 1_000), pool(last_launch="ok", last_launch_ms=1_000), 300_000)


counts = st.integers(0, 6)
pools_of = st.lists(
    st.builds(
        lambda price, most, busy, interruptions, failed: {
            "price": price / 100, "most": most, "busy": busy, "interruptions": interruptions, "failed": failed,
        },
        st.integers(1, 9), st.integers(0, 9), counts, counts, st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(deadline=None)
@given(pools_of, st.integers(0, 12), st.sampled_from(POLICIES), st.sampled_from(["spot", "on-demand", "any"]))
def test_no_policy_asks_for_more_than_is_wanted_or_than_there_is_room_for(
    drawn: list[dict[str, float]], count: int, policy: Place, purchase: str
) -> None:
    pools = [
        pool(f"p{number}", ("spot", "on-demand")[number % 2], each["price"], int(each["most"]), busy=int(each["busy"]),
             interruptions=int(each["interruptions"]), last_launch="failed" if each["failed"] else "ok")
        for number, each in enumerate(drawn)
    ]  # fmt: skip
    of = need(purchase=purchase)
    seen = view(observation([of], pools))
    chosen = policy.choose(seen, of, count)
    assert len({name for name, _ in chosen}) == len(chosen)
    assert sum(number for _, number in chosen) <= count
    assert all(0 < number <= seen.room[name] for name, number in chosen)
    allowed = {each.id for each in pools if purchase in ("any", each.purchase)}
    assert {name for name, _ in chosen} <= allowed


# lowest price -------------------------------------------------------------------------------------------------------
CHEAP_AND_RISKY = pool("cheap", price=0.060, interruptions=9, worker_ms=8 * HOUR)  # (1 + 9) / (12 + 8) = 0.5 an hour
DEAR_AND_CALM = pool("calm", price=0.080, interruptions=0, worker_ms=8 * HOUR)  # (1 + 0) / (12 + 8) = 0.05 an hour


def test_lowest_price_takes_the_cheapest_where_price_capacity_optimized_takes_the_calmer() -> None:
    pools = [DEAR_AND_CALM, CHEAP_AND_RISKY]
    assert choose(LowestPrice(), pools, 3) == {"cheap": 3}
    # 0.060 x 1.5 = 0.0900 against 0.080 x 1.05 = 0.0840
    assert choose(PriceCapacityOptimized(), pools, 3) == {"calm": 3}
    # 0.060 x (1 + 0.5 x 0.5) = 0.0750 against 0.080 x (1 + 0.5 x 0.05) = 0.0820
    assert choose(PriceCapacityOptimized(risk_weight=0.5), pools, 3) == {"cheap": 3}


def test_the_prior_stands_for_what_has_not_been_seen() -> None:
    """One interruption in 12 h before any is counted; with a prior of 1,000 h both rates are small and price rules."""
    fresh = pool("fresh", price=0.070)
    assert choose(PriceCapacityOptimized(), [fresh, CHEAP_AND_RISKY], 1) == {"fresh": 1}  # .0758 against .0900
    assert choose(PriceCapacityOptimized(prior_hours=1_000.0), [fresh, CHEAP_AND_RISKY], 1) == {"cheap": 1}


def test_lowest_price_on_any_purchase_option_compares_both() -> None:
    either = need(purchase="any")
    assert choose(LowestPrice("any"), [OD, pool("spot", price=0.2)], 2, either) == {"od": 2}
    assert choose(LowestPrice("spot"), [OD, pool("spot", price=0.2)], 2, either) == {"spot": 2}
    assert choose(LowestPrice("on-demand"), [OD, pool("spot")], 2, either) == {"od": 2}


@pytest.mark.parametrize("policy", [LowestPrice(), PriceCapacityOptimized()])
def test_a_pool_that_failed_lately_comes_last_until_it_is_forgiven(policy: Place) -> None:
    pools = [pool("cheap", price=0.05, last_launch="failed", last_launch_ms=0), pool("dear", price=0.09, most=2)]
    assert choose(policy, pools, 3, now_ms=299_999) == {"dear": 2, "cheap": 1}
    assert choose(policy, pools, 3, now_ms=300_000) == {"cheap": 3}


@pytest.mark.parametrize(
    ("policy", "purchase"), [(LowestPrice(), "spot"), (LowestPrice("any"), "any"), (PriceCapacityOptimized(), "spot")]
)
def test_a_job_goes_to_the_index_of_the_purchase_option_and_is_not_asked_about_again(
    policy: Place, purchase: str
) -> None:
    assert policy.route(job(of=ticket()), 5) == Routing(purchase, 0)


# diversified --------------------------------------------------------------------------------------------------------
THREE = [pool("a", price=0.05), pool("b", price=0.06), pool("c", price=0.07)]


def test_diversified_spreads_where_lowest_price_piles_up() -> None:
    assert choose(LowestPrice(), THREE, 7) == {"a": 7}
    assert choose(Diversified(), THREE, 7) == {"a": 3, "b": 2, "c": 2}


def test_the_least_loaded_pool_is_next_whatever_it_costs() -> None:
    pools = [pool("a", price=0.05, busy=3), pool("b", price=0.06, idle=1, booting=1), pool("c", price=0.07)]
    assert choose(Diversified(), pools, 2) == {"c": 2}
    assert choose(Diversified(), pools, 4) == {"c": 3, "b": 1}


def test_no_pool_passes_its_share_while_another_has_room() -> None:
    """Of ten workers on two pools at most 60 % go to one; the third pool is full."""
    pools = [pool("a", price=0.05, most=10), pool("b", price=0.06, most=3), pool("c", price=0.07, most=4)]
    assert choose(Diversified(max_share_per_pool=0.4), pools, 10) == {"a": 4, "b": 3, "c": 3}


def test_where_no_other_pool_has_room_the_share_does_not_hold_work_back() -> None:
    pools = [pool("a", price=0.05), pool("b", price=0.06, most=2)]
    assert choose(Diversified(max_share_per_pool=0.5), pools, 10) == {"a": 8, "b": 2}


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.floats(0.2, 1.0))
def test_shares_are_kept_from_an_empty_start_with_room_everywhere(count: int, number: int, share: float) -> None:
    pools = [pool(f"p{n}", price=0.05 + 0.01 * n) for n in range(number)]
    chosen = choose(Diversified(max_share_per_pool=share), pools, count)
    assert sum(chosen.values()) == count
    assert max(chosen.values()) <= max(1.0, share * count, -(-count // number))


def test_a_floor_of_on_demand_is_kept_at_every_size() -> None:
    either = need(purchase="any")
    sizes = [choose(Diversified(on_demand_floor=0.25), [*THREE, OD], count, either) for count in range(1, 9)]
    assert [size.get("od", 0) for size in sizes] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert choose(Diversified(), [*THREE, OD], 8, either) == {"a": 3, "b": 3, "c": 2}


def test_a_floor_that_on_demand_cannot_hold_does_not_hold_back_spot() -> None:
    full = pool("od", "on-demand", 0.17, most=1)
    assert choose(Diversified(on_demand_floor=0.5), [*THREE, full], 7, need(purchase="any")) == {
        "od": 1, "a": 2, "b": 2, "c": 2,
    }  # fmt: skip


def test_a_job_may_go_anywhere_only_if_there_is_a_floor() -> None:
    assert Diversified().route(job(of=ticket()), 0) == Routing("spot")
    assert Diversified(on_demand_floor=0.1).route(job(of=ticket()), 0) == Routing("any")


def test_what_is_bound_to_one_option_stays_there() -> None:
    policy = Diversified(on_demand_floor=0.5)
    assert choose(policy, [*THREE, OD], 4, need(purchase="on-demand")) == {"od": 4}
    assert choose(policy, [*THREE, OD], 3, need(purchase="spot")) == {"a": 1, "b": 1, "c": 1}


def test_diversified_leaves_out_a_pool_that_failed_lately() -> None:
    pools = [pool("a", last_launch="failed", last_launch_ms=0), pool("b", price=0.09)]
    assert choose(Diversified(), pools, 4, now_ms=1) == {"b": 4}
    assert choose(Diversified(), pools, 4, now_ms=300_000) == {"a": 2, "b": 2}


# fallback -----------------------------------------------------------------------------------------------------------
def test_fallback_routes_to_on_demand_after_a_wait() -> None:
    policy = OnDemandFallback(after_wait_ms=15 * MINUTE, after_interruptions=0)
    waiting = job("queued", of=ticket(submit_ms=MINUTE))
    assert policy.route(waiting, MINUTE) == Routing("spot", 15 * MINUTE)
    assert policy.route(waiting, 16 * MINUTE - 1) == Routing("spot", 1)
    assert policy.route(waiting, 16 * MINUTE) == Routing("on-demand")


def test_fallback_routes_to_on_demand_after_k_interruptions_and_not_after_failures() -> None:
    policy = OnDemandFallback(after_wait_ms=0, after_interruptions=2)
    assert policy.route(job("queued", of=ticket(), interruptions=1, failures=9), HOUR) == Routing("spot")
    assert policy.route(job("queued", of=ticket(), interruptions=2), 0) == Routing("on-demand")


def test_fallback_fills_on_demand_from_its_cheapest_and_spot_by_its_base() -> None:
    pools = [DEAR_AND_CALM, CHEAP_AND_RISKY, OD, pool("od-dear", "on-demand", 0.19)]
    assert choose(OnDemandFallback(), pools, 2) == {"calm": 2}
    assert choose(OnDemandFallback(LowestPrice()), pools, 2) == {"cheap": 2}
    assert choose(OnDemandFallback(), pools, 2, need(purchase="on-demand")) == {"od": 2}
