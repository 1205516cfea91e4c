"""The stacks on MiniStack: they deploy, their functions run under their own roles, and a job gets through."""

from __future__ import annotations

import json

import pytest
from deployed import Deployed, deploy, eventually
from ministack import Ministack


@pytest.fixture(scope="module")
def stack(ministack: Ministack) -> Deployed:
    return deploy(ministack, "eda-test")


def test_a_job_goes_from_the_queue_to_done(stack: Deployed) -> None:
    stack.submit("hello", "echo Hello World", success_string="Hello World")
    eventually(lambda: stack.job("hello").get("phase") == "queued")
    stack.call("fleet", {})
    (instance,) = stack.instances()
    eventually(lambda: stack.workers().get(instance) == "booting")
    stack.boot(instance)
    eventually(lambda: stack.job("hello")["phase"] == "done")
    (message,) = eventually(
        lambda: stack.account.client("sqs").receive_message(QueueUrl=stack.queue("finished"))["Messages"]
    )
    assert json.loads(message["Body"]) == {"job_id": "hello", "phase": "done", "reason": ""}
