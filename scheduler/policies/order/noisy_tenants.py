"""Quiet tenants before noisy ones, as the fair queues of SQS have it ("Amazon SQS fair queues", SQS Developer Guide).

Needs what each tenant uses, which the simulator counts; the functions on AWS do not yet, so it cannot be deployed.
Ranks the oldest `first` jobs: a tenant whose jobs all lie behind them waits until they come up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policy import NO_USE, RankView, TenantUse
from scheduler.record import record


@record
class NoisyTenants:
    """First come, first served, but jobs of noisy tenants come after all others. A tenant is noisy with more than
    `share` of what is in flight, and at least `least` jobs, or with more than `share` of the recent time of attempts
    (which halves every `recent`)."""

    share: float = 0.1
    least: int = 30
    recent_ms: int = 300_000
    first: int = 25
    needs: ClassVar[frozenset[str]] = frozenset({TENANT_USE})

    @property
    def half_life_ms(self) -> int:
        return self.recent_ms

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def rank(self, view: RankView, jobs: Sequence[Job]) -> Sequence[Job]:
        in_flight = sum(use.in_flight for use in view.tenants.values())
        used_ms = sum(use.used_ms for use in view.tenants.values())

        def is_noisy(use: TenantUse) -> bool:
            many = use.in_flight >= self.least and use.in_flight > self.share * in_flight
            return many or use.used_ms > self.share * used_ms

        return sorted(jobs, key=lambda job: is_noisy(view.tenants.get(job.ticket.spec.tenant, NO_USE)))
