"""Numbers that others have published, through the simulator: what `spotbed bench published` runs, and two papers' rules
written down anew to compare with, job by job and window by window.

The data is public and not part of this repository: see `spotbed data list`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from queueing import run_cluster, slowdowns
from worlds import HOUR

from scheduler.job_record import Job, JobSpec, Ticket
from scheduler.policies.order.easy import Easy
from sim.inputs import Work
from spotbed.published import SOURCES, judge, targets
from spotbed.published.bags import other_pauses_s, pauses_s, runs
from spotbed.published.cant_be_late import (
    CHANGEOVER_MS,
    ON_DEMAND_USD,
    SPOT_USD,
    TICK_MS,
    WINDOW_TICKS,
    WORK_MS,
    Outcome,
    Zone,
    saving_percent,
    simulated,
    windows,
)
from spotbed.published.kth import jobs as kth
from spotbed.published.lublin import SLOTS, WINDOWS, order_of, window
from spotbed.published.runs import Source
from spotbed.published.table import Target

pytestmark = pytest.mark.published
ELSEWHERE = ("queues", "attempts")  # tests of theory run these
JUDGED = [target for target in targets() if target.rule != "reported" and target.source not in ELSEWHERE]


def cases() -> list[Any]:
    """Every target, the long ones marked as slow."""
    return [pytest.param(target, id=target.name, marks=[pytest.mark.slow] if target.long else []) for target in JUDGED]


def folder_for(source: Source, request: pytest.FixtureRequest) -> Path:
    """The folder of public data; the test is skipped without it, if the source needs it."""
    folder: Path = request.getfixturevalue("spotbed_data") if source.files else Path()
    return folder


@pytest.mark.parametrize("target", cases())
def test_a_published_number_is_met(target: Target, request: pytest.FixtureRequest) -> None:
    source = SOURCES[target.source]
    result = judge(target, source.measure(folder_for(source, request), target.cell))
    assert result.passed, f"{target.name}: {target.published} published, {result.measured}"


# RLScheduler, written down anew ---------------------------------------------------------------------------------------
def mean_slowdown(work: Work, starts_s: Iterable[float]) -> float:
    waits = np.fromiter(starts_s, dtype=np.float64) - work.submit_ms / 1000
    runtimes = work.runtime_ms / 1000
    return float(np.maximum(1, (waits + runtimes) / np.maximum(runtimes, 10)).mean())


@pytest.mark.parametrize(("order", "published"), [("fcfs", 235.82), ("sjf", 73.31), ("f1", 75.07)])
def test_lublin_with_backfill_job_by_job(spotbed_data: Path, order: str, published: float) -> None:
    """To .01 but for one thing: when several jobs come or end in one second, their simulator looks at the queue after
    each of them, ours after the last. Theirs, written down anew, shows both."""
    theirs = []
    for first in WINDOWS:
        work, begin_s = window(spotbed_data, first)
        base: Any = order_of(order, begin_s)
        tally = run_cluster(work, SLOTS, order=Easy(strict=True, base=base))

        def key(job: int, work: Work = work, base: Any = base) -> float:
            runtime_ms, submit_ms = int(work.runtime_ms[job]), int(work.submit_ms[job])
            return float(base.key(Job(Ticket("", JobSpec(""), submit_ms, runtime_ms, -1, int(work.slots[job])))))

        starts_s = [start / 1000 for start in tally.jobs.first_start_ms]
        assert starts_s == RlScheduler(work, SLOTS, key, one_by_one=False).run()
        theirs.append(mean_slowdown(work, RlScheduler(work, SLOTS, key, one_by_one=True).run()))
    assert float(np.mean(theirs)) == pytest.approx(published, abs=0.01)


class RlScheduler:
    """RLScheduler's rules with backfill, by the second. A job that was picked stays picked; meanwhile the queue is
    scanned as it was submitted, and who fits and ends before the shadow time may start."""

    def __init__(self, work: Work, slots: int, key: Callable[[int], Any], *, one_by_one: bool) -> None:
        self.submit, self.runtime = (work.submit_ms // 1000).tolist(), (work.runtime_ms // 1000).tolist()
        self.needs, self.key, self.one_by_one = work.slots.tolist(), key, one_by_one
        self.starts = [-1] * len(work)
        self.queue: list[int] = []
        self.runs: list[int] = []
        self.now, self.free, self.coming = 0, slots, 0

    def run(self) -> list[int]:
        """When each job starts (s)."""
        while self.queue or self.coming < len(self.starts):
            if not self.queue:
                self.move_on()
                continue
            picked = min(self.queue, key=self.key)
            shadow = self.shadow(picked)
            while self.needs[picked] > self.free:
                for job in sorted(self.queue, key=lambda job: self.submit[job]):
                    if self.now + self.runtime[job] < shadow and self.needs[job] <= self.free:
                        self.start(job)
                self.move_on()
            self.start(picked)
        return self.starts

    def end(self, job: int) -> int:
        return int(self.starts[job] + self.runtime[job])

    def shadow(self, picked: int) -> int:
        room, shadow = self.free, self.now
        for job in sorted(self.runs, key=self.end):
            if room >= self.needs[picked]:
                break
            room, shadow = room + self.needs[job], self.end(job)
        return shadow

    def start(self, job: int) -> None:
        self.starts[job], self.free = self.now, self.free - self.needs[job]
        self.runs.append(job)
        self.queue.remove(job)

    def move_on(self) -> None:
        """To the next submission or end, the submission first; or to the end of the second in which it is."""
        self.step()
        while not self.one_by_one and self.next_at() == self.now:
            self.step()

    def next_at(self) -> float:
        self.runs.sort(key=self.end)
        submitted = self.submit[self.coming] if self.coming < len(self.submit) else math.inf
        return min(submitted, self.end(self.runs[0]) if self.runs else math.inf)

    def step(self) -> None:
        self.now = int(self.next_at())
        if self.coming < len(self.submit) and self.submit[self.coming] == self.now:
            self.queue.append(self.coming)
            self.coming += 1
        else:
            self.free += self.needs[self.runs.pop(0)]


def test_the_kth_log_is_the_one_that_was_published(spotbed_data: Path) -> None:
    work = kth(spotbed_data, "requested")
    assert len(work) == 28_481
    found = slowdowns(run_cluster(work, 100, order=Easy()), work)
    assert round(float(found.max()), 1) == 14805.2


# Can't Be Late, tick by tick ------------------------------------------------------------------------------------------
def by_ticks(zone: Zone, number: int, fraction: float, policy: str) -> Outcome:
    """The same window by the paper's rules, tick by tick and without our code. C, R, d, ep and cp are the paper's."""
    d, c0, r0 = CHANGEOVER_MS, WORK_MS, WORK_MS / fraction
    where, cp, overhead, pinned = "", 0, 0, False
    used, work = {"spot": 0, "on-demand": 0}, {"spot": 0, "on-demand": 0}
    tick = 0
    while cp < c0:
        now = tick * TICK_MS
        up = zone.up[number * WINDOW_TICKS + tick]
        if where == "spot" and not up:
            where = ""
        late = r0 - now < c0 - cp + 2 * d
        wanted = where
        if where == "" and late:
            wanted, pinned = "on-demand", True
        elif where == "" and up:
            wanted = "spot"
        elif policy == "uniform" and where == "" and cp < now * c0 / r0:
            wanted = "on-demand"
        elif policy == "uniform" and where == "on-demand" and not pinned:
            pinned = late
            if up and not late and cp >= (now + 2 * d) * c0 / r0:
                wanted = "spot"
        if wanted and wanted != where:
            overhead = d
        where = wanted
        if where:
            done = min(max(0, TICK_MS - overhead), c0 - cp)
            used[where] += overhead + done if done == c0 - cp else TICK_MS
            overhead = max(0, overhead - TICK_MS)
            cp, work[where] = cp + done, work[where] + done
        tick += 1
    usd = (used["spot"] * SPOT_USD + used["on-demand"] * ON_DEMAND_USD) / HOUR
    return Outcome(usd, work["on-demand"] / HOUR, work["spot"] / HOUR, now <= r0)


def published_of(fraction: float, policy: str, statistic: str) -> float:
    name = f"cant-be-late/{fraction}/{policy}/{statistic}"
    found = next(target.published for target in targets() if target.name == name)
    assert found is not None
    return found


@pytest.mark.parametrize("policy", ["greedy", "uniform"])
@pytest.mark.parametrize("fraction", [0.6, 0.8, 0.9])
def test_cant_be_late_window_by_window(spotbed_data: Path, fraction: float, policy: str) -> None:
    """The paper's rules by ticks give the published table; every 12th window through the simulator is the same as by
    ticks, to the millisecond: the same hours in the same places, and so the same cost."""
    every = list(windows(spotbed_data, fraction))
    assert len(every) == published_of(fraction, policy, "windows")
    ticked = [by_ticks(*each, fraction, policy) for each in every]
    assert all(outcome.in_time for outcome in ticked)
    saving = saving_percent(float(np.mean([outcome.usd for outcome in ticked])))
    assert abs(saving - published_of(fraction, policy, "saving")) <= 1.0
    for each, expected in list(zip(every, ticked, strict=True))[::12]:
        found = simulated(*each, fraction, policy)
        assert (found.on_demand_h, found.spot_h, found.in_time) == expected[1:]
        assert found.usd == pytest.approx(expected.usd, abs=1e-5)  # a worker idles for a millisecond before it stops


# bags of jobs ---------------------------------------------------------------------------------------------------------
def test_the_pauses_of_a_bag_are_not_read_from_itself(spotbed_data: Path) -> None:
    attempts = runs(spotbed_data, "32_4_2")
    assert {run.group for run in attempts} == {0, 1}  # two jobs in parallel
    assert {run.group for run in runs(spotbed_data, "32_8_1")} == {0}
    (own_gaps, own_losses), (gap, loss) = pauses_s(spotbed_data, "32_4_2"), other_pauses_s(spotbed_data, "32_4_2")
    assert gap not in own_gaps
    assert loss not in own_losses
    assert gap == pytest.approx(4.1, abs=0.1)
    assert loss == pytest.approx(101, abs=2)
