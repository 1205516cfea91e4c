"""`explain` on real runs: each reason to wait, each way to end, under every architecture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from spotbed.api import compare_scenario, run_scenario
from spotbed.errors import InputError
from spotbed.explain import Explanation, clock, explain

# Two Spot pools: the first is emptied after one hour, and the second has no room for the hour that follows.
SCENARIO = """\
schema: spotbed/scenario/v1
name: told
seed: 1
replications: 1
workload:
  source: jobs_list
  jobs_list:
    - {id: kept, submit: 0s, runtime: 90m, vcpus: 4, memory: 8 GiB, checkpointable: true, deadline: 6h}
    - {id: first, submit: 30s, runtime: 30m, vcpus: 4, memory: 8 GiB}
    - {id: after, submit: 40s, runtime: 30m, vcpus: 4, memory: 8 GiB, after: [first]}
    - {id: broken, submit: 50s, runtime: 10m, vcpus: 4, memory: 8 GiB, fail_probability: 1, exit_code: 3, retries: 1}
    - {id: doomed, submit: 60s, runtime: 5m, vcpus: 4, memory: 8 GiB, after: [broken]}
    - {id: second, submit: 20m, runtime: 5m, vcpus: 4, memory: 8 GiB}
capacity:
  region: us-east-1
  pools:
    - {id: near, instance_type: c6i.xlarge, az: us-east-1a, purchase: spot, max: 2, boot: {dist: constant, value: 60s}}
    - {id: far, instance_type: m5.xlarge, az: us-east-1b, purchase: spot, max: 2, boot: {dist: constant, value: 60s}}
    - {id: sure, instance_type: c6i.xlarge, az: us-east-1a, purchase: on-demand, max: 9,
       boot: {dist: constant, value: 60s}}
market:
  interruptions: {source: trace, path: {near: near.json, far: far.json}}
  notice: {probability: 1, lead: 2m}
  launch: {dist: constant, value: 0s}
checkpoint: {write: 30s, restore: 20s}
services: {preset: ideal, keep_alive: 60s}
policies:
  - {use: spot-only, label: cheap, retry: {use: full-jitter, with: {base: 10m}}}
  - {use: spot-fallback, label: fallback, with: {after_interruptions: 1, after_wait: 10m}}
  - {use: decoupled, label: central, architecture: central}
  - {use: legacy-2019, label: old, with: {poll: 60s}}
"""
NEAR = [9] * 6 + [0] * 100  # ten minutes a step
FAR = [9] * 2 + [0] * 10 + [9] * 90


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    for name, counts in (("near", NEAR), ("far", FAR)):
        trace = {"metadata": {"gap_seconds": 600}, "data": counts}
        (folder / f"{name}.json").write_text(json.dumps(trace), "utf-8")
    path = folder / "told.yaml"
    path.write_text(SCENARIO, "utf-8")
    return path


@pytest.fixture(scope="module")
def told(scenario: Path) -> Callable[[str, str], Explanation]:
    """Explains a job under the policy with a label; each policy runs once."""
    runs: dict[str, Path] = {}

    def tell(label: str, job: str) -> Explanation:
        if label not in runs:
            runs[label] = run_scenario(scenario, policy=label, out=scenario.parent / "runs-of" / label).path
        return explain(runs[label], job)

    return tell


Told = Callable[[str, str], Explanation]


def because(explanation: Explanation, attempt: int) -> list[str]:
    """The reasons for the wait before an attempt, which counts from 1."""
    reasons: list[str] = explanation.to_dict()["attempts"][attempt - 1]["because"]
    return reasons


# the text -----------------------------------------------------------------------------------------------------------
def test_the_story_of_a_job_that_was_interrupted_and_moved(told: Told) -> None:
    assert (
        told("fallback", "kept").text
        == """\
kept under fallback: ended well
1.5 h from submission to end, 2.3 min of it not its own work
2 attempts, 1 interruption, no work lost, $0.22 with its share of control
its deadline, 6:00:00, is met with 4.5 h to spare

0:00:00  submitted
         waits 60 s
         - no worker was free: w1 was requested after 0 s and was ready 60 s into the wait
