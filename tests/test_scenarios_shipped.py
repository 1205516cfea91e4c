"""Every scenario that is shipped runs, keeps its gates, and shows what its first lines say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from spotbed import api
from spotbed.build import Blueprint, blueprint
from spotbed.results import results_table
from spotbed.scenario.load import load_scenario
from spotbed.worlds import WorldRun, run_world

LEGACY, OURS = "legacy-2019", "decoupled"
WORLDS = range(3)
# scenario: what makes it small enough for every run of the tests
SMALL = {
    "demo": ["replications=3"],
    "eda-regression": ["workload.jobs=150", "replications=2", "gates=[]"],
    "central-limits": ["workload.jobs=2000", "replications=2"],
    "scale-200k-cores": ["workload.jobs=4000", "replications=2"],
    "tenants-1x10-10x1": ["workload.jobs=200", "replications=2"],
    **{f"faults/f{number}": ["replications=4"] for number in range(1, 7)},
}
SMALL_ON_DATA = {
    "archive/kth-easy": ["workload.count=1000"],
    "real/kth-on-p3": ["workload.count=60", "replications=2", "gates=[]"],
    "real/prices-2021": ["workload.jobs=100", "replications=2"],
}


def made_of(root: Path, name: str, *overrides: str) -> Blueprint:
    return blueprint(load_scenario(root / "scenarios" / f"{name}.yaml", overrides))


def worlds_of(made: Blueprint, label: str) -> list[WorldRun]:
    return [run_world(made, made.composed[label], world) for world in WORLDS]


def metrics_of(made: Blueprint, label: str) -> list[dict[str, float]]:
    return [run.result.metrics for run in worlds_of(made, label)]


def compared(root: Path, folder: Path, name: str, overrides: list[str]) -> api.Comparison:
    """The comparison of a scenario; it runs, keeps its gates and loses no job but where the original does."""
    done = api.compare_scenario(root / "scenarios" / f"{name}.yaml", out=folder / "out", jobs=1, overrides=overrides)
    assert [gate for gate in done.results["gates"] if not gate["passed"]] == []
    for policy in done.results["policies"]:
        harm = [policy["metrics"][name]["mean"] for name in ("jobs_lost", "duplicate_completions", "orphan_workers")]
        assert policy["architecture"] == LEGACY or harm == [0, 0, 0]
        assert policy["metrics"]["jobs_submitted"]["mean"] > 0
    assert (folder / "out" / "index.html").stat().st_size > 0
    return done


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_and_keeps_its_gates(root: Path, tmp_path: Path, name: str) -> None:
    compared(root, tmp_path, name, SMALL[name])


@pytest.mark.parametrize("name", SMALL_ON_DATA)
def test_it_runs_on_public_data(root: Path, spotbed_data: Path, tmp_path: Path, name: str) -> None:
    assert spotbed_data.is_dir()
    compared(root, tmp_path, name, SMALL_ON_DATA[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_runs_in_full(root: Path, tmp_path: Path, name: str) -> None:
    compared(root, tmp_path, name, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_ON_DATA)
def test_it_runs_in_full_on_public_data(root: Path, spotbed_data: Path, tmp_path: Path, name: str) -> None:
    assert spotbed_data.is_dir()
    compared(root, tmp_path, name, [])


def test_all_that_is_shipped_is_run(root: Path) -> None:
    """Those of the catalogue of policies in test_policies_document.py."""
    found = {str(path.relative_to(root / "scenarios"))[:-5] for path in (root / "scenarios").rglob("*.yaml")}
    shipped = {name for name in found if not name.startswith("catalogue/")}
    assert shipped == {*SMALL, *SMALL_ON_DATA}


# the faults ---------------------------------------------------------------------------------------------------------
def both(root: Path, number: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The metrics of some worlds of a fault's scenario; ours does all jobs, once, and leaves nothing behind."""
    made = made_of(root, f"faults/f{number}")
    ours = metrics_of(made, OURS)
    for world in ours:
        assert world["jobs_done"] == world["jobs_submitted"]
        assert world["duplicate_completions"] == world["orphan_workers"] == world["jobs_lost"] == 0
    return metrics_of(made, LEGACY), ours


def test_f1_an_interruption_is_noticed_four_hours_late_and_fails_jobs(root: Path) -> None:
    for old, ours in zip(*both(root, 1), strict=True):
        assert old["interruptions"] > 0 < ours["interruptions"]
        assert old["jobs_failed"] > 0
        assert old["makespan_s"] > 14_400 > ours["makespan_s"] - 4 * 3600  # four hours of arrivals, and the last job
        assert old["wait_s"] > 5 * ours["wait_s"]


def test_f2_a_worker_that_lives_too_long_is_left_behind_and_fills_the_pool(root: Path) -> None:
    for old, ours in zip(*both(root, 2), strict=True):
        assert old["orphan_workers"] == old["jobs_lost"] == 4
        assert old["jobs_unfinished"] > 100 > ours["jobs_unfinished"] == 0
        assert old["idle_s"] > 20 * ours["idle_s"]


def test_f3_a_dead_worker_burns_the_retries_of_the_queue(root: Path) -> None:
    for old, ours in zip(*both(root, 3), strict=True):
        assert old["interruptions"] > 0 < ours["interruptions"]
        assert old["jobs_failed"] > 0.3 * old["jobs_submitted"]


