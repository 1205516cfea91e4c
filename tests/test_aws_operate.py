"""What a user orders of a running stack: cancel, drain, resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_world import World
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import fleet, functions, jobs, workers
from aws.store import packed
from scheduler.commands import Launch
from scheduler.events import Ready

SHAPE = "2x0GiB|spot|*"


@pytest.fixture
def made() -> Iterator[World]:
    """An empty world on moto's tables."""
    with mock_aws():
        yield World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)


def operate(made: World, **order: Any) -> Any:
    return functions.operate(order, None, made.control)


def submitted(made: World, *names: str) -> None:
    for name in names:
        body = json.dumps({"id": name, "commands": ["true"], "vcpus": 2})
        functions.intake({"Records": [{"messageId": name, "body": body}]}, None, made.control)


def launched(made: World, count: int = 1) -> list[str]:
    before = set(made.control.target.live())
    fleet.launch(
        made.control,
        f"main/{made.clock.now_ms}/{len(list(made.control.store.unfinished()))}",
        Launch("spot-a", count, SHAPE),
    )
    names = sorted(set(made.control.target.live()) - before)
    known(made, *names)
    return names


def known(made: World, *names: str) -> None:
    """Auto Scaling says that instances were launched."""
    while any(made.control.store.worker(name) is None for name in names):
        made.clock.next()


def ready(made: World, worker: str) -> None:
    workers.deliver(made.control, worker, f"{worker}/ready", packed(Ready(made.clock.now_ms)))


def phase(made: World, worker: str) -> str:
    row = made.control.store.worker(worker)
    assert row is not None
    return row.record.phase


def job_phase(made: World, job: str) -> str:
    row = made.control.store.job(job)
    assert row is not None
    return row.record.phase


def runs(made: World, monkeypatch: pytest.MonkeyPatch, job: str) -> tuple[str, list[Any]]:
    """(the worker that runs the job, what it is told to checkpoint): the target is not asked to run anything."""
    left: list[Any] = []
    monkeypatch.setattr(World, "start", lambda *_: True)
    monkeypatch.setattr(World, "checkpoint", lambda _, row, order: left.append((row.name, order.job, order.epoch)))
    (worker,) = launched(made)
    ready(made, worker)
    row = made.control.store.worker(worker)
    assert row is not None
    assert (row.record.phase, row.record.job) == ("running", job)
    return worker, left


def test_a_job_that_nobody_knows_is_not_cancelled(made: World) -> None:
    assert operate(made, do="cancel", job="nobody") == {"phase": ""}


def test_a_waiting_job_is_cancelled_and_told_of_once(made: World) -> None:
    submitted(made, "a")
    for _ in range(2):
        assert operate(made, do="cancel", job="a") == {"phase": "cancelled"}
    assert made.told == [("a", "cancelled", "")]
    assert made.control.store.counters()[f"class#{SHAPE}"]["queued"] == 0


def test_a_running_job_is_cancelled_and_its_worker_takes_the_next(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(made, "a", "b")
    worker, left = runs(made, monkeypatch, "a")
    assert operate(made, do="cancel", job="a") == {"phase": "cancelled"}
    assert left == [(worker, "a", 1)]
    row = made.control.store.worker(worker)
    assert row is not None
    assert (row.record.phase, row.record.job) == ("running", "b")
    jobs.attempt_ended(made.control, "a", 1, "done", 0, -1)  # the wrapper was faster than its end
    assert job_phase(made, "a") == "cancelled"


def test_a_cancellation_that_broke_off_is_finished_by_the_next(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(made, "a")
    worker, _ = runs(made, monkeypatch, "a")
    with monkeypatch.context() as broken:
        broken.setattr(workers, "deliver", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            operate(made, do="cancel", job="a")
    assert (job_phase(made, "a"), phase(made, worker)) == ("cancelled", "running")
    operate(made, do="cancel", job="a")
    assert phase(made, worker) == "idle"


def test_a_worker_whose_job_was_cancelled_is_freed_by_the_fleet_if_nobody_else_does(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(made, "a", "b")
    worker, _ = runs(made, monkeypatch, "a")
    breaks_off(made, monkeypatch, lambda: operate(made, do="cancel", job="a"))
    functions.fleet({}, None, made.control)
    row = made.control.store.worker(worker)
    assert row is not None
    assert (row.record.phase, row.record.job) == ("running", "b")


def test_a_reaper_that_broke_off_between_job_and_worker_is_finished_by_the_next(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(made, "a")
    worker, _ = runs(made, monkeypatch, "a")
    made.clock.now_ms += made.policy.settings.lease_ms
    breaks_off(made, monkeypatch, lambda: functions.fleet({}, None, made.control))
    assert (job_phase(made, "a"), phase(made, worker)) == ("queued", "running")
    functions.fleet({}, None, made.control)
    row = made.control.store.worker(worker)
    assert row is not None
    assert (row.record.job, row.record.epoch) == ("a", 2)


def breaks_off(made: World, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    """No worker hears anything."""
    with monkeypatch.context() as broken:
        broken.setattr(workers, "deliver", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call()


def test_a_job_that_has_ended_stays_as_it_is(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(made, "a")
    _, left = runs(made, monkeypatch, "a")
    jobs.attempt_ended(made.control, "a", 1, "done", 0, -1)
    assert operate(made, do="cancel", job="a") == {"phase": "done"}
    assert left == []


def test_a_drained_stack_launches_nothing_and_lets_its_workers_go(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(made, "a", "b")
    busy, _ = runs(made, monkeypatch, "a")
    (booting,) = launched(made)
    assert operate(made, do="drain") == {"drains": True}
    assert (phase(made, busy), phase(made, booting)) == ("draining", "stopping")
    (late,) = launched(made)  # Auto Scaling had been asked before
    made.clock.now_ms += 60_000
    functions.fleet({}, None, made.control)
    assert phase(made, late) == "stopping"
    assert not [entry for entry in made.journal.entries if entry.kind == "Tick"]
    jobs_left = [job_phase(made, name) for name in "ab"]
    assert jobs_left == ["leased", "queued"]


def test_a_stack_that_resumes_launches_again_and_drains_again(made: World) -> None:
    submitted(made, "a")
    operate(made, do="drain")
    functions.fleet({}, None, made.control)
    assert not made.control.target.live()
    assert operate(made, do="resume") == {"drains": False}
    made.clock.now_ms += 60_000
    functions.fleet({}, None, made.control)
    (worker,) = made.control.target.live()
    known(made, worker)
    operate(made, do="drain")
    assert phase(made, worker) == "stopping"


def test_what_is_no_order_is_refused(made: World) -> None:
    with pytest.raises(ValueError, match="do: cancel, drain, resume or rebuild, not 'launch'"):
        operate(made, do="launch")
