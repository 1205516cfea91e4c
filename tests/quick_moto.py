"""moto's answers of DynamoDB without its general serializer, which takes a third of a world's time on the emulator:
they are plain dicts in the form of the wire (test_quick_moto.py compares the two). For tests of the functions only;
`apply --target local` has moto as it is.
"""

from __future__ import annotations

import json
from typing import Any

from moto.core.responses import ActionContext, ActionResult

general: Any = ActionResult.execute_result


def _plain(answer: ActionResult, context: ActionContext) -> Any:
    if context.service_model.service_name != "dynamodb" or not isinstance(answer.result, dict):
        return general(answer, context)
    try:
        body = json.dumps(answer.result)
    except TypeError:  # a table's description has dates
        return general(answer, context)
    return 200, {"Content-Type": "application/x-amz-json-1.0"}, body


def install() -> None:
    """From now on, in this process."""
    ActionResult.execute_result = _plain  # type: ignore[method-assign]
