"""What holds launches back: the kill switch, the spend cap, and pools whose workers never get ready."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aws_world import World
from moto import mock_aws
from test_aws_operate import known, launched, phase, ready, submitted
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import fleet, functions, workers
from aws.store import packed
from scheduler.events import Notice

POOL = "pool#spot-a"
WHY = "{} instances in a row did not register within the boot timeout"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty world on moto's tables, which gives a pool up after two."""
    with mock_aws():
        world_ = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
        only = {"spot-a": world_.control.pools["spot-a"]}
        world_.control = replace(world_.control, launch_stop_after=2, pools=only)
        monkeypatch.setattr(World, "start", lambda *_: True)
        yield world_


def tick(made: World) -> list[str]:
    """A tick of the fleet, a while later; the instances that it launched."""
    before = set(made.control.target.live())
    made.clock.now_ms += made.policy.settings.tick_ms
    functions.fleet({}, None, made.control)
    names = sorted(set(made.control.target.live()) - before)
    known(made, *names)
    return names


def times_out(made: World, worker: str) -> None:
    made.clock.now_ms += made.policy.settings.boot_timeout_ms
    workers.run(made.control, worker)
    assert phase(made, worker) in ("stopping", "gone")


def pool(made: World) -> dict[str, Any]:
    return made.control.store.counters()[POOL]


# the kill switch and the cap ------------------------------------------------------------------------------------------
def test_with_the_kill_switch_nothing_is_launched_and_what_runs_goes_on(made: World) -> None:
    submitted(made, "a")
    (worker,) = tick(made)
    made.control = replace(made.control, launches=False)
    submitted(made, "b")
    ready(made, worker)
    assert phase(made, worker) == "running"
    assert tick(made) == []
    made.control = replace(made.control, launches=True)
    assert len(tick(made)) == 1


def test_at_the_spend_cap_nothing_is_launched_and_it_is_told_once(made: World) -> None:
    (worker,) = launched(made)
    spent = 7.0 / made.control.target.price_usd_per_hour(made.control.pools["spot-a"]) * 3_600_000
    made.control.store.write(made.control.store.counted(POOL, worker_ms=round(spent)))
    made.control = replace(made.control, budget_usd=5.0)
    submitted(made, "a", "b")
    for _ in range(3):
        assert tick(made) == []
    assert made.told == [("", "budget", "5.00 USD are spent: no more launches")]
    assert phase(made, worker) == "booting"


def test_a_cap_that_was_raised_lets_launches_go_on_when_the_user_resumes(made: World) -> None:
    made.control.store.write(made.control.store.counted(POOL, worker_ms=1_000 * 3_600_000))
    submitted(made, "a")
    made.control = replace(made.control, budget_usd=5.0)
    assert tick(made) == []
    functions.operate({"do": "resume"}, None, made.control)
    assert tick(made) == []
    assert len(made.told) == 2
    made.control = replace(made.control, budget_usd=500.0)
    assert tick(made) == []
    functions.operate({"do": "resume"}, None, made.control)
    assert len(tick(made)) == 1


def test_below_the_cap_launches_go_on(made: World) -> None:
    made.control = replace(made.control, budget_usd=5.0)
    submitted(made, "a")
    assert len(tick(made)) == 1


# workers that never get ready -----------------------------------------------------------------------------------------
def test_a_pool_whose_workers_never_get_ready_is_given_up_and_says_why(made: World) -> None:
    submitted(made, "a")
    for _ in range(2):
        (worker,) = tick(made)
        times_out(made, worker)
    assert pool(made)["never_ready"] == 2
    assert [tick(made) for _ in range(3)] == [[], [], []]
    assert pool(made)["launch_stopped"] == WHY.format(2)


def test_other_pools_go_on(made: World) -> None:
    other = replace(made.control.pools["spot-a"], id="spot-b", group="group-spot-b", on_demand_usd_per_hour=9.0)
    made.control = replace(made.control, pools={**made.control.pools, "spot-b": other})
    submitted(made, "a")
    for _ in range(2):
        (worker,) = tick(made)
        times_out(made, worker)
    (worker,) = tick(made)
    assert made.control.target.live()[worker] == "spot-b"


def test_one_that_gets_ready_starts_the_count_anew(made: World) -> None:
    submitted(made, "a", "b")
    first, second = tick(made)
    times_out(made, first)
    assert pool(made)["never_ready"] == 1
    made.clock.now_ms -= made.policy.settings.boot_timeout_ms
    ready(made, second)
    assert pool(made)["never_ready"] == 0
    assert "launch_stopped" not in pool(made)


def test_a_worker_that_is_ready_after_all_ends_the_stop(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(made, "a", "b", "c")
    first, second, third = tick(made)
    times_out(made, first)
    workers.run(made.control, second)
    rows = {row.name: row for row in made.control.store.unfinished()}
    monkeypatch.setattr(fleet, "reap", lambda *_: (made.control.target.live(), rows))  # it would step the third too
    functions.fleet({}, None, made.control)
    assert pool(made)["launch_stopped"] == WHY.format(2)
    made.clock.now_ms -= made.policy.settings.boot_timeout_ms
    ready(made, third)
    assert (pool(made)["never_ready"], "launch_stopped" in pool(made)) == (0, False)


def test_an_instance_that_ec2_takes_while_it_boots_is_not_counted(made: World) -> None:
    (worker,) = launched(made)
    workers.deliver(made.control, worker, "notice", packed(Notice(made.clock.now_ms, 120_000)))
    assert phase(made, worker) == "stopping"
    assert "never_ready" not in pool(made)


def test_a_user_who_has_mended_the_image_resumes(made: World) -> None:
    submitted(made, "a")
    for _ in range(2):
        (worker,) = tick(made)
        times_out(made, worker)
    assert tick(made) == []
    functions.operate({"do": "resume"}, None, made.control)
    assert "launch_stopped" not in pool(made)
    assert len(tick(made)) == 1


def test_without_a_limit_launches_go_on(made: World) -> None:
    made.control = replace(made.control, launch_stop_after=0)
    submitted(made, "a")
    for _ in range(4):
        (worker,) = tick(made)
        times_out(made, worker)
    assert "launch_stopped" not in pool(made)
