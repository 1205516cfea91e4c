"""Above what a deployment is rolled back: from the plan's prediction to the alarms of the template."""

from __future__ import annotations

import pytest
from aws_stacks import TARGET, of_type
from plans import planned
from scipy.stats import poisson

from aws import prediction
from aws.change_set import rendered
from aws.prediction import estimate, limits
from aws.render import Limits, scheduler_stack

PARAMETERS = {"dead_letters": "DeadLetterLimit", "deadline_misses": "DeadlineMissLimit"}


def test_a_job_may_cost_what_it_did_in_nearly_all_worlds() -> None:
    found = planned().prediction
    high = found.per_job["cost_usd_per_1000_jobs"].high
    assert high is not None
    assert limits(found).cost_per_job_usd == pytest.approx(high / 1000)
    unknown = found.model_copy(update={"per_job": {"cost_usd_per_1000_jobs": estimate([])}})
    assert limits(unknown).cost_per_job_usd == Limits().cost_per_job_usd


def test_a_window_may_hold_what_chance_gives_and_no_fewer_than_one() -> None:
    found = planned().prediction
    assert limits(found).deadline_misses == 1, "none were missed"
    high, makespan_s = found.metrics["jobs_failed"].high, found.metrics["makespan_s"].low
    assert high is not None
    assert makespan_s is not None
    most = limits(found).dead_letters
    mean = high * 300 / makespan_s
    assert poisson.cdf(most - 1, mean) < 0.999 <= poisson.cdf(most, mean)
    short = found.model_copy(update={"metrics": {**found.metrics, "makespan_s": estimate([60.0, 60.0])}})
    assert limits(short).dead_letters == poisson.ppf(0.999, high), "a whole world is shorter than the window"


@pytest.mark.parametrize("limit", PARAMETERS)
def test_the_alarms_count_in_the_windows_that_the_limits_are_for(limit: str) -> None:
    alarms = of_type(scheduler_stack(TARGET), "AWS::CloudWatch::Alarm").values()
    (alarm,) = (each for each in alarms if each["Threshold"] == {"Ref": PARAMETERS[limit]})
    window_s = alarm.get("Period") or alarm["Metrics"][0]["MetricStat"]["Period"]
    assert window_s * alarm["EvaluationPeriods"] == prediction._COUNTED[limit][1]


def test_what_is_deployed_has_the_limits_of_its_plan() -> None:
    plan = planned()
    target = plan.account
    assert target is not None
    pools = [pool.model_dump() for pool in plan.pools]
    scheduler, cpu, gpu = rendered(target, pools, plan.policy, limits=limits(plan.prediction))
    parameters = scheduler.template["Parameters"]
    assert parameters["CostPerJobLimitUsd"]["Default"] == limits(plan.prediction).cost_per_job_usd
    assert parameters["DeadLetterLimit"]["Default"] == limits(plan.prediction).dead_letters
    assert cpu.template["Parameters"]["LeaseMs"]["Default"] == plan.policy["settings"]["lease_ms"]
    assert (scheduler.team, cpu.team, gpu.team, gpu.name) == ("", "cpu", "gpu_team", "eda-gpu-team")
