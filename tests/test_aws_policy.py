"""A user's own policy in a function: its mistakes are told with their place, and reach no table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aws_world import World
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world
from worlds import policy_of

from aws import functions
from aws.policy import guarded_from
from aws.policy_json import policy_document
from scheduler.job_record import Job, JobSpec, Ticket
from scheduler.policy import Policy
from spotbed.guard import Guarded, PolicyFailure

SOURCE = """
class Good:
    def key(self, job):
        return job.ticket.submit_ms

class Raises:
    def key(self, job):
        return 1 / 0

class Wrong:
    def key(self, job):
        return "high"

class Changes:
    def key(self, job):
        job.ticket.spec.priority = 9
        return 0
"""
JOB = Job(Ticket("a", JobSpec("a"), 5))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's own copy of a user's module, as Lambda finds it."""
    folder = tmp_path / "user_policies"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "mine_0123abcd.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder / "mine_0123abcd.py"
    for name in ("user_policies.mine_0123abcd", "user_policies"):
        sys.modules.pop(name, None)


def packaged(kind: str) -> Policy:
    document = json.loads(json.dumps(policy_document(policy_of(), "p")))
    document["points"]["order"] = {"class": f"user_policies.mine_0123abcd:{kind}", "parameters": {}}
    return guarded_from(document)


def test_a_part_of_the_users_is_asked_through_the_guard_and_ours_is_not(mine: Path) -> None:
    policy = packaged("Good")
    assert isinstance(policy.order, Guarded)
    assert policy.order.key(JOB) == 5
    assert not isinstance(policy.place, Guarded)


@pytest.mark.parametrize(
    ("kind", "line", "says"),
    [
        ("Raises", 8, "Raises.key raised ZeroDivisionError"),
        ("Wrong", 11, "Wrong.key answered 'high'; it must answer a finite number"),
        ("Changes", 16, "Changes.key raised FrozenInstanceError"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(mine: Path, kind: str, line: int, says: str) -> None:
    with pytest.raises(PolicyFailure) as failure:
        packaged(kind).order.key(JOB)
    assert f"{mine}:{line}" in str(failure.value)
    assert says in str(failure.value)


@pytest.mark.parametrize("kind", ["Raises", "Wrong"])
def test_a_mistake_reaches_no_table_and_the_message_comes_again(mine: Path, kind: str) -> None:
    message: dict[str, Any] = {"messageId": "m", "body": json.dumps({"id": "a", "commands": ["true"]})}
    with mock_aws():
        made = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
        made.control = replace(made.control, policy=packaged(kind))
        with pytest.raises(PolicyFailure):
            functions.intake({"Records": [message]}, None, made.control)
        row = made.control.store.job("a")
        assert row is not None
        assert (row.record.phase, made.control.store.counters(), made.told) == ("new", {}, [])
        made.control = replace(made.control, policy=packaged("Good"))  # mended, and deployed
        functions.intake({"Records": [message]}, None, made.control)
        row = made.control.store.job("a")
        assert row is not None
        assert row.record.phase == "queued"
