"""Small worlds for the tests of `legacy-2019`, and what its journal says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.policies.presets import DEFAULTS, PRESETS
from scheduler.policy import Policy
from sim.decoupled import DecoupledWorld
from sim.inputs import (
    Dist,
    Interruptions,
    JobClass,
    MarketInputs,
    Pool,
    PricePath,
    ServiceInputs,
    Work,
    WorldInputs,
)
from sim.legacy import LegacyWorld
from spotbed import metering
from spotbed.journal import AttemptFact, InstanceFact, Journal
from spotbed.metering import Tally

NEVER = 1 << 40
HOP = Dist("constant", {"value": 0.15})
HOPS = {"job_start": (HOP,) * 4, "success": (HOP,) * 4, "fail_ssm": (HOP,) * 3, "queue_check": (HOP,)}


def constant(seconds: float) -> Dist:
    return Dist("constant", {"value": seconds})


def shortage(from_s: float, until_s: float) -> Interruptions:
    """The pool `spot` has no capacity from one time to another; what runs goes two minutes after the first."""
    at_ms = np.array([0, from_s * 1000, until_s * 1000], dtype=np.int64)
    return Interruptions("trace", capacity={"spot": (at_ms, np.array([1000, 0, 1000]))}, burst_ms=0)


def world(
    runtimes_s: Sequence[float],
    *,
    submit_s: Sequence[float] | None = None,
    most: int = 100,
    boot: Dist | None = None,
    interruptions: Interruptions | None = None,
    faults: Mapping[str, float] | None = None,
    latency: Mapping[str, tuple[Dist, ...]] | None = None,
    legacy: Mapping[str, float] | None = None,
    seed: int = 1,
    after: Mapping[int, tuple[int, ...]] | None = None,
    drain_s: float = 10 * 86_400,
    **job: Any,
) -> WorldInputs:
    """Jobs of one class on one Spot pool. `legacy` has the keys of the services data."""
    count = len(runtimes_s)
    runtime = np.rint(np.array(runtimes_s) * 1000).astype(np.int64)
    submit = (
        np.zeros(count, dtype=np.int64) if submit_s is None else np.rint(np.array(submit_s) * 1000).astype(np.int64)
    )
    draws = np.random.default_rng(seed).random((2, count))
    klass = JobClass("job", **{"retries": 5, **job})
    work = Work(
        (klass,),
        np.zeros(count, np.int32),
        submit,
        runtime,
        runtime,
        np.ones(count, np.int32),
        *draws,
        after=after or {},
    )
    price = PricePath(np.zeros(1, dtype=np.int64), np.array([0.0125]))
    pool = Pool("spot", "t3.medium", "us-east-1a", "spot", most, 2, 4.0, 0, price, 0.0416, boot or constant(120))
    market = MarketInputs(interruptions or Interruptions())
    services = ServiceInputs(latency or {}, faults or {})
    drain_ms = round(drain_s * 1000)
    return WorldInputs(seed, 0, work, (pool,), market, services, legacy=legacy or {}, drain_ms=drain_ms)


@dataclass(frozen=True)
class Run:
    """A world that has run."""

    tally: Tally
    journal: Journal

    def jobs(self, status: int) -> int:
        """How many jobs ended so."""
        return list(self.tally.jobs.status).count(status)

    @property
    def done(self) -> int:
        return self.jobs(metering.DONE)

    @property
    def lost(self) -> int:
        return self.jobs(metering.VANISHED)

    @property
    def failed(self) -> int:
        return self.jobs(metering.GAVE_UP)

    def end_s(self, job: int = -1) -> float:
        """When a job ended, or the last of all."""
        ends = self.tally.jobs.end_ms
        return (max(ends) if job < 0 else ends[job]) / 1000

    def bodies(self, kind: str) -> list[Any]:
        """The fields of all entries of a kind."""
        return [entry.body for entry in self.journal.entries if entry.kind == kind]

    @property
    def attempts(self) -> list[AttemptFact]:
        return self.bodies("attempt")

    @property
    def instances(self) -> list[InstanceFact]:
        return self.bodies("instance")

    @property
    def executions(self) -> list[dict[str, Any]]:
        """What each execution that has ended has used."""
        return self.bodies("legacy-execution")


def legacy_policy() -> Policy:
    return Policy(**{**DEFAULTS, **PRESETS["legacy-2019"][2]}, architecture="legacy-2019")  # type: ignore[arg-type]


def run_legacy(inputs: WorldInputs) -> Run:
    journal = Journal()
    return Run(LegacyWorld(inputs, legacy_policy(), journal).run(), journal)


def run_ours(inputs: WorldInputs) -> Run:
    """The same world under the decoupled scheduler at its defaults."""
    journal = Journal()
    return Run(DecoupledWorld(inputs, Policy(**DEFAULTS), journal).run(), journal)  # type: ignore[arg-type]


def assert_unharmed(run: Run, jobs: int) -> None:
    """Every job is done, once, and nobody is left behind."""
    assert run.done == jobs
    assert run.tally.duplicate_completions == 0
    assert run.tally.orphan_workers == 0
