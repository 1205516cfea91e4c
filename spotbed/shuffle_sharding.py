"""Shuffle sharding: each tenant has k of n shards, so that few tenants share all of theirs (MacCarthaigh, "Workload
isolation using shuffle-sharding", Amazon Builders' Library).

A shard is a number of workers, counted as a licence: a job holds one of its shard while it runs, so a tenant that
floods its shards takes no worker of another one. A tenant's jobs alternate between its shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import comb

from sim.inputs import JobClass


def overlap_probability(shards: int, chosen: int, shared: int) -> float:
    """That two tenants, each with `chosen` of `shards`, have exactly `shared` in common.

    C(k, m) C(n - k, k - m) / C(n, k), a quotient of whole numbers that is rounded once; 0 for what cannot be.
    """
    if not 0 <= shared <= chosen <= shards:
        return 0.0
    return comb(chosen, shared) * comb(shards - chosen, chosen - shared) / comb(shards, chosen)


def shards_of(tenant: str, shards: int, chosen: int) -> tuple[int, ...]:
    """The tenant's shards, lowest first: a pure function of its name, each set as likely as any other."""
    if not 0 < chosen <= shards:
        raise ValueError(f"a tenant has between 1 and {shards} shards, not {chosen}")

    def rank(shard: int) -> bytes:
        return hashlib.sha256(f"{tenant}/{shard}".encode()).digest()

    return tuple(sorted(sorted(range(shards), key=rank)[:chosen]))


def shard_name(shard: int) -> str:
    """The licence that stands for a worker of this shard."""
    return f"shard-{shard}"


def sharded_classes(classes: Iterable[JobClass], shards: int, chosen: int) -> tuple[JobClass, ...]:
    """Each class once for each shard of its tenant, all of one tenant side by side: what alternates is the class."""
    return tuple(
        replace(each, name=f"{each.name}-{shard}", licences={**each.licences, shard_name(shard): 1})
        for each in classes
        for shard in shards_of(each.tenant, shards, chosen)
    )


def shard_licences(shards: int, workers: int) -> Mapping[str, int]:
    """The licences of a world in which each shard has so many workers."""
    return {shard_name(shard): workers for shard in range(shards)}
