"""Predictions of runtimes from a log: what was known at the submission, and nothing later."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner
from verify_runs import as_deployed, with_times

from sim.inputs import Work
from sim.streams import Streams
from spotbed import api
from spotbed.build import blueprint
from spotbed.cli.app import app
from spotbed.errors import InputError
from spotbed.journal import Journal
from spotbed.scenario.load import load_scenario
from spotbed.scenario.models_work import Workload
from spotbed.work.build import build_work
from spotbed.work.prediction import History, boosted, evaluate, last_two, wrong_by
from spotbed.work.runs import read_past
from spotbed.work.swf import SwfLog, read_swf
from spotbed.worlds import run_world

# Each job: when it was submitted, how long it waited, ran and asked for, and whose it is.
JOBS = [
    (0, 0, 100, 500, 1),
    (10, 0, 50, 500, 1),
    (20, 0, 9, 500, 2),
    (60, 50, 30, 500, 1),  # one of the user's had ended, at 60
    (100, 0, 40, 500, 1),  # those of 50 and of 100: 75; the one of 30 waits until 110
    (150, 0, 10, 20, 1),  # those of 100 and 30, and at most 20
    (160, 0, 10, -1, 3),
]


def log_file(folder: Path, jobs: list[tuple[int, int, int, int, int]]) -> Path:
    lines = [
        f"{number} {submit} {wait} {runtime} 1 -1 -1 1 {request} -1 1 {user} -1 -1 -1 -1 -1 -1"
        for number, (submit, wait, runtime, request, user) in enumerate(jobs, 1)
    ]
    path = folder / "log.swf"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_last_two_are_those_that_had_ended(tmp_path: Path) -> None:
    log = read_swf(log_file(tmp_path, JOBS))
    assert last_two(log.past()).tolist() == [500, 500, 500, 500, 75, 20, -1]
    assert History.of(log.past()).ended.tolist() == [0, 0, 0, 1, 2, 4, 0]


def test_a_log_is_read_with_its_predictions(tmp_path: Path) -> None:
    """Also of a part of it: what came before is known."""
    part = read_swf(log_file(tmp_path, JOBS), first=4, count=2, runtime_estimate="last-two")
    assert part.estimate_s.tolist() == [75, 20]
    assert part.submit_s.tolist() == [0, 50]
    assert part.runtime_s.tolist() == [40, 10]
    assert part.first_submit_s == 100
    whole = read_swf(log_file(tmp_path, JOBS), first=4, count=2)
    assert (whole.first_submit_s, whole.submit_s.tolist()) == (part.first_submit_s, part.submit_s.tolist())


def test_the_errors_of_a_prediction() -> None:
    """Of 0.8: too short by 10 costs 8, too long by 30 costs 6; the third has none."""
    found = wrong_by("x", np.array([90.0, 130.0, -1.0]), np.array([100.0, 100.0, 5.0]), 0.8)
    assert (found.jobs, found.mean_absolute_error_s, found.too_short) == (2, 20, 0.5)
    assert found.pinball_loss_s == pytest.approx(7)


def learnable(count: int = 600) -> SwfLog:
    """Users whose jobs run a third, a half or all of what they ask for, give or take."""
    rng = np.random.default_rng(3)
    user = rng.integers(1, 4, count).astype(np.int32)
    asked = rng.integers(1_000, 20_000, count).astype(np.float64)
    ran = np.floor(asked / user * rng.uniform(0.8, 1.0, count))
    submit = np.arange(count) * 10_000.0
    empty = read_swf_of_one()
    return replace(
        empty, job=np.arange(count), submit_s=submit, runtime_s=ran, estimate_s=asked, user=user,
        slots=np.ones(count, dtype=np.int32), line=np.arange(count), wait_s=np.zeros(count),
    )  # fmt: skip


def read_swf_of_one() -> SwfLog:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_swf(log_file(Path(folder), JOBS[:1]))


def test_trees_do_better_than_the_request_on_jobs_that_they_have_not_seen() -> None:
    pytest.importorskip("sklearn")
    by_method = {each.method: each for each in evaluate(learnable().past(), 0.5, 0.5)}
    trees, request = by_method["gradient boosting"], by_method["request"]
    assert trees.jobs == request.jobs == 300
    assert trees.mean_absolute_error_s < request.mean_absolute_error_s
    assert request.too_short == 0
    assert 0.3 < trees.too_short < 0.7
    assert {each.method: each.too_short for each in evaluate(learnable().past(), 0.5, 0.9)}["gradient boosting"] < 0.25


def test_no_prediction_depends_on_what_comes_later() -> None:
    """Other runtimes of the last hundred jobs change no prediction of a job before them, and of the first of them."""
    pytest.importorskip("sklearn")
    log = learnable(400)
    changed = replace(log, runtime_s=np.where(np.arange(400) < 300, log.runtime_s, 1.0))
    for predict in (last_two, lambda each: boosted(each, 200, 0.5)):
        assert predict(log.past())[:301].tolist() == predict(changed.past())[:301].tolist()


def test_too_few_jobs_to_learn_from_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match=r"0 jobs had ended before those to be predicted: at least 100"):
        read_swf(log_file(tmp_path, JOBS), runtime_estimate="boosted")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"spotbed\[predict\]"):
        boosted(learnable(300).past(), 200, 0.5)


# of the journal of a run
CLASSES = ((10, 2), (60, 4), (240, 8))  # minutes that most of its jobs run, at most 4 % less; and vCPUs
RUN = """\
workload:
  source: synthetic
  jobs: 300
  arrivals: {{dist: poisson, rate: 12/h}}
  classes:
{classes}
capacity:
  pools: [{{id: od, instance_type: c6i.2xlarge, purchase: on-demand, max: 100}}]