def test_f4_every_job_longer_than_an_hour_fails(root: Path) -> None:
    made = made_of(root, "faults/f4")
    for run in worlds_of(made, LEGACY):
        long = int((run.inputs.work.runtime_ms > 3_600_000).sum())
        assert run.result.metrics["jobs_failed"] == long > 10
    assert all(world["jobs_failed"] == 0 for world in both(root, 4)[1])


def test_f5_a_failed_check_makes_jobs_end_twice(root: Path) -> None:
    for old, ours in zip(*both(root, 5), strict=True):
        assert old["duplicate_completions"] > 20
        assert old["lost_work_s"] > 0 == ours["lost_work_s"]


def test_f6_booting_workers_are_killed_and_the_makespan_nearly_doubles(root: Path) -> None:
    made = made_of(root, "faults/f6")
    for old, ours in zip(worlds_of(made, LEGACY), worlds_of(made, OURS), strict=True):
        assert 30 <= old.tally.operations["boot_failed"] <= 55
        assert 1.85 <= old.result.metrics["makespan_s"] / 3180 <= 2.0
        assert ours.tally.pools[0].instances == ours.result.metrics["attempts"] == 100
        assert ours.result.metrics["makespan_s"] < 1.1 * 3180


OFTEN = ["workload.jobs=4000", "replications=1", "policies.legacy-2019.with.poll=1s"]  # few workers ask for as much


# the others ---------------------------------------------------------------------------------------------------------
def test_the_quotas_that_hold_back_200k_cores_are_told(root: Path, tmp_path: Path) -> None:
    """Launches run into RunInstances under every policy, polls into the transitions of Step Functions."""
    done = compared(root, tmp_path, "scale-200k-cores", OFTEN)
    refused = r"held back by ec2\.run_instances \(1,000 at once, then 2/s\): [\d,]+ instances were refused"
    told = "\n".join(done.notes)
    assert set(re.findall(rf"^(\S+): {refused}", told, re.MULTILINE)) == {"diversified", LEGACY, "central"}
    assert "workers that poll ask for" in told
    assert "stepfunctions.transition.refill is 1,500/s" in told
    for policy in done.results["policies"]:
        assert policy["metrics"]["launch_failures"]["mean"] > 1000


def test_without_quotas_nothing_is_told(root: Path, tmp_path: Path) -> None:
    overrides = ["services={preset: ideal}", "workload.jobs=200", "policies.0.label=d"]
    done = compared(root, tmp_path, "scale-200k-cores", [*overrides, "baseline=d", "replications=1"])
    assert not [note for note in done.notes if "held back" in note or "poll" in note]


def test_ten_tenants_wait_as_long_as_one_with_ten_times_the_work(root: Path) -> None:
    """The override that the scenario's first lines name."""
    head = (root / "scenarios" / "tenants-1x10-10x1.yaml").read_text("utf-8").split("schema:")[0]
    command = shlex.split(re.sub(r"\n#\s*", " ", head[head.index("spotbed compare") : head.index("# Look for")]))
    one = command[command.index("--set") + 1]
    for label in ("decoupled", "central"):
        tenfold, single = (
            [run_world(made, made.composed[label], world) for world in WORLDS]
            for made in (made_of(root, "tenants-1x10-10x1"), made_of(root, "tenants-1x10-10x1", one))
        )
        waits = [sum(run.result.metrics["wait_s"] for run in runs) / len(runs) for runs in (tenfold, single)]
        assert waits[0] == pytest.approx(waits[1], rel=0.1)
        assert len(tenfold[0].inputs.work.classes) == 10 > len(single[0].inputs.work.classes)


def test_backfilling_is_compared_by_slowdown_since_a_cluster_has_no_bill(
    root: Path, spotbed_data: Path, tmp_path: Path
) -> None:
    assert spotbed_data.is_dir()
    done = compared(root, tmp_path, "archive/kth-easy", ["workload.count=1000"])
    results = done.results
    page = re.sub(r"<script.*?</script>", "", (done.path / "index.html").read_text("utf-8"), flags=re.DOTALL)
    assert "has the lowest mean bounded slowdown" in page
    assert not re.search(r"\$\d|Cost against|Where every dollar|The fleet|price-capacity-optimized", page)
    assert [policy["label"] for policy in results["policies"]] == ["easy", "easy-sjbf", "fcfs"]
    table = results_table(results)
    assert table.columns[:3] == ("policy", "bounded slowdown", "against baseline")
    slowdown = {policy["label"]: policy["metrics"]["bounded_slowdown"]["mean"] for policy in results["policies"]}
    assert slowdown["easy-sjbf"] < slowdown["easy"] < slowdown["fcfs"]
    assert [float(row[1].replace(",", "")) for row in table.rows] == pytest.approx(list(slowdown.values()), abs=0.005)


@pytest.mark.slow
def test_easy_on_the_whole_log_of_kth_has_the_published_slowdown(root: Path, spotbed_data: Path) -> None:
    assert spotbed_data.is_dir()
    made = made_of(root, "archive/kth-easy")
    found: dict[str, Any] = {label: run_world(made, made.composed[label], 0).result.metrics for label in made.composed}
    assert found["easy"]["bounded_slowdown"] == pytest.approx(92.58, rel=0.025)
    assert found["easy-sjbf"]["bounded_slowdown"] == pytest.approx(69.41, rel=0.025)
    assert found["easy"]["jobs_done"] == 28_481
