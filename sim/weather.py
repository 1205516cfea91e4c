"""The weather of a world: in each pool, what EC2 does to whoever runs there. It is the same under every policy.

Two kinds of loss are drawn here. *Shared*: the capacity of a pool falls (a spell without capacity, a trace, a price
above the maximum, a zone outage), so that interruptions come in waves and launches fail at the same time. *Single*: an
instance has a lifetime of its own. Everything an instance may meet (its fate) belongs to (pool, k) for the k-th
instance launched there, so it depends neither on the policy nor on the order in which it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sim.distributions import sample_ms, to_ms
from sim.inputs import UNLIMITED, Dist, Float64, Int64, Interruptions, MarketInputs, Outage, Pool, PricePath, Recorded
from sim.steps import Alternating, Held, Step, recorded, recorded_period_ms
from sim.streams import Streams

_FATES_PER_BLOCK = 256
_MOST_PRICES = 1_000_000  # of a recording that is much shorter than the world; the last price then holds
_ALWAYS = Held([0], [UNLIMITED])
_NEVER_OUT = Held([0], [0])


@dataclass(frozen=True, slots=True)
class Fate:
    """What is decided about the k-th instance of a pool before it is launched. Times in ms."""

    launch_ms: int  # from the request to running
    boot_ms: int  # from running to ready
    lifetime_ms: int | None  # from running to interrupted; None: not by a lifetime of its own
    notice_ms: int | None  # how long before the loss the notice comes; None: none comes
    rebalance_ms: int | None  # the same for the rebalance recommendation
    order_u: float  # in [0, 1): when only some must go, the smallest goes first
    lost_at_ms: int | None = None  # the moment of the loss, in a world that is played again
    silent: bool = False  # nobody hears of the loss


class PoolWeather:
    """The weather of one pool. Ask it for any time and any instance, in any order."""

    def __init__(self, pool: Pool, market: MarketInputs, streams: Streams, *, capacity: Step, price: PricePath) -> None:
        self.price = price
        self._capacity = capacity
        here = [outage for outage in market.outages if outage.az == pool.az]
        self._outage = _any_of(here)
        self._no_launch = _any_of(outage for outage in here if outage.launches_fail)
        self._burst_ms = market.interruptions.burst_ms
        self._room = Held(*market.room[pool.id]) if pool.id in market.room else _ALWAYS
        self._recorded = [_recorded_fate(each) for each in market.recorded.get(pool.id, ())]
        self._spans: dict[int, int] = {}
        self._fates: list[Fate] = []
        self._burst_u: list[float] = []
        self._draw = _fate_maker(pool, market, streams)

    def capacity_at(self, at_ms: int) -> int:
        """How many instances may run here: UNLIMITED when EC2 always has room, 0 when it has none."""
        return 0 if self._outage.at(at_ms) else self._capacity.at(at_ms)

    def next_change(self, after_ms: int) -> tuple[int, int] | None:
        """The next time strictly after `after_ms` at which the capacity changes, and the new one; None: never again."""
        before = self.capacity_at(after_ms)
        while True:
            after = _earliest(self._capacity.next_after(after_ms), self._outage.next_after(after_ms))
            if after is None:
                return None
            now = self.capacity_at(after)
            if now != before:
                return after, now
            after_ms = after

    def launch_capacity_at(self, at_ms: int) -> int:
        """As `capacity_at`, for new instances: an outage during which launches work does not count."""
        return 0 if self._no_launch.at(at_ms) else min(self._capacity.at(at_ms), self._room.at(at_ms))

    def launches_succeed_at(self, at_ms: int) -> bool:
        """Whether EC2 has room for a new instance. Compare with `launch_capacity_at` to know for how many."""
        return self.launch_capacity_at(at_ms) > 0

    def outage_at(self, at_ms: int) -> bool:
        """Whether the zone is out. What is lost at that moment is lost at once and without a notice."""
        return self._outage.at(at_ms) == 1

    def fate(self, k: int) -> Fate:
        """What the k-th instance launched in this pool (k = 0, 1, ...) will meet."""
        if k < len(self._recorded):
            return self._recorded[k]
        while k >= len(self._fates):
            self._extend()
        return self._fates[k]

    def burst_offset_ms(self, change_ms: int, k: int) -> int:
        """How long after the capacity fell at `change_ms` instance k goes: in [0, burst), and within the shortage.

        An instance is lost once, so one uniform for each instance makes the delays of a wave independent.
        """
        while k >= len(self._burst_u):
            self._extend()
        span_ms = self._spans.get(change_ms)
        if span_ms is None:
            span_ms = self._spans[change_ms] = self._burst_span_ms(change_ms)
        return int(self._burst_u[k] * span_ms)

    def _burst_span_ms(self, change_ms: int) -> int:
        if self.outage_at(change_ms):
            return 0
        change = self.next_change(change_ms)
        return self._burst_ms if change is None else min(self._burst_ms, change[0] - change_ms)

    def _extend(self) -> None:
        fates, burst_u = self._draw(len(self._fates))
        self._fates.extend(fates)
        self._burst_u.extend(burst_u)


def _recorded_fate(met: Recorded) -> Fate:
    known = (met.launch_ms, met.boot_ms, None, met.notice_ms, met.rebalance_ms, 0.0)
    return Fate(*known, lost_at_ms=met.lost_ms, silent=met.silent)


def make_weather(
    pools: Sequence[Pool], market: MarketInputs, streams: Streams, horizon_ms: int
) -> dict[str, PoolWeather]:
    """The weather of each pool, by id. `horizon_ms` is about how long the world lasts; it may last longer.

    Capacity is known without end. A recorded price is played in a loop for twice the horizon and one more recording;
    then its last price holds.
    """
    offset_ms = _offset_ms(pools, market.interruptions, streams)
    weather = {}
    for pool in pools:
        price = _played(pool.price, offset_ms, 2 * horizon_ms)
        capacity = _capacity(pool, price, market.interruptions, streams, offset_ms)
        weather[pool.id] = PoolWeather(pool, market, streams, capacity=capacity, price=price)
    return weather


def _capacity(pool: Pool, price: PricePath, cause: Interruptions, streams: Streams, offset_ms: int) -> Step:
    """What interruptions leave of a pool. On-demand capacity is never taken away."""
    if pool.purchase != "spot":
        return _ALWAYS
    if cause.source == "weibull":
        if cause.up is None or cause.down is None:
            raise ValueError("interruptions from weibull spells need both `up` and `down`")
        return Alternating(cause.up, cause.down, streams, f"spells/{pool.id}")
    if cause.source == "trace" and pool.id in cause.capacity:
        at_ms, count = cause.capacity[pool.id]
        return recorded(at_ms, count, offset_ms, cause.scale)
    if cause.source == "price":
        limit = cause.max_price_usd_per_hour.get(pool.id, pool.on_demand_usd_per_hour)  # EC2's default maximum
        return Held(price.at_ms, np.where(price.usd_per_hour > limit, 0, UNLIMITED))
    return _ALWAYS


def _offset_ms(pools: Sequence[Pool], cause: Interruptions, streams: Streams) -> int:
    """Where in its recordings this world begins: the same moment in all pools, and in prices as in capacity."""
    if cause.start == "every":
        return cause.start_ms + streams.world * cause.every_ms
    if cause.start == "random":
        traces = [recorded_period_ms(*trace) for trace in cause.capacity.values()]
        prices = [recorded_period_ms(pool.price.at_ms, pool.price.usd_per_hour) for pool in pools]
        longest = max((period for period in (traces or prices) if period is not None), default=0)
        return int(streams.one("trace/start", 0) * longest)
    return cause.start_ms


def _played(path: PricePath, offset_ms: int, until_ms: int) -> PricePath:
    """The prices that a world meets which begins at `offset_ms` of a recording; one with an end is played in a loop."""
    if len(path.at_ms) == 1:
        return path
    period_ms = recorded_period_ms(path.at_ms, path.usd_per_hour)
    if period_ms is None:
        return _from_offset(path.at_ms, path.usd_per_hour, offset_ms)
    phase_ms = offset_ms % period_ms
    rounds = min(2 + (phase_ms + until_ms) // period_ms, 2 + _MOST_PRICES // len(path.at_ms))
    starts = np.arange(rounds, dtype=np.int64) * period_ms
    at_ms = (starts[:, None] + path.at_ms[:-1]).ravel()
    return _from_offset(at_ms, np.tile(path.usd_per_hour[:-1], rounds), phase_ms)


def _from_offset(at_ms: Int64, usd_per_hour: Float64, offset_ms: int) -> PricePath:
    first = int(np.searchsorted(at_ms, offset_ms, side="right")) - 1
    return PricePath(np.maximum(at_ms[first:] - offset_ms, 0), usd_per_hour[first:])


def _any_of(outages: Iterable[Outage]) -> Held:
    """1 while any of the outages lasts, 0 otherwise."""
    spans = [(outage.from_ms, outage.until_ms) for outage in outages if outage.from_ms < outage.until_ms]
    if not spans:
        return _NEVER_OUT
    at_ms = np.unique([0, *(time for span in spans for time in span)])
    starts, ends = np.sort([start for start, _ in spans]), np.sort([end for _, end in spans])
    open_now = np.searchsorted(starts, at_ms, side="right") - np.searchsorted(ends, at_ms, side="right")
    return Held(at_ms, open_now > 0)


def _earliest(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


Draw = Callable[[str], Float64]
Block = tuple[list[Fate], list[float]]


def _fate_maker(pool: Pool, market: MarketInputs, streams: Streams) -> Callable[[int], Block]:
    """A function of `start` that draws the fates of the instances start, start + 1, ..., and their burst uniforms."""
    spot = pool.purchase == "spot"
    notice = market.notice_probability if spot else 0.0
    rebalance = market.rebalance_probability if spot else 0.0
    lifetimes = _lifetimes(market.interruptions) if spot else _immortal

    def make(start: int) -> Block:
        def draw(purpose: str) -> Float64:
            return streams.per_entity(f"fate/{pool.id}/{purpose}", start, _FATES_PER_BLOCK)

        columns = (
            _durations(market.launch, "launch", draw),
            _durations(pool.boot, "boot", draw),
            lifetimes(draw),
            _leads("notice", notice, market.notice_lead_ms, draw),
            _leads("rebalance", rebalance, market.rebalance_lead_ms, draw),
            draw("order").tolist(),
        )
        return list(map(Fate, *columns)), draw("burst").tolist()

    return make


def _durations(dist: Dist, purpose: str, draw: Draw) -> list[int]:
    if dist.kind == "constant":
        return [int(to_ms(dist.params["value"]))] * _FATES_PER_BLOCK
    durations: list[int] = sample_ms(dist, draw(purpose)).tolist()
    return durations


def _leads(purpose: str, probability: float, lead_ms: int, draw: Draw) -> list[int | None]:
    if probability in (0.0, 1.0):
        return [lead_ms if probability else None] * _FATES_PER_BLOCK
    return [lead_ms if uniform < probability else None for uniform in draw(purpose).tolist()]


def _immortal(_draw: Draw) -> list[int | None]:
    return [None] * _FATES_PER_BLOCK


def _lifetimes(cause: Interruptions) -> Callable[[Draw], list[int | None]]:
    """How the lifetimes of a block are drawn under this source of interruptions."""
    if cause.source == "exponential":
        mean = Dist("exponential", {"mean": cause.mean_ms / 1000.0})
        return lambda draw: [*_durations(mean, "lifetime", draw)]
    if cause.source == "lifetimes":
        return _empirical(cause)
    return _immortal


def _empirical(cause: Interruptions) -> Callable[[Draw], list[int | None]]:
    """Inverse of a Kaplan-Meier curve. Who outlives its last event was censored: when it would go is not known."""
    if cause.lifetimes_ms is None or cause.survival is None:
        raise ValueError("interruptions from lifetimes need `lifetimes_ms` and `survival`")
    events: list[int | None] = [*cause.lifetimes_ms.tolist(), None]
    dead_by = 1.0 - cause.survival
    return lambda draw: [events[index] for index in np.searchsorted(dead_by, draw("lifetime"), side="right").tolist()]
