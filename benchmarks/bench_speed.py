"""`make bench`: how fast and how large the simulator is, on pinned scenarios, beside a bare SimPy loop of the same.

Each case runs in a process of its own, so that its peak memory is its own; seconds are CPU seconds of that process.
A case says what it must reach; the machine's speed shows in the SimPy loop, which is timed in the same run.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

MEAN_S, LIFETIME_S = 600.0, 3 * 3600.0  # of a job, of an instance: one attempt in nineteen is interrupted


@dataclass(frozen=True)
class Case:
    """A pinned scenario and what it must reach."""

    name: str
    jobs: int
    workers: int
    at_once: bool = False
    journal: bool = False
    least_per_s: float = 0.0
    most_mb: float = 0.0


CASES = (
    Case("1 M jobs, 1,000 workers", 1_000_000, 1_000, least_per_s=60_000, most_mb=700),
    Case("1 M jobs at once, 1,000 workers", 1_000_000, 1_000, at_once=True),
    Case("1 M jobs, 100,000 workers", 1_000_000, 100_000, least_per_s=15_000),
    Case("100,000 jobs, journal kept", 100_000, 1_000, journal=True, least_per_s=25_000),
)


def _inputs(case: Case):  # type: ignore[no-untyped-def]
    import numpy as np

    from sim.inputs import (
        Dist,
        Interruptions,
        JobClass,
        MarketInputs,
        Pool,
        PricePath,
        Work,
        WorldInputs,
    )
    from sim.streams import Streams
    from spotbed.build import service_inputs
    from spotbed.services_preset import ServicesPreset

    streams, n = Streams(7), case.jobs
    runtime = (-np.log1p(-streams.per_entity("runtime", 0, n)) * MEAN_S * 1000).astype(np.int64) + 1
    gap_ms = 0 if case.at_once else MEAN_S * 1000 / case.workers
    submit = (-np.log1p(-streams.per_entity("arrival", 0, n)) * gap_ms).cumsum().astype(np.int64)
    work = Work(
        (JobClass("job", checkpointable=True),),
        np.zeros(n, np.int32),
        submit,
        runtime,
        runtime,
        np.ones(n, np.int32),
        streams.per_entity("outcome", 0, n),
        streams.per_entity("string", 0, n),
    )
    price = PricePath(np.zeros(1, np.int64), np.array([0.0348]))
    pool = Pool(
        "spot",
        "c6i.large",
        "us-east-1a",
        "spot",
        case.workers,
        2,
        4.0,
        0,
        price,
        0.085,
        Dist("constant", {"value": 60.0}),
    )
    market = MarketInputs(Interruptions("exponential", mean_ms=LIFETIME_S * 1000))
    services = service_inputs(
        ServicesPreset.load().with_overrides(
            {"ec2.run_instances.refill": 1e6, "ec2.run_instances.bucket": 1e6, "ec2.vcpus.spot": 1e7}
        ),
        "decoupled",
    )
    return WorldInputs(7, 0, work, (pool,), market, services)


def run_case(case: Case) -> dict[str, float]:
    """Simulate, bill and measure; times and memory of this process."""
    from scheduler.policies.presets import DEFAULTS
    from scheduler.policy import Policy
    from scheduler.settings import Settings
    from spotbed.journal import Journal
    from spotbed.ledger import Costs, PoolFacts, make_bill
    from spotbed.metrics import metrics
    from spotbed.pricebook import PriceBook
    from spotbed.services_preset import ServicesPreset
    from spotbed.worlds import simulate

    inputs = _inputs(case)
    policy = Policy(**DEFAULTS, settings=Settings(checkpoint_write_ms=30_000, events_per_cycle=13))
    book, preset = PriceBook.load(), ServicesPreset.load()
    journal = Journal() if case.journal else None
    start = time.process_time()
    tally = simulate(inputs, policy, journal)
    facts = [PoolFacts("spot", 0.085)]
    bill = make_bill(tally, facts, "decoupled", book, preset, Costs(ebs_gib=30), hours=tally.end_ms / 3.6e6)
    values = metrics(tally, inputs.work, facts, bill.total_usd)
    if journal is not None:
        journal.sha256()
    seconds = time.process_time() - start
    assert values["jobs_done"] == case.jobs
    share = values["interruptions"] / values["attempts"]
    assert share >= 0.05, f"only {share:.1%} of attempts were interrupted"
    return {"jobs_per_s": case.jobs / seconds, "seconds": seconds, "mb": peak_mb(), "interrupted": share}


def simpy_loop(jobs: int, workers: int) -> dict[str, float]:
    """The same attempts as bare SimPy timeouts with callbacks: no scheduler, no bill."""
    import numpy as np
    import simpy

    draws = (np.random.Generator(np.random.Philox(7)).exponential(MEAN_S, jobs) * 1000).astype(np.int64).tolist()
    gc.disable()
    start = time.process_time()
    environment = simpy.Environment()

    def next_job(_event: simpy.Event) -> None:
        if draws:
            environment.timeout(draws.pop()).callbacks.append(next_job)

    for _ in range(workers):
        environment.timeout(0).callbacks.append(next_job)
    environment.run()
    seconds = time.process_time() - start
    return {"jobs_per_s": jobs / seconds, "seconds": seconds, "mb": peak_mb()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(argument: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, argument], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> int:
    failed = 0
    for number, case in enumerate(CASES):
        loop, ours = _child("simpy"), _child(str(number))
        short = ours["jobs_per_s"] < case.least_per_s
        large = bool(case.most_mb) and ours["mb"] > case.most_mb
        failed += short or large
        least = f" (at least {case.least_per_s:,.0f})" if case.least_per_s else ""
        most = f" (at most {case.most_mb:,.0f})" if case.most_mb else ""
        print(
            f"{case.name}: {ours['jobs_per_s']:,.0f} jobs per CPU second{least}{' TOO SLOW' if short else ''}, "
            f"{ours['mb']:,.0f} MB{most}{' TOO LARGE' if large else ''}, {ours['interrupted']:.1%} of attempts lost; "
            f"bare SimPy loop {loop['jobs_per_s']:,.0f}, ratio {ours['jobs_per_s'] / loop['jobs_per_s']:.3f}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    print(json.dumps(simpy_loop(1_000_000, 1_000) if sys.argv[1] == "simpy" else run_case(CASES[int(sys.argv[1])])))
