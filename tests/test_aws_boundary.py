"""Faults at the boundary: every call of a job's life, to any service, fails once, before its effect or after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import pytest
from aws_world import THROTTLED, World
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from test_aws_gangs import gangs
from test_conformance import IDEAL, KEEPS, SPOT, world

from sim.inputs import WorldInputs

ONE = world(KEEPS, [(0, 900_000)], {"spot-a": [(0, 9), (400_457, 0)]})  # interrupted once
GANG = gangs([(0, 900_000, 2)], {"spot-a": [(0, 9), (400_457, 1)]}, IDEAL)  # one of two members is interrupted once
EVERY = {"one": 67, "gang": 277}  # in `make test`; `make test-all` fails each call
worlds = pytest.mark.parametrize("inputs", [ONE, GANG], ids=["one", "gang"])


class Calls:
    """Counts the calls of a run, and lets one of them fail: throttled before it has an effect, or performed and its
    answer lost, by a throttle or a timeout."""

    def __init__(self, number: int, *, performed: bool) -> None:
        self._number, self._performed = number, performed
        self.made = 0

    def of(self, plug: Any) -> Any:
        """A client or a plug whose calls are counted here."""
        return Unreliable(plug, self)

    def through(self, name: str, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self.made += 1
        if self.made != self._number:
            return method(*given, **named)
        if self._performed:
            method(*given, **named)
        if self._performed and self._number % 2:
            raise ReadTimeoutError(endpoint_url=name)
        raise ClientError({"Error": {"Code": THROTTLED, "Message": "slow down"}}, name)


class Unreliable:
    """What is called, by way of the counter."""

    def __init__(self, plug: Any, calls: Calls) -> None:
        self._plug, self._calls = plug, calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._plug, name)
        return method if name == "create_table" else partial(self._calls.through, name, method)


def run(inputs: WorldInputs, number: int, *, performed: bool) -> tuple[World, Calls]:
    calls = Calls(number, performed=performed)
    made = World(inputs, SPOT, calls.of(boto3.client("dynamodb", region_name="us-east-1")), calls.of)
    made.run()
    return made, calls


def calls_of_a_run(inputs: WorldInputs) -> int:
    with mock_aws():
        return run(inputs, 0, performed=False)[1].made


def survives(inputs: WorldInputs, number: int, *, performed: bool) -> None:
    with mock_aws():
        made, _ = run(inputs, number, performed=performed)
    job = inputs.work.job_id(0)
    assert {(each, phase) for each, phase, _ in made.told} == {(job, "done")}, "the job ends well"
    completed = Counter(
        entry.subject for entry in made.journal.entries if entry.role == "job" and entry.kind == "ReleaseDependants"
    )
    # Of a write whose answer was lost, the log may lack the line; of any other call it has it.
    once = Counter({job: 1})
    assert (completed <= once) if performed else (completed == once), "and once"
    assert not made.control.target.live(), "an instance is left behind"


@worlds
@pytest.mark.parametrize("performed", [False, True])
def test_some_calls_fail_once_and_nothing_is_lost(inputs: WorldInputs, performed: bool) -> None:
    every = EVERY["one" if inputs is ONE else "gang"]
    for number in range(1 + 7 * performed, calls_of_a_run(inputs), every):
        survives(inputs, number, performed=performed)


@pytest.mark.slow
@worlds
@pytest.mark.parametrize("performed", [False, True])
def test_each_call_fails_once_and_nothing_is_lost(inputs: WorldInputs, performed: bool) -> None:
    for number in range(1, calls_of_a_run(inputs) + 1):
        survives(inputs, number, performed=performed)
