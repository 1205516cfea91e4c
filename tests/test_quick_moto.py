"""The quick way of writing moto's answers says what its general one says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import quick_moto
from moto.core.responses import ActionContext, ActionResult
from test_aws_conformance import agree
from test_conformance import KEEPS, SLOW, world


def test_every_answer_of_a_world_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = ActionResult.execute_result
    seen: set[str] = set()

    def both(answer: ActionResult, context: ActionContext) -> Any:
        status, _, body = found = plain(answer, context)
        expected_status, _, expected = quick_moto.general(answer, context)
        assert (status, json.loads(body)) == (expected_status, json.loads(expected))
        seen.add(str(context.operation_model.name))
        return found

    monkeypatch.setattr(ActionResult, "execute_result", both)
    agree(world(KEEPS, [(0, 900_000)], {"spot-a": [(0, 9), (400_457, 0)]}, SLOW))
    assert {"GetItem", "PutItem", "UpdateItem", "TransactWriteItems", "Query", "Scan", "BatchGetItem"} <= seen