policies: [on-demand-only]
"""
ONE_CLASS = (
    "    - {{runtime: {{dist: uniform, low: {low}s, high: {minutes}m}}, estimate: 10h, vcpus: {vcpus}, memory: 2 GiB}}"
)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated run whose jobs all ask for ten hours and run as long as their class says; and, beside its tables, the
    journal that a deployed one would have written, of a fleet that has been there since 1970 + 20,000 days."""
    folder = tmp_path_factory.mktemp("run")
    lines = [ONE_CLASS.format(low=minutes * 60 * 0.96, minutes=minutes, vcpus=vcpus) for minutes, vcpus in CLASSES]
    scenario = folder / "s.yaml"
    scenario.write_text(RUN.format(classes="\n".join(lines)))
    made = blueprint(load_scenario(scenario))
    run = run_world(made, made.composed["on-demand-only"], 0, journal=True)
    assert isinstance(run.journal, Journal)
    deployed = with_times(as_deployed(run.journal, run.inputs.work), lambda at_ms: at_ms + 20_000 * 86_400_000)
    found = api.run_scenario(scenario, out=folder / "out").path
    (found / "journal.jsonl").write_text("\n".join(map(json.dumps, deployed)))
    return found


def taken(folder: Path, file: str, **keys: Any) -> Work:
    """The jobs of a run as a scenario takes them."""
    model = TypeAdapter(Workload).validate_python({"source": "journal", "path": str(folder / file), **keys})
    return build_work(model, streams=Streams(1))[0]


@pytest.mark.parametrize("file", ["journal.parquet", "journal.jsonl"])
def test_a_journal_tells_later_jobs_by_their_class(file: str, run_folder: Path) -> None:
    """What is learnt from 200 jobs is 5 % wrong of the other hundred at most, of which requests are hours wrong."""
    pytest.importorskip("sklearn")
    asked = taken(run_folder, file, first=200)
    told = taken(run_folder, file, first=200, runtime_estimate="boosted")
    assert len(told) == len(asked) == 100
    assert told.runtime_ms.tolist() == asked.runtime_ms.tolist()
    assert told.submit_ms.tolist() == asked.submit_ms.tolist()
    assert told.submit_ms[0] == 0
    assert set(asked.estimate_ms.tolist()) == {36_000_000}
    assert np.abs(told.estimate_ms / told.runtime_ms - 1).max() < 0.05
    assert taken(run_folder, file, first=200, count=7, runtime_estimate="actual").estimate_ms.tolist() == (
        asked.runtime_ms[:7].tolist()
    )


def test_both_journals_of_a_run_are_the_same_past(run_folder: Path) -> None:
    simulated, deployed = read_past(run_folder / "jobs.csv"), read_past(run_folder / "journal.jsonl")
    assert simulated.submit_s.tolist() == pytest.approx(deployed.submit_s.tolist())
    assert simulated.ends_s.tolist() == pytest.approx(deployed.ends_s.tolist())
    assert simulated.runtime_s.tolist() == pytest.approx(deployed.runtime_s.tolist())
    assert last_two(simulated).tolist() == pytest.approx(last_two(deployed).tolist())
    assert len(set(last_two(simulated).tolist())) > 100


def test_the_last_two_of_a_run_are_those_of_the_tenant(tmp_path: Path) -> None:
    """The third comes when one of a had ended; the fourth knows both; the last is of b, of which none had."""
    rows = [
        "a,0,100,100,500,1,a",
        "b,10,50,90,500,1,a",
        "c,100,30,30,500,1,a",
        "d,200,1,1,500,1,a",
        "e,300,1,1,400,1,b",
    ]
    head = "job_id,submission_time,execution_time,turnaround_time,requested_time,success,tenant"
    (tmp_path / "jobs.csv").write_text("\n".join((head, *rows, "f,400,,,9,0,a")))
    work = taken(tmp_path, "jobs.csv", runtime_estimate="last-two")
    assert (work.estimate_ms / 1000).tolist() == [500, 500, 75, 40, 400]


def test_a_run_that_does_not_say_when_jobs_ended_predicts_nothing(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("job_id,submission_time,execution_time\na,5,60\n")
    assert len(taken(tmp_path, "jobs.csv")) == 1
    with pytest.raises(InputError, match=r"column 'turnaround_time' is missing"):
        taken(tmp_path, "jobs.csv", runtime_estimate="last-two")
    with pytest.raises(InputError, match=r"no job is left: 1 are usable and `first` is 1"):
        taken(tmp_path, "jobs.csv", first=1)


def test_how_wrong_predictions_of_a_run_are_is_told(run_folder: Path) -> None:
    pytest.importorskip("sklearn")
    found = CliRunner().invoke(app, ["data", "predict", str(run_folder / "journal.jsonl"), "--output", "json"])
    assert found.exit_code == 0, found.stderr
    errors = {each["method"]: each["mean_absolute_error_s"] for each in json.loads(found.stdout)["methods"]}
    assert errors["gradient boosting"] < 0.05 * errors["last two of the user"] < 0.05 * errors["request"]
