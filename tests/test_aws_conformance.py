"""The same core on AWS's side: the functions of `aws`, over boto3 and moto's tables, give the simulator's journals, and
use what the simulator meters."""

from __future__ import annotations

from collections.abc import Callable

import boto3
import pytest
import test_conformance as stand_in
from aws_meter import Metered, metered, used
from aws_world import TABLES, World
from hypothesis import HealthCheck, Phase, given, settings
from moto import mock_aws
from test_conformance import IDEAL, SLOW, SPOT, of_roles, simulated, small_worlds

from scheduler.events import Tick
from scheduler.policies.protect import OnNotice, Periodic
from scheduler.policy import Policy
from sim.inputs import ServiceInputs, WorldInputs
from spotbed.journal import Entry

# The scenarios of the stand-in's tests, each with what it asserts of the journal on which both sides agree.
SCENARIOS = [
    getattr(stand_in, name)
    for name in (
        "test_a_job_that_is_checkpointed_on_notice",
        "test_a_job_that_is_let_go_on_notice",
        "test_a_job_that_runs_on_until_its_instance_is_taken",
        "test_a_job_that_is_interrupted_without_a_notice",
        "test_a_job_that_goes_on_from_its_last_periodic_checkpoint",
        "test_a_loss_before_the_instance_is_ready",
        "test_two_jobs_on_two_workers_one_of_which_is_lost",
        "test_a_second_job_wakes_the_idle_worker",
        "test_the_best_of_the_first_jobs_is_claimed",
        "test_an_execution_that_rolls_over",
        "test_failures_delays_and_timeouts",
        "test_a_job_that_falls_back_to_on_demand",
    )
]
services = pytest.mark.parametrize(
    "services", [pytest.param(IDEAL, id="ideal", marks=pytest.mark.slow), pytest.param(SLOW, id="latencies")]
)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """These scenarios on AWS's side."""
    monkeypatch.setattr(stand_in, "agree", agree)


def decided(entries: list[Entry]) -> list[Entry]:
    """What was heard and ordered; of what the fleet saw, the orders tell.

    A job's timer that changes nothing is left out: the simulator lets each fire that was ever set, the table keeps one.
    """
    kept = []
    for entry, following in zip(entries, [*entries[1:], None], strict=True):
        idle = following is None or (following.what, following.subject) != ("command", entry.subject)
        if entry.role == "job" and entry.kind == "TimerFired" and idle:
            continue
        kept.append(entry._replace(body=entry.body.at_ms) if isinstance(entry.body, Tick) else entry)
    return kept


def agree(inputs: WorldInputs, policy: Policy = SPOT) -> list[Entry]:
    """Run both, compare content, time and order, and return what they agree on.

    Under latencies they use the same, too; without them a lease that is renewed in the millisecond of its claim costs
    no write of an index.
    """
    entries = decided(simulated(inputs, policy))
    with mock_aws():
        client = Metered(boto3.client("dynamodb", region_name="us-east-1"), TABLES)
        made = World(inputs, policy, client)
        performed = decided([stand_in.without_statistics(each) for each in of_roles(made.run())])
    for number, (one, other) in enumerate(zip(entries, performed, strict=False)):
        assert one == other, f"entry {number}"
    assert len(entries) == len(performed)
    if inputs.services.latency:
        use, expected = used(made, client), metered(inputs, policy)
        assert use == {item: pytest.approx(expected[item]) for item in use}
    return entries


@services
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__.removeprefix("test_"))
def test_both_sides_decide_and_use_the_same(scenario: Callable[[ServiceInputs], None], services: ServiceInputs) -> None:
    scenario(services)


@services
@pytest.mark.parametrize("protect", [OnNotice(), Periodic(every_ms=300_000)])
def test_a_silent_loss(services: ServiceInputs, protect: OnNotice) -> None:
    stand_in.test_a_job_whose_loss_nobody_reports_is_found_by_the_reaper(services, protect)


QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=QUIET,
)
@given(small_worlds())
def test_any_small_world(case: tuple[WorldInputs, Policy]) -> None:
    agree(*case)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, phases=(Phase.generate,), suppress_health_check=QUIET)
@given(small_worlds())
def test_two_hundred_small_worlds(case: tuple[WorldInputs, Policy]) -> None:
    agree(*case)
