"""Whether an account may run what a plan could launch: its quotas of vCPUs, as Service Quotas names them.

A quota's own name says which families of instance types it is for, so no code of a quota stands here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = {
    "spot": re.compile(r"All (?P<families>.+) Spot Instance Requests"),
    "on-demand": re.compile(r"Running On-Demand (?P<families>.+) instances"),
}
_FAMILY = re.compile("[a-z]+")


@dataclass(frozen=True)
class Quota:
    """vCPUs that an account may run at once in a region, under a purchase option."""

    code: str
    name: str
    vcpus: float
    purchase: str
    families: tuple[str, ...]

    def covers(self, instance_type: str, purchase: str) -> bool:
        """Whether instances of this type count against it. Families are letters (`c`), or a generation (`p4`)."""
        letters = _FAMILY.match(instance_type)
        return purchase == self.purchase and any(
            instance_type.startswith(each) if each[-1].isdigit() else bool(letters and letters[0] == each)
            for each in self.families
        )


@dataclass(frozen=True)
class Need:
    """What a pool may come to: vCPUs of one instance, and of as many as the plan allows."""

    pool: str
    instance_type: str
    purchase: str
    vcpus: int
    most: int


@dataclass(frozen=True)
class Shortage:
    """A quota that is below what pools may come to. `stops`: it is below one instance of any of them."""

    quota: Quota
    pools: tuple[str, ...]
    vcpus: int
    stops: bool

    def says(self, region: str) -> str:
        """In a user's words, with the way on."""
        quota = self.quota
        ask = f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {quota.code}"
        pools = f"{'the pools' if len(self.pools) > 1 else 'the pool'} {', '.join(self.pools)}"
        return (
            f"The quota {quota.name!r} is {quota.vcpus:g} vCPUs in {region}, and {pools} may come to {self.vcpus}. "
            f"More: {ask} --desired-value {self.vcpus} --region {region}"
        )


def read_quotas(client: Any) -> list[Quota]:
    """The quotas of running instances, by a Service Quotas client."""
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="ec2")
    return [quota for page in pages for each in page["Quotas"] for quota in _quota(each)]


def _quota(found: Mapping[str, Any]) -> Iterator[Quota]:
    for purchase, pattern in _NAMES.items():
        match = pattern.fullmatch(found["QuotaName"])
        if match is not None:
            listed = re.search(r"\((.+)\)", match["families"])
            names = re.split(r", | and ", listed[1] if listed else match["families"])
            families = tuple(name.strip().lower() for name in names)
            yield Quota(found["QuotaCode"], found["QuotaName"], float(found["Value"]), purchase, families)


def shortages(quotas: Sequence[Quota], needs: Iterable[Need]) -> list[Shortage]:
    """The quotas that are too small, in their order."""
    listed, found = list(needs), []
    for quota in quotas:
        mine = [need for need in listed if quota.covers(need.instance_type, need.purchase)]
        most = sum(need.most for need in mine)
        if most > quota.vcpus:
            stops = all(need.vcpus > quota.vcpus for need in mine)
            found.append(Shortage(quota, tuple(need.pool for need in mine), most, stops))
    return found
