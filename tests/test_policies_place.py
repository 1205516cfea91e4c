"""Where capacity comes from: for each built-in a decision by hand that its nearest neighbour makes otherwise."""

from __future__ import annotations

import pytest
from core_examples import HOUR, MINUTE, job, need, observation, pool, ticket, view
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.draw import draw
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place import (
    CapacityOptimized,
    CheapestRun,
    Delegated,
    Diversified,
    EvenOverZones,
    LowestPrice,
    OnDemandFallback,
    PriceCapacityOptimized,
    ShortOnSpot,
    SpotHedge,
    candidates,
    failed_lately,
    fill,
)
from scheduler.policy import Place, Routing

NEED = need(queued=1)
OD = pool("od", "on-demand", 0.17)
POLICIES: list[Place] = [
    LowestPrice(), LowestPrice("on-demand"), LowestPrice("any"), PriceCapacityOptimized(), Diversified(),
    Diversified(0.3, 0.4), OnDemandFallback(), OnDemandFallback(Diversified()), CapacityOptimized(), SpotHedge(),
    EvenOverZones(), EvenOverZones("any"), CheapestRun("c6i=0.5"), ShortOnSpot(),
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


def test_fallback_by_slack_is_asked_again_when_the_slack_will_be_used_up() -> None:
    """Work of 4 h, due at 10 h, twice the work: Spot until 2 h; with 1 h in a checkpoint until 4 h."""
    policy = OnDemandFallback(after_wait_ms=0, after_interruptions=0, slack_factor=2.0)
    due = ticket(estimate_ms=4 * HOUR, deadline_ms=10 * HOUR)
    assert policy.route(job("queued", of=due), HOUR) == Routing("spot", HOUR)
    assert policy.route(job("queued", of=due), 2 * HOUR) == Routing("on-demand")
    assert policy.route(job("queued", of=due, progress_ms=HOUR), 2 * HOUR) == Routing("spot", 2 * HOUR)
    assert policy.route(job("queued", of=ticket()), 99 * HOUR) == Routing("spot")
    both = OnDemandFallback(after_wait_ms=HOUR, after_interruptions=0, slack_factor=2.0)
    assert both.route(job("queued", of=due), 0) == Routing("spot", HOUR)  # whichever comes first


def test_fallback_by_share_takes_the_same_jobs_each_time_and_as_many_as_it_says() -> None:
    policy = OnDemandFallback(after_wait_ms=0, after_interruptions=0, share=0.25)
    jobs = [job("queued", of=ticket(f"job-{number}")) for number in range(2_000)]
    on_demand = [policy.route(each, 0).purchase == "on-demand" for each in jobs]
    assert on_demand == [draw(0, each.ticket.id, "share") < 0.25 for each in jobs]
    assert abs(sum(on_demand) - 500) <= 3 * (2_000 * 0.25 * 0.75) ** 0.5
    assert on_demand == [policy.route(each, 9 * HOUR).purchase == "on-demand" for each in jobs]


# capacity-optimized -------------------------------------------------------------------------------------------------
def test_capacity_optimized_takes_the_calmest_pool_where_price_capacity_optimized_takes_a_cheaper_one() -> None:
    """(1 + 0) / (12 + 8) = 0.05 an hour against 2 / 20 = 0.10: 0.06 x 1.10 = 0.066 is below 0.08 x 1.05 = 0.084."""
    pools = [
        pool("calm", price=0.080, worker_ms=8 * HOUR),
        pool("fair", price=0.060, interruptions=1, worker_ms=8 * HOUR),
    ]
    assert choose(CapacityOptimized(), pools, 3) == {"calm": 3}
    assert choose(PriceCapacityOptimized(), pools, 3) == {"fair": 3}


def test_capacity_optimized_takes_the_cheaper_of_equals_and_on_demand_before_any_that_was_interrupted() -> None:
    assert choose(CapacityOptimized(), [pool("dear", price=0.09), pool("cheap", price=0.05)], 1) == {"cheap": 1}
    assert choose(CapacityOptimized("any"), [pool(), OD], 1, need(purchase="any")) == {"od": 1}


# spot hedge ---------------------------------------------------------------------------------------------------------
def lost(name: str, at_ms: int = -1, **fields: float) -> PoolCount:
    return pool(name, last_interruption_ms=at_ms, **fields)


def test_spot_hedge_leaves_out_the_pool_that_lost_an_instance_where_diversified_returns_to_it() -> None:
    """One of three pools was taken an hour ago: Diversified forgives a failure after 5 minutes, and knows no loss."""
    pools = [lost("a", HOUR, price=0.05), lost("b", price=0.06), lost("c", price=0.07)]
    assert choose(SpotHedge(), pools, 4, now_ms=2 * HOUR) == {"b": 2, "c": 2}
    assert choose(Diversified(), pools, 4, now_ms=2 * HOUR) == {"a": 2, "b": 1, "c": 1}


def test_all_marks_go_when_fewer_than_two_pools_are_clean() -> None:
    """Of three pools a is marked at 1 and b at 2: one is clean, so both marks go. c at 3 is then the only mark."""
    first = [lost("a", 1), lost("b", 2), lost("c")]
    assert choose(SpotHedge(), first, 3) == {"a": 1, "b": 1, "c": 1}
    failed = pool("c", last_launch="failed", last_launch_ms=3)
    assert choose(SpotHedge(), [lost("a", 1), lost("b", 2), failed], 4) == {"a": 2, "b": 2}
    assert choose(SpotHedge(), [lost("a", 1), lost("b", 2), lost("c"), lost("d")], 2) == {"c": 1, "d": 1}


def test_spot_hedge_takes_the_cheapest_unused_pool_and_on_demand_for_what_is_missing() -> None:
    pools = [pool("a", price=0.05, busy=1, most=2), pool("b", price=0.06, most=1), pool("c", price=0.07, most=1), OD]
    either = need(purchase="any")
    assert choose(SpotHedge(), pools, 1, either) == {"b": 1}
    assert choose(SpotHedge(), pools, 5, either) == {"a": 1, "b": 1, "c": 1, "od": 2}
    assert choose(SpotHedge(), pools, 5, need(purchase="spot")) == {"a": 1, "b": 1, "c": 1}


# zones --------------------------------------------------------------------------------------------------------------
def test_zones_count_the_workers_of_a_zone_where_diversified_counts_those_of_a_pool() -> None:
    """Two pools in one zone and one in another: of four workers a zone has two, a pool of its own zone two of them."""
    pools = [pool("a1", price=0.05, az="a"), pool("a2", price=0.06, az="a"), pool("b1", price=0.09, az="b")]
    assert choose(EvenOverZones(), pools, 4) == {"a1": 2, "b1": 2}
    assert choose(Diversified(), pools, 4) == {"a1": 2, "a2": 1, "b1": 1}


def test_a_zone_whose_launches_failed_lately_is_filled_last() -> None:
    pools = [
        pool("a", az="a", last_launch="failed", last_launch_ms=0),
        pool("b", az="b", most=3),
        pool("c", az="c", most=1),
    ]
    assert choose(EvenOverZones(), pools, 5, now_ms=1) == {"a": 1, "b": 3, "c": 1}


# the cheapest run ---------------------------------------------------------------------------------------------------
FAST = pool("fast", price=0.10, instance_type="c6i.xlarge")
SLOW = pool("slow", price=0.06, instance_type="m5.xlarge")


def test_the_cheapest_run_is_on_the_faster_type_where_the_lowest_price_is_on_the_slower() -> None:
    """One hour of work: (1 h x 1 + 1 min) x 0.10 = 0.1017 against (1 h x 2 + 1 min) x 0.06 = 0.1210."""
    hour = need(queued=2, queued_work_ms=2 * HOUR)
    assert choose(CheapestRun("m5=2"), [SLOW, FAST], 1, hour) == {"fast": 1}
    assert choose(LowestPrice(), [SLOW, FAST], 1, hour) == {"slow": 1}
    assert choose(CheapestRun("m5=2 m5.xlarge=1.5"), [SLOW, FAST], 1, hour) == {"slow": 1}  # 0.0910: the type's own


def test_a_short_job_does_not_pay_for_the_faster_type() -> None:
    """One minute of work and one of boot: 2 min x 0.10 = 0.20 against 3 min x 0.06 = 0.18."""
    assert choose(CheapestRun("m5=2"), [SLOW, FAST], 1, need(queued=1, queued_work_ms=MINUTE)) == {"slow": 1}


def test_factors_that_are_no_factors_are_refused() -> None:
    for text in ("m5=0", "m5=-1", "m5", "m5=fast"):
        with pytest.raises(ValueError, match=r"factor|float"):
            CheapestRun(text)


# short on spot ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("price_ratio", "most"), [(2.0, 1.256), (3.1446, 1.976), (10.0, 3.615)])
def test_a_job_without_checkpoints_is_too_long_for_spot_from_the_published_bound_on(
    price_ratio: float, most: float
) -> None:
    """k > (e^x - 1) / x: the bounds of x for three ratios of the prices, to three digits."""
    policy = ShortOnSpot(mtbf_ms=10 * HOUR, price_ratio=price_ratio)
    routed = {
        factor: policy.route(job(of=ticket(estimate_ms=round(factor * 10 * HOUR))), 0).purchase
        for factor in (most - 0.001, most + 0.001)
    }
    assert list(routed.values()) == ["spot", "on-demand"]


def test_a_long_job_that_keeps_its_work_stays_on_spot_and_so_does_one_of_unknown_length() -> None:
    long = {"estimate_ms": 400 * HOUR}
    assert ShortOnSpot().route(job(of=ticket(**long)), 0) == Routing("on-demand")
    assert ShortOnSpot().route(job(of=ticket(**long, checkpointable=True)), 0) == Routing("spot")
    assert ShortOnSpot().route(job(of=ticket()), 0) == Routing("spot")
    assert OnDemandFallback().route(job(of=ticket(**long)), 0).purchase == "spot"  # its neighbour sees no length
    assert choose(ShortOnSpot(), [pool(), OD], 2, need(purchase="on-demand")) == {"od": 2}


# delegated ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        ("price-capacity-optimized", PriceCapacityOptimized()),
        ("capacity-optimized", CapacityOptimized()),
        ("lowest-price", LowestPrice()),
    ],
)
def test_what_is_delegated_is_modelled_by_our_policy_of_that_name(strategy: str, model: Place) -> None:
    """Price-capacity-optimized takes "fair", lowest-price "cheap" and capacity-optimized "calm": see above."""
    pools = [
        pool("calm", price=0.080, worker_ms=8 * HOUR), OD, CHEAP_AND_RISKY,
        pool("fair", price=0.065, interruptions=1, worker_ms=8 * HOUR),
    ]  # fmt: skip
    chosen = choose(Delegated(strategy), pools, 2)
    assert chosen == choose(model, pools, 2)
    assert chosen == {{"price-capacity-optimized": "fair", "lowest-price": "cheap"}.get(strategy, "calm"): 2}
    assert Delegated(strategy).delegates == strategy
    assert choose(Delegated(strategy), pools, 2, need(purchase="on-demand")) == {}


def test_a_strategy_that_aws_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="strategy is one of price-capacity-optimized, "):
        Delegated("diversified")
