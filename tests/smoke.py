"""A few hostile worlds under all rules: what a fault of the core does not survive."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from reckoning import reckon
from watch import Watch
from worlds import Case, cases

from sim.decoupled import DecoupledWorld

LOUD = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
# A world that fails is reported as it is: making it smaller takes minutes, and is done on demand.
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("SPOTBED_SHRINK") else (Phase.generate,)


def worlds(count: int) -> settings:
    """The settings of a test of `count` worlds: the same ones each time."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=LOUD,
    )


def check(case: Case) -> Watch:
    """Run a world under all rules; raises AssertionError with the name of the first that is broken."""
    watch = Watch(case.inputs, case.policy)
    tally = DecoupledWorld(case.inputs, case.policy, watch).run()
    reckon(watch, tally)
    return watch


def meet(source: str, count: int) -> tuple[Counter[str], set[str]]:
    """(troubles met, hashes of the journals) of `count` worlds whose interruptions come from `source`."""
    seen: Counter[str] = Counter()
    hashes: set[str] = set()

    @worlds(count)
    @given(cases(source))
    def one(case: Case) -> None:
        watch = check(case)
        seen.update(watch.seen)
        hashes.add(watch.sha256())

    one()
    return seen, hashes
