"""What the deployed code uses is what the simulator meters: transitions, calls, messages and writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import boto3
import pytest
import test_conformance as stand_in
from aws_meter import Metered
from aws_world import TABLES, World
from hypothesis import Phase, given, settings
from legacy_worlds import legacy_policy
from legacy_worlds import world as legacy_world
from moto import mock_aws
from test_aws_conformance import QUIET, SCENARIOS
from test_aws_gangs import (
    LONG,
    a_member_that_is_let_go,
    a_member_that_is_noticed,
    each_but,
    executions_that_roll_over,
    gang_worlds,
)
from test_conformance import KEEPS, LOSS, ONE, PLAIN, SLOW, SPOT, small_worlds, world

from scheduler.policy import Policy
from sim.decoupled import DecoupledWorld
from sim.inputs import WorldInputs
from sim.legacy import LegacyWorld
from spotbed.journal import Entry
from spotbed.ledger import operation_usd
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset

OF_THE_STACK = 1  # write: the fleet's record, once
AWS = ServicesPreset.load()


def metered(inputs: WorldInputs, policy: Policy) -> dict[str, float]:
    """What the simulator meters, as items of the price book."""
    tally = DecoupledWorld(inputs, policy).run()
    usage: dict[str, float] = defaultdict(float)
    for name, times in tally.operations.items():
        for item, units in AWS.operations["decoupled"][name].items():
            usage[item] += units * times
    return usage


def counted(inputs: WorldInputs, policy: Policy) -> dict[str, float]:
    """What the functions use on the emulator."""
    with mock_aws():
        client = Metered(boto3.client("dynamodb", region_name="us-east-1"), TABLES)
        made = World(inputs, policy, client)
        made.run()
    executions, submitted, ended = made.executions, made.called["intake"], len(made.told)
    return {
        "stepfunctions.transition": executions.entered.total(),
        # a timer of a job would be one more call of Intake
        "lambda.request": executions.called.total() + made.called.total() + made.messages,
        # the model's items have a kilobyte; that of a gang outgrows it with its second attempt
        "dynamodb.write": sum(client.units.values()) - client.beyond - OF_THE_STACK,
        # each message of the door is sent, received and deleted
        "sqs.request": 3 * (submitted + made.messages) + ended,
        "ssm.command": made.commands,
        "eventbridge.event": ended,
    }


def agree(inputs: WorldInputs, policy: Policy = SPOT) -> list[Entry]:
    """Run both and compare; the journal, for what a scenario asserts of it."""
    found = counted(inputs, policy)
    expected = metered(inputs, policy)
    assert found == {item: pytest.approx(expected[item]) for item in found}
    return stand_in.simulated(inputs, policy)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__.removeprefix("test_"))
def test_each_scenario_uses_what_is_metered(scenario: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "agree", agree)
    scenario(SLOW)


@each_but({*LONG, a_member_that_is_let_go, a_member_that_is_noticed, executions_that_roll_over})
def test_gangs_use_what_is_metered(scenario: Callable[..., None]) -> None:
    scenario(SLOW, agree)


def test_a_loss_that_nobody_reports_uses_what_is_metered() -> None:
    agree(stand_in.with_a_silent_loss(world(KEEPS, ONE, LOSS, SLOW, notice=False)))


def test_jobs_one_after_the_other() -> None:
    agree(world(PLAIN, [(at * 1_000, 400_000) for at in range(12)], {"spot-a": [(0, 3)], "spot-b": [(0, 2)]}, SLOW))


@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
          suppress_health_check=QUIET)  # fmt: skip
@given(small_worlds())
def test_any_small_world_uses_what_is_metered(case: tuple[WorldInputs, Policy]) -> None:
    """Under latencies: a lease that is renewed in the millisecond of its claim would cost no write of an index."""
    inputs, policy = case
    agree(replace(inputs, services=SLOW), policy)


@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
          suppress_health_check=QUIET)  # fmt: skip
@given(gang_worlds())
def test_any_small_world_with_gangs_uses_what_is_metered(case: tuple[WorldInputs, Policy]) -> None:
    agree(*case)


def usd(operations: Mapping[str, int], architecture: str) -> float:
    book, table = PriceBook.load("us-east-1"), AWS.operations[architecture]
    return sum(times * operation_usd(table[name], book) for name, times in operations.items())


def test_the_control_plane_of_an_hour_of_work_costs_at_most_a_tenth_of_the_originals() -> None:
    """Everything that happens for one job of an hour: its worker's whole life and the fleet's ticks."""
    ours = DecoupledWorld(world(PLAIN, [(0, 3_600_000)], {}, SLOW), SPOT).run()
    original = LegacyWorld(legacy_world([3_590]), legacy_policy()).run()
    assert original.operations["poll"] > 600  # about each 5 s
    assert usd(ours.operations, "decoupled") <= 0.1 * usd(original.operations, "legacy")