0:01:00  attempt 1 starts on w1 in far (spot)
0:20:00  interruption notice
0:20:30  attempt 1 ends: interrupted, after it wrote a checkpoint; 19 min useful and 30 s overhead, $0.021
         moves from far (spot) to sure (on-demand)
         waits 30 s
         - after 0 s it was sent to on-demand
         - w6 had been requested 30 s before and was ready 30 s into the wait
0:21:00  attempt 2 starts on w6 in sure (on-demand)
1:32:20  attempt 2 ends: ended well; 71 min useful and 20 s overhead, $0.20"""
    )


def test_the_story_of_a_job_that_was_given_up(told: Told) -> None:
    assert (
        told("central", "broken").text
        == """\
broken under central: was given up
21.2 min from submission to end
2 attempts, 0 interruptions, no work lost, $0.023 with its share of control

0:00:50  submitted
         waits 70 s
         - the head node dispatched it after 70 s
         - no worker was free: w3 was requested after 10 s and was ready 70 s into the wait
0:02:00  attempt 1 starts on w3 in near (spot)
0:12:00  attempt 1 ends: the application failed (exit code 3); 10 min failed, $0.011
         waits 0.8 s
         - the retry was delayed by 0.8 s
         - the head node dispatched it after 0.8 s
         - w3 was idle
