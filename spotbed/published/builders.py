"""Small worlds by hand, for published results, closed forms and tests: pools, prices, jobs and policies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scheduler.policies.presets import DEFAULTS
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.inputs import Dist, JobClass, Pool, PricePath, Work

S, MINUTE, HOUR = 1_000, 60_000, 3_600_000
ZONES = ("us-east-1a", "us-east-1b")


def constant(seconds: float) -> Dist:
    """Always the same duration."""
    return Dist("constant", {"value": seconds})


def flat(usd_per_hour: float) -> PricePath:
    """A price that never changes."""
    return PricePath(np.zeros(1, dtype=np.int64), np.array([usd_per_hour]))


def pool(
    name: str = "spot",
    purchase: str = "spot",
    most: int = 10,
    *,
    price: PricePath | None = None,
    vcpus: int = 4,
    az: str = ZONES[0],
    boot_s: float = 60,
    instance_type: str = "c5.xlarge",
    list_usd: float = 0.17,
) -> Pool:
    """A pool that boots in `boot_s`."""
    path = price or flat(0.068 if purchase == "spot" else list_usd)
    return Pool(name, instance_type, az, purchase, most, vcpus, 16.0, 0, path, list_usd, constant(boot_s))


def work_of(
    classes: tuple[JobClass, ...],
    submit_ms: list[int],
    runtime_ms: list[int],
    *,
    klass: list[int] | None = None,
    after: Mapping[int, tuple[int, ...]] | None = None,
    estimated: bool = True,
) -> Work:
    """Jobs as listed; their first attempts succeed unless the class always fails."""
    count = len(submit_ms)
    runtime = np.array(runtime_ms, dtype=np.int64)
    return Work(
        classes,
        np.array(klass or [0] * count, dtype=np.int32),
        np.array(submit_ms, dtype=np.int64),
        runtime,
        runtime.copy() if estimated else np.full(count, -1, dtype=np.int64),
        np.ones(count, dtype=np.int32),
        np.full(count, 0.5),
        np.full(count, 0.5),
        after=after or {},
    )


def policy_of(settings: Settings | None = None, **points: object) -> Policy:
    """Our defaults, with some points replaced."""
    return Policy(**{**DEFAULTS, **points}, settings=settings or Settings())  # type: ignore[arg-type]
