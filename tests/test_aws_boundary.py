"""Faults at the boundary: every call to DynamoDB of a job's life fails once, before its effect or after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from aws_world import THROTTLED, World
from botocore.exceptions import ClientError
from moto import mock_aws
from test_conformance import KEEPS, SPOT, world

INPUTS = world(KEEPS, [(0, 900_000)], {"spot-a": [(0, 9), (400_457, 0)]})  # interrupted once
EVERY = 29  # in `make test`; `make test-all` fails each call


class Unreliable:
    """A client whose call number `number` is throttled: not performed, or performed and its answer lost."""

    def __init__(self, client: Any, number: int, *, performed: bool) -> None:
        self._client, self._number, self._performed = client, number, performed
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            self.calls += 1
            fails = self.calls == self._number
            if fails and not self._performed:
                raise ClientError({"Error": {"Code": THROTTLED, "Message": "slow down"}}, name)
            result = method(**arguments)
            if fails:
                raise ClientError({"Error": {"Code": THROTTLED, "Message": "slow down"}}, name)
            return result

        return method if name == "create_table" else call


def run(number: int, *, performed: bool) -> tuple[World, Unreliable]:
    client = Unreliable(boto3.client("dynamodb", region_name="us-east-1"), number, performed=performed)
    made = World(INPUTS, SPOT, client)
    made.run()
    return made, client


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")


def calls_of_a_run() -> int:
    with mock_aws():
        return run(0, performed=False)[1].calls


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