0:12:00  attempt 2 starts on w3 in near (spot)
0:22:00  attempt 2 ends: the application failed (exit code 3); 10 min failed, $0.011
0:22:00  was given up: the application failed"""
    )


def test_a_job_that_never_started_says_why(told: Told) -> None:
    lines = told("cheap", "doomed").text.splitlines()
    assert lines[-1].endswith("was given up: a job that it depends on did not end well")
    assert "0 attempts" in lines[2]


def test_the_scheduler_of_2019_is_told_from_what_its_journal_has(told: Told) -> None:
    """It hears of no interruption, and gives the job up when the command has been undeliverable for hours."""
    lines = told("old", "kept").text.splitlines()
    assert lines[3] == "$0.023 of that was not charged: EC2 took an instance within its first hour"
    assert lines[-2].endswith("attempt 1 ends: EC2 took the instance; 21 min lost, $0.023")
    assert lines[-1].endswith("was given up, 3.7 h after its last attempt had ended")


# reasons ------------------------------------------------------------------------------------------------------------
def test_a_wait_for_room_names_pools_and_reasons(told: Told) -> None:
    (launches, *_) = because(told("cheap", "kept"), 3)
    assert launches == "240 launches failed: 118 in far (capacity) and 122 in near (capacity)"


def test_a_wait_for_other_jobs_counts_no_launches_that_failed_meanwhile(told: Told) -> None:
    assert because(told("fallback", "after"), 1) == [
        "the jobs that it depends on had ended after 51.3 min",
        "w7 was busy: it ran first until 51.3 min into the wait",
    ]


def test_a_wait_in_the_queue_says_behind_whom(told: Told) -> None:
    reasons = because(told("cheap", "second"), 1)
    assert reasons[-2:] == ["w6 was busy: it ran kept until 2.2 h into the wait", "1 job that came before waited too"]


def test_a_retry_says_its_delay(told: Told) -> None:
    assert because(told("cheap", "broken"), 2)[0] == "the retry was delayed by 8 min"


def test_a_wait_that_made_a_job_dearer_says_when_it_was_sent_elsewhere(told: Told) -> None:
    assert because(told("fallback", "broken"), 2)[:2] == [
        "the retry was delayed by 0.8 s",
        "after 0.8 s it was sent to on-demand",
    ]


def test_a_start_that_takes_time_says_so(scenario: Path, tmp_path: Path) -> None:
    run = run_scenario(scenario, policy="cheap", out=tmp_path / "slow", overrides=["services.preset=aws-us-east-1"])
    assert because(explain(run.path, "kept"), 1)[-1].startswith("its start took ")


def test_a_gang_is_one_attempt_on_several_workers(scenario: Path, tmp_path: Path) -> None:
    text = SCENARIO.replace("name: told", "name: gang").replace("runtime: 90m,", "runtime: 90m, gang: 2,")
    path = scenario.with_name("gang.yaml")
    path.write_text(text, "utf-8")
    explanation = explain(run_scenario(path, policy="cheap", out=tmp_path / "gang").path, "kept")
    first, *_ = explanation.to_dict()["attempts"]
    assert sorted(first["worker"].split(", ")) == ["w1", "w2"]
    assert first["useful_s"] == 2 * 19 * 60.0
    assert first["because"] == ["no worker was free: w2 was requested after 0 s and was ready 60 s into the wait"]
    assert sum("interruption notice on w" in line for line in explanation.text.splitlines()) >= 2


# the document -------------------------------------------------------------------------------------------------------
def test_the_document_says_the_same_in_numbers(told: Told) -> None:
    document = told("cheap", "kept").to_dict()
    json.dumps(document, allow_nan=False)
    assert (document["schema_version"], document["job_id"]) == (1, "kept")
    first = document["attempts"][0]
    assert {name: first[name] for name in ("policy", "attempt", "worker", "pool", "start_s", "end_s", "waited_s")} == {
        "policy": "cheap", "attempt": 1, "worker": "w1", "pool": "far", "start_s": 60.0, "end_s": 1230.0,
        "waited_s": 60.0,
    }  # fmt: skip
    (run,) = document["runs"]
    job = run["job"]
    assert job["submitted_s"] == 0.0
    assert job["flow_s"] == pytest.approx(job["runtime_s"] + job["wait_s"])
    assert sum(attempt["useful_s"] for attempt in run["attempts"]) == pytest.approx(job["runtime_s"])
    assert run["timeline"][0] == {"at_s": 0.0, "what": "submitted"}


@pytest.mark.parametrize("label", ["cheap", "fallback", "central", "old"])
def test_waits_and_attempts_fill_the_time_of_every_job(told: Told, label: str) -> None:
    """From the submission to the end of the last attempt, with nothing left out and nothing told twice."""
    for name in ("kept", "first", "after", "broken", "second"):
        document = told(label, name).to_dict()
        attempts, submitted_s = document["attempts"], document["runs"][0]["job"]["submitted_s"]
        told_s = sum(attempt["waited_s"] + attempt["end_s"] - attempt["start_s"] for attempt in attempts)
        if attempts:
            assert told_s == pytest.approx(attempts[-1]["end_s"] - submitted_s, abs=1e-6)
            assert all(attempt["because"] for attempt in attempts)


def test_a_job_left_waiting_says_until_when(scenario: Path, tmp_path: Path) -> None:
    run = run_scenario(scenario, policy="cheap", out=tmp_path / "poor", overrides=["capacity.budget=0.03 USD"])
    lines = explain(run.path, "second").text.splitlines()
    assert lines[0] == "second under cheap: had not ended"
    assert any(line.strip().endswith("until the end of the run") for line in lines)
    assert lines[-1].strip() == "- the budget was spent: nothing was launched any more"


def test_a_comparison_tells_the_job_under_each_policy(scenario: Path, tmp_path: Path) -> None:
    compared = compare_scenario(scenario, out=tmp_path / "both", policies=["fallback"], baseline="cheap", jobs=1)
    explanation = explain(compared.path, "kept")
    assert [story.label for story in explanation.stories] == ["cheap", "fallback"]
    assert [attempt["policy"] for attempt in explanation.to_dict()["attempts"]] == ["cheap"] * 3 + ["fallback"] * 2
    assert explanation.text.count("kept under ") == 2


# mistakes and limits ------------------------------------------------------------------------------------------------
def test_an_unknown_job_is_an_error_with_the_nearest_name(told: Told) -> None:
    with pytest.raises(InputError) as raised:
        told("cheap", "secnd")
    (problem,) = raised.value.problems
    assert problem.message == "'secnd' is no job of this run."
    assert problem.hint == "Did you mean 'second'?"


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder of a run"):
        explain(tmp_path, "kept")


def test_a_run_without_a_journal_says_what_is_missing(scenario: Path, tmp_path: Path) -> None:
    run = run_scenario(scenario, policy="cheap", out=tmp_path / "quiet", journal=False)
    text = explain(run.path, "kept").text
    assert "3 attempts, 2 interruptions" in text
    assert text.endswith("this run kept no journal: its attempts are not known one by one")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00:00"), (59.9, "0:00:59"), (3_661.0, "1:01:01"), (360_000.0, "100:00:00")]
)
def test_times_are_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text
