"""Rules on exit code and reason, in the way of `evaluateOnExit` of AWS Batch (API reference, RetryStrategy): the first
that matches decides, and what no rule matches is retried.

Needs: the job's record, which keeps the last exit code. Can be deployed.
"""

from __future__ import annotations

from functools import lru_cache

from scheduler.job_record import Job
from scheduler.policies.retry.full_jitter import FullJitter
from scheduler.record import record

RETRY, EXIT = "retry", "exit"


@lru_cache
def rules_of(text: str) -> tuple[tuple[str, str], ...]:
    """The (pattern, action) of "137=retry 1*=exit timeout=exit", in order. Raises ValueError."""
    rules = []
    for part in text.replace(",", " ").split():
        pattern, _, action = part.partition("=")
        if action not in (RETRY, EXIT) or not pattern:
            raise ValueError(f"a rule is PATTERN={RETRY} or PATTERN={EXIT}, not {part!r}")
        rules.append((pattern, action))
    return tuple(rules)


def _matches(pattern: str, word: str) -> bool:
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


@record
class Rules:
    """Retry or give up by exit code and reason; the first rule that matches decides. A pattern is an exit code or a
    reason (failed, timeout, string-missing), and may end in *; what no rule matches is retried, with full jitter."""

    rules: str = ""
    base: FullJitter = FullJitter()

    def __post_init__(self) -> None:
        rules_of(self.rules)

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        words = (str(job.rare.exit_code), cause)
        for pattern, action in rules_of(self.rules):
            if any(_matches(pattern, word) for word in words):
                return None if action == EXIT else self.base.delay_ms(job, cause, u)
        return self.base.delay_ms(job, cause, u)
