"""Deficit round robin over tenants (Shreedhar and Varghese, "Efficient fair queuing using deficit round robin", SIGCOMM
1995; here with surplus: the job that exceeds a quantum is started, and the next round pays for it).

Needs what each tenant uses, which the simulator counts; the functions on AWS do not yet, so it cannot be deployed.
Ranks the oldest `first` jobs: a tenant whose jobs all lie behind them waits until they come up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policy import NO_USE, RankView
from scheduler.record import record


@record
class DeficitRoundRobin:
    """Rounds over the tenants, `quantum` of work for each. Of two tenants for whom jobs always wait, none is ahead by
    more than the quantum and its longest job."""

    quantum_ms: int = 3_600_000
    first: int = 25
    half_life_ms: ClassVar[int] = 0
    needs: ClassVar[frozenset[str]] = frozenset({TENANT_USE})

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def rank(self, view: RankView, jobs: Sequence[Job]) -> Sequence[Job]:
        def turn(job: Job) -> tuple[int, str]:
            tenant = job.ticket.spec.tenant
            return view.tenants.get(tenant, NO_USE).served_ms // self.quantum_ms, tenant

        return sorted(jobs, key=turn)
