"""A budget of retries that all jobs share: the retry quota of the AWS SDKs ("Retry behavior", AWS SDKs and Tools
Reference Guide: 500 tokens, 5 for a retry, 10 after a timeout, 1 back for a success).

When most attempts fail, retries are the load: an empty bucket allows one retry for five successes. The content is a
field of this record, so that the decision is a pure function: whoever performs keeps the bucket, asks with its content
and puts back what `after_retry` and `after_success` give.

Needs: one bucket for all jobs. The simulator keeps it; the functions on AWS do not, so `plan` refuses it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from scheduler.events import TIMEOUT
from scheduler.job_record import Job
from scheduler.observation import SHARED_BUCKET
from scheduler.policies.retry.full_jitter import FullJitter
from scheduler.record import record


@record
class TokenBucket:
    """Full jitter while a shared bucket pays for it. A retry takes `retry_cost` tokens, after a timeout `timeout_cost`;
    a success brings one back, up to `capacity`. A job whose retry the bucket cannot pay is given up."""

    base: FullJitter = FullJitter()
    capacity: int = 500
    retry_cost: int = 5
    timeout_cost: int = 10
    spent: int = 0  # tokens that are missing: 0 is a full bucket
    needs: ClassVar[frozenset[str]] = frozenset({SHARED_BUCKET})

    @property
    def tokens(self) -> int:
        """What is in the bucket."""
        return self.capacity - self.spent

    def _cost(self, cause: str) -> int:
        return self.timeout_cost if cause == TIMEOUT else self.retry_cost

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        return self.base.delay_ms(job, cause, u) if self._cost(cause) <= self.tokens else None

    def after_retry(self, cause: str) -> TokenBucket:
        """The bucket after a retry was allowed."""
        return replace(self, spent=min(self.capacity, self.spent + self._cost(cause)))

    def after_success(self, times: int = 1) -> TokenBucket:
        """The bucket after so many successes."""
        return replace(self, spent=max(0, self.spent - times))
