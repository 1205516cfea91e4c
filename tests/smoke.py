"""A few hostile worlds under all rules: what a fault of the core does not survive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from chaos import ADVERSARY, Chaos
from faulty import FaultyWorld
from hypothesis import HealthCheck, Phase, given, settings
from reckoning import reckon
from watch import Watch
from worlds import FAULTS, MINUTE, Case, S, cases, hostile, policy_of

from scheduler.policies.place import LowestPrice
from scheduler.settings import Settings

LOUD = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def worlds(count: int) -> settings:
    """The settings of a test of `count` worlds: the same ones each time."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # a smaller seed makes no smaller world,
        report_multiple_bugs=False,
        suppress_health_check=LOUD,
    )


def check(case: Case) -> Watch:
    """Run a world under all rules; raises AssertionError with the name of the first that is broken."""
    watch = Watch(case.inputs, case.policy)
    tally = FaultyWorld(case.inputs, case.policy, watch).run()
    reckon(watch, tally)
    return watch


def directed() -> Iterator[Case]:
    """Worlds by hand in which one thing each is certain: faults, dependants and failures, a budget that is spent."""
    settings = Settings(lease_ms=2 * MINUTE, tick_ms=30 * S, keep_alive_ms=30 * S, roll_over_at=100)
    ours = policy_of(settings, place=LowestPrice("any"))
    for seed in range(3):
        inputs = hostile(seed)
        faults = replace(inputs.services, probability=dict.fromkeys(FAULTS, 0.2))
        yield Case(replace(inputs, services=faults), ours)
        first, *others = inputs.work.classes
        classes = (replace(first, fail_probability=0.3, timeout_ms=5 * MINUTE), *others)
        after = {index: (index // 2, index // 3) for index in range(30, len(inputs.work), 2)}
        yield Case(replace(inputs, work=replace(inputs.work, classes=classes, after=after)), ours)
        yield Case(replace(inputs, budget_usd=0.2), ours)


def adversary() -> None:
    """The pure core against an adversary, a few times."""
    for seed in range(20):
        Chaos(seed, ADVERSARY, jobs=15, hosts=4).run(hostile_turns=1_000, calm_turns=5_000)


def meet(source: str, count: int, gangs: tuple[int, ...] = (1,)) -> tuple[Counter[str], set[str]]:
    """(troubles met, hashes of the journals) of `count` worlds whose interruptions come from `source`. What a world
    with the same journal as one before it meets does not count."""
    seen: Counter[str] = Counter()
    hashes: set[str] = set()

    @worlds(count)
    @given(cases(source, gangs))
    def one(case: Case) -> None:
        watch = check(case)
        journal = watch.sha256()
        if journal not in hashes:
            hashes.add(journal)
            seen.update(watch.seen)

    one()
    return seen, hashes
