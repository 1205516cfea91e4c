"""A function of the user that is asked before a job with licences starts, and told when the attempt is over.

It hears {"do": "checkout" | "release", "job", "epoch", "worker", "licences": {name: count}} and answers a checkout with
{"granted": true} or {"granted": false, "retry_after_s": 30}. (job, epoch) names an attempt: asked twice it answers the
same, and a release holds even if it comes before the answer to its checkout has arrived, or for what was never granted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# One try, and a short one: the answer is awaited by a worker that could do something else. (assumed)
PATIENT = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 1})
LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True)
class Held:
    """The licences of one attempt."""

    job: str
    epoch: int
    worker: str
    licences: Mapping[str, int]


@dataclass(frozen=True)
class Answer:
    """`retry_after_s` 0: the hook does not say when to ask again."""

    granted: bool
    retry_after_s: float = 0.0


class Checkout(Protocol):
    """Who is asked."""

    def ask(self, held: Held) -> Answer | None:
        """The answer; None when there is none, so that the licences may be ours or not."""
        ...

    def give_back(self, held: Held) -> bool:
        """Whether the release was heard."""
        ...


class FunctionCheckout:
    """A Lambda function, by name or ARN. The client's timeouts bound each call."""

    def __init__(self, client: Any, function: str) -> None:
        self._client, self._function = client, function

    def ask(self, held: Held) -> Answer | None:
        found = self._call("checkout", held)
        if not isinstance(found, dict) or not isinstance(found.get("granted"), bool):
            return None
        after_s = found.get("retry_after_s", 0)
        sane = type(after_s) in (int, float) and 0 <= after_s <= LONGEST_WAIT_S
        return Answer(found["granted"], float(after_s) if sane else 0.0)

    def give_back(self, held: Held) -> bool:
        return self._call("release", held) is not None

    def _call(self, do: str, held: Held) -> Any:
        """What the function answers ({} for null); None when it has failed or did not answer in time."""
        order = {"do": do, "job": held.job, "epoch": held.epoch, "worker": held.worker, "licences": dict(held.licences)}
        try:
            answer = self._client.invoke(FunctionName=self._function, Payload=json.dumps(order).encode())
            if "FunctionError" in answer:
                return None
            return json.loads(answer["Payload"].read() or b"null") or {}
        except (BotoCoreError, ClientError, ValueError):
            return None
