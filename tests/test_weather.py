"""The weather of pools against closed forms, and its independence of who asks for it and when."""

from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammainc

from sim.inputs import UNLIMITED, Dist, Interruptions, MarketInputs, Outage, Pool, PricePath
from sim.prices import constant_price
from sim.steps import Alternating, residual_s
from sim.streams import Streams
from sim.weather import PoolWeather, make_weather
from spotbed.traces import load_availability

HOUR = 3_600_000
UP = Dist("weibull", {"shape": 0.6, "scale": 12 * 3600.0})
DOWN = Dist("weibull", {"shape": 0.7, "scale": 40 * 60.0})
MEAN_UP_H = 12 * math.gamma(1 + 1 / 0.6)
MEAN_DOWN_H = 40 / 60 * math.gamma(1 + 1 / 0.7)


def pool(name: str = "a", *, az: str = "us-east-1a", purchase: str = "spot", price: PricePath | None = None) -> Pool:
    return Pool(
        id=name, instance_type="c6i.xlarge", az=az, purchase=purchase, max=60, vcpus=4, memory_gib=8.0, gpus=0,
        price=price or constant_price(0.07), on_demand_usd_per_hour=0.17, boot=Dist("constant", {"value": 90.0}),
    )  # fmt: skip


def weather(market: MarketInputs, of: Pool | None = None, *, seed: int = 7, world: int = 0) -> PoolWeather:
    one = of or pool()
    return make_weather([one], market, Streams(seed, world), 48 * HOUR)[one.id]


def from_trace(points: list[tuple[int, int]], **settings: object) -> MarketInputs:
    at_ms = np.array([at for at, _ in points], dtype=np.int64)
    count = np.array([number for _, number in points], dtype=np.int64)
    return MarketInputs(Interruptions(source="trace", capacity={"a": (at_ms, count)}, **settings))  # type: ignore[arg-type]


def changes(of: PoolWeather, until_ms: int) -> list[tuple[int, int]]:
    found, at_ms = [], 0
    while (change := of.next_change(at_ms)) is not None and change[0] < until_ms:
        found.append(change)
        at_ms = change[0]
    return found


# ---- spells


def spells(seed: int, world: int) -> Alternating:
    return Alternating(UP, DOWN, Streams(seed, world), "spells/a")


@pytest.mark.parametrize("at_h", [0, 37, 400])
def test_share_of_worlds_that_are_up_is_the_same_at_any_time(at_h: int) -> None:
    worlds = 3000
    share = MEAN_UP_H / (MEAN_UP_H + MEAN_DOWN_H)
    up = sum(spells(11, world).at(at_h * HOUR) == UNLIMITED for world in range(worlds))
    assert abs(up / worlds - share) <= 3 * math.sqrt(share * (1 - share) / worlds)


def test_losses_of_capacity_come_at_the_renewal_rate_from_the_first_moment_on() -> None:
    hours = 30  # shorter than a cycle's spread: a process begun with a new spell would be far off
    falls = []
    for world in range(2000):
        process, at_ms, count = spells(5, world), 0, 0
        while (at_ms := process.next_after(at_ms)) <= hours * HOUR:
            count += process.at(at_ms) == 0
        falls.append(count)
    expected = hours / (MEAN_UP_H + MEAN_DOWN_H)
    assert abs(np.mean(falls) - expected) <= 3 * np.std(falls, ddof=1) / math.sqrt(len(falls))


def test_complete_spells_have_the_distribution_asked_for() -> None:
    ups: list[float] = []
    downs: list[float] = []
    process = spells(3, 0)
    at_ms = process.next_after(0)  # the first spell is a residual
    for _ in range(6000):
        end_ms = process.next_after(at_ms)
        (ups if process.at(at_ms) else downs).append((end_ms - at_ms) / HOUR)
        at_ms = end_ms
    assert len(ups) == len(downs) == 3000
    assert stats.kstest(ups, stats.weibull_min(0.6, scale=12).cdf).pvalue > 0.01
    assert stats.kstest(downs, stats.weibull_min(0.7, scale=40 / 60).cdf).pvalue > 0.01


