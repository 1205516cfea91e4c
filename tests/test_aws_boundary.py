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
from test_conformance import KEEPS, SPOT, world

INPUTS = world(KEEPS, [(0, 900_000)], {"spot-a": [(0, 9), (400_457, 0)]})  # interrupted once
EVERY = 41  # in `make test`; `make test-all` fails each call


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


def run(number: int, *, performed: bool) -> tuple[World, Calls]:
    calls = Calls(number, performed=performed)
    made = World(INPUTS, SPOT, calls.of(boto3.client("dynamodb", region_name="us-east-1")), calls.of)
    made.run()
    return made, calls


def calls_of_a_run() -> int:
    with mock_aws():
        return run(0, performed=False)[1].made


def survives(number: int, *, performed: bool) -> None:
    with mock_aws():
        made, _ = run(number, performed=performed)
    assert {(job, phase) for job, phase, _ in made.told} == {("keeps-0", "done")}, "the job ends well"
    completed = Counter(
        entry.subject for entry in made.journal.entries if entry.role == "job" and entry.kind == "ReleaseDependants"
    )
    # Of a write whose answer was lost, the log may lack the line; of any other call it has it.
    once = Counter({"keeps-0": 1})
    assert (completed <= once) if performed else (completed == once), "and once"
    assert not made.control.target.live(), "an instance is left behind"


@pytest.mark.parametrize("performed", [False, True])
def test_some_calls_fail_once_and_nothing_is_lost(performed: bool) -> None:
    for number in range(1 + 7 * performed, calls_of_a_run(), EVERY):
        survives(number, performed=performed)


@pytest.mark.slow
@pytest.mark.parametrize("performed", [False, True])
def test_each_call_fails_once_and_nothing_is_lost(performed: bool) -> None:
    for number in range(1, calls_of_a_run() + 1):
        survives(number, performed=performed)
