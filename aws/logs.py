"""The journal of a deployed stack: lines in the logs of its functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

FUNCTIONS = ("intake", "deliver", "step", "park", "fleet", "report", "operate")  # those that write a journal
_KEY = "journal"


def journal_of(client: Any, stack: str, since_ms: int = 0) -> list[Any]:
    """The journal's lines from all log groups of a stack, in order of time; `client` is one of CloudWatch Logs."""
    found = [line for name in FUNCTIONS for line in _lines(client, f"/aws/lambda/{stack}-{name}", since_ms)]
    return sorted(found, key=lambda line: int(line[0]))


def _lines(client: Any, group: str, since_ms: int) -> Iterator[Any]:
    """Of one log group; nothing of one that is not there."""
    pages = client.get_paginator("filter_log_events")
    try:
        for page in pages.paginate(logGroupName=group, filterPattern=f'"{_KEY}"', startTime=since_ms):
            for event in page["events"]:
                yield from _of_message(event["message"])
    except client.exceptions.ResourceNotFoundException:
        return


def _of_message(message: str) -> Sequence[Any]:
    """The line in a log event: as it was written, or wrapped by Lambda's own format."""
    try:
        found = json.loads(message)
        if isinstance(found, dict) and isinstance(found.get("message"), str):
            found = json.loads(found["message"])
    except ValueError:
        return ()
    return (found[_KEY],) if isinstance(found, dict) and isinstance(found.get(_KEY), list) else ()