def test_what_is_left_of_a_spell_follows_the_equilibrium_distribution() -> None:
    u = np.linspace(0.001, 0.999, 999)
    left = residual_s(UP, u)
    assert gammainc(1 / 0.6, (left / (12 * 3600)) ** 0.6) == pytest.approx(u, abs=1e-12)
    grid = (np.arange(400_000) + 0.5) / 400_000
    second_moment = (12 * 3600) ** 2 * math.gamma(1 + 2 / 0.6)
    assert residual_s(UP, grid).mean() == pytest.approx(second_moment / (2 * MEAN_UP_H * 3600), rel=0.003)
    memoryless = Dist("weibull", {"shape": 1.0, "scale": 5.0})
    assert residual_s(memoryless, u) == pytest.approx(residual_s(Dist("exponential", {"mean": 5.0}), u), rel=1e-9)
    assert residual_s(Dist("constant", {"value": 8.0}), 0.25) == 2.0
    with pytest.raises(ValueError, match="lognormal"):
        residual_s(Dist("lognormal", {"median": 1.0, "p95": 2.0}), u)


def test_spells_are_the_same_however_they_are_asked_for() -> None:
    asked, late_first = spells(1, 4), spells(1, 4)
    late_first.at(5000 * HOUR)
    times = list(range(0, 3000 * HOUR, 7 * HOUR))
    assert [asked.at(at) for at in times] == [late_first.at(at) for at in times]
    assert [asked.next_after(at) for at in times] == [late_first.next_after(at) for at in times]


def test_weibull_interruptions_need_both_kinds_of_spell() -> None:
    with pytest.raises(ValueError, match="both"):
        weather(MarketInputs(Interruptions(source="weibull", up=UP)))


# ---- traces

SAWTOOTH = [(0, 4), (HOUR, 1), (2 * HOUR, 0), (3 * HOUR, 4), (4 * HOUR, 4)]  # its last entry repeats: four hours long


def test_a_trace_with_an_end_is_played_in_a_loop() -> None:
    here = weather(from_trace(SAWTOOTH))
    assert [here.capacity_at(hour * HOUR) for hour in range(9)] == [4, 1, 0, 4, 4, 1, 0, 4, 4]
    assert changes(here, 8 * HOUR) == [
        (1 * HOUR, 1), (2 * HOUR, 0), (3 * HOUR, 4), (5 * HOUR, 1), (6 * HOUR, 0), (7 * HOUR, 4)
    ]  # fmt: skip
    assert [here.launches_succeed_at(hour * HOUR) for hour in range(4)] == [True, True, False, True]


def test_a_trace_without_an_end_holds_its_last_value() -> None:
    here = weather(from_trace(SAWTOOTH[:3]))
    assert here.capacity_at(10**12) == 0
    assert changes(here, 10**13) == [(HOUR, 1), (2 * HOUR, 0)]


def test_a_trace_that_never_changes_has_no_next_change() -> None:
    assert weather(from_trace([(0, 3), (HOUR, 3)])).next_change(0) is None


@pytest.mark.parametrize(("start_h", "world", "first"), [(0, 0, 4), (1, 0, 1), (0, 2, 0), (1, 1, 0), (1, 3, 4)])
def test_world_i_begins_i_steps_further(start_h: int, world: int, first: int) -> None:
    market = from_trace(SAWTOOTH, start="every", start_ms=start_h * HOUR, every_ms=HOUR)
    here = weather(market, world=world)
    offset = start_h + world
    whole = weather(from_trace(SAWTOOTH))
    assert here.capacity_at(0) == first
    assert [here.capacity_at(hour * HOUR) for hour in range(9)] == [
        whole.capacity_at((hour + offset) * HOUR) for hour in range(9)
    ]


