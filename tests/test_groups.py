"""Arrays that stop with their first success: what is cancelled, what it cost until the hit, and who waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from worlds import MINUTE, flat, policy_of, pool, work_of

from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.groups import usd_to_first_hit
from sim.inputs import JobClass, MarketInputs, ServiceInputs, WorldInputs
from spotbed.api import load, run_scenario
from spotbed.errors import InputError
from spotbed.metering import CANCELLED, DONE, GAVE_UP, Tally

SEARCH = JobClass("search", stop_on_first_success=True)
DEAR = pool(most=3, boot_s=0, price=flat(1.0))


def run(minutes: list[int], groups: tuple[tuple[int, int], ...], **changes: object) -> tuple[Tally, DecoupledWorld]:
    """Jobs that are all submitted at once, on three instances at 1 USD/h."""
    work = work_of((SEARCH,), [0] * len(minutes), [each * MINUTE for each in minutes])
    work = replace(work, groups=groups, **changes)  # type: ignore[arg-type]
    inputs = WorldInputs(1, 0, work, (DEAR,), MarketInputs(), ServiceInputs())
    world = DecoupledWorld(inputs, policy_of(Settings(keep_alive_ms=0)))
    return world.run(), world


def test_the_first_success_cancels_what_runs_and_what_waits_and_nothing_else() -> None:
    """Three run at once: of 60, 20 and 90 minutes; two wait, and so does one job that is in no group."""
    tally, _ = run([60, 20, 90, 5, 5, 30], ((0, 5),))
    assert list(tally.jobs.status) == [CANCELLED, DONE, CANCELLED, CANCELLED, CANCELLED, DONE]
    assert list(tally.jobs.end_ms)[:5] == [20 * MINUTE] * 5
    assert tally.jobs.end_ms[5] == 50 * MINUTE  # it starts as soon as one of the workers is free
    assert list(tally.jobs.attempts) == [1, 1, 1, 0, 0, 1]
    assert tally.attempts == 4
    assert list(tally.jobs.useful_ms) == [0, 20 * MINUTE, 0, 0, 0, 30 * MINUTE]
    assert list(tally.jobs.lost_ms) == [20 * MINUTE, 0, 20 * MINUTE, 0, 0, 0]


def test_without_the_key_each_job_runs_to_its_end() -> None:
    tally, _ = run([60, 20, 90, 5, 5, 30], ())
    assert set(tally.jobs.status) == {DONE}


def test_what_the_first_hit_cost_is_what_all_attempts_of_the_group_cost() -> None:
    """Three instances for twenty minutes at 1 USD/h; the second group of two runs then, and hits after 10 minutes."""
    tally, world = run([60, 20, 90, 5, 40, 10], ((0, 4), (4, 2)))
    found = usd_to_first_hit(list(tally.jobs.status), list(tally.jobs.usd), world.work.groups)
    assert found == {1: pytest.approx(3 * 20 / 60), 5: pytest.approx(2 * 10 / 60)}
    assert tally.jobs.end_ms[5] == 30 * MINUTE


def test_a_group_without_a_success_is_tried_to_the_end() -> None:
    tally, _ = run([10, 10], ((0, 2),), classes=(replace(SEARCH, fail_probability=1.0, retries=0),))
    assert list(tally.jobs.status) == [GAVE_UP] * 2
    assert usd_to_first_hit(list(tally.jobs.status), list(tally.jobs.usd), ((0, 2),)) == {}


def test_those_who_wait_for_the_array_wait_for_the_hit() -> None:
    tally, _ = run([60, 20, 5], ((0, 2),), after={2: (0, 1)})
    assert list(tally.jobs.status) == [CANCELLED, DONE, DONE]
    assert tally.jobs.first_start_ms[2] == 20 * MINUTE


SCENARIO = """
name: search
workload:
  source: synthetic
  jobs: 40
  classes:
    - {name: search, array: 20, runtime: {dist: uniform, low: 10m, high: 5h}, stop_on_first_success: true}
capacity:
  pools: [{instance_type: c6i.xlarge, purchase: on-demand, max: 50}]
policies: [on-demand-only]
"""


def test_a_scenario_says_it_of_a_class_and_the_jobs_table_tells_the_cost(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SCENARIO)
    folder = run_scenario(path, out=tmp_path / "out")
    (told,) = folder.results["policies"]
    assert (told["metrics"]["jobs_done"]["mean"], told["metrics"]["jobs_failed"]["mean"]) == (2, 0)
    jobs = load(folder.path)["jobs"]
    assert list(jobs.status.value_counts().items()) == [("cancelled", 38), ("done", 2)]
    hits = jobs[jobs.status == "done"]
    assert hits.cost_to_first_hit_usd.notna().all()
    assert hits.cost_to_first_hit_usd.sum() == pytest.approx(jobs.cost_usd.sum())
    assert jobs.cost_to_first_hit_usd.notna().sum() == 2
    path.write_text(SCENARIO.replace("array: 20, ", ""))
    with pytest.raises(InputError, match="needs an array of jobs without gangs"):
        run_scenario(path, out=tmp_path / "other")
