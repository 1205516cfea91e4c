"""Fair share that forgets: Slurm's classic factor 2^(-usage / share), with a half-life ("Classic Fairshare Algorithm",
Slurm reference).

Needs what each tenant uses, which the simulator counts; the functions on AWS do not yet, so it cannot be deployed.
Ranks the oldest `first` jobs: a tenant whose jobs all lie behind them waits until they come up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policy import RankView
from scheduler.record import record


def shares_of(text: str) -> dict[str, float]:
    """The shares of "team-a=2 team-b=0.5". Raises ValueError."""
    shares = {}
    for pair in text.split():
        name, equals, share = pair.rpartition("=")
        if not equals or float(share) <= 0:
            raise ValueError(f"{pair!r}: a share is TENANT=NUMBER, with a number above 0")
        shares[name] = float(share)
    return shares


@record
class FairShare:
    """The tenant with the highest 2^(-usage / share) first, both as parts of all; then by submission. Usage is the time
    of its attempts, halved every `half_life`. `shares` are such as "team-a=2 team-b=1"; who is not in it has 1."""

    half_life_ms: int = 604_800_000
    shares: str = ""
    first: int = 25
    needs: ClassVar[frozenset[str]] = frozenset({TENANT_USE})

    def __post_init__(self) -> None:
        shares_of(self.shares)

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def factors(self, view: RankView) -> Mapping[str, float]:
        """2^(-usage / share) by tenant."""
        shares = shares_of(self.shares)
        used = sum(use.used_ms for use in view.tenants.values()) or 1.0
        shared = sum(shares.get(tenant, 1.0) for tenant in view.tenants) or 1.0
        return {
            tenant: 2 ** -((use.used_ms / used) / (shares.get(tenant, 1.0) / shared))
            for tenant, use in view.tenants.items()
        }

    def rank(self, view: RankView, jobs: Sequence[Job]) -> Sequence[Job]:
        factors = self.factors(view)
        return sorted(jobs, key=lambda job: -factors.get(job.ticket.spec.tenant, 1.0))