def test_a_random_start_is_uniform_over_the_trace_and_common_to_pools_and_prices() -> None:
    points = [(0, 1), (HOUR, 0), (4 * HOUR, 0)]
    recorded_price = PricePath(np.array([0, HOUR, 4 * HOUR], dtype=np.int64), np.array([0.1, 0.2, 0.2]))
    market = from_trace(points, start="random")
    ups = 0
    for world in range(800):
        here = weather(market, pool(price=recorded_price), world=world)
        up = here.capacity_at(0) == 1
        assert (here.price.usd_per_hour[0] == 0.1) == up
        ups += up
    assert abs(ups / 800 - 0.25) <= 3 * math.sqrt(0.25 * 0.75 / 800)


def test_scale_stretches_the_trace_and_where_it_begins() -> None:
    here = weather(from_trace(SAWTOOTH, scale=2.5, start_ms=HOUR))  # begins with the second hour, now 2.5 hours long
    assert here.capacity_at(0) == 1
    expected = [(2.5, 0), (5.0, 4), (10.0, 1), (12.5, 0)]
    assert changes(here, 13 * HOUR) == [(round(at_h * HOUR), count) for at_h, count in expected]


def test_a_pool_without_a_trace_has_room() -> None:
    here = weather(from_trace(SAWTOOTH), pool("b"))
    assert here.capacity_at(2 * HOUR) == UNLIMITED


@st.composite
def traces(draw: st.DrawFn) -> list[tuple[int, int]]:
    times = draw(st.lists(st.integers(1, 60), unique=True, max_size=8).map(sorted))
    counts = draw(st.lists(st.integers(0, 3), min_size=len(times) + 1, max_size=len(times) + 1))
    return list(zip([0, *times], counts, strict=True))


@given(
    traces(),
    st.integers(0, 100),
    st.lists(st.tuples(st.integers(0, 150), st.integers(1, 40), st.booleans()), max_size=3),
)
def test_changes_are_exactly_where_the_capacity_differs(
    points: list[tuple[int, int]], start_ms: int, out: list[tuple[int, int, bool]]
) -> None:
    outages = tuple(Outage("us-east-1a", begin, begin + length, fail) for begin, length, fail in out)
    here = weather(MarketInputs(from_trace(points, start_ms=start_ms).interruptions, outages=outages))
    values = [here.capacity_at(at) for at in range(300)]
    expected = [(at, new) for at, (old, new) in enumerate(pairwise(values), start=1) if old != new]
    assert changes(here, 300) == expected
    for at in range(299):
        after = [change for change in expected if change[0] > at]
        told = here.next_change(at)
        assert told == after[0] if after else told is None or told[0] >= 300


# ---- outages


def test_an_outage_empties_every_pool_of_its_zone_for_as_long_as_it_lasts() -> None:
    market = MarketInputs(outages=(Outage("us-east-1a", HOUR, 2 * HOUR), Outage("us-east-1a", 2 * HOUR, 3 * HOUR)))
    pools = [pool("a"), pool("od", purchase="on-demand"), pool("far", az="us-east-1b")]
    here = make_weather(pools, market, Streams(1), 48 * HOUR)
    for name in ("a", "od"):
        assert changes(here[name], 10 * HOUR) == [(HOUR, 0), (3 * HOUR, UNLIMITED)]
        assert not here[name].launches_succeed_at(HOUR)
        assert here[name].launches_succeed_at(3 * HOUR)
        assert [here[name].outage_at(at) for at in (HOUR - 1, HOUR, 3 * HOUR)] == [False, True, False]
        assert here[name].burst_offset_ms(HOUR, 3) == 0
    assert here["far"].next_change(0) is None
    assert here["far"].launches_succeed_at(HOUR)


def test_in_a_milder_outage_workers_are_lost_and_launches_work() -> None:
    market = MarketInputs(outages=(Outage("us-east-1a", HOUR, 2 * HOUR, launches_fail=False),))
    here = weather(market)
    assert here.capacity_at(HOUR) == 0
    assert here.launches_succeed_at(HOUR)
    assert here.launch_capacity_at(HOUR) == UNLIMITED


