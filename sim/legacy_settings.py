"""The settings of `legacy-2019`: keys of the services data, and what the original has where a key is not given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MS = 1000
# field -> (key of the services data, factor to the field's unit)
_KEYS: Mapping[str, tuple[str, int]] = {
    "poll_ms": ("legacy.poll", _MS),
    "visibility_ms": ("legacy.visibility", _MS),
    "scale_period_ms": ("legacy.scale_period", _MS),
    "max_instances": ("legacy.max_instances", 1),
    "execution_timeout_ms": ("legacy.execution_timeout", _MS),
    "lost_agent_detect_ms": ("legacy.lost_agent_detect", _MS),
    "status_check_period_ms": ("legacy.status_check_period", _MS),
    "lambda_timeout_ms": ("legacy.lambda_timeout", _MS),
    "string_check": ("legacy.string_check", 1),
    "history_limit": ("stepfunctions.history_limit", 1),
    "count_staleness_ms": ("sqs.count_staleness", _MS),
}


@dataclass(frozen=True, slots=True)
class LegacySettings:
    """Times in ms. The defaults are the original's, from its templates and handlers; AWS's where they say nothing."""

    poll_ms: int = 5_000  # parameter TimeoutJob
    visibility_ms: int = 5_000  # GetJob
    scale_period_ms: int = 60_000  # rate(1 minute)
    max_instances: int = 500  # parameter MaxInstancesAllowed
    execution_timeout_ms: int = 3_600_000  # AWS-RunShellScript: executionTimeout, which StartJob does not pass (F4)
    lost_agent_detect_ms: int = 14_400_000  # delivery timeout 10,800 s + execution timeout, after the start (F1)
    status_check_period_ms: int = 15_000  # botocore: delay of the waiters of WaitEC2
    lambda_timeout_ms: int = 420_000  # of every function of the stack
    string_check: int = 1  # 0: parameter JobSuccessString is " ", found in every answer
    history_limit: int = 25_000  # Step Functions quota: events of one execution (F2)
    count_staleness_ms: int = 0  # how old SQS's approximate counts are

    @classmethod
    def of(cls, values: Mapping[str, float]) -> LegacySettings:
        """From the settings of the services data, in seconds and numbers; those that others read are left alone."""
        given: dict[str, Any] = {
            name: round(values[key] * factor) for name, (key, factor) in _KEYS.items() if key in values
        }
        return cls(**given)
