"""No peeking, by trying: worlds that are the same until an hour, and in each of which something else happens after it.

What a policy is given and answers until then must not depend on which of them it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scheduler.central_record import QueueView
from scheduler.events import JobClaimed
from scheduler.policy import POINTS, FleetView, Policy, RankView
from scheduler.settings import Settings
from sim.inputs import (
    Dist,
    Interruptions,
    JobClass,
    MarketInputs,
    Pool,
    PricePath,
    ServiceInputs,
    Work,
    WorldInputs,
)
from spotbed.policies.examples import HOUR, MINUTE
from spotbed.worlds import simulate

SAME_UNTIL_MS = 2 * HOUR + 10 * MINUTE
_AFTER_MS = SAME_UNTIL_MS + 1
_CLASSES = (
    JobClass("plain", vcpus=2.0, fail_probability=0.2, retries=9),
    JobClass("late", vcpus=2.0, deadline_ms=9 * HOUR, checkpointable=True),
)
_RUNTIME_MS = [MINUTE * minutes for minutes in (20, 90, 45, 200, 30, 150, 70, 15, 240, 60)]
_SUBMIT_MS = [MINUTE * minutes for minutes in (0, 0, 10, 20, 40, 60, 70, 90, 110, 130)]
Steps = Sequence[tuple[int, float]]  # (from this millisecond, this value)
_CAPACITY: Mapping[str, Steps] = {
    "spot-a": [(0, 3), (50 * MINUTE, 1), (100 * MINUTE, 4)],
    "spot-b": [(0, 2), (80 * MINUTE, 0)],
}
_PRICE: Steps = [(0, 0.07), (60 * MINUTE, 0.10)]
SETTINGS = Settings(checkpoint_write_ms=30_000, checkpoint_restore_ms=30_000)
Saying = tuple[str, Any, Any]  # the method, what it was given, what it answered


def peeks(made: Callable[[], Policy]) -> str:
    """What of the future the policy acts on; empty if on nothing. `made` makes it anew for each world."""
    said, ends = _told(_world(_CAPACITY, _PRICE, _RUNTIME_MS), made())
    before = _until_then(said)
    for what, world in _futures(ends):
        other, _ = _told(world, made())
        if other[: len(before)] != before:
            return what
    return ""


def _futures(ends: Sequence[int]) -> Iterator[tuple[str, WorldInputs]]:
    losing = {**_CAPACITY, "spot-a": [*_CAPACITY["spot-a"], (_AFTER_MS, 0)]}
    yield "interruptions that come later", _world(losing, _PRICE, _RUNTIME_MS)
    growing = {**_CAPACITY, "spot-b": [*_CAPACITY["spot-b"], (_AFTER_MS, 9)]}
    yield "capacity that comes later", _world(growing, _PRICE, _RUNTIME_MS)
    yield "prices that come later", _world(_CAPACITY, [*_PRICE, (_AFTER_MS, 0.01)], _RUNTIME_MS)
    longer = [
        runtime + 37 * MINUTE if not 0 <= end <= SAME_UNTIL_MS else runtime
        for runtime, end in zip(_RUNTIME_MS, ends, strict=True)
    ]
    yield "the true runtimes of jobs that have not ended", _world(_CAPACITY, _PRICE, longer)


def _world(capacity: Mapping[str, Steps], price: Steps, runtime_ms: Sequence[int]) -> WorldInputs:
    count = len(_SUBMIT_MS)
    work = Work(
        _CLASSES, np.arange(count, dtype=np.int32) % 2, np.array(_SUBMIT_MS, dtype=np.int64),
        np.array(runtime_ms, dtype=np.int64), np.array(_RUNTIME_MS, dtype=np.int64), np.ones(count, dtype=np.int32),
        np.linspace(0.05, 0.95, count), np.full(count, 0.5),
    )  # fmt: skip
    traces = {
        name: (_times(steps), np.array([n for _, n in steps], dtype=np.int64)) for name, steps in capacity.items()
    }
    pools = (
        _pool("spot-a", "spot", 10, price),
        _pool("spot-b", "spot", 10, [(0, 0.068)]),
        _pool("od", "on-demand", 4, [(0, 0.17)]),
    )
    market = MarketInputs(Interruptions("trace", capacity=traces, burst_ms=0), notice_lead_ms=2 * MINUTE)
    return WorldInputs(3, 0, work, pools, market, ServiceInputs(), drain_ms=48 * HOUR)


def _times(steps: Steps) -> Any:
    return np.array([at_ms for at_ms, _ in steps], dtype=np.int64)


def _pool(name: str, purchase: str, most: int, price: Steps) -> Pool:
    path = PricePath(_times(price), np.array([usd for _, usd in price]))
    boot = Dist("constant", {"value": 60})
    return Pool(name, "c5.xlarge", "us-east-1a", purchase, most, 4, 16.0, 0, path, 0.17, boot)


# what a policy says -------------------------------------------------------------------------------------------------
class _Heard:
    """A part of a policy whose questions and answers are written down."""

    def __init__(self, part: Any, said: list[Saying]) -> None:
        self._part, self._said = part, said

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return found

        def asked(*given: Any) -> Any:
            seen = tuple(_kept(each) for each in given)
            answer = found(*given)
            if name == "select":
                answer = list(answer)
            self._said.append((name, seen, answer))
            return answer

        return asked


def _kept(given: Any) -> Any:
    """A view as it is now: the fleet changes its room while it decides, and a queue's running jobs are read once."""
    if isinstance(given, FleetView):
        return given.now_ms, given.observation, dict(given.room)
    if isinstance(given, RankView):
        return given._replace(tenants=dict(given.tenants))
    if isinstance(given, QueueView):
        return given.now_ms, given.free, tuple(given.in_order())
    return given


def _told(world: WorldInputs, policy: Policy) -> tuple[list[Saying], list[int]]:
    """All that the policy said in a run, and when each job ended (-1: it did not)."""
    said: list[Saying] = []
    parts = {point: _Heard(getattr(policy, point), said) for point in POINTS}
    tally = simulate(world, Policy(**parts, settings=policy.settings, architecture=policy.architecture))  # type: ignore[arg-type]
    return said, [int(end) for end in tally.jobs.end_ms]


def _until_then(said: Sequence[Saying]) -> list[Saying]:
    """What was said up to the last question whose time is known and lies before the futures part."""
    last = max((place for place, each in enumerate(said) if 0 <= _time(each) <= SAME_UNTIL_MS), default=-1)
    return list(said[: last + 1])


def _time(saying: Saying) -> int:
    """When a policy was asked, as far as what it was given tells; -1 else."""
    for each in saying[1]:
        if isinstance(each, JobClaimed):
            return each.at_ms
        if isinstance(each, tuple) and len(each) == 3:
            return int(each[0])
        if isinstance(each, RankView):
            return each.now_ms
    return int(saying[1][1]) if saying[0] == "route" else -1