# ---- prices


def test_a_maximum_price_empties_the_pool_while_the_price_is_above_it() -> None:
    price = PricePath(np.array([0, HOUR, 2 * HOUR, 3 * HOUR], dtype=np.int64), np.array([0.05, 0.11, 0.10, 0.2]))
    below = MarketInputs(Interruptions(source="price", max_price_usd_per_hour={"a": 0.10}))
    assert changes(weather(below, pool(price=price)), 9 * HOUR) == [(HOUR, 0), (2 * HOUR, UNLIMITED), (3 * HOUR, 0)]
    default = MarketInputs(Interruptions(source="price"))  # the on-demand price, 0.17
    assert changes(weather(default, pool(price=price)), 9 * HOUR) == [(3 * HOUR, 0)]


def test_a_recorded_price_is_played_in_a_loop_from_where_the_world_begins() -> None:
    recording = PricePath(np.array([0, HOUR, 3 * HOUR, 4 * HOUR], dtype=np.int64), np.array([0.1, 0.3, 0.2, 0.2]))
    market = MarketInputs(Interruptions(start_ms=2 * HOUR))
    here = weather(market, pool(price=recording)).price
    assert here.at_ms.tolist()[:5] == [0, HOUR, 2 * HOUR, 3 * HOUR, 5 * HOUR]
    assert here.usd_per_hour.tolist()[:5] == [0.3, 0.2, 0.1, 0.3, 0.2]
    assert here.at_ms[-1] >= 96 * HOUR
    without_end = PricePath(recording.at_ms[:3], recording.usd_per_hour[:3])
    held = weather(market, pool(price=without_end)).price
    assert (held.at_ms.tolist(), held.usd_per_hour.tolist()) == ([0, HOUR], [0.3, 0.2])


# ---- fates

EVERYTHING = MarketInputs(
    Interruptions(source="exponential", mean_ms=5 * HOUR),
    notice_probability=0.9,
    rebalance_probability=0.3,
    launch=Dist("lognormal", {"median": 60.0, "p95": 180.0}),
)


@given(st.lists(st.integers(0, 1500), min_size=1, max_size=30))
def test_a_fate_depends_neither_on_the_order_of_questions_nor_on_their_number(questions: list[int]) -> None:
    in_order = weather(EVERYTHING)
    expected = [in_order.fate(k) for k in range(1501)]
    asked = weather(EVERYTHING)
    assert [asked.fate(k) for k in questions] == [expected[k] for k in questions]


def test_a_pool_has_the_same_fates_whatever_pools_are_beside_it() -> None:
    pools = [pool(name) for name in ("a", "b", "c")]
    forward, backward = (make_weather(some, EVERYTHING, Streams(7), HOUR) for some in (pools, pools[::-1]))
    fates = {name: [forward[name].fate(k) for k in range(300)] for name in forward}
    assert fates == {name: [backward[name].fate(k) for k in range(300)] for name in fates}
    assert fates["a"] != fates["b"] != fates["c"]


def test_exponential_lifetimes() -> None:
    here = weather(EVERYTHING)
    lifetimes_h = [(here.fate(k).lifetime_ms or 0) / HOUR for k in range(20_000)]
    assert stats.kstest(lifetimes_h, stats.expon(scale=5).cdf).pvalue > 0.01
    assert abs(np.mean(lifetimes_h) - 5) <= 3 * 5 / math.sqrt(20_000)


def test_notices_and_recommendations_come_as_often_as_asked_and_boots_take_their_time() -> None:
    here = weather(EVERYTHING)
    fates = [here.fate(k) for k in range(20_000)]
    assert {fate.notice_ms for fate in fates} == {None, 120_000}
    assert {fate.rebalance_ms for fate in fates} == {None, 600_000}
    for share, told in ((0.9, [fate.notice_ms for fate in fates]), (0.3, [fate.rebalance_ms for fate in fates])):
        came = sum(lead is not None for lead in told) / len(told)
        assert abs(came - share) <= 3 * math.sqrt(share * (1 - share) / len(told))
    assert {fate.boot_ms for fate in fates} == {90_000}
    launches_s = np.array([fate.launch_ms for fate in fates]) / 1000
    assert stats.kstest(launches_s, stats.lognorm(math.log(3) / stats.norm.ppf(0.95), scale=60).cdf).pvalue > 0.01


