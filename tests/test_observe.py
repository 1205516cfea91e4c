"""What the fleet is shown of a running world: counters as old as the services data say, and what waits."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import HOUR, MINUTE, S, policy_of, pool, work_of

from scheduler.events import Tick
from scheduler.observation import Observation
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import JobClass, MarketInputs, ServiceInputs, Work, WorldInputs


class Recorder(DecoupledWorld):
    """Keeps what the fleet was shown, by time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shown: dict[int, Observation] = {}

    def _fleet(self, event: Any) -> None:
        if isinstance(event, Tick):
            self.shown[event.at_ms] = event.observation
        super()._fleet(event)


def shown(work: Work, stale_s: float = 0.0, drain_ms: int = HOUR) -> dict[int, Observation]:
    """No instance ever comes, so all that is submitted waits."""
    services = ServiceInputs(count_staleness_s=stale_s)
    inputs = WorldInputs(1, 0, work, (pool(most=0),), MarketInputs(), services, drain_ms=drain_ms)
    world = Recorder(inputs, policy_of(Settings(tick_ms=MINUTE)))
    world.run()
    return world.shown


@pytest.mark.parametrize("stale_s", [0, 1, 30, 59, 60, 90, 120, 150, 600])
def test_the_fleet_sees_the_counters_of_that_long_ago(stale_s: int) -> None:
    """A job every seven seconds for half an hour: how many wait tells which moment is shown."""
    submit_ms = list(range(0, 30 * MINUTE, 7 * S))
    seen = shown(work_of((JobClass("job"),), submit_ms, [MINUTE] * len(submit_ms)), stale_s, 20 * MINUTE)
    then = {at_ms: at_ms - stale_s * S for at_ms in seen if at_ms >= stale_s * S + MINUTE}
    assert len(then) > 20
    for at_ms, then_ms in then.items():
        (need,) = seen[at_ms].classes
        assert need.queued == sum(submitted <= then_ms for submitted in submit_ms), at_ms


def test_a_class_tells_the_seats_of_the_largest_gang_that_waits() -> None:
    classes = (JobClass("one"), JobClass("three", gang=3), JobClass("other", vcpus=2, gang=2))
    work = work_of(classes, [0, 70 * S, 130 * S], [MINUTE] * 3, klass=[0, 1, 2])
    seats = {at_ms: [need.seats for need in seen.classes] for at_ms, seen in shown(work).items()}
    assert [seats[minute * MINUTE] for minute in range(4)] == [[1], [1], [3], [3, 2]]
