"""Questions at the edges of what a policy may be asked: nothing to do, nothing known, no room, everything late.

A policy answers every one of them, or it ends a run on the day that one of them comes up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from scheduler.events import FAILED, STRING_MISSING, TIMEOUT
from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policy import FleetView, Policy, RankView, TenantUse
from scheduler.settings import Settings
from spotbed.policies.examples import HOUR, MINUTE, a_claim, a_class, a_job, a_pool, a_queue, a_sight, a_ticket, a_view

_FAR_MS = 400 * 24 * HOUR
_TIMES_MS = (0, 1, 9 * HOUR, _FAR_MS)
_DRAWS = (0.0, 0.5, 1 - 2**-53)
_SEVERAL = frozenset({"choose", "select", "rank"})
Question = tuple[str, tuple[Any, ...]]  # the method, and what it is given


def questions(point: str) -> Iterator[Question]:
    """All that is asked of a point."""
    return _QUESTIONS[point]()


def answers(policy: Policy, points: Mapping[str, object]) -> list[Any]:
    """What the policy says to each, point by point."""
    found = []
    for point in points:
        part = getattr(policy, point)
        for method, given in questions(point):
            if callable(getattr(part, method, None)):
                answer = getattr(part, method)(*given)
                found.append(tuple(answer) if method in _SEVERAL else answer)
    return found


def _jobs() -> Iterator[Job]:
    """With and without an estimate and a deadline, new and far gone, small and large."""
    for estimate_ms, deadline_ms, progress_ms in product((-1, 0, 5 * HOUR), (-1, 0, 8 * HOUR), (0, HOUR, 9 * HOUR)):
        ticket = a_ticket(submit_ms=3 * MINUTE, estimate_ms=estimate_ms, deadline_ms=deadline_ms)
        yield a_job(ticket=ticket, progress_ms=progress_ms)
    for spec in ({"priority": -9}, {"priority": 9, "tenant": "other"}, {"gpus": 4, "vcpus": 0.5}, {"gang": 5}):
        yield a_job(ticket=a_ticket(submit_ms=_FAR_MS, **spec), epoch=7, interruptions=50, purchase="on-demand")


def _order() -> Iterator[Question]:
    yield from (("key", (job,)) for job in _jobs())
    waiting = tuple(_jobs())
    flood = {"default": TenantUse(1000, 1e12, _FAR_MS), "other": TenantUse(1, 0.0, 0)}
    for now_ms, tenants, jobs in product(_TIMES_MS, ({}, flood), (waiting, waiting[:1], waiting[::-1])):
        yield "rank", (RankView(now_ms, tenants), jobs)
    yield "select", (a_queue([], free=0),)
    yield "select", (a_queue([], free=9, running=[(3, HOUR)]),)
    for free in (0, 1, 4, 100):
        yield "select", (a_queue([(4, HOUR), (1, -1), (2, 0), (8, MINUTE)], free=free, running=[(4, HOUR), (9, 0)]),)


def _pools() -> Iterator[tuple[PoolCount, ...]]:
    """Full ones, ones that fail, ones that cost nothing, too small ones, and all of them."""
    full = a_pool("full", max=2, busy=1, booting=1)
    closed = a_pool("closed", max=0)
    failing = a_pool("failing", last_launch="failed", last_launch_ms=0, available_now=False)
    lossy = a_pool("lossy", interruptions=400, worker_ms=1, last_interruption_ms=0, az="us-east-1b")
    free_of_charge = a_pool("free", price_usd_per_hour=0.0, on_demand_usd_per_hour=0.0, az="us-east-1c")
    small = a_pool("small", vcpus=1, memory_gib=0.5)
    on_demand = a_pool("od", "on-demand", last_launch="ok")
    alone = ((full,), (closed,), (failing,), (lossy,), (free_of_charge,), (small,), (on_demand,))
    yield from alone
    yield tuple(each for pools in alone for each in pools)


def _classes() -> Iterator[ClassCount]:
    yield a_class()
    yield a_class(queued=1, oldest_ms=0)
    yield a_class(purchase="any", queued=7, queued_work_ms=30 * HOUR, oldest_ms=0, busy=3, booting=2, idle=1)
    yield a_class(purchase="on-demand", queued=3, oldest_ms=0, seats=5)
    yield a_class(busy=4, idle=2)


def _views() -> Iterator[tuple[FleetView, ClassCount]]:
    for pools, need, now_ms in product(_pools(), _classes(), _TIMES_MS):
        jobs = [a_sight("late", key=need.key, deadline_ms=1), a_sight("due", "leased", key=need.key, purchase="spot")]
        yield a_view([need], pools, jobs, now_ms=now_ms, changeover_ms=MINUTE, reaction_ms=MINUTE), need


def _place() -> Iterator[Question]:
    yield from (("route", (job, now_ms)) for job, now_ms in product(_jobs(), _TIMES_MS))
    yield from (("choose", (view, need, count)) for (view, need), count in product(_views(), (1, 1000)))


def _scale() -> Iterator[Question]:
    yield from (("desired", each) for each in _views())


def _retry() -> Iterator[Question]:
    causes, failures, delayed = (FAILED, TIMEOUT, STRING_MISSING), (1, 2, 1000), (0, _FAR_MS)
    for cause, times, delayed_ms, u in product(causes, failures, delayed, _DRAWS):
        job = a_job("failed", failures=times, delayed_ms=delayed_ms, exit_code=137, alike=times, last_delay_ms=MINUTE)
        yield "delay_ms", (job, cause, u)


def _protect() -> Iterator[Question]:
    for write_ms, mtbf_ms, estimate_ms in product((0, 30_000, 9 * HOUR), (0, 1, _FAR_MS), (-1, 0, 5 * HOUR)):
        settings = Settings(checkpoint_write_ms=write_ms)
        yield "checkpoint_every_ms", (a_claim(mtbf_ms=mtbf_ms, estimate_ms=estimate_ms), settings)
        for can in (True, False):
            yield "on_rebalance", (can, settings)
            yield from (("on_notice", (can, lead_ms, settings)) for lead_ms in (0, 120_000))


def _move() -> Iterator[Question]:
    wheres = (("queued", ""), ("queued", "on-demand"), ("leased", "spot"), ("leased", "on-demand"))
    times = ((-1, -1), (0, 1), (4 * HOUR, 8 * HOUR), (4 * HOUR, -1), (-1, 8 * HOUR))
    for (phase, on), (estimate_ms, deadline_ms), pools, now_ms in product(wheres, times, _pools(), _TIMES_MS):
        for progress_ms in (0, 5 * HOUR):
            sight = a_sight(
                "job-1", phase, purchase=on if phase == "leased" else "", bound=on if phase == "queued" else "",
                estimate_ms=estimate_ms, deadline_ms=deadline_ms, progress_ms=progress_ms,
            )  # fmt: skip
            need = a_class(purchase="any", queued=1)
            yield "target", (sight, a_view([need], pools, [sight], now_ms=now_ms, changeover_ms=MINUTE))


_QUESTIONS: Mapping[str, Callable[[], Iterator[Question]]] = {
    "order": _order, "place": _place, "scale": _scale, "retry": _retry, "protect": _protect, "move": _move,
}  # fmt: skip