def test_the_draws_of_one_fate_are_independent() -> None:
    here = weather(EVERYTHING)
    fates = [here.fate(k) for k in range(10_000)]
    columns = np.array([(fate.launch_ms, fate.lifetime_ms, fate.order_u, fate.notice_ms is None) for fate in fates])
    ranks = stats.rankdata(columns, axis=0)
    correlations = np.asarray(np.corrcoef(ranks.T))[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(10_000)


def test_on_demand_instances_are_neither_interrupted_nor_warned() -> None:
    here = weather(EVERYTHING, pool(purchase="on-demand"))
    fates = [here.fate(k) for k in range(300)]
    assert {(fate.lifetime_ms, fate.notice_ms, fate.rebalance_ms) for fate in fates} == {(None, None, None)}
    spells_only = MarketInputs(Interruptions(source="weibull", up=UP, down=DOWN))
    assert weather(spells_only, pool(purchase="on-demand")).next_change(0) is None


def test_lifetimes_follow_a_kaplan_meier_curve_and_who_outlives_it_is_not_interrupted() -> None:
    events, survival = np.array([1000, 2000, 5000], dtype=np.int64), np.array([0.8, 0.5, 0.3])
    here = weather(MarketInputs(Interruptions(source="lifetimes", lifetimes_ms=events, survival=survival)))
    drawn = [here.fate(k).lifetime_ms for k in range(20_000)]
    counted = [drawn.count(value) for value in (1000, 2000, 5000, None)]
    assert sum(counted) == len(drawn)
    assert stats.chisquare(counted, np.array([0.2, 0.3, 0.2, 0.3]) * len(drawn)).pvalue > 0.01
    with pytest.raises(ValueError, match="survival"):
        weather(MarketInputs(Interruptions(source="lifetimes")))


def test_a_wave_passes_within_its_burst_and_within_the_shortage() -> None:
    market = from_trace([(0, 9), (HOUR, 0), (HOUR + 60_000, 9), (2 * HOUR, 0), (3 * HOUR, 9), (4 * HOUR, 9)])
    here = weather(market)
    short, long = ([here.burst_offset_ms(at, k) for k in range(5000)] for at in (HOUR, 2 * HOUR))
    assert 59_000 < max(short) < 60_000
    assert 179_000 < max(long) < 180_000
    assert stats.kstest(np.array(long) / 180_000, "uniform").pvalue > 0.01
    final = weather(from_trace([(0, 9), (HOUR, 0)]))
    assert 179_000 < max(final.burst_offset_ms(HOUR, k) for k in range(5000)) < 180_000


def test_world_i_of_a_real_zone_begins_at_midnight_of_day_i(spotbed_data: Path) -> None:
    file = spotbed_data / "availability" / "aws-2023-02-p3-9az" / "us-east-2a_v100_1.json.gz"
    ticks = json.loads(gzip.decompress(file.read_bytes()))["data"]
    at_ms, count = load_availability(file)
    cause = Interruptions(source="trace", capacity={"a": (at_ms, count)}, start="every", every_ms=24 * HOUR)
    for day in (0, 1, 17, 44, 45):  # the recording lasts 45.5 days, so world 45 reaches its end and starts again
        here = weather(MarketInputs(cause), world=day)
        times = range(0, 60 * HOUR, 195_000 // 3)
        told = [here.capacity_at(at) for at in times]
        assert told == [ticks[(at + day * 24 * HOUR) // 195_000 % len(ticks)] for at in times]
        told_changes = changes(here, 60 * HOUR)
        assert told_changes
        assert all(here.capacity_at(at - 1) != new == here.capacity_at(at) for at, new in told_changes)
