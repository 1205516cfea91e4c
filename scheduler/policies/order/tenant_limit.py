"""Backpressure: a limit for each tenant ("Avoiding insurmountable queue backlogs", Amazon Builders' Library).

What is above the limit is not refused, since no accepted job is lost: it starts when nobody else wants the worker. To
refuse at the door is the sender's part. Needs what each tenant uses, which the simulator counts; the functions on AWS
do not yet, so it cannot be deployed. Ranks the oldest `first` jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policy import NO_USE, RankView
from scheduler.record import record


@record
class TenantLimit:
    """First come, first served, but a tenant with `most` jobs in flight comes after those that have fewer."""

    most: int = 10
    first: int = 25
    half_life_ms: ClassVar[int] = 0
    needs: ClassVar[frozenset[str]] = frozenset({TENANT_USE})

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def rank(self, view: RankView, jobs: Sequence[Job]) -> Sequence[Job]:
        return sorted(jobs, key=lambda job: view.tenants.get(job.ticket.spec.tenant, NO_USE).in_flight >= self.most)
