"""One layer of retries with an end: what a throttled table costs in requests, and that a lost answer costs no time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import botocore.endpoint
import pytest
from aws_world import World
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from test_conformance import KEEPS, SLOW, SPOT, world

from aws.functions import CONFIG

JOBS = [(at * 1_000, 900_000) for at in range(6)]
INPUTS = world(KEEPS, JOBS, {"spot-a": [(0, 9), (400_457, 0), (460_457, 9)]}, SLOW)
SHARE, MOST = 0.2, 1.3
REFUSAL = {
    "Error": {"Code": "ThrottlingException", "Message": "slow down"},
    "ResponseMetadata": {"HTTPStatusCode": 400},
}


class Nothing:
    """The body of a refusal, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        return iter(())


class Table:
    """DynamoDB behind the SDK's own retries: refuses this share of the requests, or performs them and loses the
    answer."""

    def __init__(self, share: float, *, performs: bool) -> None:
        self._draws, self._share, self._performs = random.Random(7), share, performs
        self.requests = 0
        self.client: Any = boto3.client("dynamodb", region_name="us-east-1", config=CONFIG)
        endpoint = self.client._endpoint
        self._send, endpoint._do_get_response = endpoint._do_get_response, self._sent

    def _sent(self, request: Any, operation: Any, context: Any) -> Any:
        if operation.name == "CreateTable":
            return self._send(request, operation, context)
        self.requests += 1
        refuses = self._draws.random() < self._share
        if not refuses or self._performs:
            answered = self._send(request, operation, context)
        return ((AWSResponse(request.url, 400, {}, Nothing()), REFUSAL), None) if refuses else answered


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that take no time."""
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda _: None)


@cache
def run(share: float, *, performs: bool = False) -> tuple[int, int]:
    """(requests, when the last instance had ended) of a run in which every job is done, once."""
    with mock_aws():
        table = Table(share, performs=performs)
        made = World(INPUTS, SPOT, table.client)
        made.run()
    assert sorted((job, phase) for job, phase, _ in made.told) == [(f"keeps-{n}", "done") for n in range(len(JOBS))]
    return table.requests, made.clock.now_ms


def test_a_throttled_table_is_asked_little_more_often() -> None:
    (requests, _), (usually, _) = run(SHARE), run(0.0)
    assert 1 / (1 - SHARE) * 0.95 < requests / usually < MOST


def test_lost_answers_delay_nothing_by_a_lease() -> None:
    (_, end_ms), (_, usually_ms) = run(SHARE, performs=True), run(0.0)
    assert end_ms - usually_ms <= SPOT.settings.tick_ms


def test_every_client_of_the_functions_gives_up_in_time() -> None:
    """One call with all its tries and pauses (standard mode: up to 2 ** n s) ends before Lambda ends Step (60 s)."""
    config: Any = CONFIG
    tries = config.retries["total_max_attempts"]
    assert config.retries["mode"] == "standard"
    pauses_s = sum(2**n for n in range(tries - 1))
    assert tries * (config.connect_timeout + config.read_timeout) + pauses_s < 60
